"""The result of a run, its metrics, and the distance between two results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from .experiment import Experiment

OBSERVABLES = ("f", "Phi", "G", "G_tilde", "K")
RECORDED = (*OBSERVABLES, "G_tilde_tilde")
KERNELS = RECORDED[1:]
MOST_EIGENVALUES = 256  # of a larger kernel only the largest eigenvalue is computed
UNBOUNDED = 100.0  # a loss this many times the initial one is divergence, not a transient


class Diverged(RuntimeError):
    """The loss became NaN, overflowed or grew without bound."""


@dataclass(frozen=True)
class Provenance:
    """How a result was made. `size` is the width N, or the number of samples in the mean field.

    `rank` and `discarded` (mean field only): directions kept per gap between layers, and the largest share of
    a step's field variance left outside them. `errors`: estimated relative errors by source and observable.
    """

    engine: str
    size: int
    seed: int
    dtype: str
    rank: tuple = ()
    discarded: float = 0.0
    errors: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """One run of an experiment. Entry t is the state before update t; layer index 0 is ℓ = 1.

    f, Delta (T, P)             outputs and errors Δ = y − f; f_test (T, P_test) or None
                                With C outputs, f and Delta are (T, P, C), and what is P below for gradients and K is
                                P·C: one field for each sample and output, outputs of a sample side by side
    Phi, G, G_tilde (T, L, P, P)  ⟨φφ⟩, ⟨gg⟩, ⟨g g̃⟩ at equal times (Φ⁰ = K_x and G̃^{L+1} = 1 are not stored);
                                likewise G_tilde_tilde, ⟨g̃g̃⟩
    K (T, P, P)                 eNTK, Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ (paper eq. 4)
    kernels_at (T',)            steps whose kernels are recorded. Where not all are, T' stands for T in the kernels and in
                                what is read off them (alignment, corr_g, H_y, h_y), and `kernel_times` for `times`
    final_h, final_z (L, N, P)  fields of the last recorded state; N is the width or the number of samples
    history                     with record=True: fields and projections behind `two_time` and `responses`
    """

    experiment: Experiment
    provenance: Provenance
    f: np.ndarray
    Phi: np.ndarray
    G: np.ndarray
    G_tilde: np.ndarray
    K: np.ndarray
    G_tilde_tilde: np.ndarray
    kernels_at: np.ndarray | None = None
    f_test: np.ndarray | None = None
    final_h: np.ndarray | None = None
    final_z: np.ndarray | None = None
    history: dict | None = None

    def __post_init__(self):
        if self.kernels_at is None:
            object.__setattr__(self, "kernels_at", np.arange(len(self.K)))

    @classmethod
    def from_records(cls, experiment, provenance, records, last, history=None, kernels_at=None):
        """Assemble the result from an engine's recorded arrays; split off the test samples."""
        P = experiment.task.P
        f = records["f"]
        kernels = {name: records[name] for name in RECORDED if name != "f"}
        f_test = f[:, P:] if f.shape[1] > P else None
        return cls(
            experiment,
            provenance,
            f[:, :P],
            **kernels,
            kernels_at=kernels_at,
            f_test=f_test,
            final_h=last["h"][..., :P],
            final_z=last["z"],
            history=history,
        )

    @property
    def times(self):
        """lr × step, shape (T,)."""
        return self.experiment.lr * np.arange(len(self.f))

    @property
    def kernel_times(self):
        """lr × step of the recorded kernels, shape (T',)."""
        return self.experiment.lr * self.kernels_at

    @property
    def Delta(self):
        """Δ_μ = y_μ − f_μ, shape (T, P)."""
        return self.experiment.task.y - self.f

    @property
    def loss(self):
        """Mean over samples of Δ², summed over outputs. Shape (T,)."""
        return (self.Delta**2).sum(axis=tuple(range(1, self.Delta.ndim))) / self.experiment.task.P

    @property
    def alignment(self):
        """eNTK–target alignment yᵀKy/(‖K‖_F ‖y‖²), shape (T,)."""
        return target_alignment(self.K, self.experiment.task.y)

    @property
    def corr_g(self):
        """Correlation of g with g̃, Tr G̃/√(Tr G Tr ⟨g̃g̃⟩) averaged over layers; 1 where g̃ = g. Shape (T,).

        Raises ValueError where a mean square is negative, as an extrapolation from too narrow networks can make it.
        """
        G, G_tilde, F = (np.trace(a, axis1=-2, axis2=-1) for a in (self.G, self.G_tilde, self.G_tilde_tilde))
        if min(G.min(), F.min()) < 0:
            raise ValueError(
                "`corr_g` needs mean squares of g and g̃ that are not negative; extrapolation in 1/N made a trace "
                f"{min(G.min(), F.min()):.2g}. Take wider networks, or more seeds."
            )
        return (G_tilde / np.sqrt(G * F)).mean(axis=1)

    def two_time(self):
        """Two-time kernels Phi, G, G_tilde, G_tilde_tilde by name, axes (layer, t, μ, s, ν): ⟨φ_μ(t) φ_ν(s)⟩ etc.

        Raises ValueError unless the engine ran with record=True.
        """
        pairs = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))
        history = self._recorded("two-time kernels")
        size = history["phi"].shape[-1]
        return {n: np.einsum("tlms,ulns->ltmun", history[a], history[b]) / size for n, (a, b) in pairs.items()}

    def responses(self):
        """Response functions by name (A, B; C, D for rules that have them), axes (gap, t, μ, s, ν), gap 0 is W¹.

        γ₀A^ℓ = ⟨δφ(h^ℓ(t))/δr^ℓ(s)⟩, γ₀B^ℓ = ⟨δg^{ℓ+1}(t)/δu^{ℓ+1}(s)⟩ (paper §3), B including s = t. A finite
        network has none. Raises ValueError unless the mean field engine ran with record=True.
        """
        history = self._recorded("responses")
        if "responses" not in history:
            raise ValueError("responses exist in the mean field only; run meanfield.solve with record=True.")
        return history["responses"]

    def _recorded(self, what):
        if self.history is None:
            raise ValueError(f"{what} need all fields; run the engine with `record` = True (got False).")
        return self.history

    @property
    def H_y(self):
        """Last feature kernel projected on the target, yᵀΦ^L y/‖y‖², summed over outputs. Shape (T,)."""
        y = self.experiment.task.y.reshape(self.experiment.task.P, -1)
        return np.einsum("mc,tmn,nc->t", y, self.Phi[:, -1], y) / (y**2).sum()

    @property
    def h_y(self):
        """`H_y` divided by Tr Φ^L, shape (T,)."""
        return self.H_y / np.trace(self.Phi[:, -1], axis1=1, axis2=2)


def target_alignment(K, y):
    """yᵀKy/(‖K‖_F ‖y‖²) for kernels (..., P, P)."""
    y = np.ravel(y)
    return np.einsum("m,...mn,n->...", y, K, y) / np.linalg.norm(K, axis=(-2, -1)) / (y @ y)


def check_records(experiment, records, first_step=0):
    """Raise Diverged if the outputs in `records` are not finite or their loss has grown without bound."""
    f = np.asarray(records["f"])
    y = experiment.task.y
    with np.errstate(over="ignore", invalid="ignore"):
        loss = ((y - f[:, : len(y)]) ** 2).reshape(len(f), -1).mean(axis=1)
        # At step 0 the outputs are 0 and the loss is ⟨y²⟩; all-zero targets still need a scale.
        bad = ~np.isfinite(f.reshape(len(f), -1)).all(axis=1) | ~(loss <= UNBOUNDED * max((y**2).mean(), 1e-12))
    for name in records.keys() & {"K", "Phi", "G"}:
        bad |= ~np.isfinite(records[name].reshape(len(f), -1)).all(axis=1)
    if bad.any():
        step = int(np.argmax(bad))
        raise Diverged(
            f"the run diverged: at step {first_step + step} the loss is {loss[step]:.3g} (initially "
            f"{(y**2).mean():.3g}). `lr` = {experiment.lr:g} is probably too large for the growing kernel; "
            f"try lr = {experiment.lr / 4:.2g}."
        )


def check_steps(name, steps, T):
    """Steps (T',) of a run of T steps, rising, or None for all. Raises ValueError, naming the argument."""
    if steps is None:
        return None
    array = np.asarray(steps)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must be a list of whole numbers, such as (0, {T - 1}), or None; got {steps!r}.")
    if array[0] < 0 or array[-1] >= T or (np.diff(array) <= 0).any():
        raise ValueError(f"`{name}` must rise, from 0 or later to {T - 1} (`steps` − 1) at most; got {array.tolist()}.")
    return array


def largest_eigenvalue(K):
    """The largest |eigenvalue| of a kernel (P, P), to 0.1 % of a large one: what lr times it must stay below 2."""
    if len(K) <= MOST_EIGENVALUES:
        return np.abs(np.linalg.eigvals(K)).max()
    try:
        return np.abs(eigs(K, 1, v0=np.ones(len(K)), return_eigenvectors=False, tol=1e-3)).max()
    except ArpackNoConvergence:  # a pair of nearly equal size, say: then all of them
        return np.abs(np.linalg.eigvals(K)).max()


def warn_if_unstable(experiment, K, kernels_at=None):
    """Warn, with the step, when lr·λ_max(K) exceeds 2: noise then grows exponentially."""
    product = experiment.lr * np.array([largest_eigenvalue(kernel) for kernel in K])
    if product.max() > 2:
        step = int(np.argmax(product > 2))
        step = step if kernels_at is None else int(kernels_at[step])
        warnings.warn(
            f"lr·λ_max(K) exceeds 2 from step {step} on (largest value {product.max():.3g}): theory and networks "
            "may part for a good reason there. Choose a smaller `lr`.",
            stacklevel=3,
        )


@dataclass(frozen=True)
class Comparison:
    """Relative distances ‖a − b‖_F/‖b‖_F over all times and layers, by quantity.

    `standard_error` is the reference's, `theory_error` the Monte Carlo error that the theory states of itself.
    """

    distance: dict
    standard_error: dict
    theory_error: dict

    def __getitem__(self, name):
        return self.distance[name], self.standard_error[name]

    def __str__(self):
        percent = lambda x: f"{100 * x:.2g} %"  # noqa: E731
        rows = [(name, percent(x), percent(self.standard_error[name])) for name, x in self.distance.items()]
        return "\n".join(f"{a:<9}{b:>10}{c:>14}" for a, b, c in [("quantity", "distance", "reference SE"), *rows])

    def agreement(self):
        """One line a quantity: its distance in units of both errors, added in quadrature; two of them still agree."""
        lines = []
        for name, distance in self.distance.items():
            ratio = distance / np.hypot(self.standard_error[name], self.theory_error[name])
            lines.append(f"{name:<9} distance is {ratio:.1f} standard errors, agrees: {ratio <= 2}")
        return "\n".join(lines)


def check_dtype(dtype):
    """Raise ValueError unless dtype is "float64" or "float32", as text: an equal dtype object is another key."""
    if not isinstance(dtype, str) or dtype not in ("float64", "float32"):
        raise ValueError(f'`dtype` must be "float64" or "float32", as text; got {dtype!r}.')


def compare(theory, runs):
    """Distance of `theory` from `runs` for f, Φ, G, G̃ and K.

    theory   a Dynamics
    runs     an Ensemble (its standard error over seeds is reported as ‖SE‖_F/‖b‖_F) or a single Dynamics
             (whose standard error is unknown: NaN)

    Raises TypeError for anything that is not such a result, ValueError when the two do not have the same shapes.
    """
    for argument, value, wanted in (("theory", theory, ("provenance", *OBSERVABLES)), ("runs", runs, OBSERVABLES)):
        if lacking := [name for name in wanted if not hasattr(value, name)]:
            raise TypeError(
                f"`{argument}` must be a result, such as meanfield.solve, network.train or network.ensemble return "
                f"(`theory` a single one, no ensemble); got {type(value).__name__}, which has no {', '.join(lacking)}."
            )
    partial = [run for run in (theory, runs) if len(run.K) < len(run.f)]
    if partial and not np.array_equal(theory.kernels_at, runs.kernels_at):
        raise ValueError(
            f"`theory` has the kernels of steps {theory.kernels_at.tolist()}, `runs` of {runs.kernels_at.tolist()}; run "
            "both with one `kernels_at`."
        )
    distance, error = {}, {}
    spread = getattr(runs, "standard_error", None)
    own = theory.provenance.errors.get("monte_carlo", {})
    for name in OBSERVABLES:
        a, b = getattr(theory, name), getattr(runs, name)
        if a.shape != b.shape:
            raise ValueError(
                f"`{name}` has shape {a.shape} in `theory` and {b.shape} in `runs`; compare like with like."
            )
        norm = np.linalg.norm(b) or 1.0  # outputs at initialization are zeros: their distance is absolute
        distance[name] = float(np.linalg.norm(a - b) / norm)
        error[name] = float(np.linalg.norm(spread[name]) / norm) if spread else float("nan")
    return Comparison(distance, error, {name: own.get(name, 0.0) for name in OBSERVABLES})
