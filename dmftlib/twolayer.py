r"""Closed forms: one hidden layer, φ(h) = h, whitened data (K_x = I), continuous time (BP Eqs. 7 and 8).

Put L = 1, φ(h) = h and Φ⁰ = K_x = I into the mean field equations and let the step go to 0. Each sample has its own
input direction, so a field moves with its own error only, and the readout w is the true gradient of every sample:

    dh_μ/dt = γ₀ Δ_μ g̃_μ      dw/dt = γ₀ Σ_μ Δ_μ h_μ      g_μ = w      γ₀ f_μ = ⟨w h_μ⟩      Δ = y − f

from h_μ(0) = χ_μ and w(0), independent unit Gaussians. Averages of products of Gaussians then close:

    H = ⟨h hᵀ⟩      G̃_μν = ⟨w g̃_ν⟩      K = H + G̃ ⊙ I

For GD and FA g̃ is the same for every sample, so the equations keep their form when samples are rotated. Turn the
first axis along y: only the components h = Σ_μ y_μ h_μ/‖y‖ and Δ = y·Δ/‖y‖ move. In their equations h, Δ and f
without an index are these components, and y means ‖y‖. What is orthogonal to y starts with no error and stays as it
was: H = I + (H_y − 1) yyᵀ/‖y‖². Hebb's g̃ differs between samples; its components move each by itself.

Time is replaced by the accumulated error τ = γ₀∫Δ dt (a in the paper), which starts at 0.

`times` is in units of lr × step, as everywhere; it may end with `numpy.inf`, the state when learning is over.
`solve(experiment)` picks the form for an Experiment, and says why when there is none.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.integrate import solve_ivp

from .experiment import Experiment
from .losses import LOSSES
from .results import Provenance, Result
from .rules import DFA, FA, GD, GLN, Hebb, Rule
from .task import Task
from .validate import positive

WHITE = 1e-10  # largest entry of |K_x − I| that still counts as whitened: rounding, not correlations
TOLERANCE = 1e-12  # of the integrated states
MOST_CALLS = 50_000  # of a flow; γ₀ = 100 needs 500 to 700
LEARNED = 40.0  # the time after which a Δ that decays at a rate of at least 1 is below rounding


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayer(Result):
    """A two-layer solution at the asked times, exact. Names and shapes are those of Dynamics (L = 1), so that `compare`
    and figures read both.

    times (T,)                       any, rising; `compare` wants those of the other result, lr × step
    Delta (T, P)                     errors Δ = y − f
    Phi, G, G_tilde (T, 1, P, P)     ⟨h hᵀ⟩, ⟨g gᵀ⟩, ⟨g g̃ᵀ⟩; likewise G_tilde_tilde, ⟨g̃ g̃ᵀ⟩
    """

    task: Task
    rule: Rule
    gamma0: float
    times: np.ndarray
    Delta: np.ndarray
    Phi: np.ndarray
    G: np.ndarray
    G_tilde: np.ndarray
    G_tilde_tilde: np.ndarray

    continuous, provenance = True, Provenance("twolayer", 0, 0, "float64")  # of size 0: nothing was sampled

    def relative_error(self, name):
        """0: nothing was sampled."""
        return 0.0

    @cached_property
    def experiment(self):
        """What was solved. Time is continuous: `lr` is the mean interval of finite `times`, 1 where there is none."""
        finite = self.times[np.isfinite(self.times)]
        lr = np.ptp(finite) / (len(finite) - 1) if len(finite) > 1 else 1.0
        return Experiment(self.task, self.rule, 1, "linear", self.gamma0, float(lr), len(self.times))

    @property
    def kernels_at(self):
        """Every time has its kernels."""
        return np.arange(len(self.times))

    @property
    def f(self):
        """Outputs y − Δ, shape (T, P)."""
        return self.task.y - self.Delta

    @property
    def f_test(self):
        """Outputs at test points x, shape (T, P_test), or None: Σ_μ K_x(x, x_μ) f_μ. The network is linear in x, and
        across the training inputs, which are orthonormal, nothing is learned.
        """
        task = self.task
        return None if task.X_test is None else self.f @ (task.X @ task.X_test.T) / task.D

    @property
    def H(self):
        """The hidden kernel ⟨h hᵀ⟩, shape (T, P, P)."""
        return self.Phi[:, 0]

    @property
    def K(self):
        """eNTK H + G̃ ⊙ K_x, shape (T, P, P)."""
        return self.H + self.G_tilde[:, 0] * np.eye(self.task.P)


def _checked(task, gamma0, times):
    """γ₀ and times as arrays, or an error that names the argument."""
    if not isinstance(task, Task):
        raise TypeError(f"`task` must be a dmftlib.Task; got {type(task).__name__}. Build one with Task.whitened(y).")
    if task.y.ndim > 1:
        raise ValueError(
            f"`task` must have one target a sample, y (P,), for the closed forms; got y of shape {task.y.shape}. Pass "
            'y[:, 0] if it has one column; for more use meanfield.solve with activation "linear", which is exact.'
        )
    off = np.abs(task.K_x - np.eye(task.P)).max()
    if off > WHITE:
        raise ValueError(
            f"`task` must be whitened for the closed forms: the largest entry of |K_x − I| is {off:.2g}. Use "
            'Task.whitened(y), or meanfield.solve with activation "linear", which is exact for any data.'
        )
    if not task.y.any():
        raise ValueError("`task` has targets that are all zero: nothing would move. Give at least one other target.")
    gamma0 = positive("gamma0", gamma0, "richness; the lazy limit 0 has its own engine, dmftlib.lazy")
    try:
        times = np.array(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`times` must be an array of numbers of shape (T,); got {type(times).__name__}.") from error
    if times.ndim != 1 or not times.size:
        raise ValueError(f"`times` must have shape (T,) with at least one time; got shape {times.shape}.")
    if np.isnan(times).any() or times[0] < 0 or (times[:-1] >= times[1:]).any():
        raise ValueError(f"`times` must rise from 0 or later, each once; got {times}. Only the last may be infinite.")
    return gamma0, times


def _flow(derivative, start, times, end, scale):
    """Solution (T, n) of dx/dt = derivative(x) from x(0) = start at `times`; at an infinite time, `end`.

    `scale` is the order of magnitude that the states reach: small ones need a smaller absolute tolerance.
    Raises RuntimeError, with the time reached, when the integration does not get to the last time.
    """
    finite = times[np.isfinite(times)]
    if not finite.size:
        return np.array([end])
    calls = itertools.count()

    def stopped(t):
        return RuntimeError(
            f"the integration stopped at time {t:.3g} of {finite[-1]:.3g}. Rates grow with `gamma0` times the targets: "
            "make one of them smaller, or ask for earlier `times`."
        )

    def guarded(t, x):
        dx = derivative(x)
        if next(calls) == MOST_CALLS or not np.isfinite(dx).all():
            raise stopped(t)
        return dx

    with np.errstate(all="ignore"):  # what overflows is not finite
        # LSODA turns to an implicit method where the flow is stiff: rates grow as γ₀, learning takes a time of O(1).
        run = solve_ivp(
            guarded,
            (0.0, finite[-1] or 1.0),
            start,
            "LSODA",
            finite,
            rtol=TOLERANCE,
            atol=TOLERANCE * min(1.0, scale or 1.0),
        )
    if not run.success:
        raise stopped(run.t[-1] if len(run.t) else 0.0)
    return run.y.T if finite.size == times.size else np.vstack([run.y.T, end])


def _along_y(task, rule, gamma0, times, share, H_y, G, G_tilde, G_tilde_tilde):
    """TwoLayer of a rule whose g̃ is the same for every sample, from time courses (T,) along y; `share` is Δ_y/y."""
    unit, ones = task.y / np.linalg.norm(task.y), np.ones((1, task.P, task.P))
    everywhere = lambda x: x[:, None, None, None] * ones  # noqa: E731
    Phi = np.eye(task.P) + (H_y - 1)[:, None, None, None] * np.outer(unit, unit)
    kernels = map(everywhere, (G, G_tilde, G_tilde_tilde))
    return TwoLayer(task, rule, gamma0, times, share[:, None] * task.y, Phi, *kernels)


def gd(task, gamma0, times):
    """Gradient descent (BP Eq. 7, with the factor 2 that is missing in print): returns TwoLayer.

    g̃ = w. Then d(h ± w)/dτ = ±(h ± w), so the two combinations are exp(±τ) times their start:

        H_y = G̃ = cosh 2τ      γ₀ f = sinh 2τ      dτ/dt = γ₀Δ = γ₀y − sinh 2τ

    Eliminating τ: H_y = √(1 + γ₀²(y−Δ)²) and dΔ/dt = −2 H_y Δ. The 2: h and w both learn, each at the rate H_y.
    At the end H_y = √(1 + γ₀²y²).

    Raises TypeError or ValueError for bad arguments and data that are not whitened, RuntimeError with the time
    reached if the integration fails.
    """
    gamma0, times = _checked(task, gamma0, times)
    drive = gamma0 * np.linalg.norm(task.y)
    tau = _flow(lambda tau: drive - np.sinh(2 * tau), [0.0], times, [np.arcsinh(drive) / 2], drive)[:, 0]
    H_y = np.cosh(2 * tau)
    return _along_y(task, GD(), gamma0, times, 1 - np.sinh(2 * tau) / drive, H_y, H_y, H_y, H_y)


def fa(task, gamma0, times, rho=0.0):
    """ρ-aligned feedback alignment (BP Eq. 7); ρ = 0 is also direct feedback alignment. Returns TwoLayer.

    g̃ = ρw(0) + √(1−ρ²) w̃ is frozen, ⟨g̃²⟩ = 1 and ⟨w(0) g̃⟩ = ρ. The fields are h = χ + τ g̃ and
    w = w(0) + τ χ + ½τ² g̃, so

        H_y = 1 + τ²      G̃ = ρ + τ²/2      γ₀ f = ⟨w h⟩ = τ³/2 + (1+ρ)τ      dτ/dt = γ₀Δ

    At the end τ is the root of τ³/2 + (1+ρ)τ = γ₀y. With one hidden layer nothing lies between w̃ and the layer:
    DFA's frozen vector is w̃, and DFA is this with rho = 0.

    Raises as `gd`, and ValueError unless 0 ≤ rho ≤ 1.
    """
    gamma0, times = _checked(task, gamma0, times)
    rule = FA(rho)
    drive, slope = gamma0 * np.linalg.norm(task.y), 2 * (1 + rho)
    error = lambda tau: drive - tau**3 / 2 - (1 + rho) * tau  # noqa: E731
    scale = np.sqrt(slope / 3)
    end = 2 * scale * np.sinh(np.arcsinh(3 * drive / slope / scale) / 3)  # the cubic's only real root
    tau = _flow(error, [0.0], times, [end], drive)[:, 0]
    G = 1 + (1 + rho) * tau**2 + tau**4 / 4
    return _along_y(task, rule, gamma0, times, error(tau) / drive, 1 + tau**2, G, rho + tau**2 / 2, np.ones_like(tau))


def hebb(task, gamma0, times):
    """Error-modulated Hebb (BP Eq. 8): returns TwoLayer.

    g̃_μ = Δ_μ h_μ, so dh_μ/dt = γ₀Δ_μ² h_μ: the field is √H_μμ χ_μ, a rescaling. Then

        ½ d ln H_μμ/dt = γ₀Δ_μ²      dΔ_μ/dt = −[H_μμ + γ₀ Δ_μ (y_μ − Δ_μ)] Δ_μ

    with nothing off the diagonal of H. The first term is w's learning, ⟨ẇ h_μ⟩; the second is G̃_μμ Δ_μ: here
    G̃_νμ = ⟨w g̃_μ⟩ = γ₀ Δ_μ f_μ for every ν. And w = w(0) + Σ_μ c_μ χ_μ with c_μ = γ₀ f_μ/√H_μμ gives G. There is no
    formula for the end; |Δ_μ| decays at a rate of at least H_μμ ≥ 1, so it is taken at a time when exp(−t) is nothing.

    Raises as `gd`.
    """
    gamma0, times = _checked(task, gamma0, times)
    y, P = task.y, task.P

    def course(y):
        """(T, 2): Δ and ½ ln H of one component."""

        def derivative(x):
            Delta, growth = x
            return np.array([-(np.exp(2 * growth) + gamma0 * Delta * (y - Delta)) * Delta, gamma0 * Delta**2])

        scale = gamma0 * y**2
        end = None
        if np.isinf(times[-1]):
            end = [0.0, _flow(derivative, [y, 0.0], np.array([LEARNED]), None, scale)[0, 1]]
        return _flow(derivative, [y, 0.0], times, end, scale)

    values, component = np.unique(y, return_inverse=True)  # equal targets share a course
    Delta, growth = np.moveaxis(np.stack([course(value) for value in values]), 2, 0)[:, component].transpose(0, 2, 1)
    f, H = y - Delta, np.exp(2 * growth)
    ones = np.ones((P, P))
    G = (1 + gamma0**2 * (f**2 / H).sum(axis=1))[:, None, None, None] * ones
    G_tilde = gamma0 * (Delta * f)[:, None, None, :] * ones
    diagonal = lambda x: x[:, None, :, None] * np.eye(P)  # noqa: E731
    return TwoLayer(task, Hebb(), gamma0, times, Delta, diagonal(H), G, G_tilde, diagonal(Delta**2 * H))


def _no_gates(task, rule, gamma0, times):
    raise ValueError(
        f"`experiment` has the rule {rule!r}, which has no closed form of its own: gates are φ̇, and with φ(h) = h every "
        "gate is 1. Use GD(), which gated linear networks then are."
    )


FORMS = {
    GD: lambda task, rule, gamma0, times: gd(task, gamma0, times),
    FA: lambda task, rule, gamma0, times: fa(task, gamma0, times, rule.rho),
    DFA: lambda task, rule, gamma0, times: replace(fa(task, gamma0, times), rule=rule),
    Hebb: lambda task, rule, gamma0, times: hebb(task, gamma0, times),
    GLN: _no_gates,
}  # by the class itself: a class derived from one of these may be another rule


def solve(experiment, times=None):
    """The closed form for an Experiment: returns TwoLayer at `times`, by default those of its steps, lr × step.

    `lr` and `steps` mean nothing else here: time is continuous. DFA is FA with ρ = 0.

    Raises TypeError or ValueError, before anything is computed, for an activation other than "linear", more than one
    hidden layer, a rule without closed form, and as `gd`, which is where data that are not whitened are refused.
    """
    if not isinstance(experiment, Experiment):
        raise TypeError(
            f"`experiment` must be a dmftlib.Experiment; got {type(experiment).__name__}. Build one with Experiment(task, "
            "rule, ...), or call twolayer.gd, .fa or .hebb with a Task."
        )
    e = experiment
    if e.loss is not LOSSES["squared"]:
        raise ValueError(f"`experiment` has the loss {e.loss.name!r}; the closed forms hold for the squared loss.")
    if e.weight_decay or e.batches:
        raise ValueError(
            f"`experiment` has {'`weight_decay`' if e.weight_decay else '`batches`'}, and the closed forms have none. Use "
            'meanfield.solve, which is exact for activation "linear".'
        )
    if e.convolution is not None:
        raise ValueError(
            "`experiment` has a `convolution`; the closed forms hold for fully connected layers. Use meanfield.solve, or "
            "convolution = None."
        )
    if e.phi.slope != 1:
        raise ValueError(
            f"`experiment` has the activation {e.phi.name!r}, and its φ(h) is not h, for which the closed forms hold. Use "
            'activation "linear", or meanfield.solve, which takes any.'
        )
    if e.hidden_layers > 1:
        raise ValueError(
            f"`experiment` has hidden_layers = {e.hidden_layers}; the closed forms hold for 1. Use hidden_layers = 1, or "
            'meanfield.solve, which is exact for activation "linear" at any depth.'
        )
    if type(e.rule) not in FORMS:
        known = ", ".join(rule.__name__ for rule in FORMS if rule is not GLN)
        raise ValueError(
            f"`experiment` has the rule {e.rule!r}, for which no closed form is known; there are some for {known}. Use one "
            "of these, or meanfield.solve, which takes any rule."
        )
    return FORMS[type(e.rule)](e.task, e.rule, e.gamma0, e.lr * np.arange(e.steps) if times is None else times)
