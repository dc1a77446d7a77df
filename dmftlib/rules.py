r"""Learning rules. A rule states its pseudo-gradient once, in terms of what a layer offers.

Every engine (`network`, `meanfield`, `lazy`) supplies a `Layer` in its own representation: matrices at
finite width, samples at infinite width, kernels at γ₀ → 0. No engine knows which rule it runs; it asks the
rule for three things and updates every weight matrix with Δ_μ g̃_μ φ_μᵀ:

    features(layer)         what the layer passes forward, φ(h) by default
    gain(layer)             what multiplies the backward signal of the true gradient, φ̇(h) by default
    pseudo_gradient(layer)  g̃ of this layer
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real


class Layer:
    """What hidden layer ℓ offers a rule. Fields have shape (P, neurons); products are elementwise.

    In a network with C outputs the update is Σ_c Δ_μc g̃_μc φ_μᵀ, and pseudo_gradient sees P·C rows, one for each sample
    and output: features repeat, error, g and what comes from above differ, and so does fresh_vector. With a convolution of A
    positions each of these rows is A rows, one a position, and what stands for a neuron is a channel.

    h               preactivations h^ℓ
    phi, phi_dot    φ(h), φ̇(h)
    gate            φ̇(m) for frozen gates m = M x/√D, M ~ N(0, 1), one M a layer
    features, gain  what the rule's methods of these names returned (offered to pseudo_gradient)
    error           Δ_μ, shape (P, 1)
    g               the true gradient field g^ℓ = gain ⊙ z^ℓ, z^ℓ = W^ℓ(t)ᵀ g^{ℓ+1}/√N
    g_tilde_next    the pseudo-gradient g̃^{ℓ+1} of the layer above; ones, shape (P, 1), above the last
    fresh_vector    z̃^ℓ ~ N(0, 1), frozen, one value a neuron: shape (1, neurons)
    W_T(v)          W^ℓ(t)ᵀ v/√N for a field v of the layer above (for the last layer: w(t) v)
    W0_T(v)         the same with the initial weights W^ℓ(0)
    fresh_T(v)      the same with frozen random weights W̃^ℓ ~ N(0, 1), independent of W
    skip(v)         what comes of a field v of the layer above beside its matrix: v in a residual network, 0 otherwise and
                    for the last layer

    In a residual network (`Experiment.residual`) W_T, W0_T and fresh_T are those of the branch, multiplied by residual/√L, and
    g is all of the gradient, skip(g^{ℓ+1}) + gain ⊙ z^ℓ. A rule whose g̃ is made of g_tilde_next adds skip(g_tilde_next) to
    what it makes of the branch. Those that make g̃ of g, or at the layer itself, need no skip.
    """

    def skip(self, v):
        return 0


class Rule:
    """Base of all rules: gradient-descent forward pass, no pseudo-gradient. Make subclasses frozen dataclasses."""

    def features(self, layer):
        """What the layer passes forward, (P, neurons)."""
        return layer.phi

    def gain(self, layer):
        """Derivative of `features` along h, (P, neurons)."""
        return layer.phi_dot

    def pseudo_gradient(self, layer):
        """g̃ of this layer, (P, neurons)."""
        raise NotImplementedError


@dataclass(frozen=True)
class GD(Rule):
    """Gradient descent: the pseudo-gradient is the gradient, g̃^ℓ = g^ℓ (BP Eq. 3)."""

    def pseudo_gradient(self, layer):
        return layer.g


@dataclass(frozen=True)
class FA(Rule):
    r"""ρ-aligned feedback alignment (BP Eqs. 3 and 7): the backward pass runs through frozen feedback weights

    $$ \tilde g^\ell = \dot\phi(h^\ell) \odot N^{-1/2} \, [\rho W^\ell(0) + \sqrt{1-\rho^2}\, \tilde W^\ell]^\top \tilde g^{\ell+1} $$

    with $\tilde W \sim N(0, 1)$, also in place of the readout. As γ₀ → 0, K = Σ_ℓ ρ^{L−ℓ} G^{ℓ+1} ⊙ Φ^ℓ (Table 2).
    Raises ValueError unless 0 ≤ rho ≤ 1.
    """

    rho: float = 0.0

    def __post_init__(self):
        if isinstance(self.rho, bool) or not isinstance(self.rho, Real) or not 0 <= self.rho <= 1:
            raise ValueError(
                f"`rho` is the correlation of feedback with initial weights, 0 ≤ rho ≤ 1; got {self.rho!r}."
            )

    def pseudo_gradient(self, layer):
        # A matrix with coefficient 0 is not asked for: what the rule does not use has no response.
        v, parts = layer.g_tilde_next, []
        if self.rho > 0:
            parts.append(self.rho * layer.W0_T(v))
        if self.rho < 1:
            parts.append(math.sqrt(1 - self.rho**2) * layer.fresh_T(v))
        return layer.skip(v) + layer.gain * sum(parts[1:], parts[0])


@dataclass(frozen=True)
class DFA(Rule):
    """Direct feedback alignment (BP Eq. 3): g̃^ℓ = φ̇(h^ℓ) ⊙ z̃^ℓ, z̃^ℓ ~ N(0, 1) frozen. As γ₀ → 0, K = Φ^L."""

    def pseudo_gradient(self, layer):
        return layer.gain * layer.fresh_vector


@dataclass(frozen=True)
class GLN(Rule):
    """Gated linear network: frozen gates φ̇(m) stand for φ̇(h), and φ̇(m) ⊙ h for φ(h); g̃ = g (BP Eq. 3).

    As γ₀ → 0, K = (L+1) ⟨φ̇(m)φ̇(m)⟩^L K_x: one term a weight matrix (Table 2 prints one term only).
    """

    def features(self, layer):
        return layer.gate * layer.h

    def gain(self, layer):
        return layer.gate

    def pseudo_gradient(self, layer):
        return layer.g


@dataclass(frozen=True)
class Hebb(Rule):
    """Error-modulated Hebb (BP Eqs. 3 and 8): g̃^ℓ = Δ_μ φ(h^ℓ_μ), so updates are Δ² φφᵀ. As γ₀ → 0, K = Φ^L."""

    def pseudo_gradient(self, layer):
        return layer.error * layer.phi
