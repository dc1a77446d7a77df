"""Bad input: each call is refused by an error that names the argument, what arrived, and what to do."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dl
from companion import claims, questions, sliders
from dmftlib import lazy, meanfield, network, twolayer
from dmftlib.activations import gaussian_average

Activation, Task = dl.Activation, dl.Task
E = dl.Experiment(Task.random(2, 3), dl.GD(), 1, "tanh", gamma0=1.0, lr=0.1, steps=2)
TANH, X, Y = E.phi, np.ones((3, 2)), np.ones(3)
MASKED = np.ma.masked_greater(np.arange(6.0).reshape(2, 3), 3)
WHITE = dl.Experiment(Task.whitened([1.2, -0.9]), dl.GD(), 1, "linear", gamma0=1.3, lr=0.1, steps=4)
OFF = Task([[1.5, 0.0], [0.0, 1.0]], [1.2, -0.9])  # K_x = diag(1.125, 0.5)


@pytest.fixture(scope="module")
def made():
    """Small results to pass on, by name."""
    steps = with_(E, steps=4)
    return dict(
        solved=meanfield.solve(E, 64),
        again=meanfield.solve(E, 64),
        moved=meanfield.solve(with_(E, task=Task.random(2, 3, seed=1)), 64, seed=1),
        some=meanfield.solve(steps, 64, kernels_at=(0, 3)),
        others=meanfield.solve(steps, 64, 1, kernels_at=(0, 2)),
        trained=network.train(E, 8),
        wide=network.train(E, 16, 1),
        recorded=network.train(E, 8, record=True),
        networks=network.ensemble(E, 8, range(2)),
        same=network.ensemble(E, 16, range(2)),
        wider=network.ensemble(with_(E, lr=0.2), 16, range(2)),
    )


def with_(experiment, **changes):
    return dataclasses.replace(experiment, **changes)


def solved(samples=64, seed=0, **options):
    return meanfield.solve(E, samples, seed, **options)


def rule(features=None, pseudo_gradient=None, base=dl.Rule, **more):
    """A rule with these methods."""
    methods = dict(features=features, pseudo_gradient=pseudo_gradient)
    return type("Odd", (base,), {name: m for name, m in methods.items() if m} | more)()


def claimed(method, *values, **options):
    getattr(claims.Claims(), method)("c", "1", "f", *values, "x", **options)


@dataclasses.dataclass
class Changing(dl.Rule):
    """A dataclass that is not frozen has no hash."""

    rate: float = 1.0
    pseudo_gradient = dl.DFA.pseudo_gradient


NO_FORM = "`experiment` has the "
ALONE = "`phi` must act on each neuron by itself"
JUMPS = Activation("sign", jnp.sign)

VALUE_ERRORS = [
    # Tasks
    (lambda _: Task.random(2, 3, seed=-1), "`seed` must be a whole number, at least 0; got -1"),
    (lambda _: Task.random(0, 3), "`P` must be a whole number, at least 1; got 0"),
    (lambda _: Task(Y, Y), r"`X` must have shape \(P, D\).*got shape \(3,\)"),
    (lambda _: Task(np.ones((0, 2)), []), r"`X` must hold at least one sample.*\(0, 2\)"),
    (lambda _: Task(np.where(np.eye(3, 2) > 0, np.nan, 1.0), Y), "`X` must be finite; got 2 entries"),
    (lambda _: Task(MASKED, [1.0, -1.0]), "`X` has masked entries"),
    (lambda _: Task(X, np.ones((3, 1, 1))), r"`y` must have shape \(P,\), or \(P, C\).*\(3, 1, 1\)"),
    (lambda _: Task(X, np.ones(4)), r"`y` must be \(P,\), or \(P, C\) for C outputs, with P = 3.*\(4,\)"),
    (lambda _: Task(X, Y, np.ones((2, 3))), r"`X_test` must be \(P_test, D\) with D = 2.*\(2, 3\)"),
    (lambda _: Task(X, np.ones((3, 2)), X, np.ones((3, 3))), r"`y_test` must have shape \(3, 2\).*got \(3, 3\)"),
    (lambda _: Task.digits(1700), r"`P` \+ `P_test` must be at most 1797 digits; got 1700 \+ 297. Pass fewer"),
    (lambda _: Task.digits(10, targets="odd"), "`targets` must be one of 'parity', 'all'; got 'odd'"),
    # Experiments and rules
    *((lambda _, x=x: with_(E, gamma0=x), "`gamma0` .*lazy.* finite number above 0; got") for x in (0, np.nan, "1")),
    *((lambda _, x=x: with_(E, lr=x), "`lr` .* finite number above 0; got") for x in (-0.5, 1j, np.ones(2))),
    *((lambda _, x=x: with_(E, steps=x), "`steps` must be a whole number, at least 1; got") for x in (0, 2.0, True)),
    (lambda _: with_(E, activation="gelu"), "`activation` must be one of 'relu', 'tanh', 'erf', 'linear'.*got 'gelu'"),
    *((lambda _, x=x: dl.FA(x), "`rho` is the correlation .* 0 ≤ rho ≤ 1; got") for x in (1.5, "half")),
    (lambda _: with_(E, rule=rule(None, lambda s, l: l.error)), r"`pseudo_gradient` .* \(P, neurons\).*\(2, 1\)"),
    (lambda _: with_(E, rule=rule(lambda s, l: l.h.T, base=dl.GD)), r"`features` of the rule .*\(3, 2\)"),
    (lambda _: with_(E, rule=dl.GLN(), activation=JUMPS), r"'sign' has no gate for the rule GLN\(\): .* 0 everywhere"),
    # Activations
    (lambda _: Activation("a", jnp.sum), r"`phi` must act on each entry; .* one of shape \(\)"),
    (lambda _: Activation("norm", lambda h: h - h.mean(axis=-1, keepdims=True)), ALONE + "; .* layer norm"),
    (lambda _: Activation("root", lambda h: jnp.sqrt(jnp.maximum(h, 0))), "`phi_dot`: .* is not finite at h = 0"),
    (lambda _: Activation("absolute", jnp.abs).phi_phi(np.eye(2)), "probably not smooth; give `closed_averages`"),
    (lambda _: TANH.dot_dot([[-1.0]]), "`Sigma` must be a finite covariance, its diagonal at least 0"),
    (lambda _: TANH.phi_phi([[1, 5], [5, 1]]), r"`Sigma` must have \|Σ_μν\| ≤ √\(Σ_μμ Σ_νν\)"),
    (lambda _: TANH.phi_phi(1e10 * np.eye(2)), r"h has a standard deviation of 1e\+05: scale them"),
    (lambda _: gaussian_average(jnp.tanh, jnp.tanh, np.eye(2), most_terms=16), "`most_terms` must be .* 32; got 16"),
    # The lazy limit and the closed forms
    (lambda _: lazy.kernels(E, [1, 2, 3]), r"`Delta` must have the shape \(2,\) of `y`; got \(3,\)"),
    (lambda _: twolayer.solve(with_(WHITE, activation="tanh")), NO_FORM + "activation 'tanh', .*meanfield"),
    (lambda _: twolayer.solve(with_(WHITE, rule=rule(base=dl.GD))), NO_FORM + "rule .* some for GD, FA, DFA, Hebb"),
    (lambda _: twolayer.solve(with_(WHITE, task=OFF)), r"largest entry of \|K_x − I\| is 0.5. Use Task.whitened"),
    (lambda _: twolayer.hebb(OFF, 1.0, [0.0]), "`task` must be whitened"),
    (lambda _: twolayer.gd(Task.whitened([0.0, 0.0]), 1.0, [0.0]), "`task` has targets that are all zero"),
    (lambda _: twolayer.gd(Task(np.sqrt(2) * np.eye(2), np.eye(2)), 1.0, [0.0]), "`task` .* one target a sample.*2, 2"),
    (lambda _: twolayer.gd(WHITE.task, 1.0, 2.0), r"`times` must have shape \(T,\) .* one time; got shape \(\)"),
    (lambda _: twolayer.gd(WHITE.task, 1.0, [0.0, 2.0, 1.0]), "`times` must rise from 0 or later, each once"),
    # The mean field
    (lambda _: solved(samples=65), "`samples` must be even.*got 65"),
    (lambda _: solved(samples=4), "`samples` = 4 is too few: layer 1 needs 3 directions .* Pass samples = 12"),
    *((lambda _, x=x: solved(tol=x), "`tol` must be a share of variance") for x in (0.0, 0.6, "small", np.ones(2))),
    (lambda _: solved(dtype=np.dtype("float32")), '`dtype` must be "float64" or "float32", as text'),
    (lambda _: solved(samples=512, devices=3 * jax.devices()), "`samples` must be .* by .*, 6; got 512. Pass 516"),
    *((lambda _, x=x: solved(kernels_at=x), "`kernels_at` must be a list of whole numbers") for x in (3, (0.5,))),
    (lambda r: meanfield.average([r["solved"]]), "`runs` must hold at least two solutions"),
    (lambda r: meanfield.average([r["solved"], r["again"]]), r"`runs` must have different seeds.*\[0, 0\]"),
    (lambda r: meanfield.average([r["solved"], r["moved"]]), r"runs\[0\] and runs\[1\] differ in task"),
    (lambda r: dl.compare(r["some"], r["others"]), r"`theory` has those of \[0, 3\], `runs` of \[0, 2\]. Run them"),
    # Networks
    (lambda _: network.train(E, 0), "`width` must be a whole number, at least 1; got 0"),
    (lambda _: network.ensemble(E, 8, [3]), "`seeds` must hold at least two seeds.*got 1"),
    (lambda _: network.ensemble(E, 8, [1, 1]), "`seeds` must differ: 1 comes twice"),
    (lambda _: network.groups(E, 8, 1, 0), "`networks` must be a whole number, at least 2; got 1"),
    (lambda r: network.average([r["trained"], r["wide"]]), r"networks of one width.*'network', 8\), \('network', 16"),
    (lambda r: network.extrapolate([r["networks"]] * 2), r"`ensembles` .* two different widths; got \[8, 8\]"),
    (
        lambda r: network.extrapolate([r["networks"]] * 2 + [r["same"]]),
        r"`ensembles` must differ: \(8, 0\) comes twice",
    ),
    (lambda r: network.extrapolate([r["networks"], r["wider"]]), r"ensembles\[0\] and ensembles\[1\] differ in lr"),
    (lambda r: r["solved"].two_time(), "`record` = True"),
    (lambda r: r["trained"].responses(), "`record` = True"),
    (lambda r: r["recorded"].responses(), "responses exist in the mean field only"),
    # Pages
    (lambda _: claimed("agree", 1.0, 1.0), r"`networks` must be \(mean, .* got 1.0. figures.mean"),
    (lambda _: claimed("phenomenon", "GD", 1.0, 1.0, (1.0, 0.1), sign=2), "`sign` must be 1 or −1, the side of the"),
    (
        lambda _: claimed("ordered", "a", [1, 2, 3], [1, 2], [[1, 1], [2, 2]]),
        "two or more runs, .* 2 .* 2 .* 3 in `theory",
    ),
    (lambda _: questions.predict(3, "?", 1.0, "so"), "`name` becomes an HTML id: .* got 3"),
    (lambda _: sliders.two_layer(duration=0), r"`duration` \(the last time shown\) must be .* got 0"),
]
TYPE_ERRORS = [
    (lambda _: Task("text", Y), "`X` must be an array of numbers.*str"),
    (lambda _: Task([[1.0], [2.0]], ["cat", "dog"]), "`y` .* dtype <U3, text such as 'cat'. Code it as numbers"),
    (
        lambda _: Task(np.array([[1.0], [None]], object), [1.0, -1.0]),
        r"`X` .* None of type NoneType at \(1, 0\). Leave",
    ),
    (lambda _: with_(E, task=(X, Y)), "`task` must be a dmftlib.Task; got tuple"),
    (lambda _: with_(E, rule="GD"), r"`rule` must be a dmftlib.Rule object such as GD\(\)"),
    (lambda _: with_(E, rule=rule()), r"has no method `pseudo_gradient\(layer\)`"),
    (lambda _: with_(E, rule=Changing()), "`rule` must be hashable.*Changing.*frozen dataclass"),
    (lambda _: Activation("mine", "tanh"), "`phi` must be a function of an array; got str"),
    (lambda _: Activation("a", jnp.tanh, None, 1), "`closed_averages` must be a function .* got int"),
    (
        lambda _: Activation("a", jnp.tanh, None, lambda S: S),
        "`closed_averages` .* it raised TypeError.* Write it as def",
    ),
    (
        lambda _: Activation("a", jnp.tanh, None, lambda S, v, w: (S, 1.0)),
        r"must return .* got shapes \[\(2, 3\), \(\)\]",
    ),
    (lambda _: Activation("a", np.tanh), "`phi` must be a function that JAX can trace.*jax.numpy"),
    *(
        (lambda _, f=f: f(E.task), "`experiment` must be a dmftlib.? ?Experiment; got Task")
        for f in (lazy.kernels, lazy.predict, lazy.initial, meanfield.solve, network.train, twolayer.solve)
    ),
    (lambda _: solved(devices="all"), r"`devices` must be a list of JAX devices, such as jax.devices\(\); got 'all'"),
    (lambda _: meanfield.average(3), "`runs` must be a list of Dynamics objects; got int"),
    (lambda _: network.ensemble(E, 8, 3), r"`seeds` must be iterable, such as range\(8\); got 3"),
    (lambda r: network.extrapolate([r["trained"]]), r"`ensembles\[0\]` must be a dmftlib Ensemble; got Dyn"),
    (lambda r: dl.compare(1, r["trained"]), "`theory` must be a dmftlib Result; got int. Pass what meanfield.solve"),
]
MOMENTUM, SQUARED = (rule(None, f) for f in (lambda s, l: l.momentum, lambda s, l: l.h * l.phi))
OTHERS = [
    (lambda _: with_(E, rule=MOMENTUM), "asked its layer for `momentum`.*fresh_T", AttributeError),
    (lambda _: lazy.kernels(with_(E, rule=SQUARED)), "no average for the product of h and phi", NotImplementedError),
    (lambda _: setattr(E, "lr", 1.0), "lr", dataclasses.FrozenInstanceError),
    (lambda _: setattr(E.task, "X", X), "X", dataclasses.FrozenInstanceError),
]
CALLS = [(*row, ValueError) for row in VALUE_ERRORS] + [(*row, TypeError) for row in TYPE_ERRORS] + OTHERS


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda k: re.sub(r"\W+", " ", CALLS[k][1])[:50])
def test_a_bad_call_names_the_argument(made, number):
    call, message, error = CALLS[number]
    with pytest.raises(error, match=message):
        call(made)


def test_what_is_wrong_in_an_experiment_is_told_before_anything_is_compiled():
    compiled = []
    listen = lambda event, *_, **__: compiled.append(event) if "compile" in event else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for changes in (dict(lr=0), dict(rule=rule(pseudo_gradient=lambda s, l: l.error)), dict(activation="gelu")):
            with pytest.raises(ValueError, match="must"):
                with_(E, **changes)
        for options in (dict(samples=65), dict(tol=1.0), dict(kernels_at=(3, 1))):
            with pytest.raises(ValueError, match="must"):
                solved(**options)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
