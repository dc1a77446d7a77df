"""Losses ℒ = Σ_μ ℓ(y_μ, f_μ). Training sees a loss through its error Δ_μ = −∂ℓ/∂f_μ only (BP Eq. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np


@partial(jax.jit, static_argnums=0)
def _derivative(value, y, f):
    return -jax.grad(lambda f: value(y, f).sum())(f)


@dataclass(frozen=True)
class Loss:
    """A loss of each sample, and its error.

    name      a label
    value     ℓ(y, f), of arrays (…, C), C outputs, to (…,): a function of JAX arrays
    gradient  −∂ℓ/∂f, (…, C); by default the automatic derivative of `value`
    targets   which y (P, C) make sense, as a function to True or False, and in words
    curvature  the largest eigenvalue of ∂²ℓ/∂f², by which K counts for the stability of a step; None if it is not known: then
              nothing warns of a step that is too large

    Raises TypeError for what is no function.
    """

    name: str
    value: Callable
    gradient: Callable | None = None
    targets: tuple[Callable, str] | None = None
    curvature: float | None = None

    def __post_init__(self):
        for name in ("value", "gradient"):
            function = getattr(self, name)
            if not callable(function) and (name == "value" or function is not None):
                raise TypeError(f"`{name}` must be a function of targets and outputs; got {type(function).__name__}.")

    def __reduce__(self):
        """Pickled by name if it is one of the library's."""
        if LOSSES.get(self.name) is self:
            return loss_from, (self.name,)
        return Loss, (self.name, self.value, self.gradient, self.targets, self.curvature)

    def error(self, y, f):
        """Δ (…, C) of targets and outputs (…, C), in numpy or JAX as they are."""
        Delta = self.gradient(y, f) if self.gradient else _derivative(self.value, y, f)
        return np.asarray(Delta) if isinstance(f, np.ndarray) else Delta

    def check(self, y):
        """Raise ValueError unless the targets (P, C) make sense."""
        if self.targets and not self.targets[0](y):
            words = self.targets[1]
            raise ValueError(
                f"`y` must be {words} for the loss {self.name!r}; got {y[0].tolist()} for the first sample."
            )


def _squared(y, f):
    return ((y - f) ** 2).sum(axis=-1)


def _difference(y, f):
    return y - f


def _logistic(y, f):
    return y.__array_namespace__().logaddexp(0 * f, -y * f).sum(axis=-1)


def _logistic_error(y, f):
    return y * (1 - y.__array_namespace__().tanh(y * f / 2)) / 2  # y/(1 + e^{yf}), without overflow


def _cross_entropy(y, f):
    xp, most = y.__array_namespace__(), f.max(axis=-1, keepdims=True)
    return xp.log(xp.exp(f - most).sum(axis=-1)) + most[..., 0] - ((y + 1 / y.shape[-1]) * f).sum(axis=-1)


def _cross_entropy_error(y, f):
    odds = y.__array_namespace__().exp(f - f.max(axis=-1, keepdims=True))
    return y + 1 / y.shape[-1] - odds / odds.sum(axis=-1, keepdims=True)


def _are_signs(y):
    return np.isin(y, (-1, 1)).all()


def _is_centred(y):
    return y.shape[1] > 1 and np.allclose(np.sort(y + 1 / y.shape[1], axis=1), np.eye(y.shape[1])[-1])


# Of the squared loss ½ Σ (y − f)², `value` is Σ (y − f)², as losses are reported.
SQUARED = Loss("squared", _squared, _difference, curvature=1.0)
LOGISTIC = Loss("logistic", _logistic, _logistic_error, (_are_signs, "−1 or 1"), 0.25)
CROSS_ENTROPY = Loss(
    "cross_entropy",
    _cross_entropy,
    _cross_entropy_error,
    (_is_centred, "1 − 1/C for a sample's own class and −1/C for the others, as Task.from_labels codes them,"),
    0.5,
)
LOSSES = {loss.name: loss for loss in (SQUARED, LOGISTIC, CROSS_ENTROPY)}


def loss_from(value):
    """The Loss named `value`, or `value` itself if it is one. Raises ValueError otherwise."""
    if isinstance(value, Loss):
        return value
    if isinstance(value, str) and value in LOSSES:
        return LOSSES[value]
    raise ValueError(f"`loss` must be one of {', '.join(map(repr, LOSSES))} or a Loss object; got {value!r}.")
