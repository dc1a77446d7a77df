"""Runs that diverge, that enlarge differences, or that rounding stops: errors and warnings."""

from __future__ import annotations

import sys
import warnings

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, eigs

MOST_EIGENVALUES = 256  # of a larger kernel only the largest eigenvalue is computed
LEAST_UPDATE = 20  # × rounding. At 8 outputs are off by 0.4 %, at 0.8 by 16 % (tests/science/test_results.py)
NOTICEABLE = 10.0  # growth of differences in a run: below it those of a narrow network, a few per cent, stay small
ROUNDS = 40  # of power iteration
UNBOUNDED = 100.0  # a loss this many times the initial one is divergence, not a transient
LEFT_OUT = 1e-5  # × 1/γ₀²: loss of outputs that are 0 but for what a mean field leaves out of its fields


class Diverged(RuntimeError):
    """The loss became NaN, overflowed or grew without bound."""


def warn(message):
    """Warn at the line outside of this library that called it: Python tells a warning once a line."""
    frame, level = sys._getframe(1), 2
    # By name, since the __init__ of a dataclass has no file; a task is also made by dataclasses.replace.
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in (__package__, "dataclasses"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def check_records(experiment, records, first_step=0, K=None):
    """Raise Diverged if the outputs in `records` are not finite or their loss has grown without bound.

    K is the kernel (P, P) at the start of the run where it is known: then the message has its largest eigenvalue.
    """
    f = np.asarray(records["f"])
    y = experiment.task.y
    with np.errstate(over="ignore", invalid="ignore"):
        known = f[:, : len(y)].reshape(len(f), *y.shape)
        loss, initial = (experiment.losses(x).mean(axis=1) for x in (known, 0 * known[:1]))
        # At step 0 the outputs are 0; targets that are zero or tiny still need a scale.
        bad = ~np.isfinite(f.reshape(len(f), -1)).all(axis=1) | ~(
            loss <= UNBOUNDED * max(initial[0], LEFT_OUT / experiment.gamma0**2)
        )
    for name in records.keys() & {"K", "Phi", "G"}:
        bad |= ~np.isfinite(records[name].reshape(len(f), -1)).all(axis=1)
    if not bad.any():
        return
    step = int(np.argmax(bad))
    if first_step + step == 0:
        raise Diverged(
            "outputs or kernels are not finite at step 0, before anything was learned. The activation or its derivative "
            "is probably not finite at some preactivation: check `activation`, and the size of the inputs."
        )
    edge, curvature = "", experiment.loss.curvature
    if K is not None and curvature and np.isfinite(K).all():
        edge = f", where lr·λ of the largest eigenvalue of K began at {experiment.lr * curvature * largest_eigenvalue(learned_from(experiment, K, 0)):.2g} (stable below {experiment.edge:.3g})"
    raise Diverged(
        f"the run diverged: at step {first_step + step} the loss is {loss[step]:.3g} (initially "
        f"{initial[0]:.3g}). `lr` = {experiment.lr:g} is probably too large for the growing kernel{edge}. "
        "dmftlib.network.stable_lr(experiment) finds a smaller one by trying."
    )


def learned_from(experiment, K, steps):
    """K (T', …) of these steps, or one K, with columns of 0 for the samples × outputs that the step does not learn from."""
    if experiment.batches is None:
        return K
    return K * experiment.masks[steps].repeat(experiment.task.outputs, axis=-1)[..., None, :]


def eigenvalues(A):
    """Eigenvalues of matrices (…, P, P): all, or of a large one the largest in modulus alone, to 0.1 %."""
    if A.shape[-1] > MOST_EIGENVALUES:
        if A.ndim > 2:
            return np.stack([eigenvalues(matrix) for matrix in A])
        start = np.random.default_rng(0).standard_normal(len(A))
        try:
            return eigs(A, 1, v0=start, return_eigenvectors=False, tol=1e-3)
        except ArpackNoConvergence:  # a pair of nearly equal size, say
            values = np.linalg.eigvals(A)
            return values[[np.abs(values).argmax()]]
    return np.linalg.eigvals(A)


def largest_eigenvalue(K):
    """The largest |eigenvalue| of a kernel (P, P), to 0.1 % of a large one: what lr times it must stay below 2."""
    return np.abs(eigenvalues(K)).max()


def largest_of_fields(below, g, g_tilde, C, mask=None):
    """The largest eigenvalue of K = Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ, to about 1 %, by power iteration without K.

    below        (P, any) with Φ^ℓ = below belowᵀ, ℓ = 0 … L
    g, g_tilde   (P·C, S) with G̃^ℓ = ⟨g g̃⟩, ℓ = 1 … L
    mask         (P,): 1 for samples that the step learns from
    """
    xp, (n, S) = g[0].__array_namespace__(), g[0].shape
    top = xp.tile(xp.eye(C, dtype=g[0].dtype), (n // C, 1))

    def product(v):
        v, total = v if mask is None else v * mask.repeat(C), 0.0
        for Phi, a, b, size in zip(below, (*g, top), (*g_tilde, top), (*[S] * len(g), 1)):
            sent = (v[:, None] * b).reshape(n // C, C, -1).sum(axis=1).T @ Phi
            total = total + (a * (Phi @ sent.T).repeat(C, axis=0)).sum(axis=1) / size
        return total

    v = xp.asarray(np.random.default_rng(0).standard_normal(n), g[0].dtype)
    for _ in range(ROUNDS):
        v = v / xp.sqrt(v @ v)
        known, v = v, product(v)
    return known @ v


def _with_substeps(factors, m):
    """What a step multiplies a difference by, of its `factors` 1 − lr·λ without substeps: the larger root of
    r² = r (1 − (1 + a) lr·λ) + a lr·λ, a = (m − 1)/(2m), which is −1 where lr·λ is at the edge, 2m/(2m − 1).
    """
    if m == 1:
        return factors
    a = (m - 1) / (2 * m)
    half = (factors - a * (1 - factors)) / 2
    root = np.sqrt(half**2 + a * (1 - factors) + 0j)
    return half + np.where((half * root.conj()).real < 0, -root, root)


def _exceeds(experiment):
    if experiment.substeps == 1:
        return "|1 − lr·λ| exceeds 1"
    return f"a step of `substeps` = {experiment.substeps}, stable for lr·λ below {experiment.edge:.3g}, enlarges errors"


def warn_if_overshooting(experiment, edge, step):
    """Warn where lr·λ > 2, of substeps `Experiment.edge`, for the largest eigenvalue λ of K at this step, times the curvature of the loss."""
    if (size := experiment.lr * (experiment.loss.curvature or 0.0) * edge) > experiment.edge:
        warn(
            f"{_exceeds(experiment)} for the largest eigenvalue λ of K at step {step} (lr·λ = {size:.3g}): theory and networks "
            "may part for a good reason there. Choose a smaller `lr`.",
        )


def warn_if_unstable(experiment, K, kernels_at=None, noise=0.0):
    """Warn, with the step, where |1 − lr·λ| > 1 for an eigenvalue λ of K, times the curvature of the loss: a step then enlarges
    errors and differences; of substeps, where |r| > 1 (`_with_substeps`). Of K count the columns of the samples that the step learns from.

    Where the step overshoots, Re lr·λ > 1, it warns at once: for a positive λ this is lr·λ > 2. Where it does not, λ is
    negative or imaginary, and growth is slow; rounding turns a λ = 0 into that. It warns if differences grow tenfold
    or more in the steps that K stands for, after `noise`, K's relative error, is taken off.
    """
    if experiment.loss.curvature is None:
        return
    steps = np.arange(len(K)) if kernels_at is None else kernels_at
    K = learned_from(experiment, K, steps)
    lr = experiment.lr * experiment.loss.curvature
    factors = _with_substeps(eigenvalues(np.eye(K.shape[-1]) - lr * K), experiment.substeps)
    overshoot = np.where(factors.real < 0, np.abs(factors), 0.0).max(axis=1)
    steady = np.where(factors.real < 0, 0.0, factors)
    steady = steady[np.arange(len(K)), np.abs(steady).argmax(axis=1)]
    known = np.abs(steady) - lr * noise * np.linalg.norm(K, axis=(1, 2))
    duration = np.diff(steps, append=steps[-1] + 1)
    growth = np.exp(min(duration @ np.log(np.maximum(known, 1.0)), 700.0))
    for size, why, beyond, fix in (
        (overshoot, f"largest value {overshoot.max():.3g}", overshoot.max() > 1, "Choose a smaller `lr`."),
        (
            known,
            f"differences grow {growth:.3g}-fold in this run",
            growth > NOTICEABLE,
            "Choose a smaller `lr`."
            if np.real(steady[np.argmax(known)]) < 1
            else "A smaller `lr` does not help where λ is negative: the rule itself drives these errors up.",
        ),
    ):
        if beyond:
            warn(
                f"{_exceeds(experiment)} for an eigenvalue λ of K from step {int(steps[np.argmax(size > 1)])} on ({why}): "
                f"theory and networks may part for a good reason there. {fix}",
            )
            return


def warn_if_rounded(experiment, dtype):
    """Warn where updates are so small that rounding of the weights, which are of size 1, takes part of them."""
    task = experiment.task
    update = experiment.lr * experiment.gamma0 * np.linalg.norm(task.y) * np.linalg.norm(task.X) / np.sqrt(task.X.size)
    if 0 < update < LEAST_UPDATE * np.finfo(dtype).eps:
        fix = 'Use dtype="float64"' if dtype == "float32" else "Use a larger `gamma0`, or lazy.predict for γ₀ → 0"
        warn(
            f"lr·γ₀·‖y‖ makes updates of about {update:.1g} to weights of size 1, near the rounding of {dtype}: outputs "
            f"may be off, or not move at all. {fix}.",
        )
