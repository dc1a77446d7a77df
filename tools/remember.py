"""Results of the engines, kept between runs of chapters: when a figure changes, it is drawn again and nothing is trained.

The runner makes the kernel of a chapter call `install` before its first cell. From then on a result is looked up under a
hash of the engine, its arguments, the sources of dmftlib, the lock and the settings of the process on which last digits
depend. A rule or an activation that the notebook defines is hashed by its code. What warns, raises or cannot be hashed is
computed as ever. joblib.Memory hashes a class of a notebook by its name, so it takes a changed rule for the old one.
"""

import hashlib
import inspect
import io
import os
import pickle
import platform
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path

from . import ROOT
from .atomic import write_bytes

ENGINES = {"dmftlib.meanfield": ["solve"], "dmftlib.network": ["train", "ensemble", "groups"]}
SETTINGS = ("JAX_", "XLA_", "NPROC", "OMP_", "OPENBLAS_", "MKL_")  # variables that may change last digits
NOT_LOCKED = {"companion", "tools"}  # their sources are in no key
MOST_BYTES = 2**24  # of a result; larger ones are computed again
BOOKKEEPING = {"__dict__", "__weakref__", "__module__", "__doc__", "__repr__", "__annotations__", "__annotate_func__"}
BOOKKEEPING |= {"__dataclass_fields__", "__dataclass_params__", "__firstlineno__", "__static_attributes__", "_abc_impl"}


def version() -> str:
    """A hash of all that every result depends on."""
    digest = hashlib.sha256(platform.python_version().encode())
    for path in [*sorted((ROOT / "dmftlib").rglob("*.py")), ROOT / "requirements.lock"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class Hasher(pickle.Pickler):
    """Bytes that are the same in every process, and others for other code; not to be read back."""

    def __init__(self, file):
        super().__init__(file, protocol=5)
        self.fast = True  # whether two equal things are one object does not count
        self.begun: set[int] = set()

    def reducer_override(self, thing):
        if isinstance(thing, types.ModuleType | types.FunctionType | type):
            home = thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__
            if home.partition(".")[0] in NOT_LOCKED:
                raise pickle.PicklingError(f"{thing} may change while the key stays")
            if isinstance(thing, types.ModuleType):
                return str, (home,)
            if home == "__main__" or "<" in thing.__qualname__:  # nothing elsewhere that can be found by its name
                again, _ = id(thing) in self.begun, self.begun.add(id(thing))
                return tuple, ((thing.__qualname__, None if again else by_value(thing)),)
        elif is_dataclass(thing):  # what it was made with; the rest follows, and may be computed late
            return tuple, ((type(thing), [getattr(thing, field.name) for field in fields(thing) if field.init]),)
        return NotImplemented


def by_value(thing: types.FunctionType | type) -> tuple:
    if isinstance(thing, type):
        return thing.__bases__, [pair for pair in sorted(vars(thing).items()) if pair[0] not in BOOKKEEPING]
    code, names = code_of(thing.__code__)
    cells = [cell.cell_contents for cell in thing.__closure__ or ()]
    around = [(name, thing.__globals__[name]) for name in sorted(names) if name in thing.__globals__]
    return code, thing.__defaults__, thing.__kwdefaults__, cells, around


def code_of(code: types.CodeType) -> tuple[tuple, set[str]]:
    """What code does, without where it stands; and the names that it, or code inside of it, may look up."""
    inside = [code_of(const) if isinstance(const, types.CodeType) else (const, set()) for const in code.co_consts]
    told = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, [value for value, _ in inside])
    return told, set(code.co_names).union(*(names for _, names in inside))


def key(function: Callable, arguments: dict) -> str:
    """The name of a result; raises if an argument cannot be hashed."""
    if any(hasattr(value, "__next__") for value in arguments.values()):
        raise TypeError("what can be gone through once, a look would use up")
    settings = sorted(pair for pair in os.environ.items() if pair[0].startswith(SETTINGS))
    settings = [pair for pair in settings if pair[0] != "JAX_COMPILATION_CACHE_DIR"]
    file = io.BytesIO()
    Hasher(file).dump((function.__module__, function.__qualname__, list(arguments.items()), settings))
    return hashlib.sha256(file.getvalue()).hexdigest()


class Store:
    """Results in a folder; an argument that is part of its result is not stored, but put back."""

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, name: str, result: object, arguments: dict) -> None:
        known = {id(value): argument for argument, value in arguments.items() if is_dataclass(value)}
        file = io.BytesIO()
        pickler = pickle.Pickler(file, protocol=5)
        pickler.persistent_id = lambda thing: known.get(id(thing))
        with suppress(OSError, pickle.PicklingError, TypeError, AttributeError):  # the result is there all the same
            pickler.dump(result)
            if file.tell() <= MOST_BYTES:
                write_bytes(file.getvalue(), self.folder / name)

    def get(self, name: str, arguments: dict) -> object:
        """None if it is not there."""
        if not (self.folder / name).exists():
            return None
        unpickler = pickle.Unpickler(io.BytesIO((self.folder / name).read_bytes()))
        unpickler.persistent_load = arguments.__getitem__
        with suppress(Exception):  # a damaged file raises what it happens to hold
            return unpickler.load()


def remembered(function: Callable, store: Store, tell: Callable[[], object] = lambda: None) -> Callable:
    """`function`, which looks into the store first; `tell` is called whenever it finds its result there."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*values, **named):
        name = None
        with suppress(Exception):  # pickle raises many kinds; wrong arguments are for the function to refuse
            bound = signature.bind(*values, **named)
            bound.apply_defaults()
            name = key(function, bound.arguments)
        if name and (found := store.get(name, bound.arguments)) is not None:
            tell()
            return found
        caller = sys._getframe(1)
        try:
            with warnings.catch_warnings(record=True) as shown:
                result = function(*values, **named)
        finally:
            for one in shown:  # where the function, or whoever called it, stands
                here = one.filename == __file__
                where = (caller.f_code.co_filename, caller.f_lineno) if here else (one.filename, one.lineno)
                warnings.warn_explicit(one.message, one.category, *where)
        if name and not shown:
            store.put(name, result, bound.arguments)
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
            setattr(module, name, remembered(getattr(module, name), Store(Path(folder)), tell))
