"""Finite networks against a plain numpy loop; what is drawn; ensembles and their limit."""

import dataclasses
import warnings

import numpy as np
import numpy_network
import pytest
from numpy_network import RULES

import dmftlib as dl
from dmftlib import network
from dmftlib.results import RECORDED

P, STEPS = 3, 8
TASK = dl.Task.random(P, 4, seed=5, P_test=2)
THREE = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 3)), TASK.X_test)


def experiment(rule="GD", depth=3, activation="tanh", task=TASK, gamma0=1.3, lr=0.1, steps=STEPS):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps)


def plain(rule, e, N, seed, dtype="float64"):
    return numpy_network.run_of(rule, e, numpy_network.drawn_by(e, N, seed, dtype))


# --- The numpy loop --------------------------------------------------------------------------------------------------

# Every rule at every depth; activations and numbers of outputs take turns. Width 12 folds the learned part into the matrices
# every second step, width 60 keeps all of it factored.
TURNS = [("tanh", 1), ("relu", 3), ("erf", 1), ("linear", 3)]
CASES = [(rule, depth, *TURNS[(k + depth) % 4], 12) for k, rule in enumerate(RULES) for depth in (1, 2, 3)]
CASES += [("GD", 3, "tanh", 1, 60), ("FA", 2, "relu", 1, 60), ("DFA", 3, "tanh", 3, 12), ("GLN", 2, "relu", 1, 13)]


@pytest.mark.parametrize("rule, depth, activation, outputs, width", CASES)
def test_training_agrees_with_a_plain_numpy_loop(rule, depth, activation, outputs, width):
    e = experiment(rule, depth, activation, THREE if outputs > 1 else TASK, lr=0.02 if rule == "Hebb" else 0.05)
    run, expected = network.train(e, width, seed=4), plain(rule, e, width, 4)
    for name in (*RECORDED, "f_test", "final_h"):
        # Rounding only: 8 steps, each a few sums over at most 60 neurons.
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert np.linalg.norm(run.Phi[-1] - run.Phi[0]) > 0.02 * np.linalg.norm(run.Phi[0])  # something was learned
    assert not run.f[0].any() and not run.f_test[0].any()
    np.testing.assert_allclose(run.loss, (run.Delta**2).reshape(STEPS, P, -1).sum(axis=2).mean(axis=1))


def test_float32_is_float64_rounded():
    e = experiment()
    single = network.train(e, 60, seed=3, dtype="float32")
    expected = plain("GD", e, 60, 3, "float32")  # in float64, from the same single-precision weights
    for name in RECORDED:
        error = np.linalg.norm(getattr(single, name) - expected[name]) / np.linalg.norm(expected[name])
        # A rounding error is 6e-8; f divides a sum of 60 terms of order 1 that cancel to order N^{-1/2}.
        assert 1e-9 < error < 2e-5, name
    assert single.f.dtype == np.float64 and single.provenance.dtype == "float32"  # results have one type


# --- What is drawn ---------------------------------------------------------------------------------------------------


def test_draws_are_standard_normal_and_independent():
    """Of the loop's copy of the library's draws, which are those of the library where both train alike."""
    e = dl.Experiment(dl.Task.random(2, 2), dl.GD(), 3, "relu", 1.0, 0.1, 1)
    drawn, other = (numpy_network.drawn_by(e, 200, seed) for seed in (0, 1))
    blocks = [block for draws in (drawn, other) for kind in draws.values() for block in kind]
    for block in blocks:  # within 4.5 standard errors
        assert abs(block.mean()) < 4.5 / np.sqrt(block.size)
        assert abs(block.var() - 1) < 4.5 * np.sqrt(2 / block.size)
    # One key for two draws has happened elsewhere: no block may repeat or continue another.
    for i, a in enumerate(blocks):
        for b in blocks[:i]:
            n = min(a.size, b.size)
            for x, y in ((a.ravel()[:n], b.ravel()[:n]), (a.ravel()[-n:], b.ravel()[-n:])):
                assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(n)


# --- Ensembles -------------------------------------------------------------------------------------------------------


def test_ensembles_are_means_with_standard_errors_however_they_are_made():
    e, seeds = experiment(), (2, 3, 4)
    runs = [network.train(e, 12, seed) for seed in seeds]
    for made in (network.average(runs), network.ensemble(e, 12, iter(seeds)), network.groups(e, 12, 3, 2, 1)[0]):
        for name in (*RECORDED, "f_test"):
            values = np.stack([getattr(run, name) for run in runs])
            error = values.std(axis=0, ddof=1) / np.sqrt(3)
            np.testing.assert_allclose(getattr(made, name), values.mean(axis=0), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(made.standard_error[name], error, rtol=1e-9, atol=1e-14)
            relative = np.linalg.norm(error) / np.linalg.norm(values.mean(axis=0))
            assert made.relative_error(name) == pytest.approx(relative)
        assert (made.width, made.seeds) == (12, seeds)
        np.testing.assert_allclose(made.loss, ((TASK.y - made.f) ** 2).mean(axis=1))
    assert [group.seeds for group in network.groups(e, 12, 2, first=7, count=3)] == [(7, 8), (9, 10), (11, 12)]
    assert not np.allclose(runs[0].K, runs[1].K)  # seeds differ


def synthetic(width, value, error):
    """An ensemble all of whose entries are one number."""
    shapes = dict.fromkeys(("Phi", "G", "G_tilde", "G_tilde_tilde"), (2, 1, 3, 3)) | dict(f=(2, 3), K=(2, 3, 3))
    arrays, spread = ({name: np.full(shape, x) for name, shape in shapes.items()} for x in (value, error))
    return network.Ensemble(experiment(), width, (width,), **arrays, standard_error=spread)


@pytest.mark.parametrize("widths", [(512, 1024), (100, 200, 700)])
def test_extrapolation_is_exact_for_a_line_in_one_over_N(widths):
    limit = network.extrapolate([synthetic(N, 2.0 + 30.0 / N, 0.1) for N in widths])
    for name in RECORDED:
        np.testing.assert_allclose(getattr(limit, name), 2.0, rtol=1e-12)
    assert limit.width == np.inf and limit.seeds == widths
    if len(widths) == 2:  # 2 × wide − narrow
        np.testing.assert_allclose(limit.standard_error["K"], 0.1 * np.sqrt(5), rtol=1e-12)
        with pytest.raises(ValueError, match=r"in 1/N made a trace -3\. Take wider networks, or more seeds\."):
            _ = network.extrapolate([synthetic(N, 32.0 / N - 1.0, 0.1) for N in (16, 32)]).corr_g


# --- Divergence, history ---------------------------------------------------------------------------------------------


def test_divergence_names_the_step_and_a_smaller_lr():
    e = experiment(activation="relu", lr=1.5, steps=60)
    with pytest.raises(
        dl.Diverged, match=r"at step \d+ .*`lr` = 1.5 is probably too large.*stable_lr\(experiment\) finds"
    ) as caught:
        network.train(e, 12)
    step = int(str(caught.value).split("at step ")[1].split()[0])
    # Where the loss is first 100 times the initial one, or not a number, in the plain loop; a shorter run raises nothing.
    with np.errstate(all="ignore"):
        loss = ((TASK.y - plain("GD", e, 12, 0)["f"]) ** 2).mean(axis=1)
    assert step == np.argmax(~(loss <= 100 * loss[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(network.train(dataclasses.replace(e, steps=step), 12).f).all()


def test_features_of_narrow_hebbian_networks_grow_more_than_the_theory_by_order_one_over_width():
    e = dl.Experiment(dl.Task.random(8, 50, 1), dl.Hebb(), 2, "tanh", 0.5, 0.1, 50)
    growth = lambda run: np.trace(run.Phi[-1, -1]) / np.trace(run.Phi[0, -1])  # noqa: E731
    theory = np.mean([growth(dl.meanfield.solve(e, 4096, seed, tol=1e-3, dtype="float32")) for seed in (0, 1)])
    excess = []
    for width, networks in ((64, 64), (128, 48)):
        found = [growth(run) for run in dl.network.groups(e, width, networks, 0, dtype="float32")]
        mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
        excess.append(np.array([width * (mean - theory), width * error]))
    (narrow, error), (wide, other) = excess
    assert narrow > 10 * error and wide > 10 * other and abs(narrow - wide) < 3 * np.hypot(error, other)
