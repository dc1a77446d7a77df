"""The seam between rules and engines: no engine knows a rule's name, and a bad rule is refused with a reason."""

import ast
import inspect
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from numpy_network import RULES

import dmftlib as dl
from dmftlib import lazy, meanfield, network
from dmftlib.probe import needs

TASK = dl.Task.random(2, 3)


def experiment(rule):
    return dl.Experiment(TASK, rule, 2, "tanh", gamma0=1.0, lr=0.1, steps=3)


@dataclass(frozen=True)
class FromTheWeights(dl.Rule):
    """Gradient descent under another name, spelled as a backward pass: the g̃ above is the gradient above."""

    def pseudo_gradient(self, layer):
        return layer.phi_dot * layer.W_T(layer.g_tilde_next)


def test_engines_do_what_the_rule_says_not_what_it_is_called():
    ours, theirs = experiment(dl.GD()), experiment(FromTheWeights())
    engines = (lazy.kernels, lambda e: network.train(e, width=24), lambda e: meanfield.solve(e, samples=256))
    for engine in engines:
        expected, got = engine(ours), engine(theirs)
        for name in ("Phi", "G", "G_tilde", "K"):  # equal up to the order of additions
            np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("engine", [lazy, network, meanfield])
def test_no_engine_imports_a_rule(engine):
    nodes = ast.walk(ast.parse(inspect.getsource(engine)))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    rules = {name for name, value in vars(dl.rules).items() if isinstance(value, type) and issubclass(value, dl.Rule)}
    assert not imported & rules


@pytest.mark.parametrize(
    "name, expected",
    [
        ("GD", {"g", "phi", "phi_dot"}),
        ("FA", {"gain", "phi", "phi_dot", "g_tilde_next", "W0_T", "fresh_T"}),
        ("DFA", {"gain", "phi", "phi_dot", "fresh_vector"}),
        ("GLN", {"g", "gate", "h"}),
        ("Hebb", {"phi", "phi_dot", "error"}),
        ("mixed", {"g", "phi", "phi_dot", "fresh_vector"}),
    ],
)
def test_needs_lists_what_a_rule_asks_for(name, expected):
    assert needs(RULES[name]) == expected


def test_rules_are_values():
    assert dl.GD() == dl.GD() and hash(dl.GD()) == hash(dl.GD())
    assert RULES["FA"] != type(RULES["FA"])(0.1)


# --- Bad rules -------------------------------------------------------------------------------------------------------


class Silent(dl.Rule):
    """States no pseudo-gradient."""


class Flat(dl.Rule):
    def pseudo_gradient(self, layer):
        return layer.error


class Crossed(dl.Rule):
    def features(self, layer):
        return layer.h.T

    def pseudo_gradient(self, layer):
        return layer.g


class Curious(dl.Rule):
    def pseudo_gradient(self, layer):
        return layer.momentum


@dataclass
class Changing(dl.Rule):
    """A dataclass that is not frozen has no hash."""

    rate: float = 1.0

    def pseudo_gradient(self, layer):
        return layer.g


@pytest.mark.parametrize(
    "rule, error, words",
    [
        (Silent(), TypeError, r"has no method `pseudo_gradient\(layer\)`"),
        (Flat(), ValueError, r"`pseudo_gradient` of the rule .* must return a field of shape \(P, neurons\).*\(2, 1\)"),
        (Crossed(), ValueError, r"`features` of the rule .* must return a field of shape .*\(3, 2\)"),
        (Curious(), AttributeError, "asked its layer for `momentum`, which no layer offers.*fresh_T"),
        (Changing(), TypeError, "`rule` must be hashable.*Changing.*frozen dataclass"),
        (None, TypeError, "`rule` must be a dmftlib.Rule object"),
    ],
)
def test_bad_rule_is_refused_on_construction(rule, error, words):
    with pytest.raises(error, match=words):
        experiment(rule)


def test_rule_without_a_lazy_average_says_so():
    class Squared(dl.Rule):
        def pseudo_gradient(self, layer):
            return layer.h * layer.phi

    with pytest.raises(NotImplementedError, match="no average for the product of h and phi"):
        lazy.kernels(experiment(Squared()))


def test_a_gated_rule_needs_an_activation_with_a_gate():
    task, activation = dl.Task.random(2, 3), dl.Activation("sign", jnp.sign)
    words = r"'sign' has no gate for the rule GLN\(\): its derivative φ̇ is 0 everywhere"
    with pytest.raises(ValueError, match=words):
        dl.Experiment(task, dl.GLN(), 2, activation, gamma0=1.0, lr=0.1, steps=3)
    dl.Experiment(task, dl.GD(), 2, activation, gamma0=1.0, lr=0.1, steps=3)  # other rules do not ask for it
