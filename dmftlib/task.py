"""The data: training and test samples, and data sets that come with the library."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, replace

import numpy as np

from .stability import warn
from .validate import check_dense, checked_seed, finite_array, whole

LEAST_SCALE, MOST_SCALE = 1 / 30, 10.0  # of the mean square of the inputs: beyond, a warning says how to rescale
MOST_TARGET = 1000.0  # of the mean square of the targets
SCALES = ("standardize", "pixels", "unit_norm")

# First row of each sheet of scikit-learn's handwritten digits, and how many rows there are.
SHEETS, DIGITS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667), 1797


@dataclass(frozen=True, eq=False)
class Scaling:
    """What a Task does to raw samples: (x − shift)/divide, then perhaps unit norm, then perhaps a constant input 1.

    shift, divide (D,) are those of the training samples; divide is infinite for an input that is constant there, which is then
    left out. Targets become (y − y_shift)/y_divide.
    """

    shift: np.ndarray
    divide: np.ndarray
    unit_norm: bool
    bias: bool
    y_shift: np.ndarray
    y_divide: np.ndarray

    @classmethod
    def of(cls, X, y, scale, bias, scale_y):
        """The scaling of training samples X (P, D) and targets y."""
        if scale not in (None, *SCALES):
            raise ValueError(f"`scale` must be one of {', '.join(map(repr, SCALES))}, or None; got {scale!r}.")
        for name, value in (("bias", bias), ("scale_y", scale_y)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"`{name}` must be True or False; got {value!r}.")
        shift, divide = np.zeros(X.shape[1]), np.ones(X.shape[1])
        if scale in ("standardize", "pixels"):
            shift = X.mean(axis=0)
            size = X.std(axis=0) if scale == "standardize" else np.sqrt(((X - shift) ** 2).mean())
            divide = np.where(np.ptp(X, axis=0) == 0, np.inf, size)
        y_shift, y_divide = np.zeros(y.shape[1:]), np.ones(y.shape[1:])
        if scale_y:
            y_shift, y_divide = y.mean(axis=0), np.where(np.ptp(y, axis=0) == 0, 1.0, y.std(axis=0))
        return cls(shift, divide, scale == "unit_norm", bool(bias), y_shift, y_divide)

    def inputs(self, X):
        """Raw inputs (P, D), scaled."""
        X = (X - self.shift) / self.divide
        if self.unit_norm:
            norms = np.sqrt((X**2).mean(axis=1, keepdims=True))
            X = X / np.where(norms == 0, 1.0, norms)
        return np.column_stack([X, np.ones(len(X))]) if self.bias else X

    def raw_inputs(self, X):
        """Scaled inputs, back in their units, unless each sample was scaled by itself."""
        return self.shift + np.where(np.isinf(self.divide), 0.0, self.divide) * X[:, : len(self.shift)]

    def targets(self, y):
        """Raw targets, scaled."""
        return (y - self.y_shift) / self.y_divide

    def raw_targets(self, f):
        """Outputs in the units of raw targets."""
        return self.y_shift + self.y_divide * f


@dataclass(frozen=True, eq=False)
class Task:
    """Training samples and targets, and optional test samples.

    X (P, D) inputs and y (P,) targets, or (P, C) for networks with C outputs; X_test (P_test, D) and y_test, shaped
    like y, are optional. Arrays, lists, data frames and series of real numbers or of True and False will do; images (P, height,
    width) and the like are flattened, a row a sample, and `sample_shape` is that of one. The first layer sees inputs only through
    `K_x` = X Xᵀ/D, the kernel Φ⁰. `classes` are names of classes, from `from_labels`.

    scale     "standardize": each input gets mean 0 and variance 1; "pixels": mean 0, and all inputs together variance 1;
              "unit_norm": each sample gets mean square 1
    bias      append an input that is always 1, which acts as a bias of the first layer
    scale_y   targets get mean 0 and variance 1; `decode` undoes it in outputs

    Means and variances are those of the training samples. The task remembers them as `scaling`, so that test samples, and
    those of `with_test` and `predict`, are passed as they come. X and y are the scaled ones. Test tables must have the
    columns of a training table, in their order; an array without names is taken to be in that order.

    Raises ValueError or TypeError, naming the argument, for wrong shapes, P = 0, missing or non-finite entries, masked,
    sparse and complex data. Warns where the mean square of inputs is far from 1, or that of targets far above, and where
    test samples are so large or so small that they seem to be in other units.
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    classes: tuple | None = None
    scale: InitVar[str | None] = None
    bias: InitVar[bool] = False
    scale_y: InitVar[bool] = False
    scaling: Scaling | None = field(default=None, kw_only=True)  # that X, y and the like have gone through
    columns: tuple | None = field(default=None, kw_only=True)  # names of the inputs, of a data frame
    targets: tuple | None = field(default=None, kw_only=True)  # and of the targets
    rows: tuple | None = field(default=None, kw_only=True)  # and of its samples
    rows_test: tuple | None = field(default=None, kw_only=True)
    sample_shape: tuple | None = field(default=None, kw_only=True)  # of one sample, where it was no row

    def __post_init__(self, scale, bias, scale_y):
        for name, table in (("columns", self.X), ("targets", self.y)):
            if hasattr(table, "columns"):
                object.__setattr__(self, name, tuple(map(str, table.columns)))
        for name, table in (("rows", self.X), ("rows_test", self.X_test)):
            if hasattr(table, "columns"):
                object.__setattr__(self, name, _row_names(table))
        self._check_columns(self.X_test, self.y_test)
        _check_rows("y", self.X, self.y)
        _check_rows("y_test", self.X_test, self.y_test)
        X, shape = _samples("X", self.X, "(P, D), or (P, height, width)")
        if self.sample_shape is None:
            object.__setattr__(self, "sample_shape", shape)
        if 0 in X.shape:
            raise ValueError(f"`X` must hold at least one sample of at least one dimension; got shape {X.shape}.")
        y = finite_array("y", self.y, (1, 2), "(P,), or (P, C) with C outputs: one target a sample")
        if y.shape[:1] != X.shape[:1] or not y.size:
            raise ValueError(
                f"`y` must be (P,), or (P, C) for C outputs, with P = {X.shape[0]} rows of `X`; got {y.shape}. Pass one "
                "target a row."
            )
        X_test, y_test = self.X_test, self.y_test
        if X_test is not None:
            X_test = self._test_samples(X_test, X.shape[1], " as in `X`")
        if y_test is not None:
            if X_test is None:
                raise ValueError("`y_test` was given without `X_test`. Pass both, or neither.")
            wanted = (*X_test.shape[:1], *y.shape[1:])
            y_test = finite_array("y_test", y_test, y.ndim, "(P_test,), or (P_test, C) as `y`")
            if y_test.shape != wanted:
                raise ValueError(f"`y_test` must have shape {wanted}, a target a row of `X_test`; got {y_test.shape}.")
        if scale is not None or bias or scale_y:
            scaling = Scaling.of(X, y, scale, bias, scale_y)
            X, y = scaling.inputs(X), scaling.targets(y)
            for name, values in (("X", X), ("y", y)):
                if not values.any():
                    raise ValueError(f"`{name}` is the same for all samples: nothing is left of it once it is scaled.")
            X_test = None if X_test is None else scaling.inputs(X_test)
            y_test = None if y_test is None else scaling.targets(y_test)
            object.__setattr__(self, "scaling", scaling)
        for name, value in (("X", X), ("y", y), ("X_test", X_test), ("y_test", y_test)):
            if value is not None:
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        self._warn_of_scales()

    def _check_columns(self, X_test, y_test):
        for name, known, table in (("X", self.columns, X_test), ("y", self.targets, y_test)):
            found = tuple(map(str, getattr(table, "columns", known or ())))
            if known is not None and found != known:
                raise ValueError(
                    f"`{name}_test` must have the columns of `{name}`, {list(known)}, in this order; got {list(found)}."
                )

    def _test_samples(self, X_test, D, words):
        """Test samples as an array (P_test, D). Raises ValueError unless they are shaped as the training samples."""
        X_test, shape = _samples("X_test", X_test, "(P_test, D)")
        if X_test.shape[1:] != (D,) or not len(X_test) or (self.sample_shape and shape and shape != self.sample_shape):
            wanted = "D = " + (f"{' × '.join(map(str, self.sample_shape))} = " if self.sample_shape else "") + str(D)
            raise ValueError(
                f"`X_test` must be (P_test, D) with {wanted}{words}; got {(len(X_test), *(shape or X_test.shape[1:]))}. A "
                "single sample x is x[None]."
            )
        return X_test

    def _warn_of_scales(self):
        size, tested = ((rows**2).mean() if rows is not None else 0.0 for rows in (self.X, self.X_test))
        if size and not LEAST_SCALE <= size <= MOST_SCALE:
            warn(
                f"`X` has a mean square of {size:.3g}, and so have the first preactivations: large ones saturate, small ones "
                'learn slowly. Scale the inputs to about 1: scale="standardize" does, or "pixels" for images.'
            )
        elif tested > MOST_SCALE * size > 0:
            scaled = "" if self.scaling is None else ", scaled as `X` was"
            warn(
                f"`X_test` has a mean square of {tested:.3g}{scaled}, `X` one of {size:.3g}. Pass both in the same units."
            )
        elif tested and not (self.scaling and self.scaling.unit_norm):
            raw = [(rows if self.scaling is None else self.scaling.raw_inputs(rows)) for rows in (self.X, self.X_test)]
            least, most = (f((rows**2).mean(axis=1)) for f, rows in zip((np.min, np.max), raw))
            if 0 < MOST_SCALE**2 * most < least:
                warn(
                    f"`X_test` has mean squares of {most:.3g} at most, samples of `X` of {least:.3g} at least. "
                    "Pass both in the same units."
                )
        if (size := (self.y**2).sum() / self.P) > MOST_TARGET:
            warn(
                f"`y` has a mean square of {size:.3g}. Features learn the more the larger γ₀·y is. Scale the targets to "
                "about 1: scale_y=True does, and `decode` returns outputs in their own units."
            )

    def with_test(self, X_test, y_test=None):
        """The task with other test samples (P_test, D), as they come: scaled here if the task scales its own.

        y_test are targets as they come or, of a task with classes, labels.
        """
        self._check_columns(X_test, None if self.classes else y_test)
        if self.classes is not None and y_test is not None:
            taught, first = np.unique(self.decode(self.y), return_index=True)
            y_test = _coded("y_test", y_test, X_test, taught, self.y[first])
        else:
            _check_rows("y_test", X_test, y_test)
            if self.scaling is not None and y_test is not None:
                y_test = self.scaling.targets(finite_array("y_test", y_test, self.y.ndim, "of `y`"))
        rows = _row_names(X_test) if hasattr(X_test, "columns") else None
        if self.scaling is not None:
            X_test = self._test_samples(X_test, len(self.scaling.shift), ", inputs before they are scaled")
            X_test = self.scaling.inputs(X_test)
        return replace(self, X_test=X_test, y_test=y_test, rows_test=rows)

    def __repr__(self):
        names = ", ".join(map(repr, self.classes or ()))
        sizes = f" ({' × '.join(map(str, self.sample_shape))} a sample, flattened)" if self.sample_shape else ""
        parts = [f"P {self.P}", f"D {self.D}{sizes}", *([] if self.X_test is None else [f"P_test {len(self.X_test)}"])]
        parts += [f"{self.outputs} outputs"] if self.outputs > 1 else []
        parts += [f"classes {names if len(names) < 60 else f'{names:.50}…'}"] if names else []
        return f"<Task: {', '.join(parts)}>"

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
    def from_labels(cls, X, labels, X_test=None, labels_test=None, scale=None, bias=False):
        """A classification task: labels (P,) or (P, 1) are numbers, True and False, or text, two or more different ones.

        Of two classes, in sorted order, the first is coded as −1, the second as +1; of C > 2 each is one output, 1 − 1/C for
        its own samples and −1/C for the others. `classes` keeps their names, and `decode` returns them. `scale` and `bias` are
        those of Task.

        Raises ValueError for fewer than two classes, more than half of the samples (numbers that are no classes),
        missing labels, and test labels that were not taught.
        """
        labels = _labels("labels", labels, X)
        classes, index = np.unique(labels, return_inverse=True)
        C = len(classes)
        if C < 2 or C > max(2, len(labels) / 2):
            raise ValueError(
                f"`labels` must hold at least two classes, with two samples each on average; got {C} different labels of "
                f"{len(labels)} samples. Pass one label a row; numbers that are no classes go into Task(X, y), samples each of its own "
                "class into Task(X, np.eye(P) - 1 / P, classes=tuple(labels))."
            )
        codes = np.array([-1.0, 1.0]) if C == 2 else np.eye(C) - 1 / C
        y_test = None
        if labels_test is not None:
            y_test = _coded("labels_test", labels_test, X_test, classes, codes)
        return cls(X, codes[index], X_test, y_test, tuple(classes.tolist()), scale, bias)

    def decode(self, f):
        """Names of the classes that outputs f (…,), or (…, C), stand for: the nearest code. Shape (…,).

        Without classes, outputs in the units of the targets as they were passed.
        """
        f = np.asarray(f)
        if self.classes is None:
            return f if self.scaling is None else self.scaling.raw_targets(f)
        return np.array(self.classes)[(f > 0).astype(int) if self.outputs == 1 else f.argmax(axis=-1)]

    @classmethod
    def random(cls, P, D, seed=0, P_test=0):
        """x ~ N(0, 1) in D dimensions; the first half of the targets is +1, the second −1."""
        P, D = whole("P", P, 1), whole("D", D, 1)
        P_test = whole("P_test", P_test, 0)
        rng = np.random.default_rng(checked_seed(seed))
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

        P, P_test = whole("P", P, 1), whole("P_test", P_test, 0)
        images, digits = load_digits(return_X_y=True)
        kinds = dict(parity=np.where(digits % 2 == 0, 1.0, -1.0), all=np.eye(10)[digits] - 0.1)
        if P + P_test > len(images):
            raise ValueError(f"`P` + `P_test` must be at most {len(images)} digits; got {P} + {P_test}. Pass fewer.")
        for name, value, known in (("targets", targets, kinds), ("split", split, ("sheets", "rows"))):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}; got {value!r}.")
        X, y = images - images.mean(axis=0), kinds[targets]
        X = X / X.std()
        rng = np.random.default_rng(checked_seed(seed))
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
        P, D, P_test = whole("P", P, 1), whole("D", D, 1), whole("P_test", P_test, 0)
        X = np.random.default_rng(checked_seed(seed)).standard_normal((P + P_test, D))
        y = np.where(X[:, 0] >= 0, 1.0, -1.0)
        return cls(X[:P], y[:P], X[P:], y[P:]) if P_test else cls(X, y)

    @classmethod
    def whitened(cls, y):
        """Orthogonal inputs with K_x = I (P = D = number of targets), for the closed forms."""
        y = finite_array("y", y, 1, "(P,)")
        return cls(np.sqrt(y.size) * np.eye(y.size), y)

    @classmethod
    def circle(cls, angles, y):
        """Unit-norm inputs (K_x diagonal 1) at the given angles in radians, in a plane."""
        angles = finite_array("angles", angles, 1, "(P,)")
        return cls(np.sqrt(2.0) * np.stack([np.cos(angles), np.sin(angles)], axis=1), y)


def _samples(name, value, shape_words):
    """Inputs as an array (samples, entries), and the shape of one where it is no row."""
    array = finite_array(name, value, range(1, 33), shape_words)
    if array.ndim == 1:
        raise ValueError(
            f"`{name}` must have shape {shape_words}; got shape {array.shape}. A single sample x is x[None], of a table "
            "table.iloc[[k]]; a single input of all samples is x[:, None], of a table table[[name]]."
        )
    return array.reshape(len(array), -1) if array.size else array, array.shape[1:] if array.ndim > 2 else None


def _check_rows(name, X, y):
    """Raise ValueError where two tables have the same rows in another order."""
    one, other = (getattr(table, "index", None) for table in (X, y))
    if not hasattr(one, "equals") or not hasattr(other, "equals") or one.equals(other):
        return
    if len(one) == len(other) and set(one) == set(other):
        raise ValueError(f"`{name}` has the rows of the inputs in another order. Pass {name}.loc[inputs.index].")


def _row_names(table):
    """Names of the rows of a data frame: numbers and text as they are, others as text; None where it has none."""
    if not hasattr(table, "index"):
        return None
    return tuple(name if isinstance(name, (int, str)) else str(name) for name in table.index.tolist())


def _labels(name, value, X):
    """Labels of the rows of X as an array (P,) of one type. Raises ValueError or TypeError, naming the argument."""
    _check_rows(name, X, value)
    check_dense(name, value)
    # Of a list of text and missing entries numpy would make text.
    array = np.asarray(value, object if isinstance(value, (list, tuple)) else None)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise ValueError(
            f"`{name}` must be (P,) or (P, 1), one label a row; got shape {array.shape}. Several targets a "
            "row go into Task(X, y); of one-hot rows pass their argmax(axis=1)."
        )
    rows = X.shape[0] if hasattr(X, "shape") else len(X) if hasattr(X, "__len__") else len(array)
    if rows != len(array):
        raise ValueError(f"`{name}` must be one label a row, {rows}; got {len(array)}.")
    entries = [entry.item() if isinstance(entry, np.generic) else entry for entry in array.tolist()]
    kinds = {"NaN" if isinstance(entry, float) and entry != entry else type(entry).__name__ for entry in entries}
    if kinds not in ({"str"}, {"bool"}, {"int"}, {"float"}, {"int", "float"}):
        raise TypeError(
            f"`{name}` must be all text, all numbers or all booleans, none missing; got {', '.join(sorted(kinds)) or 'none'}. "
            "Leave out or fill rows without a label, and code others as text."
        )
    return np.array(entries)


def _coded(name, labels, X, classes, codes):
    """Codes of the labels of the rows of X; `codes` are those of `classes`, which are sorted."""
    labels = _labels(name, labels, X)
    if unknown := sorted(set(labels.tolist()) - set(classes.tolist())):
        raise ValueError(
            f"`{name}` has {unknown[0]!r}, which is no label of the training samples: {classes.tolist()!r:.60}. Leave out "
            "such rows."
        )
    return codes[np.searchsorted(classes, labels)]


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
