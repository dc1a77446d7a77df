r"""Infinite width in the rich regime: one causal sweep over time, in samples (paper §3, eqs. 5, 7, 8).

Each layer is a set of sampled neurons. An infinite random matrix W^ℓ(0) is known only where it has acted:
with p_k an orthonormal basis of the features it has been applied to and q_j one of the fields that its
transpose has been applied to (both under the sample average ⟨·⟩),

    W^ℓ(0) = Σ_k a_k p_kᵀ + Σ_j q_j b_jᵀ,    a_k ⊥ the q_j present when it is drawn, b_j ⊥ the p_k,

with a_k, b_j fresh unit Gaussians. So h^{ℓ+1} = Σ_k ⟨φp_k⟩(a_k + M_k) + Σ_j ⟨φb_j⟩ q_j, M_k being the learned
part, and likewise backward; the terms in q_j and ⟨g a_k⟩ p_k are the response terms A, C and B, D.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .dynamics import RECORDED, Dynamics, Provenance, check_dtype, check_records, warn_if_unstable
from .experiment import _whole
from .rules import Layer, needs

EXACT = 1e-16  # linear fields never leave the span of their draws, so their basis can be complete


def _orthonormal(rows, against):
    """Rows made orthogonal to the orthonormal rows `against`, then orthonormal, under the sample average."""
    S = rows.shape[1]
    rows = rows - (rows @ against.T / S) @ against
    factor = jnp.linalg.cholesky(rows @ rows.T / S)
    return jax.scipy.linalg.solve_triangular(factor, rows, lower=True)


@partial(jax.jit, static_argnames=("n", "S", "dtype"))
def _draw(key, start, n, S, dtype, against):
    """Rows start … start + n of an endless Gaussian array (row k comes from key k), orthonormalized."""
    rows = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key, k), (S,), dtype))(start + jnp.arange(n))
    return _orthonormal(rows, against)


def _span(fields, basis, count, tol, images, partner):
    """Extend `basis` until no field has more than tol × the mean field variance outside it.

    The largest residual becomes the next direction. The direction's rows of the `images` (fresh Gaussians of
    the neighbouring layer) are made orthogonal to the rows of `partner` and normalized.
    Returns basis, count, images and the largest residual share of variance.
    """
    S = fields.shape[1]
    scale = jnp.maximum((fields**2).mean(), jnp.finfo(fields.dtype).tiny)

    def orthogonal_unit(row, rows):
        row = row - (rows @ row / S) @ rows
        return row / jnp.sqrt((row**2).mean())

    def too_much(state):
        residual, _, count, _ = state
        return ((residual**2).mean(axis=1).max() > tol * scale) & (count < len(basis))

    def add(state):
        residual, basis, count, images = state
        new = orthogonal_unit(residual[jnp.argmax((residual**2).mean(axis=1))], basis)
        residual = residual - (residual @ new / S)[:, None] * new
        images = tuple(image.at[count].set(orthogonal_unit(image[count], partner)) for image in images)
        return residual, basis.at[count].set(new), count + 1, images

    residual = fields - (fields @ basis.T / S) @ basis
    residual, basis, count, images = jax.lax.while_loop(too_much, add, (residual, basis, count, images))
    return basis, count, images, (residual**2).mean(axis=1).max() / scale


class _Gap:
    """W^ℓ between two sampled layers, revealed where it has acted. Arrays (directions, samples):

    p, q bases; aM = a + M images of p, learned part included; a images without it; b, fresh images of q under
    Wᵀ(0) and frozen feedback; feeds (directions of q,) is 1 where the dynamics, not only the recorded
    gradient, depends on b: other b_j are independent of φ, so ⟨φ b_j⟩ = 0 is not left to sampling noise.
    """

    def __init__(self, state, tol):
        self.state, self.tol = dict(state), tol
        self.S = state["p"].shape[1]
        self.outside = jnp.zeros((), state["p"].dtype)
        self.full = jnp.array(False)

    def _extend(self, fields, basis, images, partner):
        s = self.state
        names = [name for name in images if s[name] is not None]
        count = s["n_" + basis]
        s[basis], s["n_" + basis], rows, outside = _span(
            fields, s[basis], count, self.tol, tuple(s[name] for name in names), s[partner]
        )
        s.update(zip(names, rows))
        self.outside = jnp.maximum(self.outside, outside)
        self.full |= outside > self.tol
        return count

    def apply(self, phi):
        s = self.state
        self._extend(phi, "p", ("aM", "a"), "q")
        self.c = phi @ s["p"].T / self.S
        return self.c @ s["aM"] + ((phi @ s["b"].T / self.S) * s["feeds"]) @ s["q"]

    def _project(self, v, feeds):
        s = self.state
        before = self._extend(v, "q", ("b", "fresh"), "p")
        index = jnp.arange(len(s["q"]))
        s["feeds"] = jnp.where((index >= before) & (index < s["n_q"]), feeds, s["feeds"])
        return v @ s["q"].T / self.S

    def transpose(self, v, feeds=1.0):
        s = self.state
        return self._project(v, feeds) @ s["b"] + (v @ s["aM"].T / self.S) @ s["p"]

    def transpose_initial(self, v):
        s = self.state
        return self._project(v, 1.0) @ s["b"] + (v @ s["a"].T / self.S) @ s["p"]

    def transpose_fresh(self, v):
        return self._project(v, 1.0) @ self.state["fresh"]

    def learn(self, signal):
        self.state["aM"] = self.state["aM"] + self.c[: len(signal)].T @ signal


class _Readout:
    """The readout w: one row of samples, (1, S), where a gap has matrices."""

    def __init__(self, w, w0, fresh):
        self.w, self.w0, self.fresh = w, w0, fresh

    def transpose(self, v, feeds=1.0):
        return v @ self.w

    def transpose_initial(self, v):
        return v @ self.w0

    def transpose_fresh(self, v):
        return v @ self.fresh


class _Samples(Layer):
    """A hidden layer as S sampled neurons."""

    def __init__(self, rule, activation, h, frozen):
        self.h, self.phi, self.phi_dot = h, activation.phi(h), activation.phi_dot(h)
        self.gate, self.fresh_vector = frozen["gate"], frozen["vector"]
        self.features, self.gain = rule.features(self), rule.gain(self)

    def backward(self, above, Delta, g_next, g_tilde_next):
        """Offer the backward pass, restricted to the training samples."""
        P = len(Delta)
        for name in ("h", "phi", "phi_dot", "gain"):
            setattr(self, name, getattr(self, name)[:P])
        self.gate = None if self.gate is None else self.gate[:P]
        self.error, self.g_next, self.g_tilde_next = Delta[:, None], g_next, g_tilde_next
        self._above, self.z = above, None
        self.W_T, self.W0_T, self.fresh_T = above.transpose, above.transpose_initial, above.transpose_fresh

    def true_gradient(self, feeds):
        if self.z is None:
            self.z = self._above.transpose(self.g_next, feeds)
        return self.gain * self.z

    @property
    def g(self):
        return self.true_gradient(1.0)


def _orthogonal_to_features(w, phi, first):
    """w without its components along phi when `first`: then f(0) = ⟨w φ⟩/γ₀ = 0. Otherwise w, unchanged."""
    S = phi.shape[1]
    floor = 1e3 * jnp.finfo(phi.dtype).eps * (phi**2).mean()

    def remove(state):
        residual, w, _ = state
        new = residual[jnp.argmax((residual**2).mean(axis=1))]
        new = new / jnp.sqrt((new**2).mean())
        w = w - (w @ new / S) * new
        residual = residual - (residual @ new / S)[:, None] * new
        return residual, w / jnp.sqrt((w**2).mean()), (residual**2).mean(axis=1).max() > floor

    return jax.lax.while_loop(lambda state: state[2], remove, (phi, w, first))[1]


def _step(rule, activation, task, state, frozen, t):
    """One step: forward, error, backward, update. Returns the new state, what is recorded, the last fields."""
    X_factor, K_x, y, gamma0, lr, tol = task
    P, S = y.size, state["w"].size
    gaps = [_Gap(gap, tol) for gap in state["gaps"]]
    h, layers = X_factor @ state["input"], []
    for l in range(len(gaps) + 1):
        layers.append(_Samples(rule, activation, h, frozen["layers"][l]))
        if l < len(gaps):
            h = gaps[l].apply(layers[l].features)
    w0 = _orthogonal_to_features(state["w0"][0], layers[-1].features, t == 0)[None]
    w = jnp.where(t == 0, w0, state["w"])
    raw = layers[-1].features @ w[0] / (gamma0 * S)
    f0 = jnp.where(t == 0, raw, state["f0"])  # rounding only: w(0) is orthogonal to the features
    f = jnp.where(t == 0, 0.0, raw - f0)
    Delta = y - f[:P]

    g = g_tilde = jnp.ones((P, 1), h.dtype)
    fields = dict(phi=[layer.features[:P] for layer in layers], g=[], g_tilde=[])
    for layer, above in zip(reversed(layers), [_Readout(w, w0, frozen["readout"]), *reversed(gaps)]):
        layer.backward(above, Delta, g, g_tilde)
        g_tilde = rule.pseudo_gradient(layer)
        g = layer.true_gradient(feeds=0.0)
        fields["g"].insert(0, g)
        fields["g_tilde"].insert(0, g_tilde)

    phi, g, g_tilde = (jnp.stack(fields[name]) for name in ("phi", "g", "g_tilde"))
    average = lambda a, b: jnp.einsum("lms,lns->lmn", a, b) / S  # noqa: E731
    Phi, G_tilde = average(phi, phi), average(g, g_tilde)
    below = jnp.concatenate([K_x[None], Phi])
    out = dict(f=f, Phi=Phi, G=average(g, g), G_tilde=G_tilde, G_tilde_tilde=average(g_tilde, g_tilde))
    out["K"] = (below[:-1] * G_tilde).sum(0) + below[-1]
    out["outside"] = jnp.stack([gap.outside for gap in gaps]).max() if gaps else jnp.zeros((), h.dtype)

    signal = gamma0 * lr * Delta[:, None] * g_tilde
    for gap, up in zip(gaps, signal[1:]):
        gap.learn(up)
    state = dict(
        gaps=[gap.state for gap in gaps],
        input=state["input"] + X_factor[:P].T @ signal[0],
        w=w + gamma0 * lr * (Delta @ phi[-1])[None],
        w0=w0,
        f0=f0,
        full=jnp.stack([gap.full for gap in gaps]).any() if gaps else jnp.array(False),
    )
    z = jnp.stack([layer.z for layer in layers])
    return state, out, dict(phi=phi, g=g, g_tilde=g_tilde), dict(h=jnp.stack([layer.h for layer in layers]), z=z)


@partial(jax.jit, static_argnames=("rule", "activation"))
def _sweep(rule, activation, task, state, frozen, records, start, stop):
    """Steps start … stop − 1, written into `records`; ends early, with state["full"], when a basis overflows."""

    def body(carry):
        t, state, records, _ = carry
        state, out, fields, last = _step(rule, activation, task, state, frozen, t)
        out |= {name: fields[name] for name in records.keys() & fields.keys()}
        records = {name: jax.lax.dynamic_update_index_in_dim(records[name], out[name], t, 0) for name in records}
        return t + 1, state, records, last

    L, P = len(state["gaps"]) + 1, task[2].size
    P_all, S, dtype = len(task[0]), state["w"].size, task[0].dtype
    last = dict(h=jnp.zeros((L, P, S), dtype), z=jnp.zeros((L, P, S), dtype))
    going = lambda carry: (carry[0] < stop) & ~carry[1]["full"]  # noqa: E731
    return jax.lax.while_loop(going, body, (start, state, records, last))


def _input_factor(X):
    """C (P, r) with C Cᵀ = X Xᵀ/D, r = min(P, D): h¹ = C × unit Gaussians. Invariant to rotations of x."""
    upper = np.linalg.qr(X.T, mode="r")
    sign = np.where(np.diag(upper) < 0, -1.0, 1.0)
    return (sign[:, None] * upper).T / np.sqrt(X.shape[1])


class _Half:
    """One independent set of S samples: its draws, its state, and room for more directions when needed."""

    def __init__(self, experiment, S, key, tol, dtype, capacity, record):
        self.experiment, self.S, self.key, self.dtype, self.asked = experiment, S, key, dtype, needs(experiment.rule)
        task, L, T = experiment.task, experiment.hidden_layers, experiment.steps
        X, P = task.X_all, task.P
        C = _input_factor(X)
        self.task = tuple(
            jnp.asarray(value, dtype) for value in (C, task.K_x, task.y, experiment.gamma0, experiment.lr, tol)
        )
        self.blocks = [jnp.zeros((0, S), dtype)] * L  # every Gaussian drawn in a layer, one orthonormal block
        inputs = self.draw(0, "input", C.shape[1])
        frozen = [dict(gate=None, vector=None) for _ in range(L)]
        for l in range(L):
            if "gate" in self.asked:
                frozen[l]["gate"] = experiment.phi.phi_dot(self.task[0] @ self.draw(l, "gate", C.shape[1]))
            if "fresh_vector" in self.asked:
                frozen[l]["vector"] = self.draw(l, "vector", 1)
        w = self.draw(L - 1, "readout", 1)
        readout = self.draw(L - 1, "feedback readout", 1) if "fresh_T" in self.asked else None
        self.frozen = dict(layers=frozen, readout=readout)
        zeros = lambda *shape: jnp.zeros(shape, dtype)  # noqa: E731
        empty = dict(p=zeros(0, S), q=zeros(0, S), aM=zeros(0, S), b=zeros(0, S), feeds=zeros(0))
        empty |= dict(n_p=jnp.array(0), n_q=jnp.array(0))
        empty["a"] = zeros(0, S) if "W0_T" in self.asked else None
        empty["fresh"] = zeros(0, S) if "fresh_T" in self.asked else None
        gaps = [dict(empty) for _ in range(L - 1)]
        self.state = dict(gaps=gaps, input=inputs, w=w, w0=w, f0=zeros(len(X)), full=jnp.array(False))
        self.grow(capacity)
        shapes = dict(f=(len(X),), K=(P, P), outside=())
        shapes |= {name: (L, P, P) for name in ("Phi", "G", "G_tilde", "G_tilde_tilde")}
        shapes |= {name: (L, P, S) for name in ("phi", "g", "g_tilde")} if record else {}
        self.records = {name: zeros(T, *shape) for name, shape in shapes.items()}
        self.t = 0

    KINDS = ("input", "gate", "vector", "readout", "feedback readout", "forward", "backward", "feedback")

    def draw(self, layer, kind, n, start=0):
        """n more unit Gaussians of one kind in one layer, orthogonal to all drawn there before."""
        block = self.blocks[layer]
        if len(block) + n >= self.S:
            raise ValueError(
                f"`samples` = {2 * self.S} is too few: layer {layer + 1} needs {len(block) + n} directions at step "
                f"{getattr(self, 't', 0)}, and each of the two independent halves must hold more samples than that. "
                f"Pass samples ≥ {4 * (len(block) + n)}, or a larger `tol`."
            )
        key = jax.random.fold_in(jax.random.fold_in(self.key, layer), self.KINDS.index(kind))
        rows = _draw(key, start, n, self.S, self.dtype, block)
        self.blocks[layer] = jnp.concatenate([block, rows])
        return rows

    def grow(self, capacity):
        """Room for `capacity` directions in every basis; what was there stays as it is."""
        for l, gap in enumerate(self.state["gaps"]):
            old = len(gap["p"])
            more = capacity - old
            kinds = dict(aM=(l + 1, "forward"), b=(l, "backward"), fresh=(l, "feedback"))
            rows = {n: self.draw(*kind, more, old) for n, kind in kinds.items() if gap[n] is not None}
            rows |= {"a": rows["aM"]} if gap["a"] is not None else {}
            rows |= {n: jnp.zeros((more, self.S), self.dtype) for n in ("p", "q")}
            rows["feeds"] = jnp.zeros(more, self.dtype)
            gap.update({name: jnp.concatenate([gap[name], value]) for name, value in rows.items()})

    def advance(self, stop):
        """Sweep on to step `stop`, doubling the bases and repeating from here whenever they overflow."""
        e = self.experiment
        while self.t < stop:
            t, state, records, last = _sweep(
                e.rule, e.phi, self.task, self.state, self.frozen, self.records, self.t, stop
            )
            if state["full"]:
                self.grow(2 * len(self.state["gaps"][0]["p"]))
                continue
            check_records(e, {name: np.asarray(records[name][self.t : stop]) for name in ("f", "K", "Phi", "G")}, self.t)
            self.t, self.state, self.records, self.last = int(t), state, records, last


def solve(experiment, samples=4096, seed=0, tol=1e-4, dtype="float64", record=False):
    """Mean field dynamics of an experiment at infinite width; returns Dynamics.

    samples   sampled neurons a layer, in two independent halves whose difference gives the Monte Carlo error
    tol       a direction is added to a basis while some field has more than tol × the mean field variance of
              its step outside it; linear activations use 1e-16 and are exact
    record    keep all fields, for two-time kernels and responses

    Raises ValueError for bad arguments or fewer samples than directions; Diverged, with the step, when the
    loss is not finite or grows without bound. Warns when lr·λ_max(K) exceeds 2.
    """
    check_dtype(dtype)
    samples, seed = _whole("samples", samples, 4), _whole("seed", seed, 0)
    if samples % 2:
        raise ValueError(f"`samples` must be even (two independent halves); got {samples}. Pass {samples + 1}.")
    least = 1e-6 if dtype == "float32" else EXACT
    if not least <= tol < 1:
        raise ValueError(f"`tol` must be a share of variance, {least:g} ≤ tol < 1 in {dtype}; got {tol!r}.")
    if experiment.phi.name == "linear":
        tol = least
    T, P_all = experiment.steps, len(experiment.task.X_all)
    capacity = min(4 * P_all + 32, 2 * T * P_all)

    def sweep(half):
        # Threads share the cores; the precision switch is scoped to each.
        with jax.enable_x64(dtype == "float64"):
            key = jax.random.fold_in(jax.random.key(seed), half)
            part = _Half(experiment, samples // 2, key, tol, dtype, capacity, record)
            chunk = max(1, -(-T // 8))
            for stop in range(chunk, T + chunk, chunk):
                part.advance(min(stop, T))
            return part

    with ThreadPoolExecutor(2) as pool:
        halves = list(pool.map(sweep, (0, 1)))

    def joined(name):
        return np.stack([np.asarray(half.records[name], np.float64) for half in halves])

    both = {name: joined(name) for name in (*RECORDED, "outside")}
    records = {name: both[name].mean(axis=0) for name in RECORDED}
    monte_carlo = {
        name: float(np.linalg.norm(both[name][0] - both[name][1]) / 2 / max(np.linalg.norm(records[name]), 1e-300))
        for name in RECORDED
    }
    warn_if_unstable(experiment, records["K"])
    last = {
        name: np.concatenate([np.asarray(half.last[name]).transpose(0, 2, 1) for half in halves], axis=1)
        for name in ("h", "z")
    }
    rank = tuple(
        (max(int(half.state["gaps"][l]["n_p"]) for half in halves), max(int(half.state["gaps"][l]["n_q"]) for half in halves))
        for l in range(experiment.hidden_layers - 1)
    )
    provenance = Provenance(
        "meanfield", samples, seed, dtype, rank, float(both["outside"].max()), dict(monte_carlo=monte_carlo)
    )
    return Dynamics.from_records(experiment, provenance, records, last)
