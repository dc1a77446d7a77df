"""What is run: one learning rule on one task."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .activations import Activation, activation_from, computing
from .convolution import Convolution
from .losses import Loss, loss_from
from .probe import check_rule, check_within_layer, needs
from .rules import Rule
from .task import Task
from .validate import checked_batches, checked_seed, instance, number, positive, whole

LEAST_LEFT = 1e-30  # of the initial weights: theirs is the unit in which the mean field keeps what is learned


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
    weight_decay   ϑ ≥ 0: every trained weight is multiplied by 1 − ηϑ at each step, before it learns
    batches        lists of the samples that each step learns from, whose losses are summed; after the last the first follows.
                   None for all samples at every step. `batches` draws some
    residual       β > 0 makes the matrices between hidden layers, of which there must be one, residual branches:
                   h^{ℓ+1} = h^ℓ + β/√L · W^ℓ φ^ℓ/√N. None for a network without skip connections
    convolution    a Convolution, whose filters make the layers' weights; None for fully connected layers
    substeps       m ≥ 1: a step stands for m of size η/m, by a rule of second order (`rates`), at the cost of one. For long runs
                   in which kernels move slowly; 1 for steps as they are

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
    weight_decay: float = 0.0
    batches: tuple | None = None
    residual: float | None = None
    convolution: Convolution | None = None
    substeps: int = 1
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
            weight_decay=number("weight_decay", self.weight_decay, "rate at which weights decay"),
            batches=checked_batches(self.batches, self.task.P),
            substeps=whole("substeps", self.substeps, 1),
        )
        values["loss"].check(self.task.y.reshape(self.task.P, -1))
        check_rule(self.rule)
        self._check_convolution()
        asked = needs(self.rule)
        if "gate" in asked:
            _check_gate(self.rule, values["phi"])
        if self.residual is not None:
            values["residual"] = positive(
                "residual", self.residual, "size of residual branches; None for a network without"
            )
            if layers == 1:
                raise ValueError(
                    "`residual` needs hidden_layers of at least 2, got 1: the branches are the matrices between hidden layers."
                )
            if "g_tilde_next" in asked and "skip" not in asked:
                raise ValueError(
                    f"`residual` gives the rule {self.rule!r} a second way down, of which it makes nothing: it sends g_tilde_next "
                    "through a matrix alone. Add layer.skip(layer.g_tilde_next) to its `pseudo_gradient`, or 0 times that if "
                    "its signal is to come through the matrices only."
                )
        if values["substeps"] > 1 and self.batches is not None:
            raise ValueError(
                f"`substeps` must be 1 with `batches`, whose updates change at every step; got {self.substeps}. Pass substeps = 1, "
                "or batches = None."
            )
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.keep is not None and not (self.keep > 0 and self.left[-1] >= LEAST_LEFT):
            raise ValueError(
                f"`weight_decay` = {self.weight_decay:g} leaves (1 − lr·weight_decay)^(steps − 1) of the initial weights, which "
                f"must be {LEAST_LEFT:g} at least; lr = {self.lr:g} and {self.steps} steps. Take less of one of the three."
            )

    def _check_convolution(self):
        if (c := self.convolution) is None:
            return
        if not isinstance(c, Convolution):
            raise TypeError(
                f"`convolution` must be a dmftlib.Convolution or None; got {type(c).__name__}. Build one with Convolution(shape=(A,))."
            )
        if c.positions * c.channels_in != self.task.D:
            raise ValueError(
                f"`convolution` must have D = {self.task.D} inputs, as `X` of the task has; got {c.positions} positions {c.shape} "
                f"of {c.channels_in} channels, {c.positions * c.channels_in} in all. Pass another `shape` or `channels_in`."
            )
        check_within_layer(self.rule)

    @property
    def positions(self):
        """Rows of a sample in a field: the positions of a convolution, 1 without."""
        return 1 if self.convolution is None else self.convolution.positions

    @property
    def inputs(self):
        """What the first weights multiply, a row for each sample (and position), test samples last."""
        return self.task.X_all if self.convolution is None else self.convolution.inputs(self.task.X_all)

    @property
    def K_x(self):
        """The kernel Φ⁰ of the training samples' `inputs`."""
        if self.convolution is None:
            return self.task.K_x
        X = self.convolution.inputs(self.task.X)
        return X @ X.T / X.shape[1]

    @property
    def keep(self):
        """What a step leaves of every weight, 1 − ηϑ, of m substeps (1 − ηϑ/m)^m; None without decay."""
        return self._kept_a_substep**self.substeps if self.weight_decay else None

    @property
    def _kept_a_substep(self):
        return max(1 - self.lr * self.weight_decay / self.substeps, 0.0)

    @property
    def rates(self):
        """What a step learns of its own update and of that of the step before, in units of η, (T, 2); None without substeps.

        During a step the update changes as it did in the last one: substep k learns U(t) + (k/m)(U(t) − U(t−1)). The first step
        knows no change, so the second learns what the first missed. Derived in book/solver.md, "Long runs".
        """
        if (m := self.substeps) == 1:
            return None
        k, keep = np.arange(m), self._kept_a_substep
        shares = keep ** (m - 1.0 - k) / m
        plain, ahead = shares.sum(), shares @ k / m
        ahead = ahead * np.array([0, 1 + keep**m, *[1] * self.steps])[: self.steps]
        return np.stack([plain + ahead, -ahead], axis=1)

    @property
    def edge(self):
        """The edge of stability: η times the largest eigenvalue of K must stay below it. 2, of m substeps 2m/(2m − 1)."""
        return 2 * self.substeps / (2 * self.substeps - 1) if self.substeps > 1 else 2.0

    @property
    def branch(self):
        """What multiplies the matrices between hidden layers of a residual network, β/√L; None in other networks."""
        return None if self.residual is None else self.residual / self.hidden_layers**0.5

    @property
    def left(self):
        """What is left of the initial weights at each step, (1 − ηϑ)^t, (T,)."""
        return (self.keep or 1.0) ** np.arange(self.steps)

    @property
    def masks(self):
        """1 for a sample that a step learns from, 0 for the others, (T, P); None where all steps learn from all."""
        if self.batches is None:
            return None
        masks = np.zeros((self.steps, self.task.P))
        for t in range(self.steps):
            masks[t, list(self.batches[t % len(self.batches)])] = 1
        return masks

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


def batches(P, size, steps, seed):
    """Batches of `size` of P samples for an Experiment of so many steps: lists of samples, one a step.

    Each epoch goes through all samples once, in an order of its own; its last batch is smaller if `size` does not divide P.
    Raises ValueError for a bad argument.
    """
    P, size, steps, seed = whole("P", P, 1), whole("size", size, 1), whole("steps", steps, 1), checked_seed(seed)
    if size > P:
        raise ValueError(f"`size` must be at most P = {P}, the number of samples; got {size}.")
    found = []
    for epoch in range(-(-steps // -(-P // size))):
        order = np.random.default_rng((seed, epoch)).permutation(P).tolist()
        found += [tuple(sorted(order[start : start + size])) for start in range(0, P, size)]
    return tuple(found[:steps])


def check_experiment(value):
    """Raise TypeError unless `value` is an Experiment."""
    instance("experiment", value, Experiment, "Build one with Experiment(task, rule, hidden_layers, activation, …).")
