"""Networks whose matrices are drawn only where they act: one matrix, of the right distribution, in linear memory."""

import tracemalloc

import numpy as np
import numpy_network
import pytest
from numpy_network import RULES
from scipy.stats import ks_2samp

import dmftlib as dl
from dmftlib import machine, network
from dmftlib.network import revealed
from dmftlib.results import RECORDED

P, STEPS = 3, 6
TASK = dl.Task.random(P, 4, seed=5, P_test=2)
TWO = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 2)), TASK.X_test)


def experiment(rule, depth=3, activation="tanh", task=TASK, steps=STEPS):
    return dl.Experiment(task, RULES[rule], depth, activation, 1.3, 0.02 if rule == "Hebb" else 0.1, steps)


# --- One matrix ------------------------------------------------------------------------------------------------------


def run_and_its_weights(e, N, monkeypatch):
    """A revealed run, and a network of dense matrices that agree with all that was revealed: what is left is 0."""
    made = []

    def initialize(*args):
        X, weights, frozen = original(*args)
        made.extend([weights, weights[0].weights, weights[-1].weights, frozen])
        return X, weights, frozen

    original = revealed.initialize
    monkeypatch.setattr(revealed, "initialize", initialize)
    run = network.train(e, N, seed=4, record=True, revealed=True)
    weights, first, readout, frozen = made
    X, asked = e.task.X_all, revealed.needs(e.rule)
    onto_inputs = np.linalg.pinv(X) @ revealed.input_factor(X) * np.sqrt(X.shape[1])
    W, feedback = [(onto_inputs @ first).T], [None]
    C, steps = e.task.outputs, range(e.steps)
    for l, revealed_matrix in enumerate(weights[1:-1]):
        features, sent = revealed_matrix.features, revealed_matrix.sent
        last = features.rows("now").T @ features.rows() + sent.rows().T @ sent.rows("weights")
        for t in steps:
            signal = (run.Delta[t].reshape(-1, 1) * run.history["g_tilde"][t, l + 1]).reshape(P, C, N).sum(axis=1)
            last -= e.gamma0 * e.lr * signal.T @ run.history["phi"][t, l]
        W.append(last / np.sqrt(N))
        feedback.append(sent.rows().T @ sent.rows("feedback") / np.sqrt(N) if "fresh_T" in asked else None)
        if "initial" in features.images:
            initial = features.rows("initial").T @ features.rows() + sent.rows().T @ sent.rows("weights")
            np.testing.assert_allclose(initial, last, atol=1e-9)
    vector = [layer.fresh_vector if hasattr(layer, "fresh_vector") else layer.vector for layer in frozen]
    gates = [onto_inputs @ revealed_gate for revealed_gate in gate_weights(e, N)] if "gate" in asked else []
    drawn = dict(W=[*W, readout], feedback=[*feedback, weights[-1].fresh], M=[g.T for g in gates], vector=vector)
    return run, drawn


def gate_weights(e, N, seed=4):
    """The Gaussians of the gates, as `initialize` draws them."""
    kind, r = revealed.KINDS.index("gate"), revealed.input_factor(e.task.X_all).shape[1]
    return [
        np.stack([np.random.default_rng((seed, kind, l, N, k)).standard_normal(N) for k in range(r)])
        for l in range(e.hidden_layers)
    ]


CASES = [(rule, 3, "tanh", outputs, 13) for rule in RULES for outputs in (1, 2)]
# Narrower than the fields are many: all is revealed. Wider: nothing is. One hidden layer; a kink; more depth.
CASES += [("FA", 3, "tanh", 1, 3), ("GD", 2, "erf", 1, 200), ("GD", 1, "tanh", 2, 7), ("GD", 3, "relu", 1, 20)]
CASES += [("FA", 5, "tanh", 1, 25), ("GD", 3, "linear", 1, 20)]


@pytest.mark.parametrize("rule, depth, activation, outputs, width", CASES)
def test_a_revealed_network_is_a_network(rule, depth, activation, outputs, width, monkeypatch):
    """The dense matrices that its products imply, trained by the plain loop, give the same run."""
    e = experiment(rule, depth, activation, TWO if outputs > 1 else TASK)
    run, drawn = run_and_its_weights(e, width, monkeypatch)
    expected = numpy_network.run_of(rule, e, drawn)
    for name in (*RECORDED, "f_test", "final_h"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-9, atol=1e-10, err_msg=name)
    assert run.provenance.discarded <= revealed.DISCARDED["float64"]
    assert all(max(pair) <= width for pair in run.provenance.rank)


# --- Its distribution ------------------------------------------------------------------------------------------------


def measured(run):
    """What a network is compared by, one row: outputs half way and last, and entries of the last kernels."""
    pairs = np.triu_indices(P)
    kernels = [getattr(run, name)[-1][..., pairs[0], pairs[1]].ravel() for name in ("Phi", "G_tilde")]
    f = [values[t].ravel() for values in (run.f, run.f_test) for t in (STEPS // 2, -1)]
    return np.concatenate([*f, *kernels, run.K[-1][pairs], run.G[-1, 0][pairs]])


def sample(e, N, seeds, revealed):
    runs = network.training.train_each(e, N, seeds, kernels_at=(STEPS - 1,), revealed=revealed)
    return np.stack([measured(run) for run in runs])


def differ(one, other, projections=8):
    """The largest difference of means and of variances, in standard errors, and the least p of a two-sample test.

    Two-sample tests are of random sums of what was measured, and of its squared distance from the common mean.
    """
    n, m = len(one), len(other)
    spread = np.concatenate([one - one.mean(axis=0), other - other.mean(axis=0)])
    scale = spread.std(axis=0)
    one, other = ((x - other.mean(axis=0))[:, scale > 1e-12] / scale[scale > 1e-12] for x in (one, other))
    mean = np.abs(one.mean(axis=0) - other.mean(axis=0)) / np.sqrt(1 / n + 1 / m)
    squares = [(x - x.mean(axis=0)) ** 2 for x in (one, other)]
    error = np.sqrt(sum(x.var(axis=0) / len(x) for x in squares))
    variance = np.abs(squares[0].mean(axis=0) - squares[1].mean(axis=0)) / error
    sums = np.random.default_rng(0).standard_normal((one.shape[1], projections))
    pairs = [*zip((one @ sums).T, (other @ sums).T), ((one**2).sum(axis=1), (other**2).sum(axis=1))]
    return mean.max(), variance.max(), min(ks_2samp(*pair).pvalue for pair in pairs)


# Of 60 measured numbers the largest of standard normal differences is above 4 once in 250 cases, one of 9 p below 1e-3 in 110.
WITHIN = 4.0, 4.0, 1e-3


@pytest.mark.parametrize("rule, outputs", [(rule, 1) for rule in RULES])
def test_its_distribution_is_that_of_networks(rule, outputs):
    e = experiment(rule, 2)
    mean, variance, p = differ(sample(e, 64, range(600), True), sample(e, 64, range(3000), False))
    print(rule, mean, variance, p)
    assert mean < WITHIN[0] and variance < WITHIN[1] and p > WITHIN[2]
