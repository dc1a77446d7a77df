"""Minibatches and weight decay: networks against a plain loop, theory against networks, closed forms and limits."""

import dataclasses

import jax
import numpy as np
import numpy_network
import pytest
import single_site
from numpy_network import RULES

import dmftlib as dl
from dmftlib import lazy, meanfield, network, stability
from dmftlib.results import RECORDED

P = 4
TASK = dl.Task.random(P, 5, seed=5, P_test=2)
TWO = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 2)), TASK.X_test)
BATCHES = ((0, 2), (1,), (1, 2, 3))
CHANGES = dict(batches=dict(batches=BATCHES), decay=dict(weight_decay=0.8), both=dict(batches=BATCHES, weight_decay=0.8))


def experiment(rule="GD", depth=2, activation="tanh", task=TASK, gamma0=1.2, lr=0.1, steps=8, **change):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps, **change)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# --- Networks --------------------------------------------------------------------------------------------------------

# Width 12 folds what was learned into the matrices every second step, 60 keeps it factored.
TURNS = [("tanh", TASK), ("relu", TWO), ("erf", TASK), ("linear", TWO)]
CASES = [
    (rule, depth, *TURNS[(k + depth) % 4], list(CHANGES)[(k + 2 * depth) % 3], 12)
    for k, rule in enumerate(RULES)
    for depth in (1, 2, 3)
]
CASES += [("GD", 2, "tanh", TASK, "both", 60), ("FA", 3, "relu", TWO, "both", 60)]


@pytest.mark.parametrize("rule, depth, activation, task, change, width", CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_training_agrees_with_a_plain_numpy_loop(rule, depth, activation, task, change, width):
    e = experiment(rule, depth, activation, task, lr=0.02 if rule == "Hebb" else 0.05, **CHANGES[change])
    run = network.train(e, width, seed=4)
    expected = numpy_network.run_of(rule, e, numpy_network.drawn_by(e, width, 4))
    for name in (*RECORDED, "f_test", "final_h"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert not run.f[0].any() and np.abs(run.f[-1]).max() > 0.01


@pytest.mark.parametrize("engine", [lambda e: network.train(e, 40), lambda e: meanfield.solve(e, 256), lazy.predict])
def test_all_samples_in_a_batch_and_no_decay_are_what_there_was(engine):
    e = experiment(steps=6)
    run = engine(e)
    for change in (dict(batches=[range(P)]), dict(weight_decay=0.0)):
        same = engine(dataclasses.replace(e, **change))
        for name in ("f", "f_test", "K"):
            np.testing.assert_array_equal(getattr(same, name), getattr(run, name))


# --- The mean field ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, activation, change",
    [
        ("GD", "tanh", "both"),
        ("FA", "relu", "decay"),
        pytest.param("DFA", "tanh", "batches", marks=pytest.mark.slow),
        pytest.param("GLN", "relu", "both", marks=pytest.mark.slow),
        pytest.param("Hebb", "tanh", "both", marks=pytest.mark.slow),
    ],
)
def test_networks_tend_to_the_mean_field_as_one_over_their_width(rule, activation, change):
    e = experiment(rule, activation=activation, steps=10, gamma0=0.5 if rule == "Hebb" else 1.2, **CHANGES[change])
    theory, widths = meanfield.solve(e, 16384), (64, 128, 256, 512)
    squares = dict.fromkeys(("f", "Phi", "K"), ())
    for N in widths:
        runs = [network.train(e, N, seed, "float32") for seed in range(4096 // N)]
        for name in squares:
            both = getattr(theory, name), theory.provenance.errors["monte_carlo"][name]
            apart = np.mean([distance(getattr(run, name), both[0]) ** 2 for run in runs])
            squares[name] += (apart - both[1] ** 2,)
    for name, values in squares.items():
        assert abs(np.polyfit(np.log(widths), np.log(values), 1)[0] + 1) < 0.2, (name, values)
    # A wrong factor would be seen: without the change the run is another one.
    plain = meanfield.solve(dataclasses.replace(e, weight_decay=0.0, batches=None), 2048)
    assert distance(plain.f, theory.f) ** 2 > 10 * squares["f"][-1]
