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

import numpy as np


class Layer:
    """What hidden layer ℓ offers a rule. Fields have shape (P, neurons); products are elementwise.

    In a network with C outputs the update is Σ_c Δ_μc g̃_μc φ_μᵀ, and pseudo_gradient sees P·C rows, one for each sample
    and output: features repeat, error, g and what comes from above differ, and so does fresh_vector.

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
    """


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
    """Gradient descent: the pseudo-gradient is the gradient, g̃^ℓ = g^ℓ (paper eq. 3)."""

    def pseudo_gradient(self, layer):
        return layer.g


@dataclass(frozen=True)
class FA(Rule):
    r"""ρ-aligned feedback alignment (paper eqs. 3 and 7): the backward pass runs through frozen feedback weights

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
        return layer.gain * sum(parts[1:], parts[0])


@dataclass(frozen=True)
class DFA(Rule):
    """Direct feedback alignment (paper eq. 3): g̃^ℓ = φ̇(h^ℓ) ⊙ z̃^ℓ, z̃^ℓ ~ N(0, 1) frozen. As γ₀ → 0, K = Φ^L."""

    def pseudo_gradient(self, layer):
        return layer.gain * layer.fresh_vector


@dataclass(frozen=True)
class GLN(Rule):
    """Gated linear network: frozen gates φ̇(m) stand for φ̇(h), and φ̇(m) ⊙ h for φ(h); g̃ = g (paper eq. 3).

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
    """Error-modulated Hebb (paper eqs. 3 and 8): g̃^ℓ = Δ_μ φ(h^ℓ_μ), so updates are Δ² φφᵀ. As γ₀ → 0, K = Φ^L."""

    def pseudo_gradient(self, layer):
        return layer.error * layer.phi


FIELDS = {name: (2, 3) for name in ("h", "phi", "phi_dot", "gate", "features", "gain", "g", "g_tilde_next")}
FIELDS |= {"error": (2, 1), "fresh_vector": (1, 3)}
BACKWARD = ("W_T", "W0_T", "fresh_T")


class _Probe(Layer):
    """A layer of 3 neurons and 2 samples that writes down what a rule asks for."""

    def __init__(self):
        self.asked = set()

    def __getattr__(self, name):
        if name in FIELDS:
            self.asked.add(name)
            return np.ones(FIELDS[name])
        if name in BACKWARD:
            self.asked.add(name)
            return lambda v: np.ones((2, 3))
        offered = ", ".join([*FIELDS, *BACKWARD])
        raise AttributeError(f"a rule asked its layer for `{name}`, which no layer offers. It offers: {offered}.")


def needs(rule):
    """Names of what `rule` asks a layer for, found by running it once on a tiny layer."""
    probe = _Probe()
    for method in ("features", "gain", "pseudo_gradient"):
        try:
            value = getattr(rule, method)(probe)
        except NotImplementedError:
            raise TypeError(
                f"the rule {rule!r} has no method `{method}(layer)`. It must return a field of shape (P, neurons), "
                "built from what the layer offers: see dmftlib.rules.Layer."
            ) from None
        if np.shape(value) != (2, 3):
            raise ValueError(
                f"`{method}` of the rule {rule!r} must return a field of shape (P, neurons), here (2, 3); "
                f"got shape {np.shape(value)}."
            )
    return frozenset(probe.asked)


class _Rotated(Layer):
    """A layer of 4 neurons and 2 samples with φ(h) = c·h, whose neurons (and those above) are mixed by a rotation R."""

    def __init__(self, R, c):
        rng = np.random.default_rng(0)
        for name in ("h", "g", "g_tilde_next"):
            setattr(self, name, rng.standard_normal((2, 4)) @ R)
        self.phi, self.phi_dot, self.gate = c * self.h, np.full((2, 4), c), np.full((2, 4), c)
        self.error, self.fresh_vector = rng.standard_normal((2, 1)), rng.standard_normal((1, 4)) @ R
        for name in BACKWARD:
            W = R.T @ rng.standard_normal((4, 4)) @ R
            setattr(self, name, lambda v, W=W: v @ W)


def is_linear(rule, slope):
    """Whether `rule` only adds and scales fields when φ(h) = slope·h, so that mixing neurons mixes its g̃ alike.

    Not for a slope of None, which is that of any other φ, or 0.

    Then every field of a linear network is a combination of the Gaussians drawn, and averages over them suffice.
    Found by running the rule on one layer before and after a rotation.
    """
    if not slope:
        return False
    R, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))
    fields = []
    for layer in (_Rotated(np.eye(4), slope), _Rotated(R, slope)):
        layer.features, layer.gain = rule.features(layer), rule.gain(layer)
        fields.append([np.asarray(x) for x in (layer.features, rule.pseudo_gradient(layer), layer.gain)])
    # A rule may compute in float32. The slope is a unit of what is compared.
    same = lambda a, b: np.abs(a - b).max() <= 1e-4 * np.abs(b).max()  # noqa: E731
    (phi, g_tilde, gain), (mixed_phi, mixed_g_tilde, mixed_gain) = fields
    kept = same(mixed_phi, phi @ R) and same(mixed_g_tilde, g_tilde @ R)
    constant = np.full((2, 4), gain.flat[0])
    return bool(kept and same(gain, constant) and same(mixed_gain, constant))


def check_rule(rule):
    """Raise TypeError or ValueError if `rule` is not a Rule that every engine can run."""
    if not isinstance(rule, Rule):
        raise TypeError(f"`rule` must be a dmftlib.Rule object such as GD(); got {rule!r}.")
    try:
        hash(rule)
    except TypeError:
        raise TypeError(
            f"`rule` must be hashable, so that compiled engines can be reused; {type(rule).__name__} is not. "
            "Make it a frozen dataclass of numbers."
        ) from None
    needs(rule)
