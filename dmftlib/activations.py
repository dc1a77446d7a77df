"""Activation functions φ, their derivatives, and their Gaussian averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

FEWEST_TERMS, ROUNDING_OF_A_TERM = 32, 1e-15  # of Mehler's formula
REACH, NODES = 14.0, 2048  # of the grid for its coefficients, in standard deviations
ROWS_AT_ONCE = 32
FEWEST_NODES, MOST_NODES = 64, 1024  # a dimension, of the grids in two dimensions
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


def _coefficients(F, sd, count):
    """F(σx) in orthonormal Hermite polynomials h_k, (P, count), F(σx) with the root of its weight on a grid of x, and the
    largest change of the former on twice the grid: that of a kink is large.
    """
    x = np.linspace(-REACH, REACH, NODES)
    # h_k times the root of the Gaussian density, which stays bounded; sums on this grid are integrals to rounding.
    now, before = np.exp(-(x**2) / 4) / (2 * np.pi) ** 0.25 * np.sqrt(x[1] - x[0]), np.zeros_like(x)
    with jax.enable_x64(True):
        values = np.asarray(F(jnp.asarray(np.outer(sd, x)))) * now
    rows = []
    for k in range(count):
        rows.append(now)
        now, before = (x * now - np.sqrt(k) * before) / np.sqrt(k + 1), now
    rows = np.stack(rows, axis=1)
    coefficients = values @ rows
    return coefficients, values, np.abs(coefficients - 2 * values[:, ::2] @ rows[::2]).max(initial=0)


def _mehler(c, d, corr):
    """Σ_k c_kμ d_kν ρ_μν^k, a few rows at a time: in the processor's cache."""
    total = np.empty_like(corr)
    for start in range(0, len(corr), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        power, part = np.ones_like(corr[rows]), np.zeros_like(corr[rows])
        for left, right in zip(c[rows].T, d.T):
            if left.any() and right.any():
                part += left[:, None] * right * power
            power *= corr[rows]
        total[rows] = part
    return total


def gaussian_average(F, G, Sigma, accuracy=1e-9, most_terms=512):
    """⟨F(u_μ) G(u_ν)⟩ for u ~ N(0, Sigma), by Mehler's formula: Σ_k c_kμ d_kν ρ_μν^k with correlations ρ.

    c and d are the coefficients of F(σ_μ x) and G(σ_ν x) in Hermite polynomials. For smooth functions they fall
    geometrically in √k, and what k terms leave out is at most |ρ|^k √(rest of ⟨F²⟩ · rest of ⟨G²⟩). Entries whose bound
    exceeds `accuracy` (relative to the largest entry) after `most_terms`, as for steep functions, are integrated on a
    grid. Raises ValueError when that does not reach the accuracy either.
    """
    if most_terms < FEWEST_TERMS:
        raise ValueError(f"`most_terms` must be at least {FEWEST_TERMS}; got {most_terms}.")
    scale, corr = _correlation(_checked_covariance(Sigma))
    sd = np.sqrt(np.diag(scale))
    count = FEWEST_TERMS
    while True:
        (c, left, kink), (d, right, other_kink) = (_coefficients(function, sd, count) for function in (F, G))
        rests = [np.maximum((v**2).sum(axis=1) - (x**2).sum(axis=1), 0) for x, v in ((c, left), (d, right))]
        norms = [np.sqrt((v**2).sum(axis=1).max(initial=0)) for v in (left, right)]
        allowed = accuracy * norms[0] * norms[1]
        missed = np.sqrt(np.outer(*rests)) * np.abs(corr) ** count > allowed
        missed = (missed & (np.abs(corr) < 1)) | (kink > accuracy * norms[0]) | (other_kink > accuracy * norms[1])
        if 2 * count > most_terms or not missed.any():
            break
        count *= 2
    for coefficients in (c, d):  # of odd and even functions every second one is rounding
        coefficients[:, np.abs(coefficients).max(axis=0, initial=0) < ROUNDING_OF_A_TERM] = 0
    now = _mehler(c, d, corr)
    for sign in (1, -1):
        for mu, equal in enumerate(corr == sign):  # one integral an entry, and few entries: mostly the diagonal
            if equal.any():
                now[mu, equal] = right[equal, ::sign] @ left[mu]
    for mu, nu in np.argwhere(missed):
        now[mu, nu] = _on_a_grid(F, G, sd[mu], sd[nu], corr[mu, nu], allowed)
    return now


def _on_a_grid(F, G, sd, sd_other, c, accuracy):
    """One entry of a Gaussian average by the trapezoidal rule, refined until two grids agree."""
    last, nodes = np.inf, FEWEST_NODES
    while nodes <= MOST_NODES:
        x = np.linspace(-9.5, 9.5, nodes)
        weight = np.exp(-(x**2) / 2)
        weight /= weight.sum()
        with jax.enable_x64(True):
            u = c * x[:, None] + np.sqrt(1 - c**2) * x[None, :]
            now = (weight * np.asarray(F(jnp.asarray(sd * x)))) @ np.asarray(G(jnp.asarray(sd_other * u))) @ weight
        if abs(now - last) <= max(accuracy, 1e-300):
            return now
        change, last, nodes = abs(now - last), now, 2 * nodes
    raise ValueError(
        f"the Gaussian average did not converge: the last two grids differ by {change:.1e} with {MOST_NODES} nodes. "
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
