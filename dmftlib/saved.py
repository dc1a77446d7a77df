"""Results in files, one .npz for each (arrays by name, the rest as JSON), and the same runs with new test points."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import numpy as np

from . import lazy, meanfield, network, rules
from .activations import ACTIVATIONS
from .convolution import Convolution
from .experiment import Experiment
from .losses import LOSSES
from .meanfield.draws import TooFewSamples
from .meanfield.solver import Solution
from .results import Dynamics, Provenance
from .task import Scaling, Task

NAMES = ("classes", "columns", "targets", "rows", "rows_test", "sample_shape")  # of a task
FORMAT = 4  # of the file; another one is refused
KINDS = {kind.__name__: kind for kind in (Dynamics, Solution, network.Ensemble, lazy.Prediction)}
SETTINGS = ("hidden_layers", "gamma0", "lr", "steps", "weight_decay", "batches", "residual", "substeps")


def _plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _with_suffix(path):
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def save(result, path):
    """Write a run, ensemble or lazy prediction to one file, complete or not at all; returns the path, ending in .npz.

    Kept are arrays, bit for bit, experiment and provenance. Most of a large file are kernels, five of P × P or more a step: run
    with kernels_at=(0, steps − 1) to keep those of two steps. Fields of all steps (record=True) are not kept. A rule or activation of
    one's own is kept by name, and `load` must be given it.

    Raises TypeError for anything else, FileNotFoundError for a folder that does not exist.
    """
    if type(result).__name__ not in KINDS:
        raise TypeError(f"`result` must be one of {', '.join(KINDS)}; got {type(result).__name__}.")
    e, arrays, about = result.experiment, {}, {"format": FORMAT, "kind": type(result).__name__}
    about["rule"] = {"name": type(e.rule).__name__, "settings": asdict(e.rule) if is_dataclass(e.rule) else {}}
    about |= {"activation": e.phi.name, "loss": e.loss.name}
    known = dict(rule=type(e.rule).__module__ == rules.__name__)
    known |= dict(activation=ACTIVATIONS.get(e.phi.name) is e.phi, loss=LOSSES.get(e.loss.name) is e.loss)
    about["own"] = [name for name, ours in known.items() if not ours]  # which may have the name of one of the library's
    about |= {name: getattr(e, name) for name in SETTINGS}
    about["convolution"] = None if e.convolution is None else asdict(e.convolution)
    about |= {name: getattr(e.task, name) for name in NAMES}
    if (scaling := e.task.scaling) is not None:
        arrays |= {f"scaling.{name}": np.asarray(value) for name, value in vars(scaling).items()}
    arrays |= {f"task.{name}": value for name, value in vars(e.task).items() if isinstance(value, np.ndarray)}
    for field in fields(result):
        value = getattr(result, field.name)
        if field.name == "provenance":
            about["provenance"] = asdict(value)
        elif field.name == "standard_error":
            arrays |= {f"standard_error.{name}": array for name, array in value.items()}
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name in ("width", "seeds", "dtype", "revealed"):
            about[field.name] = value
    path = _with_suffix(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` is in a folder that does not exist, {path.parent}. Make it first.")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about, default=_plain)), **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path, rule=None, activation=None, loss=None):
    """The result that `save` wrote. `rule`, `activation` and `loss` are those of one's own that it was run with.

    Raises ValueError for a file that `save` did not write, or in another format, and where a rule or activation is unknown.
    """
    try:
        with np.load(path := _with_suffix(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").item())
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"`path` must be a file that dmftlib wrote; {path} is not: {error}") from error
    if about["format"] != FORMAT:
        raise ValueError(
            f"{path} has the format {about['format']}, this version reads {FORMAT}. Use the version that wrote it."
        )
    name = about["rule"]["name"]
    if rule is None:
        if "rule" in about["own"] or not isinstance(kind := getattr(rules, name, None), type):
            raise ValueError(f"{path} was run with the rule {name}, which is not the library's. Pass rule={name}(…).")
        rule = kind(**about["rule"]["settings"])
    elif type(rule).__name__ != name:
        raise ValueError(f"`rule` must be the {name} that {path} was run with; got {rule!r}.")
    if activation is None and ((activation := about["activation"]) not in ACTIVATIONS or "activation" in about["own"]):
        raise ValueError(f"{path} was run with the activation {activation!r}, one of your own. Pass activation=….")
    if loss is None and ((loss := about["loss"]) not in LOSSES or "loss" in about["own"]):
        raise ValueError(f"{path} was run with the loss {loss!r}, one of your own. Pass loss=….")
    task = {key.partition(".")[2]: arrays.pop(key) for key in list(arrays) if key.startswith("task.")}
    scaling = {key.partition(".")[2]: arrays.pop(key) for key in list(arrays) if key.startswith("scaling.")}
    scaling = Scaling(**scaling) if scaling else None
    names = {key: None if about[key] is None else tuple(about[key]) for key in NAMES}
    convolution = about["convolution"]
    e = Experiment(
        Task(**task, **names, scaling=scaling),
        rule,
        activation=activation,
        loss=loss,
        convolution=convolution and Convolution(**convolution),
        **{key: about[key] for key in SETTINGS},
    )
    kind, more = KINDS[about["kind"]], {}
    if "provenance" in about:
        more["provenance"] = _provenance(about["provenance"])
    if kind is network.Ensemble:
        names = [key for key in arrays if key.startswith("standard_error.")]
        more["standard_error"] = {key.partition(".")[2]: arrays.pop(key) for key in names}
        more |= {name: about[name] for name in ("width", "dtype", "revealed")} | dict(seeds=tuple(about["seeds"]))
    if kind is lazy.Prediction:
        arrays = {field.name: arrays.get(field.name) for field in fields(kind) if field.name != "experiment"}
    return kind(experiment=e, **arrays, **more)


def _provenance(about):
    about["rank"] = tuple(tuple(pair) for pair in about["rank"])
    return Provenance(**about | dict(parts=tuple(map(_provenance, about["parts"]))))


def predict(result, X_test, y_test=None):
    """The result again, with outputs f_test at new points (P_test, D): the same run, with the new points carried along. Where
    the task scales its samples, they are passed as they come, and y_test likewise; of a task with classes y_test are labels.

    Test points change nothing of the training, so f and kernels are those of `result` (to rounding), which may come from a
    file. The lazy limit is exact. A network or a mean field is run once more, an ensemble or an average once a seed.
    `relative_error("f_test")` is the standard error of the new outputs, of an ensemble `standard_error["f_test"]` that of each;
    `provenance.errors` has what a mean field knows of its own.

    Raises TypeError for anything but a result, ValueError for points of another dimension, for an extrapolation to infinite
    width, which is no run (predict with its ensembles and extrapolate those), and for revealed networks.
    """
    if type(result).__name__ not in KINDS:
        raise TypeError(f"`result` must be one of {', '.join(KINDS)}; got {type(result).__name__}.")
    e = result.experiment
    e = replace(e, task=e.task.with_test(X_test, y_test))
    if isinstance(result, lazy.Prediction):
        return lazy.predict(e)
    kernels_at = None if len(result.K) == e.steps else result.kernels_at
    run = None if isinstance(result, network.Ensemble) else result.provenance
    if not np.isfinite(size := run.size if run else result.width):
        raise ValueError(
            f"`result` must be a run of finite size; got one of {size}. Predict with each run, then extrapolate; "
            "in the lazy limit use lazy.predict."
        )
    if (run or result).revealed:
        raise ValueError(
            "`result` is of revealed networks: with new points the same seeds give other networks. Train them with these points "
            "as X_test of the task."
        )
    if not run:
        return network.ensemble(e, size, result.seeds, result.dtype, kernels_at)
    if run.engine == "network":
        return network.train(e, size, run.seed, run.dtype, kernels_at=kernels_at)
    return _solved_again(e, run, kernels_at)


def _solved_again(experiment, run, kernels_at):
    """The mean field of this Provenance; of an average, the average of its parts."""
    if run.parts:
        return meanfield.average([_solved_again(experiment, part, kernels_at) for part in run.parts])
    try:
        return meanfield.solve(experiment, run.size, run.seed, run.tol, run.dtype, kernels_at=kernels_at)
    except TooFewSamples as error:
        raise ValueError(
            f"`result` was solved with samples for its training points alone, {run.size}; new points need a few more. Solve "
            "it with twice as many, then predict."
        ) from error
