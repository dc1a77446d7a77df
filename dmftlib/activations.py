"""Activation functions φ, their derivatives, and their Gaussian averages."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

ACCURACY = 1e-9  # of a Gaussian average, relative to the largest of its kernel
TERMS, ROUNDING_OF_A_TERM = 32, 1e-15  # of Mehler's formula, the fewest and at a time
REACH, NODES = 14.0, 2048  # of the grid for its coefficients, in standard deviations
MOST_NODES, STEEPEST = 65536, 300.0  # where h has a larger standard deviation, these nodes do not resolve tanh
ROWS_AT_ONCE = 64  # of a kernel that Mehler's formula takes together
ROUNDING = 1e-8  # relative; what lies further outside is no covariance
SNAP = 1e-14  # correlations this near to ±1 are rounding: the inputs are equal or opposite
PROBED = np.array([[0.0, -3.0, -1.1, -0.31], [0.073, 0.4, 1.0, 2.7]])  # where φ and φ̇ are looked at first
SAME = 1e-9  # relative: two ways to compute a function agree to this
LINE = np.concatenate([sign * np.geomspace(1e-6, 1e6, 4001) for sign in (-1, 1)])  # where φ(h) = c·h is looked for
LINE_ROUNDING = 1e-15  # relative, of φ there


@contextmanager
def computing(dtype):
    """JAX settings of a computation in "float64" or "float32", whatever those of the process: it may be strict with types."""
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _correlation(covariance, variance, other):
    """Standard deviations (outer product) and correlations; zero-norm inputs get correlation 0."""
    scale = np.sqrt(variance) * np.sqrt(other)
    corr = covariance / (scale if variance.all() and other.all() else np.where(scale > 0, scale, np.inf))
    if (near := np.abs(corr) > 1 - SNAP).any():
        corr[near] = np.sign(corr[near])
    return scale, corr


def _checked_covariance(Sigma):
    if np.ma.is_masked(Sigma):
        raise ValueError("`Sigma` has masked entries, and a covariance has none. Leave out the samples they belong to.")
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
        with computing("float32"):
            shape = jax.eval_shape(lambda h: function(h), jax.ShapeDtypeStruct((2, 3), jnp.float32)).shape
    except Exception as error:
        raise TypeError(
            f"`{name}` must be a function that JAX can trace; on an array it raised {type(error).__name__}. "
            "Write it with jax.numpy in place of numpy, without `if` on values."
        ) from error
    if shape != (2, 3):
        raise ValueError(f"`{name}` must act on each entry; an array of shape (2, 3) became one of shape {shape}.")


def _probe(functions):
    """Raise ValueError unless all `functions`, by name, are finite at ordinary h and act on each entry by itself."""

    def look(h, h32):
        try:
            alone = [jax.vmap(function)(h.reshape(-1, 1)).reshape(h.shape) for function in functions.values()]
        except Exception as error:
            raise ValueError(
                f"an activation must act on each neuron by itself; on a single one `phi` raised {type(error).__name__}."
            ) from error
        together, short = ([function(x) for function in functions.values()] for x in (h, h32))
        return together, alone, short

    with computing("float64"):
        found = jax.jit(look)(jnp.asarray(PROBED), jnp.asarray(PROBED, jnp.float32))
    for name, together, alone, short in zip(functions, *found):
        together, alone = np.asarray(together), np.asarray(alone)
        bad = PROBED[~np.isfinite(together + alone + np.asarray(short))]
        if bad.size:
            what = {"phi": "φ", "phi_dot": "the derivative φ̇"}[name]
            raise ValueError(
                f"`{name}`: {what} of the activation is not finite at h = {bad[0]:g}. Write it so that it is, with a second "
                "jnp.where around what its argument must not be, or pass `phi_dot`, the derivative, yourself."
            )
        off = np.abs(together - alone)
        if off.max() > SAME * np.abs(alone).max():
            raise ValueError(
                f"`{name}` must act on each neuron by itself; at h = {PROBED.flat[off.argmax()]:g} it is "
                f"{alone.flat[off.argmax()]:.3g} alone and {together.flat[off.argmax()]:.3g} among others. What mixes "
                "neurons, such as a layer norm or a softmax, is no activation: the theory has no average for it."
            )


def _check_closed_averages(function):
    """Raise TypeError unless `function` takes ⟨uv⟩ (2, 3), ⟨uu⟩ (2, 1) and ⟨vv⟩ (1, 3), and makes two arrays (2, 3) of them."""
    try:
        found = [np.shape(average) for average in function(np.full((2, 3), 0.5), np.ones((2, 1)), np.ones((1, 3)))]
    except Exception as error:
        raise TypeError(
            f"`closed_averages` must be a function of ⟨uv⟩ (P, Q), ⟨uu⟩ (P, 1) and ⟨vv⟩ (1, Q); on such arrays it raised "
            f"{type(error).__name__}: {error}. Write it as def closed_averages(covariance, variance, other): …"
        ) from error
    if found != [(2, 3)] * 2:
        raise TypeError(f"`closed_averages` must return ⟨φφ⟩ and ⟨φ̇φ̇⟩ of the shape (2, 3) of ⟨uv⟩; got shapes {found}.")


@dataclass(frozen=True)
class Activation:
    """An activation φ, elementwise, and its Gaussian averages.

    name       a label for messages and figures
    phi        φ(h), a JAX function of an array of any shape
    phi_dot    φ̇(h); by default the automatic derivative of `phi`
    closed_averages
               closed forms ⟨φ(u) φ(v)⟩ and ⟨φ̇(u) φ̇(v)⟩ of the averages below, a pair, as a function of numpy arrays ⟨uv⟩ (P, Q),
               ⟨uu⟩ (P, 1) and ⟨vv⟩ (1, Q); without them smooth functions are integrated to 1e-8 (ValueError if that is
               not reached, as for a kink)

    Raises TypeError or ValueError for a φ or φ̇ that JAX cannot trace, that is not finite at h = 0 or near it, or that
    mixes neurons, and for `closed_averages` that do not take and return such arrays.
    """

    name: str
    phi: Callable
    phi_dot: Callable | None = None
    closed_averages: Callable | None = None

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string, a label; got {type(self.name).__name__}.")
        for name in ("phi", "phi_dot", "closed_averages"):
            function = getattr(self, name)
            if not callable(function) and (name == "phi" or function is not None):
                raise TypeError(f"`{name}` must be a function of an array; got {type(function).__name__}.")
        _check_elementwise("phi", self.phi)
        if self.phi_dot is None:
            object.__setattr__(self, "phi_dot", lambda h, phi=self.phi: jax.jvp(phi, (h,), (jnp.ones_like(h),))[1])
        _check_elementwise("phi_dot", self.phi_dot)
        try:
            hash(self)
        except TypeError as error:
            raise TypeError(f"the functions of an activation must be hashable, as plain ones are: {error}.") from None
        if self.closed_averages is not None:
            _check_closed_averages(self.closed_averages)
        if not {self.phi, self.phi_dot} <= KNOWN:
            _probe(dict(phi=self.phi, phi_dot=self.phi_dot))

    def __reduce__(self):
        """Pickled by name if it is one of the library's: JAX functions cannot be."""
        if ACTIVATIONS.get(self.name) is self:
            return activation_from, (self.name,)
        return Activation, (self.name, self.phi, self.phi_dot, self.closed_averages)

    @cached_property
    def slope(self):
        """c where φ(h) = c·h, and None for any other φ: found by evaluating φ, whatever its name."""
        with computing("float64"):
            zero, one, *values = np.asarray(self.phi(jnp.asarray(np.concatenate([[0.0, 1.0], LINE]))))
        linear = zero == 0 and (np.abs(values - one * LINE) <= LINE_ROUNDING * np.abs(one * LINE)).all()
        return float(one) if linear else None

    def phi_phi(self, Sigma):
        """⟨φ(u_μ) φ(u_ν)⟩ for u ~ N(0, Sigma); (P, P) -> (P, P)."""
        return self.averages(["phi"], *_with_itself(Sigma))["phi"]

    def dot_dot(self, Sigma):
        """⟨φ̇(u_μ) φ̇(u_ν)⟩ for u ~ N(0, Sigma); (P, P) -> (P, P)."""
        return self.averages(["phi_dot"], *_with_itself(Sigma))["phi_dot"]

    def averages(self, names, covariance, left, right):
        """⟨F(u_μ) F(v_ν)⟩ by name, for the functions F with these names, "phi" and "phi_dot", or for both if they come together.

        Gaussians u are the `left` ones and v the `right` ones, of this covariance (P, Q).
        """
        if self.closed_averages:
            return dict(
                zip(("phi", "phi_dot"), self.closed_averages(covariance, left.variance[:, None], right.variance[None]))
            )
        return {name: averages(F, F, covariance, left, right) for name in names for F in [getattr(self, name)]}


def _with_itself(Sigma):
    """Sigma and its Gaussians, on both sides. Raises TypeError or ValueError if it is no covariance."""
    Sigma = _checked_covariance(Sigma)
    return (Sigma, *[Gaussians(np.diag(Sigma))] * 2)


def _on_a_grid(F, sd, nodes):
    """A grid of x, the root of the weight of each node, and F(σx) times it, (P, nodes)."""
    x = np.linspace(-REACH, REACH, nodes)
    root = np.exp(-(x**2) / 4) / (2 * np.pi) ** 0.25 * np.sqrt(x[1] - x[0])
    h = np.outer(sd, x)
    with computing("float64"):
        values = np.asarray(F(jnp.asarray(h)))
    if not np.isfinite(values).all():
        raise ValueError(
            f"the activation or its derivative is not finite at h = {h[~np.isfinite(values)][0]:.3g}, where an average over "
            f"h of standard deviation {sd.max():.3g} needs it. Write it in a stable form, or scale the inputs."
        )
    return x, root, values * root


def _polynomials(x, root, count):
    """Orthonormal Hermite polynomials times the root of the weight of each node, which stay bounded: TERMS at a time, (nodes, TERMS)."""
    now, before = root, np.zeros_like(x)
    for start in range(0, count, TERMS):
        rows = np.empty((len(x), TERMS))
        for k in range(start, start + TERMS):
            rows[:, k - start] = now
            now, before = (x * now - np.sqrt(k) * before) / np.sqrt(k + 1), now
        yield rows


class Gaussians:
    """Gaussian u_μ of these variances (n,), and functions of them in Hermite polynomials, each made once."""

    def __init__(self, variance):
        self.variance, self.sd = variance, np.sqrt(variance)
        self._nodes, self._expanded = {}, {}

    def nodes(self, F, accuracy):
        """Nodes of a grid that resolves F(σx), by powers of 2. Raises ValueError if even the finest does not."""
        if (F, accuracy) not in self._nodes:
            self._nodes[F, accuracy] = _nodes(F, self.sd, accuracy)
        return self._nodes[F, accuracy]

    def expanded(self, F, count, nodes):
        """Coefficients of F(σx) in `count` polynomials (n, count), the mean of its square (n,), and what they leave of it."""
        if (F, count, nodes) not in self._expanded:
            x, root, values = _on_a_grid(F, self.sd, nodes)
            # Sums on this grid are integrals to rounding.
            coefficients = np.concatenate([values @ rows for rows in _polynomials(x, root, count)], axis=1)
            square = (values**2).sum(axis=1)
            rest = np.maximum(square - (coefficients**2).sum(axis=1), 0)
            # Of odd and even functions every second one is rounding.
            coefficients[:, np.abs(coefficients).max(axis=0, initial=0) < ROUNDING_OF_A_TERM] = 0
            self._expanded[F, count, nodes] = coefficients, square, rest
        return self._expanded[F, count, nodes]


def _mehler(c, d, corr):
    """Σ_k c_kμ d_kν ρ_μν^k by Horner's scheme, some rows at a time: in the processor's cache.

    Of odd and even functions every second term is 0: then the scheme runs in ρ².
    """
    terms = np.flatnonzero(c.any(axis=0) & d.any(axis=0))
    if not len(terms):
        return np.zeros_like(corr)
    step, total, d = int(np.gcd.reduce(np.diff(terms))) or 1, np.zeros_like(corr), np.ascontiguousarray(d.T)
    new, power = np.empty((2, min(ROWS_AT_ONCE, len(c)), d.shape[1]))
    for top in range(0, len(c), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        rho, part = corr[rows], total[rows]
        term, rho_to_step = new[: len(rho)], power[: len(rho)]
        np.power(rho, step, out=rho_to_step)
        for k in range(terms[-1], terms[0] - 1, -step):
            part *= rho_to_step
            np.multiply(c[rows, k, None], d[k], out=term)
            part += term
        if terms[0]:
            part *= rho ** terms[0]
    return total


def _nodes(F, sd, accuracy):
    largest, nodes = np.array([sd.max(initial=0)]), NODES
    while nodes <= MOST_NODES:
        x, root, values = _on_a_grid(F, largest, nodes)
        rows = next(_polynomials(x, root, TERMS))
        norm = np.sqrt((values**2).sum())
        # On every third node: an odd number, since every second one has the same error at a kink at 0.
        change = np.abs(values @ rows - 3 * values[:, ::3] @ rows[::3]).max()
        change = max(change, np.abs(norm**2 - 3 * (values[:, ::3] ** 2).sum()) / max(norm, 1e-300))
        if change <= accuracy * norm:
            return nodes
        nodes *= 2
    cause = (
        f"The inputs are large, h has a standard deviation of {largest[0]:.3g}: scale them, for example X / X.std()."
        if largest[0] > STEEPEST
        else "The activation is probably not smooth; give `closed_averages`."
    )
    raise ValueError(
        f"the Gaussian average did not converge: {MOST_NODES} nodes and a third of them differ by {change / norm:.1e}. {cause}"
    )


def gaussian_average(F, G, Sigma, accuracy=ACCURACY, most_terms=512):
    """⟨F(u_μ) G(u_ν)⟩ for u ~ N(0, Sigma): `averages` of Gaussians with themselves."""
    return averages(F, G, *_with_itself(Sigma), accuracy, most_terms)


def averages(F, G, covariance, left, right, accuracy=ACCURACY, most_terms=512):
    """⟨F(u_μ) G(v_ν)⟩ of Gaussians u and v of this covariance, by Mehler's formula: Σ_k c_kμ d_kν ρ_μν^k with correlations ρ.

    c and d are the coefficients of F(σ_μ x) and G(σ_ν x) in Hermite polynomials. For smooth functions they fall
    geometrically in √k, and what k terms leave out is at most |ρ|^k √(rest of ⟨F²⟩ · rest of ⟨G²⟩). Entries whose bound
    exceeds `accuracy` (relative to the largest entry) after `most_terms`, as for steep functions, are integrated as a
    convolution. Raises ValueError where no grid resolves F and G.
    """
    if most_terms < TERMS:
        raise ValueError(f"`most_terms` must be at least {TERMS}; got {most_terms}.")
    corr = _correlation(covariance, left.variance[:, None], right.variance[None])[1]
    nodes, count = max(side.nodes(function, accuracy) for side in (left, right) for function in {F, G}), TERMS
    one = np.abs(corr) == 1
    while True:
        (c, F_square, rest), (d, G_square, other) = left.expanded(F, count, nodes), right.expanded(G, count, nodes)
        allowed, missed = accuracy * np.sqrt(F_square.max(initial=0) * G_square.max(initial=0)), np.zeros((0, 2), int)
        if np.sqrt(rest.max(initial=0) * other.max(initial=0)) > allowed:
            missed = np.argwhere((np.sqrt(np.outer(rest, other)) * np.abs(corr) ** count > allowed) & ~one)
        if 2 * count > most_terms or not len(missed):
            break
        count *= 2
    now = _mehler(c, d, corr)
    # Of equal and opposite inputs the sum converges slowest, and the average is one integral.
    if left is right and F is G:
        np.fill_diagonal(now, F_square)
        np.fill_diagonal(one, False)
    if one.any() or len(missed):
        found = np.concatenate([np.argwhere(one), missed])
        rows, columns = found.T
        (mu, rows), (nu, columns) = (np.unique(places, return_inverse=True) for places in (rows, columns))
        u, v = _on_a_grid(F, left.sd[mu], nodes)[2], _on_a_grid(G, right.sd[nu], nodes)[2]
        for place, m, n in zip(found, rows, columns):
            rho = corr[*place]
            reflected = v[n, :: int(np.sign(rho))]
            now[*place] = u[m] @ reflected if abs(rho) == 1 else _convolved(u[m], reflected, abs(rho))
    return now


def _convolved(left, right, c):
    """⟨F G⟩ at correlation c > 0 from F(σx) and G(σ'y) with the root of their weight, on one grid that resolves both.

    The density of (x, y) is a product of functions of x, of y and of x − y. The last is a Gaussian of variance s²/c, with
    s² = 1 − c²: in Fourier space a factor, right however narrow it is.
    """
    nodes = len(left)
    x = np.linspace(-REACH, REACH, nodes)
    weight = np.exp(-(x**2) * (1 - c) / (4 * (1 + c)))
    k = 2 * np.pi * np.fft.rfftfreq(nodes, x[1] - x[0])
    factor = np.exp(-(k**2) * (1 - c**2) / (2 * c))
    factor[1:] *= 2  # k and −k; nothing is left at the largest
    spectra = np.fft.rfft(left * weight), np.fft.rfft(right * weight)
    return float((factor * (spectra[0].conj() * spectra[1]).real).sum() / (nodes * np.sqrt(c)))


def _relu_averages(covariance, variance, other):
    scale, corr = _correlation(covariance, variance, other)
    dot_dot = 1 - np.arccos(corr) / np.pi
    phi_phi = scale * (np.sqrt(1 - corr**2) / np.pi + corr * dot_dot)
    # At a zero-norm input φ̇(0) = 0, as in `phi_dot`.
    return phi_phi, dot_dot if variance.all() and other.all() else np.where(scale > 0, dot_dot, 0.0)


def _erf_averages(covariance, variance, other):
    one_plus, other = 1 + 2 * variance, 1 + 2 * other
    phi_phi = 2 / np.pi * np.arcsin(2 * covariance / (np.sqrt(one_plus) * np.sqrt(other)))
    return phi_phi, 4 / np.pi / np.sqrt(one_plus * other - 4 * covariance**2)


def _linear_averages(covariance, variance, other):
    return covariance.copy(), np.ones_like(covariance)


# These take arrays of numpy as well as of JAX, and return their kind.
def _relu(h):
    return math.sqrt(2) * h.__array_namespace__().maximum(h, 0)


def _relu_dot(h):
    return math.sqrt(2) * (h > 0).astype(h.dtype)


def _tanh(h):
    return h.__array_namespace__().tanh(h)


def _tanh_dot(h):
    return 1 - _tanh(h) ** 2


def _erf(h):
    return (scipy.special if isinstance(h, np.ndarray) else jax.scipy.special).erf(h)


def _erf_dot(h):
    return 2 / math.sqrt(math.pi) * h.__array_namespace__().exp(-(h**2))


def _identity(h):
    return h


def _one(h):
    return h.__array_namespace__().ones_like(h)


# Not probed when the library is imported, but in its tests: nothing is compiled then.
KNOWN = {_relu, _relu_dot, _tanh, _tanh_dot, _erf, _erf_dot, _identity, _one}

ACTIVATIONS = {
    "relu": Activation("relu", _relu, _relu_dot, _relu_averages),
    "tanh": Activation("tanh", _tanh, _tanh_dot),
    "erf": Activation("erf", _erf, _erf_dot, _erf_averages),
    "linear": Activation("linear", _identity, _one, _linear_averages),
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


def with_derivative(activation, h):
    """φ(h) and φ̇(h). Of numpy arrays they are such arrays, too: functions of one's own are compiled for them."""
    if isinstance(h, np.ndarray) and not {activation.phi, activation.phi_dot} <= KNOWN:
        return [np.asarray(value) for value in _compiled(activation, h)]
    phi = activation.phi(h)
    return phi, 1 - phi**2 if activation.phi_dot is _tanh_dot else activation.phi_dot(h)


# It runs often and compiles fast, so it is worth the compiler's full effort, whatever the process asks for.
@partial(jax.jit, static_argnames="activation", compiler_options={"xla_backend_optimization_level": 3})
def _compiled(activation, h):
    return activation.phi(h), activation.phi_dot(h)
