"""Rich dynamics of the other four rules: the mean field against networks, and what they have in common."""

from dataclasses import replace

import numpy as np
import numpy_network
import pytest

import dmftlib as dl
from companion import figures
from dmftlib.results import target_alignment

QUANTITIES = ("f", "Phi", "G", "K")


@pytest.mark.parametrize(
    "rule, activation, gamma0",
    [
        pytest.param(dl.FA(0.0), "tanh", 1.5, marks=pytest.mark.slow),
        (dl.FA(0.6), "tanh", 1.5),
        (dl.DFA(), "tanh", 1.5),
        (dl.GLN(), "relu", 1.0),
        (dl.Hebb(), "tanh", 0.5),  # richer, its spread between networks hides everything
    ],
    ids=str,
)
def test_mean_field_is_the_limit_of_networks(rule, activation, gamma0):
    experiment = dl.Experiment(dl.Task.random(4, 12), rule, 2, activation, gamma0, lr=0.1, steps=15)
    theory = dl.meanfield.solve(experiment, 8192)
    networks = [dl.network.ensemble(experiment, N, range(N, N + 48)) for N in (128, 256)]
    comparison = dl.compare(theory, dl.network.extrapolate(networks))
    moved = np.linalg.norm(theory.Phi[-1] - theory.Phi[0]) / np.linalg.norm(theory.Phi[0])
    for name in QUANTITIES:
        distance, error = comparison[name]
        # Entries move together, so a distance is |a few Gaussians| rather than 1 standard error: 2.5 of them.
        assert distance < 2.5 * np.hypot(error, theory.provenance.errors["monte_carlo"][name])
        # A wrong factor would be seen: what moves is many times the error it is compared with.
        assert name != "Phi" or moved > 4 * error


def test_one_hidden_layer_direct_feedback_is_feedback_alignment():
    """The only feedback vector is the readout's: with the same draws the two rules are the same, to the bit."""
    runs = [
        dl.meanfield.solve(dl.Experiment(dl.Task.random(5, 8), rule, 1, "relu", 2.0, 0.05, 30), 2048)
        for rule in (dl.FA(0.0), dl.DFA())
    ]
    for name in ("f", "Phi", "G_tilde", "K"):
        np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name))


@pytest.mark.parametrize("rho", [-0.1, 1.5, float("nan"), "half", True])
def test_feedback_correlation_is_checked(rho):
    with pytest.raises(ValueError, match="`rho` is the correlation of feedback with initial weights, 0 ≤ rho ≤ 1"):
        dl.FA(rho)


def test_hebb_that_runs_away_names_the_step():
    experiment = dl.Experiment(dl.Task.random(6, 25), dl.Hebb(), 3, "relu", 1.0, 0.05, 30)
    for engine in (lambda e: dl.meanfield.solve(e, 1024), lambda e: dl.network.train(e, 64)):
        with pytest.raises(dl.Diverged, match=r"at step \d+ the loss is .* `lr` = 0.05 is probably too large"):
            engine(experiment)


NOISE = dl.Task.random(4, 25, seed=1)
DIRECTION = np.random.default_rng(2).standard_normal(25)
LEANING = dl.Task(NOISE.X + 0.7 * np.outer(NOISE.y, DIRECTION), NOISE.y)  # one direction of its inputs is the task
HEBB = dict(rule=dl.Hebb(), hidden_layers=2, activation="tanh", gamma0=0.5, lr=0.1, steps=50)


@pytest.mark.parametrize("task, sign", [(NOISE, -1), (LEANING, 1)], ids=["noise", "leaning"])
def test_hebb_follows_the_largest_direction_of_its_inputs(task, sign):
    """Alignment falls on noise and rises where the inputs lean along the targets, in theory and in plain numpy networks."""
    experiment = dl.Experiment(task, **HEBB)
    gain = np.diff(dl.meanfield.solve(experiment, 1024, tol=1e-3).alignment[[0, -1]])
    found = []
    for seed in range(4):
        drawn = numpy_network.draw(np.random.default_rng(seed), 2, 192, task.D)
        run = numpy_network.train("Hebb", "tanh", drawn, task.X, task.y, 0.5, 0.1, 50)
        found.append(np.diff(target_alignment(run["K"][[0, -1]], task.y)))
    assert sign * gain > 0.03
    assert sign * np.mean(found) > 2 * np.std(found) / np.sqrt(3)


@pytest.mark.parametrize("task", [NOISE, LEANING, dl.Task.random(10, 50, 1), dl.Task.whitened([1.0, -1.0])])
def test_what_hebb_does_to_alignment_is_decided_by_the_inputs(task):
    """Two linear layers: the kernel is K_x, multiplied from both sides; its first turn has the sign of a formula."""
    gamma0, lr = 0.5, 0.002
    experiment = dl.Experiment(task, dl.Hebb(), 1, "linear", gamma0, lr, 40)
    run, K, y = dl.meanfield.solve(experiment, 256), task.K_x, task.y
    M = np.eye(task.P)
    for error in run.Delta[:-1]:
        M = (np.eye(task.P) + gamma0 * lr * K * error**2) @ M
    np.testing.assert_allclose(run.Phi[-1, 0], M @ K @ M.T, rtol=1e-9, atol=1e-12)
    rate = 2 * (y @ K @ K @ y / (y @ K @ y) - np.trace(K @ K @ K) / np.trace(K @ K))
    A = target_alignment(run.Phi[:2, 0], y)
    np.testing.assert_allclose(np.log(A[1] / A[0]) / (gamma0 * lr), rate, rtol=0.05, atol=1e-9)


@pytest.fixture(scope="module", params=[0.2, 0.1], ids=["step", "half the step"])
def ends(request):
    """Networks at the end: themselves, shares of the terms of K, and their alignments; GD and frozen feedbacks."""
    e = dl.Experiment(dl.Task.random(4, 10), dl.GD(), 3, "tanh", 1.5, request.param, round(3.8 / request.param) + 1)
    rules = {"GD": dl.GD(), 0: dl.FA(0.0), 1: dl.FA(1.0)}
    runs = {name: dl.network.ensemble(replace(e, rule=rule), 384, range(8)) for name, rule in rules.items()}
    terms = {name: figures.layer_terms(run)[-1] for name, run in runs.items()}
    shares = {name: np.trace(term, axis1=1, axis2=2) / np.trace(term.sum(axis=0)) for name, term in terms.items()}
    return runs, shares, {name: target_alignment(term, e.task.y) for name, term in terms.items()}


def test_worse_frozen_feedback_moves_features_further_but_not_as_far_as_gradient_descent(ends):
    """In the setting of its chapter. The order among ρ held in all settings tried; that with GD is of this one."""
    H_y = {name: run.H_y[-1] for name, run in ends[0].items()}
    assert H_y["GD"] > H_y[0] + 0.05 > H_y[1] + 0.1


def test_a_kernel_can_be_aligned_for_having_lost_what_is_not(ends):
    runs, shares, alignments = ends
    assert runs[0].alignment[-1] > runs["GD"].alignment[-1] > runs[1].alignment[-1]
    assert (alignments[0] < alignments["GD"]).all() and (np.diff(alignments["GD"]) > 0).all()
    assert shares[0][0] < 0.5 * shares["GD"][0]
