r"""An infinite random matrix, known where it has acted.

With p_k an orthonormal basis of the features that W^ℓ(0) has been applied to and q_j one of the fields that its transpose
has been applied to (both under the sample average ⟨·⟩),

    W^ℓ(0) = Σ_k a_k p_kᵀ + Σ_j q_j b_jᵀ,    a_k ⊥ the q_j present when it is drawn, b_j ⊥ the p_k,

with a_k, b_j fresh unit Gaussians. So h^{ℓ+1} = Σ_k ⟨φp_k⟩ a_k(t) + Σ_j ⟨φb_j⟩ q_j, where a_k(t) is a_k and what was
learned since, and likewise backward; the terms in q_j and ⟨g a_k⟩ p_k are the response terms A, C and B, D.
"""

from __future__ import annotations

from dataclasses import field

import jax
import jax.numpy as jnp

from ..step import Readout, pytree
from .span import extend_span, orthogonal_to


@pytree
class Basis:
    """Directions (room, S), orthonormal under ⟨·⟩; those from `count` on are still zero.

    images   what the matrix makes of each direction, by name: rows of Gaussians in the layer on its other side
    full     whether some field needed more directions than there is room for
    """

    directions: jax.Array
    images: dict
    count: jax.Array
    full: jax.Array

    def drawn(self, *names):
        """Pairs (images, which of them were drawn) of these names, if there are such."""
        found = [self.images[name] for name in names if name in self.images]
        return [(rows, jnp.arange(len(rows)) < self.count) for rows in found]


@pytree
class RevealedMatrix:
    """W^ℓ between two layers of sampled neurons.

    features   basis p; images `now` a_k(t), with what was learned, and `initial` a_k, if a rule or linear fields ask
    sent       basis q of the fields that the rule sends down; images `weights` b_j and `feedback`, under frozen feedback
    recorded   basis of gradients that the rule does not use, for what `sent` misses of them; image `weights`. No later field
               depends on it: it is independent of the features, and only b_j of `sent` enter ⟨φ b_j⟩
    spare      Gaussians that test samples share
    outside    the largest share of a field's variance that this step left outside of the bases
    """

    features: Basis
    sent: Basis
    recorded: Basis
    tol: jax.Array
    spare: jax.Array
    outside: jax.Array
    P: int = field(metadata=dict(static=True))

    # What gives the Gaussians that the fields of the layer below and above are made of: nothing unless φ is linear.
    drawn_below = drawn_above = staticmethod(lambda: [])

    def _extend(self, basis, fields, partner, drawn, length=None):
        """Coefficients of the fields in a basis that was extended to hold them, up to tol of their `length` squared."""
        length = jnp.sqrt((fields**2).mean(axis=1)) if length is None else length
        basis.directions, basis.count, rows, coefficients, outside, lacks = extend_span(
            fields, length, basis.directions, basis.count, self.tol, tuple(basis.images.values()), partner, drawn()
        )
        basis.images = dict(zip(basis.images, rows))
        basis.full |= lacks
        self.outside = jnp.maximum(self.outside, outside)
        return coefficients

    def _send(self, v, length=None, basis=None):
        return self._extend(basis or self.sent, v, self.features.directions, self.drawn_above, length)

    def apply(self, features):
        """Preactivations above. Test samples, those after the first P, act on nothing, so no direction is added for them:
        what the basis misses of one is a Gaussian of that variance, from the rows of `spare`.
        """
        S, P, p, spare = features.shape[1], self.P, self.features, self.spare
        self.outside = jnp.zeros_like(self.outside)
        self.coefficients = c = self._extend(p, features[:P], self.sent.directions, self.drawn_below)
        if len(features) > P:
            passive = features[P:] @ p.directions.T / S
            c = jnp.concatenate([c, passive])
            missed = jnp.sqrt(((features[P:] - passive @ p.directions) ** 2).mean(axis=1))
        h = c @ p.images["now"]
        if len(features) > P:
            h = h.at[P:].add(missed[:, None] * spare[jnp.arange(len(missed)) % len(spare)])
        if "weights" in self.sent.images:
            h = h + (features @ self.sent.images["weights"].T / S) @ self.sent.directions
        return h

    def _response(self, v, image):
        return (v @ self.features.images[image].T / v.shape[1]) @ self.features.directions

    def transpose(self, v):
        return self._send(v) @ self.sent.images["weights"] + self._response(v, "now")

    def transpose_initial(self, v):
        return self._send(v) @ self.sent.images["weights"] + self._response(v, "initial")

    def transpose_fresh(self, v):
        return self._send(v) @ self.sent.images["feedback"]

    def transpose_recorded(self, v):
        """`transpose` of a field that acts on nothing: directions that it adds stay out of the forward pass."""
        if not self.recorded.images:
            return self.transpose(v)
        z, length = self._response(v, "now"), jnp.sqrt((v**2).mean(axis=1))
        if "weights" in self.sent.images:
            known = v @ self.sent.directions.T / v.shape[1]
            z, v = z + known @ self.sent.images["weights"], v - known @ self.sent.directions
        return z + self._send(v, length, self.recorded) @ self.recorded.images["weights"]

    def learn(self, features, signal):
        """What is learned of the features that were applied last: a_k(t) ← a_k(t) + Σ_μ ⟨φ_μ p_k⟩ signal_μ."""
        now = self.features.images["now"]
        self.features.images["now"] = now + self.coefficients[: len(signal)].T @ signal


@pytree
class SampledReadout(Readout):
    """The readout, w(0) without what lies along the features of the P training samples: then f(0) = ⟨w φ⟩/γ₀ = 0."""

    P: int = field(metadata=dict(static=True))

    def outputs(self, features, gamma0):
        arguments = self.initial, features[: self.P]
        self.initial = jax.lax.cond(self.begun, lambda w, _: w, orthogonal_to, *arguments)
        self.weights = jnp.where(self.begun, self.weights, self.initial)
        return super().outputs(features, gamma0)
