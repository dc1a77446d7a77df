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


def one_experiment(name, runs, each=None):
    """Raise ValueError unless all `runs` are of one experiment: the same settings, rule, data and times.

    `each` are the names of the single runs, by default name[0], name[1], …
    """
    each = each or [f"{name.strip('`')}[{k}]" for k in range(len(runs))]

    def differ(a, b):
        settings = ("rule", "hidden_layers", "phi", "gamma0")
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
