"""One causal sweep over time of one independent half of the samples: the step of learning, with revealed matrices."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..convolution import ConvolvedInput
from ..probe import BACKWARD, images, needs
from ..results import KERNELS
from ..stability import check_records, largest_of_fields
from ..step import Frozen, InputWeights, kernels, nothing_before, step
from .draws import Draws
from .revealed import PooledSampledReadout, RevealedFilters, RevealedMatrix, SampledReadout
from .span import CANDIDATES, MANY_A_ROUND, Basis, most_a_round, repeat_while, when

BASES = ("features", "sent", "recorded")  # of a revealed matrix
MOST_RESERVED = 320  # directions of a basis that have room from the start; more are made room for when they come
LARGEST_IN_NUMPY = 2**17  # entries of a field of networks of one layer
MOST_SPARE = 64  # Gaussians a layer that test samples share
# How the tol error is estimated: from a run with tol 30 times larger, but at most 0.3. What is discarded has an
# amplitude of √tol, and that power is used; measured ones are 0.3 to 0.5 (benchmarks/accuracy.py,
# tests/science/test_error_estimates.py).
COARSER, COARSEST, TOL_POWER = 30.0, 0.3, 0.5


def coarser(tol):
    """The tol of the sweep that shows what tol does."""
    return np.minimum(COARSER * tol, np.maximum(COARSEST, tol))


class Problem(NamedTuple):
    """X with X Xᵀ = K_x of all inputs, K_x of those of training if kernels are recorded, targets (P, C), richness and step size.

    What weight decay leaves of weights at a step, which samples the steps learn from (T, P), None for all, what multiplies
    the matrices of a residual network, and what the steps learn of two steps (T, 2), None of their own alone.
    """

    X: jax.Array
    K_x: jax.Array | None
    y: jax.Array
    gamma0: jax.Array
    lr: jax.Array
    keep: jax.Array | None
    masks: jax.Array | None
    branch: jax.Array | None
    rates: jax.Array | None


def input_factor(X):
    """C (P, r) with C Cᵀ = X Xᵀ/D, r = min(P, D): h¹ = C × unit Gaussians. Invariant to rotations of x."""
    upper = np.linalg.qr(X.T, mode="r")
    sign = np.where(np.diag(upper) < 0, -1.0, 1.0)
    return (sign[:, None] * upper).T / np.sqrt(X.shape[1])


def _show_what_was_drawn(matrices, starts):
    """Let each matrix know the Gaussians that fields of its two layers are made of, if the network is linear.

    Of a layer these are the ones that it starts with, and images from either side.
    """

    def drawn(l):
        below, above = matrices[max(l - 1, 0) : l], matrices[l : l + 1]
        pairs = [(starts[l], True)]
        pairs += [pair for W in below for pair in W.features.drawn("initial")]
        return pairs + [p for W in above for p in W.sent.drawn("weights", "feedback") + W.recorded.drawn("weights")]

    for l, W in enumerate(matrices):
        W.drawn_below, W.drawn_above = partial(drawn, l), partial(drawn, l + 1)


def _one(rule, activation, loss, problem, weights, frozen, starts, recorded, t, recording):
    """Step t: its fields, and what is recorded of it at all times, some of the names `recorded`."""
    if starts is not None:
        _show_what_was_drawn(weights[1:-1], starts)
    X, _, y, gamma0, lr, keep, masks, branch, rates = problem
    xp = X.__array_namespace__()
    mask, now = (None if rows is None else rows[t] for rows in (masks, rates))
    fields = step(rule, activation, loss, weights, frozen, X, y, gamma0, lr, keep, mask, branch, recording, now)
    shape = fields.g_tilde[0].shape
    by_layer = dict(
        phi=fields.phi, h=[h[: len(fields.phi[0])] for h in fields.h], z=fields.z, g=fields.g, g_tilde=fields.g_tilde
    )
    by_layer |= {name: [xp.broadcast_to(x, shape) for x in rows] for name, rows in fields.images.items()}
    out = {name: xp.stack(rows) for name, rows in by_layer.items() if name in recorded}
    out["outside"] = xp.stack([xp.zeros((), X.dtype), *(W.outside for W in weights[1:-1])]).max()
    return fields, out | dict(f=fields.f)


def sweep(rule, activation, loss, problem, weights, frozen, starts, records, slots, start, stop):
    """Steps start … stop − 1, written into `records`; ends early, a basis marked full, when a basis overflows.

    starts    the Gaussians that each layer of a linear network starts with; None for other networks
    slots     (T,): the place of a step among the recorded kernels, −1 for none; None records those of every step
    Returns the step it came to, the weights, the records and, of the last step of the run, the fields h and z and, where no
    kernels are recorded, the largest eigenvalue of K, `edge`. Numpy arrays are written in place.
    """
    xp, in_numpy = problem.X.__array_namespace__(), isinstance(problem.X, np.ndarray)

    def write(arrays, values, place):
        if in_numpy:
            for name, array in arrays.items():
                if len(array) == 1:  # not copied: it may be large
                    arrays[name] = values[name][None]
                else:
                    array[place] = values[name]
            return arrays
        return {n: jax.lax.dynamic_update_index_in_dim(arrays[n], values[n], place, 0) for n in arrays}

    T, some = len(records["f"]), len(records["K"])  # steps, and kernels that are recorded
    at_all = slots is None or "h" in records

    def body(carry):
        # Where nothing is recorded of g, a rule that does not use it goes without.
        recording = at_all or (slots[carry[0]] >= 0) | (carry[0] == T - 1)
        if not isinstance(recording, jax.Array):
            return one(bool(recording), carry)
        if "g" in needs(rule):
            return one(True, carry)
        return jax.lax.cond(recording, partial(one, True), partial(one, False), carry)

    def one(recording, carry):
        t, weights, records, last = carry
        try:
            fields, out = _one(rule, activation, loss, problem, weights, frozen, starts, records, t, recording)
        except np.linalg.LinAlgError:  # of numpy: fields are not finite
            records["f"][t:stop] = np.nan
            return stop, weights, records, last

        def write_kernels(arrays):
            how = problem.branch, weights[-1].convolution
            found = kernels(problem.K_x, fields.phi, fields.g, fields.g_tilde, *how)
            return write(arrays, found, t if slots is None else slots[t])

        recorded = {name: records[name] for name in KERNELS}
        if recording:
            if some:
                recorded = when(slots is None or slots[t] >= 0, write_kernels, recorded)
            if not in_numpy or t == T - 1:  # else it would be kept until then
                last = dict(h=xp.stack(fields.h), z=xp.stack(fields.z), edge=last["edge"])
            if not some:
                last["edge"] = edge(fields, weights, t)
        return t + 1, weights, write({n: records[n] for n in records if n not in KERNELS}, out, t) | recorded, last

    def edge(fields, weights, t):
        """The largest eigenvalue of K, of which no kernel is made: features between layers are what their bases hold."""
        n = len(problem.y)
        below = [problem.X[:n], *(W.coefficients for W in weights[1:-1]), fields.phi[-1] / np.sqrt(S)]
        mask = None if problem.masks is None else problem.masks[t]
        return largest_of_fields(below, fields.g, fields.g_tilde, problem.y.shape[1], mask)

    def going(carry):
        full = [basis.full for basis in bases_of(carry[1]).values()]
        return (carry[0] < stop) & ~xp.array(full, bool).any()

    L, S, dtype, n = len(frozen), weights[0].weights.shape[1], problem.X.dtype, problem.y.size * weights[-1].positions
    last = dict(h=xp.zeros((L, len(problem.X), S), dtype), z=xp.zeros((L, n, S), dtype))
    last["edge"] = xp.zeros((), dtype)
    return repeat_while(going, body, (start, weights, records, last))


# Large problems are worth the compiler's full effort, and in single precision the choice of directions feels its rounding.
FULL_EFFORT = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
compiled_sweep = jax.jit(sweep, static_argnames=("rule", "activation", "loss"), compiler_options=FULL_EFFORT)


def bases_of(weights):
    """The bases of the matrices, by a matrix's number and the basis's name."""
    return {(number, name): getattr(W, name) for number, W in enumerate(weights[1:-1], 1) for name in BASES}


class HalfSweep:
    """One independent half, S samples: its draws, its weights, and room for more directions when they are needed."""

    def __init__(self, experiment, S, seed, tol, dtype, record=False, kernels_at=None, linear=False, devices=None):
        self.experiment, self.S, self.dtype, self.t = experiment, S, dtype, 0
        task, L, self.convolution = experiment.task, experiment.hidden_layers, experiment.convolution
        # Rows of training samples and of their outputs, in fields, and offsets of a filter.
        self.P, self.n, self.K = task.P * experiment.positions, task.y.size * experiment.positions, 1
        if self.convolution is not None:
            self.K = self.convolution.K
        P, n = self.P, self.n
        self.images = images(experiment, S, record, linear)
        # Compiling often takes longer than the sweep, and most of a compiled sweep's work is on rows not in use.
        # One layer has no basis: there a compiled step wins if it is long.
        self.in_numpy = (
            (L > 1 or len(experiment.inputs) * S <= LARGEST_IN_NUMPY) and not devices and jax.default_backend() == "cpu"
        )
        self.draws = Draws(seed, L, S, dtype)
        self.mesh = Mesh(np.array(devices), ("samples",)) if devices else None
        X, y = input_factor(experiment.inputs), task.y.reshape(task.P, task.outputs)
        e = experiment
        K_x = e.K_x if kernels_at is None or len(kernels_at) else None
        values = X, K_x, y, e.gamma0, e.lr, e.keep, e.masks, e.branch, e.rates
        self.problem = Problem(*(None if value is None else np.asarray(value, dtype) for value in values))
        known = min(P, X.shape[1])  # Gaussians that make the training inputs; the others are for test inputs
        rows = self.draws.starts([self.starts_with(l, known) for l in range(L)], experiment.residual is not None)
        self.starts = [block.astype(dtype) for block in self.draws.blocks] if linear else None
        self.share = None if experiment.keep is None else np.ones((), dtype)
        self.weights = [None, *(self.matrix(W, tol) for W in range(1, L)), None]
        reserved = min(MOST_RESERVED, max(S // 4, 6 * CANDIDATES))
        for W in range(1, L):
            self.grow(W, "features", min(6 * P, P * experiment.steps, reserved) + most_a_round(P))
            for basis in ("sent", "recorded"):
                if self.images[basis]:
                    more = min(10 * n, 2 * n * experiment.steps, max(reserved // self.K, CANDIDATES))
                    self.grow(W, basis, more + most_a_round(n))
        A = experiment.positions
        spare = min(len(X) - P, MOST_SPARE if A == 1 else max(1, MOST_SPARE // A) * A)
        self.add_test_samples(rows, X.shape[1] - known, spare, keep=linear)
        samples = len(task.X_all)
        w, feedback = (self.as_readout(rows[-1].get(name)) for name in ("readout", "feedback readout"))
        first = None if self.share is None else np.zeros((samples, w.shape[1]), dtype)
        none, begun = np.zeros((samples, task.outputs), dtype), np.array(False)
        Input, Last, of = InputWeights, SampledReadout, {}
        if self.convolution is not None:
            Input, Last, of = ConvolvedInput, PooledSampledReadout, dict(convolution=self.convolution)
        self.weights[0] = Input(rows[0]["input"], np.ones((), dtype), **of)
        self.weights[-1] = Last(w, w, feedback, none, begun, self.share, task.P, first, **of)
        if e.rates is not None:
            room = [0 if self.in_numpy else len(W.features.directions) for W in self.weights[1:-1]]
            widths, outputs = (X.shape[1], *room, S), (task.P, task.outputs)
            nothing_before(self.weights, P, widths, outputs, partial(np.zeros, dtype=dtype))
        gates = [experiment.phi.phi_dot(self.problem.X @ r["gate"]) if "gate" in r else None for r in rows]
        vectors = [self.as_readout(r.get("vector")) for r in rows]
        if self.convolution is not None:
            vectors = [None if v is None else self.convolution.unpool(v) for v in vectors]
        self.frozen = [Frozen(*pair) for pair in zip(gates, vectors)]
        self.make_records(record, kernels_at)
        for name in ("problem", "weights", "frozen", "starts", "records"):
            setattr(self, name, self.shared(getattr(self, name)))

    def starts_with(self, layer, r):
        """How many unit Gaussians a layer starts with, by name; r of them make the inputs."""
        asked, C = needs(self.experiment.rule), self.experiment.task.outputs
        C *= 1 if self.convolution is None else self.convolution.weights_of_output
        count = {"input": r} if layer == 0 else {}
        count |= {"gate": r} if "gate" in asked else {}
        if layer == self.experiment.hidden_layers - 1:
            count |= {"readout": C} | ({"feedback readout": C} if "fresh_T" in asked else {})
        return count | ({"vector": C} if "fresh_vector" in asked else {})

    def as_readout(self, rows):
        """Rows of a readout: of a convolution, one an output."""
        return rows if rows is None else rows.reshape(self.experiment.task.outputs, -1)

    def widths(self, name):
        """Samples of a direction of this basis, and of its images: of features, K of each neuron below."""
        return (self.K * self.S, self.S) if name == "features" else (self.S, self.K * self.S)

    def drawn_images(self, number, name, kind, n, start=0):
        """Images of n directions of a basis of matrix `number`, from number `start` on."""
        layer, K = (number, 1) if name == "features" else (number - 1, self.K)
        return self.draws.images(layer, kind, K * n, K * start).reshape(n, -1)

    def matrix(self, number, tol):
        """A matrix of which nothing is known."""
        bases = []
        for name in BASES:
            none, image = (np.zeros((0, width), self.dtype) for width in self.widths(name))
            bases.append(Basis(none, dict.fromkeys(self.images[name], image), np.array(0), np.array(False)))
        tol, outside = np.asarray(tol, self.dtype), np.zeros((), self.dtype)
        unkept = None
        if "unkept" in self.images:
            unkept = self.drawn_images(number, "unkept", self.images["unkept"]["weights"], self.n)
        subtracted = len(self.problem.X) - (self.P if self.convolution is None else 0)
        first, spare = np.zeros((subtracted, self.K * self.S), self.dtype), np.zeros((0, self.S), self.dtype)
        about = *bases, tol, unkept, spare, first, outside, self.P, self.share
        if self.convolution is None:
            return RevealedMatrix(*about)
        return RevealedFilters(*about, K=self.K, A=self.experiment.positions, convolution=self.convolution)

    def add_test_samples(self, rows, inputs, spares, keep):
        """Draw what test samples need last, and keep nothing orthogonal to it: training goes as without them."""
        for l, start in enumerate(rows):
            names = [name for name in ("input", "gate") if name in start]
            more = self.draws.images(l, "test", inputs * len(names) + spares, 0, keep)
            for k, name in enumerate(names):
                start[name] = np.concatenate([start[name], more[k * inputs : (k + 1) * inputs]])
            if l:
                self.weights[l].spare = more[inputs * len(names) :]

    def make_records(self, record, kernels_at):
        task, T, L = self.experiment.task, self.experiment.steps, len(self.frozen)
        P, n = self.P, self.n
        shapes = dict(f=(len(task.X_all), task.outputs), outside=())
        if record:
            shapes |= dict.fromkeys(("phi", "h"), (L, P, self.S))
            backward = needs(self.experiment.rule).intersection(BACKWARD)
            shapes |= dict.fromkeys(("g", "z", "g_tilde", *backward), (L, n, self.S))
        self.slots, count = None, T
        if kernels_at is not None:
            count, slots = len(kernels_at), np.full(T, -1)
            slots[kernels_at] = np.arange(count)
            self.slots = slots
        kernel = {name: (L, n, n) for name in KERNELS} | {"Phi": (L, P, P), "K": (task.y.size, task.y.size)}
        shapes = {name: (T, *shape) for name, shape in shapes.items()}
        shapes |= {name: (count, *shape) for name, shape in kernel.items()}
        self.records = {name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}

    def shared(self, arrays):
        """Arrays in a tree with their sample axis, the last, split over the devices; those without one on each."""
        if self.mesh is None:
            return jax.tree.map(np.asarray, arrays) if self.in_numpy else jax.device_put(arrays)

        def put(array):
            axes = [None] * array.ndim
            if array.ndim > 1 and array.shape[-1] == self.S:
                axes[-1] = "samples"
            return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(*axes)))

        return jax.tree.map(put, arrays)

    def make_room(self, number, name):
        """Half as much room again in one basis of one matrix, or the last that its layer has."""
        layer, K = (number, 1) if name == "features" else (number - 1, self.K)
        left, more = self.draws.room(layer) // K, -(-len(getattr(self.weights[number], name).directions) // 2)
        self.grow(number, name, min(more, left) if left > 2 * MANY_A_ROUND else more)

    def grow(self, number, name, more):
        """Room for `more` directions in one basis of one matrix; what was there stays as it is."""
        basis, kinds = getattr(self.weights[number], name), self.images[name]
        new = {
            kind: self.drawn_images(number, name, kind, more, len(basis.directions))
            for kind in dict.fromkeys(kinds.values())
        }
        rows = {image: np.concatenate([basis.images[image], new[kind]]) for image, kind in kinds.items()}
        directions = np.concatenate([basis.directions, np.zeros((more, self.widths(name)[0]), self.dtype)])
        basis.directions, basis.images = self.shared((directions, rows))
        W = self.weights[number]
        if W.before and name == "features" and not self.in_numpy:  # compiled arrays have a fixed number of rows
            coefficients, signal = W.before
            W.before = self.shared((np.pad(np.asarray(coefficients), ((0, 0), (0, more))), signal))

    def coarser(self):
        """The same draws, not run yet, with a larger tol."""
        other, own = copy(self), np.copy if self.in_numpy else lambda array: array  # numpy's are written in place
        other.weights, other.draws = jax.tree.map(own, self.weights), self.draws.copy()
        for W in other.weights[1:-1]:
            W.tol = coarser(W.tol)
        other.records = jax.tree.map(np.zeros_like, self.records) if self.in_numpy else self.records
        return other

    def recorded(self, name):
        """A recorded array, in float64; outputs have the shape of the targets."""
        return np.asarray(self.taken(name), np.float64)

    def taken(self, name):
        """A recorded array as it is, to be written to; outputs have the shape of the targets."""
        array = np.require(self.records[name], requirements="W")
        return array.reshape(*array.shape[:2], *self.experiment.task.y.shape[1:]) if name == "f" else array

    def run(self):
        """Sweep over all steps, and end if they diverge; compiled, an overflow repeats an eighth of them."""
        T, bases = self.experiment.steps, bases_of(self.weights)
        chunk = 1 if self.in_numpy else -(-T // 8)
        if self.in_numpy:  # a basis grows within a step
            for place, basis in bases.items():
                basis.more = partial(self.make_room, *place)
        try:
            for stop in range(chunk, T + chunk, chunk):
                self.advance(min(stop, T))
        finally:
            for basis in bases.values():
                basis.more = None  # which holds this sweep, and so all its arrays
        return self

    def advance(self, stop):
        """Sweep on to step `stop`; compiled, growing the bases that overflow and repeating from here."""
        e = self.experiment
        while self.t < stop:
            t, weights, records, last = (sweep if self.in_numpy else compiled_sweep)(
                e.rule,
                e.phi,
                e.loss,
                self.problem,
                self.weights,
                self.frozen,
                self.starts,
                self.records,
                self.slots,
                self.t,
                stop,
            )
            full = [place for place, basis in bases_of(weights).items() if basis.full]
            for place in full:
                self.make_room(*place)
            if full:
                continue
            checked = ("f", "K", "Phi", "G") if self.slots is None else ("f",)
            K = np.asarray(records["K"])[0] if self.slots is None or self.slots[0] == 0 else None
            check_records(e, {name: np.asarray(records[name])[self.t : stop] for name in checked}, self.t, K)
            self.t, self.weights, self.records, self.last = int(t), weights, records, last
            self.draws.step = self.t
