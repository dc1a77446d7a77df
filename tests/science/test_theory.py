"""The mean field against networks, rule by rule: small cases of every kind, and references at sizes where it can fail."""

import sys

import numpy as np
import pytest
from numpy_network import Mixed

import dmftlib as dl
from dmftlib.results import target_alignment
from tools import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import reference


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)  # noqa: E731


@pytest.mark.parametrize(
    "rule, activation, gamma0, outputs",
    [
        (dl.GD(), "erf", 1.5, 3),
        (dl.FA(0.6), "tanh", 1.5, 3),
        (dl.DFA(), "tanh", 1.5, 1),
        (dl.GLN(), "relu", 1.0, 3),
        (dl.Hebb(), "tanh", 0.5, 1),  # richer, its spread between networks hides everything
        slow(dl.FA(0.0), "tanh", 1.5, 1),
        slow(dl.DFA(), "relu", 1.0, 3),
        slow(dl.Hebb(), "erf", 0.5, 3),
        slow(Mixed(0.5), "tanh", 1.0, 1),
    ],
    ids=str,
)
def test_mean_field_is_the_limit_of_networks(rule, activation, gamma0, outputs):
    task = dl.Task.random(4, 12, P_test=2)
    y = task.y if outputs == 1 else np.random.default_rng(7).standard_normal((4, outputs)) / np.sqrt(outputs)
    e = dl.Experiment(dl.Task(task.X, y, task.X_test), rule, 2, activation, gamma0, lr=0.1, steps=15)
    theory = dl.meanfield.solve(e, 8192)
    networks = [dl.network.ensemble(e, N, range(N, N + 48), "float32") for N in (128, 256)]
    comparison = dl.compare(theory, dl.network.extrapolate(networks))
    moved = distance(theory.Phi[-1], theory.Phi[0])
    for name in ("f", "Phi", "G", "G_tilde", "K"):
        found, error = comparison[name]
        # Entries move together, so a distance is |a few Gaussians| rather than 1 standard error: 2.5 of them.
        assert found < 2.5 * np.hypot(error, theory.provenance.errors["monte_carlo"][name]), name
        # A wrong factor would be seen: what moves is many times the error it is compared with.
        assert name != "Phi" or moved > 4 * error


# --- The reference cases: every rule at one, two and three hidden layers ---------------------------------------------

# A share of each quantity's norm, or twice the reference's own standard error where that is larger.
TIGHT = dict(f=0.005, Phi=0.015, G_tilde=0.03, K=0.015)
LIMITS = dict(f=0.007, Phi=0.02, G_tilde=0.04, K=0.02)
RULES_AND_DEPTHS = [case for case, e in reference.CASES.items() if e.task.P == 10]


@pytest.mark.parametrize("case", RULES_AND_DEPTHS)
def test_references_are_sharp_rich_and_start_from_the_lazy_kernel(case):
    ensemble, e = reference.load(case), reference.CASES[case]
    for name, limit in LIMITS.items():
        sharp = 0.03 if case.startswith("hebb") else limit / 2
        assert ensemble.standard_error[name] / np.linalg.norm(getattr(ensemble, name)) <= sharp, name
    assert distance(ensemble.Phi[-1, -1], ensemble.Phi[0, -1]) > 1
    assert e.lr * np.abs(np.linalg.eigvals(ensemble.K)).max() < 1
    start = dl.lazy.kernels(e)
    for name in ("Phi", "K"):
        assert distance(getattr(ensemble, name)[0], getattr(start, name)) < 0.04, name


# Where feedback passes through W(0)ᵀ and features follow it most: these bound a bias below the errors of the others.
FINE = dict(one=(65536, 1e-4), two=(65536, 1e-4), hard=(16384, 3e-4))


@pytest.mark.parametrize("case", FINE)
def test_feedback_through_initial_weights_is_right_within_the_errors(case):
    # Measured without the response to directions that the gradient shares: 8 (one), 3 (two) and 2 (hard) of both errors.
    samples, tol = FINE[case]
    run, limit = dl.meanfield.solve(reference.CASES[case], samples, seed=1, tol=tol), reference.load(case)
    for name in ("f", "Phi", "G", "G_tilde", "K"):
        found, noise = dl.compare(run, limit)[name]
        stated = [run.provenance.errors[source][name] for source in ("monte_carlo", "tol")]
        assert found < 2 * np.linalg.norm([noise, *stated]), name


@pytest.mark.parametrize("case", RULES_AND_DEPTHS)
def test_accuracy_against_wide_networks(case):
    run = dl.meanfield.solve(reference.CASES[case], samples=16384, tol=1e-4 if case.startswith("gd") else 1e-3)
    comparison = dl.compare(run, reference.load(case))
    for name, limit in (TIGHT if case in ("gd-1", "gd-3") else LIMITS).items():
        found, error = comparison[name]
        assert found <= max(limit, 2 * error), name


# --- What rules have in common, and what they do to features ------------------------------------------------------------


def test_one_hidden_layer_direct_feedback_is_feedback_alignment():
    """The only feedback vector is the readout's: with the same draws the two rules are the same, to the bit."""
    runs = [
        dl.meanfield.solve(dl.Experiment(dl.Task.random(5, 8), rule, 1, "relu", 2.0, 0.05, 30), 2048)
        for rule in (dl.FA(0.0), dl.DFA())
    ]
    for name in ("f", "Phi", "G_tilde", "K"):
        np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name))


NOISE = dl.Task.random(4, 25, seed=1)
DIRECTION = np.random.default_rng(2).standard_normal(25)
LEANING = dl.Task(NOISE.X + 0.7 * np.outer(NOISE.y, DIRECTION), NOISE.y)  # one direction of its inputs is the task


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
