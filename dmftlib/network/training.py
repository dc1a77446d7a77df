"""Finite-width networks trained by a rule: BP Eqs. 1–4 in discrete time, with no theory in them."""

from __future__ import annotations

import warnings
from dataclasses import field, replace
from functools import partial
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np

from ..activations import computing
from ..convolution import Convolution, ConvolvedInput, PooledReadout, _Shared
from ..experiment import check_experiment
from ..machine import make_room
from ..probe import needs
from ..results import Dynamics, Provenance
from ..stability import (
    MOST_EIGENVALUES,
    Diverged,
    check_records,
    largest_eigenvalue,
    learned_from,
    warn_if_rounded,
    warn_if_unstable,
)
from ..step import Frozen, InputWeights, Readout, Weights, kernels, nothing_before, pytree, step
from ..validate import check_dtype, check_steps, checked_seed, whole
from . import revealed as revealing

KINDS = ("weights", "feedback", "gates", "vectors")  # of random matrices, each with draws of its own
MOST_AT_ONCE, MOST_WEIGHTS = 16, 2**16  # networks in one call, and weights of a layer of them together


@pytree
class HiddenWeights(Weights):
    """W (N, N) = share·now + UᵀV/√N: what a part of the run learns is kept as rows of U and V, and `now` is not rewritten.
    Of a convolution W is (N, K·N), and K·N stands for N where features are summed.

    share   what weight decay left of `now`; None without decay
    """

    now: jax.Array
    initial: jax.Array
    fresh: jax.Array | None
    U: jax.Array
    V: jax.Array
    used: jax.Array  # rows of U and V
    share: jax.Array | None = None

    @property
    def scale(self):
        return 1 / np.sqrt(self.now.shape[1])

    @property
    def scale_now(self):
        return self.scale if self.share is None else self.scale * self.share

    def apply(self, features):
        return features @ self.now.T * self.scale_now + (features @ self.V.T / self.now.shape[1]) @ self.U

    def apply_initial(self, features):
        return features @ self.initial.T * self.scale

    def transpose(self, v):
        return v @ self.now * self.scale_now + (v @ self.U.T / self.now.shape[1]) @ self.V

    transpose_recorded = transpose

    def transpose_initial(self, v):
        return v @ self.initial * self.scale

    def transpose_fresh(self, v):
        return v @ self.fresh * self.scale

    def decay(self, keep):
        self.share, self.U = keep * self.share, keep * self.U

    def learn(self, features, signal):
        place = (self.used, 0)
        self.U = jax.lax.dynamic_update_slice(self.U, signal, place)
        self.V = jax.lax.dynamic_update_slice(self.V, features, place)
        self.used = self.used + len(signal)

    def with_room(self, rows):
        """The same weights with U and V empty, for that many rows: what they held is added to `now`."""
        U, V = (jnp.zeros((rows, width), self.now.dtype) for width in self.now.shape)
        now, share = self.now, None
        if self.share is not None:
            now, share = self.share * now, jnp.ones_like(self.share)
        now = now + self.U.T @ self.V * self.scale
        return replace(self, now=now, U=U, V=V, used=np.zeros((), int), share=share)


@pytree
class Filters(_Shared, HiddenWeights):
    """Weights between two layers of a convolution."""

    convolution: Convolution | None = field(default=None, kw_only=True, metadata=dict(static=True))


def _gaussian(seeds, name, layer, shape, dtype):
    """A random matrix of each network, (networks, *shape). Those of another width have nothing in common with them."""
    values = np.empty((len(seeds), *shape), dtype)
    for seed, matrix in zip(seeds, values):
        np.random.default_rng((seed, KINDS.index(name), layer, *shape)).standard_normal(dtype=dtype, out=matrix)
    return values


def initialize(seeds, X, experiment, N, asked, dtype):
    """Weights from W⁰ to the readout and frozen fields of the layers, their arrays with an axis for the networks in front.

    What the rule does not ask for is None.
    """
    B, D, L, C = len(seeds), X.shape[1], experiment.hidden_layers, experiment.task.outputs
    K, readout, kinds, of = 1, N, (InputWeights, HiddenWeights, Readout), {}
    if (convolution := experiment.convolution) is not None:
        K, readout, kinds = convolution.K, convolution.weights_of_output * N, (ConvolvedInput, Filters, PooledReadout)
        of = dict(convolution=convolution)
    Input, Hidden, Last = (partial(kind, **of) for kind in kinds)
    draw = lambda name, l, *shape: jax.device_put(_gaussian(seeds, name, l, shape, dtype))  # noqa: E731
    above = [(N, K * N)] * (L - 1) + [(C, readout)]
    W = [draw("weights", l, *shape) for l, shape in enumerate(above, 1)]
    fresh = [draw("feedback", l, *shape) if "fresh_T" in asked else None for l, shape in enumerate(above, 1)]

    def at_positions(vectors):
        return vectors if convolution is None else jnp.stack([convolution.unpool(rows) for rows in vectors])

    frozen = [
        Frozen(
            np.asarray(experiment.phi.phi_dot(X @ _gaussian(seeds, "gates", l, (D, N), dtype) / D**0.5), dtype)
            if "gate" in asked
            else None,
            at_positions(draw("vectors", l, C, readout)) if "fresh_vector" in asked else None,
        )
        for l in range(L)
    ]
    first, share = Input(draw("weights", 0, D, N), np.full(B, D**-0.5, dtype)), None
    if experiment.keep is not None:
        first.initial, share = first.weights, np.ones(B, dtype)
    U, V = (np.zeros((B, 0, width), dtype) for width in (N, K * N))
    hidden = [Hidden(w, w, b, U, V, np.zeros(B, int), share) for w, b in zip(W[:-1], fresh)]
    f0 = np.zeros((B, len(experiment.task.X_all), C), dtype)
    weights = [first, *hidden, Last(W[-1], W[-1], fresh[-1], f0, np.zeros(B, bool), share)]
    if experiment.rates is not None:
        P, widths = experiment.task.P, (D, *[K * N] * (L - 1), N)
        nothing_before(weights, P * experiment.positions, widths, (P, C), lambda shape: np.zeros((B, *shape), dtype))
    return weights, frozen


def _run(
    rule, activation, loss, steps, record, with_kernels, X, y, gamma0, lr, keep, masks, rates, branch, weights, frozen, count,
):  # fmt: skip
    """`count` of at most `steps` steps; returns the weights after them, the last fields and what was recorded before each.

    keep is what weight decay leaves of weights, `masks` (steps, P) which samples are learned from, `rates` (steps, 2) what of
    two steps; each may be None, and `branch`.
    The arrays of weights, frozen fields and results have an axis for the networks in front.
    """
    A, convolution = weights[-1].positions, weights[-1].convolution
    P, L, n = A * len(y), len(frozen), A * y.size
    N, K_x = weights[0].weights.shape[-1], X[:P] @ X[:P].T / X.shape[1]

    def one(weights, frozen, t):
        mask, now = (None if rows is None else rows[t] for rows in (masks, rates))
        fields = step(rule, activation, loss, weights, frozen, X, y, gamma0, lr, keep, mask, branch, rates=now)
        phi, g, g_tilde = fields.phi, fields.g, fields.g_tilde
        found = kernels(K_x, phi, g, g_tilde, branch, convolution) if with_kernels else {}
        out = dict(f=fields.f) | found
        if record:
            out |= dict(phi=jnp.stack(phi), g=jnp.stack(g), g_tilde=jnp.stack(g_tilde))
        return weights, dict(h=jnp.stack(fields.h), z=jnp.stack(fields.z)), out

    def network(start):
        weights, frozen = start
        room = steps * P * (1 if rates is None else 2)
        weights = [weights[0], *(W.with_room(room) for W in weights[1:-1]), weights[-1]]

        def body(t, carry):
            weights, _, out = carry
            weights, last, new = one(weights, frozen, t)
            return weights, last, {n: jax.lax.dynamic_update_index_in_dim(out[n], new[n], t, 0) for n in out}

        last = dict(h=jnp.zeros((L, len(X), N), X.dtype), z=jnp.zeros((L, n, N), X.dtype))
        shapes = jax.eval_shape(lambda weights: one(weights, frozen, 0)[2], weights)
        out = {name: jnp.zeros((steps, *value.shape), value.dtype) for name, value in shapes.items()}
        weights, last, out = jax.lax.fori_loop(0, count, body, (weights, last, out))
        return [weights[0], *(W.with_room(0) for W in weights[1:-1]), weights[-1]], last, out

    start = weights, frozen
    if len(weights[-1].weights) == 1:  # products of wide matrices are slower with an axis in front
        return jax.tree.map(lambda array: array[None], network(jax.tree.map(lambda array: array[0], start)))
    return jax.vmap(network)(start)


_STATIC = ("rule", "activation", "loss", "steps", "record", "with_kernels")
# Of a narrow network the compiler's effort takes longer than it saves.
_COMPILED = {
    narrow: jax.jit(
        _run, static_argnames=_STATIC, compiler_options={"xla_backend_optimization_level": 0} if narrow else None
    )
    for narrow in (True, False)
}


def _parts(T, chunk, kernels_at):
    """Parts of T steps, (room for steps, steps, whether kernels are recorded), each asked step a part by itself."""
    if kernels_at is None:
        return [(chunk, min(chunk, T - start), True) for start in range(0, T, chunk)]
    parts, start = [], 0
    for at in [*kernels_at, T]:
        parts += [(chunk, min(chunk, at - begin), False) for begin in range(start, at, chunk)]
        parts += [(1, 1, True)] if at < T else []
        start = at + 1
    return parts


def train(experiment, width=2048, seed=0, dtype="float64", record=False, kernels_at=None, revealed=False):
    """Train one network of the given width; returns Dynamics with the kernels before each update.

    The output at initialization is subtracted, so f starts from 0; where weights decay, that of a copy which
    learns nothing. `record` keeps all fields for two-time kernels; `kernels_at` are the steps whose kernels are recorded,
    all by default.

    revealed   draw the hidden matrices only where they act (`network.revealed`): another network of the same distribution, in
               time and memory linear in the width, so that 10⁶ neurons a layer are possible. It pays above a width of a few times
               samples × steps. Fields are kept up to a share of 1e-26 of their variance (1e-11 in float32): `provenance`
               says how many directions that took, `rank`, and the largest share `discarded`. Test samples act as training
               samples do, so their outputs are exact, too; with others the same seed gives another network.

    Raises ValueError for a bad argument, MemoryError for a revealed network that would not fit this machine,
    Diverged (with the step) when the loss is not finite or grows without bound. Warns where |1 − lr·λ| exceeds 1 for an
    eigenvalue λ of K, and where updates are lost in the rounding of `dtype`.
    """
    return next(train_each(experiment, width, [seed], dtype, record, kernels_at, together=1, revealed=revealed))


def stable_lr(experiment, width=256, seed=0):
    """A step size that was tried: a network of this width runs all `steps` with it, and no eigenvalue λ of K exceeds 1/lr.

    It begins with half of the edge of stability at initialization, 1/λ_max(K), which kernels that grow may not bear, and halves
    until the run is stable. K is looked at at nine steps, at three if samples × outputs are many; that of a batch at the steps
    that learn from one. The `lr` of the experiment plays no part, its `steps` do: a smaller lr in as many steps is a shorter
    run.

    Raises Diverged if a step 2²⁰ times smaller still fails.
    """
    check_experiment(experiment)
    curvature = experiment.loss.curvature or 0
    experiment = replace(experiment, loss=replace(experiment.loss, curvature=None))  # stability is looked at here, once
    count = 9 if experiment.task.y.size <= MOST_EIGENVALUES else 3
    at = np.unique(np.linspace(0, experiment.steps - 1, count).round().astype(int))[1:]
    at = at if at.size else None
    with warnings.catch_warnings(action="ignore"):  # of rounding, of a step that is not the one to be
        start = train(replace(experiment, steps=1), width, seed).K[0]
        largest = largest_eigenvalue(learned_from(experiment, start, 0))
        if not largest:
            raise ValueError("`experiment` has K = 0: no step changes an output. Are all inputs 0?")
        lr = experiment.edge / 2 / largest
        for _ in range(21):
            try:
                run = train(replace(experiment, lr=float(lr)), width, seed, kernels_at=at)
                K = learned_from(experiment, run.K, run.kernels_at)
                if max(map(largest_eigenvalue, K)) * lr * curvature <= experiment.edge / 2:
                    return float(lr)
            except (Diverged, ValueError):  # a weight decay that leaves nothing at this lr
                pass
            lr /= 2
    raise Diverged("no step size was found that trains a network. Check `activation` and the size of the inputs.")


def train_each(experiment, width, seeds, dtype="float64", record=False, kernels_at=None, together=None, revealed=False):
    """`train` for each of the `seeds`, any iterable; `together` of them in one call, by default more of narrow ones."""
    check_experiment(experiment)
    width = whole("width", width, 1)
    check_dtype(dtype)
    kernels_at = check_steps("kernels_at", kernels_at, experiment.steps)
    warn_if_rounded(experiment, dtype)
    offsets = 1 if experiment.convolution is None else experiment.convolution.K
    most = max(1, min(MOST_AT_ONCE, MOST_WEIGHTS // (offsets * width**2)))
    together, run = together or most, _COMPILED[most > 1]
    seeds = map(checked_seed, seeds)
    for seed in seeds if revealed else ():
        records, last, *directions = revealing.run(experiment, width, seed, dtype, record, kernels_at)
        provenance = Provenance("network", width, seed, dtype, *directions, revealed=True)
        yield _result(experiment, provenance, records, last, record, kernels_at)
    while batch := list(islice(seeds, together)):
        make_room()
        yield from _train_together(run, experiment, width, batch, together, dtype, record, kernels_at)


def _train_together(run, experiment, width, seeds, together, dtype, record, kernels_at):
    """Results for a list of seeds by the compiled `run`, computed as `together` networks, so that a shorter list compiles nothing."""
    task, T, rule, activation = experiment.task, experiment.steps, experiment.rule, experiment.phi
    # Of wide networks, products with what a part of the run learned cost more than a rewritten matrix from rank N/8 on.
    rows = task.P * experiment.positions
    chunk = max(1, min(4, width // (2 * rows)), width // (8 * rows)) if experiment.hidden_layers > 1 else T
    chunk = min(chunk, T)
    with computing(dtype):
        X, y = np.asarray(experiment.inputs, dtype), np.asarray(task.y.reshape(task.P, task.outputs), dtype)
        drawn = seeds + seeds[:1] * (together - len(seeds))
        weights, frozen = initialize(drawn, X, experiment, width, needs(rule), dtype)
        by_step = [None if rows is None else rows.astype(dtype) for rows in (experiment.masks, experiment.rates)]
        parts, start = [], 0
        for room, count, with_kernels in _parts(T, chunk, kernels_at):
            settings = (
                rule,
                activation,
                experiment.loss,
                room,
                record,
                with_kernels,
                X,
                y,
                experiment.gamma0,
                experiment.lr,
                experiment.keep,
                *(None if rows is None else rows[np.minimum(start + np.arange(room), T - 1)] for rows in by_step),
                experiment.branch,
            )
            weights, last, out = run(*settings, weights, frozen, count)
            parts.append({name: np.asarray(value, np.float64)[:, :count] for name, value in out.items()})
            parts[-1]["f"] = parts[-1]["f"].reshape(together, -1, len(task.X_all), *task.y.shape[1:])
            for b in range(len(seeds)):
                K = parts[0]["K"][b, 0] if "K" in parts[0] else None
                check_records(experiment, {name: value[b] for name, value in parts[-1].items()}, start, K)
            start += count
        last = {name: np.asarray(value).swapaxes(2, 3) for name, value in last.items()}
    names = dict.fromkeys(name for part in parts for name in part)
    records = {name: np.concatenate([part[name] for part in parts if name in part], axis=1) for name in names}
    for b, seed in enumerate(seeds):
        own, final = ({name: value[b] for name, value in arrays.items()} for arrays in (records, last))
        yield _result(experiment, Provenance("network", width, seed, dtype), own, final, record, kernels_at)


def _result(experiment, provenance, records, last, record, kernels_at):
    """Dynamics of one network."""
    warn_if_unstable(experiment, records["K"], kernels_at)
    history = {name: records[name] for name in ("phi", "g", "g_tilde")} if record else None
    return Dynamics.from_records(experiment, provenance, records, last, history, kernels_at)
