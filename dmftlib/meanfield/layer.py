"""A hidden layer as sampled neurons, and the readout above the last."""

from __future__ import annotations

import jax.numpy as jnp

from ..rules import Layer


class Readout:
    """The readout w: one row of samples an output, (C, S), where a gap has matrices."""

    def __init__(self, w, w0, fresh):
        self.w, self.w0, self.fresh = w, w0, fresh

    def transpose(self, v):
        return v @ self.w

    transpose_unused = transpose

    def transpose_initial(self, v):
        return v @ self.w0

    def transpose_fresh(self, v):
        return v @ self.fresh


class SampledLayer(Layer):
    """A hidden layer as S sampled neurons."""

    def __init__(self, rule, activation, h, frozen):
        self.h, self.phi, self.phi_dot = h, activation.phi(h), activation.phi_dot(h)
        self.gate, self.fresh_vector = frozen["gate"], frozen["vector"]
        self.features, self.gain = rule.features(self), rule.gain(self)

    def backward(self, above, Delta, g_next, g_tilde_next):
        """Offer the backward pass: a row for each training sample and output."""
        P, C = Delta.shape
        for name in ("h", "phi", "phi_dot", "gain", "gate"):
            if getattr(self, name) is not None:
                setattr(self, name, jnp.repeat(getattr(self, name)[:P], C, axis=0))
        if self.fresh_vector is not None and C > 1:
            self.fresh_vector = jnp.tile(self.fresh_vector, (P, 1))
        self.error, self.g_next, self.g_tilde_next = Delta.reshape(-1, 1), g_next, g_tilde_next
        self._above, self.z = above, None
        self.images = {}
        self.W_T, self.W0_T = self._kept("W_T", above.transpose), self._kept("W0_T", above.transpose_initial)
        self.fresh_T = self._kept("fresh_T", above.transpose_fresh)

    def _kept(self, name, transpose):
        def image(v):
            self.images[name] = transpose(v)
            return self.images[name]

        return image

    @property
    def g(self):
        if self.z is None:
            self.z = self._above.transpose(self.g_next)
        return self.gain * self.z

    def recorded_g(self):
        """g, once the rule has been asked: then it is known whether the rule uses it."""
        if self.z is None:
            self.z = self._above.transpose_unused(self.g_next)
        return self.gain * self.z
