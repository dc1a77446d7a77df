"""What is run: one learning rule on one task."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .activations import Activation, activation_from, computing
from .losses import Loss, loss_from
from .probe import check_rule, needs
from .rules import Rule
from .task import Task
from .validate import instance, positive, whole


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
    lr             step size η > 0 of gradient descent on ℒ
    steps          T ≥ 1 recorded states; entry t is the state before update t
    loss           "squared", ℒ = ½ Σ_μ (y_μ − f_μ)²; "logistic" for targets ±1; "cross_entropy" for several classes; or a Loss

    Raises ValueError or TypeError, naming the argument, what arrived and what is expected.
    """

    task: Task
    rule: Rule
    hidden_layers: int
    activation: str | Activation
    gamma0: float
    lr: float
    steps: int
    loss: str | Loss = "squared"
    phi: Activation = field(init=False, repr=False)

    def __post_init__(self):
        if not isinstance(self.task, Task):
            raise TypeError(
                f"`task` must be a dmftlib.Task; got {type(self.task).__name__}. Build one with Task(X, y)."
            )
        layers = whole("hidden_layers", self.hidden_layers, 1)
        values = dict(
            phi=activation_from(self.activation),
            hidden_layers=layers,
            gamma0=positive("gamma0", self.gamma0, "richness; the lazy limit 0 has its own engine, dmftlib.lazy"),
            lr=positive("lr", self.lr, "step size"),
            steps=whole("steps", self.steps, 1),
            loss=loss_from(self.loss),
        )
        values["loss"].check(self.task.y.reshape(self.task.P, -1))
        check_rule(self.rule)
        if "gate" in needs(self.rule):
            _check_gate(self.rule, values["phi"])
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _by_output(self, f):
        """Targets and outputs f (…, P), or (…, P, C), as (…, P, C)."""
        f = np.asarray(f).reshape(*np.shape(f)[: np.ndim(f) - self.task.y.ndim], self.task.P, -1)
        return np.broadcast_to(self.task.y.reshape(self.task.P, -1), f.shape), f

    def error(self, f):
        """Δ = −∂ℒ/∂f of outputs f (…, P), or (…, P, C), in that shape."""
        with computing("float64"):
            return self.loss.error(*self._by_output(f)).reshape(np.shape(f))

    def losses(self, f):
        """The loss of each sample, (…, P), of outputs f (…, P), or (…, P, C)."""
        with computing("float64"):
            return np.asarray(self.loss.value(*self._by_output(f)))


def check_experiment(value):
    """Raise TypeError unless `value` is an Experiment."""
    instance("experiment", value, Experiment, "Build one with Experiment(task, rule, hidden_layers, activation, …).")
