"""Test error of the rules from lazy to rich, on tasks with test points: the measurements of the chapter `beyond`.

One `Point` is one measurement, a function of its fields alone, so that a grid of them can be made in any order.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.resources import files
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas

from dmftlib import DFA, FA, GD, GLN, Experiment, Hebb, Rule, Task, lazy, meanfield, network
from dmftlib.stability import largest_eigenvalue

LEVEL = 0.1  # rules are compared when the training loss has come down to this; it starts at 1
STEPS, LAZY_STEPS = 80, 2000
LAYERS, ACTIVATION, TOL = 2, "tanh", 3e-2
DIMENSION = 32  # inputs of the task "direction", one of which matters


class _Entry(NamedTuple):
    """A rule, and how much smaller its steps are: kernels of the last two of `RULES` grow most, Hebb's with its errors."""

    rule: Rule
    caution: float = 1.0


RULES = dict(GD=_Entry(GD()), FA=_Entry(FA(0.0)), DFA=_Entry(DFA()), GLN=_Entry(GLN(), 0.5), Hebb=_Entry(Hebb(), 0.3))
TASKS = {
    "digits": Task.digits,
    "digits-rows": partial(Task.digits, split="rows"),
    "direction": lambda P, P_test, draw: Task.direction(P, DIMENSION, P_test, draw),
}
SHARES = {"digits": 0.6, "digits-rows": 0.6, "direction": 0.2}  # lr·λ_max of the lazy kernel, times (1 + γ₀)²


@dataclass(frozen=True)
class Outcome:
    """Test error ⟨(y − f)²⟩ and share of right answers at two moments, and when the first was.

    error, accuracy  when the training loss has come down to `level`, NaN if it never does
    step             of that moment, a real number: between two steps the logarithm of the loss is a straight line
    last_error, last_accuracy, last_loss  of the last step
    """

    error: float
    accuracy: float
    step: float
    last_error: float
    last_accuracy: float
    last_loss: float


def outcome(run, task, level=LEVEL):
    """The Outcome of a run with test points, of any engine, on its task.

    Targets, training and test together, take two values, whatever these are. An answer is right if the output lies nearer
    to its target than to the other value.

    Raises ValueError for a task without test points or their targets, for targets with more or fewer than two values,
    and for a level that is not positive.
    """
    if task.y_test is None or run.f_test is None:
        raise ValueError(
            "`task` must have `X_test` and `y_test`, or there is no test error; got none. Pass P_test > 0."
        )
    values = np.unique(np.concatenate([task.y, task.y_test]))
    if len(values) != 2:
        raise ValueError(
            f"`task` must have targets with two values, or no answer is right or wrong; got {len(values)} values. For "
            "others take the test error alone, ((run.f_test - task.y_test) ** 2).mean(axis=1)."
        )
    if not level > 0:
        raise ValueError(f"`level` must be a training loss above 0; got {level!r}.")
    loss, error = (((f - y) ** 2).mean(axis=1) for f, y in ((run.f, task.y), (run.f_test, task.y_test)))
    middle = values.mean()
    accuracy = (np.sign(run.f_test - middle) == np.sign(task.y_test - middle)).mean(axis=1)
    last = float(error[-1]), float(accuracy[-1]), float(loss[-1])
    if not (loss <= level).any():
        return Outcome(np.nan, np.nan, np.nan, *last)
    after = int(np.argmax(loss <= level))
    before = max(after - 1, 0)
    share = np.log(loss[before] / level) / np.log(loss[before] / loss[after]) if after else 0.0
    between = lambda values: float(values[before] + share * (values[after] - values[before]))  # noqa: E731
    return Outcome(between(error), between(accuracy), float(before + share), *last)


def experiment(task, rule, gamma0, share, steps=STEPS, hidden_layers=LAYERS, activation=ACTIVATION):
    """An Experiment whose step is `share` / ((1 + γ₀)² λ_max) of the rule's lazy kernel.

    γ₀ = 0 sets the step for the lazy engine, which does not look at the Experiment's own γ₀; that is 1 then.
    """
    one = Experiment(task, rule, hidden_layers, activation, gamma0 or 1.0, 1.0, steps)
    return replace(one, lr=share / (1 + gamma0) ** 2 / largest_eigenvalue(lazy.kernels(one).K))


@dataclass(frozen=True)
class Point:
    """One measurement.

    task, P, P_test, draw  name in TASKS, training and test samples, seed of the data
    rule, gamma0           name in RULES; γ₀ = 0 is the lazy limit
    width                  of a network, or 0 for theory
    samples                of the mean field
    seed                   of weights or samples
    finer                  steps are this many times smaller, and as many more

    Raises ValueError for unknown names, and for a network with γ₀ = 0.
    """

    task: str
    P: int
    P_test: int
    rule: str
    gamma0: float
    draw: int = 0
    width: int = 0
    samples: int = 4096
    seed: int = 0
    finer: int = 1

    def __post_init__(self):
        for name, known in (("task", TASKS), ("rule", RULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        if self.width and not self.gamma0:
            raise ValueError(
                f"`gamma0` must be above 0 for a network; got 0 with `width` = {self.width}. Pass width = 0."
            )

    def data(self):
        """The Task."""
        return TASKS[self.task](self.P, self.P_test, self.draw)

    def run(self, dtype="float32"):
        """What an engine makes of it: a Dynamics, in `dtype`, or a lazy Prediction, in double precision."""
        task, (rule, caution) = self.data(), RULES[self.rule]
        share = caution * SHARES[self.task] / self.finer
        if not self.gamma0 and not self.width:
            rule = DFA() if rule == Hebb() else rule  # the same lazy kernel, not made again for every error
            return lazy.predict(experiment(task, rule, 0.0, share, LAZY_STEPS * self.finer))
        e = experiment(task, rule, self.gamma0, share, STEPS * self.finer)
        ends = (0, e.steps - 1)
        if self.width:
            return network.train(e, self.width, self.seed, dtype, kernels_at=ends)
        return meanfield.solve(e, self.samples, self.seed, TOL, dtype, kernels_at=ends)

    def measure(self):
        """The point and its Outcome as one row, values by name."""
        return asdict(self) | asdict(outcome(self.run(), self.data()))


def grid(tasks, rules, P, P_test, curve, gammas, more_draws, more_gammas, widths, seeds, samples=4096):
    """Points of tasks and rules: lazy limit, theory and `seeds` networks of each width.

    The first draw of the data has networks at all `gammas` and theory at those of `curve` too; others have `more_gammas`.
    """
    points = []
    for task, rule, draw in product(tasks, rules, range(1 + more_draws)):  # neighbours share what is compiled
        rich = more_gammas if draw else gammas
        in_theory = sorted({0.0, *rich} | (set() if draw else set(curve)))
        theory = [Point(task, P, P_test, rule, gamma0, draw, samples=samples) for gamma0 in in_theory]
        nets = [replace(p, width=N, seed=s) for N in widths for p in theory if p.gamma0 in rich for s in range(seeds)]
        points += theory + nets
    return points


_FOUR = ("GD", "FA", "DFA", "GLN")
_HEBB = Point("direction", 300, 300, "Hebb", 2.0)  # it does not come to LEVEL, and so has a study of its width only
_CURVE = tuple(k / 5 for k in range(1, 21))  # richness of the curves of theory
FULL = grid(
    ("digits",), _FOUR, 300, 300, _CURVE, (1.0, 2.0, 4.0), 5, (2.0,), (512,), 2, 2048
)  # what `dmft full beyond` measures
FULL += grid(("digits-rows",), _FOUR, 300, 300, (), (2.0,), 2, (2.0,), (512,), 4)
FULL += grid(("direction",), _FOUR, 300, 300, _CURVE, (0.5, 1.0, 2.0, 4.0), 2, (2.0,), (512,), 4)
FULL += [replace(point, finer=2) for point in FULL if point.gamma0 == 2.0 and not point.width]
FULL += [_HEBB, *(replace(_HEBB, width=N, seed=s) for N in (128, 512) for s in range(4))]


def full():
    """The committed result of FULL: rows as `Point.measure` returns them, and what is known of the run.

    The latter has the command, commit, date and machine, and as `parameters` every value that the points have.
    """
    text = files(__package__).joinpath("beyond.csv").read_text(encoding="utf-8")
    about = dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("#"))
    rows = pandas.read_csv(io.StringIO(text), comment="#").to_dict("records")
    parameters = {name: sorted({row[name] for row in rows}) for name in Point.__annotations__}
    return rows, {name: json.loads(value) for name, value in about.items()} | dict(parameters=parameters)
