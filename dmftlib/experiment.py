"""What is run: a task, and an experiment on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np

from .activations import Activation, activation_from, computing
from .checks import instance
from .rules import Rule, check_rule, needs

LARGEST = 1e150  # numbers above have squares that overflow
# First row of each sheet of scikit-learn's handwritten digits, and how many rows there are.
SHEETS, DIGITS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667), 1797
MOST_SEEDS = 2**32  # JAX keeps 32 bits of a seed in float32: a larger one would repeat the draws of a smaller one


def _is_masked(value):
    """Whether an array made of it would lose a mask: that of `value`, or of an array in a list of them."""
    if isinstance(value, (list, tuple)):
        return any(_is_masked(part) for part in value if isinstance(part, (list, tuple, np.ma.MaskedArray)))
    return bool(np.ma.is_masked(value))


def _finite_array(name, value, ndim, shape_words):
    """`value` as a read-only float64 array, or an error that names the argument."""
    wrong = f"`{name}` must be an array of numbers of shape {shape_words}; got {type(value).__name__}"
    if _is_masked(value):
        raise ValueError(f"`{name}` has masked entries, whose hidden values would count. Fill them or leave them out.")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{wrong}: {error}") from error
    if array.dtype.kind in "US" and array.size:
        raise TypeError(
            f"{wrong} of dtype {array.dtype}, text such as {str(array.flat[0])!r:.20}. Code it as numbers, two labels for "
            "example as np.where(labels == 'one', 1.0, -1.0)."
        )
    if array.dtype.kind == "O":  # as of tables whose columns have several types
        for place, entry in np.ndenumerate(array):
            if not isinstance(entry, (Real, np.bool_)):
                raise TypeError(
                    f"{wrong} with the entry {entry!r:.40} of type {type(entry).__name__} at {place}. Leave out or fill what "
                    "is missing, and code text as numbers."
                )
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"{wrong} of dtype {array.dtype}. Pass real numbers.")
    array = array.astype(np.float64)
    if array.ndim not in np.atleast_1d(ndim):
        raise ValueError(f"`{name}` must have shape {shape_words}; got shape {array.shape}. Reshape it.")
    bad = ~(np.abs(array) < LARGEST)
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite; got {np.count_nonzero(bad)} entries that are NaN, infinite or above "
            f"{LARGEST:g}. Remove or replace them."
        )
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Task:
    """Training samples and targets, and optional test samples.

    X (P, D) inputs and y (P,) targets, or (P, C) for networks with C outputs; X_test (P_test, D) and y_test, shaped
    like y, are optional. The first layer sees inputs only through `K_x` = X Xᵀ/D, the kernel Φ⁰.

    Raises ValueError or TypeError, naming the argument, for wrong shapes, P = 0 and non-finite entries.
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None

    def __post_init__(self):
        X = _finite_array("X", self.X, 2, "(P, D)")
        if 0 in X.shape:
            raise ValueError(f"`X` must hold at least one sample of at least one dimension; got shape {X.shape}.")
        y = _finite_array("y", self.y, (1, 2), "(P,), or (P, C) with C outputs: one target a sample")
        if y.shape[:1] != X.shape[:1] or not y.size:
            raise ValueError(
                f"`y` must be (P,), or (P, C) for C outputs, with P = {X.shape[0]} rows of `X`; got {y.shape}. Pass one "
                "target a row."
            )
        X_test, y_test = self.X_test, self.y_test
        if X_test is not None:
            X_test = _finite_array("X_test", X_test, 2, "(P_test, D)")
            if X_test.shape[1] != X.shape[1] or not X_test.shape[0]:
                raise ValueError(f"`X_test` must be (P_test, D) with D = {X.shape[1]} as in `X`; got {X_test.shape}.")
        if y_test is not None:
            if X_test is None:
                raise ValueError("`y_test` was given without `X_test`. Pass both, or neither.")
            wanted = (*X_test.shape[:1], *y.shape[1:])
            y_test = _finite_array("y_test", y_test, y.ndim, "(P_test,), or (P_test, C) as `y`")
            if y_test.shape != wanted:
                raise ValueError(f"`y_test` must have shape {wanted}, a target a row of `X_test`; got {y_test.shape}.")
        for name, value in (("X", X), ("y", y), ("X_test", X_test), ("y_test", y_test)):
            object.__setattr__(self, name, value)

    @property
    def P(self):
        """Number of training samples."""
        return self.X.shape[0]

    @property
    def D(self):
        """Input dimension."""
        return self.X.shape[1]

    @property
    def outputs(self):
        """Number C of outputs of a network for this task."""
        return self.y.size // self.P

    @property
    def X_all(self):
        """Training samples, then test samples: (P + P_test, D)."""
        return self.X if self.X_test is None else np.concatenate([self.X, self.X_test])

    @property
    def K_x(self):
        """Input kernel Φ⁰ = X Xᵀ/D, shape (P, P)."""
        return self.X @ self.X.T / self.D

    @classmethod
    def random(cls, P, D, seed=0, P_test=0):
        """x ~ N(0, 1) in D dimensions; the first half of the targets is +1, the second −1."""
        P, D = _whole("P", P, 1), _whole("D", D, 1)
        P_test = _whole("P_test", P_test, 0)
        rng = np.random.default_rng(_seed(seed))
        X, X_test = rng.standard_normal((P, D)), rng.standard_normal((P_test, D))
        y, y_test = (np.where(np.arange(n) < (n + 1) // 2, 1.0, -1.0) for n in (P, P_test))
        return cls(X, y, X_test, y_test) if P_test else cls(X, y)

    @classmethod
    def digits(cls, P, P_test=297, seed=0, targets="parity", split="sheets"):
        """Handwritten digits, 8 × 8 pixels (D = 64): P of the 1797 to train on, P_test others, drawn by `seed`.

        targets   "parity": y (P,), +1 for even digits and −1 for odd ones; "all": y (P, 10), 9/10 for the digit that a row
                  shows and −1/10 for the others, so that rows sum to 0
        split     "sheets": training and test rows come from different sheets; "rows": from any, so that each hand is on
                  both sides

        The rows are not in random order. They are 14 sheets of 122 to 130 rows, one after the other, and on each one
        person copied the same list of 130 digits; a few are lacking. The nearest other row is on the same sheet for more
        than half of them, and a classifier errs about three times more on sheets that it has not seen: a split by rows
        tests it on hands that it knows. By sheets, the share of the 14 that is tested is as near to P_test of P + P_test as
        both numbers allow for whatever sheets are drawn; 1667 and 122 is the most for one sheet to test, 1407 and 371 for
        three.

        Pixels are centred and scaled together, so that the entries of all 1797 rows have mean 0 a pixel and variance 1.
        The data are the test set of Alpaydin & Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998,
        doi:10.24432/C50P49, CC BY 4.0), as scikit-learn carries it.

        Raises ValueError if P and P_test exceed what there is, or for unknown targets or splits.
        """
        from sklearn.datasets import load_digits  # takes a second to import, and only this needs it

        P, P_test = _whole("P", P, 1), _whole("P_test", P_test, 0)
        images, digits = load_digits(return_X_y=True)
        kinds = dict(parity=np.where(digits % 2 == 0, 1.0, -1.0), all=np.eye(10)[digits] - 0.1)
        if P + P_test > len(images):
            raise ValueError(f"`P` + `P_test` must be at most {len(images)} digits; got {P} + {P_test}. Pass fewer.")
        for name, value, known in (("targets", targets, kinds), ("split", split, ("sheets", "rows"))):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}; got {value!r}.")
        X, y = images - images.mean(axis=0), kinds[targets]
        X = X / X.std()
        rng = np.random.default_rng(_seed(seed))
        order = rng.permutation(len(X))
        train, test = order[:P], order[P : P + P_test]
        if split == "sheets":
            tested = rng.permutation(len(SHEETS))[: _tested_sheets(P, P_test)]
            new = np.isin(np.searchsorted(SHEETS, order, side="right") - 1, tested)
            train, test = order[~new][:P], order[new][:P_test]
        return cls(X[train], y[train], X[test], y[test]) if P_test else cls(X[train], y[train])

    @classmethod
    def direction(cls, P, D, P_test=0, seed=0):
        """x ~ N(0, 1) in D dimensions; the target is the sign of the first coordinate, whatever the others are."""
        P, D, P_test = _whole("P", P, 1), _whole("D", D, 1), _whole("P_test", P_test, 0)
        X = np.random.default_rng(_seed(seed)).standard_normal((P + P_test, D))
        y = np.where(X[:, 0] >= 0, 1.0, -1.0)
        return cls(X[:P], y[:P], X[P:], y[P:]) if P_test else cls(X, y)

    @classmethod
    def whitened(cls, y):
        """Orthogonal inputs with K_x = I (P = D = number of targets), for the closed forms."""
        y = _finite_array("y", y, 1, "(P,)")
        return cls(np.sqrt(y.size) * np.eye(y.size), y)

    @classmethod
    def circle(cls, angles, y):
        """Unit-norm inputs (K_x diagonal 1) at the given angles in radians, in a plane."""
        angles = _finite_array("angles", angles, 1, "(P,)")
        return cls(np.sqrt(2.0) * np.stack([np.cos(angles), np.sin(angles)], axis=1), y)


def _tested_sheets(P, P_test):
    """How many of the 14 sheets to test on, so that any such number of them has P_test rows and any others have P."""
    rows = np.concatenate([[0], np.cumsum(np.sort(np.diff([*SHEETS, DIGITS])))])  # that any k sheets have at least
    enough = np.flatnonzero((rows >= P_test) & (rows[::-1] >= P))
    if not enough.size:
        most = rows[::-1][rows >= P_test][0]
        raise ValueError(
            f"`P` must be at most {most} with `P_test` = {P_test}, since whole sheets are tested; got {P}. Pass fewer of "
            'either, or split="rows".'
        )
    return enough[np.argmin(np.abs(enough - len(SHEETS) * P_test / (P + P_test)))]


def _whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"`{name}` must be a whole number, at least {least}; got {value!r}.")
    return int(value)


def _seed(value):
    if _whole("seed", value, 0) >= MOST_SEEDS:
        raise ValueError(f"`seed` must be below 2³² = {MOST_SEEDS}; got {value}. Pass a smaller one.")
    return int(value)


def _positive(name, value, meaning):
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value) or value <= 0:
        raise ValueError(f"`{name}` ({meaning}) must be a finite number above 0; got {value!r}.")
    return float(value)


def _check_gate(rule, activation):
    """Raise ValueError if φ̇ of the activation cannot serve as a gate: it is zero wherever one looks."""
    with computing("float32"):
        gate = np.asarray(activation.phi_dot(np.float32([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0])))
    if not gate.any():
        raise ValueError(
            f"`activation` {activation.name!r} has no gate for the rule {rule!r}: its derivative φ̇ is 0 everywhere, so no "
            'gate would ever open. Gated rules need one that is not zero, such as "relu" or "tanh"; or pass `phi_dot` to '
            "Activation."
        )


@dataclass(frozen=True, eq=False)
class Experiment:
    """One learning rule on one task: what every engine runs.

    task           the data
    rule           a Rule object: GD(), or your own
    hidden_layers  L ≥ 1
    activation     "relu" (√2 max(h, 0)), "tanh", "erf", "linear", or an Activation
    gamma0         richness γ₀ > 0; for the limit γ₀ → 0 use the `lazy` engine
    lr             step size η > 0 of gradient descent on ℒ = ½ Σ_μ (y_μ − f_μ)²
    steps          T ≥ 1 recorded states; entry t is the state before update t

    Raises ValueError or TypeError, naming the argument, what arrived and what is expected.
    """

    task: Task
    rule: Rule
    hidden_layers: int
    activation: str | Activation
    gamma0: float
    lr: float
    steps: int
    phi: Activation = field(init=False, repr=False)

    def __post_init__(self):
        if not isinstance(self.task, Task):
            raise TypeError(
                f"`task` must be a dmftlib.Task; got {type(self.task).__name__}. Build one with Task(X, y)."
            )
        layers = _whole("hidden_layers", self.hidden_layers, 1)
        values = dict(
            phi=activation_from(self.activation),
            hidden_layers=layers,
            gamma0=_positive("gamma0", self.gamma0, "richness; the lazy limit 0 has its own engine, dmftlib.lazy"),
            lr=_positive("lr", self.lr, "step size"),
            steps=_whole("steps", self.steps, 1),
        )
        check_rule(self.rule)
        if "gate" in needs(self.rule):
            _check_gate(self.rule, values["phi"])
        for name, value in values.items():
            object.__setattr__(self, name, value)


def check_experiment(value):
    """Raise TypeError unless `value` is an Experiment."""
    instance("experiment", value, Experiment, "Build one with Experiment(task, rule, hidden_layers, activation, …).")
