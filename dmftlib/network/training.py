"""Finite-width networks trained by a rule: paper eqs. (1)–(4) in discrete time, with no theory in them."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import computing
from ..experiment import check_experiment
from ..machine import make_room
from ..probe import needs
from ..results import Dynamics, Provenance
from ..rules import Layer
from ..stability import check_records, warn_if_rounded, warn_if_unstable
from ..validate import check_dtype, check_steps, checked_seed, whole


class _Matrices(Layer):
    """A hidden layer as N neurons: weights above it and their learned part in factored form."""

    def __init__(self, rule, activation, h, P, frozen):
        self.h, self.phi, self.phi_dot = h, activation.phi(h), activation.phi_dot(h)
        self.gate, self.fresh_vector = frozen["gate"], frozen["vector"]
        self.features, self.gain = rule.features(self), rule.gain(self)
        self._train = P

    def backward(self, above, error, g_next, g_tilde_next):
        """Offer the backward pass: a row for each training sample and output. `above` is the weight matrix above."""
        for name in ("h", "phi", "phi_dot", "gain", "gate"):
            if getattr(self, name) is not None:
                setattr(self, name, jnp.repeat(getattr(self, name)[: self._train], error.shape[1], axis=0))
        if self.fresh_vector is not None and error.shape[1] > 1:
            self.fresh_vector = jnp.tile(self.fresh_vector, (self._train, 1))
        self.error, self.g_tilde_next = error.reshape(-1, 1), g_tilde_next
        self.W_T, self.W0_T, self.fresh_T = above.transpose, above.transpose_initial, above.transpose_fresh
        self.z = above.transpose(g_next)
        self.g = self.gain * self.z


class _Weights:
    """W = W_now + Uᵀ V/√N: N × N matrices are not rewritten at every step; `fresh` is frozen feedback."""

    def __init__(self, scale, now, initial, fresh, U=None, V=None):
        self.scale, self.now, self.initial, self.fresh, self.U, self.V = scale, now, initial, fresh, U, V

    def apply(self, phi):
        learned = 0.0 if self.U is None else (phi @ self.V.T / len(self.now)) @ self.U
        return phi @ self.now.T * self.scale + learned

    def transpose(self, v):
        learned = 0.0 if self.U is None else (v @ self.U.T / len(self.now)) @ self.V
        return v @ self.now * self.scale + learned

    def transpose_initial(self, v):
        return v @ self.initial * self.scale

    def transpose_fresh(self, v):
        return v @ self.fresh * self.scale


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _draw(key, kind, layer, shape, dtype):
    return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, kind), layer), shape, dtype)


def _gaussian(key, name, layer, shape, dtype):
    """Every frozen object has its own key: (seed, kind, layer). One compiled draw serves all of one shape."""
    kind = ("weights", "feedback", "gates", "vectors").index(name)
    return _draw(key, kind, layer, shape, dtype)


def _initialize(key, X, L, N, C, asked, dtype, phi_dot):
    """Initial weights, frozen feedback and gates; those that the rule does not ask for are None."""
    D = X.shape[1]
    rows, columns = [N] * L + [C], [D] + [N] * L
    draw = lambda name, l: _gaussian(key, name, l, (rows[l], columns[l]), dtype)  # noqa: E731
    W = [draw("weights", l) for l in range(L + 1)]
    fresh = [draw("feedback", l) if "fresh_T" in asked and l else None for l in range(L + 1)]
    gate, vector = [None] * L, [None] * L
    if "gate" in asked:
        gate = [phi_dot(X @ _gaussian(key, "gates", l, (N, D), dtype).T / np.sqrt(D)) for l in range(L)]
    if "fresh_vector" in asked:
        vector = [_gaussian(key, "vectors", l, (C, N), dtype) for l in range(L)]
    return W, fresh, [dict(gate=g, vector=v) for g, v in zip(gate, vector)]


@partial(jax.jit, static_argnames=("rule", "activation", "steps", "record", "kernels"))
def _run(rule, activation, steps, record, kernels, X, y, gamma0, lr, W0, fresh, frozen, state):
    """`steps` steps of training; returns the state after them and what was recorded before each."""
    L, (P, C), N, D = len(W0) - 1, y.shape, W0[0].shape[0], X.shape[1]
    dtype = X.dtype
    hidden = range(1, L)
    factors = {l: (jnp.zeros((steps * P, N), dtype), jnp.zeros((steps * P, N), dtype)) for l in hidden}

    def step(carry, t):
        (W, f0, begun), factors, _ = carry
        scales = [1 / np.sqrt(D)] + (L - 1) * [1 / np.sqrt(N)] + [1.0]
        weights = [_Weights(*parts, *factors.get(l, ())) for l, parts in enumerate(zip(scales, W, W0, fresh))]
        h, layers = weights[0].apply(X), []
        for l in range(1, L + 1):
            layers.append(_Matrices(rule, activation, h, P, frozen[l - 1]))
            h = weights[l].apply(layers[-1].features)
        raw = h / (gamma0 * N)
        f0 = jnp.where(begun, f0, raw)
        f = jnp.where(begun, raw - f0, 0.0)
        Delta = y - f[:P]

        g = g_tilde = jnp.tile(jnp.eye(C, dtype=dtype), (P, 1))
        phi, gs, g_tildes = [layer.features[:P] for layer in layers], [], []
        h = jnp.stack([layer.h for layer in layers])
        for l in range(L, 0, -1):
            layers[l - 1].backward(weights[l], Delta, g, g_tilde)
            g_tilde = rule.pseudo_gradient(layers[l - 1])
            g = layers[l - 1].g
            gs.insert(0, g)
            g_tildes.insert(0, g_tilde)

        out = dict(f=f)
        if kernels:
            average = lambda a, b: jnp.stack([x @ y.T / N for x, y in zip(a, b)])  # noqa: E731
            Phi, G_tilde = average(phi, phi), average(gs, g_tildes)
            below = jnp.concatenate([(X[:P] @ X[:P].T / D)[None], Phi]).repeat(C, axis=1).repeat(C, axis=2)
            out |= dict(Phi=Phi, G=average(gs, gs), G_tilde=G_tilde, G_tilde_tilde=average(g_tildes, g_tildes))
            out["K"] = (below[:-1] * G_tilde).sum(0) + below[-1] * jnp.tile(jnp.eye(C, dtype=dtype), (P, P))
        if record:
            out |= dict(phi=jnp.stack(phi), g=jnp.stack(gs), g_tilde=jnp.stack(g_tildes))

        signal = [gamma0 * lr * (Delta[:, :, None] * g_tilde.reshape(P, C, N)).sum(1) for g_tilde in g_tildes]
        W = list(W)
        W[0] = W[0] + signal[0].T @ X[:P] / np.sqrt(D)
        W[L] = W[L] + gamma0 * lr * Delta.T @ phi[-1]
        write = jax.lax.dynamic_update_slice
        factors = {
            l: (write(factors[l][0], signal[l], (t * P, 0)), write(factors[l][1], phi[l - 1], (t * P, 0)))
            for l in hidden
        }
        last = dict(h=h, z=jnp.stack([layer.z for layer in layers]))
        return ((W, f0, jnp.array(True)), factors, last), out

    last = dict(h=jnp.zeros((L, len(X), N), dtype), z=jnp.zeros((L, P * C, N), dtype))
    ((W, f0, begun), factors, last), out = jax.lax.scan(step, (state, factors, last), jnp.arange(steps))
    W = [W[l] + factors[l][0].T @ factors[l][1] / np.sqrt(N) if l in factors else W[l] for l in range(L + 1)]
    return (W, f0, begun), last, out


def _parts(T, chunk, kernels_at):
    """Pairs (steps, whether kernels are recorded) of equal parts of T steps, each asked step a part by itself."""
    if kernels_at is None:
        return [(min(chunk, T - start), True) for start in range(0, T, chunk)]
    parts, start = [], 0
    for step in [*kernels_at, T]:
        parts += [(min(chunk, step - begin), False) for begin in range(start, step, chunk)]
        parts += [(1, True)] if step < T else []
        start = step + 1
    return parts


def train(experiment, width=2048, seed=0, dtype="float64", record=False, kernels_at=None):
    """Train one network of the given width; returns Dynamics with the kernels before each update.

    The output at initialization is subtracted, so f starts from 0. `record` keeps all fields for two-time
    kernels; `kernels_at` are the steps whose kernels are recorded, all by default. Raises ValueError for a bad argument,
    Diverged (with the step) when the loss is not finite or grows without bound. Warns where |1 − lr·λ| exceeds 1 for an
    eigenvalue λ of K, and where updates are lost in the rounding of `dtype`.
    """
    check_experiment(experiment)
    width, seed = whole("width", width, 1), checked_seed(seed)
    check_dtype(dtype)
    kernels_at = check_steps("kernels_at", kernels_at, experiment.steps)
    warn_if_rounded(experiment, dtype)
    make_room()
    task, L, T = experiment.task, experiment.hidden_layers, experiment.steps
    rule, activation = experiment.rule, experiment.phi
    # Factored updates cost more than a rewritten matrix once their rank passes about half the width.
    room = T if L == 1 else min(T, max(1, width // (2 * task.P)))
    chunk = -(-T // -(-T // room))  # equal parts, so that one compiled function serves all but perhaps the last
    with computing(dtype):
        X, y = jnp.asarray(task.X_all, dtype), jnp.asarray(task.y.reshape(task.P, task.outputs), dtype)
        W0, fresh, frozen = _initialize(
            jax.random.key(seed), X, L, width, task.outputs, needs(rule), dtype, activation.phi_dot
        )
        state = (W0, jnp.zeros((len(X), task.outputs), X.dtype), jnp.array(False))
        parts, start = [], 0
        for count, kernels in _parts(T, chunk, kernels_at):
            state, last, out = _run(
                rule, activation, count, record, kernels, X, y, experiment.gamma0, experiment.lr,
                W0, fresh, frozen, state,
            )  # fmt: skip
            parts.append({name: np.asarray(value, np.float64) for name, value in out.items()})
            parts[-1]["f"] = parts[-1]["f"].reshape(-1, len(X), *task.y.shape[1:])
            check_records(experiment, parts[-1], start, parts[0]["K"][0] if "K" in parts[0] else None)
            start += count
        last = {name: np.asarray(value).transpose(0, 2, 1) for name, value in last.items()}
    names = dict.fromkeys(name for part in parts for name in part)
    records = {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    warn_if_unstable(experiment, records["K"], kernels_at)
    history = {name: records[name] for name in ("phi", "g", "g_tilde")} if record else None
    provenance = Provenance("network", width, seed, dtype)
    return Dynamics.from_records(experiment, provenance, records, last, history, kernels_at)
