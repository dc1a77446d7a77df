"""Checks of results that are passed on, to `compare`, `average` and the like; tasks and experiments check themselves."""

from __future__ import annotations

import numpy as np


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


def one_experiment(name, runs):
    """Raise ValueError unless all `runs` are of one experiment: the same settings, rule and data."""

    def differ(a, b):
        settings = ("rule", "hidden_layers", "phi", "gamma0", "lr", "steps")
        changed = [setting for setting in settings if getattr(a, setting) != getattr(b, setting)]
        same_data = np.array_equal(a.task.X_all, b.task.X_all) and np.array_equal(a.task.y, b.task.y)
        return changed + ([] if same_data else ["task"])

    for k, run in enumerate(runs):
        if changed := differ(runs[0].experiment, run.experiment):
            raise ValueError(
                f"`{name}` must be of one experiment; {name}[0] and {name}[{k}] differ in {', '.join(changed)}. "
                "Average or extrapolate each experiment by itself."
            )
        if not np.array_equal(runs[0].kernels_at, run.kernels_at):
            raise ValueError(
                f"`{name}` must have kernels of the same steps; {name}[0] has those of {runs[0].kernels_at.tolist()}, "
                f"{name}[{k}] of {run.kernels_at.tolist()}. Run them with one `kernels_at`."
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
