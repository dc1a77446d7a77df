"""The solver's two error estimates against the truth, in a hard case: γ₀ = 3, three tanh layers."""

import numpy as np
import pytest

import dmftlib as dl

SEEDS, TOL = range(5), 1e-3


def relative(x, reference):
    return np.linalg.norm(x) / np.linalg.norm(reference)


@pytest.fixture(scope="module")
def solves():
    """The same draws solved at TOL and, as the truth about truncation, at a hundredth of it."""
    experiment = dl.Experiment(dl.Task.random(4, 25), dl.GD(), 3, "tanh", gamma0=3.0, lr=0.05, steps=25)
    runs = [dl.meanfield.solve(experiment, 4096, seed, TOL) for seed in SEEDS]
    truth = [dl.meanfield.solve(experiment, 4096, seed, TOL / 100) for seed in SEEDS]
    assert relative(runs[0].Phi[-1, -1] - runs[0].Phi[0, -1], runs[0].Phi[0, -1]) > 1  # it is rich
    assert all(run.provenance.discarded <= 4 * TOL for run in runs)  # four fields: all that tol allows may be one's
    return runs, truth


@pytest.mark.parametrize("name", ["f", "Phi", "G_tilde", "K"])
def test_monte_carlo_error_is_the_scatter_between_seeds(solves, name):
    runs, _ = solves
    values = np.stack([getattr(run, name) for run in runs])
    mean = values.mean(axis=0)
    scatter = relative(values - mean, mean) / np.sqrt(len(runs) - 1)
    estimate = np.sqrt(np.mean([run.provenance.errors["monte_carlo"][name] ** 2 for run in runs]))
    # All entries move together, so each side has only a few degrees of freedom: a factor of two.
    assert 0.5 < estimate / scatter < 2


@pytest.mark.parametrize("name", ["f", "Phi", "G_tilde", "K"])
def test_tol_error_is_the_bias_that_a_smaller_tol_removes(solves, name):
    runs, truth = solves
    change = np.stack([getattr(run, name) - getattr(exact, name) for run, exact in zip(runs, truth)])
    reference = getattr(truth[0], name)
    bias = relative(change.mean(axis=0), reference)
    noise = relative(change.std(axis=0, ddof=1), reference) / np.sqrt(len(runs))
    estimate = np.mean([run.provenance.errors["tol"][name] for run in runs])
    # Never too small; too large by at most a small factor. Outputs converge faster than √tol, so theirs is cautious.
    assert bias < 2 * estimate + noise
    assert estimate < (10 if name == "f" else 4) * bias + noise


def test_tol_error_falls_with_tol(solves):
    runs, truth = solves
    errors = [np.mean([run.provenance.errors["tol"]["K"] for run in some]) for some in (runs, truth)]
    assert errors[1] < errors[0] / 3  # 100^0.5 = 10 without sampling noise


def test_an_average_states_the_scatter_of_its_mean(solves):
    runs, _ = solves
    mean = dl.meanfield.average(runs)
    values = np.stack([run.K for run in runs])
    np.testing.assert_allclose(mean.K, values.mean(axis=0), rtol=1e-12)
    scatter = relative(values - mean.K, mean.K) / np.sqrt(len(runs) * (len(runs) - 1))
    assert mean.provenance.errors["monte_carlo"]["K"] == pytest.approx(scatter)
    assert mean.provenance.size == 5 * 4096 and mean.provenance.errors["tol"] == runs[0].provenance.errors["tol"]
    with pytest.raises(ValueError, match="at least two solutions"):
        dl.meanfield.average(runs[:1])
