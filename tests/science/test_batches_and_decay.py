"""Minibatches and weight decay: networks against a plain loop, theory against networks, closed forms and limits."""

import dataclasses

import jax
import numpy as np
import numpy_network
import pytest
import single_site
from numpy_network import RULES

import dmftlib as dl
from dmftlib import lazy, meanfield, network, stability
from dmftlib.results import RECORDED

P = 4
TASK = dl.Task.random(P, 5, seed=5, P_test=2)
TWO = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 2)), TASK.X_test)
BATCHES = ((0, 2), (1,), (1, 2, 3))
CHANGES = dict(
    batches=dict(batches=BATCHES), decay=dict(weight_decay=0.8), both=dict(batches=BATCHES, weight_decay=0.8)
)


def experiment(rule="GD", depth=2, activation="tanh", task=TASK, gamma0=1.2, lr=0.1, steps=8, **change):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps, **change)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# --- Networks --------------------------------------------------------------------------------------------------------

# Width 12 folds what was learned into the matrices every second step, 60 keeps it factored.
TURNS = [("tanh", TASK), ("relu", TWO), ("erf", TASK), ("linear", TWO)]
CASES = [
    (rule, depth, *TURNS[(k + depth) % 4], list(CHANGES)[(k + 2 * depth) % 3], 12)
    for k, rule in enumerate(RULES)
    for depth in (1, 2, 3)
]
CASES += [("GD", 2, "tanh", TASK, "both", 60), ("FA", 3, "relu", TWO, "both", 60)]


@pytest.mark.parametrize(
    "rule, depth, activation, task, change, width", CASES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_training_agrees_with_a_plain_numpy_loop(rule, depth, activation, task, change, width):
    e = experiment(rule, depth, activation, task, lr=0.02 if rule == "Hebb" else 0.05, **CHANGES[change])
    run = network.train(e, width, seed=4)
    expected = numpy_network.run_of(rule, e, numpy_network.drawn_by(e, width, 4))
    for name in (*RECORDED, "f_test", "final_h"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert not run.f[0].any() and np.abs(run.f[-1]).max() > 0.01


@pytest.mark.parametrize("engine", [lambda e: network.train(e, 40), lambda e: meanfield.solve(e, 256), lazy.predict])
def test_all_samples_in_a_batch_and_no_decay_are_what_there_was(engine):
    e = experiment(steps=6)
    run = engine(e)
    for change in (dict(batches=[range(P)]), dict(weight_decay=0.0)):
        same = engine(dataclasses.replace(e, **change))
        for name in ("f", "f_test", "K"):
            np.testing.assert_array_equal(getattr(same, name), getattr(run, name))


# --- The mean field ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, activation, change",
    [
        ("GD", "tanh", "both"),
        ("FA", "relu", "decay"),
        pytest.param("DFA", "tanh", "batches", marks=pytest.mark.slow),
        pytest.param("GLN", "relu", "both", marks=pytest.mark.slow),
        pytest.param("Hebb", "tanh", "both", marks=pytest.mark.slow),
    ],
)
def test_networks_tend_to_the_mean_field_as_one_over_their_width(rule, activation, change):
    e = experiment(rule, activation=activation, steps=10, gamma0=0.5 if rule == "Hebb" else 1.2, **CHANGES[change])
    theory = meanfield.solve(e, 8192)
    noise = theory.provenance.errors["monte_carlo"]
    squares = squared_distances(e, {name: (getattr(theory, name), noise[name]) for name in ("f", "Phi", "K")})
    # A wrong factor would be seen: without the change the run is another one.
    plain = meanfield.solve(dataclasses.replace(e, weight_decay=0.0, batches=None), 1024)
    assert distance(plain.f, theory.f) ** 2 > 50 * squares["f"]


def squared_distances(e, theory, widths=(64, 128, 256, 512)):
    """Squared distances of networks from the theory, arrays with their own errors by name, at the largest width.

    They fall as 1/N.
    """
    squares = dict.fromkeys(theory, ())
    for N in widths:
        runs = list(network.training.train_each(e, N, range(N, N + 96), "float32"))
        for name, (values, noise) in theory.items():
            squares[name] += (np.mean([distance(getattr(run, name), values) ** 2 for run in runs]) - noise**2,)
    for name, values in squares.items():
        assert abs(np.polyfit(np.log(widths), np.log(values), 1)[0] + 1) < 0.25, (name, values)
    return {name: values[-1] for name, values in squares.items()}


@pytest.mark.parametrize("rule", ["GD", "DFA", "Hebb"])
def test_one_linear_layer_is_a_network_with_orthogonal_weights(rule):
    # Its neurons are Gaussian in as many directions as W⁰, w and the feedback have rows: so many neurons, one along each.
    e = experiment(rule, 1, "linear", TWO, steps=12, lr=0.05, **CHANGES["both"])
    D, C = e.task.D, e.task.outputs
    n = D + 2 * C
    along = np.split(np.sqrt(n) * np.eye(n), [D, D + C])
    drawn = dict(W=[along[0].T, along[1]], feedback=[None, None], M=[along[0].T], vector=[along[2]])
    expected, run = numpy_network.run_of(rule, e, drawn), meanfield.solve(e, 64)
    for name in (*RECORDED, "f_test"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_deep_linear_networks_do_not_depend_on_the_draws():
    e = experiment("FA", 3, "linear", TWO, steps=12, lr=0.05, **CHANGES["both"])
    one, other = (meanfield.solve(e, samples, seed) for samples, seed in ((64, 0), (256, 1)))
    for name in (*RECORDED, "f_test"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("rule, activation", [pytest.param("FA", "tanh", marks=pytest.mark.slow), ("GD", "linear")])
def test_the_sweep_in_numpy_is_the_compiled_one(rule, activation):
    e = experiment(rule, activation=activation, **CHANGES["both"])
    here, compiled = (meanfield.solve(e, 512, tol=1e-4, devices=d) for d in (None, jax.devices()[:1]))
    for name in (*RECORDED, "f_test"):
        assert distance(getattr(here, name), getattr(compiled, name)) < 1e-9, name


@pytest.mark.slow
def test_responses_are_those_of_the_single_site_process():
    e = dataclasses.replace(single_site.experiment(dl.FA(single_site.RHO)), weight_decay=0.5, batches=((0, 1), (1,)))
    single_site.compare(meanfield.solve(e, 20_000, tol=1e-6, record=True), 4000)


# --- The lazy limit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["GD", "FA", "DFA"])
def test_lazy_relu_networks_shrink_by_powers_of_what_decay_leaves(rule):
    L, e = 3, experiment(rule, 3, "relu", TWO, steps=30, **CHANGES["both"])
    known, d, f = lazy.kernels(dataclasses.replace(e, task=TASK)), 1 - e.lr * e.weight_decay, np.zeros((P, 2))
    above, below = [*known.G_tilde, np.ones((P, P))], [TASK.K_x, *known.Phi]
    run = lazy.predict(e)
    for t in range(e.steps):
        np.testing.assert_allclose(run.f[t], f, rtol=1e-9, atol=1e-12)
        # φ^ℓ has ℓ factors d^t, g^{ℓ+1} the other L − ℓ; frozen feedback has none.
        factors = [d ** (L * (t + 1) + (L if rule == "GD" else l) * t) for l in range(L + 1)]
        K = sum(factor * a * b for factor, a, b in zip(factors, above, below))
        mask = np.isin(np.arange(P), BATCHES[t % 3])[:, None]
        f = d ** (L + 1) * f + e.lr * K @ (mask * (TWO.y - f))
    assert run.K is None and run.f_test_inf is None


@pytest.mark.parametrize(
    "rule, activation, task",
    [
        ("GD", "tanh", TASK),
        pytest.param("FA", "relu", TWO, marks=pytest.mark.slow),
        pytest.param("Hebb", "erf", TASK, marks=pytest.mark.slow),
    ],
)
def test_networks_of_little_richness_tend_to_the_lazy_limit(rule, activation, task):
    e = experiment(rule, activation=activation, task=task, gamma0=1e-3, steps=12, **CHANGES["both"])
    with np.errstate(all="ignore"):
        squared_distances(e, {name: (getattr(lazy.predict(e), name), 0.0) for name in ("f", "f_test")})


@pytest.mark.parametrize(
    "rule, activation, gamma0, most",
    [("GD", "relu", 0.01, 0.02), ("FA", "linear", 0.01, 1e-3), ("DFA", "tanh", 0.2, 0.04)],
)
def test_the_mean_field_tends_to_the_lazy_limit(rule, activation, gamma0, most):
    # For other than homogeneous φ, noise is 1/γ₀ times as much where weights decay.
    e = experiment(rule, activation=activation, gamma0=gamma0, **CHANGES["both"])
    run, limit = meanfield.solve(e, 16384), lazy.predict(e)
    assert distance(run.f, limit.f) < most


def test_scales_between_those_that_are_made_are_as_good():
    e = experiment("Hebb", activation="tanh", steps=25, **CHANGES["both"])
    scales, share = lazy._scales(e, e.task.X_all, np.ones((6, 1)))
    assert len(scales) < e.steps == len(share)
    made = lazy.predict(e)
    exact = lazy.predict(dataclasses.replace(e, steps=len(scales)))  # each step has its own scale
    np.testing.assert_allclose(made.f[: len(scales)], exact.f, rtol=0, atol=1e-7)


def test_batches_have_the_kernel_of_all_samples():
    e = experiment(batches=BATCHES)
    np.testing.assert_array_equal(lazy.predict(e).K, lazy.predict(experiment()).K)
    assert lazy.predict(e).f_test_inf is None


# --- What surrounds a run ------------------------------------------------------------------------------------------------


def test_batches_are_epochs_in_an_order_of_their_own():
    found = dl.batches(10, 4, steps=8, seed=3)
    assert [len(batch) for batch in found] == [4, 4, 2, 4, 4, 2, 4, 4]
    first, second = (sorted(sum(found[k : k + 3], ())) for k in (0, 3))
    assert first == second == list(range(10)) and found[:3] != found[3:6]
    assert found == dl.batches(10, 4, 8, 3) != dl.batches(10, 4, 8, 4)


def test_results_keep_batches_and_decay(tmp_path):
    e = experiment(**CHANGES["both"])
    for k, result in enumerate((lazy.predict(e), meanfield.solve(e, 256))):
        read = dl.load(dl.save(result, tmp_path / str(k)))
        assert (read.experiment.batches, read.experiment.weight_decay) == (tuple(map(tuple, BATCHES)), 0.8)
        np.testing.assert_array_equal(read.f, result.f)
    again = dl.predict(read, TASK.X_test)
    np.testing.assert_allclose(again.f, read.f)
    with pytest.raises(ValueError, match="differ in weight_decay, batches"):
        dl.compare(read, meanfield.solve(experiment(), 256))


def test_the_step_of_a_batch_may_be_larger():
    whole = dataclasses.replace(experiment(gamma0=0.3), task=dl.Task(np.ones((P, 2)), np.ones(P)))
    part = dataclasses.replace(whole, batches=[[k] for k in range(P)])
    assert network.stable_lr(part, 64) == pytest.approx(P * network.stable_lr(whole, 64))
    K = network.train(whole, 64).K
    edge = 2 / stability.largest_eigenvalue(K[0])
    for e in (whole, part):
        edge = 2 / stability.largest_eigenvalue(stability.learned_from(e, K[0], 0))
        with pytest.warns(UserWarning, match="exceeds 1"):
            stability.warn_if_unstable(dataclasses.replace(e, lr=1.01 * edge), K[:1])
        stability.warn_if_unstable(dataclasses.replace(e, lr=0.99 * edge), K[:1])
    assert network.stable_lr(dataclasses.replace(whole, weight_decay=5.0), 64) < 0.2


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(weight_decay=-1.0), "`weight_decay` .* at least 0; got -1.0"),
        (dict(weight_decay=True), "`weight_decay` .* at least 0; got True"),
        (dict(weight_decay=10.0), "`weight_decay` = 10 leaves .* Take less"),
        (dict(batches=3), "`batches` must be lists of samples, or None; got 3"),
        (dict(batches=[]), "`batches` must have one batch at least"),
        (dict(batches=[[0], []]), r"`batches\[1\]` must be a list of samples; got \[\]"),
        (dict(batches=[[0.5]]), r"`batches\[0\]` must be a list of samples; got \[0.5\]"),
        (
            dict(batches=[[0, 4]]),
            r"`batches\[0\]` must have samples from 0 to 3; got \[0, 4\]. .*dmftlib.batches\(4, size",
        ),
        (dict(batches=[[1, 1]]), r"`batches\[0\]` must have each sample once"),
    ],
)
def test_what_is_no_batch_and_no_decay_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        experiment(**change)


def test_what_has_no_answer_is_refused():
    for change, name in ((dict(weight_decay=0.1), "weight_decay"), (dict(batches=[[0]]), "batches")):
        e = dl.Experiment(dl.Task.whitened([1.0, 2.0]), dl.GD(), 1, "linear", 1.0, 0.1, 5, **change)
        with pytest.raises(ValueError, match=f"`{name}`, and the closed forms have none"):
            dl.twolayer.solve(e)
    wide = experiment("Hebb", task=dl.Task.random(500, 5), steps=200, lr=0.01, weight_decay=0.8)
    with pytest.raises(ValueError, match=r"`weight_decay` = 0.8 asks for kernels at .* scales"):
        lazy.predict(dataclasses.replace(wide, activation="tanh"))
    with pytest.raises(ValueError, match="`size` must be at most P = 3"):
        dl.batches(3, 4, 1, 0)
