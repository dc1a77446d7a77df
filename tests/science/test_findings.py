"""The five findings of the chapter `rules`, each against its baseline: in theory, at half the step, and in networks.

The setting is the chapter's deep one with a larger step and fewer samples. Each value is a difference from the baseline
that would be zero, or have the other sign, if the finding were false.
"""

from dataclasses import replace

import numpy as np
import pytest

import dmftlib as dl
from companion.statistics import layer_terms, mean_and_error
from dmftlib.results import target_alignment

RULES = {"GD": dl.GD(), "FA": dl.FA(0.0), "DFA": dl.DFA(), "GLN": dl.GLN(), "Hebb": dl.Hebb()}
TASK = dl.Task.random(8, 50, 1)
SOURCES = "theory", "half the step", "networks"
pytestmark = pytest.mark.parametrize("source", SOURCES)


def experiment(rule, gamma0=0.5, lr=0.1, steps=50):
    return dl.Experiment(TASK, rule, 2, "tanh", gamma0, lr, steps)


def solved(e, source):
    """Independent runs: two of the theory, or eight groups of networks."""
    if source == "networks":
        return dl.network.groups(e, 256, 2, 0, dtype="float32")
    if source == "half the step":
        e = replace(e, lr=e.lr / 2, steps=2 * e.steps - 1)
    return [dl.meanfield.solve(e, 1024, seed, tol=1e-3, dtype="float32") for seed in (0, 1)]


@pytest.fixture(scope="module")
def runs():
    return {source: {name: solved(experiment(rule), source) for name, rule in RULES.items()} for source in SOURCES}


def above(values, least=0.0):
    """Whether the mean is above `least` by more than twice its standard error."""
    mean, error = mean_and_error(values)
    return mean - 2 * error > least


def shares(run, step=-1):
    traces = np.trace(layer_terms(run)[step], axis1=1, axis2=2)
    return traces / traces.sum()


def differences(metric, one, other):
    return [metric(a) - metric(b) for a, b in zip(one, other)]


def test_a_lazy_rule_chooses_which_weight_matrices_count(source, runs):
    found = {name: [shares(run, 0)[-1] for run in each] for name, each in runs[source].items()}
    for name, rule in RULES.items():
        (exact,) = dl.lazy.initial(experiment(rule)).K
        terms = layer_terms(dl.lazy.initial(experiment(rule)))[0]
        np.testing.assert_allclose(terms.sum(axis=0), exact)
        mean, error = mean_and_error(found[name])
        share = np.trace(terms[-1]) / np.trace(exact)
        assert abs(mean - share) <= 3 * error + 1e-6
        assert (share > 0.999) == (name in ("FA", "DFA", "Hebb"))
        if share > 0.999:
            assert above(np.subtract(found[name], found["GD"]), 0.5)
    for l, full in enumerate(layer_terms(dl.lazy.initial(experiment(dl.GD())))[0]):
        part = layer_terms(dl.lazy.initial(experiment(dl.FA(0.5))))[0][l]
        np.testing.assert_allclose(part, 0.5 ** (2 - l) * full, rtol=1e-9)


def test_rich_training_turns_gradients_towards_random_feedback(source, runs):
    hidden = lambda run: shares(run)[:-1].sum()  # noqa: E731
    for name in ("FA", "DFA"):  # when lazy, both stay at zero
        assert above([run.corr_g[-1] - run.corr_g[0] for run in runs[source][name]], 0.25)
        assert above([shares(run)[:-1].sum() - shares(run, 0)[:-1].sum() for run in runs[source][name]], 0.3)
        assert above(differences(hidden, runs[source][name], runs[source]["Hebb"]), 0.3)


def test_on_noise_four_rules_turn_the_entk_towards_the_task_and_hebb_away_while_it_grows_most(source, runs):
    growth = lambda run: np.trace(run.Phi[-1, -1]) / np.trace(run.Phi[0, -1])  # noqa: E731
    for name, each in runs[source].items():
        gains = np.array([run.alignment[-1] - run.alignment[0] for run in each])
        if name == "Hebb":
            assert above(-gains, 0.05)
        else:
            assert above(gains, 0.05)
            assert above(differences(growth, runs[source]["Hebb"], each), 0.3)


def test_feedback_alignment_has_the_better_aligned_entk_and_the_worse_aligned_features(source, runs):
    def alignments(run):
        return target_alignment(layer_terms(run)[-1], TASK.y)

    fa, gd = runs[source]["FA"], runs[source]["GD"]
    assert above(differences(lambda run: run.alignment[-1], fa, gd), 0.1)
    assert above(differences(lambda run: alignments(run)[-1], gd, fa))
    assert above(differences(lambda run: shares(run)[0], gd, fa), 0.2)
    for each in (fa, gd):
        assert above([alignments(run)[1:].min() - alignments(run)[0] for run in each], 0.1)


def test_features_change_with_the_square_of_richness_under_four_rules_and_linearly_under_hebb(source):
    gammas, powers = (0.1, 0.2) if source == "networks" else (0.05, 0.1), {}
    for name, rule in RULES.items():
        each = [experiment(rule, gamma0, 0.15, 20) for gamma0 in gammas]
        moved = np.array([[run.Phi[-1, -1] - run.Phi[0, -1] for run in solved(e, source)] for e in each])
        # Networks also fluctuate, in proportion to γ₀, in all directions: look along the theory's.
        along = moved
        if source == "networks":
            theory = [solved(e, "theory")[0].Phi for e in each]
            along = np.array([[Phi[-1, -1] - Phi[0, -1]] for Phi in theory])
        sizes = (moved * along).sum(axis=(2, 3)) / np.linalg.norm(along, axis=(2, 3))
        mean, error = mean_and_error(np.transpose(sizes))
        powers[name] = np.log2(mean[1] / mean[0]), np.hypot(*(error / mean)) / np.log(2)
    hebb, noise = powers.pop("Hebb")
    assert abs(hebb - 1) < 0.2 + 2 * noise and noise < 0.1
    for power, error in powers.values():
        assert power - hebb > max(0.5, 2 * np.hypot(error, noise))
