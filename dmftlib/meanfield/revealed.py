r"""An infinite random matrix, known where it has acted.

With p_k an orthonormal basis of the features that W^ℓ(0) has been applied to and q_j one of the fields that its transpose
has been applied to (both under the sample average ⟨·⟩),

    W^ℓ(0) = Σ_k a_k p_kᵀ + Σ_j q_j b_jᵀ,    a_k ⊥ the q_j present when it is drawn, b_j ⊥ the p_k,

with a_k, b_j fresh unit Gaussians. So h^{ℓ+1} = Σ_k ⟨φp_k⟩ a_k(t) + Σ_j ⟨φb_j⟩ q_j, where a_k(t) is a_k and what was
learned since, and likewise backward; the terms in q_j and ⟨g a_k⟩ p_k are the response terms A, C and B, D.
Weight decay multiplies all of W(t): it is `share` times what is kept, of which the part of W(0) does not change.

The matrix of a convolution acts on patches, K fields side by side, so that p_k, b_j and ⟨φp_k⟩ are of K·S samples: with φ a patch,
h = Wφ/√(KN) = Σ_k ⟨φp_k⟩ a_k + √K Σ_j ⟨φb_j⟩ q_j, and Wᵀg/√(KN) = Σ_j ⟨gq_j⟩ b_j/√K + Σ_k ⟨ga_k⟩ p_k/K.
"""

from __future__ import annotations

from dataclasses import field

import jax
import numpy as np

from ..convolution import Convolution, _Pooled, _Shared
from ..step import Readout, Weights, pytree
from .span import Basis, orthogonal_to, orthonormal, square_root, when


@pytree
class RevealedMatrix(Weights):
    """W^ℓ between two layers of sampled neurons.

    features   basis p; images `now` a_k(t), with what was learned, and `initial` a_k, if a rule or linear fields ask
    sent       basis q of the fields that the rule sends down; images `weights` b_j and `feedback`, under frozen feedback
    recorded   basis of gradients that the rule does not use, for what `sent` misses of them; image `weights`. No later field
               depends on it: it is independent of the features, and only b_j of `sent` enter ⟨φ b_j⟩
    unkept     in its place, where averages at equal times are all that is asked for: a Gaussian for each gradient, the same
               at every step, so that what their average with other fields misses lasts and can be taken off (`errors`)
    spare      Gaussians that test samples share
    first      features φ(0) of test samples at the first step. They depend on no b_j, so that ⟨φ(0) b_j⟩ is noise, and is
               taken off: of the output at γ₀ → 0 it would be 1/γ₀ times as much. Of training samples it is 0, but for what
               `tol` left outside of p: of a convolution, whose positions are many fields, they are here, too
    outside    the largest share of a field's variance that this step left outside of the bases
    share      what weight decay left of W(0), the unit of `now`; None without decay
    K          fields side by side in the features; A rows of a sample are its positions
    """

    features: Basis
    sent: Basis
    recorded: Basis
    tol: jax.Array
    unkept: jax.Array | None
    spare: jax.Array
    first: jax.Array
    outside: jax.Array
    P: int = field(metadata=dict(static=True))
    share: jax.Array | None = None
    K: int = field(default=1, kw_only=True, metadata=dict(static=True))
    A: int = field(default=1, kw_only=True, metadata=dict(static=True))

    # What gives the Gaussians that the fields of the layer below and above are made of: nothing unless φ is linear.
    drawn_below = drawn_above = staticmethod(lambda: [])

    def _extend(self, basis, fields, partner, drawn, length=None):
        """Coefficients of the fields in a basis that was extended to hold them, up to tol of their `length` squared."""
        length = fields.__array_namespace__().sqrt((fields**2).mean(axis=1)) if length is None else length
        coefficients, outside = basis.extend(fields, length, self.tol, partner, drawn)
        self.outside = fields.__array_namespace__().maximum(self.outside, outside)
        return coefficients

    def _send(self, v, length=None, basis=None):
        return self._extend(basis or self.sent, v, self.features.rows(), self.drawn_above, length)

    def apply(self, features):
        """Preactivations above. Test samples, those after the first P, act on nothing, so no direction is added for them:
        what the basis misses of one is a Gaussian of that variance, from the rows of `spare`.
        """
        S, P, xp, known = features.shape[1], self.P, features.__array_namespace__(), self.features.count
        self.outside = 0 * self.outside
        self.coefficients = c = self._extend(self.features, features[:P], self.sent.rows(), self.drawn_below)
        p = self.features.rows()
        if self.unkept is not None:
            self.unkept = when(known == 0, lambda rows: orthonormal(rows, p), self.unkept)
        if len(self.first):
            kept = len(features) - len(self.first)
            self.first = xp.where(known == 0, features[kept:], self.first)
        if len(features) > P:
            passive = features[P:] @ p.T / S
            c = xp.concatenate([c, passive])
            missed = features[P:] - passive @ p
        h = c @ self.features.rows("now")
        if len(features) > P:
            noise = self._noise(missed)
            h = xp.concatenate([h[:P], h[P:] + noise])
        if "weights" in self.sent.images:
            if len(self.first):
                first = self.first if self.share is None else along(self.first, features[kept:])
                features = xp.concatenate([features[:kept], features[kept:] - first])
            h = h + (features @ self.sent.rows("weights").T / (S / self.K**0.5)) @ self.sent.rows()
        return self._now(h)

    def _noise(self, missed):
        """Images of what the basis misses of test samples: Gaussians, of its covariance between positions of a sample."""
        xp, A, number = missed.__array_namespace__(), self.A, np.arange(len(missed))
        rows = self.spare[number % (len(self.spare) // A * A)]
        if A == 1:
            return xp.sqrt((missed**2).mean(axis=1))[:, None] * rows
        missed, rows = missed.reshape(-1, A, missed.shape[1]), rows.reshape(-1, A, rows.shape[1])
        return (square_root(missed @ missed.mT / missed.shape[2]) @ rows).reshape(len(number), -1)

    def _now(self, image):
        """What decay leaves of an image under W(t)."""
        return image if self.share is None else self.share * image

    def _response(self, v, image):
        return (v @ self.features.rows(image).T / (v.shape[1] * self.K**0.5)) @ self.features.rows()

    def _down(self, image):
        """An image under Wᵀ/√N as that under Wᵀ/√(KN)."""
        return image if self.K == 1 else image / self.K**0.5

    def transpose(self, v):
        return self._down(self._now(self._send(v) @ self.sent.rows("weights") + self._response(v, "now")))

    def transpose_initial(self, v):
        return self._down(self._send(v) @ self.sent.rows("weights") + self._response(v, "initial"))

    def transpose_fresh(self, v):
        return self._down(self._send(v) @ self.sent.rows("feedback"))

    def transpose_recorded(self, v):
        """`transpose` of a field that acts on nothing: what it adds stays out of the forward pass."""
        if not self.recorded.images and self.unkept is None:
            return RevealedMatrix.transpose(self, v)
        z, length = self._response(v, "now"), v.__array_namespace__().sqrt((v**2).mean(axis=1))
        if "weights" in self.sent.images:
            known = v @ self.sent.rows().T / v.shape[1]
            z, v = z + known @ self.sent.rows("weights"), v - known @ self.sent.rows()
        if self.unkept is not None:
            return self._down(self._now(z + square_root(v @ v.T / v.shape[1]) @ self.unkept))
        return self._down(self._now(z + self._send(v, length, self.recorded) @ self.recorded.rows("weights")))

    def decay(self, keep):
        self.share = keep * self.share

    def seen(self, features):
        """The coefficients ⟨φ_μ p_k⟩ of the features that were applied last."""
        return self.coefficients[: len(features)]

    def learn(self, coefficients, signal):
        """a_k(t) ← a_k(t) + Σ_μ ⟨φ_μ p_k⟩ signal_μ."""
        self.features.learn("now", coefficients, signal if self.share is None else signal / self.share)


@pytree
class RevealedFilters(_Shared, RevealedMatrix):
    """The weights between two layers of a convolution."""

    convolution: Convolution | None = field(default=None, kw_only=True, metadata=dict(static=True))


def along(rows, fields):
    """The part of each field along its own row."""
    square = (rows**2).sum(axis=1, keepdims=True)
    xp = rows.__array_namespace__()
    return (rows * fields).sum(axis=1, keepdims=True) / xp.where(square > 0, square, xp.ones_like(square)) * rows


@pytree
class SampledReadout(Readout):
    """The readout, w(0) without what lies along the features of the P training samples: then f(0) = ⟨w φ⟩/γ₀ = 0.

    Where weights decay, `first` are the features at the first step. They do not depend on w(0), so that what w(0) makes of
    the part of later features along them is noise, and is taken off.
    """

    P: int = field(default=0, metadata=dict(static=True))
    first: jax.Array | None = None

    def outputs(self, features, gamma0):
        begun, known = self.begun, features[: self.P]
        self.initial = when(~begun, lambda w: orthogonal_to(w, known), self.initial)
        self.weights = features.__array_namespace__().where(self.begun, self.weights, self.initial)
        if self.first is None:
            return super().outputs(features, gamma0)
        self.first = features.__array_namespace__().where(begun, self.first, features)
        return super().outputs(features, gamma0, along(self.first, features))


@pytree
class PooledSampledReadout(_Pooled, SampledReadout):
    """The readout of a convolution."""

    convolution: Convolution | None = field(default=None, kw_only=True, metadata=dict(static=True))
