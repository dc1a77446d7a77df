"""Rules that the library does not know, defined here: every engine runs them from their formula, and all agree."""

import dataclasses

import numpy as np
import pytest

import dmftlib as dl


@dataclasses.dataclass(frozen=True)
class Mixed(dl.Rule):
    """α × gradient + (1 − α) × direct feedback."""

    alpha: float

    def pseudo_gradient(self, layer):
        return self.alpha * layer.g + (1 - self.alpha) * layer.gain * layer.fresh_vector


@dataclasses.dataclass(frozen=True)
class OnlyTooLow(dl.Rule):
    """Direct feedback for outputs that are too low: samples with Δ_μ ≤ 0 leave the hidden layers alone."""

    def pseudo_gradient(self, layer):
        return (layer.error > 0) * layer.gain * layer.fresh_vector


E = dl.Experiment(dl.Task.random(4, 12, seed=3), Mixed(0.5), 2, "tanh", gamma0=1.0, lr=0.1, steps=24)
OWN = [Mixed(0.5), OnlyTooLow()]


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def with_rule(rule, **changes):
    return dataclasses.replace(E, rule=rule, **changes)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_lazy_kernel_of_a_mixture_is_the_mixture_of_lazy_kernels(alpha):
    gd, found = dl.lazy.kernels(with_rule(dl.GD())), dl.lazy.kernels(with_rule(Mixed(alpha)))
    np.testing.assert_allclose(found.G_tilde, alpha * gd.G, atol=1e-12)
    np.testing.assert_allclose(found.K, gd.Phi[-1] + alpha * (gd.K - gd.Phi[-1]), atol=1e-12)


def test_one_sided_feedback_trains_the_readout_only_when_lazy():
    found = dl.lazy.kernels(with_rule(OnlyTooLow()))
    np.testing.assert_allclose(found.K, found.Phi[-1], atol=1e-12)


@pytest.mark.parametrize("alpha, rule", [(1.0, dl.GD()), (0.0, dl.DFA())])
def test_a_mixture_meets_its_ends(alpha, rule):
    ours, theirs = (dl.network.train(with_rule(r), width=64) for r in (Mixed(alpha), rule))
    np.testing.assert_allclose(ours.K, theirs.K, rtol=1e-9)
    # The mean field draws differ, since a mixture asks for more frozen objects: equal within their Monte Carlo errors.
    ours, theirs = (dl.meanfield.solve(with_rule(r), 16384, tol=1e-3) for r in (Mixed(alpha), rule))
    error = np.hypot(*(run.provenance.errors["monte_carlo"]["K"] for run in (ours, theirs)))
    assert distance(ours.K, theirs.K) < max(4 * error, 0.01)


@pytest.mark.parametrize("rule", OWN)
def test_mean_field_and_networks_agree_and_another_rule_does_not(rule):
    experiment = with_rule(rule)
    ensembles = [dl.network.ensemble(experiment, N, range(N, N + 100)) for N in (128, 256)]
    limit = dl.network.extrapolate(ensembles)
    run = dl.meanfield.solve(experiment, 8192, tol=1e-3)
    assert np.linalg.norm(run.Phi[-1, -1] - run.Phi[0, -1]) > 0.5 * np.linalg.norm(run.Phi[0, -1])
    table = dl.compare(run, limit)
    for name in ("f", "Phi", "G_tilde", "K"):
        found, error = table[name]
        assert found < 2.5 * np.hypot(error, run.provenance.errors["monte_carlo"][name]) + 0.002, (name, found, error)
    # The comparison has power: a rule that is nearly the same is told apart.
    other = dl.meanfield.solve(with_rule(Mixed(0.7) if rule == Mixed(0.5) else dl.DFA()), 8192, tol=1e-3)
    assert distance(other.K, limit.K) > 4 * table["K"][1]


@pytest.mark.parametrize("rule", OWN)
def test_the_lazy_limit_is_met_at_rate_gamma0_squared(rule):
    lazy = dl.lazy.predict(with_rule(rule)).f
    gaps = [distance(dl.meanfield.solve(with_rule(rule, gamma0=g), 16384, tol=1e-5).f, lazy) for g in (0.4, 0.1)]
    noise = dl.meanfield.solve(with_rule(rule, gamma0=0.1), 16384, tol=1e-5).provenance.errors["monte_carlo"]["f"]
    assert gaps[1] < gaps[0] / 16 * 1.5 + 3 * noise


@pytest.mark.parametrize("rule, expected", [(Mixed(0.5), {"A", "B"}), (OnlyTooLow(), {"B"})])
def test_responses_follow_from_what_the_rule_asks_for(rule, expected):
    run = dl.meanfield.solve(with_rule(rule, steps=3), 256, tol=1e-3, record=True)
    assert set(run.responses()) == expected
