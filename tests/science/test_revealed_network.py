"""Networks whose matrices are drawn only where they act: one matrix, of the right distribution, in linear memory."""

import tracemalloc
from dataclasses import replace

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
    C, steps, rates = e.task.outputs, range(e.steps), np.array([[1, 0]] * (e.steps + 1))
    if e.rates is not None:
        rates = np.concatenate([e.rates, [[0, 0]]])
    for l, revealed_matrix in enumerate(weights[1:-1]):
        features, sent = revealed_matrix.features, revealed_matrix.sent
        last = features.rows("now").T @ features.rows() + sent.rows().T @ sent.rows("weights")
        for t in steps:
            Delta = run.Delta[t].reshape(P, C) * (1 if e.masks is None else e.masks[t, :, None])
            signal = (Delta.reshape(-1, 1) * run.history["g_tilde"][t, l + 1]).reshape(P, C, N).sum(axis=1)
            rate = rates[t, 0] + rates[t + 1, 1]  # of this step's update, at this step and at the next
            last -= rate * (e.branch or 1) * e.gamma0 * e.lr * signal.T @ run.history["phi"][t, l]
        W.append(last / np.sqrt(N))
        fed = revealed_matrix.fed
        feedback.append(fed.rows().T @ fed.rows("feedback") / np.sqrt(N) if "fresh_T" in asked else None)
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
@pytest.mark.parametrize(
    "change", [{}, dict(batches=[[0], [2, 1]]), dict(substeps=3, lr=0.02)], ids=["", "batches", "substeps"]
)
def test_a_revealed_network_is_a_network(rule, depth, activation, outputs, width, change, monkeypatch):
    """The dense matrices that its products imply, trained by the plain loop, give the same run."""
    e = replace(experiment(rule, depth, activation, TWO if outputs > 1 else TASK), **change)
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


# Of 60 standard normal differences the largest is above 4 once in 260 cases, the least of 9 p below 1e-3 once in 110.
def alike(mean, variance, p):
    return mean < 4 and variance < 4 and p > 1e-3


@pytest.fixture(scope="module")
def dense():
    """Networks of width 64 with all of their matrices, by rule and number of outputs."""
    kept = {}

    def networks(rule, outputs):
        if (rule, outputs) not in kept:
            e = experiment(rule, 2, task=TWO if outputs > 1 else TASK)
            kept[rule, outputs] = e, sample(e, 64, range(2000), False)
        return kept[rule, outputs]

    return networks


@pytest.mark.parametrize("rule, outputs", [("GD", 1), ("FA", 1), ("GLN", 1), ("mixed", 1)])
def test_its_distribution_is_that_of_networks(rule, outputs, dense):
    e, networks = dense(rule, outputs)
    assert alike(*differ(sample(e, 64, range(500), True), networks))


LARGER = [("DFA", 2, 64, 500), ("Hebb", 2, 64, 500), ("GD", 2, 256, 600), ("FA", 3, 256, 600), ("GD", 2, 1024, 500)]


@pytest.mark.parametrize("rule, depth, width, seeds", LARGER)
def test_deeper_and_wider_ones_are_distributed_as_networks(rule, depth, width, seeds):
    e = experiment(rule, depth, task=TWO if rule == "GD" else TASK)
    assert alike(*differ(sample(e, width, range(seeds), True), sample(e, width, range(seeds), False)))


def normalized(n, known):
    rest = n - (n @ known.T / n.shape[1]) @ known
    return rest / np.sqrt((rest**2).mean(axis=1))[:, None]


def not_orthogonal(n, known):
    return n


@pytest.mark.parametrize("wrong", [normalized, not_orthogonal])
def test_the_comparison_sees_images_without_their_law(wrong, dense, monkeypatch):
    """A length that does not fluctuate, and images that change what is known of the matrix."""
    e, networks = dense("GD", 1)
    monkeypatch.setattr(revealed, "unknown", wrong)
    assert not alike(*differ(sample(e, 64, range(500), True), networks))


def test_feedback_is_known_from_one_side_only(monkeypatch):
    """What W makes of a field has nothing in common with features of which the answer was known; frozen feedback may have."""
    made, original = [], revealed.initialize
    monkeypatch.setattr(revealed, "initialize", lambda *args: made.append(original(*args)) or made[0])
    network.train(experiment("FA", 2, steps=1), 40, revealed=True)
    matrix = made[0][1][1]
    weights, feedback = (
        rows @ matrix.features.rows().T / 40 for rows in (matrix.sent.rows("weights"), matrix.fed.rows("feedback"))
    )
    assert np.abs(weights).max() < 1e-14 and 0.1 < np.sqrt((feedback**2).mean()) < 0.25


# --- Use -------------------------------------------------------------------------------------------------------------


def test_a_longer_run_begins_like_a_shorter_one():
    """A direction's Gaussians are those of the field that needs it, however many there is room for."""
    short, long = (network.train(experiment("FA", steps=T), 50, seed=2, revealed=True) for T in (3, 6))
    for name in (*RECORDED, "f_test"):
        np.testing.assert_array_equal(getattr(long, name)[:3], getattr(short, name))
    other = network.train(experiment("FA", steps=3), 50, seed=3, revealed=True)
    assert np.linalg.norm(other.K - short.K) > 0.01 * np.linalg.norm(short.K)


def test_bases_grow_beyond_the_room_that_they_began_with():
    rng = np.random.default_rng(0)
    basis = revealed.Directions({"now": "forward"}, lambda kind, k: np.full(20, float(k)), (3, 20), (20, 20), "float64")
    fields = rng.standard_normal((9, 20))
    for rows in np.split(fields, 3):
        coefficients, outside = basis.extend(rows, np.ones(3), 1e-26, np.zeros((0, 20)))
        np.testing.assert_allclose(coefficients @ basis.rows(), rows, atol=1e-13)
        assert outside == 0
    np.testing.assert_allclose(basis.rows() @ basis.rows().T / 20, np.eye(9), atol=1e-14)
    np.testing.assert_array_equal(basis.rows("now")[:, 0], range(9))


def test_float32_stays_float32():
    """Else every product would first make a wide copy of the basis, in three times the time."""
    basis = revealed.Directions(
        {"now": "forward"}, lambda kind, k: np.ones(20, np.float32), (3, 20), (20, 20), "float32"
    )
    fields = np.random.default_rng(0).standard_normal((5, 20)).astype(np.float32)
    coefficients, _ = basis.extend(fields, np.ones(5, np.float32), 1e-11, np.zeros((0, 20), np.float32))
    assert coefficients.dtype == np.float32


def test_what_is_recorded():
    e = experiment("FA")
    all_steps, ends = (
        network.train(e, 40, revealed=True, record=r, kernels_at=at) for r, at in ((1, None), (0, (0, 5)))
    )
    for name in RECORDED[1:]:
        np.testing.assert_array_equal(getattr(all_steps, name)[[0, 5]], getattr(ends, name))
    two_times = all_steps.two_time()["Phi"]
    np.testing.assert_allclose(np.einsum("ltmtn->tlmn", two_times), all_steps.Phi, rtol=1e-12)
    assert ends.history is None and all_steps.final_h.shape == (3, 40, P) and all_steps.provenance.engine == "network"
    single = network.train(e, 40, revealed=True, dtype="float32")
    assert single.f.dtype == np.float64 and 0 < np.abs(single.f - all_steps.f).max()


def test_an_ensemble_of_revealed_networks():
    runs = [network.train(experiment("GD"), 30, seed, revealed=True) for seed in (1, 2)]
    together = network.ensemble(experiment("GD"), 30, (1, 2), revealed=True)
    np.testing.assert_allclose(together.K, (runs[0].K + runs[1].K) / 2, rtol=1e-12)
    (group,) = network.groups(experiment("GD"), 30, 2, 1, count=1, revealed=True)
    np.testing.assert_array_equal(group.K, together.K)


def test_what_revealed_networks_cannot_do_is_refused(tmp_path):
    e = experiment("GD", 2)
    for run in (network.train(e, 20, revealed=True), network.ensemble(e, 20, (1, 2), revealed=True)):
        for result in (run, dl.load(dl.save(run, tmp_path / "run"))):
            with pytest.raises(ValueError, match="with new points the same seeds give other networks"):
                dl.predict(result, TASK.X_test)
    with pytest.raises(ValueError, match=r"`revealed` networks have no weight decay; got weight_decay = 0\.1"):
        network.train(replace(e, weight_decay=0.1), 20, revealed=True)


def test_memory_is_linear_in_the_width():
    N = 10_000
    network.train(experiment("FA", steps=2), 16, revealed=True)
    tracemalloc.start()
    network.train(experiment("FA", steps=2), N, revealed=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * N * N / 10  # a tenth of a single matrix


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(machine, "_machine_memory", lambda: 5e6)
    with pytest.raises(
        MemoryError, match=r"`width` = 10000 would take at least .* GiB.* Pass a `width` of at most \d+"
    ):
        network.train(experiment("GD"), 10_000, revealed=True)
    with pytest.raises(MemoryError, match=r"need more than .* directions .* Pass a smaller `width`"):
        network.train(experiment("GD", steps=200), 300, revealed=True)
    with pytest.raises(ValueError, match=r"`width` must be a whole number, at least 1; got 1000000\.0"):
        network.train(experiment("GD"), 1e6, revealed=True)


def test_a_run_that_diverges_says_so():
    e = dl.Experiment(TASK, dl.GD(), 2, "relu", 1.0, 100.0, 30)
    with pytest.raises(dl.Diverged, match="the run diverged: at step"), np.errstate(all="ignore"):
        network.train(e, 30, revealed=True)
