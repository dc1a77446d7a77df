"""The solver's error estimates: in drawn settings, whose networks of infinite width are found here, and in a hard case."""

import sys

import numpy as np
import numpy_network
import pytest

import dmftlib as dl
from tools import ROOT
from tools import stated_errors as shown

sys.path.insert(0, str(ROOT / "benchmarks"))
import stated_errors
import stated_networks


def test_derivatives_of_the_benchmarks_activations():
    h, step = np.linspace(-3, 3, 60), 1e-6  # no point at the kinks
    for phi, phi_dot in numpy_network.PHI.values():
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


def test_both_estimates_are_right_in_a_hard_case():
    """Against the scatter between seeds, and against the same draws at a hundredth of tol."""
    e, norm = dl.Experiment(dl.Task.random(4, 25), dl.GD(), 3, "tanh", gamma0=3.0, lr=0.05, steps=25), np.linalg.norm
    runs, truth = ([dl.meanfield.solve(e, 4096, seed, tol) for seed in range(5)] for tol in (1e-3, 1e-5))
    for name in ("f", "Phi", "G_tilde", "K"):
        values, exact = (np.stack([getattr(run, name) for run in some]) for some in (runs, truth))
        noise, tol = (np.array([run.provenance.errors[s][name] for run in runs]) for s in ("monte_carlo", "tol"))
        # All entries move together, so each side has only a few degrees of freedom: a factor of two.
        scatter = norm(values - values.mean(axis=0)) / np.sqrt(4) / norm(values.mean(axis=0))
        assert 0.5 < np.sqrt((noise**2).mean()) / scatter < 2, name
        # Never too small; too large by at most a small factor. Outputs converge faster than √tol: theirs is cautious.
        change = values - exact
        bias, error = (
            norm(change.mean(axis=0)) / norm(exact[0]),
            norm(change.std(axis=0, ddof=1)) / norm(exact[0]) / 5**0.5,
        )
        assert bias < 2 * tol.mean() + error, name
        assert tol.mean() < (10 if name == "f" else 4) * bias + error, name
