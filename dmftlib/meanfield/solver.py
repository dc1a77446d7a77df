"""Infinite width in the rich regime: the step of learning in samples, swept once over time (BP Eqs. 5, 7, 8).

Each layer is a set of sampled neurons, and each infinite random matrix is known where it has acted (`revealed`).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from numbers import Real

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from ..activations import computing
from ..experiment import check_experiment
from ..machine import give_back_freed_memory, make_room, refuse_what_does_not_fit
from ..probe import is_linear
from ..results import KERNELS, RECORDED, Dynamics, Provenance
from ..stability import Diverged, warn_if_overshooting, warn_if_rounded, warn_if_unstable
from ..step import entk
from ..validate import check_dtype, check_steps, checked_seed, listed, one_experiment, whole
from .draws import TooFewSamples
from .errors import take_known_noise_off, without_known_noise
from .responses import responses
from .span import DIRECTIONS_A_ROUND
from .sweep import TOL_POWER, HalfSweep, coarser

MOST_TOL = 3e-2
TOGETHER = 2**20  # entries of recorded kernels that are averaged together
SIDE_BY_SIDE = 2**16  # entries of a field, of both halves, from which sweeps at the same time end sooner than in turn
LEAST_TOL = {"float64": 1e-16, "float32": 1e-6}  # of sampled fields: what is left below it is rounding
EXACT = 1e-24  # of linear fields, in float64: directions are kept in the span of what was drawn


def _room(experiment):
    """More Gaussians than a layer of `experiment` begins with: its start, and what `HalfSweep` reserves in both bases."""
    return 12 * len(experiment.task.X_all) + 32 * experiment.task.y.size + 4 * DIRECTIONS_A_ROUND


def _solve_linear(experiment, seed, record, kernels_at):
    """A linear network, swept in as few samples as hold its directions: more of them change nothing but rounding."""
    S = _room(experiment)
    # Far above one direction for each field of each step, and three images for each direction.
    most = S + 8 * experiment.steps * (len(experiment.task.X_all) + experiment.task.y.size)
    while True:
        try:
            return HalfSweep(experiment, S, seed, EXACT, "float64", record, kernels_at, linear=True).run()
        except TooFewSamples as error:
            if S > most:
                raise RuntimeError(
                    f"the fields of this linear network span more directions than its steps and samples allow, {most}: "
                    "rounding has taken over, or the rule's fields do not follow its equations. Pass a smaller `lr` or "
                    "fewer `steps`."
                ) from error
            S *= 2


def _resample(last, samples, seed):
    """The fields `last` of a linear network, (L, P, S) by name, as `samples` Gaussian neurons: (L, samples, P).

    Their joint covariance stays what it was; it is all that a few samples know of the neurons.
    """
    fields = np.concatenate([np.asarray(value, np.float64) for value in last.values()], axis=1)
    drawn = []
    for l, rows in enumerate(fields):
        factor = np.linalg.qr(rows.T, mode="r") / np.sqrt(rows.shape[1])
        drawn.append(np.random.default_rng((seed, l)).standard_normal((samples, len(factor))) @ factor)
    ends = np.cumsum([value.shape[1] for value in last.values()])[:-1]
    return dict(zip(last, np.split(np.stack(drawn), ends, axis=2)))


def _check_devices(devices, samples):
    """Raise TypeError or ValueError unless `devices` is None or can share the samples of each half evenly."""
    if devices is None:
        return
    if not isinstance(devices, (list, tuple)) or not all(isinstance(device, jax.Device) for device in devices):
        raise TypeError(f"`devices` must be a list of JAX devices, such as jax.devices(); got {devices!r}.")
    if not devices or samples % (2 * len(devices)):
        share = 2 * max(len(devices), 1)
        raise ValueError(
            f"`samples` must be divisible by twice the number of `devices`, {share}; got {samples}. Pass "
            f"{-(-samples // share) * share}."
        )


class Solution(Dynamics):
    """Dynamics at infinite width, which have response functions."""

    def responses(self, errors=False):
        history = self._recorded("responses")
        if self.experiment.convolution is not None:
            raise ValueError(
                "responses are those of fully connected networks; got a `convolution`. Two-time kernels exist."
            )
        if "responses" not in history:
            tol_errors = self.provenance.errors["tol"]
            history["responses"] = responses(self.experiment, history, max(tol_errors["Phi"], tol_errors["G"]))
        return history["responses"][bool(errors)]

    responses.__doc__ = Dynamics.responses.__doc__


def _summarized(name, sweeps, P, tol, errors):
    """The mean of the halves, in float64; relative errors of it are added to `errors`, of outputs on test points by themselves.

    Of large kernels some rows are taken at a time.
    """
    mean = np.empty(sweeps[0].shape)
    parts = {name: np.s_[:]} if name != "f" else {"f": np.s_[:, :P], "f_test": np.s_[:, P:]}
    # With error ∝ tol^TOL_POWER the change from a coarser run of the same draws gives the error at tol itself.
    shrink, sizes = max(float(coarser(tol) / tol) ** TOL_POWER - 1, 1e-9), {}
    blocks = [...]
    if name != "f" and mean.size > TOGETHER:
        starts = range(0, mean.shape[-2], max(1, TOGETHER // mean.shape[-1]))
        rows = [slice(start, start + starts.step) for start in starts]
        blocks = [(*index, some) for index in np.ndindex(mean.shape[:-2]) for some in rows]
    for block in blocks:
        first, second, rough = (np.asarray(sweep[block], float) for sweep in sweeps)
        mean[block] = (first + second) / 2
        pairs = dict(monte_carlo=(first - second) / 2, tol=(rough - first) / shrink, size=mean[block])
        for part, place in parts.items():
            for source, array in pairs.items():
                sizes.setdefault((source, part), []).append(np.linalg.norm(array[place]))
    for part, place in parts.items():
        if mean[place].size:
            size, *found = (np.hypot.reduce(sizes[source, part]) for source in ("size", *errors))
            for source, error in zip(errors, found):
                errors[source][part] = float(error / max(size, 1e-300))
    return mean


def _check_substeps(experiment, kernels_at):
    """Raise ValueError unless every second step, of those that have kernels every one, is also one of a run of double steps."""
    if experiment.steps % 2 == 0:
        raise ValueError(
            f"`steps` must be odd with `substeps`, so that the last is one of a run of double steps, which tells their error; got "
            f"{experiment.steps}. Pass {experiment.steps + 1}."
        )
    if kernels_at is not None and (kernels_at % 2).any():
        raise ValueError(
            f"`kernels_at` must be even steps with `substeps`, as those of a run of double steps, which tells their error; got "
            f"{kernels_at.tolist()}."
        )


def _error_of_steps(name, one, double, P):
    """Relative errors of a record: a third of what steps of twice the size change, the rule being of second order."""
    one = one[:: 2 if len(one) > len(double) else 1]
    parts = {name: np.s_[:]} if name != "f" else {"f": np.s_[:, :P], "f_test": np.s_[:, P:]}
    return {
        part: float(np.linalg.norm(one[place] - double[place]) / max(3 * np.linalg.norm(one[place]), 1e-300))
        for part, place in parts.items()
        if one[place].size
    }


def solve(experiment, samples=4096, seed=0, tol=1e-3, dtype="float64", record=False, kernels_at=None, devices=None):
    """Mean field dynamics of an experiment at infinite width; returns Dynamics.

    samples   sampled neurons a layer, in two independent halves whose difference gives the Monte Carlo error
    tol       directions are added to a basis while more than this share of the variance of a step's fields is outside
              it, or more than 10 tol × their mean variance for a single field
    record    keep all fields, for two-time kernels and responses
    kernels_at  steps at which kernels are recorded, such as (0, 39), or () for none (not with `record` or filters); all by default, which takes much
              memory and time for many samples μ: see machine.estimate
    devices   JAX devices that share the samples, such as jax.devices(); the default device alone by default

    Kernels at step 0 are the lazy ones, to rounding; what the samples missed there is taken off later ones as well, as far
    as it lasts, and what came of it off the outputs f, if kernels of all steps are recorded. Test points change nothing of the training result.
    With weight decay, noise of f grows as 1/γ₀ towards the lazy limit, unless φ(c·h) = c·φ(h), as of "relu".

    With `substeps`, `provenance.errors` has the source "steps": how far the run is from one that does them one by one. One half of
    the samples is swept once more for it, with steps of twice the size, so `steps` must be odd, and `kernels_at` even.

    A linear activation without `residual` or `convolution` is exact (to rounding, with every built-in rule) in any number of samples above the number of
    directions: as few as that are swept, in float64; `samples` is the number of neurons in final_h and final_z, tol and
    dtype are immaterial.

    Raises ValueError for bad arguments or fewer samples than directions, MemoryError for a run that would not fit this
    machine; Diverged, with the step, when the loss is not finite or grows without bound; RuntimeError for a
    linear network whose fields take more directions than its equations can span. Warns where |1 − lr·λ| exceeds 1 for an
    eigenvalue λ of K at a recorded step, or for the largest at the last step if none is recorded, and where updates are lost in the rounding of `dtype`.
    """
    check_experiment(experiment)
    check_dtype(dtype)
    few = record or experiment.convolution is not None
    kernels_at = check_steps("kernels_at", kernels_at, experiment.steps, least=int(few))
    samples, seed = whole("samples", samples, 4), checked_seed(seed)
    if experiment.substeps > 1:
        _check_substeps(experiment, kernels_at)
    if samples % 2:
        raise ValueError(f"`samples` must be even (two independent halves); got {samples}. Pass {samples + 1}.")
    _check_devices(devices, samples)
    if devices and experiment.convolution is not None:
        raise ValueError(
            f"`devices` cannot share the samples of a convolution; got {devices!r}. Leave them out, or take convolution = None."
        )
    least = LEAST_TOL[dtype]
    if not isinstance(tol, Real) or not least <= tol <= MOST_TOL:
        raise ValueError(f"`tol` must be a share of variance, {least:g} ≤ tol ≤ {MOST_TOL:g} in {dtype}; got {tol!r}.")
    # Patches of linear fields are sums of Gaussians at several offsets; they are swept like others.
    linear = experiment.residual is None and experiment.convolution is None
    linear = linear and is_linear(experiment.rule, experiment.phi.slope)
    refuse_what_does_not_fit(experiment, samples, dtype, record, kernels_at)
    make_room()
    dtype = "float64" if linear else dtype  # in float32 rounding is too near to the small directions that are kept
    warn_if_rounded(experiment, dtype)

    def in_dtype(function):
        """`function`, run with the precision asked for: a setting of each thread."""

        def run(*arguments):
            with computing(dtype), np.errstate(all="ignore"):
                return function(*arguments)

        return run

    def draw(half, experiment=experiment, record=record, kernels_at=kernels_at):
        return HalfSweep(experiment, samples // 2, (seed, half), tol, dtype, record, kernels_at, devices=devices)

    def double():
        """The first half, run with steps of twice the size."""
        sizes = dict(lr=2 * experiment.lr, substeps=2 * experiment.substeps, steps=(experiment.steps + 1) // 2)
        e, at = replace(experiment, **sizes), None if kernels_at is None else kernels_at // 2
        try:
            return _solve_linear(e, (seed, 0), False, at) if linear else draw(0, e, False, at).run()
        except Diverged as error:
            raise Diverged(
                f"steps of twice the size, which tell the error of `substeps`, are too large: {error}"
            ) from error

    jobs = [double] if experiment.substeps > 1 else []
    alone = linear or devices or len(experiment.inputs) * samples < SIDE_BY_SIDE

    if linear:
        coarse = in_dtype(lambda key: _solve_linear(experiment, key, record, kernels_at))((seed, 0))
        halves = [coarse, coarse]
        doubled = [in_dtype(double)() for double in jobs]
    else:
        # One sweep alone leaves half of two cores idle. Small sweeps wait for each other's Python, and those that share
        # devices for each other at every sum.
        # Products of numpy with threads of their own would wait for each other, and small ones for their threads.
        # More sweeps than cores at a time would take their memory, and no less time.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(1 if alone else min(3, os.cpu_count())) as threads:
            halves = [in_dtype(draw)(half) for half in (0, 1)]
            # One hidden layer has no matrix to reveal, so nothing to truncate.
            coarse = in_dtype(HalfSweep.coarser)(halves[0]) if experiment.hidden_layers > 1 else halves[0]
            runs = [partial(HalfSweep.run, half) for half in dict.fromkeys((*halves, coarse))]
            doubled = list(threads.map(in_dtype(lambda job: job()), runs + jobs))[len(runs) :]
    history = _history(halves, experiment.task, experiment.error) if record else None

    ranks = [[(W.features.count, W.sent.count + W.recorded.count) for W in half.weights[1:-1]] for half in halves]
    rank = tuple(tuple(pair) for pair in np.max(np.array(ranks, int), axis=0).tolist())
    outside = max(half.recorded("outside").max() for half in halves)
    edge = float(np.mean([half.last["edge"] for half in halves]))
    lasts = [{name: half.last[name] for name in ("h", "z")} for half in halves]
    # Both halves, and the coarser sweep of the first; only their records are kept.
    runs = *halves, coarse
    taken = {run: {name: run.taken(name) for name in RECORDED} for run in runs}
    sweeps, known_noise = {name: [taken[run][name] for run in runs] for name in RECORDED}, {}
    of_steps = {
        part: error
        for run, name in product(doubled, RECORDED)
        for part, error in _error_of_steps(name, sweeps[name][0], run.taken(name), experiment.task.P).items()
    }
    del halves, coarse, runs, jobs, doubled, taken
    if not alone:
        give_back_freed_memory()
    if linear:
        last = _resample(lasts[0], samples, seed)
    else:
        last = {n: np.concatenate([half.pop(n) for half in lasts], axis=2).transpose(0, 2, 1) for n in ("h", "z")}
    if not linear and (kernels_at is None or 0 in kernels_at[:1]):
        known_noise = without_known_noise(experiment, samples, sweeps)
    records, errors = {}, dict(monte_carlo={}, tol={})
    for name in ("f", "Phi", "G_tilde", "K", "G", "G_tilde_tilde"):
        if known_noise and name == "K":
            how = experiment.branch, experiment.convolution
            sweeps["K"] = [entk(experiment.K_x, *kernels, *how) for kernels in zip(sweeps["Phi"], sweeps["G_tilde"])]
        elif name in known_noise:
            take_known_noise_off(name, sweeps[name], known_noise)
        records[name] = _summarized(name, sweeps[name], experiment.task.P, tol, errors)
        if name == "K":  # which is made of those before it
            sweeps = {name: sweeps[name] for name in ("G", "G_tilde_tilde")}
    errors |= dict(steps=of_steps) if of_steps else {}
    if len(records["K"]):
        warn_if_unstable(experiment, records["K"], kernels_at, sum(source["K"] for source in errors.values()))
    else:
        warn_if_overshooting(experiment, edge, experiment.steps - 1)
    provenance = Provenance("meanfield", samples, seed, dtype, rank, float(outside), errors, tol)
    return Solution.from_records(experiment, provenance, records, last, history, kernels_at)


def average(runs):
    """Mean of solutions of one experiment with different seeds; their spread becomes its Monte Carlo error.

    What is not averaged (fields, history) is that of the first. Raises TypeError for anything but solutions, ValueError
    for fewer than two, for equal seeds and for different experiments.
    """
    runs = listed("runs", runs, Dynamics, "meanfield.solve returns them.")
    if len(runs) < 2:
        raise ValueError(f"`runs` must hold at least two solutions, so that they have a spread; got {len(runs)}.")
    seeds = [run.provenance.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"`runs` must have different seeds, or their spread says nothing; got {seeds}.")
    one_experiment("`runs`", runs)
    names = RECORDED if runs[0].f_test is None else (*RECORDED, "f_test")
    values = {name: np.stack([getattr(run, name) for run in runs]) for name in names}
    mean = {name: value.mean(axis=0) for name, value in values.items()}
    error = {name: value.std(axis=0, ddof=1) / np.sqrt(len(runs)) for name, value in values.items()}
    noise = {name: float(np.linalg.norm(error[name]) / max(np.linalg.norm(mean[name]), 1e-300)) for name in names}
    first = runs[0].provenance
    errors = first.errors | dict(monte_carlo=noise)
    parts = tuple(run.provenance for run in runs)
    provenance = replace(first, size=sum(part.size for part in parts), errors=errors, parts=parts)
    return replace(runs[0], provenance=provenance, **mean)


def _history(halves, task, error):
    """Recorded fields of all samples, (T, L, rows, samples), by name, and what else a half's neurons were run with."""
    names = [name for name in halves[0].records if name not in ("f", "outside", *KERNELS)]
    fields = {name: np.concatenate([half.recorded(name) for half in halves], axis=-1) for name in names}

    def driven_by(half):
        Delta = error(half.recorded("f")[:, : task.P]).reshape(-1, task.y.size)
        return dict(Delta=Delta, frozen=jax.tree.map(lambda rows: np.asarray(rows[: half.P], np.float64), half.frozen))

    return fields | dict(halves=[driven_by(half) for half in halves])
