r"""Infinite width in the rich regime: one causal sweep over time, in samples (paper §3, eqs. 5, 7, 8).

Each layer is a set of sampled neurons. An infinite random matrix W^ℓ(0) is known only where it has acted:
with p_k an orthonormal basis of the features it has been applied to and q_j one of the fields that its
transpose has been applied to (both under the sample average ⟨·⟩),

    W^ℓ(0) = Σ_k a_k p_kᵀ + Σ_j q_j b_jᵀ,    a_k ⊥ the q_j present when it is drawn, b_j ⊥ the p_k,

with a_k, b_j fresh unit Gaussians. So h^{ℓ+1} = Σ_k ⟨φp_k⟩ a_k(t) + Σ_j ⟨φb_j⟩ q_j, where a_k(t) is a_k and what was
learned since, and likewise backward; the terms in q_j and ⟨g a_k⟩ p_k are the response terms A, C and B, D.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from functools import partial
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy.special import ndtri
from scipy.stats.qmc import Sobol

from .. import lazy
from ..activations import computing
from ..experiment import check_experiment
from ..machine import make_room, refuse_what_does_not_fit
from ..probe import BACKWARD, images, is_linear, needs
from ..results import KERNELS, RECORDED, Dynamics, Provenance
from ..stability import check_records, warn_if_rounded, warn_if_unstable
from ..validate import check_dtype, check_steps, checked_seed, listed, one_experiment, whole
from .layer import Readout, SampledLayer
from .responses import responses

# How the tol error is estimated: from a run with tol 30 times larger, but at most 0.3. What is discarded has an
# amplitude of √tol, and that power is used; measured ones are 0.3 to 0.5 (benchmarks/accuracy.py,
# tests/science/test_error_estimates.py).
COARSER, COARSEST, TOL_POWER, MOST_TOL = 30.0, 0.3, 0.5, 3e-2
LEAST_TOL = {"float64": 1e-16, "float32": 1e-6}  # of sampled fields: what is left below it is rounding
EXACT = 1e-24  # of linear fields, in float64: directions are kept in the span of what was drawn


MOST_RESERVED = 320  # directions of a basis that have room from the start; more are made room for when they come
MOST_OF_ONE_FIELD = 10  # × tol may be outside of a single field
ROWS_OF_RANK = ("n_p",), ("n_q", "n_r")  # directions forward and backward
CANDIDATES = 32  # fields whose residuals are made at a time; more of them are many
MOST_SPARE = 64  # Gaussians a layer that test points share
DRAWN_TOGETHER = 16  # images of one random generator
DIRECTIONS_A_ROUND, MANY_A_ROUND = 4, 16


def _orthonormal(rows, against):
    """Rows made orthogonal to the orthonormal rows `against` and orthonormal; zero rows stay zero."""
    S = rows.shape[1]
    rows = rows - (rows @ against.T / S) @ against
    gram = rows @ rows.T / S
    return jnp.linalg.inv(jnp.linalg.cholesky(gram + jnp.diag(jnp.diag(gram) == 0))) @ rows


def _principal(rows, count):
    """Unit vectors along the first `count` principal directions of rows (n, S), strongest first; zero rows for none."""
    variance, vectors = jnp.linalg.eigh(rows @ rows.T / rows.shape[1])
    variance, vectors = variance[::-1][:count], vectors[:, ::-1][:, :count]
    some = variance > jnp.finfo(rows.dtype).eps * variance[0]
    return jnp.where(some, vectors / jnp.sqrt(jnp.where(some, variance, 1.0)), 0.0).T @ rows


def _a_round(fields):
    """The most directions that a round, which reads both bases, adds for so many fields."""
    return DIRECTIONS_A_ROUND if fields <= CANDIDATES else MANY_A_ROUND


def _span(fields, length, basis, count, tol, images, partner, drawn):
    """Extend `basis` until at most tol of the fields' variance is outside it, and at most 10 tol for any single field.

    Each field counts by its share of its own `length` squared, (n,), so that a short one is resolved beside long ones. The
    largest residual becomes the next direction; of many fields, principal directions of what is outside, which are
    fewer. Their rows of the `images` (fresh Gaussians of the neighbouring layer) are made orthogonal to the rows of
    `partner`, and normalized.
    Linear fields are combinations of the Gaussians `drawn` so far, pairs (rows, which of them count), and so are
    directions made to be: what rounding adds to a small residual is normalized with it, and would grow (measured
    without: 1e-7 in Φ, where this reaches 1e-15). Other fields leave that span; there `drawn` is empty.
    Returns basis, count, images, the projections ⟨field p_k⟩, the largest share outside and whether room was lacking.
    """
    n, S = fields.shape
    most, many = _a_round(n), n > CANDIDATES and not drawn
    share = lambda residual: (residual**2).mean(axis=1)  # noqa: E731
    fields = fields / jnp.where(length > 0, length, 1.0)[:, None]
    order = 1 - 1e-6 * jnp.arange(n) / n  # of equal ones the first, not what rounding says
    weight = length**2 * order  # long fields first

    def lacks(outside):
        return (outside.mean() > tol) | (outside.max() > MOST_OF_ONE_FIELD * tol)

    def largest(residual):
        """One direction after the other, each the residual of a field: what a smaller tol adds comes after these."""
        new = []
        for _ in range(most):
            outside = share(residual)
            lacking = jnp.where(outside > tol, outside * weight, 0.0)
            row = jnp.where(outside.max() > tol, residual[jnp.argmax(lacking)], 0.0)
            row = row / jnp.sqrt(jnp.maximum((row**2).mean(), tol))
            residual = residual - (residual @ row / S)[:, None] * row
            new.append(row)
        return jnp.stack(new)

    def principal(left, coefficients, basis):
        """Principal directions of the largest residuals, made to serve all fields by a step of subspace iteration."""
        rows = jax.lax.top_k(left * order, CANDIDATES)[1]
        for_all = left.mean() > tol
        few = fields[rows] - coefficients[rows] @ basis
        new = few * (for_all | (left[rows] > MOST_OF_ONE_FIELD * tol))[:, None]

        def iterate(new):
            shares = _principal(new, len(new)) @ fields.T
            return shares @ fields - (shares @ coefficients) @ basis

        return _principal(jax.lax.cond(for_all, iterate, lambda new: new, new), most), rows, few

    def add(state):
        left, coefficients, basis, count, images = state
        if many:
            new, rows, few = principal(left, coefficients, basis)
        else:
            new = largest(left)
        if drawn:
            new = sum(((new @ rows.T / S) * used) @ rows for rows, used in drawn)
        new = _orthonormal(new, basis)  # a second orthogonalization: residuals carry rounding errors
        added = (new**2).mean(axis=1) > 0
        overlap = (fields if many else left) @ new.T / S
        if many:
            gain = (overlap**2).mean(axis=0)
            added &= (left.mean() - (jnp.cumsum(gain) - gain) > tol).at[0].set(True)
            overlap, new = overlap * added, new * added[:, None]
            few = few - (few @ new.T / S) @ new
            left = (left - (overlap**2).sum(axis=1)).at[rows].set(share(few))
        else:
            left = left - overlap @ new

        def put(array, rows, axis=0):
            mask = jnp.expand_dims(added, 1 - axis)
            old = jax.lax.dynamic_slice_in_dim(array, count, most, axis)
            return jax.lax.dynamic_update_slice_in_dim(array, jnp.where(mask, rows, old), count, axis)

        def image_rows(image):
            return put(image, _orthonormal(jax.lax.dynamic_slice_in_dim(image, count, most), partner))

        basis, coefficients = put(basis, new), put(coefficients, overlap, axis=1)
        return left, coefficients, basis, count + added.sum(), tuple(map(image_rows, images))

    coefficients = fields @ basis.T / S
    # Mostly nothing lacks, which differences tell; of many fields they are followed, of few the residuals are made then.
    shares = share(fields) - (coefficients**2).sum(axis=1)
    missing = True if drawn else lacks(shares)
    residual = lambda: fields - coefficients @ basis  # noqa: E731
    left = shares if many else jax.lax.cond(missing, residual, lambda: jnp.zeros_like(fields))

    def outside(state):
        return state[0] if many else jnp.where(missing, share(state[0]), shares)

    room = len(basis) - most
    state = (left, coefficients, basis, count, images)
    state = jax.lax.while_loop(lambda s: lacks(outside(s)) & (s[3] <= room), add, state)
    _, coefficients, basis, count, images = state
    return basis, count, images, coefficients * length[:, None], outside(state).max(), lacks(outside(state))


IMAGES = {"p": ("a_now", "a"), "q": ("b", "fresh"), "r": ("unused",)}  # of the bases of a gap


class _Gap:
    """W^ℓ between two sampled layers, revealed where it has acted. Arrays (directions, samples):

    p, a_now, a   basis of the features, their images with what was learned, and without it
    q, b, fresh   basis of the backward fields that the rule uses, their images under Wᵀ(0) and under frozen feedback
    r, unused     basis of what else Wᵀ is applied to, and images: of the gradient of a rule that does not use it

    Features depend on b, hence ⟨φ b_j⟩ and the response terms. No later field depends on `unused`, which is independent of φ.
    drawn: functions that give the Gaussians which the fields of a basis are made of, none unless φ is linear.
    """

    def __init__(self, state, tol, drawn):
        self.state, self.tol, self.drawn = dict(state), tol, drawn
        self.S = state["p"].shape[1]
        self.outside = jnp.zeros((), state["p"].dtype)

    def _extend(self, fields, basis, length=None):
        """Coefficients of the fields in a basis that was extended to hold them, up to tol of their `length` squared."""
        s = self.state
        length = jnp.sqrt((fields**2).mean(axis=1)) if length is None else length
        names = [name for name in IMAGES[basis] if s[name] is not None]
        partner = s["q" if basis == "p" else "p"]
        s[basis], s["n_" + basis], rows, coefficients, outside, lacks = _span(
            fields,
            length,
            s[basis],
            s["n_" + basis],
            self.tol,
            tuple(s[name] for name in names),
            partner,
            self.drawn[basis](),
        )
        s.update(zip(names, rows))
        self.outside = jnp.maximum(self.outside, outside)
        s["full_" + basis] |= lacks
        return coefficients

    def shown(self):
        """Pairs (images, which of them were drawn) in the layer below, and in the layer above."""
        s = self.state

        def pairs(*names):
            basis = {name: basis for basis, names in IMAGES.items() for name in names}
            found = [(s[name], s["n_" + basis[name]]) for name in names if s[name] is not None]
            return [(rows, jnp.arange(len(rows)) < count) for rows, count in found]

        return pairs("b", "fresh", "unused"), pairs("a")

    def apply(self, phi, P, spare):
        """Preactivations above. Features of test points, those after the first P, drive nothing, so no direction is
        added for them: what the basis misses of one is a Gaussian of that variance, from the rows of `spare`.
        """
        s = self.state
        c = self._extend(phi[:P], "p")
        self.c = c
        if len(phi) > P:
            passive = phi[P:] @ s["p"].T / self.S
            c = jnp.concatenate([c, passive])
            missed = jnp.sqrt(((phi[P:] - passive @ s["p"]) ** 2).mean(axis=1))
        h = c @ s["a_now"]
        if len(phi) > P:
            h = h.at[P:].add(missed[:, None] * spare[jnp.arange(len(missed)) % len(spare)])
        return h if s["b"] is None else h + (phi @ s["b"].T / self.S) @ s["q"]

    def transpose(self, v):
        s = self.state
        return self._extend(v, "q") @ s["b"] + (v @ s["a_now"].T / self.S) @ s["p"]

    def transpose_initial(self, v):
        s = self.state
        return self._extend(v, "q") @ s["b"] + (v @ s["a"].T / self.S) @ s["p"]

    def transpose_fresh(self, v):
        return self._extend(v, "q") @ self.state["fresh"]

    def transpose_unused(self, v):
        """`transpose` of a field that drives nothing: directions that it adds stay out of the forward pass."""
        s = self.state
        if s["unused"] is None:
            return self.transpose(v)
        z, length = (v @ s["a_now"].T / self.S) @ s["p"], jnp.sqrt((v**2).mean(axis=1))
        if s["b"] is not None:
            known = v @ s["q"].T / self.S
            z, v = z + known @ s["b"], v - known @ s["q"]
        return z + self._extend(v, "r", length) @ s["unused"]

    def learn(self, signal):
        self.state["a_now"] = self.state["a_now"] + self.c[: len(signal)].T @ signal


def _orthogonal_to_features(w, phi):
    """w (C, S) without what lies along phi, its rows orthonormal as they were drawn: then f(0) = ⟨w φ⟩/γ₀ = 0."""
    S = phi.shape[1]
    floor = 1e3 * jnp.finfo(phi.dtype).eps * (phi**2).mean()

    def remove(state):
        residual, w = state
        largest = jax.lax.top_k((residual**2).mean(axis=1), min(CANDIDATES, len(residual)))[1]
        new = _principal(residual[largest], len(largest))
        return residual - (residual @ new.T / S) @ new, w - (w @ new.T / S) @ new

    w = jax.lax.while_loop(lambda state: (state[0] ** 2).mean(axis=1).max() > floor, remove, (phi, w))[1]
    return jnp.linalg.inv(jnp.linalg.cholesky(w @ w.T / S)) @ w


def _step(rule, activation, task, state, frozen, t):
    """One step: forward, error, backward, update. Returns the new state, what is recorded, the last fields."""
    X_factor, _, y, gamma0, lr, tol = task
    (P, C), S = y.shape, state["w"].shape[1]
    gaps = []

    def drawn(l):
        """The Gaussians that layer l of a linear network has shown: those it starts with, images from either side."""
        start = frozen["layers"][l]["start"]
        if start is None:
            return []
        below, above = gaps[max(l - 1, 0) : l], gaps[l : l + 1]
        images = [pair for gap in below for pair in gap.shown()[1]] + [pair for gap in above for pair in gap.shown()[0]]
        return [(start, jnp.ones(len(start), bool)), *images]

    for l, gap in enumerate(state["gaps"]):
        gaps.append(_Gap(gap, tol, dict(p=partial(drawn, l), q=partial(drawn, l + 1), r=partial(drawn, l + 1))))
    h, layers = X_factor @ state["input"], []
    for l in range(len(gaps) + 1):
        layers.append(SampledLayer(rule, activation, h, frozen["layers"][l]))
        if l < len(gaps):
            h = gaps[l].apply(layers[l].features, P, frozen["layers"][l + 1]["spare"])
    w0 = jax.lax.cond(t == 0, _orthogonal_to_features, lambda w0, _: w0, state["w0"], layers[-1].features[:P])
    w = jnp.where(t == 0, w0, state["w"])
    raw = layers[-1].features @ w.T / (gamma0 * S)
    f0 = jnp.where(t == 0, raw, state["f0"])  # of training points rounding only: w(0) is orthogonal to their features
    f = jnp.where(t == 0, 0.0, raw - f0)
    Delta = y - f[:P]

    h = jnp.stack([layer.h for layer in layers])
    g = g_tilde = jnp.tile(jnp.eye(C, dtype=h.dtype), (P, 1))
    fields = dict(phi=[layer.features[:P] for layer in layers], g=[], g_tilde=[])
    for layer, above in zip(reversed(layers), [Readout(w, w0, frozen["readout"]), *reversed(gaps)]):
        layer.backward(above, Delta, g, g_tilde)
        g_tilde = rule.pseudo_gradient(layer)
        g = layer.recorded_g()
        fields["g"].insert(0, g)
        fields["g_tilde"].insert(0, g_tilde)
        for name, image in layer.images.items():
            fields.setdefault(name, []).insert(0, jnp.broadcast_to(image, g_tilde.shape))

    out = {name: jnp.stack(rows) for name, rows in fields.items()}
    phi, g, g_tilde = (out[name] for name in ("phi", "g", "g_tilde"))
    z = jnp.stack([layer.z for layer in layers])
    out |= dict(f=f, h=h[:, :P], z=z)
    out["outside"] = jnp.stack([gap.outside for gap in gaps]).max() if gaps else jnp.zeros((), h.dtype)

    signal = gamma0 * lr * (Delta.reshape(-1, 1) * g_tilde).reshape(-1, P, C, S).sum(axis=2)
    for gap, up in zip(gaps, signal[1:]):
        gap.learn(up)
    state = dict(
        gaps=[gap.state for gap in gaps],
        input=state["input"] + X_factor[:P].T @ signal[0],
        w=w + gamma0 * lr * Delta.T @ phi[-1],
        w0=w0,
        f0=f0,
    )
    return state, out, dict(h=h, z=z)


def _entk(K_x, Phi, G_tilde):
    """K = Σ_ℓ G̃^{ℓ+1} ⊙ Φ^ℓ (paper eq. 4), (…, P·C, P·C), of kernels (…, L, P, P) and (…, L, P·C, P·C), in numpy or JAX."""
    P, C = len(K_x), G_tilde.shape[-1] // len(K_x)
    below = [k.repeat(C, -1).repeat(C, -2) for k in (K_x, *(Phi[..., l, :, :] for l in range(Phi.shape[-3])))]
    above = [*(G_tilde[..., l, :, :] for l in range(Phi.shape[-3])), np.tile(np.eye(C, dtype=K_x.dtype), (P, P))]
    return sum(a * b for a, b in zip(above, below))


def _kernels(K_x, phi, g, g_tilde):
    """Kernels of one step by name, from its fields, (layers, rows, samples)."""
    average = lambda a, b: jnp.einsum("lms,lns->lmn", a, b) / phi.shape[2]  # noqa: E731
    Phi, G_tilde = average(phi, phi), average(g, g_tilde)
    others = dict(G=average(g, g), G_tilde_tilde=average(g_tilde, g_tilde))
    return dict(Phi=Phi, G_tilde=G_tilde, K=_entk(K_x, Phi, G_tilde)) | others


@partial(jax.jit, static_argnames=("rule", "activation"))
def _sweep(rule, activation, task, state, frozen, records, slots, start, stop):
    """Steps start … stop − 1, written into `records`; ends early, its gap marked full, when a basis overflows.

    slots (T,) is the place of a step among the recorded kernels, −1 for none; None records those of every step.
    """

    def write(arrays, values, place):
        return {n: jax.lax.dynamic_update_index_in_dim(arrays[n], values[n], place, 0) for n in arrays}

    def body(carry):
        t, state, records, _ = carry
        state, out, last = _step(rule, activation, task, state, frozen, t)

        def write_kernels(arrays):
            values = _kernels(task[1], *(out[name] for name in ("phi", "g", "g_tilde")))
            return write(arrays, values, t if slots is None else slots[t])

        kernels = {name: records[name] for name in KERNELS}
        if slots is None:
            kernels = write_kernels(kernels)
        else:
            kernels = jax.lax.cond(slots[t] >= 0, write_kernels, lambda arrays: arrays, kernels)
        records = write({n: records[n] for n in records if n not in KERNELS}, out, t) | kernels
        return t + 1, state, records, last

    L, S, dtype = len(state["gaps"]) + 1, state["w"].shape[1], task[0].dtype
    last = dict(h=jnp.zeros((L, len(task[0]), S), dtype), z=jnp.zeros((L, task[2].size, S), dtype))

    def going(carry):
        full = [gap[name] for gap in carry[1]["gaps"] for name in ("full_p", "full_q", "full_r")]
        return (carry[0] < stop) & ~jnp.array(full, bool).any()

    return jax.lax.while_loop(going, body, (start, state, records, last))


def _input_factor(X):
    """C (P, r) with C Cᵀ = X Xᵀ/D, r = min(P, D): h¹ = C × unit Gaussians. Invariant to rotations of x."""
    upper = np.linalg.qr(X.T, mode="r")
    sign = np.where(np.diag(upper) < 0, -1.0, 1.0)
    return (sign[:, None] * upper).T / np.sqrt(X.shape[1])


def _coarser(tol):
    """The tol of the run that shows what tol does."""
    return jnp.minimum(COARSER * tol, jnp.maximum(COARSEST, tol))


class _TooFew(ValueError):
    """A layer needs more directions than it has samples."""


class _Half:
    """One independent set of S samples: its draws, its state, and room for more directions when needed."""

    def __init__(self, experiment, S, seed, tol, dtype, record=False, kernels_at=None, linear=False, devices=None):
        self.experiment, self.S, self.seed, self.dtype, self.asked = experiment, S, seed, dtype, needs(experiment.rule)
        task, L, T, P = experiment.task, experiment.hidden_layers, experiment.steps, experiment.task.P
        self.t, self.blocks = 0, [np.zeros((0, S))] * L  # every Gaussian of a layer: one orthonormal block
        self.mesh = Mesh(np.array(devices), ("samples",)) if devices else None
        factor, y = _input_factor(task.X_all), task.y.reshape(P, task.outputs)
        known = min(P, factor.shape[1])  # Gaussians that make the training inputs; the others are for test inputs
        self.task = tuple(
            jnp.asarray(value, dtype) for value in (factor, task.K_x, y, experiment.gamma0, experiment.lr, tol)
        )
        start = [self.start(l, known) for l in range(L)]
        shown = [jnp.asarray(block, dtype) if linear else None for block in self.blocks]
        frozen = [dict(gate=None, vector=rows.get("vector"), start=block) for rows, block in zip(start, shown)]
        w = start[-1]["readout"]
        self.frozen = dict(layers=frozen, readout=start[-1].get("feedback readout"))
        self.images = images(experiment.rule, record, linear)
        zeros = lambda *shape: jnp.zeros(shape, dtype)  # noqa: E731
        empty = dict.fromkeys(name for names in IMAGES.values() for name in names)
        for basis in "pqr":
            empty |= {basis: zeros(0, S), f"n_{basis}": jnp.zeros((), int), f"full_{basis}": jnp.zeros((), bool)}
            empty |= {name: zeros(0, S) for name in self.images[basis]}
        gaps = [dict(empty) for _ in range(L - 1)]
        self.state = dict(gaps=gaps, w=w, w0=w, f0=zeros(len(factor), task.outputs))
        most = min(MOST_RESERVED, max(S // 4, 6 * CANDIDATES))
        for gap in range(L - 1):
            self.grow(gap, "p", min(6 * P, P * T, most) + _a_round(P))
            for basis in "qr":
                if self.images[basis]:
                    self.grow(gap, basis, min(10 * y.size, 2 * y.size * T, most) + _a_round(y.size))
        # What test points need is drawn last, and nothing is kept orthogonal to it: training goes as without them.
        others, spares = factor.shape[1] - known, min(len(factor) - P, MOST_SPARE)
        for l, (layer, rows) in enumerate(zip(frozen, start)):
            names = [name for name in ("input", "gate") if name in rows]
            more = self.draw(l, "test", others * len(names) + spares, 0, keep=linear)
            layer["spare"] = more[others * len(names) :]
            for name, part in zip(names, jnp.split(more[: others * len(names)], len(names)) if names else ()):
                rows[name] = jnp.concatenate([rows[name], part])
            if "gate" in rows:
                layer["gate"] = experiment.phi.phi_dot(self.task[0] @ rows["gate"])
        self.state["input"] = start[0]["input"]
        shapes = dict(f=(len(factor), task.outputs), outside=())
        if record:
            shapes |= dict.fromkeys(("phi", "h"), (L, P, S))
            shapes |= dict.fromkeys(("g", "z", "g_tilde", *self.asked.intersection(BACKWARD)), (L, y.size, S))
        self.records = {name: zeros(T, *shape) for name, shape in shapes.items()}
        self.slots, count = None, T
        if kernels_at is not None:
            count, slots = len(kernels_at), np.full(T, -1)
            slots[kernels_at] = np.arange(count)
            self.slots = jnp.asarray(slots)
        for name in KERNELS:
            rows = P if name == "Phi" else y.size
            self.records[name] = zeros(count, *() if name == "K" else (L,), rows, rows)
        self.frozen, self.records = self.shared(self.frozen), self.shared(self.records)
        self.task, self.state = self.shared(self.task), self.shared(self.state)

    def shared(self, arrays):
        """Arrays in a tree with their sample axis, the last, split over the devices; those without one on each."""
        if self.mesh is None:
            return arrays

        def put(array):
            axes = [None] * array.ndim
            if array.ndim > 1 and array.shape[-1] == self.S:
                axes[-1] = "samples"
            return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(*axes)))

        return jax.tree.map(put, arrays)

    def start(self, layer, r):
        """The unit Gaussians that a layer starts with, by name: one scrambled Sobol set, so evenly spread."""
        count = {"input": r} if layer == 0 else {}
        count |= {"gate": r} if "gate" in self.asked else {}
        if layer == self.experiment.hidden_layers - 1:
            names = ["readout"] + ["feedback readout"] * ("fresh_T" in self.asked)
            count |= dict.fromkeys(names, self.experiment.task.outputs)
        count |= {"vector": self.experiment.task.outputs} if "fresh_vector" in self.asked else {}
        if not count:
            return {}
        points = Sobol(sum(count.values()), rng=np.random.default_rng((*self.seed, layer)))
        uniform = points.random_base2((self.S - 1).bit_length())[: self.S].T
        tiny = np.finfo(float).eps
        rows = self.orthonormal(layer, ndtri(np.clip(uniform, tiny, 1 - tiny)))
        return dict(zip(count, np.split(rows, np.cumsum(list(count.values()))[:-1])))

    KINDS = ("forward", "backward", "feedback", "unused", "test")

    def draw(self, layer, kind, n, start, keep=True):
        """Images number start … start + n of one kind, in a layer: the same ones, however the draws are divided."""
        if not n:
            return jnp.zeros((0, self.S), self.dtype)
        key = (*self.seed, layer, self.KINDS.index(kind))
        blocks = range(start // DRAWN_TOGETHER, -(-(start + n) // DRAWN_TOGETHER))
        rows = [np.random.default_rng((*key, k)).standard_normal((DRAWN_TOGETHER, self.S)) for k in blocks]
        return self.orthonormal(layer, np.concatenate(rows)[start % DRAWN_TOGETHER :][:n], keep)

    def orthonormal(self, layer, rows, keep=True):
        """Rows made orthonormal under the sample average, and orthogonal to those of the layer that were kept before."""
        block = self.blocks[layer]
        if len(block) + len(rows) >= self.S:
            raise _TooFew(
                f"`samples` = {2 * self.S} is too few: layer {layer + 1} needs {len(block) + len(rows)} directions at "
                f"step {self.t}, and each of the two independent halves must hold more samples than that. Pass "
                f"samples = {4 * (len(block) + len(rows))} or more, or a larger `tol`."
            )
        rows = rows - (rows @ block.T / self.S) @ block
        rows = np.linalg.inv(np.linalg.cholesky(rows @ rows.T / self.S)) @ rows
        if keep:
            self.blocks[layer] = np.concatenate([block, rows])
        return jnp.asarray(rows, self.dtype)

    def grow(self, gap, basis, more):
        """Room for `more` directions in one basis of one gap; what was there stays as it is."""
        state, layer = self.state["gaps"][gap], gap + (basis == "p")
        new = {
            kind: self.draw(layer, kind, more, len(state[basis])) for kind in dict.fromkeys(self.images[basis].values())
        }
        rows = {name: new[kind] for name, kind in self.images[basis].items()}
        rows[basis] = jnp.zeros((more, self.S), self.dtype)
        state.update(self.shared({name: jnp.concatenate([state[name], value]) for name, value in rows.items()}))

    def coarser(self):
        """The same draws, not run yet, with a larger tol."""
        other = copy(self)
        other.state, other.blocks = jax.tree.map(lambda array: array, self.state), list(self.blocks)
        other.task = (*self.task[:-1], _coarser(self.task[-1]))
        return other

    def recorded(self, name):
        """A recorded array, in float64; outputs have the shape of the targets."""
        array = np.asarray(self.records[name], np.float64)
        return array.reshape(*array.shape[:2], *self.experiment.task.y.shape[1:]) if name == "f" else array

    def run(self):
        """Sweep over all steps; an overflow repeats an eighth of them."""
        T = self.experiment.steps
        chunk = -(-T // 8)
        for stop in range(chunk, T + chunk, chunk):
            self.advance(min(stop, T))
        return self

    def advance(self, stop):
        """Sweep on to step `stop`, growing the bases that overflow and repeating from here."""
        e = self.experiment
        while self.t < stop:
            t, state, records, last = _sweep(
                e.rule, e.phi, self.task, self.state, self.frozen, self.records, self.slots, self.t, stop
            )
            full = [(l, basis) for l, gap in enumerate(state["gaps"]) for basis in "pqr" if gap[f"full_{basis}"]]
            for l, basis in full:
                room = self.S - 1 - len(self.blocks[l + (basis == "p")])  # the last of it rather than none
                more = -(-len(self.state["gaps"][l][basis]) // 2)
                self.grow(l, basis, min(more, room) if room > 2 * MANY_A_ROUND else more)
            if full:
                continue
            checked = ("f", "K", "Phi", "G") if self.slots is None else ("f",)
            K = records["K"][0] if self.slots is None or self.slots[0] == 0 else None
            check_records(e, {name: np.asarray(records[name][self.t : stop]) for name in checked}, self.t, K)
            self.t, self.state, self.records, self.last = int(t), state, records, last


def _room(experiment):
    """More Gaussians than a layer of `experiment` begins with: its start, and what `_Half` reserves in both bases."""
    return 12 * len(experiment.task.X_all) + 32 * experiment.task.y.size + 4 * DIRECTIONS_A_ROUND


def _solve_linear(experiment, seed, record, kernels_at):
    """A linear network, swept in as few samples as hold its directions: more of them change nothing but rounding."""
    S = _room(experiment)
    # Far above one direction for each field of each step, and three images for each direction.
    most = S + 8 * experiment.steps * (len(experiment.task.X_all) + experiment.task.y.size)
    while True:
        try:
            return _Half(experiment, S, seed, EXACT, "float64", record, kernels_at, linear=True).run()
        except _TooFew as error:
            if S > most:
                raise RuntimeError(
                    f"the fields of this linear network span more directions than its steps and samples allow, {most}: "
                    "rounding has taken over, or the rule's fields do not follow its equations. Pass a smaller `lr` or "
                    "fewer `steps`."
                ) from error
            S *= 2


def _resample(last, samples, seed):
    """The fields `last` of a linear network, (L, P, S) by name, as `samples` Gaussian neurons: (L, samples, P).

    Their joint covariance stays what it was; it is all that a few samples know of the neurons.
    """
    fields = np.concatenate([np.asarray(value, np.float64) for value in last.values()], axis=1)
    drawn = []
    for l, rows in enumerate(fields):
        factor = np.linalg.qr(rows.T, mode="r") / np.sqrt(rows.shape[1])
        drawn.append(np.random.default_rng((seed, l)).standard_normal((samples, len(factor))) @ factor)
    ends = np.cumsum([value.shape[1] for value in last.values()])[:-1]
    return dict(zip(last, np.split(np.stack(drawn), ends, axis=2)))


def _check_devices(devices, samples):
    """Raise TypeError or ValueError unless `devices` is None or can share the samples of each half evenly."""
    if devices is None:
        return
    if not isinstance(devices, (list, tuple)) or not all(isinstance(device, jax.Device) for device in devices):
        raise TypeError(f"`devices` must be a list of JAX devices, such as jax.devices(); got {devices!r}.")
    if not devices or samples % (2 * len(devices)):
        share = 2 * max(len(devices), 1)
        raise ValueError(
            f"`samples` must be divisible by twice the number of `devices`, {share}; got {samples}. Pass "
            f"{-(-samples // share) * share}."
        )


class Solution(Dynamics):
    """Dynamics at infinite width, which have response functions."""

    def responses(self, errors=False):
        history = self._recorded("responses")
        if "responses" not in history:
            tol_errors = self.provenance.errors["tol"]
            history["responses"] = responses(self.experiment, history, max(tol_errors["Phi"], tol_errors["G"]))
        return history["responses"][bool(errors)]

    responses.__doc__ = Dynamics.responses.__doc__


def solve(experiment, samples=4096, seed=0, tol=1e-3, dtype="float64", record=False, kernels_at=None, devices=None):
    """Mean field dynamics of an experiment at infinite width; returns Dynamics.

    samples   sampled neurons a layer, in two independent halves whose difference gives the Monte Carlo error
    tol       directions are added to a basis while more than this share of the variance of a step's fields is outside
              it, or more than 10 tol × their mean variance for a single field
    record    keep all fields, for two-time kernels and responses
    kernels_at  steps at which kernels are recorded, such as (0, 39); all by default, which takes much memory and time
              for many samples μ: see costs.estimate
    devices   JAX devices that share the samples, such as jax.devices(); the default device alone by default

    Kernels at step 0 are the lazy ones, exactly; what the samples missed there is taken off later ones as well, as far
    as it lasts, and what came of it off the outputs f, if kernels of all steps are recorded. Test points change nothing of the training result.

    A linear activation is exact (to rounding, with every built-in rule) in any number of samples above the number of
    directions: as few as that are swept, in float64; `samples` is the number of neurons in final_h and final_z, tol and
    dtype are immaterial.

    Raises ValueError for bad arguments or fewer samples than directions, MemoryError for a run that would not fit this
    machine; Diverged, with the step, when the loss is not finite or grows without bound; RuntimeError for a
    linear network whose fields take more directions than its equations can span. Warns where |1 − lr·λ| exceeds 1 for an
    eigenvalue λ of K at a recorded step, and where updates are lost in the rounding of `dtype`.
    """
    check_experiment(experiment)
    check_dtype(dtype)
    kernels_at = check_steps("kernels_at", kernels_at, experiment.steps)
    samples, seed = whole("samples", samples, 4), checked_seed(seed)
    if samples % 2:
        raise ValueError(f"`samples` must be even (two independent halves); got {samples}. Pass {samples + 1}.")
    _check_devices(devices, samples)
    least = LEAST_TOL[dtype]
    if not isinstance(tol, Real) or not least <= tol <= MOST_TOL:
        raise ValueError(f"`tol` must be a share of variance, {least:g} ≤ tol ≤ {MOST_TOL:g} in {dtype}; got {tol!r}.")
    linear = is_linear(experiment.rule, experiment.phi.slope)
    refuse_what_does_not_fit(experiment, samples, dtype, record, kernels_at)
    make_room()
    dtype = "float64" if linear else dtype  # in float32 rounding is too near to the small directions that are kept
    warn_if_rounded(experiment, dtype)

    def in_dtype(function):
        """`function`, run with the precision asked for: a setting of each thread."""

        def run(argument):
            with computing(dtype):
                return function(argument)

        return run

    def draw(half):
        return _Half(experiment, samples // 2, (seed, half), tol, dtype, record, kernels_at, devices=devices)

    if linear:
        coarse, _ = halves = 2 * [in_dtype(lambda key: _solve_linear(experiment, key, record, kernels_at))((seed, 0))]
    else:
        # One sweep alone leaves half of two cores idle. Sweeps that share devices wait for each other at every sum.
        halves = [in_dtype(draw)(half) for half in (0, 1)]
        with ThreadPoolExecutor(1 if devices else 3) as threads:
            # One hidden layer has no matrix to reveal, so nothing to truncate.
            coarse = in_dtype(_Half.coarser)(halves[0]) if experiment.hidden_layers > 1 else halves[0]
            list(threads.map(in_dtype(_Half.run), {*halves, coarse}))
    history = _history(halves, experiment.task) if record else None

    def training(name, array):
        return array[:, : experiment.task.P] if name == "f" else array

    # Both halves, and the coarser sweep of the first.
    sweeps = {name: np.stack([half.recorded(name) for half in (*halves, coarse)]) for name in RECORDED}
    if not linear and (kernels_at is None or kernels_at[0] == 0):
        sweeps |= _without_known_noise(experiment, samples, sweeps)
    both = {name: x[:2] for name, x in sweeps.items()}
    records = {name: value.mean(axis=0) for name, value in both.items()}

    def relative(differences):
        norms = {n: [np.linalg.norm(training(n, array)) for array in (d, records[n])] for n, d in differences.items()}
        return {n: float(error / max(size, 1e-300)) for n, (error, size) in norms.items()}

    # With error ∝ tol^TOL_POWER the change from a coarser run of the same draws gives the error at tol itself.
    shrink = max(float(_coarser(tol) / tol) ** TOL_POWER - 1, 1e-9)
    errors = dict(
        monte_carlo=relative({name: (x[0] - x[1]) / 2 for name, x in both.items()}),
        tol=relative({name: (x[2] - x[0]) / shrink for name, x in sweeps.items()}),
    )
    warn_if_unstable(experiment, records["K"], kernels_at, sum(source["K"] for source in errors.values()))
    rank = tuple(
        tuple(max(sum(int(half.state["gaps"][l][n]) for n in counts) for half in halves) for counts in ROWS_OF_RANK)
        for l in range(experiment.hidden_layers - 1)
    )
    outside = max(half.recorded("outside").max() for half in halves)
    provenance = Provenance("meanfield", samples, seed, dtype, rank, float(outside), errors)
    if linear:
        last = _resample(halves[0].last, samples, seed)
    else:
        parts = {n: [np.asarray(half.last[n]).transpose(0, 2, 1) for half in halves] for n in ("h", "z")}
        last = {n: np.concatenate(arrays, axis=1) for n, arrays in parts.items()}
    return Solution.from_records(experiment, provenance, records, last, history, kernels_at)


def _lasting(difference):
    """β (T,): the share of a difference (T, n) at step 0 that is there still at step t, at least 0 and at most 1."""
    beta = np.clip(difference @ difference[0] / max(difference[0] @ difference[0], 1e-300), 0.0, 1.0)
    beta[0] = 1.0
    return beta


def _trained_with(K, y, lr, steps):
    """Outputs (…, T, n) of training with static kernels K (…, n, n): f(t+1) = f(t) + η K (y − f(t)), f(0) = 0."""
    f = [np.zeros(K.shape[:-1])]
    for _ in range(1, steps):
        f.append(f[-1] + lr * np.einsum("...mn,...n->...m", K, y - f[-1]))
    return np.stack(f, axis=-2)


def _without_known_noise(experiment, samples, sweeps):
    """Records of the sweeps (2 halves and a coarser one, T, …) without what is known to be noise: control variates.

    At initialization `lazy` has every kernel exactly. What a sweep misses there it goes on missing for a while, so
    β(t) times that is taken off, where β is fitted to the difference of the halves, over all entries of Φ and G: of one
    kernel alone it would be fitted to the noise whose size that difference states. Pseudo-gradients may fade with the
    error, so that G̃ of more than one entry, unless it is G, and ⟨g̃g̃⟩ have a β of their own. The difference of two halves
    is independent of their mean, so the fit does not bias the mean. K is made of the corrected kernels. Of the outputs on
    training points goes what the kernels of step 0, if they were static, would do to them, times the mean of β up to then:
    as γ₀ → 0 that is all their noise.
    Nothing is taken off where the lazy limit has no averages, as for some rules of one's own and kinked activations.
    Warns if K at initialization is further off than its noise explains.
    """
    try:
        known = vars(lazy.kernels(experiment))
    except (NotImplementedError, ValueError, TypeError, AttributeError):  # whatever a rule of one's own does to fields
        return {}
    first, second, coarse = sweeps["K"][:, 0]
    misses = ((first + second) / 2 - known["K"], (first - second) / 2, coarse - first)
    off, noise, tol = (np.linalg.norm(x) / np.linalg.norm(known["K"]) for x in misses)
    # Of a small K two halves may agree by chance: then what is usual for so many samples counts.
    if off > max(4 * np.hypot(noise, tol), 2 * (experiment.hidden_layers + 1) / np.sqrt(samples)):
        warnings.warn(
            f"K at initialization is {100 * off:.2g} % off its exact value, which noise of {100 * noise:.2g} % and `tol` do "
            "not explain: do not trust this run before networks confirm it. Try more `samples` and a smaller `tol`.",
            stacklevel=3,
        )
    names = ("Phi", "G", "G_tilde", "G_tilde_tilde")
    apart = {name: (sweeps[name][0] - sweeps[name][1]).reshape(len(sweeps[name][0]), -1) for name in names}
    shared = [apart[name] / (np.linalg.norm(known[name]) or 1.0) for name in ("Phi", "G")]
    beta = _lasting(np.concatenate(shared, axis=1))
    betas = dict.fromkeys(names, beta)
    if apart["G_tilde"].shape[1] > 1 and not np.allclose(sweeps["G_tilde"], sweeps["G"]):
        betas |= {name: _lasting(apart[name]) for name in names[2:]}
    better = {n: sweeps[n] - b[:, None, None, None] * (sweeps[n][:, :1] - known[n]) for n, b in betas.items()}
    better["K"] = _entk(experiment.task.K_x, better["Phi"], better["G_tilde"])
    if len(beta) == experiment.steps:
        y, f = experiment.task.y, sweeps["f"].copy()
        kernels = np.stack([*sweeps["K"][:, 0], known["K"]])
        with np.errstate(over="ignore", invalid="ignore"):
            static = _trained_with(kernels, y.ravel(), experiment.lr, len(beta))
            miss = (np.cumsum(beta) / np.arange(1, len(beta) + 1))[:, None] * (static[:3] - static[3])
        f[:, :, : len(y)] -= np.nan_to_num(miss, nan=0.0, posinf=0.0, neginf=0.0).reshape(*miss.shape[:2], *y.shape)
        better["f"] = f
    return better


def average(runs):
    """Mean of solutions of one experiment with different seeds; their spread becomes its Monte Carlo error.

    What is not averaged (fields, history) is that of the first. Raises TypeError for anything but solutions, ValueError
    for fewer than two, for equal seeds and for different experiments.
    """
    runs = listed("runs", runs, Dynamics, "meanfield.solve returns them.")
    if len(runs) < 2:
        raise ValueError(f"`runs` must hold at least two solutions, so that they have a spread; got {len(runs)}.")
    seeds = [run.provenance.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"`runs` must have different seeds, or their spread says nothing; got {seeds}.")
    one_experiment("`runs`", runs)
    values = {name: np.stack([getattr(run, name) for run in runs]) for name in RECORDED}
    mean = {name: value.mean(axis=0) for name, value in values.items()}
    error = {name: value.std(axis=0, ddof=1) / np.sqrt(len(runs)) for name, value in values.items()}
    noise = {name: float(np.linalg.norm(error[name]) / max(np.linalg.norm(mean[name]), 1e-300)) for name in RECORDED}
    first = runs[0].provenance
    errors = first.errors | dict(monte_carlo=noise)
    f_test = None if runs[0].f_test is None else np.mean([run.f_test for run in runs], axis=0)
    provenance = replace(first, size=sum(run.provenance.size for run in runs), errors=errors)
    return replace(runs[0], provenance=provenance, f_test=f_test, **mean)


def _history(halves, task):
    """Recorded fields of all samples, (T, L, rows, samples), by name, and what else a half's neurons were run with."""
    names = [name for name in halves[0].records if name not in ("f", "outside", *KERNELS)]
    fields = {name: np.concatenate([half.recorded(name) for half in halves], axis=-1) for name in names}

    def driven_by(half):
        Delta = (task.y - half.recorded("f")[:, : task.P]).reshape(-1, task.y.size)
        frozen = [{name: layer[name] for name in ("gate", "vector")} for layer in half.frozen["layers"]]
        return dict(Delta=Delta, frozen=jax.tree.map(lambda rows: np.asarray(rows[: task.P], np.float64), frozen))

    return fields | dict(halves=[driven_by(half) for half in halves])
