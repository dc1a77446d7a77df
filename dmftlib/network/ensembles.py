"""Averages over networks: their spread over seeds, groups of them, and the limit of infinite width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from ..results import RECORDED, Dynamics, Result
from ..validate import listed, one_experiment, whole
from .training import train_each


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(Result):
    """Mean over networks: arrays named and shaped as in Dynamics. `standard_error` has that of every entry, by name.

    `width` is N, or infinity after `extrapolate`; `revealed` is that of `train`.
    """

    experiment: object
    width: float
    seeds: tuple
    f: np.ndarray
    Phi: np.ndarray
    G: np.ndarray
    G_tilde: np.ndarray
    K: np.ndarray
    G_tilde_tilde: np.ndarray
    standard_error: dict
    kernels_at: np.ndarray | None = None
    f_test: np.ndarray | None = None
    dtype: str = "float64"
    revealed: bool = False

    __post_init__ = Dynamics.__post_init__
    times, Delta = Dynamics.times, Dynamics.Delta

    def relative_error(self, name):
        """Standard error over seeds, ‖SE‖_F/‖mean‖_F."""
        return float(np.linalg.norm(self.standard_error[name]) / (np.linalg.norm(getattr(self, name)) or 1.0))

    def origin(self):
        return dict(engine="networks", width=self.width, seeds=list(self.seeds), dtype=self.dtype)

    def stated_errors(self):
        return dict(relative_error_seeds={name: self.relative_error(name) for name in self.standard_error})


def ensemble(experiment, width, seeds, dtype="float64", kernels_at=None, revealed=False):
    """Train one network a seed and average; `seeds` may be any iterable, such as a progress bar around a range.

    `kernels_at` are the steps whose kernels are recorded, all by default; `revealed` is that of `train`.

    Raises TypeError if `seeds` is not iterable, ValueError for fewer than two seeds or one that comes twice.
    """
    try:
        seeds = iter(seeds)
    except TypeError:
        raise TypeError(f"`seeds` must be iterable, such as range(8); got {seeds!r}.") from None
    how = dict(kernels_at=kernels_at, revealed=revealed)
    return _average("seeds", train_each(experiment, width, _distinct("seeds", seeds), dtype, **how))


def _distinct(name, seeds):
    """The seeds, one by one. Raises ValueError, naming the argument that they came from, for one that comes twice."""
    used = set()
    for seed in seeds:
        if seed in used:
            raise ValueError(f"`{name}` must differ: {seed!r} comes twice, and its network would count double.")
        used.add(seed)
        yield seed


def _arrays(result):
    """Names of what is averaged: f_test where the task has test points."""
    return RECORDED if result.f_test is None else (*RECORDED, "f_test")


def _average(name, runs):
    """The Ensemble of runs, of which none is kept; `name` is the argument that they came from."""
    count, seeds, revealed = 0, [], False
    for run in runs:
        values = {key: getattr(run, key) for key in _arrays(run)}
        count, seeds, revealed = count + 1, [*seeds, run.provenance.seed], revealed or run.provenance.revealed
        if count == 1:
            mean, square = values, {key: np.zeros_like(value) for key, value in values.items()}
            continue
        for key, value in values.items():  # Welford's update
            step = value - mean[key]
            mean[key] = mean[key] + step / count
            square[key] += step * (value - mean[key])
    if count < 2:
        raise ValueError(f"`{name}` must hold at least two seeds, so that a standard error exists; got {count}.")
    error = {key: np.sqrt(value / (count - 1) / count) for key, value in square.items()}
    more = dict(kernels_at=run.kernels_at, standard_error=error, dtype=run.provenance.dtype, revealed=revealed)
    return Ensemble(run.experiment, run.provenance.size, tuple(seeds), **mean, **more)


def average(runs):
    """The Ensemble of networks that are trained already, all of one experiment and width.

    Raises TypeError for anything but results, ValueError for those of another engine, for fewer than two, for equal
    seeds, for different experiments or widths.
    """
    runs = listed("runs", runs, Dynamics, "network.train returns them.")
    one_experiment("`runs`", runs)
    kinds = sorted({(run.provenance.engine, run.provenance.size) for run in runs})
    if len(kinds) > 1 or any(engine != "network" for engine, _ in kinds):
        raise ValueError(f"`runs` must be networks of one width, from network.train; got (engine, size) {kinds}.")
    list(_distinct("runs", [run.provenance.seed for run in runs]))
    return _average("runs", runs)


def groups(experiment, width, networks, first, count=8, dtype="float64", revealed=False):
    """`count` independent ensembles of `networks` networks each, seeds first, first + 1, …

    Their spread gives the standard error of any metric, however nonlinear. `revealed` is that of `train`. Raises ValueError unless the numbers are
    whole, `networks` at least 2, `first` at least 0 and `count` at least 1.
    """
    networks, first, count = whole("networks", networks, 2), whole("first", first, 0), whole("count", count, 1)
    runs = train_each(experiment, width, range(first, first + count * networks), dtype, revealed=revealed)
    return [_average("networks", islice(runs, networks)) for _ in range(count)]


def extrapolate(ensembles):
    """Least-squares line in 1/N through ensembles of two or more widths, read off at 1/N = 0.

    Standard errors are propagated. Raises TypeError for anything but ensembles, ValueError for fewer than two widths, for
    different experiments, and for a network that is in two ensembles.
    """
    ensembles = listed("ensembles", ensembles, Ensemble, "network.ensemble returns them.")
    x = np.array([1 / e.width for e in ensembles])
    if len(set(x)) < 2:
        raise ValueError(f"`ensembles` must have at least two different widths; got {[e.width for e in ensembles]}.")
    one_experiment("`ensembles`", ensembles)
    list(_distinct("ensembles", [(e.width, seed) for e in ensembles for seed in e.seeds]))
    seeds = tuple(seed for e in ensembles for seed in e.seeds)
    weights = np.linalg.pinv(np.stack([np.ones_like(x), x], axis=1))[0]
    names = _arrays(ensembles[0])
    mean = {n: sum(w * getattr(e, n) for w, e in zip(weights, ensembles)) for n in names}
    error = {n: np.sqrt(sum((w * e.standard_error[n]) ** 2 for w, e in zip(weights, ensembles))) for n in names}
    return replace(ensembles[0], width=float("inf"), seeds=seeds, **mean, standard_error=error)
