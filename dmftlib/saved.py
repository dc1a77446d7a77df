"""Results in files, one .npz for each (arrays by name, the rest as JSON), and the same runs with new test points."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from . import lazy, meanfield, network, rules
from .activations import ACTIVATIONS
from .experiment import Experiment
from .losses import LOSSES
from .meanfield.solver import Solution
from .results import Dynamics, Provenance
from .task import Task

FORMAT = 1  # of the file; another one is refused
KINDS = {kind.__name__: kind for kind in (Dynamics, Solution, network.Ensemble, lazy.Prediction)}
SETTINGS = ("hidden_layers", "gamma0", "lr", "steps", "weight_decay", "batches")


def _plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def save(result, path):
    """Write a run, ensemble or lazy prediction to one file, complete or not at all; returns the path, ending in .npz.

    Kept are arrays, bit for bit, experiment and provenance. Fields of all steps (record=True) are not. A rule or activation of
    one's own is kept by name, and `load` must be given it.

    Raises TypeError for anything else.
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
    about["classes"] = e.task.classes
    arrays |= {f"task.{name}": value for name, value in vars(e.task).items() if isinstance(value, np.ndarray)}
    for field in fields(result):
        value = getattr(result, field.name)
        if field.name == "provenance":
            about["provenance"] = asdict(value)
        elif field.name == "standard_error":
            arrays |= {f"standard_error.{name}": array for name, array in value.items()}
        elif isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name in ("width", "seeds"):
            about[field.name] = value
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            np.savez(part, about=np.array(json.dumps(about, default=_plain)), **arrays)
        except BaseException:
            os.unlink(part.name)
            raise
    os.replace(part.name, path)
    return path


def load(path, rule=None, activation=None, loss=None):
    """The result that `save` wrote. `rule`, `activation` and `loss` are those of one's own that it was run with.

    Raises ValueError for a file that `save` did not write, or in another format, and where a rule or activation is unknown.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
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
    classes = None if about["classes"] is None else tuple(about["classes"])
    e = Experiment(
        Task(**task, classes=classes),
        rule,
        activation=activation,
        loss=loss,
        **{key: about[key] for key in SETTINGS if key in about},
    )
    kind, more = KINDS[about["kind"]], {}
    if "provenance" in about:
        rank = tuple(tuple(pair) for pair in about["provenance"].pop("rank"))
        more["provenance"] = Provenance(**about["provenance"], rank=rank)
    if kind is network.Ensemble:
        names = [key for key in arrays if key.startswith("standard_error.")]
        more["standard_error"] = {key.partition(".")[2]: arrays.pop(key) for key in names}
        more |= dict(width=about["width"], seeds=tuple(about["seeds"]))
    if kind is lazy.Prediction:
        arrays = {field.name: arrays.get(field.name) for field in fields(kind) if field.name != "experiment"}
    return kind(experiment=e, **arrays, **more)


def predict(result, X_test, y_test=None):
    """The result again, with outputs f_test at new points (P_test, D): the same run, with the new points carried along.

    Test points change nothing of the training, so f and kernels are those of `result` (to rounding), which may come from a
    file. The lazy limit is exact. A network or a mean field is run once more, an ensemble once a seed, in float64; of an
    average of mean fields, one of as many samples. Its errors state those of f_test: `standard_error`, or
    `provenance.errors`.

    Raises TypeError for anything but a result, ValueError for points of another dimension, and for an extrapolation to
    infinite width, which is no run: predict with its ensembles and extrapolate those.
    """
    if type(result).__name__ not in KINDS:
        raise TypeError(f"`result` must be one of {', '.join(KINDS)}; got {type(result).__name__}.")
    e = result.experiment
    e = replace(e, task=replace(e.task, X_test=X_test, y_test=y_test))
    if isinstance(result, lazy.Prediction):
        return lazy.predict(e)
    kernels_at = None if len(result.K) == e.steps else result.kernels_at
    run = None if isinstance(result, network.Ensemble) else result.provenance
    if not np.isfinite(size := run.size if run else result.width):
        raise ValueError(
            f"`result` must be a run of finite size; got one of {size}. Predict with each run, then extrapolate."
        )
    if not run:
        return network.ensemble(e, size, result.seeds, kernels_at=kernels_at)
    if run.engine == "network":
        return network.train(e, size, run.seed, run.dtype, kernels_at=kernels_at)
    return meanfield.solve(e, size, run.seed, run.tol, run.dtype, kernels_at=kernels_at)
