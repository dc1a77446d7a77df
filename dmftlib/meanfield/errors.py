"""What is known of the noise of a sampled solution, and the part of it that can be taken off."""

from __future__ import annotations

import numpy as np

from .. import lazy
from ..stability import warn


def with_start(sweeps, scale=1.0):
    """(T,): the difference of the halves at each step, over `scale`, times that at step 0, summed over all entries."""
    first, second = sweeps[:2]
    start = np.subtract(first[0], second[0], dtype=float).ravel()
    return np.array([np.subtract(*pair, dtype=float).ravel() @ start for pair in zip(first, second)]) / scale**2


def lasting(overlaps):
    """β (T,): the share of the difference at step 0 that is there still at step t, at least 0 and at most 1."""
    beta = np.clip(overlaps / max(overlaps[0], 1e-300), 0.0, 1.0)
    beta[0] = 1.0
    return beta


def trained_with(K, experiment):
    """Outputs (…, T, n) of training with static kernels K (…, n, n): f(t+1) = f(t) + η K Δ(t), f(0) = 0, by the rule of the run.

    With weight decay those of a homogeneous φ, of which W(0) times c makes c^{L+1} times the output and c^{2L} times K.
    """
    left, depth = experiment.left, experiment.hidden_layers
    masks = np.ones((len(left), 1)) if experiment.masks is None else experiment.masks
    masks, ratio = masks.repeat(K.shape[-1] // masks.shape[1], axis=1), (experiment.keep or 1.0) ** depth
    f, shape = [np.zeros(K.shape[:-1])], (*K.shape[:-2], *experiment.task.y.shape)
    rates, last = experiment.rates, 0.0
    for t in range(1, experiment.steps):
        Delta = masks[t - 1] * experiment.error(f[-1].reshape(shape)).reshape(f[-1].shape)
        step = experiment.lr * np.einsum("...mn,...n->...m", K, Delta)
        step = left[t - 1] ** (2 * depth) * step
        if rates is not None:
            step, last = rates[t - 1, 0] * step + rates[t - 1, 1] * ratio * last, step
        f.append(ratio * ((experiment.keep or 1.0) * f[-1] + step))
    return np.stack(f, axis=-2)


def without_known_noise(experiment, samples, sweeps):
    """What is known to be noise of the records of the sweeps (lists of 2 halves and a coarser one): control variates.

    By name: of outputs what is to be taken off, (3, T, …), of a kernel how long what it misses at step 0 lasts, (T,), and
    what it is there.

    At initialization `lazy` has every kernel exactly. What a sweep misses there it goes on missing for a while, so
    β(t) times that is taken off, where β is fitted to the difference of the halves, over all entries of Φ and G: of one
    kernel alone it would be fitted to the noise whose size that difference states. Pseudo-gradients may fade with the
    error, so that G̃ of more than one entry, unless it is G, and ⟨g̃g̃⟩ have a β of their own. The difference of two halves
    is independent of their mean, so the fit does not bias the mean. K is made of the corrected kernels. Of the outputs on
    training points goes what the kernels of step 0, if they were static, would do to them, times the mean of β up to then:
    as γ₀ → 0 that is all their noise under rules that use the gradient.
    Nothing is taken off where the lazy limit has no averages, as for some rules of one's own and kinked activations.
    Warns if K at initialization is further off than its noise explains.
    """
    try:
        known = vars(lazy.kernels(experiment))
    except (NotImplementedError, ValueError, TypeError, AttributeError):  # whatever a rule of one's own does to fields
        return {}
    first, second, coarse = K = [np.asarray(sweep[0], float) for sweep in sweeps["K"]]
    misses = ((first + second) / 2 - known["K"], (first - second) / 2, coarse - first)
    off, noise, tol = (np.linalg.norm(x) / np.linalg.norm(known["K"]) for x in misses)
    # Of a small K two halves may agree by chance: then what is usual for so many samples counts.
    if off > max(4 * np.hypot(noise, tol), 2 * (experiment.hidden_layers + 1) / np.sqrt(samples)):
        warn(
            f"K at initialization is {100 * off:.2g} % off its exact value, which noise of {100 * noise:.2g} % and `tol` do "
            "not explain: do not trust this run before networks confirm it. Try more `samples` and a smaller `tol`.",
        )
    names = ("Phi", "G", "G_tilde", "G_tilde_tilde")

    beta = lasting(sum(with_start(sweeps[name], np.linalg.norm(known[name]) or 1.0) for name in ("Phi", "G")))
    betas = dict.fromkeys(names, beta)
    if sweeps["G_tilde"][0][0].size > 1 and not all(map(np.allclose, sweeps["G_tilde"], sweeps["G"])):
        betas |= {name: lasting(with_start(sweeps[name])) for name in names[2:]}
    found = {name: (beta, known[name]) for name, beta in betas.items()}
    if len(beta) == experiment.steps:
        with np.errstate(over="ignore", invalid="ignore"):
            static = trained_with(np.stack([*K, known["K"]]), experiment)
            miss = (np.cumsum(beta) / np.arange(1, len(beta) + 1))[:, None] * (static[:3] - static[3])
        miss = np.nan_to_num(miss, nan=0.0, posinf=0.0, neginf=0.0)
        found["f"] = miss.reshape(*miss.shape[:2], *experiment.task.y.shape)
    return found


def take_known_noise_off(name, sweeps, known_noise):
    """Correct one record of the sweeps in place."""
    for k, sweep in enumerate(sweeps):
        if any(sweep is other for other in sweeps[:k]):  # of one hidden layer the coarse sweep is the first
            continue
        if name == "f":
            miss = known_noise["f"][k]
            sweep[:, : miss.shape[1]] -= miss
        else:
            beta, start = known_noise[name]
            miss = sweep[0] - start
            for kernel, share in zip(sweep, beta):
                kernel -= share * miss
