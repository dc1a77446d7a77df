r"""A network of width N without any N × N array: a random matrix is drawn only where it acts.

Let p_k be an orthonormal basis of the features that W = W^ℓ(0) was applied to, and q_j one of the fields that Wᵀ was applied
to, under ⟨·⟩, the average over the N neurons; P and Q project on their spans. Given these products, the rest of W is as random
as before they were known: (1 − Q) G (1 − P), G a Gaussian matrix that is independent of all that was computed so far. The next
directions p ⊥ p_k and q ⊥ q_j depend on nothing else, so their images are, exactly in distribution,

    W p/√N = a + Σ_j ⟨b_j p⟩ q_j,    a = (1 − Q) n,
    Wᵀq/√N = b + Σ_k ⟨a_k q⟩ p_k,    b = (1 − P) n',

with fresh n, n' ~ N(0, 1) for each neuron, and P, Q as they are then. The matrix that keeps these, `RevealedMatrix`, and the
step of learning are those of the mean field. Only the draws differ: there n is made orthogonal to other Gaussians and normalized,
which removes fluctuations; here it is what it is. The book derives this in `book/solver.md`.
"""

from __future__ import annotations

from functools import partial
from math import sqrt

import numpy as np
from scipy.linalg import get_blas_funcs
from threadpoolctl import threadpool_limits

from ..activations import computing
from ..convolution import ConvolvedInput, PooledReadout, _Shared
from ..machine import make_room, room_for_directions
from ..meanfield.revealed import RevealedMatrix
from ..meanfield.span import orthonormal
from ..meanfield.sweep import input_factor
from ..probe import needs
from ..stability import check_records
from ..step import Frozen, InputWeights, Readout, kernels, nothing_before, step

KINDS = ("input", "gate", "vector", "readout", "forward", "backward", "feedback")  # of Gaussians
DISCARDED = {"float64": 1e-26, "float32": 1e-11}  # share of a field's variance that may stay outside of the directions
AT_ONCE = 32  # fields whose new directions are found together


def unknown(n, known):
    """(1 − P) n for fresh Gaussians n: what is still random in an image, the rows `known` being orthonormal."""
    return n - (n @ known.T / n.shape[1]) @ known


class Directions:
    """An orthonormal basis p of all fields that it was extended by, and what a matrix makes of each direction, a.

    kinds   the kind of Gaussians of each image, by the image's name
    draw    draw(kind, number) gives the Gaussians of one direction
    widths  numbers in a direction, and in an image
    room    directions that have room from the start, and the most for which there is memory
    """

    full = False

    def __init__(self, kinds, draw, room, widths, dtype):
        self.kinds, self.draw, self.count, self.fields, self.most = kinds, draw, 0, 0, room[1]
        self.directions, images = (np.empty((0, width), dtype) for width in widths)
        self.images = dict.fromkeys(kinds, images)
        self._make_room(room[0] if kinds else 0)

    def _make_room(self, room):
        def with_room(rows):
            wider = np.empty((room, rows.shape[1]), rows.dtype)  # in memory once it is written
            wider[: self.count] = rows[: self.count]
            return wider

        self.directions = with_room(self.directions)
        self.images = {name: with_room(rows) for name, rows in self.images.items()}

    def rows(self, image=None):
        return (self.directions if image is None else self.images[image])[: self.count]

    def learn(self, image, coefficients, signal):
        """Images of the first directions += coefficientsᵀ signal, without an array of that size beside them."""
        rows = self.rows(image)[: coefficients.shape[1]].T
        (multiply,) = get_blas_funcs(["gemm"], [rows])
        if rows.size:
            multiply(1.0, signal.T, coefficients, 1.0, rows, overwrite_c=True)

    def _add(self, new, numbers, partner):
        """Directions that the fields of these numbers need, and their images; of feedback, which acts one way only, all is unknown."""
        end = self.count + len(new)
        if end > self.most:
            raise MemoryError(
                f"the fields of this network need more than {self.most} directions between two layers, and more would not "
                'fit this machine or container. Pass a smaller `width`, dtype = "float32", or an experiment of fewer `steps`.'
            )
        if end > len(self.directions):
            self._make_room(min(self.most, 2 * end))
        drawn = {kind: np.stack([self.draw(kind, k) for k in numbers]) for kind in dict.fromkeys(self.kinds.values())}
        for image, kind in self.kinds.items():
            n = drawn[kind]
            self.images[image][self.count : end] = n if kind == "feedback" else unknown(n, partner)
        self.directions[self.count : end], self.count = new, end

    def extend(self, fields, length, tol, partner, drawn=None):
        """Coefficients of fields (n, N) in the directions, to which what they lack is added, and the largest share discarded.

        Each field of which more than `tol` is outside adds one, in their order. Its Gaussians are those of the field's number:
        which come next does not depend on whether rounding made an earlier share exceed tol.
        """
        N, parts, outside = fields.shape[1], [], 0.0
        fields = fields / np.where(length > 0, length, 1.0)[:, None]
        for start in range(0, len(fields), AT_ONCE):
            some, new, numbers = fields[start : start + AT_ONCE], [], []
            known = some @ self.rows().T / N
            rest = some - known @ self.rows()
            for k in range(len(rest)):
                share = float(rest[k] @ rest[k]) / N if self.count + len(new) < N else 0.0  # N span everything
                if share <= tol:
                    outside = max(outside, share)
                    continue
                new.append(rest[k] / sqrt(share))  # a numpy scalar would turn float32 into float64
                numbers.append(self.fields + start + k)
                rest[k + 1 :] -= np.outer(rest[k + 1 :] @ new[-1] / N, new[-1])
            if new:  # what rounding left of the old directions in a small residual is taken off
                new = orthonormal(np.stack(new), self.rows())
                known = np.concatenate([known, some @ new.T / N], axis=1)
                self._add(new, numbers, partner)
            parts.append(known)
        self.fields += len(fields)
        found = np.concatenate([np.pad(c, ((0, 0), (0, self.count - c.shape[1]))) for c in parts])
        return found * length[:, None], outside


class Matrix(RevealedMatrix):
    """W^ℓ of a network, and in the basis `fed` what frozen feedback acts on.

    Test samples multiply the same matrix, so their features are in its basis: f_test is exact, too.
    """

    def transpose_fresh(self, v):
        return self._down(self._send(v, basis=self.fed) @ self.fed.rows("feedback"))


class Filters(_Shared, Matrix):
    """The same between two layers of a convolution."""


def initialize(experiment, N, seed, dtype, room):
    """Weights from W⁰ to the readout, and the frozen fields of each layer; W⁰ acts on the span of the inputs alone."""
    task, L, asked = experiment.task, experiment.hidden_layers, needs(experiment.rule)
    X, C, c, K, A = input_factor(experiment.inputs).astype(dtype), task.outputs, experiment.convolution, 1, 1
    Input, Hidden, Last, of, shape = InputWeights, Matrix, Readout, {}, {}
    if c is not None:
        K, A, of = c.K, c.weights_of_output, dict(convolution=c)
        Input, Hidden, Last, shape = ConvolvedInput, Filters, PooledReadout, dict(K=K, A=c.positions)

    def draw(layer, kind, number, width=N):
        key = seed, KINDS.index(kind), layer, N, number
        return np.random.default_rng(key).standard_normal(width, dtype)

    def rows(layer, kind, n):
        return np.stack([draw(layer, kind, k) for k in range(n)])

    def as_readout(layer, kind):
        return rows(layer, kind, C * A).reshape(C, -1)

    def matrix(layer):
        """Between `layer` and the next: images of features are in that one, of what is sent in this one."""
        kinds = dict(
            features={"now": "forward"} | ({"initial": "forward"} if "W0_T" in asked else {}),
            sent={"weights": "backward"},
            recorded={},
            fed={"feedback": "feedback"} if "fresh_T" in asked else {},
        )
        bases = {}
        for name, of_basis in kinds.items():
            widths = (K * N, N) if name == "features" else (N, K * N)
            images = partial(draw, layer + (name == "features"), width=widths[1])
            bases[name] = Directions(of_basis, images, room, widths, dtype)
        fed, nothing = bases.pop("fed"), np.empty((0, N), dtype)
        about = dict(tol=DISCARDED[dtype], unkept=None, spare=nothing, first=nothing, outside=0.0, P=len(X))
        W = Hidden(**bases, **about, **shape)
        W.fed, W.convolution = fed, c
        return W

    def at_positions(l):
        vector = as_readout(l, "vector")
        return vector if c is None else c.unpool(vector)

    gates = [experiment.phi.phi_dot(X @ rows(l, "gate", X.shape[1])) if "gate" in asked else None for l in range(L)]
    frozen = [
        Frozen(None if gate is None else np.asarray(gate, dtype), at_positions(l) if "fresh_vector" in asked else None)
        for l, gate in enumerate(gates)
    ]
    w, fresh = as_readout(L - 1, "readout"), as_readout(L, "readout") if "fresh_T" in asked else None
    first = Input(rows(0, "input", X.shape[1]), X.dtype.type(1), **of)
    readout = Last(w, w, fresh, np.zeros((len(task.X_all), C), dtype), np.array(False), **of)
    weights = [first, *map(matrix, range(L - 1)), readout]
    if experiment.rates is not None:
        widths = X.shape[1], *[0] * (L - 1), N
        nothing_before(weights, task.P * experiment.positions, widths, (task.P, C), partial(np.zeros, dtype=dtype))
    return X, weights, frozen


def run(experiment, N, seed, dtype, record, kernels_at):
    """Records by name, the last fields, directions by matrix and the largest share discarded, of one network."""
    task, T, rule = experiment.task, experiment.steps, experiment.rule
    if experiment.keep is not None:
        raise ValueError(
            f"`revealed` networks have no weight decay; got weight_decay = {experiment.weight_decay:g}. Pass revealed = False, "
            "or an experiment without."
        )
    most = room_for_directions(experiment, N, dtype, record, kernels_at)
    room = min(most, T * experiment.positions * max(len(task.X_all), 2 * task.y.size)), most
    make_room()
    kept, records, outside = set(range(T) if kernels_at is None else kernels_at), {}, 0.0
    # With more than one thread a product of a few rows takes longer.
    with computing(dtype), np.errstate(all="ignore"), threadpool_limits(1, "blas"):
        X, weights, frozen = initialize(experiment, N, seed, dtype, room)
        y, K_x = task.y.reshape(task.P, task.outputs).astype(dtype), experiment.K_x.astype(dtype)
        gamma0, lr = X.dtype.type(experiment.gamma0), X.dtype.type(experiment.lr)
        masks, rates = (
            [None] * T if rows is None else rows.astype(dtype) for rows in (experiment.masks, experiment.rates)
        )
        branch = None if experiment.branch is None else X.dtype.type(experiment.branch)
        for t in range(T):
            try:
                how = dict(mask=masks[t], rates=rates[t], branch=branch)
                fields = step(rule, experiment.phi, experiment.loss, weights, frozen, X, y, gamma0, lr, **how)
                out = dict(f=fields.f.reshape(-1, *task.y.shape[1:]))
            except np.linalg.LinAlgError:  # fields are not finite
                fields, out = None, dict(f=np.full((len(X), *task.y.shape[1:]), np.nan))
            if fields and t in kept:
                out |= kernels(K_x, fields.phi, fields.g, fields.g_tilde, branch, experiment.convolution)
            if fields and record:
                out |= {name: np.stack(getattr(fields, name)) for name in ("phi", "g", "g_tilde")}
            for name, value in out.items():
                records.setdefault(name, []).append(np.asarray(value, np.float64))
            now = {name: records[name][-1][None] for name in out}
            check_records(experiment, now, t, records["K"][0] if "K" in records else None)
            outside = max([outside, *(float(W.outside) for W in weights[1:-1])])
    rank = tuple((W.features.count, W.sent.count) for W in weights[1:-1])
    last = {name: np.stack(getattr(fields, name)).swapaxes(1, 2) for name in ("h", "z")}
    return {name: np.stack(values) for name, values in records.items()}, last, rank, outside
