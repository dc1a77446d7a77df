"""Residual networks: the step against a plain loop and autodiff, the lazy limit, the mean field, the limit of many layers."""

from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
from numpy_network import RULES
from test_revealed_network import run_and_its_weights

import dmftlib as dl
from companion import statistics
from dmftlib import lazy, meanfield, network
from dmftlib.results import RECORDED

P = 3
TASK = dl.Task.random(P, 4, seed=5, P_test=2)
TWO = dl.Task(TASK.X, np.random.default_rng(7).standard_normal((P, 2)), TASK.X_test)
SIZE = 1.3  # of the branches


def experiment(rule, depth=3, activation="tanh", task=TASK, steps=5, **others):
    lr = 0.02 if rule == "Hebb" else 0.1
    return dl.Experiment(task, RULES[rule], depth, activation, 1.3, lr, steps, **dict(residual=SIZE) | others)


def assert_close(run, expected, names=RECORDED, rtol=1e-9):
    for name in names:
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=rtol, atol=1e-10, err_msg=name)


# --- The step --------------------------------------------------------------------------------------------------------


CASES = [(rule, depth, outputs) for rule in RULES for depth, outputs in ((2, 1), (3, 2), (4, 1))]


@pytest.mark.parametrize("rule, depth, outputs", CASES)
def test_networks_are_those_of_a_plain_loop(rule, depth, outputs):
    """With all of their matrices, and drawn where they act."""
    e = experiment(rule, depth, task=TWO if outputs > 1 else TASK)
    expected = numpy_network.run_of(rule, e, numpy_network.drawn_by(e, 11, 2))
    assert_close(network.train(e, 11, 2), expected, (*RECORDED, "f_test", "final_h"))


@pytest.mark.parametrize("rule", RULES)
def test_matrices_that_are_drawn_where_they_act(rule, monkeypatch):
    e = experiment(rule, 4)
    run, drawn = run_and_its_weights(e, 12, monkeypatch)
    assert_close(run, numpy_network.run_of(rule, e, drawn), (*RECORDED, "f_test", "final_h"))


def test_weight_decay_and_batches():
    e = experiment("FA", weight_decay=0.3, batches=[[0], [2, 1]])
    assert_close(network.train(e, 11, 2), numpy_network.run_of("FA", e, numpy_network.drawn_by(e, 11, 2)))


def test_gradient_descent_descends():
    """The step of GD is that of automatic differentiation of the network's definition, after a few steps, too."""
    L, N, T = 3, 7, 4
    e = experiment("GD", L, steps=T)

    def output(W):
        h = TASK.X @ W[0].T / np.sqrt(TASK.D)
        for w in W[1:-1]:
            h = h + SIZE / np.sqrt(L) * jnp.tanh(h) @ w.T / np.sqrt(N)
        return jnp.tanh(h) @ W[-1][0] / (e.gamma0 * N)

    with jax.enable_x64(True):
        W = [jnp.asarray(w) for w in numpy_network.drawn_by(e, N, 3)["W"]]
        start, f = output(W), []
        loss = jax.grad(lambda W: ((TASK.y - output(W) + start) ** 2).sum() / 2)
        for _ in range(T):
            f.append(output(W) - start)
            W = [w - e.lr * e.gamma0**2 * N * d for w, d in zip(W, loss(W))]
    np.testing.assert_allclose(network.train(e, N, 3).f, f, rtol=1e-9, atol=1e-12)


# --- The lazy limit --------------------------------------------------------------------------------------------------


def by_hand(rule, e):
    """K and G̃ (L, P, P) at initialization, from the recursions of the chapter."""
    phi, L, b2 = e.phi, e.hidden_layers, e.residual**2 / e.hidden_layers
    gates = phi.dot_dot(e.task.K_x)
    Sigma, Phi, slopes = e.task.K_x, [], []
    for _ in range(L):
        Phi.append(gates * Sigma if rule == "GLN" else phi.phi_phi(Sigma))
        slopes.append(gates if rule == "GLN" else phi.dot_dot(Sigma))
        Sigma = Sigma + b2 * Phi[-1]
    shares = dict(GD=1.0, GLN=1.0, FA=numpy_network.RHO, DFA=0.0, Hebb=0.0, mixed=numpy_network.SHARE)
    through = 1.0 if rule == "mixed" else shares[rule]  # of what passes a matrix; the gradient itself passes as it is
    G_tilde = [through * slopes[-1]]
    for slope in slopes[-2::-1]:
        G_tilde.insert(0, G_tilde[0] * (1 + b2 * through * slope))
    G_tilde = np.stack(G_tilde) * (shares[rule] if rule == "mixed" else 1.0)
    K = Phi[-1] + G_tilde[0] * e.task.K_x + sum(b2 * a * b for a, b in zip(G_tilde[1:], Phi))
    return K, G_tilde


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lazy_kernels(rule, activation):
    e = experiment(rule, 5, activation)
    found = lazy.kernels(e)
    for value, expected in zip((found.K, found.G_tilde), by_hand(rule, e)):
        np.testing.assert_allclose(value, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_lazy_kernels_are_those_of_wide_networks(rule):
    """Every recorded average, of 200 networks of the plain loop: within 4 standard errors and a bias of 1/N."""
    e, N, count = experiment(rule, 4, task=TWO, steps=1), 200, 200
    drawn = numpy_network.draw(np.random.default_rng(1), 4, N, TASK.D, 2, (count,))
    many, known = numpy_network.run_of(rule, e, drawn), vars(lazy.kernels(e))
    for name in RECORDED[1:]:
        values = many[name][:, 0]
        off = np.abs(values.mean(axis=0) - known[name])
        assert (off <= 4 * values.std(axis=0) / np.sqrt(count) + 3 * np.abs(known[name]).max() / N).all(), name


def test_a_gated_network_of_many_layers():
    """K of GLN in closed form, and its limit: Γ K_x e^{β²Γ}(2 + β²Γ)."""
    gates, K_x = dl.experiment.activation_from("relu").dot_dot(TASK.K_x), TASK.K_x
    limit = gates * K_x * np.exp(SIZE**2 * gates) * (2 + SIZE**2 * gates)
    off = []
    for L in (32, 64, 128):
        a = SIZE**2 * gates / L
        K = lazy.kernels(experiment("GLN", L, "relu")).K
        np.testing.assert_allclose(K, gates * K_x * (1 + a) ** (L - 1) * (2 + (L - 1) * a / (1 + a)), rtol=1e-9)
        off.append(np.linalg.norm(K - limit))
    assert np.abs(np.log2(off[:-1]) - np.log2(off[1:]) - 1).max() < 0.1


@pytest.mark.parametrize("rule", RULES)
def test_kernels_have_a_limit_of_many_layers(rule):
    """What a doubling of the depth changes halves with the next doubling."""
    K = [lazy.kernels(experiment(rule, L)).K for L in (16, 32, 64)]
    first, second = (np.linalg.norm(b - a) for a, b in pairwise(K))
    assert abs(np.log2(first / second) - 1) < 0.15


def test_feedback_alignment_keeps_its_signal():
    """With skip connections G̃ of the first layer is of order ρ at any depth; without them it is ρ^L times G."""
    rho = numpy_network.RHO
    for L in (4, 16, 64):
        deep, plain = (lazy.kernels(experiment("FA", L, residual=r)) for r in (SIZE, None))
        assert rho < (deep.G_tilde[0] / deep.G[0] * np.exp(SIZE**2 * (1 - rho))).min()
        np.testing.assert_allclose(plain.G_tilde[0], rho**L * plain.G[0], rtol=1e-9)


def test_lazy_training_is_that_of_the_kernel():
    e = experiment("FA", 4)
    f, known = lazy.predict(e).f, lazy.kernels(e).K
    expected = np.zeros(P)
    for now in f:
        np.testing.assert_allclose(now, expected, atol=1e-12)
        expected = expected + e.lr * known @ (TASK.y - expected)


@dataclass(frozen=True)
class Sends(dl.Rule):
    """A rule that sends down what the lazy limit has no average for, or has."""

    what: str

    def pseudo_gradient(self, layer):
        v = layer.g_tilde_next
        skip, branch = layer.skip(v), layer.gain * layer.W0_T(v)
        if self.what == "half":
            return 0.5 * (skip + branch) + 0.5 * layer.g
        return skip + branch + layer.phi if self.what == "h" else layer.gain * skip + branch


def test_what_the_lazy_limit_has_no_average_for_is_refused():
    kernels = lambda what: lazy.kernels(replace(experiment("GD"), rule=Sends(what)))  # noqa: E731
    with pytest.raises(NotImplementedError, match="no averages of functions of h of two layers"):
        kernels("h")
    with pytest.raises(NotImplementedError, match=r"product of phi_dot with what comes down a skip connection"):
        kernels("product")
    np.testing.assert_allclose(kernels("half").K, lazy.kernels(experiment("GD")).K, rtol=1e-12)


# --- The mean field --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_small_richness_is_lazy(rule):
    e = replace(experiment(rule, 3, steps=8), gamma0=1e-3)
    run, limit = meanfield.solve(e, 1024), lazy.predict(e)
    np.testing.assert_allclose(run.K[0], limit.K[:P] if limit.K is not None else lazy.kernels(e).K, rtol=1e-9)
    assert np.abs(run.f - limit.f).max() < 0.01 * np.abs(TASK.y).max()


@pytest.mark.parametrize("rule", RULES)
def test_branches_of_size_0_leave_one_hidden_layer(rule):
    """Without branches the features of the last layer are those of the first, and so are the gradients."""
    deep, one = (experiment(rule, L, residual=r) for L, r in ((3, 1e-7), (1, None)))
    runs = [meanfield.average([meanfield.solve(e, 2048, seed) for seed in range(4)]) for e in (deep, one)]
    for name in ("f", "K"):
        a, b = (getattr(run, name) for run in runs)
        noise = np.hypot(*(run.relative_error(name) for run in runs))
        assert np.linalg.norm(a - b) < (2 * noise + 1e-6) * np.linalg.norm(b)


slow = lambda rule: pytest.param(rule, marks=pytest.mark.slow)  # noqa: E731


@pytest.mark.parametrize("rule", ["GD", "FA", "Hebb", slow("DFA"), slow("GLN"), slow("mixed")])
def test_the_mean_field_is_the_limit_of_networks(rule):
    """Within the errors of both, and 1/N away from single networks."""
    e = experiment(rule, 4, steps=12)
    theory = meanfield.average([meanfield.solve(e, 8192, seed) for seed in range(2)])
    widths = (64, 128, 512)
    runs = {N: list(network.training.train_each(e, N, range(N, N + 24), "float32")) for N in widths}
    wide = network.average(runs[512])
    for name in (*RECORDED, "f_test"):
        value, expected = getattr(theory, name), getattr(wide, name)
        noise = np.linalg.norm(wide.standard_error[name]) + theory.relative_error(name) * np.linalg.norm(value)
        assert np.linalg.norm(value - expected) < 2 * noise, name
        assert name != "Phi" or np.linalg.norm(value[-1] - value[0]) > 4 * noise
    squares = [[((run.K - theory.K) ** 2).sum() for run in runs[N]] for N in widths]
    slope, error = statistics.fit_slope(widths, *statistics.mean_and_error(np.transpose(squares)))
    assert abs(slope + 1) < 2.5 * error and error < 0.2, (slope, error)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["GD", "FA", "Hebb"])
def test_the_mean_field_has_a_limit_of_many_layers(rule):
    """Rich, too: from 8 layers to 24 the outputs change less than from 3 to 8, and less than a change as 1/√L would."""
    f = {}
    for L in (3, 8, 24):
        e = replace(experiment(rule, L, steps=10), gamma0=2.0)
        f[L] = meanfield.average([meanfield.solve(e, 1024, seed) for seed in range(8)]).f
    first, second = np.linalg.norm(f[8] - f[3]), np.linalg.norm(f[24] - f[8])
    assert second < first * (1 / 8**0.5 - 1 / 24**0.5) / (1 / 3**0.5 - 1 / 8**0.5)


# --- Use -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ThroughMatrices(dl.Rule):
    """Feedback alignment that forgets the skip connection, or leaves it out."""

    told: bool

    def pseudo_gradient(self, layer):
        v = layer.g_tilde_next
        return layer.gain * layer.fresh_T(v) + (0 * layer.skip(v) if self.told else 0)


def test_bad_input():
    for value in (0, -1.0, float("nan"), True, "1"):
        with pytest.raises(ValueError, match=r"`residual` \(size of residual branches"):
            experiment("GD", residual=value)
    with pytest.raises(ValueError, match="`residual` needs hidden_layers of at least 2, got 1"):
        experiment("GD", 1)
    with pytest.raises(ValueError, match=r"Add layer\.skip\(layer\.g_tilde_next\)"):
        replace(experiment("GD"), rule=ThroughMatrices(False))
    left_out = replace(experiment("GD"), rule=ThroughMatrices(True))
    assert np.abs(lazy.kernels(left_out).G_tilde_tilde[0]).max() < 0.2 < lazy.kernels(left_out).G_tilde_tilde[-1].max()
    with pytest.raises(ValueError, match=r"`experiment` is a residual network.*responses A to D"):
        meanfield.solve(experiment("GD", 2, steps=2), 64, tol=3e-2, record=True).responses()
    with pytest.raises(ValueError, match="closed forms hold for 1"):
        dl.twolayer.solve(experiment("GD", 2, "linear", task=dl.Task.whitened(TASK.y)))


def test_results_say_what_they_are(tmp_path):
    run = network.train(experiment("FA"), 8)
    again = dl.load(dl.save(run, tmp_path / "run"))
    assert again.experiment.residual == SIZE and "residual 1.3" in repr(again)
    assert again.to_xarray().attrs["residual"] == SIZE
    np.testing.assert_array_equal(dl.predict(again, TASK.X_test).f_test, run.f_test)
    plain = network.train(experiment("FA", residual=None), 8)
    assert "residual" not in repr(plain) and "residual" not in plain.to_xarray().attrs
    with pytest.raises(ValueError, match="differ in residual"):
        dl.compare(run, plain)
