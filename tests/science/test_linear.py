"""Linear activations: the mean field is exact, whatever the depth, the seed and the number of samples."""

import dataclasses

import numpy as np
import pytest

import dmftlib as dl
from dmftlib.meanfield import solver
from dmftlib.probe import is_linear
from dmftlib.results import RECORDED

TASK = dl.Task.random(8, 12, seed=3, P_test=3)
CASES = {  # rule, hidden layers and γ₀; each is compiled once
    "GD": (dl.GD(), 3, 1.2),
    "FA(0.6)": (dl.FA(0.6), 3, 1.2),
    "DFA": (dl.DFA(), 2, 1.2),
    "Hebb": (dl.Hebb(), 2, 0.2),  # richer ones diverge at this step size
}


def experiment(name):
    rule, layers, gamma0 = CASES[name]
    return dl.Experiment(TASK, rule, layers, "linear", gamma0, lr=0.02, steps=30)


def equations(e):
    """Equation (5) of the paper with the fields of its Table 1 as they stand in steps, without samples or bases.

    With φ(h) = h a field of layer ℓ is a row of coefficients on the layer's Gaussians: u_μ(s), r_ν(s) at every time,
    v and ζ̃ (frozen feedback, one each). Averages are products of rows with the Gaussians' covariance; a response is
    a coefficient: γ₀A^ℓ(t,s) that of φ^ℓ(t) on r^ℓ(s), γ₀C^ℓ that on v^ℓ, γ₀B^ℓ(t,s) that of g^{ℓ+1}(t) on u^{ℓ+1}(s).
    D = 0, since feedback alone makes g̃ of FA and DFA.
    """
    L, T, P, rule, step = e.hidden_layers, e.steps, e.task.P, e.rule, e.gamma0 * e.lr
    X = e.task.X_all
    n, K_x = len(X), X @ X.T / X.shape[1]
    u = lambda t: slice(t * n, (t + 1) * n)  # noqa: E731
    r = lambda t: slice(T * n + t * P, T * n + (t + 1) * P)  # noqa: E731
    first_r, v, zeta = T * n, T * (n + P), T * (n + P) + 1
    dim = zeta + 1
    covariance = np.zeros((L, dim, dim))
    covariance[:, v, v] = covariance[:, zeta, zeta] = 1.0
    covariance[0, :first_r, :first_r] = np.tile(K_x, (T, T))  # χ¹ does not change in time
    covariance[-1, first_r : v + 1, first_r : v + 1] = 1.0  # r^L = v^L = w(0)
    h, g, g_tilde = np.zeros((L, T * n, dim)), np.zeros((L, T * P, dim)), np.zeros((L, T * P, dim))
    signal = np.zeros((L, T * P, dim))  # γ₀η Δ g̃
    learned = np.zeros((T * P, dim))  # γ₀η Δ φ^L, by whose sum w moves
    train = np.concatenate([np.arange(P) + t * n for t in range(T)])
    out = {name: [] for name in ("f", "Phi", "G", "G_tilde", "G_tilde_tilde", "K")}
    frozen = np.zeros((L, dim))
    rho = {dl.FA: getattr(rule, "rho", 0.0), dl.DFA: 0.0}.get(type(rule), 0.0)
    frozen[:, v], frozen[:, zeta] = rho, np.sqrt(1 - rho**2)
    Delta_so_far = np.zeros(T * P)
    for t in range(T):
        now, all_now, past = slice(t * P, (t + 1) * P), u(t), t * P
        for l in range(L):
            row = np.zeros((n, dim))
            row[:, u(t)] = np.eye(n)
            if l == 0:
                Phi = np.tile(K_x[:, :P], (1, t))  # with the training samples of all earlier times
            else:
                below = h[l - 1, all_now]
                row += below[:, first_r : first_r + T * P] @ g[l]
                if type(rule) is dl.FA:
                    row += below[:, v : v + 1] * frozen[l]
                two_time = below @ covariance[l - 1] @ h[l - 1, : (t + 1) * n].T
                covariance[l, u(t), : (t + 1) * n] = two_time
                covariance[l, : (t + 1) * n, u(t)] = two_time.T
                Phi = two_time[:, train[:past]]
            h[l, all_now] = row + Phi @ signal[l, :past]
        w = np.zeros(dim)
        w[r(0).start] = 1.0
        w += learned[:past].sum(axis=0)
        f = h[-1, all_now] @ covariance[-1] @ w / e.gamma0
        Delta = e.task.y - f[:P]
        Delta_so_far[now] = Delta
        for l in reversed(range(L)):
            if l == L - 1:
                z = np.tile(w, (P, 1))
            else:
                z = np.zeros((P, dim))
                z[:, r(t)] = np.eye(P)
                z += g[l + 1, now][:, :first_r] @ h[l]
                G_tilde = g[l + 1, now] @ covariance[l + 1] @ g_tilde[l + 1, :past].T
                z += step * (G_tilde * Delta_so_far[:past]) @ h[l, train[:past]]
            g[l, now] = z
            phi = h[l, all_now][:P]
            g_tilde[l, now] = {dl.GD: z, dl.Hebb: Delta[:, None] * phi}.get(type(rule), np.tile(frozen[l], (P, 1)))
            signal[l, now] = step * Delta[:, None] * g_tilde[l, now]
            if l:
                G = z @ covariance[l] @ g[l, : past + P].T  # the covariance of r in the layer below
                covariance[l - 1, r(t), first_r : first_r + past + P] = G
                covariance[l - 1, first_r : first_r + past + P, r(t)] = G.T
                with_v = z @ covariance[l] @ frozen[l]
                covariance[l - 1, r(t), v] = covariance[l - 1, v, r(t)] = with_v
        learned[now] = step * Delta[:, None] * h[-1, all_now][:P]
        average = lambda a, b, now=now: np.stack([x[now] @ c @ y[now].T for x, c, y in zip(a, covariance, b)])  # noqa: E731
        trained = h[:, train]
        Phi, G, G_tilde = average(trained, trained), average(g, g), average(g, g_tilde)
        K = G_tilde[0] * K_x[:P, :P] + (G_tilde[1:] * Phi[:-1]).sum(axis=0) + Phi[-1]
        for name, value in zip(out, (f, Phi, G, G_tilde, average(g_tilde, g_tilde), K)):
            out[name].append(value)
    return {name: np.array(value) for name, value in out.items()}


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module", params=CASES)
def solved(request):
    e = experiment(request.param)
    return request.param, e, dl.meanfield.solve(e)


def test_it_solves_the_equations_of_the_mean_field_to_rounding(solved):
    _, e, run = solved
    expected = equations(e)
    f = expected.pop("f")
    assert relative(run.f, f[:, : TASK.P]) < 1e-10
    assert relative(run.f_test, f[:, TASK.P :]) < 1e-10
    for name, value in expected.items():
        assert relative(getattr(run, name), value) < 1e-10, name
    assert relative(run.Phi[-1], run.Phi[0]) > 0.05  # features moved
    assert run.loss[-1] < 0.5 * run.loss[0]


def test_seed_samples_tol_and_dtype_are_immaterial(solved):
    _, e, run = solved
    other = dl.meanfield.solve(e, samples=64, seed=1, tol=1e-3, dtype="float32")
    for name in (*RECORDED, "f_test"):
        assert relative(getattr(other, name), getattr(run, name)) < 1e-12, name
    assert other.provenance.dtype == "float64"
    assert max(run.provenance.errors["monte_carlo"].values()) == 0
    assert max(run.provenance.errors["tol"].values()) < 1e-10


# --- Samples: exact because their moments are matched -----------------------------------------------------------------

SAMPLED = dl.Experiment(dl.Task.random(3, 4, seed=3, P_test=1), dl.GD(), 3, "linear", 1.2, lr=0.04, steps=12)


slow = lambda rule: pytest.param(rule, marks=pytest.mark.slow)  # noqa: E731


@pytest.mark.parametrize("rule", [slow(dl.GD()), dl.FA(0.6), slow(dl.DFA()), slow(dl.Hebb())], ids=str)
def test_samples_with_matched_moments_are_exact_up_to_tol(rule, monkeypatch):
    """The solver treats linear networks as it does all others, by samples."""
    e = dataclasses.replace(SAMPLED, rule=rule, gamma0=0.3 if rule == dl.Hebb() else 1.2)
    exact = equations(e)
    f = exact.pop("f")
    exact |= dict(f=f[:, : e.task.P], f_test=f[:, e.task.P :])
    monkeypatch.setattr(solver, "is_linear", lambda *_: False)
    run = dl.meanfield.solve(e, samples=512, tol=1e-14)
    for name in (*RECORDED, "f_test"):
        # √tol is 1e-7, the amplitude left out; measured 1e-9 for GD, rounding for the others. Nobody tells this path
        # that the network is linear.
        assert relative(getattr(run, name), exact[name]) < 1e-7, name


def test_a_slope_is_another_richness_and_step():
    # φ = c·h makes f and every update cᴸ times as large: γ₀ → γ₀ cᴸ and η → η/c²ᴸ undo it. Whatever its name.
    e, L, c = dataclasses.replace(SAMPLED, rule=dl.FA(0.6), hidden_layers=2, steps=8), 2, -0.07
    steep = dl.Activation("mine", lambda h: c * h)
    run = dl.meanfield.solve(
        dataclasses.replace(e, activation=steep, gamma0=e.gamma0 * abs(c) ** L, lr=e.lr / c ** (2 * L))
    )
    exact = equations(e)
    assert max(run.provenance.errors["monte_carlo"].values()) == 0
    np.testing.assert_allclose(run.f, exact["f"][:, : e.task.P], rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.K / c ** (2 * L), exact["K"], rtol=0, atol=1e-11)


# --- Rules that leave the span ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Signs(dl.Rule):
    """Only the sign of the gradient: not linear, although the network is."""

    def pseudo_gradient(self, layer):
        return layer.g / (0.1 + layer.g**2) ** 0.5


@dataclasses.dataclass(frozen=True)
class Gated(dl.GD):
    """Gradient descent through a gain that depends on h."""

    def gain(self, layer):
        return layer.h


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.0), dl.FA(0.5), dl.FA(1.0), dl.DFA(), dl.GLN(), dl.Hebb()])
def test_every_rule_of_the_library_keeps_linear_networks_linear(rule):
    assert all(is_linear(rule, slope) for slope in (1.0, -1e-3, 1e3))
    assert not is_linear(rule, None) and not is_linear(Signs(), 1.0) and not is_linear(Gated(), 1.0)


def test_gated_linear_networks_are_exact_only_given_their_gates():
    # With φ(h) = h every gate is 1 and GLN is GD. ReLU gates are sampled: fields are Gaussian given them, and the
    # average over gates has a Monte Carlo error, which the run states.
    GLN = dl.meanfield.solve(dataclasses.replace(SAMPLED, rule=dl.GLN()))
    GD = dl.meanfield.solve(SAMPLED)
    for name in RECORDED:
        assert relative(getattr(GLN, name), getattr(GD, name)) < 1e-12, name
    gated = dataclasses.replace(SAMPLED, rule=dl.GLN(), activation="relu", steps=4)
    first, second = (dl.meanfield.solve(gated, samples=1024, seed=seed) for seed in (0, 1))
    assert 1e-4 < relative(first.K, second.K) < 0.3
    assert first.provenance.errors["monte_carlo"]["K"] > 1e-4
