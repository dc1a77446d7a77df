"""Convolutional layers: weights that all positions of the input share.

W^ℓ has the shape (channels, K, channels below), a number for each of the K offsets of a filter. On `patches`, the fields at all
positions that the filter covers side by side, it is one rectangular matrix like any other: engines keep and learn it as they do
without a convolution, and what they make of patches on the way back is added up at the positions it came from.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from math import prod, sqrt

import numpy as np

from .step import InputWeights, Readout, pytree
from .validate import whole


@lru_cache
def _places(shape, size, padding, sign):
    """(A, K): the position at `sign` times each offset from each position; A, where there is none."""
    offsets = np.indices((size,) * len(shape)).reshape(len(shape), 1, -1) - size // 2
    at = np.indices(shape).reshape(len(shape), -1, 1) + sign * offsets
    sides = np.array(shape)[:, None, None]
    places = np.ravel_multi_index(tuple(at % sides), shape)
    places = places if padding == "circular" else np.where(((at >= 0) & (at < sides)).all(axis=0), places, prod(shape))
    return places.astype(np.int32)  # JAX remembers what a gather made of an index, of 64 bits in float64 alone


@dataclass(frozen=True)
class Convolution:
    """Convolutional layers of an Experiment, of N channels each. Filters have stride 1, so all layers have the A positions of the input.

    shape        (A,) positions along a line, or (A1, A2) of an image
    size         of a filter, odd: K = `size` positions on a line, `size`² of an image, centred at the one whose field they make
    padding      what lies beyond the ends: "circular", the other end; "zero", nothing
    readout      "average": one weight a channel, of its mean over positions. "all": one a channel and position
    channels_in  C_in numbers a position of the input: D = A·C_in, those of a position side by side
    stride       1; others are refused

    h¹_a = Σ_k W⁰_k x_{a+k}/√(K C_in), h^{ℓ+1}_a = Σ_k W^ℓ_k φ^ℓ_{a+k}/√(KN), f = s Σ_a w_a·φ^L_a/(γ₀N), where s = 1/A and w_a = w
    with "average", s = 1/√A with "all". g_a = (γ₀N/s) ∂f/∂h_a is O(1) as A grows, and so is every kernel; filters learn by
    γ₀ η s Σ_μa Δ_μ g̃_μa φ_{μ,a+k}ᵀ/√(KN), so that K = s² Σ_ℓ Σ_ab G̃^{ℓ+1}_ab Σ_k Φ^ℓ_{a+k,b+k}/K + that of the readout. Frozen
    feedback has the shapes of the weights, z̃ that of the readout; gates are those of a frozen convolution of the input.

    Raises TypeError or ValueError, naming the argument, for anything else.
    """

    shape: tuple
    size: int = 3
    padding: str = "circular"
    readout: str = "average"
    channels_in: int = 1
    stride: InitVar[int] = 1

    def __post_init__(self, stride):
        if not isinstance(self.shape, (tuple, list)) or len(self.shape) not in (1, 2):
            raise TypeError(
                f"`shape` must be (A,), the number of positions, or (A1, A2) of images; got {self.shape!r}. Pass a tuple."
            )
        shape = tuple(whole("shape", side, 1) for side in self.shape)
        size = whole("size", self.size, 1)
        if size % 2 == 0 or size > min(shape):
            raise ValueError(
                f"`size` must be odd, so that a filter has a centre, and at most {min(shape)}, a side of the input {shape}; got "
                f"{size}. Pass {min(size | 1, (min(shape) - 1) | 1)}."
            )
        for name, known in (("padding", ("circular", "zero")), ("readout", ("average", "all"))):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}; got {getattr(self, name)!r}.")
        if stride != 1 or isinstance(stride, bool):
            raise ValueError(
                f"`stride` must be 1: all layers have the positions of the input; got {stride!r}. Leave it out, and take fewer "
                "positions by averaging neighbours in X."
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "channels_in", whole("channels_in", self.channels_in, 1))

    @property
    def positions(self):
        """A, the number of positions."""
        return prod(self.shape)

    @property
    def K(self):
        """Offsets of a filter."""
        return self.size ** len(self.shape)

    @property
    def share(self):
        """s, what an output has of a position."""
        return 1 / self.positions if self.readout == "average" else 1 / sqrt(self.positions)

    @property
    def weights_of_output(self):
        """Weights of a channel in one output."""
        return 1 if self.readout == "average" else self.positions

    def _around(self, sign):
        return _places(self.shape, self.size, self.padding, sign)

    def _with_none(self, array, *axes):
        """Zeros in the place of a position that is not there."""
        if self.padding == "circular":
            return array
        widths = [(0, 1 if axis - array.ndim in axes else 0) for axis in range(array.ndim)]
        return array.__array_namespace__().pad(array, widths)

    # --- Fields, with rows (sample, position) ---

    def patches(self, rows):
        """Fields (n·A, m) at all positions that a filter covers: (n·A, K·m)."""
        at = self._with_none(rows.reshape(-1, self.positions, rows.shape[1]), -2)
        return at[:, self._around(1)].reshape(len(rows), -1)

    def scatter(self, rows):
        """The transpose of `patches`: (n·A, K·m) to (n·A, m)."""
        at = self._with_none(rows.reshape(-1, self.positions, self.K, rows.shape[1] // self.K), -3)
        return at[:, self._around(-1), np.arange(self.K, dtype=np.int32)].sum(axis=2).reshape(len(rows), -1)

    def inputs(self, X):
        """Rows of X (n, D) as the first layer sees them, (n·A, K·C_in)."""
        return self.patches(X.reshape(-1, self.channels_in))

    def pool(self, rows):
        """What the readout sees of fields (n·A, N): s Σ_a, (n, N), or s times all, (n, A·N)."""
        n, N = len(rows) // self.positions, rows.shape[1]
        if self.readout == "average":
            return rows.reshape(n, self.positions, N).mean(axis=1)
        return rows.reshape(n, self.positions * N) * self.share

    def unpool(self, rows):
        """The transpose of `pool` without s: (n, N) or (n, A·N) to (n·A, N)."""
        if self.readout == "average":
            return rows.__array_namespace__().repeat(rows, self.positions, axis=0)
        return rows.reshape(len(rows) * self.positions, -1)

    # --- Kernels (…, n·A, m·A) of such fields ---

    def _between(self, kernel, sign):
        """Mean over offsets k of the kernel between positions a ± k and b ± k."""
        A, (*lead, n, m) = self.positions, kernel.shape
        at = self._with_none(kernel.reshape(*lead, n // A, A, m // A, A), -3, -1)
        total = sum(at[..., places, :, :][..., places] for places in self._around(sign).T)
        return (total / self.K).reshape(kernel.shape)

    def patch_kernel(self, kernel):
        """That of patches."""
        return self._between(kernel, 1)

    def scattered_kernel(self, kernel):
        """That of Wᵀv, of v with this kernel."""
        return self._between(kernel, -1)

    def pool_kernel(self, kernel):
        """That of what the readout sees: (…, n, m)."""
        A, (*lead, n, m) = self.positions, kernel.shape
        at = kernel.reshape(*lead, n // A, A, m // A, A)
        return at.mean(axis=(-3, -1)) if self.readout == "average" else at.trace(axis1=-3, axis2=-1) / A

    def unpooled_kernel(self, kernel):
        """That of wᵀv, of v with this kernel (n, m), for random readouts w: (n·A, m·A)."""
        A = self.positions
        return np.kron(kernel, np.ones((A, A)) if self.readout == "average" else np.eye(A))

    def entk(self, Phi_x, Phi, G_tilde, branch=None):
        """K, as `step.entk` makes it, of the kernels Φ⁰ of patches (P·A, P·A), Φ (…, L, P·A, P·A) and G̃ (…, L, P·C·A, P·C·A): (…, P·C, P·C)."""
        A, C, xp = self.positions, G_tilde.shape[-2] // len(Phi_x), G_tilde.__array_namespace__()
        n, m = (side // A for side in Phi_x.shape)
        rate = 1 if branch is None else branch**2
        below = [Phi_x, *(rate * self.patch_kernel(Phi[..., l, :, :]) for l in range(Phi.shape[-3] - 1))]
        total = self.pool_kernel(Phi[..., -1, :, :]).repeat(C, -1).repeat(C, -2) * np.tile(
            np.eye(C, dtype=Phi_x.dtype), (n, m)
        )
        for l, kernel in enumerate(below):
            above = G_tilde[..., l, :, :].reshape(*G_tilde.shape[:-3], n, C, A, m, C, A)
            kernel = kernel.reshape(*kernel.shape[:-2], n, A, m, A)
            both = xp.einsum("...mcanpb,...manb->...mcnp", above, kernel)
            total = total + self.share**2 * both.reshape(*both.shape[:-4], n * C, m * C)
        return total


class _Shared:
    """Weights between two layers, of a class whose matrix acts on patches."""

    def apply(self, features):
        return super().apply(self.convolution.patches(features))

    def apply_initial(self, features):
        return super().apply_initial(self.convolution.patches(features))

    def transpose(self, v):
        return self.convolution.scatter(super().transpose(v))

    def transpose_recorded(self, v):
        return self.convolution.scatter(super().transpose_recorded(v))

    def transpose_initial(self, v):
        return self.convolution.scatter(super().transpose_initial(v))

    def transpose_fresh(self, v):
        return self.convolution.scatter(super().transpose_fresh(v))

    def seen(self, features):
        return super().seen(self.convolution.patches(features))

    def learn(self, seen, signal):
        super().learn(seen, self.convolution.share * signal)


@pytree
class ConvolvedInput(InputWeights):
    """W⁰; its X are patches."""

    convolution: Convolution | None = field(default=None, kw_only=True, metadata=dict(static=True))

    def learn(self, X, signal):
        super().learn(X, self.convolution.share * signal)


class _Pooled:
    """A readout, of a class that acts on what `pool` makes of the last features."""

    @property
    def positions(self):
        return self.convolution.positions

    def outputs(self, features, gamma0, untrained=None):
        pool = self.convolution.pool
        copy = () if untrained is None else (pool(untrained),)
        return super().outputs(pool(features), gamma0 / self.convolution.weights_of_output, *copy)

    def transpose(self, v):
        return self.convolution.unpool(super().transpose(v))

    transpose_recorded = transpose

    def transpose_initial(self, v):
        return self.convolution.unpool(super().transpose_initial(v))

    def transpose_fresh(self, v):
        return self.convolution.unpool(super().transpose_fresh(v))

    def learn(self, features, signal):
        super().learn(self.convolution.pool(features), signal)


@pytree
class PooledReadout(_Pooled, Readout):
    """The readout of a network."""

    convolution: Convolution | None = field(default=None, kw_only=True, metadata=dict(static=True))
