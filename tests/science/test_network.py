"""Finite networks: against a plain numpy loop, automatic differentiation, and the order in lr of one step."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
from numpy_network import RULES

import dmftlib as dl
from companion import figures
from dmftlib import network
from dmftlib.results import RECORDED

P, STEPS = 3, 8
TASK = dl.Task.random(P, 4, seed=5, P_test=2)


def experiment(rule="GD", depth=3, activation="tanh", task=TASK, gamma0=1.3, lr=0.1, steps=STEPS):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps)


@pytest.fixture
def drawn(monkeypatch):
    """What `network.train` drew last, in the form that the numpy loop reads."""
    seen, original = {}, network._initialize

    def spy(*arguments):
        W, fresh, frozen = original(*arguments)
        seen["W"] = [np.asarray(w, np.float64) for w in W]
        seen["feedback"] = [None if w is None else np.asarray(w, np.float64) for w in fresh]
        seen["gates"] = [None if f["gate"] is None else np.asarray(f["gate"], np.float64) for f in frozen]
        seen["vector"] = [None if f["vector"] is None else np.asarray(f["vector"], np.float64) for f in frozen]
        return W, fresh, frozen

    monkeypatch.setattr(network, "_initialize", spy)
    return seen


def numpy_run(rule, e, drawn):
    return numpy_network.train(
        rule, e.activation, drawn, e.task.X, e.task.y, e.gamma0, e.lr, e.steps, X_test=e.task.X_test
    )


# --- The numpy loop --------------------------------------------------------------------------------------------------

# Width 12 folds the learned part into the matrices every second step, width 60 keeps all of it factored.
CASES = [(rule, 12, "tanh", 3) for rule in RULES] + [
    ("GD", 60, "tanh", 3),
    ("FA", 60, "relu", 2),
    ("GLN", 13, "relu", 1),
]


@pytest.mark.parametrize("rule, width, activation, depth", CASES)
def test_training_agrees_with_a_plain_numpy_loop(rule, width, activation, depth, drawn):
    e = experiment(rule, depth, activation)
    run = network.train(e, width, seed=3)
    expected = numpy_run(rule, e, drawn)
    for name in (*RECORDED, "f_test", "final_h"):
        # Rounding only: 8 steps, each a few sums over at most 60 neurons.
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert np.linalg.norm(run.Phi[-1] - run.Phi[0]) > 0.05 * np.linalg.norm(run.Phi[0])  # something was learned
    np.testing.assert_array_equal(run.f[0], 0.0)
    np.testing.assert_array_equal(run.f_test[0], 0.0)


def test_float32_is_float64_rounded(drawn):
    e = experiment()
    single = network.train(e, 60, seed=3, dtype="float32")
    expected = numpy_run("GD", e, drawn)  # in float64, from the same single-precision weights
    for name in RECORDED:
        error = np.linalg.norm(getattr(single, name) - expected[name]) / np.linalg.norm(expected[name])
        # A rounding error is 6e-8; f divides a sum of 60 terms of order 1 that cancel to order N^{-1/2}.
        assert 1e-9 < error < 2e-5, name
    assert single.f.dtype == np.float64  # results have one type, whatever computed them
    assert single.provenance.dtype == "float32"


# --- Automatic differentiation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_descent_kernel_is_the_tangent_kernel(activation, drawn):
    # The update is γ₀² N ∂f/∂θ Δ summed over samples, so K = γ₀² N (∂f/∂θ)(∂f/∂θ)ᵀ over all parameters.
    e, N = experiment(activation=activation, lr=0.02), 12
    run = network.train(e, N, seed=1)
    with jax.enable_x64(True):
        phi = {"tanh": jnp.tanh, "relu": lambda h: jnp.sqrt(2.0) * jax.nn.relu(h)}[activation]

        def f(W):
            h = TASK.X @ W[0].T / jnp.sqrt(TASK.D)
            for w in W[1:-1]:
                h = phi(h) @ w.T / jnp.sqrt(N)
            return (phi(h) @ W[-1].T)[:, 0] / (e.gamma0 * N)

        W = [jnp.asarray(w) for w in drawn["W"]]
        for t in range(3):
            J = jnp.concatenate([j.reshape(P, -1) for j in jax.jacobian(f)(W)], axis=1)
            np.testing.assert_allclose(run.K[t], e.gamma0**2 * N * J @ J.T, rtol=1e-10, atol=1e-12)
            # One step of steepest descent on ℒ = ½ Σ (y − f)², rescaled by γ₀² N.
            f_0 = f([jnp.asarray(w) for w in drawn["W"]])
            gradient = jax.grad(lambda W: 0.5 * ((TASK.y - (f(W) - f_0)) ** 2).sum())(W)  # noqa: B023
            W = [w - e.lr * e.gamma0**2 * N * g for w, g in zip(W, gradient, strict=True)]
            np.testing.assert_allclose(run.f[t + 1], f(W) - f_0, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_one_step_moves_f_by_lr_K_Delta_up_to_lr_squared(rule):
    # df/dt = K Δ for every rule. What one step of size η leaves over must fall as η²: slope 2, with the next order
    # in η bending it by a few per cent over this range.
    etas = 0.02 * 0.5 ** np.arange(4)
    left = []
    for eta in etas:
        run = network.train(experiment(rule, lr=float(eta)), 12, seed=3)
        left.append(np.linalg.norm(run.f[1] - eta * run.K[0] @ run.Delta[0]))
    slope = np.polyfit(np.log(etas), np.log(left), 1)[0]
    assert abs(slope - 2) < 0.1


# --- What is drawn ---------------------------------------------------------------------------------------------------


def test_seeds_fix_everything_and_only_they():
    e = experiment("FA")
    one, again, other = (network.train(e, 12, seed=s) for s in (0, 0, 1))
    for name in RECORDED:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert not np.allclose(getattr(one, name), getattr(other, name))


@dataclasses.dataclass(frozen=True)
class Everything(dl.Rule):
    """Asks for every frozen object there is."""

    def pseudo_gradient(self, layer):
        return layer.gate * layer.fresh_T(layer.g_tilde_next) + layer.fresh_vector * layer.phi_dot


def test_draws_are_standard_normal_and_independent(drawn):
    angles = np.array([0.0, 1.0])
    e = dl.Experiment(dl.Task.circle(angles, [1.0, -1.0]), Everything(), 3, "relu", 1.0, 0.1, 1)
    network.train(e, 200)
    blocks = [*drawn["W"], *(w for w in drawn["feedback"] if w is not None), *drawn["vector"]]
    assert [b.size for b in blocks] == [400, 40000, 40000, 200, 40000, 40000, 200, 200, 200, 200]
    for block in blocks:  # within 4 standard errors
        assert abs(block.mean()) < 4 / np.sqrt(block.size)
        assert abs(block.var() - 1) < 4 * np.sqrt(2 / block.size)
    # One key for two draws has happened elsewhere: no block may repeat or continue another.
    for i, a in enumerate(blocks):
        for b in blocks[:i]:
            n = min(a.size, b.size)
            for x, y in ((a.ravel()[:n], b.ravel()[:n]), (a.ravel()[-n:], b.ravel()[-n:])):
                assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(n)
    # Gates φ̇(m) = √2 Θ(m): ⟨φ̇φ̇⟩ = 1 − θ/π between two inputs; each layer has its own.
    for i, gate in enumerate(drawn["gates"]):
        np.testing.assert_allclose(gate @ gate.T / 200, [[1, 1 - 1 / np.pi], [1 - 1 / np.pi, 1]], atol=4 / np.sqrt(200))
        for other in drawn["gates"][:i]:
            assert abs(np.corrcoef(gate[0], other[0])[0, 1]) < 5 / np.sqrt(200)
        for block in blocks:  # nor does one repeat weights or feedback
            if block.size >= 400:
                m = e.task.X[0] @ block.ravel()[:400].reshape(200, 2).T
                assert abs(np.corrcoef(gate[0], m)[0, 1]) < 5 / np.sqrt(200)


def test_rules_that_ask_for_nothing_draw_nothing(drawn):
    network.train(experiment(), 12)
    assert drawn["feedback"] == [None] * 4 and drawn["gates"] == [None] * 3 and drawn["vector"] == [None] * 3


# --- Ensembles -------------------------------------------------------------------------------------------------------


def test_ensemble_is_the_mean_and_its_standard_error():
    e, seeds = experiment(), (2, 5, 11, 4)
    ensemble = network.ensemble(e, 12, iter(seeds))
    runs = [network.train(e, 12, seed=s) for s in seeds]
    for name in RECORDED:
        values = np.stack([getattr(run, name) for run in runs])
        np.testing.assert_allclose(getattr(ensemble, name), values.mean(axis=0), rtol=1e-12, atol=1e-14)
        expected = values.std(axis=0, ddof=1) / 2
        np.testing.assert_allclose(ensemble.standard_error[name], expected, rtol=1e-9, atol=1e-14)
    assert (ensemble.width, ensemble.seeds) == (12, seeds)
    np.testing.assert_allclose(ensemble.loss, ((TASK.y - ensemble.f) ** 2).mean(axis=1))
    np.testing.assert_array_equal(ensemble.times, 0.1 * np.arange(STEPS))


def test_ensembles_carry_test_outputs_with_their_errors():
    def tested(width, first):
        return [network.train(experiment(), width, seed) for seed in range(first, first + 3)]

    runs = tested(12, 0)
    e, values = runs[0].experiment, np.stack([run.f_test for run in runs])
    for made in (network.average(runs), network.ensemble(e, 12, range(3)), network.groups(e, 12, 3, 0, 1)[0]):
        np.testing.assert_allclose(made.f_test, values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            made.standard_error["f_test"], values.std(axis=0, ddof=1) / np.sqrt(3), rtol=1e-9, atol=1e-15
        )
        assert made.relative_error("f_test") == pytest.approx(
            np.linalg.norm(made.standard_error["f_test"]) / np.linalg.norm(made.f_test)
        )
    short = figures.until(made, 2)
    np.testing.assert_array_equal(short.f_test, made.f_test[:2])
    np.testing.assert_array_equal(short.standard_error["f_test"], made.standard_error["f_test"][:2])
    wider = network.average(tested(24, 3))
    limit = network.extrapolate([made, wider])
    np.testing.assert_allclose(limit.f_test, 2 * wider.f_test - made.f_test, rtol=1e-9, atol=1e-12)
    expected = np.hypot(2 * wider.standard_error["f_test"], made.standard_error["f_test"])
    np.testing.assert_allclose(limit.standard_error["f_test"], expected, rtol=1e-9)
    untested = dataclasses.replace(experiment(), task=dl.Task(TASK.X, TASK.y))
    without = network.ensemble(untested, 12, range(2))
    assert without.f_test is None and "f_test" not in without.standard_error


def test_networks_that_are_trained_already_are_averaged_as_an_ensemble_is():
    runs = [network.train(experiment(), 16, seed) for seed in range(3)]
    mean, same = network.average(runs), network.ensemble(experiment(), 16, range(3))
    assert (mean.width, mean.seeds) == (same.width, same.seeds) == (16, (0, 1, 2))
    for name in RECORDED:
        np.testing.assert_array_equal(getattr(mean, name), getattr(same, name))
        np.testing.assert_array_equal(mean.standard_error[name], same.standard_error[name])
    wider, theory = network.train(experiment(), 32, 5), dl.meanfield.solve(experiment(), 256)
    for wrong, message in (
        ([runs[0], wider], r"networks of one width.*\('network', 16\), \('network', 32\)"),
        ([theory, theory], "`runs` must be networks of one width, .*'meanfield', 256"),
        ([runs[0], runs[0]], "`runs` must differ: 0 comes twice"),
        (runs[:1], "`runs` must hold at least two seeds"),
        ([runs[0], network.train(experiment(gamma0=1.0), 16, 1)], "differ in gamma0"),
    ):
        with pytest.raises(ValueError, match=message):
            network.average(wrong)


def test_groups_are_ensembles_of_consecutive_seeds():
    found = network.groups(experiment(), 12, 2, first=7, count=3)
    assert [e.seeds for e in found] == [(7, 8), (9, 10), (11, 12)]
    np.testing.assert_array_equal(found[1].K, network.ensemble(experiment(), 12, (9, 10)).K)


@pytest.mark.parametrize("seeds", [[], [3]])
def test_one_seed_has_no_standard_error(seeds):
    with pytest.raises(ValueError, match=rf"`seeds` must hold at least two seeds.*got {len(seeds)}"):
        network.ensemble(experiment(), 12, seeds)


def synthetic(width, seed, value, error):
    """An ensemble whose arrays are given functions of 1/N."""
    shapes = dict(
        f=(2, 3), Phi=(2, 1, 3, 3), G=(2, 1, 3, 3), G_tilde=(2, 1, 3, 3), K=(2, 3, 3), G_tilde_tilde=(2, 1, 3, 3)
    )
    arrays = {name: np.full(shape, value) for name, shape in shapes.items()}
    spread = {name: np.full(shape, error) for name, shape in shapes.items()}
    return network.Ensemble(experiment(), width, (seed,), **arrays, standard_error=spread)


@pytest.mark.parametrize("widths", [(512, 1024), (100, 200, 700)])
def test_extrapolation_is_exact_for_a_line_in_one_over_N(widths):
    limit = network.extrapolate([synthetic(N, N, 2.0 + 30.0 / N, 0.1) for N in widths])
    for name in RECORDED:
        np.testing.assert_allclose(getattr(limit, name), 2.0, rtol=1e-12)
    assert limit.width == np.inf and limit.seeds == widths
    if len(widths) == 2:  # 2 × wide − narrow
        np.testing.assert_allclose(limit.standard_error["K"], 0.1 * np.sqrt(5), rtol=1e-12)


def test_extrapolation_needs_two_widths():
    with pytest.raises(ValueError, match=r"`ensembles` must have at least two different widths; got \[64, 64\]"):
        network.extrapolate([synthetic(64, 0, 1.0, 0.1), synthetic(64, 1, 1.0, 0.1)])


def test_an_extrapolation_below_zero_is_not_correlated():
    widths = (16, 32)
    with pytest.raises(ValueError, match=r"in 1/N made a trace -3\. Take wider networks, or more seeds\."):
        _ = network.extrapolate([synthetic(N, N, 32.0 / N - 1.0, 0.1) for N in widths]).corr_g


# --- Divergence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_divergence_names_the_step_and_a_smaller_lr(activation):
    e = experiment(activation=activation, lr=1.5, steps=60)
    # Where the loss is first 100 times the initial one, or not a number, in the same numbers from numpy.
    with pytest.raises(
        dl.Diverged, match=r"at step \d+ .*`lr` = 1.5 is probably too large.*try lr = 0.0\d+\."
    ) as caught:
        network.train(e, 12)
    assert isinstance(caught.value, RuntimeError)
    step = int(str(caught.value).split("at step ")[1].split()[0])
    assert 0 < step < 60
    # Up to that step the run is finite: a shorter one raises nothing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(network.train(dataclasses.replace(e, steps=step), 12).f).all()


def test_unstable_but_bounded_steps_warn_with_the_step():
    e = experiment(activation="tanh", depth=1, gamma0=0.5, lr=0.2, steps=4)
    largest = np.abs(np.linalg.eigvals(network.train(e, 60).K[0])).max()
    with pytest.warns(UserWarning, match=r"\|1 − lr·λ\| exceeds 1 .* from step 0 on \(largest value"):
        network.train(dataclasses.replace(e, lr=2.2 / largest), 60)


def test_history_is_kept_only_on_request():
    run = network.train(experiment(), 12, record=True)
    assert network.train(experiment(), 12).history is None
    np.testing.assert_allclose(run.history["phi"][:, 0] @ run.history["phi"][:, 0].swapaxes(1, 2) / 12, run.Phi[:, 0])
