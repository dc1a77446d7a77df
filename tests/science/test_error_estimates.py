"""The solver's two error estimates against the truth: in a hard case, γ₀ = 3, three tanh layers, and in drawn settings."""

import sys
from dataclasses import replace

import numpy as np
import numpy_network
import pytest

import dmftlib as dl
from tools import ROOT
from tools import stated_errors as shown

sys.path.insert(0, str(ROOT / "benchmarks"))
import stated_errors
import stated_networks
from stated_settings import draw

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


# --- Drawn settings against networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "GLN", "Hebb"])
def test_the_networks_of_the_benchmark_are_those_of_the_plain_loop(rule, outputs):
    rho, N, rng = numpy_network.RHO, 20, np.random.default_rng(0)
    s = draw()["s04"]
    s = replace(s, rule=rule, rho=rho, activation="tanh", y=s.y[:, :outputs], gamma0=1.3, steps=6)
    drawn = numpy_network.draw(rng, s.depth, N, s.X.shape[1], outputs)
    one = {name: [w[None] for w in drawn[name]] for name in ("M", "vector")}
    back = [rho * w[None] + np.sqrt(1 - rho**2) * v[None] for w, v in zip(drawn["W"], drawn["feedback"])]
    runs = stated_networks.train(s, 0.05, dict(W=[w[None].copy() for w in drawn["W"]], back=back, **one))
    plain = numpy_network.train(rule, "tanh", drawn, s.X, s.y, s.gamma0, 0.05, s.steps)
    for name in stated_networks.NAMES:
        np.testing.assert_allclose(runs[name][0], plain[name].reshape(runs[name][0].shape), atol=1e-12)


def test_derivatives_of_the_benchmarks_activations():
    h, step = np.linspace(-3, 3, 60), 1e-6  # no point at the kinks
    for phi, phi_dot in stated_networks.PHI.values():
        np.testing.assert_allclose((phi(h + step) - phi(h - step)) / (2 * step), phi_dot(h), atol=1e-8)


def test_a_regression_on_what_is_known_removes_its_noise_and_its_bias():
    rng = np.random.default_rng(0)
    known = 0.1 + rng.standard_normal((400, 3))  # its limit is 0
    values = np.array([1.0, 2.0]) + known @ rng.standard_normal((3, 2)) + 0.01 * rng.standard_normal((400, 2))
    mean, error = stated_networks.adjusted(values, known)
    np.testing.assert_allclose(mean, [1, 2], atol=0.005)
    assert 2e-4 < error < 2e-3  # without it about 0.1


def test_the_limit_of_widths_is_a_line_or_a_parabola_in_one_over_width():
    widths = (64, 128, 256)
    line, error, systematic, apart = stated_networks.limit({N: (np.array([2 + 3 / N]), 1e-3) for N in widths})
    assert line[0] == pytest.approx(2) and systematic == apart == 0 and error == pytest.approx(1e-3 * 5**0.5)
    curved = {N: (np.array([2 + 3 / N + 100 / N**2]), 1e-6) for N in widths}
    value, _, systematic, apart = stated_networks.limit(curved)
    assert value[0] == pytest.approx(2) and 0 < systematic < apart == pytest.approx(100 / 128 * (1 / 64 - 1 / 256))


@pytest.mark.parametrize("level", stated_errors.LEVELS)
def test_stated_errors_hold_in_the_drawn_settings(level):
    found = [row for row in shown.rows(limit=True) if row["level"] == level]
    assert len(found) >= 60
    every = np.array([shown.ratio(row, name) for name in shown.NAMES for row in found])
    assert (every <= 2).mean() >= 0.9 and every.max() <= 4


def test_the_library_says_so_where_networks_are_chaotic_or_diverge():
    chaotic = [
        row for row in shown.rows(limit=True) + shown.rows(limit=False) if row["known"] is None or row["known"] > 0.5
    ]
    assert len({row["setting"] for row in chaotic}) >= 4
    for row in chaotic:
        assert "Diverged" in row.get("raised", "") or row["said"], row["about"]
