"""The result of a run, its metrics, and the distance between two results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from .checks import instance, one_experiment
from .experiment import Experiment

OBSERVABLES = ("f", "Phi", "G", "G_tilde", "K")
RECORDED = (*OBSERVABLES, "G_tilde_tilde")
KERNELS = RECORDED[1:]
MOST_EIGENVALUES = 256  # of a larger kernel only the largest eigenvalue is computed
LEAST_UPDATE = 20  # × rounding. At 8 outputs are off by 0.4 %, at 0.8 by 16 % (tests/test_dynamics.py)
NOTICEABLE = 10.0  # growth of differences in a run: below it those of a narrow network, a few per cent, stay small
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


class Result:
    """What all results share: a run (`Dynamics`), a mean over networks (`network.Ensemble`), a closed form (`twolayer.TwoLayer`).

    Each has experiment, times, f, Delta, f_test, the kernels and kernels_at, with the names and shapes of `Dynamics`, and
    the metrics below. `compare` and the figures take any.
    """

    def relative_error(self, name):
        """Standard error of the array `name`, ‖SE‖_F/‖array‖_F: 0 for what is exact, NaN where it is unknown."""
        raise NotImplementedError

    @property
    def kernel_times(self):
        """lr × step of the recorded kernels, shape (T',)."""
        return self.times[self.kernels_at]

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

    @property
    def H_y(self):
        """Last feature kernel projected on the target, yᵀΦ^L y/‖y‖², summed over outputs. Shape (T,)."""
        y = self.experiment.task.y.reshape(self.experiment.task.P, -1)
        return np.einsum("mc,tmn,nc->t", y, self.Phi[:, -1], y) / (y**2).sum()

    @property
    def h_y(self):
        """`H_y` divided by Tr Φ^L, shape (T,)."""
        return self.H_y / np.trace(self.Phi[:, -1], axis1=1, axis2=2)


@dataclass(frozen=True, eq=False)
class Dynamics(Result):
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
    history                     with record=True: fields behind `two_time` and `responses`
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

    def relative_error(self, name):
        """The Monte Carlo error that a mean field states of itself; NaN for a network, which cannot know its own."""
        return self.provenance.errors.get("monte_carlo", {}).get(name, float("nan"))

    @property
    def times(self):
        """lr × step, shape (T,)."""
        return self.experiment.lr * np.arange(len(self.f))

    @property
    def Delta(self):
        """Δ_μ = y_μ − f_μ, shape (T, P)."""
        return self.experiment.task.y - self.f

    def two_time(self):
        """Two-time kernels Phi, G, G_tilde, G_tilde_tilde by name, axes (layer, t, μ, s, ν): ⟨φ_μ(t) φ_ν(s)⟩ etc.

        Averages over the samples as they are: the mean field's recorded kernels, at equal times, lack in addition the
        noise that is known from their exact start.

        Raises ValueError unless the engine ran with record=True.
        """
        pairs = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))
        history = self._recorded("two-time kernels")
        size = history["phi"].shape[-1]
        return {n: np.einsum("tlms,ulns->ltmun", history[a], history[b]) / size for n, (a, b) in pairs.items()}

    def responses(self, errors=False):
        """Response functions by name (A, B; C, D for rules that have them), axes (gap, t, μ, s, ν), gap 0 is W¹.

        γ₀A^ℓ = ⟨δφ(h^ℓ(t))/δr^ℓ(s)⟩, γ₀B^ℓ = ⟨δg^{ℓ+1}(t)/δu^{ℓ+1}(s)⟩ (paper §3), B including s = t. With errors=True
        their standard errors, in the same shape, of the samples and of `tol`.

        A finite network has none. Raises ValueError unless the mean field engine ran with record=True, where φ or the
        rule jumps (a kinked activation), for a rule that mixes neurons, and where P and T are too large.
        """
        history = self._recorded("responses")
        if "halves" not in history:
            raise ValueError("responses exist in the mean field only; run meanfield.solve with record=True.")
        if "responses" not in history:
            from .responses import responses  # which imports the engine, which imports this

            tol_errors = self.provenance.errors["tol"]
            history["responses"] = responses(self.experiment, history, max(tol_errors["Phi"], tol_errors["G"]))
        return history["responses"][bool(errors)]

    def _recorded(self, what):
        if self.history is None:
            raise ValueError(f"{what} need all fields; run the engine with `record` = True (got False).")
        return self.history


def target_alignment(K, y):
    """yᵀKy/(‖K‖_F ‖y‖²) for kernels (..., P, P)."""
    y = np.ravel(y)
    return np.einsum("m,...mn,n->...", y, K, y) / np.linalg.norm(K, axis=(-2, -1)) / (y @ y)


def check_records(experiment, records, first_step=0, K=None):
    """Raise Diverged if the outputs in `records` are not finite or their loss has grown without bound.

    K is the kernel (P, P) at the start of the run where it is known: it says which step to try.
    """
    f = np.asarray(records["f"])
    y = experiment.task.y
    with np.errstate(over="ignore", invalid="ignore"):
        loss = ((y - f[:, : len(y)]) ** 2).reshape(len(f), -1).mean(axis=1)
        # At step 0 the outputs are 0 and the loss is ⟨y²⟩; all-zero targets still need a scale.
        bad = ~np.isfinite(f.reshape(len(f), -1)).all(axis=1) | ~(loss <= UNBOUNDED * max((y**2).mean(), 1e-12))
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
    lr = experiment.lr / 4
    if K is not None and np.isfinite(K).all():
        lr = min(lr, bearable_step(experiment, K))
    raise Diverged(
        f"the run diverged: at step {first_step + step} the loss is {loss[step]:.3g} (initially "
        f"{(y**2).mean():.3g}). `lr` = {experiment.lr:g} is probably too large for the growing kernel; try lr = {lr:.2g}."
    )


def bearable_step(experiment, K):
    """A step that a run with the initial kernel K should bear: half of the edge 2/λ_max, with room for K to grow.

    Features that learn grow the kernel by √(1 + γ₀²⟨y²⟩) in a linear network of one hidden layer (`twolayer.gd`), and by at
    most the square of that at any depth. Hebb's may grow further: then the next proposal is smaller still.
    """
    growth = 1 + experiment.gamma0**2 * (experiment.task.y**2).mean()
    return 1 / (growth * max(largest_eigenvalue(K), 1e-300))


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


def eigenvalues(A):
    """Eigenvalues of a matrix (P, P): all, or of a large one the largest in modulus alone, to 0.1 %."""
    if len(A) > MOST_EIGENVALUES:
        start = np.random.default_rng(0).standard_normal(len(A))
        try:
            return eigs(A, 1, v0=start, return_eigenvectors=False, tol=1e-3)
        except ArpackNoConvergence:  # a pair of nearly equal size, say: then all of them
            pass
    return np.linalg.eigvals(A)


def largest_eigenvalue(K):
    """The largest |eigenvalue| of a kernel (P, P), to 0.1 % of a large one: what lr times it must stay below 2."""
    return np.abs(eigenvalues(K)).max()


def warn_if_unstable(experiment, K, kernels_at=None, noise=0.0):
    """Warn, with the step, where |1 − lr·λ| > 1 for an eigenvalue λ of K: a step then enlarges errors and differences.

    Where the step overshoots, Re lr·λ > 1, it warns at once: for a positive λ this is lr·λ > 2. Where it does not, λ is
    negative or imaginary, and growth is slow; rounding turns a λ = 0 into that. It warns if differences grow tenfold
    or more in the steps that K stands for, after `noise`, K's relative error, is taken off.
    """
    steps = np.arange(len(K)) if kernels_at is None else kernels_at
    factors = [eigenvalues(np.eye(len(kernel)) - experiment.lr * kernel) for kernel in K]
    overshoot = np.array([np.abs(x[x.real < 0]).max(initial=0.0) for x in factors])
    steady = [max(x[x.real >= 0], key=abs, default=0.0) for x in factors]
    known = np.abs(steady) - experiment.lr * noise * np.linalg.norm(K, axis=(1, 2))
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
            warnings.warn(
                f"|1 − lr·λ| exceeds 1 for an eigenvalue λ of K from step {int(steps[np.argmax(size > 1)])} on ({why}): "
                f"theory and networks may part for a good reason there. {fix}",
                stacklevel=3,
            )
            return


def warn_if_rounded(experiment, dtype):
    """Warn where updates are so small that rounding of the weights, which are of size 1, takes part of them."""
    task = experiment.task
    update = experiment.lr * experiment.gamma0 * np.linalg.norm(task.y) * np.sqrt(np.diag(task.K_x).mean())
    if 0 < update < LEAST_UPDATE * np.finfo(dtype).eps:
        fix = 'Use dtype="float64"' if dtype == "float32" else "Use a larger `gamma0`, or lazy.predict for γ₀ → 0"
        warnings.warn(
            f"lr·γ₀·‖y‖ makes updates of about {update:.1g} to weights of size 1, near the rounding of {dtype}: outputs "
            f"may be off, or not move at all. {fix}.",
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
        """One line a quantity: its distance in units of both errors, added in quadrature; two of them still agree.

        Where an error is not known, as that of a single network is not, the line says so and gives no verdict.
        """
        lines = []
        for name, distance in self.distance.items():
            both = np.hypot(self.standard_error[name], self.theory_error[name])
            if np.isnan(both):
                unknown = [
                    who
                    for who, x in (("theory", self.theory_error), ("reference", self.standard_error))
                    if np.isnan(x[name])
                ]
                lines.append(
                    f"{name:<9} distance is {100 * distance:.2g} %, agrees: unknown, for the error of the {' and the '.join(unknown)} is "
                    "(network.ensemble of two or more seeds has one)"
                )
            else:
                ratio = distance / both if distance else 0.0
                lines.append(f"{name:<9} distance is {ratio:.1f} standard errors, agrees: {ratio <= 2}")
        return "\n".join(lines)


def check_dtype(dtype):
    """Raise ValueError unless dtype is "float64" or "float32", as text: an equal dtype object is another key."""
    if not isinstance(dtype, str) or dtype not in ("float64", "float32"):
        raise ValueError(f'`dtype` must be "float64" or "float32", as text; got {dtype!r}.')


def compare(theory, runs):
    """Distance of `theory` from `runs` for f, Φ, G, G̃ and K.

    theory, runs   two results of one experiment, by any engine: Dynamics, Ensemble or TwoLayer. The standard error of
                   `runs` is reported relative to it, ‖SE‖_F/‖b‖_F; that of a single network is unknown, NaN

    Raises TypeError for anything that is not a result, ValueError for two that differ in settings, data, times or shapes.
    """
    for argument, value in (("theory", theory), ("runs", runs)):
        instance(
            argument,
            value,
            Result,
            "Pass what meanfield.solve, network.train, network.ensemble or twolayer.solve return.",
        )
    one_experiment("`theory` and `runs`", (theory, runs), ("`theory`", "`runs`"))
    distance = {}
    for name in OBSERVABLES:
        a, b = getattr(theory, name), getattr(runs, name)
        if a.shape != b.shape:
            raise ValueError(
                f"`{name}` has shape {a.shape} in `theory` and {b.shape} in `runs`; compare like with like."
            )
        norm = np.linalg.norm(b) or 1.0  # outputs at initialization are zeros: their distance is absolute
        distance[name] = float(np.linalg.norm(a - b) / norm)
    own, spread = ({name: result.relative_error(name) for name in OBSERVABLES} for result in (theory, runs))
    return Comparison(distance, spread, own)
