"""Checks of what users pass: each error names the argument, what arrived, what is expected and the fix."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

LARGEST = 1e150  # numbers above have squares that overflow


def is_masked(value):
    """Whether an array made of it would lose a mask: that of `value`, or of an array in a list of them."""
    if isinstance(value, (list, tuple)):
        return any(is_masked(part) for part in value if isinstance(part, (list, tuple, np.ma.MaskedArray)))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def check_dense(name, value):
    """Raise ValueError or TypeError, naming the argument, for what numpy would make an array of that it is not."""
    if is_masked(value):
        raise ValueError(f"`{name}` has masked entries, whose hidden values would count. Fill them or leave them out.")
    if hasattr(value, "toarray"):
        raise TypeError(
            f"`{name}` must be an array; got {type(value).__name__}, which is sparse. Pass {name}.toarray()."
        )


def finite_array(name, value, ndim, shape_words):
    """`value` as a read-only float64 array, or an error that names the argument."""
    wrong = f"`{name}` must be an array of numbers of shape {shape_words}; got {type(value).__name__}"
    check_dense(name, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{wrong}: {error}") from error
    if array.dtype.kind in "US" and array.size:
        raise TypeError(
            f"{wrong} of dtype {array.dtype}, text such as {str(array.flat[0])!r:.20}. Code it as numbers; "
            "Task.from_labels does so with class labels."
        )
    if array.dtype.kind == "O":  # as of tables whose columns have several types
        for place, entry in np.ndenumerate(array):
            if not isinstance(entry, (Real, np.bool_)):
                if hasattr(value, "columns"):
                    place = f"row {place[0]}, column {str(value.columns[place[1]])!r}"
                raise TypeError(
                    f"{wrong} with the entry {entry!r:.40} of type {type(entry).__name__} at {place}. Leave out or fill what "
                    "is missing, and code text and dates as numbers, text such as with pandas.get_dummies."
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


def whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"`{name}` must be a whole number, at least {least}; got {value!r}.")
    return int(value)


def checked_seed(value):
    return int(whole("seed", value, 0))


def positive(name, value, meaning):
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value) or value <= 0:
        raise ValueError(f"`{name}` ({meaning}) must be a finite number above 0; got {value!r}.")
    return float(value)


def number(name, value, meaning):
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value) or value < 0:
        raise ValueError(f"`{name}` ({meaning}) must be a finite number, at least 0; got {value!r}.")
    return float(value)


def checked_batches(value, P):
    """Batches as an Experiment keeps them, or None. Raises ValueError, naming the argument, unless each has some of P samples."""
    if value is None:
        return None
    fix = f"Pass lists of whole numbers from 0 to {P - 1}, one a step, such as dmftlib.batches({P}, size, steps, seed)."
    try:
        found = [np.asarray(batch) for batch in value]
    except (TypeError, ValueError):
        raise ValueError(f"`batches` must be lists of samples, or None; got {value!r:.80}. {fix}") from None
    if not found:
        raise ValueError(f"`batches` must have one batch at least; got none. {fix}")
    for k, batch in enumerate(found):
        if batch.ndim != 1 or not batch.size or batch.dtype.kind not in "iu":
            raise ValueError(f"`batches[{k}]` must be a list of samples; got {batch.tolist()!r:.80}. {fix}")
        if batch.min() < 0 or batch.max() >= P:
            raise ValueError(f"`batches[{k}]` must have samples from 0 to {P - 1}; got {batch.tolist()!r:.80}. {fix}")
        if len(set(batch.tolist())) < batch.size:
            raise ValueError(f"`batches[{k}]` must have each sample once; got {batch.tolist()!r:.80}. {fix}")
    return tuple(tuple(sorted(batch.tolist())) for batch in found)


def check_dtype(dtype):
    """Raise ValueError unless dtype is "float64" or "float32", as text: an equal dtype object is another key."""
    if not isinstance(dtype, str) or dtype not in ("float64", "float32"):
        raise ValueError(f'`dtype` must be "float64" or "float32", as text; got {dtype!r}.')


def check_steps(name, steps, T, least=1):
    """Steps (T',) of a run of T steps, rising, `least` or more, or None for all. Raises ValueError, naming the argument."""
    if steps is None:
        return None
    array = np.asarray(steps, None if np.size(steps) else int)
    if array.ndim != 1 or array.size < least or array.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must be a list of whole numbers, such as (0, {T - 1}), or None; got {steps!r}.")
    if array.size and (array[0] < 0 or array[-1] >= T or (np.diff(array) <= 0).any()):
        raise ValueError(f"`{name}` must rise, from 0 or later to {T - 1} (`steps` − 1) at most; got {array.tolist()}.")
    return array


def instance(name, value, kind, fix):
    """`value` itself. Raises TypeError unless it is a `kind`; `fix` says how to get one."""
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be a dmftlib {kind.__name__}; got {type(value).__name__}. {fix}")
    return value


def listed(name, values, kind, fix):
    """`values` as a list, which may be empty. Raises TypeError unless it holds `kind` only; `fix` says how to get one."""
    try:
        found = list(values)
    except TypeError:
        raise TypeError(f"`{name}` must be a list of {kind.__name__} objects; got {type(values).__name__}.") from None
    for k, value in enumerate(found):
        instance(f"{name}[{k}]", value, kind, fix)
    return found


def one_experiment(name, runs, each=None):
    """Raise ValueError unless all `runs` are of one experiment: the same settings, rule, data and times.

    `each` are the names of the single runs, by default name[0], name[1], …
    """
    each = each or [f"{name.strip('`')}[{k}]" for k in range(len(runs))]

    def differ(a, b):
        settings = ["rule", "hidden_layers", "phi", "gamma0", "weight_decay", "batches", "residual", "convolution"]
        settings += [] if a.continuous or b.continuous else ["substeps"]
        changed = [x for x in settings if getattr(a.experiment, x) != getattr(b.experiment, x)]
        if len(a.times) != len(b.times):
            changed.append("steps")
        elif not np.allclose(a.times, b.times, rtol=1e-12, atol=0):
            changed.append("lr")
        a, b = a.experiment.task, b.experiment.task
        same_data = np.array_equal(a.X_all, b.X_all) and np.array_equal(a.y, b.y)
        return changed + ([] if same_data else ["task"])

    def recorded(run):
        return None if len(run.K) == len(run.f) else run.kernels_at.tolist()

    for k, run in enumerate(runs):
        if changed := differ(runs[0], run):
            raise ValueError(
                f"{name} must be of one experiment; {each[0]} and {each[k]} differ in {', '.join(changed)}. "
                "Compare, average or extrapolate each experiment by itself."
            )
        if (first := recorded(runs[0])) != (other := recorded(run)):
            raise ValueError(
                f"{name} must have kernels of the same steps; {each[0]} has those of {first or 'all'}, {each[k]} of "
                f"{other or 'all'}. Run them with one `kernels_at`."
            )


def pair(name, value):
    """`value` as two numbers, (mean, standard error). Raises ValueError."""
    try:
        mean, error = (float(number) for number in value)
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be (mean, standard error), two numbers; got {value!r}. figures.mean_and_error makes one."
        ) from None
    return mean, error
