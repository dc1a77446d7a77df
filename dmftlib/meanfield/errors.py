"""What is known of the noise of a sampled solution, and the part of it that can be taken off."""

from __future__ import annotations

import numpy as np

from .. import lazy
from ..stability import warn
from ..step import entk


def lasting(difference):
    """β (T,): the share of a difference (T, n) at step 0 that is there still at step t, at least 0 and at most 1."""
    beta = np.clip(difference @ difference[0] / max(difference[0] @ difference[0], 1e-300), 0.0, 1.0)
    beta[0] = 1.0
    return beta


def trained_with(K, experiment):
    """Outputs (…, T, n) of training with static kernels K (…, n, n): f(t+1) = f(t) + η K Δ(t), f(0) = 0.

    With weight decay those of a homogeneous φ, of which W(0) times c makes c^{L+1} times the output and c^{2L} times K.
    """
    left, depth = experiment.left, experiment.hidden_layers
    masks = np.ones((len(left), 1)) if experiment.masks is None else experiment.masks
    masks, ratio = masks.repeat(K.shape[-1] // masks.shape[1], axis=1), (experiment.keep or 1.0) ** depth
    f, shape = [np.zeros(K.shape[:-1])], (*K.shape[:-2], *experiment.task.y.shape)
    for t in range(1, experiment.steps):
        Delta = masks[t - 1] * experiment.error(f[-1].reshape(shape)).reshape(f[-1].shape)
        step = experiment.lr * np.einsum("...mn,...n->...m", K, Delta)
        f.append(ratio * ((experiment.keep or 1.0) * f[-1] + left[t - 1] ** (2 * depth) * step))
    return np.stack(f, axis=-2)


def without_known_noise(experiment, samples, sweeps):
    """Records of the sweeps (2 halves and a coarser one, T, …) without what is known to be noise: control variates.

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
    first, second, coarse = sweeps["K"][:, 0]
    misses = ((first + second) / 2 - known["K"], (first - second) / 2, coarse - first)
    off, noise, tol = (np.linalg.norm(x) / np.linalg.norm(known["K"]) for x in misses)
    # Of a small K two halves may agree by chance: then what is usual for so many samples counts.
    if off > max(4 * np.hypot(noise, tol), 2 * (experiment.hidden_layers + 1) / np.sqrt(samples)):
        warn(
            f"K at initialization is {100 * off:.2g} % off its exact value, which noise of {100 * noise:.2g} % and `tol` do "
            "not explain: do not trust this run before networks confirm it. Try more `samples` and a smaller `tol`.",
        )
    names = ("Phi", "G", "G_tilde", "G_tilde_tilde")
    apart = {name: (sweeps[name][0] - sweeps[name][1]).reshape(len(sweeps[name][0]), -1) for name in names}
    shared = [apart[name] / (np.linalg.norm(known[name]) or 1.0) for name in ("Phi", "G")]
    beta = lasting(np.concatenate(shared, axis=1))
    betas = dict.fromkeys(names, beta)
    if apart["G_tilde"].shape[1] > 1 and not np.allclose(sweeps["G_tilde"], sweeps["G"]):
        betas |= {name: lasting(apart[name]) for name in names[2:]}
    better = {n: sweeps[n] - b[:, None, None, None] * (sweeps[n][:, :1] - known[n]) for n, b in betas.items()}
    better["K"] = entk(experiment.K_x, better["Phi"], better["G_tilde"], experiment.branch, experiment.convolution)
    if len(beta) == experiment.steps:
        y, f = experiment.task.y, sweeps["f"].copy()
        kernels = np.stack([*sweeps["K"][:, 0], known["K"]])
        with np.errstate(over="ignore", invalid="ignore"):
            static = trained_with(kernels, experiment)
            miss = (np.cumsum(beta) / np.arange(1, len(beta) + 1))[:, None] * (static[:3] - static[3])
        f[:, :, : len(y)] -= np.nan_to_num(miss, nan=0.0, posinf=0.0, neginf=0.0).reshape(*miss.shape[:2], *y.shape)
        better["f"] = f
    return better
