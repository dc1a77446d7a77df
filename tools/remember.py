"""Results of the engines, kept between runs of chapters: when a figure changes, it is drawn again and nothing is trained.

The runner makes the kernel of a chapter call `install` before its first cell. From then on a result is looked up under a
hash of the engine, its arguments, the sources of dmftlib, the lock and the settings of the process on which last digits
depend. What warns, raises or cannot be hashed, such as a rule that the notebook defines, is computed as ever.
joblib.Memory hashes a class of a notebook by its name, so it takes a changed rule for the old one.
"""

import hashlib
import inspect
import io
import os
import pickle
import platform
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path

from . import ROOT, digest
from .atomic import write_bytes

ENGINES = {"dmftlib.meanfield": ["solve"], "dmftlib.network": ["train", "ensemble", "groups"]}
SETTINGS = ("JAX_", "XLA_", "NPROC", "OMP_", "OPENBLAS_", "MKL_")  # variables that may change last digits
MOST_BYTES = 2**24  # of a result; larger ones are computed again


def version() -> str:
    """A hash of all that every result depends on."""
    return digest(ROOT, ["dmftlib/**/*.py", "requirements.lock"], platform.python_version())[:16]


class Hasher(pickle.Pickler):
    """Bytes that are the same in every process; not to be read back. Refuses code that may change while its name stays."""

    def reducer_override(self, thing):
        if isinstance(thing, types.FunctionType | type):
            if thing.__module__.partition(".")[0] in ("__main__", "companion", "tools"):
                raise pickle.PicklingError(f"{thing} may change while the key stays")
        elif is_dataclass(thing):  # what it was made with; the rest follows, and may be computed late
            return tuple, ((type(thing), [getattr(thing, field.name) for field in fields(thing) if field.init]),)
        return NotImplemented


def key(function: Callable, arguments: dict) -> str:
    """The name of a result; raises if an argument cannot be hashed."""
    settings = sorted(pair for pair in os.environ.items() if pair[0].startswith(SETTINGS))
    settings = [pair for pair in settings if pair[0] != "JAX_COMPILATION_CACHE_DIR"]
    file = io.BytesIO()
    hasher = Hasher(file, protocol=5)
    hasher.fast = True  # whether two equal things are one object does not count
    hasher.dump((function.__module__, function.__qualname__, list(arguments.items()), settings))
    return hashlib.sha256(file.getvalue()).hexdigest()


def put(path: Path, result: object, arguments: dict) -> None:
    """Keep a result, if it can be pickled, is not too large, and the disk has room: the result is there all the same.

    An argument that is part of its result, such as the experiment, is not stored, but put back by `get`.
    """
    known = {id(value): argument for argument, value in arguments.items() if is_dataclass(value)}
    pickler = pickle.Pickler(file := io.BytesIO(), protocol=5)
    pickler.persistent_id = lambda thing: known.get(id(thing))
    with suppress(OSError, pickle.PicklingError, TypeError, AttributeError):
        pickler.dump(result)
        if file.tell() <= MOST_BYTES:
            write_bytes(file.getvalue(), path)


def get(path: Path, arguments: dict) -> object:
    """None if it is not there; a damaged file, too, is none."""
    with suppress(Exception):  # it raises what it happens to hold
        unpickler = pickle.Unpickler(io.BytesIO(path.read_bytes()))
        unpickler.persistent_load = arguments.__getitem__
        return unpickler.load()


def remembered(function: Callable, folder: Path, tell: Callable[[], object] = lambda: None) -> Callable:
    """`function`, which looks into the folder first; `tell` is called whenever it finds its result there."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*values, **named):
        path = None
        with suppress(Exception):  # pickle raises many kinds; wrong arguments are for the function to refuse
            bound = signature.bind(*values, **named)
            bound.apply_defaults()
            path = folder / key(function, bound.arguments)
        if path and (found := get(path, bound.arguments)) is not None:
            tell()
            return found
        try:
            with warnings.catch_warnings(record=True) as shown:
                result = function(*values, **named)
        finally:
            for one in shown:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        if path and not shown:
            put(path, result, bound.arguments)
        return result

    return call


def install(folder: str, used: str) -> None:
    """Make the engines of this process remember; each result that is found adds a byte to the file `used`."""

    def tell():
        with open(used, "a") as file:
            file.write(".")

    for home, names in ENGINES.items():
        module = import_module(home)
        if not Path(module.__file__).is_relative_to(ROOT):  # the key would be of other sources
            return
        for name in names:
            setattr(module, name, remembered(getattr(module, name), Path(folder), tell))
