r"""One step of learning (BP Eqs. 1–4), for any representation of a network's weights.

Weights stand between two layers: W⁰ below the first hidden layer, W^ℓ above layer ℓ, the readout above the last. An
engine supplies each of them as an object, as matrices at finite width or as what is known of an infinite one:

    apply(features)            h^{ℓ+1} = W^ℓ(t) φ^ℓ/√N
    transpose(v)               W^ℓ(t)ᵀ v/√N, of a field v of the layer above
    transpose_recorded(v)      the same for a gradient that is recorded but not used by the rule: a mean field must keep it
                               out of the forward pass (book/solver.md, "What may be left out of the forward pass")
    transpose_initial(v)       W^ℓ(0)ᵀ v/√N
    transpose_fresh(v)         the same with frozen random weights in place of W^ℓ
    decay(keep)                W^ℓ ← keep·W^ℓ, before it learns; asked where there is weight decay
    seen(features)             features as `learn` takes them
    learn(seen, signal)        W^ℓ ← W^ℓ + Σ_μ signal_μ φ^ℓ_μᵀ/√N, where signal = γ₀ η Δ g̃^{ℓ+1}

Fields have a row for each sample and a column for each neuron, or sampled neuron. Gradients have a row for each training
sample and output, outputs of a sample side by side. Test samples stand below the P training samples.

In a residual network the matrices between hidden layers are branches beside the identity: h^{ℓ+1} = h^ℓ + `branch` · W^ℓ φ^ℓ/√N.
Of a convolution (`convolution`), each of these rows is A rows, one a position, and a column is a channel; X are its patches then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import jax
import numpy as np

from .activations import with_derivative
from .rules import Layer


class Frozen(NamedTuple):
    """Random fields of a layer that never change: gates (P, neurons) and vectors (C, neurons), where the rule asks."""

    gate: jax.Array | None
    vector: jax.Array | None


class ReceivingLayer(Layer):
    """A layer that answers a rule from the weights above it, once `receive` has told what comes from there."""

    positions = 1  # rows of a sample

    def receive(self, above, Delta, g_next, g_tilde_next, branch=None):
        self.error, self.g_tilde_next = Delta.reshape(-1, 1), g_tilde_next
        if self.positions > 1:
            self.error = Delta.__array_namespace__().repeat(self.error, self.positions, axis=0)
        self._above, self._g_next, self.branch = above, g_next, branch
        self.z, self._g, self.images = None, None, {}

    def _through(self, field):
        """What a product with the weights above is in this network."""
        return field if self.branch is None else self.branch * field

    def _image(self, name, field):
        self.images[name] = self._through(field)
        return self.images[name]

    def skip(self, v):
        return 0 if self.branch is None else v

    def W_T(self, v):
        return self._image("W_T", self._above.transpose(v))

    def W0_T(self, v):
        return self._image("W0_T", self._above.transpose_initial(v))

    def fresh_T(self, v):
        return self._image("fresh_T", self._above.transpose_fresh(v))

    @property
    def g(self):
        if self.z is None:
            self.z = self._through(self._above.transpose(self._g_next))
        return self.recorded_g()

    def field(self, value):
        """What a rule returned, as an array of this layer's kind and precision; symbolic fields are what they are."""
        return value

    def recorded_g(self):
        """g, once the rule has been asked for g̃: by then it is known whether the rule uses g."""
        if self.z is None:
            self.z = self._through(self._above.transpose_recorded(self._g_next))
        if self._g is None:
            g = self.gain * self.z
            self._g = g if self.branch is None else self.skip(self._g_next) + g
        return self._g


class HiddenLayer(ReceivingLayer):
    """A hidden layer whose fields are arrays (P, neurons)."""

    def __init__(self, rule, activation, h, frozen, positions=1):
        self.h, self.carried, self.positions = h, h, positions
        self.phi, self.phi_dot = with_derivative(activation, h)
        self.gate, self.fresh_vector = frozen.gate, frozen.vector
        self.features, self.gain = (self.field(value(self)) for value in (rule.features, rule.gain))

    def receive(self, above, Delta, *rest):
        """From here on fields have a row for each training sample and output."""
        (P, C), A, xp = Delta.shape, self.positions, Delta.__array_namespace__()
        for name in ("h", "phi", "phi_dot", "gain", "gate"):
            if (rows := getattr(self, name)) is not None:
                rows = rows[: A * P]
                if C > 1:
                    rows = xp.repeat(rows.reshape(P, -1), C, axis=0).reshape(P * C * A, -1)
                setattr(self, name, rows)
        if self.fresh_vector is not None and C * A > 1:
            self.fresh_vector = xp.tile(self.fresh_vector, (P, 1))
        super().receive(above, Delta, *rest)

    def field(self, value):
        return self.h.__array_namespace__().asarray(value, self.h.dtype)


def pytree(cls):
    """A dataclass whose fields JAX sees; those marked static are part of the compiled function."""
    cls = dataclass(cls)
    static = [f.name for f in fields(cls) if f.metadata.get("static")]
    data = [f.name for f in fields(cls) if f.init and f.name not in static]
    return jax.tree_util.register_dataclass(cls, data, static)


@dataclass
class Weights:
    """What all weights share.

    before   the last step's features as they were seen, and signal, where steps stand for several; else None
    """

    before: tuple | None = field(default=None, kw_only=True)

    def seen(self, features):
        return features

    def update(self, features, signal, rates):
        """Learn; with `rates`, of this step and of the one before."""
        now = self.seen(features), signal
        if rates is None:
            return self.learn(*now)
        for rate, (seen, signal) in zip(rates, (now, self.before)):
            self.learn(seen, rate * signal)
        self.before = now


def nothing_before(weights, rows, widths, outputs, zeros):
    """Let weights that learned nothing say so: features of so many rows have these `widths`, and the readout's signal is `outputs`."""
    signals = [(rows, widths[-1])] * (len(weights) - 1) + [outputs]
    for W, width, signal in zip(weights, widths, signals):
        W.before = zeros((rows, width)), zeros(signal)


@pytree
class InputWeights(Weights):
    """W⁰, stored as its transpose (D, neurons) with its scale, 1/√D or what X was divided by already.

    `initial` weights are those of a network that decays.
    """

    weights: jax.Array
    scale: float
    initial: jax.Array | None = None

    def apply(self, X):
        return X @ self.weights * self.scale

    def apply_initial(self, X):
        return X @ self.initial * self.scale

    def decay(self, keep):
        self.weights = keep * self.weights

    def learn(self, X, signal):
        self.weights = self.weights + X.T @ signal * self.scale


@pytree
class Readout(Weights):
    """The readout w, one row an output (C, neurons), and the outputs that nothing learned, which are taken off: those at
    initialization or, where weights decay, those of the initial weights times `left`, what is left of them.
    """

    weights: jax.Array
    initial: jax.Array
    fresh: jax.Array | None
    f0: jax.Array
    begun: jax.Array
    left: jax.Array | None = None

    positions, convolution = 1, None

    def outputs(self, features, gamma0, untrained=None):
        """f = w·φ/(γ₀N) less its value at initialization (BP Eq. 1), or less that of the features `untrained`."""
        raw = features @ self.weights.T / (gamma0 * features.shape[1])
        xp = raw.__array_namespace__()
        if untrained is None:
            self.f0 = xp.where(self.begun, self.f0, raw)
        else:
            self.f0 = self.left * (untrained @ self.initial.T) / (gamma0 * features.shape[1])
        f = xp.where(self.begun, raw - self.f0, 0.0)
        self.begun = xp.ones_like(self.begun)
        return f

    def transpose(self, v):
        return v @ self.weights

    transpose_recorded = transpose

    def transpose_initial(self, v):
        return v @ self.initial

    def transpose_fresh(self, v):
        return v @ self.fresh

    def decay(self, keep):
        self.weights, self.left = keep * self.weights, keep * self.left

    def learn(self, features, signal):
        self.weights = self.weights + signal.T @ features


class Fields(NamedTuple):
    """What a step computed: outputs f (P, C), test samples last, and fields by layer, lists of (rows, neurons).

    h has test samples, too. images: what W(t)ᵀ, W(0)ᵀ and the feedback made of g̃, by the name that the rule used.
    """

    f: jax.Array
    h: list
    phi: list
    z: list
    g: list
    g_tilde: list
    images: dict


def into(features, branch):
    """Features as a hidden matrix meets them, so that it is multiplied by `branch` in what it makes and in what it learns."""
    return features if branch is None else branch * features


def forward(weights, X, make_layer, branch=None, product=lambda W, features: W.apply(features)):
    """The hidden layers, h^{ℓ+1} = W^ℓ φ^ℓ/√N; `make_layer(ℓ, h)` makes the one with index ℓ, 0 for the first."""
    layers = [make_layer(0, product(weights[0], X))]
    for l, W in enumerate(weights[1:-1], 1):
        h = product(W, into(layers[-1].features, branch))
        layers.append(make_layer(l, h if branch is None else layers[-1].carried + h))
    return layers


def backward(rule, weights, layers, Delta, top, branch=None, recording=True):
    """g^ℓ and g̃^ℓ from the first layer up to `top`, g^{L+1} = g̃^{L+1} = 1 for the own output: g^ℓ = gain ⊙ W^ℓᵀ g^{ℓ+1}/√N, g̃ as the rule says.

    Where nothing of g is recorded, it is None of a rule that does not use it.
    """
    g, g_tilde = [top], [top]
    for layer, above in zip(reversed(layers), reversed(weights)):
        layer.receive(above, Delta, g[0], g_tilde[0], None if above is weights[-1] else branch)
        g_tilde.insert(0, layer.field(rule.pseudo_gradient(layer)))
        g.insert(0, layer.recorded_g() if recording or layer.z is not None else None)
    return g, g_tilde


def untrained(weights, X, make_layer, branch):
    """Last features of a network that decays, if it had learned nothing."""
    left = weights[-1].left
    return forward(weights, X, make_layer, branch, lambda W, features: left * W.apply_initial(features))[-1].features


def step(
    rule, activation, loss, weights, frozen, X, y, gamma0, lr, keep=None, mask=None, branch=None, recording=True, rates=None,
):  # fmt: skip
    """One step: forward, error, backward, update. Changes `weights`, from W⁰ to the readout, and returns Fields.

    keep   what weight decay leaves of every weight, None without decay
    mask   (P,): 1 for samples that are learned from, 0 for others; None for all samples
    branch what multiplies the hidden matrices of a residual network, None for other networks
    recording   whether g is to be known of a rule that does not use it
    rates  (2,): how much is learned of this step and of the one before (`Experiment.rates`); None for this step alone
    """
    (P, C), A, xp = y.shape, weights[-1].positions, y.__array_namespace__()
    make_layer = lambda l, h: HiddenLayer(rule, activation, h, frozen[l], A)  # noqa: E731
    layers = forward(weights, X, make_layer, branch)
    h, phi = [layer.h for layer in layers], [layer.features for layer in layers]
    copy = () if weights[0].initial is None else (untrained(weights, X, make_layer, branch),)
    f = weights[-1].outputs(phi[-1], gamma0, *copy)
    Delta = loss.error(y, f[:P])
    phi, top = [features[: A * P] for features in phi], xp.tile(xp.eye(C, dtype=X.dtype), (P, 1))
    g, g_tilde = backward(rule, weights, layers, Delta, top, branch, recording)
    if mask is not None:
        Delta = mask[:, None] * Delta
    met = [X[: A * P], *(into(features, branch) for features in phi[:-1]), phi[-1]]
    for W, features, above in zip(weights, met, g_tilde):
        if keep is not None:
            W.decay(keep)
        signal = (gamma0 * lr * Delta).reshape(-1, 1) * above.reshape(P * C, -1)
        signal = signal if C == 1 else signal.reshape(P, C, -1).sum(axis=1)
        W.update(features, signal.reshape(-1, above.shape[1]), rates)
    images = {name: [layer.images[name] for layer in layers] for name in layers[-1].images}
    return Fields(f, h, phi, [layer.z for layer in layers], g[:-1], g_tilde[:-1], images)


def entk(K_x, Phi, G_tilde, branch=None, convolution=None):
    """K = Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ (BP Eq. 4), (…, P·C, P·C), of kernels (…, L, P, P) and (…, L, P·C, P·C), in numpy or JAX.

    A term of a hidden matrix that is a residual branch is multiplied by `branch`². Rows may be of other samples than columns.
    """
    if convolution is not None:
        return convolution.entk(K_x, Phi, G_tilde, branch)
    C = G_tilde.shape[-2] // len(K_x)
    rows = lambda k: k if C == 1 else k.repeat(C, -1).repeat(C, -2)  # noqa: E731
    K = G_tilde[..., 0, :, :] * rows(K_x)
    for l in range(1, Phi.shape[-3]):
        Phi_l = rows(Phi[..., l - 1, :, :])
        K += G_tilde[..., l, :, :] * (Phi_l if branch is None else branch**2 * Phi_l)
    last = rows(Phi[..., -1, :, :])
    K += last if C == 1 else np.tile(np.eye(C, dtype=K_x.dtype), K_x.shape) * last
    return K


def kernels(K_x, phi, g, g_tilde, branch=None, convolution=None):
    """Φ, G, G̃, ⟨g̃g̃⟩ and K of one step by name: averages over neurons of its fields."""

    def average(a, b):
        products = [x @ y.T for x, y in zip(a, b)]
        for l, x in enumerate(a):
            products[l] /= x.shape[1]
        return a[0].__array_namespace__().stack(products)

    Phi, G = average(phi, phi), average(g, g)
    same = all(x is y for x, y in zip(g, g_tilde))  # as those of a gradient
    G_tilde, own = (G, G) if same else (average(g, g_tilde), average(g_tilde, g_tilde))
    K = entk(K_x, Phi, G_tilde, branch, convolution)
    return dict(Phi=Phi, G_tilde=G_tilde, K=K, G=G, G_tilde_tilde=own)
