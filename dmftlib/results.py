"""The result of a run, and the metrics that are read off it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .experiment import Experiment

OBSERVABLES = ("f", "Phi", "G", "G_tilde", "K")
RECORDED = (*OBSERVABLES, "G_tilde_tilde")
KERNELS = RECORDED[1:]


@dataclass(frozen=True)
class Provenance:
    """How a result was made. `size` is the width N, or the number of samples in the mean field.

    `rank` and `discarded` (mean field and revealed networks): directions kept per gap between layers, and the largest share
    of a step's field variance left outside them. `errors`: estimated relative errors by source and observable. `tol`: the mean
    field's.
    """

    engine: str
    size: int
    seed: int
    dtype: str
    rank: tuple = ()
    discarded: float = 0.0
    errors: dict = field(default_factory=dict)
    tol: float = 0.0


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
        """Mean over samples of the loss of each: Δ², summed over outputs, for the squared loss. Shape (T,)."""
        return self.experiment.losses(self.f).mean(axis=1)

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
    K (T, P, P)                 eNTK, Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ (BP Eq. 4)
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
        """Δ_μ = −∂ℒ/∂f_μ, y_μ − f_μ for the squared loss. Shape (T, P)."""
        return self.experiment.error(self.f)

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

        γ₀A^ℓ = ⟨δφ(h^ℓ(t))/δr^ℓ(s)⟩, γ₀B^ℓ = ⟨δg^{ℓ+1}(t)/δu^{ℓ+1}(s)⟩ (BP §3), B including s = t. With errors=True
        their standard errors, in the same shape, of the samples and of `tol`.

        A finite network has none. Raises ValueError unless the mean field engine ran with record=True, where φ or the
        rule jumps (a kinked activation), for a rule that mixes neurons, and where P and T are too large.
        """
        self._recorded("responses")
        raise ValueError("responses exist in the mean field only; run meanfield.solve with record=True.")

    def _recorded(self, what):
        if self.history is None:
            raise ValueError(f"{what} need all fields; run the engine with `record` = True (got False).")
        return self.history


def target_alignment(K, y):
    """yᵀKy/(‖K‖_F ‖y‖²) for kernels (..., P, P)."""
    y = np.ravel(y)
    return np.einsum("m,...mn,n->...", y, K, y) / np.linalg.norm(K, axis=(-2, -1)) / (y @ y)
