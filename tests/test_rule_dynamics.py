"""Rich dynamics of the other four rules: the mean field against networks, and what they have in common."""

import numpy as np
import pytest

import dmftlib as dl

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
