"""Activation functions φ, their derivatives, and their Gaussian averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

FEWEST_NODES = 64  # a dimension, of the coarsest grid
ROUNDING = 1e-8  # relative; what lies further outside is no covariance
SNAP = 1e-14  # correlations this near to ±1 are rounding: the inputs are equal or opposite


def _correlation(Sigma):
    """Standard deviations (outer product) and correlations of Sigma (P, P); zero-norm inputs get correlation 0."""
    sd = np.sqrt(np.diag(Sigma))
    scale = np.outer(sd, sd)
    corr = np.divide(Sigma, scale, out=np.zeros_like(scale), where=scale > 0)
    corr = np.where(1 - np.abs(corr) < SNAP, np.sign(corr), corr)
    return scale, np.clip(corr, -1, 1)


def _checked_covariance(Sigma):
    try:
        Sigma = np.asarray(Sigma, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`Sigma` must be a (P, P) covariance of numbers; got {type(Sigma).__name__}.") from error
    if Sigma.ndim != 2 or Sigma.shape[0] != Sigma.shape[1]:
        raise ValueError(f"`Sigma` must be a (P, P) covariance; got shape {Sigma.shape}.")
    variance = np.diag(Sigma)
    if not np.isfinite(Sigma).all() or (variance < 0).any():
        raise ValueError(f"`Sigma` must be a finite covariance, its diagonal at least 0; got\n{Sigma}")
    rounding = ROUNDING * variance.max(initial=0)
    if np.abs(Sigma - Sigma.T).max(initial=0) > rounding:
        raise ValueError(f"`Sigma` must be symmetric, as covariances are; got\n{Sigma}")
    if (np.abs(Sigma) > np.sqrt(np.outer(variance, variance)) + rounding).any():
        raise ValueError(f"`Sigma` must have |Σ_μν| ≤ √(Σ_μμ Σ_νν), as covariances do; got\n{Sigma}")
    return Sigma


def _check_elementwise(name, function):
    """Raise TypeError or ValueError unless JAX can trace `function` and it keeps the shape of its array."""
    try:
        # Through a lambda: eval_shape on a numpy ufunc itself crashed Python the second time (JAX 0.10).
        shape = jax.eval_shape(lambda h: function(h), jax.ShapeDtypeStruct((2, 3), jnp.float32)).shape
    except Exception as error:
        raise TypeError(
            f"`{name}` must be a function that JAX can trace; on an array it raised {type(error).__name__}. "
            "Write it with jax.numpy in place of numpy, without `if` on values."
        ) from error
    if shape != (2, 3):
        raise ValueError(f"`{name}` must act on each entry; an array of shape (2, 3) became one of shape {shape}.")


@dataclass(frozen=True)
class Activation:
    """An activation φ, elementwise, and its Gaussian averages.

    name       a label for messages and figures
    phi        φ(h), a JAX function of an array of any shape
    phi_dot    φ̇(h); by default the automatic derivative of `phi`
    closed_phi_phi, closed_dot_dot
               closed forms of the averages below as functions of a (P, P) covariance; without them smooth
               functions are integrated to 1e-8 (ValueError if that is not reached, as for a kink)
    """

    name: str
    phi: Callable
    phi_dot: Callable | None = None
    closed_phi_phi: Callable | None = None
    closed_dot_dot: Callable | None = None

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string, a label; got {type(self.name).__name__}.")
        for name in ("phi", "phi_dot", "closed_phi_phi", "closed_dot_dot"):
            function = getattr(self, name)
            if not callable(function) and (name == "phi" or function is not None):
                raise TypeError(f"`{name}` must be a function of an array; got {type(function).__name__}.")
        _check_elementwise("phi", self.phi)
        if self.phi_dot is None:
            object.__setattr__(self, "phi_dot", lambda h, phi=self.phi: jax.jvp(phi, (h,), (jnp.ones_like(h),))[1])
        _check_elementwise("phi_dot", self.phi_dot)

    def phi_phi(self, Sigma):
        """⟨φ(u_μ) φ(u_ν)⟩ for u ~ N(0, Sigma); (P, P) -> (P, P)."""
        Sigma = _checked_covariance(Sigma)
        return self.closed_phi_phi(Sigma) if self.closed_phi_phi else gaussian_average(self.phi, self.phi, Sigma)

    def dot_dot(self, Sigma):
        """⟨φ̇(u_μ) φ̇(u_ν)⟩ for u ~ N(0, Sigma); (P, P) -> (P, P)."""
        Sigma = _checked_covariance(Sigma)
        return (
            self.closed_dot_dot(Sigma) if self.closed_dot_dot else gaussian_average(self.phi_dot, self.phi_dot, Sigma)
        )


def gaussian_average(F, G, Sigma, accuracy=1e-9, most_nodes=1024):
    """⟨F(u_μ) G(u_ν)⟩ for u ~ N(0, Sigma), by the trapezoidal rule, refined until two grids agree.

    The rule converges geometrically for smooth functions. Raises ValueError, with the change between the
    last two grids, if `accuracy` (relative to the largest entry) is not reached with `most_nodes` a dimension.
    """
    if most_nodes < 2 * FEWEST_NODES:
        raise ValueError(f"`most_nodes` must be at least {2 * FEWEST_NODES}, for two grids; got {most_nodes}.")
    scale, corr = _correlation(_checked_covariance(Sigma))
    sd = np.sqrt(np.diag(scale))
    last, nodes = None, FEWEST_NODES
    while nodes <= most_nodes:
        x = np.linspace(-9.5, 9.5, nodes)
        weight = np.exp(-(x**2) / 2)
        weight /= weight.sum()
        with jax.enable_x64(True):
            now = np.empty_like(corr)
            for mu, row in enumerate(corr):
                left = weight * np.asarray(F(jnp.asarray(sd[mu] * x)))
                for nu, c in enumerate(row):
                    u = c * x[:, None] + np.sqrt(1 - c**2) * x[None, :]
                    now[mu, nu] = left @ np.asarray(G(jnp.asarray(sd[nu] * u))) @ weight
        change = np.inf if last is None else np.abs(now - last).max()
        if change <= accuracy * max(np.abs(now).max(), 1e-300):
            return now
        last, nodes = now, 2 * nodes
    raise ValueError(
        f"the Gaussian average did not converge: the last two grids differ by {change:.1e} with {most_nodes} nodes. "
        "The activation is probably not smooth; give `closed_phi_phi` and `closed_dot_dot`."
    )


def _relu_phi_phi(Sigma):
    scale, corr = _correlation(Sigma)
    theta = np.arccos(corr)
    return scale / np.pi * (np.sqrt(1 - corr**2) + (np.pi - theta) * corr)


def _relu_dot_dot(Sigma):
    scale, corr = _correlation(Sigma)
    # At a zero-norm input φ̇(0) = 0, as in `phi_dot`.
    return np.where(scale > 0, 1 - np.arccos(corr) / np.pi, 0.0)


def _erf_phi_phi(Sigma):
    one_plus = 1 + 2 * np.diag(Sigma)
    return 2 / np.pi * np.arcsin(2 * Sigma / np.sqrt(np.outer(one_plus, one_plus)))


def _erf_dot_dot(Sigma):
    one_plus = 1 + 2 * np.diag(Sigma)
    return 4 / np.pi / np.sqrt(np.outer(one_plus, one_plus) - 4 * Sigma**2)


ACTIVATIONS = {
    "relu": Activation(
        "relu",
        lambda h: jnp.sqrt(2.0).astype(h.dtype) * jnp.maximum(h, 0),
        lambda h: jnp.sqrt(2.0).astype(h.dtype) * (h > 0),
        _relu_phi_phi,
        _relu_dot_dot,
    ),
    "tanh": Activation("tanh", jnp.tanh, lambda h: 1 - jnp.tanh(h) ** 2),
    "erf": Activation(
        "erf",
        jax.scipy.special.erf,
        lambda h: 2 / np.sqrt(np.pi) * jnp.exp(-(h**2)),
        _erf_phi_phi,
        _erf_dot_dot,
    ),
    "linear": Activation("linear", lambda h: h, jnp.ones_like, lambda Sigma: Sigma.copy(), np.ones_like),
}


def activation_from(value):
    """The Activation named `value`, or `value` itself if it is one. Raises ValueError or TypeError otherwise."""
    if isinstance(value, Activation):
        return value
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"`activation` must be one of {', '.join(map(repr, ACTIVATIONS))} or an Activation object; got {value!r}."
    )
