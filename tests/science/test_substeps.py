"""Steps that stand for several: against a loop that does them one by one, the order of the rule, its stated error, its edge."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import numpy_network
import pytest
from numpy_network import RULES

import dmftlib as dl
from dmftlib import lazy, meanfield, network, stability, twolayer
from dmftlib.results import RECORDED
from dmftlib.saved import load, save

P = 4
TASK = dl.Task.random(P, 5, seed=5, P_test=2)
TWO = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 2)), TASK.X_test)
LINE = dl.Convolution(shape=(5,))


def experiment(rule="GD", depth=2, activation="tanh", task=TASK, gamma0=1.2, lr=0.1, steps=9, substeps=4, **change):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps, substeps=substeps, **change)


def one_by_one(e):
    """The experiment whose steps are the substeps of e."""
    return replace(e, lr=e.lr / e.substeps, steps=(e.steps - 1) * e.substeps + 1, substeps=1)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# --- Networks --------------------------------------------------------------------------------------------------------

# Width 12 folds what was learned into the matrices every second step, 60 keeps it factored.
CASES = [(rule, 1 + k % 3, "tanh", (TASK, TWO)[k % 2], {}, 12) for k, rule in enumerate(RULES)]
CASES += [("GD", 3, "relu", TWO, dict(weight_decay=0.8), 60), ("FA", 2, "erf", TASK, dict(weight_decay=0.8), 12)]
CASES += [("DFA", 2, "tanh", TWO, dict(residual=1.0), 60), ("GLN", 2, "relu", TASK, {}, 60)]


@pytest.mark.parametrize("rule, depth, activation, task, change, width", CASES)
def test_a_network_agrees_with_a_plain_loop_over_substeps(rule, depth, activation, task, change, width):
    e = experiment(rule, depth, activation, task, lr=0.02 if rule == "Hebb" else 0.05, **change)
    run = network.train(e, width, seed=4)
    expected = numpy_network.run_of(rule, e, numpy_network.drawn_by(e, width, 4))
    for name in (*RECORDED, "f_test", "final_h"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


ORDERS = [(rule, {}) for rule in RULES] + [("GD", dict(weight_decay=0.5)), ("FA", dict(residual=1.0))]
ORDERS += [("DFA", dict(weight_decay=0.5)), ("GD", dict(convolution=LINE))]


@pytest.mark.parametrize("rule, change", ORDERS)
def test_the_distance_from_substeps_one_by_one_is_of_second_order(rule, change):
    """Substeps stay as they are. Where updates are quadratic in time, what a step misses is ∝ Σ_k k(k + m), k < m: the distance at
    a time grows as (m − 1)(5m − 1), and quadruples as m doubles, if m is large."""
    e = experiment(rule, lr=1 / 1024 / (4 if rule == "Hebb" else 1), steps=385, substeps=1, **change)
    fine = network.train(e, 32, seed=3)
    substeps = np.array([2, 4, 8])
    found = []
    for m in substeps.tolist():
        run = network.train(replace(e, lr=m * e.lr, steps=384 // m + 1, substeps=m), 32, seed=3)
        # After the first step, which knows no change of updates.
        found.append([distance(getattr(run, x)[16 // m :: 8 // m], getattr(fine, x)[16::8]) for x in ("f", "K", "Phi")])
    missed = (substeps - 1) * (5 * substeps - 1)
    np.testing.assert_allclose(
        np.divide(found[1:], found[:-1]), np.outer(missed[1:] / missed[:-1], [1, 1, 1]), rtol=0.1
    )
    # Without substeps, the same steps are far off.
    plain = network.train(replace(e, lr=8 * e.lr, steps=49), 32, seed=3)
    assert distance(plain.f, fine.f[::8]) > 10 * found[-1][0]


def test_many_substeps_are_the_gradient_flow():
    """Against a closed form in continuous time; the error falls as the square of the step."""
    task = dl.Task.whitened([1.0, -0.5])
    for rule in (dl.GD(), dl.FA(0.6), dl.Hebb()):
        off = []
        for steps in (161, 321):
            e = dl.Experiment(task, rule, 1, "linear", 1.5, 4 / (steps - 1), steps, substeps=10**5)
            off.append(dl.compare(meanfield.solve(e, 64), twolayer.solve(e)).distance)
        for name in ("f", "Phi", "K"):
            assert off[1][name] < 2e-4 and 3.8 < off[0][name] / off[1][name] < 5.2, (rule, name)


# --- The mean field ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "Hebb"])
def test_the_stated_error_is_that_of_linear_networks_which_have_no_other(rule):
    e = experiment(rule, 3, "linear", lr=0.005 if rule == "Hebb" else 0.02, gamma0=0.5, steps=61)
    run, fine = meanfield.solve(e, 64), meanfield.solve(one_by_one(e), 64)
    stated = run.provenance.errors
    for name in ("f", "Phi", "K", "G", "G_tilde"):
        found = distance(getattr(run, name), getattr(fine, name)[:: e.substeps])
        assert found < 1.2 * stated["steps"][name] < 4 * found and found > 10 * stated["monte_carlo"][name], name
    assert stated["steps"]["f_test"] > 0


@pytest.mark.parametrize("gamma0", [0.5, 2.0])
@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "GLN", "Hebb"])
def test_the_stated_error_covers_that_of_wide_networks(rule, gamma0):
    """A network has no noise of samples: between its own runs lies the error of the steps alone. A mean field states some noise more."""
    lr = dict(GD=0.05, FA=0.05, DFA=0.05, GLN=0.02, Hebb=0.01)[rule]
    e = experiment(rule, gamma0=gamma0, lr=lr, steps=41, substeps=8)
    run = meanfield.solve(e, 1024)
    wide, fine = (network.train(x, 384, seed=1) for x in (e, one_by_one(e)))
    stated = run.provenance.errors
    for name in ("f", "Phi", "K", "G", "G_tilde"):
        found = distance(getattr(wide, name), getattr(fine, name)[:: e.substeps])
        noise = np.hypot(stated["monte_carlo"][name], stated["tol"][name])
        assert found < 1.5 * stated["steps"][name] < 1.5 * (2 * found + noise), name


@pytest.mark.parametrize("rule, depth", [("DFA", 1), pytest.param("FA", 2, marks=pytest.mark.slow)])
def test_devices_compute_the_same(rule, depth):
    """Compiled arrays have room for directions that are not in use, and grow."""
    e = experiment(rule, depth, steps=21, weight_decay=0.3)
    one, other = (meanfield.solve(e, 512, devices=devices) for devices in (None, jax.devices()))
    for name in RECORDED:
        assert distance(getattr(one, name), getattr(other, name)) < 1e-10, name
    assert one.provenance.errors["steps"]["K"] == pytest.approx(other.provenance.errors["steps"]["K"], rel=1e-6)


@pytest.mark.parametrize("rule", ["GD", "GLN"])
def test_the_lazy_limit_has_substeps_one_by_one_and_the_mean_field_tends_to_it(rule):
    e = experiment(rule, gamma0=1e-4, lr=0.1, steps=41)
    known, run = lazy.predict(e), meanfield.solve(e, 512)
    expected = lazy.predict(one_by_one(e))
    np.testing.assert_array_equal(known.f, expected.f[::4])
    np.testing.assert_array_equal(known.f_test, expected.f_test[::4])
    np.testing.assert_allclose(known.times, e.lr * np.arange(41), rtol=1e-14)
    # Noise of the samples is taken off by the rule of the run, so that only the error of the steps is left.
    stated = run.provenance.errors
    assert distance(run.f, known.f) < 1.5 * stated["steps"]["f"] + 1e-3 < 0.02


def test_some_kernels_or_none_are_recorded():
    e = experiment(steps=13)
    every, some, none = (meanfield.solve(e, 256, kernels_at=at) for at in (None, (0, 12), ()))
    np.testing.assert_allclose(some.K, every.K[[0, 12]], rtol=1e-12)
    assert some.provenance.errors["steps"]["K"] > 0 and "K" not in none.provenance.errors["steps"]
    assert none.provenance.errors["steps"]["f"] == every.provenance.errors["steps"]["f"] > 0


# --- Stability -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("substeps", [1, 2, 16])
def test_the_edge_of_stability(substeps):
    """Just below it errors fade, just above they grow, and a warning says so."""
    e = experiment(activation="linear", gamma0=1e-3, steps=301, substeps=substeps)
    assert e.edge == pytest.approx({1: 2, 2: 4 / 3, 16: 32 / 31}[substeps])
    largest = stability.largest_eigenvalue(network.train(replace(e, steps=1), 128).K[0])
    below, above = (replace(e, lr=float(share * e.edge / largest)) for share in (0.97, 1.03))
    with warnings.catch_warnings(action="error"):
        run = network.train(below, 128)
    assert np.abs(run.Delta[-1]).max() < 0.1 * np.abs(run.Delta[0]).max()
    match = (
        "exceeds 1"
        if substeps == 1
        else f"`substeps` = {substeps}, stable for lr·λ below {e.edge:.3g}, enlarges errors"
    )
    with pytest.warns(UserWarning, match=match):
        assert network.train(above, 128).loss.max() > 30
    above = replace(above, lr=1.2 * e.edge / stability.largest_eigenvalue(lazy.kernels(e).K))
    with pytest.warns(UserWarning, match=match.replace("for an", "for the largest")):
        meanfield.solve(replace(above, steps=3), 64, kernels_at=())


def test_a_stable_step_is_at_most_half_of_the_edge():
    e = experiment(substeps=16)
    e = replace(e, lr=network.stable_lr(e, 64))
    K = network.train(e, 64).K
    assert max(map(stability.largest_eigenvalue, K)) * e.lr <= e.edge / 2


def test_steps_twice_the_size_that_diverge_say_what_they_are_for():
    e = experiment(activation="linear", gamma0=1e-3, steps=101)
    with pytest.raises(
        stability.Diverged, match="steps of twice the size, which tell the error of `substeps`, are too large"
    ):
        meanfield.solve(replace(e, lr=0.75 / stability.largest_eigenvalue(lazy.kernels(e).K)), 64)


# --- What it does not combine with, and what carries it -----------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1.5, True, "2"])
def test_substeps_are_a_whole_number(value):
    with pytest.raises(ValueError, match="`substeps` must be a whole number, at least 1"):
        experiment(substeps=value)


def test_refusals():
    with pytest.raises(ValueError, match=r"`substeps` must be 1 with `batches`, .* got 4"):
        experiment(batches=[[0], [1, 2]])
    with pytest.raises(ValueError, match=r"`steps` must be odd with `substeps`, .* got 8. Pass 9"):
        meanfield.solve(experiment(steps=8))
    with pytest.raises(ValueError, match=r"`kernels_at` must be even steps with `substeps`, .* got \[0, 3\]"):
        meanfield.solve(experiment(), kernels_at=(0, 3))
    with pytest.raises(ValueError, match="`weight_decay`"):
        experiment(lr=1.0, weight_decay=4.5)
    run = meanfield.solve(experiment(), 256, record=True)
    with pytest.raises(ValueError, match=r"responses .* got an experiment of substeps = 4. Pass substeps = 1"):
        run.responses()
    with pytest.raises(ValueError, match="differ in substeps"):
        dl.compare(run, network.train(experiment(substeps=1), 16))
    assert run.two_time()["Phi"].shape == (2, 9, P, 9, P)


def test_results_carry_them(tmp_path):
    run = meanfield.solve(experiment(), 256)
    again = load(save(run, tmp_path / "run"))
    assert again.experiment.substeps == 4 and again.provenance == run.provenance
    assert (
        "9 steps, substeps 4" in repr(run)
        and "% (steps)" in repr(run)
        and "substeps" not in repr(network.train(experiment(substeps=1), 16))
    )
    data = run.to_xarray()
    assert data.attrs["substeps"] == 4 and data.K.attrs["relative_error_steps"] == run.provenance.errors["steps"]["K"]
    np.testing.assert_array_equal(dl.predict(run, TASK.X).f, run.f)


def test_an_average_keeps_the_error_of_steps():
    runs = [meanfield.solve(experiment(), 256, seed) for seed in (0, 1)]
    assert meanfield.average(runs).provenance.errors["steps"] == runs[0].provenance.errors["steps"]
    plain, substeps = (dl.machine.estimate(experiment(substeps=m, steps=101)).operations for m in (1, 4))
    assert 1.1 * plain < substeps < 1.3 * plain
