"""Every labelled equation of the prose pages, evaluated on both sides in a small case.

`@checks("eq-…")` names the labels that a test covers; the last test compares these names with the pages.
Nothing here uses the library except where a statement is about the library itself: networks are the plain numpy loop, and
projections and averages are written out again, so that a page, the code and the tests are three separate statements.
"""

import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
import single_site

import dmftlib as dl
from dmftlib.meanfield import solver

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = ("welcome", "networks", "entk", "meanfield", "solver", "notation")
COVERED = {}  # label: tests


def checks(*labels):
    def note(test):
        for label in labels:
            COVERED.setdefault(label, set()).add(test.__name__)
        return test

    return note


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def assert_exact(a, b, tol=1e-11):
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, np.abs(b).max(initial=0)))


def assert_mean(samples, expected, sigma=4.5):
    """The mean of independent `samples` is `expected`, and 1.05 × `expected` is excluded as clearly."""
    samples = np.asarray(samples)
    error = samples.std(ddof=1) / np.sqrt(len(samples))
    assert abs(samples.mean() - expected) < sigma * error, (samples.mean(), expected, error)
    if expected:
        assert 0.05 * abs(expected) > sigma * error, "too few samples to see a 5 % mistake"


# A network in a few lines ------------------------------------------------------------------------------------


def tanh_dot(h):
    return 1 - np.tanh(h) ** 2


def initial_weights(rng, D, N, L):
    return (
        [rng.standard_normal((N, D))] + [rng.standard_normal((N, N)) for _ in range(L - 1)] + [rng.standard_normal(N)]
    )


def outputs(W, X, gamma0):
    """f (P,), for automatic differentiation."""
    h = X @ W[0].T / np.sqrt(X.shape[1])
    for M in W[1:-1]:
        h = jnp.tanh(h) @ M.T / np.sqrt(len(M))
    return jnp.tanh(h) @ W[-1] / (gamma0 * len(W[-1]))


def gram(a, b):
    return a @ b.T / a.shape[1]


def train(W, X, y, gamma0, lr, steps, activation="tanh", rule="GD", vector=(), **change):
    """States of the plain numpy loop, without the axis of its one output; each with its update, and K term by term."""
    drawn = dict(W=[*W[:-1], W[-1][None]], vector=vector)
    run = numpy_network.train(rule, activation, drawn, X, y, gamma0, lr, steps + 1, record=True, **change)
    phi, states = numpy_network.PHI[activation][0], run["states"]
    for s, s.f, s.K in zip(states, run["f"], run["K"]):
        s.W, s.raw, s.Delta = [*s.W[:-1], s.W[-1][0]], s.raw[:, 0], s.Delta[:, 0]
        Phi, G_tilde = [gram(x, x) for x in (X, *map(phi, s.h))], [gram(a, b) for a, b in zip(s.g, s.g_tilde)]
        s.terms = [a * b for a, b in zip([*G_tilde, 1.0], Phi)]
    for s, after in pairwise(states):
        s.dW = [b - a for a, b in zip(s.W, after.W)]
    return states[:-1]


@pytest.fixture(scope="module")
def small():
    """A small network, data, and a pseudo-gradient that is neither the gradient nor independent of it."""
    rng = np.random.default_rng(1)
    P, D, N, L = 3, 4, 12, 3
    X, y = rng.standard_normal((P, D)), rng.standard_normal(P)
    W = initial_weights(rng, D, N, L)
    vector = 3 * rng.standard_normal((L, 1, N))

    def run(steps, rule="mixed", gamma0=0.8, lr=0.1, W=W, **change):
        return train(W, X, y, gamma0, lr, steps, "tanh", rule, vector, **change)

    return SimpleNamespace(P=P, D=D, N=N, L=L, X=X, y=y, W=W, gamma0=0.8, lr=0.1, run=run)


# Networks and richness ---------------------------------------------------------------------------------------


@checks("eq-error")
def test_error_signal():
    rng = np.random.default_rng(0)
    f, y = rng.standard_normal((2, 5))
    assert_exact(-jax.grad(lambda f: 0.5 * ((y - f) ** 2).sum())(f), y - f)


@checks("eq-forward", "eq-backward")
def test_backprop_field(small):
    """g = γ₀ N ∂f/∂h, by automatic differentiation of the layers above h."""
    (s,) = small.run(1)

    def output(h_l, l):
        for M in small.W[l + 1 : -1]:
            h_l = M @ jnp.tanh(h_l) / np.sqrt(small.N)
        return small.W[-1] @ jnp.tanh(h_l) / (small.gamma0 * small.N)

    for l in range(small.L):
        for mu in range(small.P):
            assert_exact(s.g[l][mu], small.gamma0 * small.N * jax.grad(output)(s.h[l][mu], l))


@checks("eq-forward", "eq-update", "eq-gd-scaling")
def test_update_is_gradient_descent(small):
    """With g̃ = g the update is −η γ₀² N ∂ℒ/∂W for every weight matrix."""
    (s,) = small.run(1, "GD")
    loss = lambda W: 0.5 * ((small.y + s.raw - outputs(W, small.X, small.gamma0)) ** 2).sum()  # noqa: E731
    for dW, slope in zip(s.dW, jax.grad(loss)(small.W)):
        assert_exact(dW, -small.lr * small.gamma0**2 * small.N * slope)


@checks("eq-feature-step")
def test_feature_step(small):
    """Step one matrix only: the preactivations that it makes move by γ₀ η Σ Φ Δ g̃."""
    (s,) = small.run(1)
    for l in range(1, small.L):
        phi = np.tanh(s.h[l - 1])
        moved = phi @ s.dW[l].T / np.sqrt(small.N)
        assert_exact(moved, small.gamma0 * small.lr * gram(phi, phi) @ (s.Delta[:, None] * s.g_tilde[l]))


@checks("eq-sign-symmetry")
def test_sign_symmetry(small):
    flipped = small.W[:-1] + [-small.W[-1]]
    for s, t in zip(small.run(6, "GD"), small.run(6, "GD", gamma0=-small.gamma0, W=flipped)):
        assert_exact(s.f, t.f)
        assert_exact(np.array(s.h), np.array(t.h))
        assert_exact(np.array(s.g), -np.array(t.g))
        assert_exact(s.K, t.K)


@checks("eq-richness-orders")
def test_richness_orders(small):
    """Halve γ₀: neurons move half as far, kernels (averaged over w and −w) a quarter as far."""

    def moves(gamma0):
        runs = [small.run(6, "GD", gamma0, W=W) for W in (small.W, small.W[:-1] + [-small.W[-1]])]
        h = np.linalg.norm(np.array(runs[0][-1].h) - np.array(runs[0][0].h))
        return h, np.linalg.norm(sum(run[-1].terms[-1] - run[0].terms[-1] for run in runs))  # of Φ^L

    (h1, Phi1), (h2, Phi2) = moves(0.01), moves(0.005)
    assert abs(h1 / h2 - 2) < 0.02
    assert abs(Phi1 / Phi2 - 4) < 0.02


@checks("eq-initial-output")
def test_initial_output():
    rng = np.random.default_rng(2)
    P, D, N, gamma0 = 2, 3, 20, 0.5
    X = rng.standard_normal((P, D))
    (s,) = train(initial_weights(rng, D, N, 2), X, np.ones(P), gamma0, 0.1, 1)
    phi = np.tanh(s.h[-1])
    f = rng.standard_normal((100_000, N)) @ phi.T / (gamma0 * N)
    Phi = gram(phi, phi)
    for mu, nu in ((0, 0), (1, 1)):
        assert_mean(f[:, mu] * f[:, nu], Phi[mu, nu] / (gamma0**2 * N))
    # Far more samples than a smaller off-diagonal entry would need, by looking at a difference of outputs.
    assert_mean((f[:, 0] - f[:, 1]) ** 2, (Phi[0, 0] + Phi[1, 1] - 2 * Phi[0, 1]) / (gamma0**2 * N))


# The effective NTK -------------------------------------------------------------------------------------------


def output_gradients(small):
    return jax.jacrev(outputs)(small.W, small.X, small.gamma0)


@checks("eq-weight-gradient")
def test_weight_gradient(small):
    (s,), J, scale = small.run(1), output_gradients(small), small.gamma0 * small.N
    inputs = [small.X / np.sqrt(small.D)] + [np.tanh(layer) / np.sqrt(small.N) for layer in s.h[:-1]]
    for l in range(small.L):
        assert_exact(J[l], np.einsum("mi,mj->mij", s.g[l], inputs[l]) / scale)
    assert_exact(J[-1], np.tanh(s.h[-1]) / scale)


@checks("eq-one-matrix")
def test_one_matrix(small):
    """Gradient (automatic) contracted with the update of one matrix = η Σ G̃ Φ Δ, matrix by matrix."""
    (s,) = small.run(1)
    assert len(s.terms) == small.L + 1
    for J, dW, term in zip(output_gradients(small), s.dW, s.terms):
        axes = tuple(range(1, J.ndim))
        assert_exact((np.asarray(J) * dW).sum(axis=axes), small.lr * term @ s.Delta)


@checks("eq-entk")
def test_entk_first_order(small):
    """f after a small step, against the eNTK of a rule that is not gradient descent: the error is O(η²)."""

    def remainder(lr):
        first, second = small.run(2, lr=lr)
        move = second.f - first.f
        assert np.linalg.norm(move - 1.05 * lr * first.K @ first.Delta) > 0.04 * np.linalg.norm(move)
        return np.linalg.norm(move - lr * first.K @ first.Delta)

    assert abs(remainder(1e-3) / remainder(5e-4) - 4) < 0.02


@checks("eq-loss-step")
def test_loss_step(small):
    def remainder(lr):
        first, second = small.run(2, lr=lr)
        return 0.5 * (second.Delta**2).sum() - 0.5 * (first.Delta**2).sum() + lr * first.Delta @ first.K @ first.Delta

    assert abs(remainder(1e-3) / remainder(5e-4) - 4) < 0.02


@checks("eq-alignment")
def test_alignment():
    """The cosine of K and yyᵀ as matrices; 1 and 1/√P in the two cases that the page names."""
    rng = np.random.default_rng(0)
    K, y = rng.normal(size=(5, 5)), rng.normal(size=5)
    target = np.outer(y, y)
    cosine = (K * target).sum() / np.sqrt((K**2).sum() * (target**2).sum())
    assert_exact(dl.results.target_alignment(K, y), cosine)
    assert_exact(dl.results.target_alignment(3 * target, y), 1.0)
    assert_exact(dl.results.target_alignment(np.eye(5), y), 1 / np.sqrt(5))


@checks("eq-gd-gram")
def test_gd_entk_is_gram(small):
    (s,) = small.run(1, "GD")
    J = np.concatenate([np.asarray(j).reshape(small.P, -1) for j in output_gradients(small)], axis=1)
    assert_exact(s.K, small.gamma0**2 * small.N * J @ J.T)
    assert np.linalg.eigvalsh(s.K).min() > 0


def test_entk_not_symmetric(small):
    """For a rule whose pseudo-gradient is not the gradient."""
    (s,) = small.run(1)
    assert np.abs(s.K - s.K.T).max() > 0.05 * np.abs(s.K).max()


@checks("eq-remainder")
def test_step_remainder(small):
    """Third derivatives of F along V included, the expansion in η and γ₀ is right term by term."""

    @jax.jit
    def derivatives(V, e):
        F = lambda e: outputs([w + e * v for w, v in zip(small.W, V)], small.X, 1.0)  # noqa: E731
        F1 = jax.jacfwd(F)
        F2 = jax.jacfwd(F1)
        return F(e), F1(e), F2(e), jax.jacfwd(F2)(e)

    def one(lr, gamma0):
        (s,) = small.run(1, gamma0=gamma0, lr=lr)
        V = [d / (lr * gamma0) for d in s.dW]
        F0, F1, F2, F3 = derivatives(V, 0.0)
        move = (derivatives(V, lr * gamma0)[0] - F0) / gamma0
        assert_exact(F1, s.K @ s.Delta)
        return np.linalg.norm(move - lr * F1 - lr**2 * gamma0 / 2 * F2) / np.linalg.norm(lr**3 * gamma0**2 / 6 * F3)

    for lr, gamma0 in ((1e-2, 1.0), (5e-3, 1.0), (1e-2, 0.5)):
        assert abs(one(lr, gamma0) - 1) < 0.02


@checks("eq-linear-step")
def test_linear_step():
    rng = np.random.default_rng(3)
    P, D, N, gamma0, lr = 3, 4, 7, 1.3, 0.4
    X, y, W = rng.standard_normal((P, D)), rng.standard_normal(P), initial_weights(rng, D, N, 1)
    s, after = train(W, X, y, gamma0, lr, 2, "linear")
    second = lr**2 * gamma0**2 * (gram(X, X) @ s.Delta) * (s.Delta @ s.raw)
    assert_exact(after.raw, s.raw + lr * s.K @ s.Delta + second)


def hermite(nodes, dimensions):
    """Points and weights for averages over independent unit Gaussians."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    grid = lambda x: np.stack(np.meshgrid(*[x] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)  # noqa: E731
    return grid(x), grid(w / w.sum()).prod(axis=1)


def gaussian_pair(F, Sigma):
    """⟨F(u_μ) F(u_ν)⟩ for u ~ N(0, Sigma), entry by entry."""
    (x, y), w = hermite(80, 2)[0].T, hermite(80, 2)[1]
    sd = np.sqrt(np.diag(Sigma))
    along = Sigma / sd[:, None]
    across = np.sqrt(np.maximum(sd**2 - along**2, 0))
    one, other = F(sd[:, None] * x), F(along[..., None] * x + across[..., None] * y)
    return np.einsum("ms,mns,s->mn", one, other, w)


def lazy_recursion(K_x, L):
    Phi, G = [K_x], [np.ones_like(K_x)]
    for _ in range(L):
        Phi.append(gaussian_pair(np.tanh, Phi[-1]))
    for l in range(L, 0, -1):
        G.insert(0, G[0] * gaussian_pair(tanh_dot, Phi[l - 1]))
    return np.array(Phi), np.array(G), sum(a * b for a, b in zip(G, Phi))


@checks("eq-lazy-forward", "eq-lazy-backward", "eq-lazy-entk")
def test_lazy_recursion():
    """The recursion, against wide networks at initialization and against the library."""
    rng = np.random.default_rng(4)
    P, D, N, L = 2, 5, 400, 2
    X = rng.standard_normal((P, D))
    task = dl.Task(X, np.ones(P))
    Phi, G, K = lazy_recursion(task.K_x, L)
    library = dl.lazy.kernels(dl.Experiment(task, dl.GD(), L, "tanh", 1.0, 0.1, 1))
    assert_exact(library.Phi, Phi[1:], 1e-7)
    assert_exact(library.G, G[:-1], 1e-7)
    assert_exact(library.K, K, 1e-7)

    found = []
    for _ in range(250):
        (s,) = train(initial_weights(rng, D, N, L), X, np.ones(P), 1.0, 0.1, 1)
        found.append([s.terms[-1].trace(), gram(s.g[0], s.g[0]).trace(), s.K[0, 0], s.K[1, 1]])
    for samples, expected in zip(np.array(found).T, (Phi[2].trace(), G[0].trace(), K[0, 0], K[1, 1])):
        assert_mean(samples, expected)


def test_lazy_backward_is_decoupled():
    """At initialization z is uncorrelated with φ(h) of its own layer; after training it is not."""
    rng = np.random.default_rng(5)
    P, D, N, L = 2, 4, 200, 2
    X, y = rng.standard_normal((P, D)), np.array([1.0, -1.0])
    start, end = [], []
    for _ in range(60):
        s = train(initial_weights(rng, D, N, L), X, y, 2.0, 0.2, 6)
        start.append((s[0].z[0] * np.tanh(s[0].h[0])).mean())
        end.append((s[-1].z[0] * np.tanh(s[-1].h[0]) * s[-1].f[:, None]).mean())
    assert_mean(start, 0.0)
    assert np.mean(end) > 10 * np.std(end) / np.sqrt(len(end))


@checks("eq-lazy-training")
def test_lazy_training():
    task = dl.Task.random(P=4, D=6, seed=0, P_test=3)
    experiment = dl.Experiment(task, dl.GD(), 2, "tanh", 1.0, 0.2, 8)
    everything = dl.Task(task.X_all, np.zeros(7))
    K_all = lazy_recursion(everything.K_x, 2)[2]
    K, K_star, lr = K_all[:4, :4], K_all[4:, :4], experiment.lr
    assert lr * np.linalg.eigvalsh(K).max() < 2
    prediction = dl.lazy.predict(experiment)
    Delta, f_test = task.y, np.zeros(3)
    for t in range(experiment.steps):
        decay = np.linalg.matrix_power(np.eye(4) - lr * K, t)
        assert_exact(Delta, decay @ task.y)
        assert_exact(f_test, K_star @ np.linalg.solve(K, (np.eye(4) - decay) @ task.y))
        assert_exact(prediction.f[t], task.y - Delta, 1e-7)
        assert_exact(prediction.f_test[t], f_test, 1e-7)
        Delta, f_test = Delta - lr * K @ Delta, f_test + lr * K_star @ Delta
    assert_exact(prediction.f_test_inf, K_star @ np.linalg.solve(K, task.y), 1e-6)


@checks("eq-lazy-nngp")
def test_lazy_nngp():
    """K = Φᴸ: more inputs than dimensions are all fitted, unless φ is linear; new ones follow by regression with Φᴸ."""
    X = np.random.default_rng(0).standard_normal((7, 2)) * 2
    task, Phi = dl.Task(X[:4], [1.0, 1.0, -1.0, -1.0], X[4:]), gram(X, X)
    for _ in range(2):  # erf has a closed form
        length = 1 + 2 * np.diag(Phi)
        Phi = 2 / np.pi * np.arcsin(2 * Phi / np.sqrt(np.outer(length, length)))
    seen, new = Phi[:4, :4], Phi[4:, :4]
    assert np.linalg.eigvalsh(seen).min() > 1e-3
    decay = np.linalg.matrix_power(np.eye(4) - 0.5 * seen, 7)
    for rule in (dl.DFA(), dl.FA(0.0), dl.Hebb()):
        prediction = dl.lazy.predict(dl.Experiment(task, rule, 2, "erf", 1.0, 0.5, 8))
        assert_exact(task.y - prediction.f[-1], decay @ task.y)
        assert_exact(prediction.f_test[-1], new @ np.linalg.solve(seen, task.y - decay @ task.y))
    end = dl.lazy.predict(dl.Experiment(task, dl.DFA(), 2, "erf", 1.0, 0.5, 8)).f_test_inf
    assert_exact(end, new @ np.linalg.solve(seen, task.y))
    linear = dl.lazy.predict(dl.Experiment(task, dl.DFA(), 2, "linear", 1.0, 0.1, 1000))
    fitted = task.X @ np.linalg.pinv(task.X) @ task.y
    assert_exact(linear.f[-1], fitted)
    assert np.abs(fitted - task.y).max() > 0.1


# Mean field theory: exact statements at finite width ---------------------------------------------------------


def two_time(a, b):
    """⟨a_μ(t) b_ν(s)⟩ from lists over time of (P, N) fields: (t, s, μ, ν)."""
    a, b = np.array(a), np.array(b)
    return np.einsum("tmi,sni->tsmn", a, b) / a.shape[-1]


@checks("eq-hand-one")
def test_one_hidden_layer_by_hand():
    """The fields as vectors of coefficients of h(0) and w(0), and f of the solver."""
    gamma0, lr, y = 1.5, 0.1, 1.3
    h, w = np.array([1.0, gamma0 * lr * y]), np.array([gamma0 * lr * y, 1.0])
    task = dl.Task.whitened([y])
    run = dl.meanfield.solve(dl.Experiment(task, dl.GD(), 1, "linear", gamma0, lr, 2), samples=64)
    assert_exact(run.f[1, 0], h @ w / gamma0)
    assert_exact(run.f[1, 0], 2 * lr * y)
    assert_exact(run.Phi[1, 0, 0, 0], h @ h)


@checks("eq-hand-two", "eq-hand-square", "eq-hand-response")
def test_first_response_by_hand():
    """Networks with two linear hidden layers: what W(0) makes of h¹(1) is u + γ₀ηy w(0), with ⟨u²⟩ = 1 + (γ₀ηy)²."""
    rng = np.random.default_rng(14)
    N, gamma0, lr, y = 400, 2.0, 0.4, 1.2
    step, slopes, variances, own = gamma0 * lr * y, [], [], []
    for _ in range(150):
        W = initial_weights(rng, 1, N, 2)
        now = train(W, np.ones((1, 1)), np.array([y]), gamma0, lr, 2, "linear")
        start, w = now[0].h[1][0], W[2]
        chi = W[1] @ now[1].h[0][0] / np.sqrt(N)
        square = W[1] @ (W[1].T @ w) / N
        assert_exact(chi, start + step * square)
        n = square - w
        slopes.append((w @ (chi - start)) / (w @ w))
        variances.append(((start + step * n) ** 2).mean())
        own.append((n @ start) / N)
    assert_mean(slopes, step)
    assert_mean(variances, 1 + step**2)
    assert_mean(own, 0.0)


@checks("eq-generic")
def test_generic_rule():
    """The five rules as the page lists them, against what the library's rules make of the same fields."""
    rng = np.random.default_rng(15)
    h, z, xi, zeta, fixed, gate = rng.standard_normal((6, 3, 7))
    Delta, rho = rng.standard_normal((3, 1)), 0.6
    phi, dot = np.tanh(h), tanh_dot(h)
    page = {
        dl.GD(): dot * z,
        dl.FA(rho): dot * (rho * xi + np.sqrt(1 - rho**2) * zeta),
        dl.DFA(): dot * fixed,
        dl.GLN(): gate * z,
        dl.Hebb(): Delta * phi,
    }
    for rule, expected in page.items():
        layer = SimpleNamespace(
            h=h, phi=phi, phi_dot=dot, gate=gate, error=Delta, fresh_vector=fixed, g_tilde_next=None
        )
        layer.W0_T, layer.fresh_T, layer.skip = lambda _: xi, lambda _: zeta, lambda _: 0
        layer.gain = rule.gain(layer)
        layer.g = layer.gain * z
        assert_exact(rule.pseudo_gradient(layer), expected)


@checks("eq-fields", "eq-chi-xi")
def test_fields_are_exact(small):
    T = 5
    states = small.run(T)
    for l in range(1, small.L):  # W[l] maps layer index l − 1 to layer index l
        phi = [np.tanh(s.h[l - 1]) for s in states]
        g, g_tilde = [s.g[l] for s in states], [s.g_tilde[l] for s in states]
        Phi, G_tilde = two_time(phi, phi), two_time(g, g_tilde)
        for t, now in enumerate(states):
            h = phi[t] @ small.W[l].T / np.sqrt(small.N)
            z = g[t] @ small.W[l] / np.sqrt(small.N)
            for s in range(t):
                Delta = states[s].Delta[:, None]
                h = h + small.gamma0 * small.lr * Phi[t, s] @ (Delta * g_tilde[s])
                z = z + small.gamma0 * small.lr * G_tilde[t, s] @ (Delta * phi[s])
            assert_exact(h, now.h[l])
            assert_exact(z, now.z[l - 1])


@checks("eq-top")
def test_readout_is_exact(small):
    states = small.run(5)
    w = small.W[-1]
    for now in states:
        assert_exact(now.z[-1], np.broadcast_to(w, now.z[-1].shape))
        assert_exact(now.raw, np.tanh(now.h[-1]) @ w / small.N / small.gamma0)
        w = w + small.gamma0 * small.lr * now.Delta @ np.tanh(now.h[-1])


@checks("eq-bottom")
def test_first_layer_is_gaussian():
    rng = np.random.default_rng(6)
    X = np.array([[1.0, 2.0, -1.0], [0.5, 1.0, 1.0]])
    h = rng.standard_normal((60_000, 3)) @ X.T / np.sqrt(3)
    K_x = gram(X, X)
    for mu, nu in ((0, 0), (1, 1)):
        assert_mean(h[:, mu] * h[:, nu], K_x[mu, nu])
    assert_mean((h[:, 0] - h[:, 1]) ** 2, K_x[0, 0] + K_x[1, 1] - 2 * K_x[0, 1])


def directions(rng, n, N):
    """n rows of length N, orthonormal under the average over N."""
    return np.linalg.qr(rng.standard_normal((N, n)))[0].T * np.sqrt(N)


@checks("eq-answers", "eq-conditional")
def test_conditional_law():
    """Mean and covariance of all entries of W given the answers, against Gaussian conditioning by brute force."""
    rng = np.random.default_rng(7)
    N = 5
    W, p, q = rng.standard_normal((N, N)), directions(rng, 2, N), directions(rng, 3, N)
    chi, xi = W @ p.T / np.sqrt(N), W.T @ q.T / np.sqrt(N)  # columns are answers

    # W as a vector of N² unit Gaussians, of which C W are observed.
    eye = np.eye(N)
    C = np.concatenate([np.kron(eye, row) for row in p] + [np.kron(row, eye) for row in q]) / np.sqrt(N)
    seen = np.concatenate([chi.T.ravel(), xi.T.ravel()])
    assert_exact(C @ W.ravel(), seen)
    inverse = np.linalg.pinv(C @ C.T, rcond=1e-10)
    mean, covariance = C.T @ inverse @ seen, np.eye(N * N) - C.T @ inverse @ C

    bracket = chi @ p + q.T @ xi.T - q.T @ (q @ chi / N) @ p
    assert_exact(mean.reshape(N, N) / np.sqrt(N), bracket / N)
    project = lambda rows: eye - rows.T @ rows / N  # noqa: E731
    assert_exact(covariance, np.kron(project(q), project(p)))


class Questions:
    """Ask a matrix, in any order, what it does to vectors; keep p, a, q, b as the pages define them."""

    def __init__(self, W):
        self.W, self.N = W / np.sqrt(len(W)), len(W)
        self.p, self.a, self.q, self.b = (np.zeros((0, self.N)) for _ in range(4))

    def _new(self, v, basis):
        v = v - (basis @ v / self.N) @ basis
        v = v - (basis @ v / self.N) @ basis
        size = np.sqrt((v**2).mean())
        return v / size if size > 1e-8 else None

    def forward(self, v):
        p = self._new(v, self.p)
        if p is not None:
            chi = self.W @ p
            self.a = np.vstack([self.a, chi - (self.b @ p / self.N) @ self.q])
            self.p = np.vstack([self.p, p])
            assert np.abs(self.q @ self.a[-1]).max(initial=0) < 1e-9 * self.N  # of older questions

    def transpose(self, v):
        q = self._new(v, self.q)
        if q is not None:
            xi = self.W.T @ q
            self.b = np.vstack([self.b, xi - (self.a @ q / self.N) @ self.p])
            self.q = np.vstack([self.q, q])
            assert np.abs(self.p @ self.b[-1]).max(initial=0) < 1e-9 * self.N

    def revealed(self):
        return (self.a.T @ self.p + self.q.T @ self.b) / self.N


@checks("eq-new-a", "eq-new-b", "eq-reveal")
def test_sorted_answers():
    rng = np.random.default_rng(8)
    N = 12
    W = rng.standard_normal((N, N))
    ask = Questions(W)
    v = rng.standard_normal(N)
    for k in range(2 * N):  # each question depends on the answer to the one before
        if k % 3 == 1:
            ask.transpose(np.tanh(v) + 0.1 * np.sin(3 * v))
            v = W.T @ ask.q[-1] / np.sqrt(N)
        else:
            ask.forward(np.tanh(v) + 0.1 * np.cos(3 * v))
            v = W @ ask.p[-1] / np.sqrt(N)
        revealed = ask.revealed()
        assert_exact(revealed @ ask.p.T, W @ ask.p.T / np.sqrt(N), 1e-9)
        assert_exact(revealed.T @ ask.q.T, W.T @ ask.q.T / np.sqrt(N), 1e-9)
    assert len(ask.p) == N
    assert_exact(ask.revealed(), W / np.sqrt(N), 1e-8)  # every question asked: the matrix itself


def ask_training(states, layer):
    """Questions that training asked of W^ℓ(0): features forward, then gradients and pseudo-gradients backward, step by step."""
    ask = Questions(states[0].W[layer])
    for s in states:
        for row in np.tanh(s.h[layer - 1]):
            ask.forward(row)
        for row in (*s.g[layer], *s.g_tilde[layer]):
            ask.transpose(row)
    return ask


@checks("eq-sorted")
def test_chi_xi_in_a_trained_network(small):
    """χ, ξ and ξ̃ of a trained network, N = 12, from a, b, p, q only."""
    states = small.run(2)
    for l in range(1, small.L):
        ask = ask_training(states, l)
        for s in states:
            phi = np.tanh(s.h[l - 1])
            u = gram(phi, ask.p) @ ask.a
            assert_exact(u + gram(phi, ask.b) @ ask.q, phi @ small.W[l].T / np.sqrt(small.N), 1e-9)
            for g in (s.g[l], s.g_tilde[l]):  # r and v
                r = gram(g, ask.q) @ ask.b
                assert_exact(r + gram(g, ask.a) @ ask.p, g @ small.W[l] / np.sqrt(small.N), 1e-9)


@checks("eq-gaussians")
def test_gaussian_covariances():
    """⟨uu⟩, ⟨rr⟩, ⟨rv⟩, ⟨vv⟩ in networks that feedback like FA's trains, up to the 1/N lost to the orthogonality conditions."""
    rng = np.random.default_rng(10)
    P, D, N = 2, 3, 500
    X, y = rng.standard_normal((P, D)), np.array([1.0, -1.0])
    ratios = []
    for _ in range(250):
        frozen = rng.standard_normal((2, 1, N))
        W = initial_weights(rng, D, N, 2)
        states = train(W, X, y, 1.5, 0.3, 3, "tanh", "mixed", frozen)
        ask = ask_training(states, 1)
        phi, g, g_tilde = np.tanh(states[-1].h[0]), states[-1].g[1], states[-1].g_tilde[1]
        u, r, v = gram(phi, ask.p) @ ask.a, gram(g, ask.q) @ ask.b, gram(g_tilde, ask.q) @ ask.b
        pairs = ((u, u, phi, phi), (r, r, g, g), (r, v, g, g_tilde), (v, v, g_tilde, g_tilde))
        ratios.append([(a * b).sum() / (c * d).sum() for a, b, c, d in pairs])
    for ratio in np.transpose(ratios):
        error = np.std(ratio) / np.sqrt(len(ratio))
        assert abs(np.mean(ratio) - 1) < 4 * error + 2 * len(ask.q) / N < 0.08


# Batches and weight decay

RATE, BATCHES = 0.7, ((0, 2), (1,), (1, 2))


@checks("eq-decay-update")
def test_decay_update(small):
    """It is a step of descent of the loss of the batch and of a quadratic term."""
    states = small.run(5, "GD", weight_decay=RATE, batches=BATCHES)
    for t, (now, after) in enumerate(pairwise(states)):
        batch = list(BATCHES[t % 3])

        def descended(W):
            f = outputs(W, small.X, small.gamma0) - now.raw + now.f  # noqa: B023
            square = sum((w**2).sum() for w in W)
            decay = RATE * square / (2 * small.gamma0**2 * small.N)
            return 0.5 * ((small.y - f)[jnp.array(batch)] ** 2).sum() + decay  # noqa: B023

        slopes = jax.grad(descended)([jnp.asarray(w) for w in now.W])
        for before, slope, new in zip(now.W, slopes, after.W):
            assert_exact(new, before - small.lr * small.gamma0**2 * small.N * slope)


@checks("eq-decay-fields")
def test_decay_fields(small):
    states, left = small.run(5, weight_decay=RATE, batches=BATCHES), 1 - small.lr * RATE
    for l in range(1, small.L):
        phi = [np.tanh(s.h[l - 1]) for s in states]
        g, g_tilde = [s.g[l] for s in states], [s.g_tilde[l] for s in states]
        Phi, G_tilde = two_time(phi, phi), two_time(g, g_tilde)
        for t, now in enumerate(states):
            h = left**t * phi[t] @ small.W[l].T / np.sqrt(small.N)
            z = left**t * g[t] @ small.W[l] / np.sqrt(small.N)
            for s in range(t):
                rate = small.gamma0 * small.lr * left ** (t - 1 - s)
                for nu in BATCHES[s % 3]:
                    h = h + rate * np.outer(Phi[t, s][:, nu], states[s].Delta[nu] * g_tilde[s][nu])
                    z = z + rate * np.outer(G_tilde[t, s][:, nu], states[s].Delta[nu] * phi[s][nu])
            assert_exact(h, now.h[l])
            assert_exact(z, now.z[l - 1])


@checks("eq-decay-lazy")
def test_decay_lazy(small):
    """At any width, with the kernels of the network itself: what is left out is of order γ₀."""
    states, left = small.run(5, gamma0=1e-7, weight_decay=RATE, batches=BATCHES), 1 - small.lr * RATE
    untrained = [small.run(1, gamma0=1.0, W=[left**t * w for w in small.W])[0] for t in range(5)]
    for t, now in enumerate(states):
        f = np.zeros(small.P)
        for s in range(t):
            one, other = untrained[t], untrained[s]
            below = [gram(a, b) for a, b in zip((small.X, *np.tanh(one.h)), (small.X, *np.tanh(other.h)))]
            above = [*(gram(a, b) for a, b in zip(one.g, other.g_tilde)), 1.0]
            K = sum(a * b for a, b in zip(above, below))
            batch = list(BATCHES[s % 3])
            f += small.lr * left ** (t - 1 - s) * K[:, batch] @ states[s].Delta[batch]
        np.testing.assert_allclose(now.f, f, rtol=0, atol=1e-6)
        assert t == 0 or np.abs(f).max() > 1e-3


@checks("eq-decay-end")
@pytest.mark.parametrize("y", [1.5, 0.4])
@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.6), dl.DFA(), dl.Hebb()], ids=repr)
def test_decay_end(rule, y):
    gamma0, rate = 1.25, 0.6
    e = dl.Experiment(dl.Task.whitened([y]), rule, 1, "linear", gamma0, 0.1, 800, weight_decay=rate)
    a = np.roots([1, 0, rate, -gamma0 * y])
    a = a[np.abs(a.imag).argmin()].real
    if isinstance(rule, dl.GD):
        f, H = max(0.0, y - rate / gamma0), gamma0 * max(0.0, y - rate / gamma0)
    elif isinstance(rule, dl.Hebb):
        f = max(0.0, y - np.sqrt(rate / gamma0))
        H = gamma0 * f * (y - f)
    else:
        f, H = a**3 / gamma0, a**2
    run = dl.meanfield.solve(e, 64, kernels_at=(0, 799))
    np.testing.assert_allclose([run.f[-1, 0], run.H_y[-1]], [f, H], atol=1e-7)


# Mean field theory: averages over one neuron -----------------------------------------------------------------


@checks("eq-stein")
def test_stein():
    (x,), w = hermite(120, 1)[0].T, hermite(120, 1)[1]
    for F in (jnp.sin, lambda b: jnp.tanh(0.6 * b), lambda b: jnp.tanh(0.5 * b + 0.3) ** 3):
        assert_exact(w @ (F(x) * x), w @ jax.vmap(jax.grad(F))(x), 1e-9)


@checks("eq-stein-chain", "eq-stein-chain-down", "eq-response-fields", "eq-responses", "eq-memory-terms")
def test_memory_is_response():
    """Σ_j ⟨φ b_j⟩ q_j = Σ_s ⟨δφ/δr(s)⟩ g(s) + ⟨δφ/δv(s)⟩ g̃(s), with two g(s) and one g̃(s), in two directions.

    The gradients' side is the same statement with one kind of input, u, so one function stands for all.
    """
    rng = np.random.default_rng(11)
    c = 0.4 * rng.standard_normal((3, 2))  # ⟨g(s) q_j⟩ twice, ⟨g̃(s) q_j⟩
    q = directions(rng, 2, 9)
    b, w = hermite(80, 2)

    def F(r, v):
        return jnp.tanh(0.6 * r[0] + 0.3 * r[1] ** 2 - 0.4 * v + 0.2 * r[0] * v)

    r, v = b @ c[:2].T, b @ c[2]
    correlation = w @ (np.asarray(jax.vmap(F)(r, v))[:, None] * b)
    A, C = (w @ np.asarray(x) for x in jax.vmap(jax.grad(F, (0, 1)))(r, v))
    response = A @ c[:2] + C * c[2]
    assert_exact(correlation, response, 1e-8)
    assert_exact(correlation @ q, A @ (c[:2] @ q) + C * (c[2] @ q), 1e-8)
    for wrong in (1.05 * response, A @ c[:2]):
        assert np.linalg.norm(correlation - wrong) > 0.04 * np.linalg.norm(correlation)


@checks("eq-equal-time")
def test_equal_time_response():
    """One step through three layers: the nested recursions against derivatives of g and g̃ with respect to u."""
    rng = np.random.default_rng(12)
    S, P, L = 400, 3, 3
    past = jnp.array(rng.standard_normal((L, S, P)))  # what earlier steps left in h
    z_past = rng.standard_normal((L, S, P)) + 0.7 * past  # and in z and ξ̃, correlated with it, as training makes it
    xi_past = rng.standard_normal((L, S, P)) + 0.9 * past
    B = D = np.zeros((P, P))  # γ₀ B^ℓ(t, t) and γ₀ D^ℓ(t, t), from the top: B^L = D^L = 0

    def rule(h, z, xi):
        return (1 - jnp.tanh(h) ** 2) * (xi + 0.5 * jnp.sin(z))

    def site(u, l, B, D, i):
        h = u + past[l, i]
        z, xi = z_past[l, i] + B @ jnp.tanh(h), xi_past[l, i] + D @ jnp.tanh(h)
        return jnp.stack([(1 - jnp.tanh(h) ** 2) * z, rule(h, z, xi)]), (h, z, xi)

    for l in range(L - 1, -1, -1):
        u, neurons = rng.standard_normal((S, P)), jnp.arange(S)
        run = lambda x, i, l=l, B=B, D=D: site(x, l, B, D, i)  # noqa: E731
        J_B, J_D = jax.vmap(jax.jacfwd(lambda x, i, run=run: run(x, i)[0]))(u, neurons).mean(axis=0)
        h, z, xi = (np.asarray(x) for x in jax.vmap(run)(u, neurons)[1])
        by_h, by_z, by_xi = (
            np.asarray(jax.vmap(jax.vmap(jax.grad(rule, argument)))(h, z, xi)) for argument in (0, 1, 2)
        )
        dot = tanh_dot(h)
        D = np.diag(by_h.mean(axis=0)) + B * (by_z.T @ dot / S) + D * (by_xi.T @ dot / S)
        B = np.diag((-2 * np.tanh(h) * dot * z).mean(axis=0)) + B * (dot.T @ dot / S)
        for nested, J in ((B, J_B), (D, J_D)):
            assert_exact(nested, np.asarray(J))
            assert np.abs(np.diag(nested)).min() > 0.03 and np.abs(nested - np.diag(np.diag(nested))).max() < 1e-12


# Mean field theory: the whole set of equations, solved as printed --------------------------------------------


@checks("eq-meanfield", "eq-response-fields", "eq-responses")
def test_mean_field_equations():
    """The printed equations, with responses by automatic differentiation, against the one-sweep solver; all rules: test_responses.py."""
    single_site.compare(dl.meanfield.solve(single_site.experiment(dl.GD()), 20_000, tol=1e-6, record=True), 4000)


def test_response_orders():
    """Halve η at fixed ηt: A(t, s) and B(t, s < t) halve, B(t, t) stays, and B(0, 0) = 0."""
    norm = np.linalg.norm
    coarse, fine = (
        single_site.solve("GD", single_site.experiment(dl.GD(), 2, lr, T), 2000, 0) for lr, T in ((0.05, 3), (0.025, 5))
    )
    (A, B), (fine_A, fine_B) = ((found["A"][0], found["B"][0]) for found in (coarse, fine))
    assert abs(norm(A[2, :, 0]) / norm(fine_A[4, :, 0]) - 2) < 0.3
    assert abs(norm(B[2, :, 1]) / norm(fine_B[4, :, 2]) - 2) < 0.3
    assert abs(norm(B[2, :, 2]) / norm(fine_B[4, :, 4]) - 1) < 0.15
    assert norm(B[0, :, 0]) < 0.2 * norm(B[2, :, 2])


@checks("eq-start", "eq-zero-start")
def test_f_starts_at_zero():
    """Both as recorded and as ⟨w φ(h^L)⟩ of the sampled fields."""
    task = dl.Task.random(P=4, D=7, seed=1)
    run = dl.meanfield.solve(dl.Experiment(task, dl.GD(), 2, "tanh", 0.5, 0.1, 1), samples=600)
    assert np.abs(run.f[0]).max() < 1e-13
    assert np.abs((run.final_z[-1] * np.tanh(run.final_h[-1])).mean(axis=0)).max() < 1e-13


# The solver --------------------------------------------------------------------------------------------------


@checks("eq-sweep-forward", "eq-sweep-backward", "eq-accumulator", "eq-learned-part")
def test_sweep_equals_network(small):
    """The sweep, with the a and b of an actual matrix and N neurons for samples, is that network."""
    T = 3
    states = small.run(T, "GD")
    gaps = [None] + [ask_training(states, l) for l in range(1, small.L)]
    a_t = [None] + [gap.a for gap in gaps[1:]]  # with what was learned
    w, inputs = small.W[-1], small.W[0]
    f0, past = None, [[] for _ in range(small.L)]
    for s in states:
        h = [small.X @ inputs.T / np.sqrt(small.D)]
        for l in range(1, small.L):
            phi, gap = np.tanh(h[-1]), gaps[l]
            h.append(gram(phi, gap.p) @ a_t[l] + gram(phi, gap.b) @ gap.q)
            learned = np.zeros_like(h[-1])  # the same from two-time kernels
            for phi_s, signal in past[l]:
                learned += gram(phi, phi_s) @ signal
            assert_exact(gram(phi, gap.p) @ (a_t[l] - gap.a), learned, 1e-9)
        phi = [np.tanh(layer) for layer in h]
        f = phi[-1] @ w / (small.gamma0 * small.N)
        f0 = f if f0 is None else f0
        g = [tanh_dot(h[-1]) * w]
        for l in range(small.L - 1, 0, -1):
            gap = gaps[l]
            z = gram(g[0], gap.q) @ gap.b + gram(g[0], a_t[l]) @ gap.p
            g.insert(0, tanh_dot(h[l - 1]) * z)
        assert_exact(np.array(h), np.array(s.h), 1e-9)
        assert_exact(np.array(g), np.array(s.g), 1e-9)
        assert_exact(f - f0, s.f, 1e-9)
        signal = small.gamma0 * small.lr * (small.y - f + f0)[:, None]
        for l in range(1, small.L):
            a_t[l] = a_t[l] + gram(phi[l - 1], gaps[l].p).T @ (signal * g[l])
            past[l].append((phi[l - 1], signal * g[l]))
        w = w + signal[:, 0] @ phi[-1]
        inputs = inputs + (signal * g[0]).T @ small.X / np.sqrt(small.D)


@checks("eq-revealed", "eq-old-answer")
def test_revealed_matrix_is_consistent():
    """Old answers stay when new directions come, if the new images are orthogonal; and not otherwise."""
    rng = np.random.default_rng(13)
    S, rounds = 40, 6

    def worst_change(orthogonal):
        p, a, q, b = (np.zeros((0, S)) for _ in range(4))
        answers, worst = [], 0.0
        P, Q = directions(rng, rounds, S), directions(rng, rounds, S)
        for k in range(rounds):
            fresh = rng.standard_normal((2, S))
            a_new = fresh[0] - (q @ fresh[0] / S) @ q if orthogonal else fresh[0]
            p, a = np.vstack([p, P[k]]), np.vstack([a, a_new])
            b_new = fresh[1] - (p @ fresh[1] / S) @ p if orthogonal else fresh[1]
            q, b = np.vstack([q, Q[k]]), np.vstack([b, b_new])
            W = (a.T @ p + q.T @ b) / S
            answers.append((W @ P[k], W.T @ Q[k]))
            for j, (forward_answer, backward_answer) in enumerate(answers):
                change = np.abs(W @ P[j] - forward_answer).max(), np.abs(W.T @ Q[j] - backward_answer).max()
                worst = max(worst, *change)
        return worst

    assert worst_change(True) < 1e-12
    assert worst_change(False) > 0.1


@pytest.fixture(scope="module")
def two_tols():
    """One experiment solved with a coarse and with a fine tol."""
    with jax.enable_x64(True):
        experiment = dl.Experiment(dl.Task.random(P=4, D=8, seed=2), dl.GD(), 2, "tanh", 1.5, 0.05, 6)
        return {tol: dl.meanfield.solve(experiment, samples=2048, tol=tol) for tol in (1e-3, 1e-5)}


@checks("eq-tol")
def test_tol_bounds_what_is_discarded(two_tols):
    for tol, run in two_tols.items():
        assert 0 < run.provenance.discarded <= 4 * tol  # four fields: all that tol allows may be one's
    assert sum(two_tols[1e-3].provenance.rank[0]) < sum(two_tols[1e-5].provenance.rank[0])


@checks("eq-tol-error")
def test_tol_error(two_tols):
    """The estimate at tol = 1e-3 is above the distance to a run with the same draws and a hundredth of the tol, not far."""
    coarse, fine = two_tols[1e-3], two_tols[1e-5]
    for name in ("Phi", "G", "K"):
        distance = np.linalg.norm(getattr(coarse, name) - getattr(fine, name)) / np.linalg.norm(getattr(fine, name))
        assert distance < coarse.provenance.errors["tol"][name] < 5 * distance, name
    assert fine.provenance.errors["tol"]["K"] < coarse.provenance.errors["tol"]["K"] / 5


@checks("eq-substeps")
def test_substeps(small):
    """Of gradient descent, whose updates are slopes by automatic differentiation."""
    m, U = 3, []
    states = small.run(5, "GD", substeps=m)
    for now in states:

        def loss(W):
            return 0.5 * ((small.y - outputs(W, small.X, small.gamma0) + now.raw - now.f) ** 2).sum()  # noqa: B023

        slopes = jax.grad(loss)([jnp.asarray(w) for w in now.W])
        U.append([-(small.gamma0**2) * small.N * np.asarray(slope) for slope in slopes])
    for t, now in enumerate(states):
        missed = (0, 2, 1, 1, 1)[t] * (m - 1) / (2 * m)  # the second step makes up for the first
        for dW, one, before in zip(now.dW, U[t], U[max(t - 1, 0)]):
            assert_exact(dW, small.lr * (one + missed * (one - before)))


@checks("eq-steps-error")
def test_error_of_steps():
    """Of a linear network, which has no other error: the estimate is above the distance, not far."""
    experiment = dl.Experiment(dl.Task.random(P=4, D=8, seed=2), dl.GD(), 2, "linear", 1.0, 0.02, 41, substeps=8)
    run = dl.meanfield.solve(experiment, samples=64)
    fine = dl.meanfield.solve(dataclasses.replace(experiment, lr=0.0025, steps=321, substeps=1), samples=64)
    for name in ("f", "Phi", "G", "K"):
        known = getattr(fine, name)[::8]
        distance = np.linalg.norm(getattr(run, name) - known) / np.linalg.norm(known)
        assert distance < run.provenance.errors["steps"][name] < 2 * distance, name


@checks("eq-matched")
def test_moments_are_matched():
    task = dl.Task.random(P=4, D=7, seed=3)
    run = dl.meanfield.solve(dl.Experiment(task, dl.GD(), 2, "tanh", 1.0, 0.1, 1), samples=600, tol=1e-12)
    h = run.final_h
    assert_exact(h[0].T @ h[0] / len(h[0]), task.K_x, 1e-11)
    assert_exact(h[1].T @ h[1] / len(h[1]), np.tanh(h[0]).T @ np.tanh(h[0]) / len(h[0]), 1e-9)


@checks("eq-known-start")
def test_kernels_start_from_the_lazy_ones(monkeypatch):
    seen, correct = {}, solver.without_known_noise

    def spy(experiment, samples, sweeps):
        seen.update({name: [sweep.copy() for sweep in three] for name, three in sweeps.items()})
        return correct(experiment, samples, sweeps)

    monkeypatch.setattr(solver, "without_known_noise", spy)
    experiment = dl.Experiment(dl.Task.random(P=3, D=5, seed=1), dl.FA(0.5), 2, "tanh", 1.5, 0.1, 4)
    run, lazy = dl.meanfield.solve(experiment, samples=600), dl.lazy.kernels(experiment)
    D = {name: seen[name][0] - seen[name][1] for name in ("Phi", "G", "G_tilde")}
    shared = np.stack([D[name] / np.linalg.norm(getattr(lazy, name)) for name in ("Phi", "G")], axis=1)
    for name, fitted in (("Phi", shared), ("G", shared), ("G_tilde", D["G_tilde"])):
        mean = np.mean(seen[name][:2], axis=0)
        for t in range(4):
            beta = np.clip((fitted[t] * fitted[0]).sum() / (fitted[0] ** 2).sum(), 0, 1)
            assert_exact(getattr(run, name)[t], mean[t] - beta * (mean[0] - getattr(lazy, name)), 1e-12)
        assert np.linalg.norm(mean[0] - getattr(lazy, name)) > 1e-3 * np.linalg.norm(mean[0])


def test_two_layer_linear():
    """L = 1, linear: every field is a vector of coefficients of orthonormal Gaussians; no sampling at all."""
    task = dl.Task.random(P=3, D=5, seed=4)
    gamma0, lr, T = 1.5, 0.1, 20
    run = dl.meanfield.solve(dl.Experiment(task, dl.GD(), 1, "linear", gamma0, lr, T), samples=64)
    h = np.concatenate([np.linalg.cholesky(task.K_x), np.zeros((3, 1))], axis=1)
    w = np.array([0.0, 0.0, 0.0, 1.0])
    for t in range(T):
        f = h @ w / gamma0
        assert_exact(run.f[t], f, 1e-9)
        assert_exact(run.Phi[t, 0], h @ h.T, 1e-9)
        assert_exact(run.K[t], h @ h.T + (w @ w) * task.K_x, 1e-9)
        Delta = task.y - f
        h, w = h + gamma0 * lr * np.outer(task.K_x @ Delta, w), w + gamma0 * lr * Delta @ h


@checks("eq-mc-error")
def test_monte_carlo_error():
    """The estimate from two halves is the spread that is really seen between seeds."""
    experiment = dl.Experiment(dl.Task.random(P=4, D=6, seed=6), dl.GD(), 1, "tanh", 1.5, 0.1, 12)
    runs = [dl.meanfield.solve(experiment, samples=512, seed=seed) for seed in range(30)]
    K = np.array([run.K for run in runs])
    mean = K.mean(axis=0)
    seen = np.sqrt(((K - mean) ** 2).sum(axis=(1, 2, 3)).sum() / (len(K) - 1)) / np.linalg.norm(mean)
    claimed = np.sqrt(np.mean([run.provenance.errors["monte_carlo"]["K"] ** 2 for run in runs]))
    assert 0.7 < claimed / seen < 1.4


def test_first_response():
    """The exercise of the mean field page: A¹(1,0) = η K_x Δ(0) and B¹(1,0) = η Δ(0)."""
    task = dl.Task(np.full((1, 3), 0.7), [1.3])
    experiment = dl.Experiment(task, dl.GD(), 2, "linear", gamma0=0.8, lr=0.1, steps=2)
    found = dl.meanfield.solve(experiment, record=True).responses()
    assert_exact(found["A"][0, 1, 0, 0, 0], 0.1 * task.K_x[0, 0] * 1.3, tol=1e-8)
    assert_exact(found["B"][0, 1, 0, 0, 0], 0.1 * 1.3, tol=1e-8)


# The pages and this file -------------------------------------------------------------------------------------


def test_welcome_example(capsys):
    """The lines of code on the first page print what stands below them, and K does not turn under Hebb."""
    page = (BOOK / "welcome.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", page, re.DOTALL).groups()
    exec(code, {})
    number = r"\d[\d.]*"
    printed, shown = ((re.sub(number, "", x).split(), re.findall(number, x)) for x in (capsys.readouterr().out, shown))
    assert printed[0] == shown[0]
    for here, there in zip(printed[1], shown[1], strict=True):  # to one in the last digit, which rounding may change
        assert abs(float(here) - float(there)) < 1.01 * 10.0 ** -len(there.partition(".")[2]), (here, there)
    names = {}
    exec(code.replace("GD()", "Hebb()").replace("gamma0=2.0", "gamma0=0.5").replace("range(8)", "range(2)"), names)
    assert names["after"] < names["before"] + 0.05


def test_pages_and_tests_name_each_other():
    """Every label on the prose pages is covered here by a test named below it, and every test that a page names exists."""
    text = {page: (BOOK / f"{page}.md").read_text() for page in PAGES}
    labels = [
        (match[1], content[match.end() :])
        for content in text.values()
        for match in re.finditer(r"^\s*\$\$ \((eq-[\w-]+)\)", content, re.MULTILINE)
    ]
    assert {label for label, _ in labels} == COVERED.keys()
    for label, below in labels:
        assert COVERED[label] & set(re.findall(r"`(test_\w+)`", below)), f"no test of {label} is named below it"
    own = set(globals())
    for page, content in text.items():
        for name in re.findall(r"`(test_\w+)`", content):
            assert name in own, f"{page}.md names {name}, which is not in this file"
