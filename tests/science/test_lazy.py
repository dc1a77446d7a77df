"""The lazy limit: static kernels of any rule against Table 2 of the paper and against networks at initialization."""

from decimal import Decimal, localcontext

import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
from numpy_network import RHO, RULES, SHARE

import dmftlib as dl
from dmftlib import lazy

P = 4
TASK = dl.Task.random(P, 6, seed=3)


def experiment(rule, depth, activation, task=TASK, gamma0=1.0, lr=0.1, steps=5):
    return dl.Experiment(task, RULES[rule], depth, activation, gamma0, lr, steps)


def arccos_averages(Sigma):
    """⟨φφ⟩ and ⟨φ̇φ̇⟩ of √2 ReLU from angles (Cho and Saul's κ₁ and κ₀)."""
    norm = np.sqrt(np.diag(Sigma))
    theta = np.arccos(np.clip(Sigma / np.outer(norm, norm), -1, 1))
    return np.outer(norm, norm) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi, (np.pi - theta) / np.pi


def arcsin_averages(Sigma):
    """⟨φφ⟩ and ⟨φ̇φ̇⟩ of erf (Williams)."""
    d = 1 + 2 * np.diag(Sigma)
    return 2 / np.pi * np.arcsin(2 * Sigma / np.sqrt(np.outer(d, d))), 4 / np.pi / np.sqrt(
        np.outer(d, d) - 4 * Sigma**2
    )


AVERAGES = {"relu": arccos_averages, "erf": arcsin_averages, "linear": lambda Sigma: (Sigma, np.ones_like(Sigma))}


def table_2(rule, depth, activation, K_x):
    """Φ, G, G̃ (lists over layers) and K at γ₀ → 0, term by term from the recursion (6) of the paper."""
    average = AVERAGES[activation]
    gates = average(K_x)[1]
    Phi, slopes = [K_x], []
    for _ in range(depth):
        phi_phi, dot_dot = average(Phi[-1])
        Phi.append(gates * Phi[-1] if rule == "GLN" else phi_phi)
        slopes.append(gates if rule == "GLN" else dot_dot)
    G = [np.ones_like(K_x)]  # G^{L+1}, then downwards
    for slope in reversed(slopes):
        G.insert(0, G[0] * slope)
    # How much of G survives in G̃^{ℓ+1}: index ℓ = 0 … L, the readout last.
    L = depth
    share = {
        "GD": [1] * (L + 1), "GLN": [1] * (L + 1), "FA": [RHO ** (L - k) for k in range(L + 1)],
        "DFA": [0] * L + [1], "Hebb": [0] * L + [1], "mixed": [SHARE] * L + [1],
    }[rule]  # fmt: skip
    G_tilde = [a * b for a, b in zip(share, G, strict=True)]
    return Phi[1:], G[:-1], G_tilde[:-1], sum(a * b for a, b in zip(G_tilde, Phi, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("activation", ["relu", "erf", "linear"])
@pytest.mark.parametrize("rule", RULES)
def test_kernels_match_table_2(rule, activation, depth):
    kernels = dl.lazy.kernels(experiment(rule, depth, activation, gamma0=9.0, lr=1.0, steps=7))  # which play no part
    for name, expected in zip(("Phi", "G", "G_tilde", "K"), table_2(rule, depth, activation, TASK.K_x), strict=True):
        np.testing.assert_allclose(getattr(kernels, name), expected, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("depth", [1, 3])
def test_gated_relu_has_L_plus_1_terms(depth):
    """Table 2 as it is corrected: its prefactor is not L."""
    angles = np.array([0.0, 0.7, 2.0, np.pi])
    gln = dl.lazy.kernels(experiment("GLN", depth, "relu", dl.Task.circle(angles, np.ones(4))))
    theta = np.arccos(np.cos(angles[:, None] - angles))
    np.testing.assert_allclose(gln.K, (depth + 1) * (1 - theta / np.pi) ** depth * np.cos(theta), atol=1e-7)


def test_sixty_layers_with_two_ways_back_take_no_longer_than_sixty_averages(monkeypatch):
    # FA's g̃ has two terms, so that each average asks for four of the layer above: without memory 4⁶⁰ of them.
    counted, original = [], lazy._average
    monkeypatch.setattr(lazy, "_average", lambda a, b: counted.append(0) or original(a, b))
    K = lazy.kernels(dl.Experiment(TASK, dl.FA(0.5), 60, "linear", 1.0, 0.1, 1)).K
    np.testing.assert_allclose(K, (2 - 0.5**60) * TASK.K_x, rtol=1e-12)
    assert len(counted) < 60 * 10


@pytest.mark.parametrize("rule, activation", [(r, "relu") for r in RULES] + [("GD", "tanh"), ("FA", "tanh")])
def test_networks_approach_the_kernels_as_one_over_root_N(rule, activation):
    """The rms over seeds follows this rate, where a wrong factor would leave a floor; of ⟨g̃g̃⟩, which has no table, too.

    Over 18 repetitions the fitted slope was −0.53 ± 0.03: there are terms of order 1/N at the smallest widths.
    """
    kernels, rng, widths = (
        dl.lazy.kernels(experiment(rule, 2, activation)),
        np.random.default_rng(0),
        (32, 64, 128, 256),
    )
    runs = [
        numpy_network.run_of(
            rule, experiment(rule, 2, activation, steps=1), numpy_network.draw(rng, 2, N, 6, 1, (120,))
        )
        for N in widths
    ]
    for name in ("Phi", "G", "G_tilde", "G_tilde_tilde", "K"):
        rms = [np.sqrt(((run[name][:, 0] - getattr(kernels, name)) ** 2).mean()) for run in runs]
        slope = np.polyfit(np.log(widths), np.log(rms), 1)[0]
        assert abs(slope + 0.5) < 0.12, (name, slope)


# --- Predictions -----------------------------------------------------------------------------------------------------

TEST_TASK = dl.Task.random(P, 6, seed=3, P_test=3)


@pytest.mark.parametrize("rule", RULES)
def test_predictions_follow_the_discrete_steps(rule):
    e = experiment(rule, 2, "erf", TEST_TASK, lr=0.15, steps=12)
    K = table_2(rule, 2, "erf", TEST_TASK.X_all @ TEST_TASK.X_all.T / TEST_TASK.D)[3]
    f = np.zeros(P + 3)
    prediction = dl.lazy.predict(e)
    for t in range(12):
        np.testing.assert_allclose(prediction.f[t], f[:P], rtol=0, atol=1e-12)
        np.testing.assert_allclose(prediction.f_test[t], f[P:], rtol=0, atol=1e-12)
        f = f + 0.15 * K[:, :P] @ (TEST_TASK.y - f[:P])
    np.testing.assert_array_equal(prediction.times, 0.15 * np.arange(12))
    np.testing.assert_array_equal(prediction.f[0], 0.0)


def test_singular_kernel_predicts_what_training_reaches():
    # Two equal inputs with different targets: training reaches their mean, and no inverse exists.
    X = np.array([[1.0, 0.3], [1.0, 0.3], [-0.2, 1.0]])
    task = dl.Task(X, [1.0, 0.0, -1.0], X[:1])
    e = experiment("GD", 1, "linear", task, lr=0.2, steps=2000)
    prediction = dl.lazy.predict(e)
    np.testing.assert_allclose(prediction.f_test_inf, prediction.f_test[-1], rtol=1e-8)
    np.testing.assert_allclose(prediction.f_test_inf, 0.5, rtol=1e-8)


def test_the_limit_is_as_far_from_a_hundred_digits_as_it_says():
    """For sin, K = e^{−(a+b)/2} (sinh c + c cosh c): solved in decimal numbers, where rounding plays no part."""

    def k(a, b):
        c = a * b
        return (-(a * a + b * b) / 2).exp() * ((1 + c) * c.exp() + (c - 1) * (-c).exp()) / 2

    with localcontext(prec=100):
        for P in (4, 8, 14):
            x = np.linspace(-2, 2, P) + 0.013
            points, rows = [Decimal(float(v)) for v in x], []
            for a in points:
                rows.append([k(a, b) for b in points] + [Decimal(float(np.sin(3 * float(a))))])
            for i in range(P):  # Gauss and Jordan; K is positive definite
                rows[i] = [v / rows[i][i] for v in rows[i]]
                for j in set(range(P)) - {i}:
                    rows[j] = [v - rows[j][i] * w for v, w in zip(rows[j], rows[i])]
            new = [0.33, 1.2, 2.3]
            exact = [float(sum(k(Decimal(t), b) * row[-1] for b, row in zip(points, rows))) for t in new]
            task = dl.Task(x[:, None], np.sin(3 * x), np.array(new)[:, None])
            found = dl.lazy.predict(experiment("GD", 1, dl.Activation("sine", jnp.sin), task, lr=1e-3))
            assert (np.abs(found.f_test_inf - exact) <= 2 * found.f_test_undetermined).all()
            assert (found.f_test_undetermined < 0.01).all()


def test_directions_that_K_does_not_know_are_named():
    X = np.array([[1.0, 0.3], [1.0, 0.3 + 1e-6], [-0.2, 1.0]])
    e = experiment("GD", 2, "tanh", dl.Task(X, [1.0, -1.0, 0.5], [[0.3, -1.0]]))
    run = dl.lazy.predict(e)
    with pytest.warns(UserWarning, match="1 of the 3 eigenvalues of K are below the accuracy .* inputs nearly equal"):
        assert run.f_test_inf.shape == (1,)
    # What is left is a target of 0 for both, to the size of what was left out.
    merged = dl.lazy.predict(experiment("GD", 2, "tanh", dl.Task(X[1:], [0.0, 0.5], [[0.3, -1.0]])))
    assert abs(run.f_test_inf - merged.f_test_inf) < run.f_test_undetermined
    assert merged.f_test_undetermined < 1e-6


def test_the_limit_of_a_kernel_that_is_not_symmetric_is_that_of_training():
    rng = np.random.default_rng(1)
    V = rng.standard_normal((5, 5))
    values = np.array([2.0, 1.0, 0.5, 0.3, 0.0])  # and training goes on along none of a null direction
    K = V @ np.diag(values) @ np.linalg.inv(V)
    K, y = np.concatenate([K, rng.standard_normal((2, 5)) @ K]), rng.standard_normal(5)
    f = np.zeros(7)
    for _ in range(400):
        f = f + 0.4 * K @ (y - f[:5])
    limit, undetermined = lazy._limit(K, y)
    np.testing.assert_allclose(limit, f[5:], rtol=0, atol=1e-6)
    assert (undetermined < 1e-5).all()
    with pytest.warns(UserWarning, match="outputs grow for ever: `f_test_inf` is NaN"):
        assert np.isnan(lazy._limit(-K, y)).all()


def test_the_initial_state_is_a_result_of_one_step():
    e = experiment("FA", 2, "erf", TEST_TASK)
    exact, kernels = dl.lazy.initial(e), dl.lazy.kernels(e)
    for name in ("Phi", "G", "G_tilde", "G_tilde_tilde", "K"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(kernels, name)[None])
    assert exact.f.shape == (1, P) and not exact.f.any()
    assert dl.compare(exact, exact).theory_error["K"] == 0


@pytest.mark.parametrize("rule", RULES)
def test_outputs_do_not_mix(rule):
    Y = np.random.default_rng(7).standard_normal((P, 3))
    with_targets = lambda y: experiment(rule, 2, "erf", dl.Task(TEST_TASK.X, y, TEST_TASK.X_test), steps=20)  # noqa: E731
    many, one = dl.lazy.kernels(with_targets(Y)), dl.lazy.kernels(with_targets(Y[:, 0]))
    np.testing.assert_allclose(many.K, np.kron(one.K, np.eye(3)), atol=1e-12)
    np.testing.assert_allclose(many.G, np.kron(one.G, np.eye(3)), atol=1e-12)
    np.testing.assert_allclose(many.Phi, one.Phi, rtol=1e-12)
    together = dl.lazy.predict(with_targets(Y))
    for c in range(3):
        alone = dl.lazy.predict(with_targets(Y[:, c]))
        for name in ("f", "f_test"):
            np.testing.assert_allclose(getattr(together, name)[..., c], getattr(alone, name), atol=1e-10)


# --- Rules of one's own ------------------------------------------------------------------------------------------------
