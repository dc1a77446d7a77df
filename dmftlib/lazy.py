"""The lazy limit γ₀ → 0: static kernels of any rule, and its predictions (BP Eq. 6 and Table 2).

As γ₀ → 0 the fields are Gaussian and every one is a sum of products

    coefficient_μ × (a function of h_μ) × (at most one image Wᵀv of a field of the layer above),

where images are independent of h. The rule runs on such symbolic fields, and averages of two fields follow
from Gaussian averages of the functions and the averages of the layer above.

A skip connection is one more matrix, the identity: a field of the layer above has an image of the same values here. As h of
both layers correlate, such an image has no average with a function of h.

Weight decay shrinks the weights to (1 − ηϑ)^t W(0) while what is learned stays small beside them. Then kernels change:
K_μν(t, s) of outputs at step t with what was learned at step s is that of networks with weights c W(0), at two scales c.
It is made at a few scales, and interpolated between them by polynomials.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import prod

import numpy as np
from threadpoolctl import threadpool_limits

from .activations import ACCURACY, Gaussians, averages
from .experiment import Experiment, check_experiment
from .losses import LOSSES
from .machine import refuse_kernels
from .probe import needs
from .results import OBSERVABLES, Dynamics, Provenance, Result
from .stability import check_records, warn
from .step import ReceivingLayer, backward, entk, forward
from .validate import finite_array

ONE, PHI, PHI_DOT, H, GATE, GATE_H = "1", "phi", "phi_dot", "h", "gate", "gate h"
SKIP = "skip"  # the matrix of a skip connection
WORTH_A_WARNING = 0.01  # of the largest target: what a test output lacks
PRODUCTS = {frozenset([GATE, H]): GATE_H}
INTERPOLATED = 1e-7  # of the largest entry of K: how well it is known between scales of the weights
ROWS = 512  # of a block of a kernel, so that the arrays of a layer stay in the processor's cache
MOST_SCALES, MOST_ROWS = 40, 4000  # of weights, and of samples × outputs × scales


ALL = np.ones((1, 1))  # the coefficient of a function of h by itself, for all rows


@dataclass(frozen=True)
class _Image:
    """A Gaussian field Wᵀv: two images correlate as their arguments do if the matrix is the same."""

    matrix: str
    argument: _Field
    spread: object = None  # of a convolution: makes the kernel of all positions of that of the argument


@dataclass(frozen=True)
class _Field:
    """Sum of terms (coefficient, of each row (rows, 1) or of all (1, 1), function of h, image or None) in one layer."""

    layer: object
    terms: tuple

    __array_ufunc__ = None  # so that numpy defers array * field to __rmul__

    def __add__(self, other):
        return _Field(self.layer, self.terms + (other.terms if isinstance(other, _Field) else ()))

    def __sub__(self, other):
        return self + (-1.0) * other

    def __mul__(self, other):
        if not isinstance(other, _Field):
            return _Field(
                self.layer, tuple((c if other is ALL else c * other, local, image) for c, local, image in self.terms)
            )
        return _Field(self.layer, tuple(_product(a, b) for a in self.terms for b in other.terms))

    __radd__, __rmul__ = __add__, __mul__


def _product(a, b):
    (c, local, image), (c2, local2, image2) = a, b
    combined = local2 if local == ONE else local if local2 == ONE else PRODUCTS.get(frozenset([local, local2]))
    if combined != ONE and SKIP in {getattr(x, "matrix", None) for x in (image, image2)}:
        raise NotImplementedError(
            f"the lazy limit has no average for the product of {combined} with what comes down a skip connection, since h of both "
            "layers correlate: a rule may add g or skip(v), or send them through a matrix, and multiply them by numbers."
        )
    if combined is None or (image is not None and image2 is not None):
        raise NotImplementedError(
            f"the lazy limit has no average for the product of {local} and {local2}"
            f"{', each times a product with a random matrix' if image is not None and image2 is not None else ''}: a rule may "
            "multiply one function of h with one of W_T, W0_T, fresh_T, g or fresh_vector."
        )
    return c2 if c is ALL else c if c2 is ALL else c * c2, combined, image if image is not None else image2


class _Output:
    """What stands above the last hidden layer: each output correlates with itself only."""

    positions = 1

    def __init__(self, samples, C, sides):
        self.below, self.sides, self.image_averages = np.tile(np.eye(C), samples), sides, {}
        self.field = _Field(self, ((ALL, ONE, None),))

    def local_average(self, a, b):
        return self.below


class _Kernels(ReceivingLayer):
    """A hidden layer at γ₀ → 0, its Gaussian preactivations given by the kernel `below` it of some rows with others.

    sides    slices, the rows on the left and on the right
    known    Gaussians of h and of the gates' inputs on each side
    """

    def __init__(self, experiment, below, K_x, top, sides, known):
        self.activation, self.below, self.carried, self.K_x = experiment.phi, below, below, K_x
        self.sides, self.known = sides, known
        self.positions, c = experiment.positions, experiment.convolution
        self.averages, self.image_averages = {}, {}
        for name, local in (("h", H), ("phi", PHI), ("phi_dot", PHI_DOT), ("gate", GATE)):
            setattr(self, name, _Field(self, ((ALL, local, None),)))
        self.fresh_vector = self.image("z", top, c and c.unpooled_kernel)
        self.features, self.gain = experiment.rule.features(self), experiment.rule.gain(self)

    def image(self, matrix, argument, spread=None):
        return _Field(self, ((ALL, ONE, _Image(matrix, argument, spread)),))

    def skip(self, v):
        if self.branch is None:
            return 0
        if any(image is None and c.any() for c, _, image in v.terms):
            raise NotImplementedError(
                "the lazy limit has no averages of functions of h of two layers, which a skip connection adds up: what a rule "
                "sends down it must be a sum of products with W_T, W0_T, fresh_T, g or fresh_vector."
            )
        return self.image(SKIP, v)

    def local_average(self, a, b):
        """⟨F_a(h_μ) F_b(h_ν)⟩ over the layer's Gaussian h (and gates)."""
        key = (a, b)
        if key not in self.averages:
            act, below, (h, inputs) = self.activation, self.below, self.known
            gates = lambda: act.averages([PHI_DOT], self.K_x, *inputs)[PHI_DOT]  # noqa: E731
            known = {
                (ONE, ONE): lambda: np.ones_like(below),
                (H, H): lambda: below,
                (GATE, GATE): gates,
                (GATE_H, GATE_H): lambda: gates() * below,
            }
            functions = {ONE: np.ones_like, PHI: act.phi, PHI_DOT: act.phi_dot, H: lambda h: h}
            if key in known:
                self.averages[key] = known[key]()
            elif a == b and a in (PHI, PHI_DOT):
                self.averages |= {(name, name): average for name, average in act.averages([a], below, *h).items()}
            elif a in functions and b in functions:
                self.averages[key] = averages(functions[a], functions[b], below, *h)
            else:
                raise NotImplementedError(f"the lazy limit has no average of {a} with {b}.")
        return self.averages[key]


class _Weights:
    """W^ℓ at γ₀ → 0: fields of the layer above have images in the layer below, `apply` gives ⟨hh⟩.

    `scale` (rows, 1) is what decay left of W(0) where each row stands. Of a convolution, `patch` makes the kernel of patches of
    that of features, and `spread` that of Wᵀv of that of v.
    """

    def __init__(self, scale, patch=None, spread=None):
        self.scale, self.patch, self.spread = scale, patch, spread

    def apply(self, features):
        self.below, Phi = features.layer, _average(features, features)
        return _times_each(features.layer.sides, self.scale, self.scale, Phi if self.patch is None else self.patch(Phi))

    def transpose(self, v):
        return self.scale * self.transpose_initial(v)

    transpose_recorded = transpose

    def transpose_initial(self, v):
        return self.below.image("W", v, self.spread)

    def transpose_fresh(self, v):
        return self.below.image("fresh", v, self.spread)


class _InputWeights:
    """W⁰, for which ⟨hh⟩ is the kernel of the inputs."""

    def __init__(self, scale, sides):
        self.scale, self.sides = scale, sides

    def apply(self, K_x):
        return _times_each(self.sides, self.scale, self.scale, K_x)


def _times_each(sides, left, right, kernel):
    """left_μ right_ν times the kernel's entries, for coefficients that each row of X has, or all of them together."""
    if left is ALL and right is ALL:
        return kernel
    left, right = (c if len(c) == 1 else c[side] for c, side in zip((left, right), sides))
    return left * right.T * kernel


def _image_average(a, b):
    """Covariance of two images: 0 unless the matrix is the same; an average of the layer above otherwise."""
    if a is None and b is None:
        return 1.0
    if a is None or b is None or a.matrix != b.matrix:
        return 0.0
    known, key = a.argument.layer.image_averages, (id(a.argument), id(b.argument), a.spread is None)
    if key not in known:  # once a pair: with two ways back, as in FA, the work would double at every layer
        kernel = _average(a.argument, b.argument)
        known[key] = (
            kernel if a.spread is None else a.spread(kernel),
            a,
            b,
        )  # the images are held, so that ids stay theirs
    return known[key][0]


def _average(a, b):
    """⟨a_μ b_ν⟩ of two fields of one layer, for rows μ and columns ν of its sides."""
    total = None
    for c, local, image in a.terms:
        for c2, local2, image2 in b.terms:
            images = _image_average(image, image2)
            if np.any(images):
                term = _times_each(a.layer.sides, c, c2, a.layer.local_average(local, local2))
                term = term if image is None else term * images
                total = term if total is None else total + term
    return np.zeros_like(a.layer.below) if total is None else total


@dataclass(frozen=True)
class Kernels:
    """Static kernels at γ₀ → 0: Phi, G, G_tilde and G_tilde_tilde (L, P, P), index 0 is ℓ = 1; K (P, P), the eNTK.

    With C outputs, all but Phi have P·C rows, and with a convolution there are more, as in Dynamics. Where g̃ is g, as under
    gradient descent, G, G_tilde and G_tilde_tilde are one array.
    """

    Phi: np.ndarray
    G: np.ndarray
    G_tilde: np.ndarray
    G_tilde_tilde: np.ndarray
    K: np.ndarray

    def __repr__(self):
        return f"<Kernels: lazy limit, {len(self.Phi)} hidden layers, P {self.Phi.shape[-1]}, K {self.K.shape}>"


def kernels(experiment, Delta=None):
    """Kernels at γ₀ → 0, derived from the rule's formula. gamma0, lr and steps play no part.

    Delta, of the shape of y, is the error, for rules that depend on it: by default its initial value, y for the squared loss.

    Raises TypeError or ValueError, naming the argument, for anything else, and MemoryError for more than this machine holds.
    """
    check_experiment(experiment)
    task = experiment.task
    Delta = (
        experiment.error(0 * task.y)
        if Delta is None
        else finite_array("Delta", Delta, task.y.ndim, "of `y`: one error a target")
    )
    if Delta.shape != task.y.shape:
        raise ValueError(
            f"`Delta` must have the shape {task.y.shape} of `y`; got {Delta.shape}. Pass one error a target."
        )
    return _kernels(experiment, task.X, Delta.reshape(task.P, -1))


def initial(experiment):
    """The state at initialization and infinite width: a Dynamics of one step, exact, to compare networks with."""
    arrays = {name: value[None] for name, value in vars(kernels(experiment)).items()}
    errors = dict(monte_carlo=dict.fromkeys(OBSERVABLES, 0.0))
    provenance = Provenance("lazy", np.inf, 0, "float64", errors=errors)
    return Dynamics(experiment, provenance, np.zeros((1, *experiment.task.y.shape)), **arrays)


class _Block:
    """The layers for some samples, the rows of its kernels, with others, the columns: a symbolic row for each sample, output and position.

    known    Gaussians of the gates' inputs and of h of each layer, for both; empty where rows and columns are the same
    """

    def __init__(self, state, samples, known):
        e, c, scale = state.experiment, state.experiment.convolution, state.scale
        sides = [_times(side, state.C * e.positions) for side in samples]
        X, Y = (state.X[side] for side in sides)
        self.experiment, self.K_x, self.known, known = e, X @ Y.T / X.shape[1], [], iter(known)
        self.top = _Output([side.stop - side.start for side in samples], state.C, sides)
        gap, last = ((), ()) if c is None else ((c.patch_kernel, c.scattered_kernel), (None, c.unpooled_kernel))
        middle = (_Weights(scale, *gap) for _ in range(e.hidden_layers - 1))
        self.weights = [_InputWeights(scale, sides), *middle, _Weights(scale, *last)]

        def know(kernel):
            self.known.append(next(known, None) or [Gaussians(np.diag(kernel))] * 2)
            return self.known[-1]

        inputs = know(self.K_x)

        def layer(_, kernel):
            return _Kernels(e, kernel, self.K_x, self.top.field, sides, (know(kernel), inputs))

        self.layers = forward(self.weights, self.K_x, layer, e.branch)
        self.weights[-1].apply(self.layers[-1].features)
        # Features do not depend on the output: those of the first.
        rows = (np.arange(side.stop - side.start).reshape(-1, state.C, e.positions)[:, 0].ravel() for side in sides)
        self.first = np.ix_(*rows) if state.C > 1 else ...
        self.Phi = np.stack([_average(layer.features, layer.features)[self.first] for layer in self.layers])

    def kernels(self, Delta, K_alone):
        """By name, kernels for the errors (rows, C), and the same of columns with rows; G only where it is not G̃.

        Averages of a layer are made once, whatever the errors.
        """
        e, K_x = self.experiment, self.K_x[self.first]
        for layer in (self.top, *self.layers):
            layer.image_averages.clear()
        g, g_tilde = (
            rows[:-1] for rows in backward(e.rule, self.weights, self.layers, Delta, self.top.field, e.branch)
        )
        average = lambda a, b: np.stack([_average(*fields) for fields in zip(a, b)])  # noqa: E731
        same = all(a is b for a, b in zip(g, g_tilde))  # as those of a gradient
        G_tilde = average(g, g_tilde)
        turned = (G_tilde if same else average(g_tilde, g)).mT
        K = entk(K_x, self.Phi, G_tilde, e.branch, e.convolution)
        found = dict(K=(K, K.T if same else entk(K_x.T, self.Phi.mT, turned, e.branch, e.convolution)))
        if not K_alone:
            found |= dict(Phi=(self.Phi, self.Phi.mT), G_tilde=(G_tilde, turned))
        if not (K_alone or same):
            G, own = average(g, g), average(g_tilde, g_tilde)
            found |= dict(G=(G, G.mT), G_tilde_tilde=(own, own.mT))
        return found

    def forget(self):
        """Fields and layers know each other: else their averages would stay until Python looks for such rings."""
        for layer in (self.top, *self.layers):
            vars(layer).clear()


def _times(side, count):
    return slice(side.start * count, side.stop * count)


class _State:
    """The layers for the rows of X, all weights times `scales`, a number a row of X; by default those at initialization.

    Blocks of kernels are made by as many threads as there are processors, and are kept only if asked.
    """

    def __init__(self, experiment, X, C, scales=None, keep=False):
        self.experiment, self.C, A = experiment, C, experiment.positions
        self.scale = ALL if scales is None else np.repeat(scales, C * A)[:, None]
        rows = np.repeat(X, C, axis=0)
        self.X = rows if experiment.convolution is None else experiment.convolution.inputs(rows)
        samples = max(1, ROWS // (C * A))
        ends = np.linspace(0, len(X), -(-len(X) // samples) + 1).astype(int)
        self.samples = [slice(*pair) for pair in pairwise(ends.tolist())]
        self.known, self.blocks, self.keep = [None] * len(self.samples), {}, keep

    def _block(self, i, j):
        if (i, j) in self.blocks:
            return self.blocks[i, j]
        block = _Block(self, (self.samples[i], self.samples[j]), () if i == j else zip(self.known[i], self.known[j]))
        if i == j:
            self.known[i] = [one for one, _ in block.known]
        if self.keep:
            self.blocks[i, j] = block
        return block

    def _rows(self, name):
        """Rows of a sample in the kernel of this name."""
        return dict(K=self.C, Phi=self.experiment.positions).get(name, self.C * self.experiment.positions)

    def _room(self, names, columns):
        """Arrays for the kernels of these names, K with so many columns. Raises MemoryError if they would not fit this machine."""
        n, L, shapes = self.samples[-1].stop, self.experiment.hidden_layers, {}
        for name in names:
            rows = self._rows(name)
            shapes[name] = (n * rows, columns * rows) if name == "K" else (L, n * rows, n * rows)
        refuse_kernels(8 * sum(map(prod, shapes.values())))
        return {name: np.empty(shape) for name, shape in shapes.items()}

    def kernels(self, Delta, K_alone=False, columns=None):
        """Kernels by name for the errors (rows, C); K alone, of all samples with the first `columns`, if asked."""
        columns, kernels = columns or len(Delta), {}

        def make(pair):
            block = self._block(*pair)
            if any(self.samples[k].start < columns for k in pair):
                found = block.kernels(Delta, K_alone)
                if not kernels:
                    kernels.update(self._room(found, columns))
                for name, both in found.items():
                    for places, values in zip(dict.fromkeys((pair, pair[::-1])), both):
                        rows = (_times(self.samples[k], self._rows(name)) for k in places)
                        block_of_all = kernels[name][(..., *rows)]
                        block_of_all[:] = values[..., : block_of_all.shape[-1]]
            if not self.keep:
                block.forget()

        make((0, 0))  # which makes room for the kernels
        diagonal = [(i, i) for i in range(1, len(self.samples))]
        others = [(i, j) for i, j in combinations(range(len(self.samples)), 2) if self.samples[i].start < columns]
        if diagonal:
            # Products of numpy with threads of their own would wait for each other.
            with (
                ThreadPoolExecutor(getattr(os, "process_cpu_count", os.cpu_count)()) as threads,
                threadpool_limits(1, "blas"),
            ):
                for pairs in (diagonal, others):
                    list(threads.map(make, pairs))
        if not K_alone:
            for name in ("G", "G_tilde_tilde"):
                kernels.setdefault(name, kernels["G_tilde"])
        return kernels


def _kernels(experiment, X, Delta):
    """Kernels for the rows of X and the errors (rows, C)."""
    return Kernels(**_State(experiment, X, Delta.shape[1]).kernels(Delta))


@dataclass(frozen=True)
class Prediction:
    """f (T, P) and f_test (T, P_test) at lr × step; f_test_inf and f_test_undetermined (P_test,). None without test points.

    f_test_inf is the limit of long training with small steps along all directions in which K is known. The averages in
    K are good to c = 1e-9 ‖K‖; a direction of eigenvalue λ is left out by c²/(λ² + c²), as is right for equal inputs
    with different targets (λ = 0: training reaches their mean). f_test_undetermined is the size of what these
    directions add by the time 1/c, and of what the error of K does to the others; what they add later, K does not say.
    Both are NaN where training has no end: outputs grow along an eigenvector of K. Asking for them warns in either case.
    They are None for a rule whose K depends on the error, for other than the squared loss, and with batches or weight decay.

    With C outputs each has a last axis of that length. K (P + P_test, P) is the eNTK of all points with the training points;
    None where it depends on the error, or changes as weights decay.
    """

    times: np.ndarray
    f: np.ndarray
    f_test: np.ndarray | None
    K: np.ndarray | None
    experiment: Experiment

    __repr__, to_xarray, loss = Result.__repr__, Result.to_xarray, Result.loss

    def origin(self):
        """Where it comes from."""
        return dict(engine="lazy limit")

    def stated_errors(self):
        """None: it is exact."""
        return {}

    def _end(self):
        if "limit" not in vars(self):
            squared = self.experiment.loss is LOSSES["squared"] and self.experiment.batches is None
            known = squared and self.f_test is not None and self.K is not None
            vars(self)["limit"] = _limit(self.K, self.experiment.task.y) if known else (None, None)
        return vars(self)["limit"]

    @property
    def f_test_inf(self):
        return self._end()[0]

    @property
    def f_test_undetermined(self):
        return self._end()[1]


def _limit(K, y):
    """Outputs k* K⁻¹ y that f(t+1) = f(t) + η K Δ(t) tends to for small η, and how far they are undetermined.

    K (P + P_test, P) has the rows k* of test points last. For real K the real part of (K + ic)⁻¹ is K (K² + c²)⁻¹, a
    function of K like the limit itself, so that K need not be symmetric; singular vectors bound what is left out.
    """
    P = len(y)
    K, k = K[:P], K[P:]
    c = ACCURACY * np.linalg.norm(K)
    if not c:
        return np.zeros((len(k), *y.shape[1:])), np.zeros((len(k), *y.shape[1:]))
    eigenvalues = (np.linalg.eigvalsh if np.abs(K - K.T).max() <= c else np.linalg.eigvals)(K)
    if eigenvalues.real.min() < -c:
        warn(
            f"K has an eigenvalue of {eigenvalues[eigenvalues.real.argmin()]:.3g}, along which outputs grow for ever: "
            "`f_test_inf` is NaN.",
        )
        return np.full((2, len(k), *y.shape[1:]), np.nan)
    limit = k @ np.linalg.solve(K + 1j * c * np.eye(P), y.astype(complex)).real
    left, size, right = np.linalg.svd(K)
    undetermined = np.abs(k @ right.T) * (c / (size**2 + c**2)) @ np.abs(left.T @ y)
    if undetermined.max() > WORTH_A_WARNING * np.abs(y).max():
        warn(
            f"{np.count_nonzero(np.abs(eigenvalues) < c)} of the {P} eigenvalues of K are below the accuracy of its "
            f"averages, {ACCURACY:g} of its norm, and others are near it. `f_test_inf` leaves these directions out, up to "
            f"{undetermined.max():.2g} at a test point: see `f_test_undetermined`. Are inputs nearly equal?",
        )
    return limit, undetermined


def _between(scales, nodes):
    """Polynomials that are 1 at one of the `nodes` and 0 at the others, at the `scales`: (scales, nodes)."""
    apart = scales[:, None, None] - nodes
    ratios = apart / (nodes[:, None] - nodes + np.eye(len(nodes)))
    ratios[:, np.arange(len(nodes)), np.arange(len(nodes))] = 1.0
    return ratios.prod(axis=2)


def _scales(experiment, X, Delta):
    """Scales of the weights at which K is made, and what makes K of them at each step, (T, scales).

    Raises ValueError if so many do not determine it between them.
    """
    left, count = experiment.left, experiment.hidden_layers + 2
    if experiment.keep is None:
        return np.ones(1), np.ones((len(left), 1))
    largest = np.argsort(-(X**2).sum(axis=1))[:2]  # samples that are looked at: at these φ is the least polynomial
    while True:
        rows = min(count, len(left)) * Delta.size
        if count > MOST_SCALES or rows > MOST_ROWS:
            raise ValueError(
                f"`weight_decay` = {experiment.weight_decay:g} asks for kernels at {min(count, len(left))} scales of the weights, "
                f"{rows} rows of samples, outputs and scales, in the lazy limit; at most {MOST_ROWS} rows and {MOST_SCALES} "
                "scales are made. Use fewer samples or a smaller `weight_decay`."
            )
        if count >= len(left):
            return left, np.eye(len(left))
        nodes = left[-1] + (1 - left[-1]) * (1 - np.cos(np.pi * (np.arange(count) + 0.5) / count)) / 2
        between = (nodes[[0, count // 2]] + nodes[[1, count // 2 - 1]]) / 2
        K = _kernel_at(experiment, X[largest], Delta[largest], np.concatenate([nodes, between]))
        mix = np.kron(_between(between, nodes), np.eye(len(largest) * Delta.shape[1]))
        n = mix.shape[1]
        missed = max(np.abs(K[n:] - mix @ K[:n]).max(), np.abs(K[:, n:] - K[:, :n] @ mix.T).max())
        if missed <= INTERPOLATED * np.abs(K).max():
            return nodes, _between(left, nodes)
        count *= 2


def _at(experiment, X, C, scales, keep=False):
    """The rows of X at each of the scales, in this order."""
    of_rows = None if experiment.keep is None else np.repeat(scales, len(X))
    return _State(experiment, np.tile(X, (len(scales), 1)), C, of_rows, keep)


def _kernel_at(experiment, X, Delta, scales, columns=None):
    """K of the rows of X at each of the scales, in this order."""
    state = _at(experiment, X, Delta.shape[1], scales)
    return state.kernels(np.tile(Delta, (len(scales), 1)), True, columns)["K"]


def predict(experiment):
    """Outputs in the lazy limit under the same discrete steps, f(t+1) = f(t) + η K Δ(t), from f(0) = 0.

    `substeps` are done one by one.

    With weight decay ϑ, f(t) = η Σ_s (1 − ηϑ)^{t−1−s} K(t, s) Δ(s), with kernels of weights at the scales of both steps.

    Raises Diverged when the steps grow without bound (lr·λ_max(K) > 2), ValueError where a weight decay asks for too much,
    MemoryError for a K that exceeds this machine.
    """
    check_experiment(experiment)
    if (m := experiment.substeps) > 1:  # they cost nothing here
        fine = predict(replace(experiment, lr=experiment.lr / m, steps=(experiment.steps - 1) * m + 1, substeps=1))
        f, f_test = (None if f is None else f[::m] for f in (fine.f, fine.f_test))
        return Prediction(fine.times[::m], f, f_test, fine.K, experiment)
    task, P, X = experiment.task, experiment.task.P, experiment.task.X_all
    y = task.y.reshape(P, -1)
    Delta = np.zeros((len(X), y.shape[1]))
    Delta[:P] = experiment.loss.error(y, 0 * y)
    depends_on_error, C = "error" in needs(experiment.rule), y.shape[1]
    Delta = Delta if depends_on_error else Delta[:, :1]  # then outputs have the same kernel and do not mix
    scales, share = _scales(experiment, X, Delta)
    if depends_on_error:
        state = _at(experiment, X, C, scales, keep=True)
    else:
        K = _kernel_at(experiment, X, Delta, scales, P if len(scales) == 1 else None)
        K = K.reshape(len(scales), len(X), len(scales), -1)[..., :P].reshape(len(scales) * len(X), -1)
    keep, masks = experiment.keep or 1.0, experiment.masks
    f, at_scales = np.zeros((experiment.steps, len(X), C)), np.zeros((len(scales), len(X), C))
    for t in range(1, experiment.steps):
        Delta = np.zeros((len(X), C))
        Delta[:P] = experiment.loss.error(y, f[t - 1, :P])
        sent = share[t - 1][:, None, None] * Delta
        if masks is not None:
            sent[:, :P] *= masks[t - 1][:, None]
        if depends_on_error:
            step = state.kernels(np.tile(Delta, (len(scales), 1)), True)["K"] @ sent.ravel()
        else:
            step = K @ sent[:, :P].reshape(-1, C)
        at_scales = keep * at_scales + experiment.lr * step.reshape(at_scales.shape)
        f[t] = (share[t][:, None, None] * at_scales).sum(axis=0)
    f = f.reshape(-1, len(X), *task.y.shape[1:])
    static = not depends_on_error and experiment.keep is None
    check_records(experiment, {"f": f}, K=K[:P] if static else None)
    times = experiment.lr * np.arange(experiment.steps)
    f_test = None if task.X_test is None else f[:, P:]
    return Prediction(times, f[:, :P], f_test, K if static else None, experiment)
