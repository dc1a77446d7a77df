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

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .activations import ACCURACY, gaussian_average
from .experiment import Experiment, check_experiment
from .losses import LOSSES
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
GROUP = 1500  # samples; of more than two groups kernels are made by pairs of groups
MOST_SCALES, MOST_ROWS = 40, 4000  # of weights, and of samples × outputs × scales


@dataclass(frozen=True)
class _Image:
    """A Gaussian field Wᵀv: two images correlate as their arguments do if the matrix is the same."""

    matrix: str
    argument: _Field
    spread: object = None  # of a convolution: makes the kernel of all positions of that of the argument


@dataclass(frozen=True)
class _Field:
    """Sum of terms (coefficient (P, 1), function of h, image or None) in one layer."""

    layer: object
    terms: tuple

    __array_ufunc__ = None  # so that numpy defers array * field to __rmul__

    def __add__(self, other):
        return _Field(self.layer, self.terms + (other.terms if isinstance(other, _Field) else ()))

    def __sub__(self, other):
        return self + (-1.0) * other

    def __mul__(self, other):
        if not isinstance(other, _Field):
            return _Field(self.layer, tuple((c * other, local, image) for c, local, image in self.terms))
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
    return c * c2, combined, image if image is not None else image2


class _Output:
    """What stands above the last hidden layer: each output correlates with itself only."""

    positions = 1

    def __init__(self, P, C):
        self.below, self.image_averages = np.tile(np.eye(C), (P, P)), {}
        self.field = _Field(self, ((np.ones((P * C, 1)), ONE, None),))

    def local_average(self, a, b):
        return self.below


class _Kernels(ReceivingLayer):
    """A hidden layer at γ₀ → 0, its Gaussian preactivations given by the kernel `below` it."""

    def __init__(self, experiment, below, K_x, top):
        self.activation, self.below, self.carried, self.K_x = experiment.phi, below, below, K_x
        self.positions, c = experiment.positions, experiment.convolution
        self.averages, self.image_averages = {}, {}
        for name, local in (("h", H), ("phi", PHI), ("phi_dot", PHI_DOT), ("gate", GATE)):
            setattr(self, name, _Field(self, ((np.ones((len(below), 1)), local, None),)))
        self.fresh_vector = self.image("z", top, c and c.unpooled_kernel)
        self.features, self.gain = experiment.rule.features(self), experiment.rule.gain(self)

    def image(self, matrix, argument, spread=None):
        return _Field(self, ((np.ones((len(self.below), 1)), ONE, _Image(matrix, argument, spread)),))

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
            act, below = self.activation, self.below
            known = {
                (ONE, ONE): lambda: np.ones_like(below),
                (PHI, PHI): lambda: act.phi_phi(below),
                (PHI_DOT, PHI_DOT): lambda: act.dot_dot(below),
                (H, H): lambda: below,
                (GATE, GATE): lambda: act.dot_dot(self.K_x),
                (GATE_H, GATE_H): lambda: act.dot_dot(self.K_x) * below,
            }
            functions = {ONE: np.ones_like, PHI: act.phi, PHI_DOT: act.phi_dot, H: lambda h: h}
            if key in known:
                self.averages[key] = known[key]()
            elif a in functions and b in functions:
                self.averages[key] = gaussian_average(functions[a], functions[b], below)
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
        return self.scale * self.scale.T * (Phi if self.patch is None else self.patch(Phi))

    def transpose(self, v):
        return self.scale * self.transpose_initial(v)

    transpose_recorded = transpose

    def transpose_initial(self, v):
        return self.below.image("W", v, self.spread)

    def transpose_fresh(self, v):
        return self.below.image("fresh", v, self.spread)


class _InputWeights:
    """W⁰, for which ⟨hh⟩ is the kernel of the inputs."""

    def __init__(self, scale):
        self.scale = scale

    def apply(self, X):
        return self.scale * self.scale.T * (X @ X.T / X.shape[1])


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
    """⟨a_μ b_ν⟩ of two fields of one layer, shape (P, P)."""
    total = 0.0
    for c, local, image in a.terms:
        for c2, local2, image2 in b.terms:
            images = _image_average(image, image2)
            if np.any(images):
                total = total + c * c2.T * a.layer.local_average(local, local2) * images
    return total + np.zeros_like(a.layer.below)


@dataclass(frozen=True)
class Kernels:
    """Static kernels at γ₀ → 0: Phi, G, G_tilde and G_tilde_tilde (L, P, P), index 0 is ℓ = 1; K (P, P), the eNTK.

    With C outputs, all but Phi have P·C rows, and with a convolution there are more, as in Dynamics.
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

    Raises TypeError or ValueError, naming the argument, for anything else.
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


class _State:
    """The layers for the rows of X, one symbolic row for each sample and output, with all weights times `scales`, a number a
    row of X; by default those at initialization.
    """

    def __init__(self, experiment, X, C, scales=None):
        c, A, L = experiment.convolution, experiment.positions, experiment.hidden_layers
        scale = np.ones((len(X) * C * A, 1)) if scales is None else np.repeat(scales, C * A)[:, None]
        X, self.top = np.repeat(X, C, axis=0), _Output(len(X), C)
        self.first = np.arange(len(X) * A).reshape(-1, C, A)[:, 0].ravel()  # rows of each sample's first output
        X = X if c is None else c.inputs(X)
        self.rule, self.K_x, self.branch, self.convolution = experiment.rule, X @ X.T / X.shape[1], experiment.branch, c
        gap, last = ((), ()) if c is None else ((c.patch_kernel, c.scattered_kernel), (None, c.unpooled_kernel))
        self.weights = [_InputWeights(scale), *(_Weights(scale, *gap) for _ in range(L - 1)), _Weights(scale, *last)]

        def layer(_, kernel):
            return _Kernels(experiment, kernel, self.K_x, self.top.field)

        self.layers = forward(self.weights, X, layer, self.branch)
        self.weights[-1].apply(self.layers[-1].features)
        self.Phi = [_average(layer.features, layer.features) for layer in self.layers]

    def kernels(self, Delta):
        """Kernels for the errors (rows, C). Averages of a layer are made once, whatever the errors."""
        for layer in (self.top, *self.layers):
            layer.image_averages.clear()
        fields = zip(*backward(self.rule, self.weights, self.layers, Delta, self.top.field, self.branch))
        G, G_tilde, G_tilde_tilde = zip(
            *((_average(g, g), _average(g, g_tilde), _average(g_tilde, g_tilde)) for g, g_tilde in fields)
        )
        G, G_tilde, G_tilde_tilde = (np.stack(k[:-1]) for k in (G, G_tilde, G_tilde_tilde))
        K_x, *Phi = (k[np.ix_(self.first, self.first)] for k in (self.K_x, *self.Phi))
        K = entk(K_x, np.stack(Phi), G_tilde, self.branch, self.convolution)
        return Kernels(np.stack(Phi), G, G_tilde, G_tilde_tilde, K)


def _kernels(experiment, X, Delta):
    """Kernels for the rows of X and the errors (rows, C)."""
    state = _State(experiment, X, Delta.shape[1])
    try:
        return state.kernels(Delta)
    finally:  # fields and layers know each other: else their averages would stay until Python looks for such rings
        for layer in (state.top, *state.layers):
            vars(layer).clear()


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
        K = _scaled(experiment, X[largest], Delta[largest], np.concatenate([nodes, between])).K
        mix = np.kron(_between(between, nodes), np.eye(len(largest) * Delta.shape[1]))
        n = mix.shape[1]
        missed = max(np.abs(K[n:] - mix @ K[:n]).max(), np.abs(K[:, n:] - K[:, :n] @ mix.T).max())
        if missed <= INTERPOLATED * np.abs(K).max():
            return nodes, _between(left, nodes)
        count *= 2


def _scaled(experiment, X, Delta, scales):
    """Kernels for the rows of X at each of the scales, in this order."""
    state = _State(experiment, np.tile(X, (len(scales), 1)), Delta.shape[1], np.repeat(scales, len(X)))
    return state.kernels(np.tile(Delta, (len(scales), 1)))


def _in_groups(experiment, X, Delta, P):
    """K (rows, P), made of the kernels of two groups of samples at a time: of many at once they would take much memory."""
    K = np.empty((len(X), P))
    groups = np.array_split(np.arange(len(X)), -(-len(X) // GROUP))
    for one, other in combinations(groups, 2):
        rows = np.concatenate([one, other])
        known = rows[rows < P]
        K[rows[:, None], known] = _kernels(experiment, X[rows], Delta[rows]).K[:, : len(known)]
    return K


def predict(experiment):
    """Outputs in the lazy limit under the same discrete steps, f(t+1) = f(t) + η K Δ(t), from f(0) = 0.

    `substeps` are done one by one.

    With weight decay ϑ, f(t) = η Σ_s (1 − ηϑ)^{t−1−s} K(t, s) Δ(s), with kernels of weights at the scales of both steps.

    Raises Diverged when the steps grow without bound (lr·λ_max(K) > 2), ValueError where a weight decay asks for too much.
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
        state = _State(experiment, np.tile(X, (len(scales), 1)), C, np.repeat(scales, len(X)))
    elif len(X) > 2 * GROUP and experiment.keep is None:
        K = _in_groups(experiment, X, Delta, P)
    else:
        K = _scaled(experiment, X, Delta, scales).K.reshape(len(scales), len(X), len(scales), len(X))
        K = K[..., :P].reshape(len(scales) * len(X), -1)
    keep, masks = experiment.keep or 1.0, experiment.masks
    f, at_scales = np.zeros((experiment.steps, len(X), C)), np.zeros((len(scales), len(X), C))
    for t in range(1, experiment.steps):
        Delta = np.zeros((len(X), C))
        Delta[:P] = experiment.loss.error(y, f[t - 1, :P])
        sent = share[t - 1][:, None, None] * Delta
        if masks is not None:
            sent[:, :P] *= masks[t - 1][:, None]
        if depends_on_error:
            step = state.kernels(np.tile(Delta, (len(scales), 1))).K @ sent.ravel()
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
