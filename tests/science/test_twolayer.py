"""The two-layer closed forms: explicit solutions, limits and exponents, the exact solver, and networks."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad

import dmftlib as dl
from companion import figures
from dmftlib import twolayer

Y = np.array([1.2, -0.9])  # ‖y‖ = 1.5
TASK = dl.Task.whitened(Y)
NORM = np.linalg.norm(Y)
RULES = {
    "GD": (dl.GD(), twolayer.gd, {}),
    "FA(0.6)": (dl.FA(0.6), twolayer.fa, dict(rho=0.6)),
    "DFA": (dl.DFA(), twolayer.fa, {}),  # one hidden layer: the same as FA with ρ = 0
    "Hebb": (dl.Hebb(), twolayer.hebb, {}),
}
NAMES = ("f", "Phi", "G", "G_tilde", "G_tilde_tilde", "K")


def solution(name, gamma0, times, task=TASK):
    rule, closed, options = RULES[name]
    return dataclasses.replace(closed(task, gamma0, times, **options), rule=rule)


# --- Explicit solutions, independent of the integrator ----------------------------------------------------------------


@pytest.mark.parametrize("gamma0", [1e-3, 1.0, 100.0])
def test_gd_is_the_solution_of_a_riccati_equation(gamma0):
    # x = e^{2A} obeys dx/dt = −x² + 2cx + 1, c = γ₀y: (x − x₊)/(x − x₋) decays at the constant rate x₊ − x₋.
    times, c = np.array([0, 0.003, 0.02, 0.1, 0.5, 2.0]), gamma0 * NORM
    root = np.sqrt(1 + c**2)
    up, down = c + root, -1 / (c + root)
    E = (1 - up) / (1 - down) * np.exp(-2 * root * times)
    x = (up - down * E) / (1 - E)
    run = twolayer.gd(TASK, gamma0, times)
    np.testing.assert_allclose(run.H_y, (x + 1 / x) / 2, rtol=1e-8)
    np.testing.assert_allclose(run.G_tilde[:, 0, 0, 1], (x + 1 / x) / 2, rtol=1e-8)
    np.testing.assert_allclose(run.f @ Y / NORM, (x - 1 / x) / 2 / gamma0, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("gamma0", [1e-3, 1.0, 100.0])
def test_fa_takes_the_time_that_separating_variables_gives(gamma0, rho):
    times = np.array([0.002, 0.01, 0.1, 0.5]) / (1 + gamma0 ** (2 / 3))
    a = np.sqrt(twolayer.fa(TASK, gamma0, times, rho).H_y - 1)
    for t, top in zip(times, a):
        # a² = H_y − 1 loses digits where a is small: 1e-16/a² of them.
        taken, _ = quad(lambda a: 1 / (gamma0 * NORM - a**3 / 2 - (1 + rho) * a), 0, top, epsabs=0, epsrel=1e-12)
        assert abs(taken / t - 1) < 1e-8 + 1e-15 / top**2


@pytest.mark.parametrize("gamma0", [1e-3, 1.0, 100.0])
def test_hebb_keeps_both_of_its_integrals(gamma0):
    # Two ways to each quantity: H = e^{2γ₀∫Δ²}, and the overlap c = ⟨wχ⟩ = γ₀∫Δ√H gives the output, γ₀f = √H c.
    t = np.concatenate([[0], np.geomspace(1e-6, 3, 20001)])
    run = twolayer.hebb(TASK, gamma0, t)
    H = np.einsum("tmm->tm", run.H)
    grown = np.trapezoid(run.Delta**2, t, axis=0)
    overlap = np.trapezoid(run.Delta * np.sqrt(H), t, axis=0)
    np.testing.assert_allclose(2 * gamma0 * grown, np.log(H[-1]), rtol=1e-5)  # of the trapezoids
    np.testing.assert_allclose(np.sqrt(H[-1]) * overlap, run.f[-1], rtol=1e-5)
    np.testing.assert_allclose(run.G[-1, 0], 1 + ((gamma0 * overlap) ** 2).sum(), rtol=1e-5)
    assert run.H[-1, 0, 1] == 0  # no growth off the diagonal


@pytest.mark.parametrize("gamma0", [1e-6, 1.0, 100.0])
def test_training_ends_at_the_fixed_points(gamma0):
    drive = gamma0 * NORM
    for name in RULES:
        run = solution(name, gamma0, [0, 40.0, np.inf])
        for value in NAMES:
            after, end = getattr(run, value)[1:]
            np.testing.assert_allclose(after, end, rtol=1e-8, atol=1e-12, err_msg=f"{name} {value}")
        np.testing.assert_allclose(run.Delta[-1], 0.0, atol=1e-12)
    np.testing.assert_allclose(twolayer.gd(TASK, gamma0, [np.inf]).H_y, np.sqrt(1 + drive**2), rtol=1e-12)
    for rho in (0.0, 0.6, 1.0):
        end = twolayer.fa(TASK, gamma0, [np.inf], rho)
        roots = np.roots([0.5, 0, 1 + rho, -drive])
        (a,) = roots[np.abs(roots.imag) < 1e-12 * np.abs(roots).max()].real
        np.testing.assert_allclose([end.H_y[0], end.G_tilde[0, 0, 0, 0]], [1 + a**2, rho + a**2 / 2], rtol=1e-12)


# --- What the paper says of them --------------------------------------------------------------------------------------


def exponent(x, y):
    """Power of x in y, and the standard error of the straight line through the logarithms."""
    (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    return slope, np.sqrt(covariance[0, 0])


@pytest.mark.parametrize("large, powers", [(False, (2, 2, 2, 1)), (True, (1, 2 / 3, 2 / 3, 1))])
def test_features_grow_with_these_powers_of_gamma0(large, powers):
    """A symmetry γ₀ → −γ₀ forbids odd powers for GD and FA; for Hebb dH = 2γ₀Δ²H gives ΔH ≈ γ₀y²."""
    gammas = np.geomspace(1e3, 1e5, 6) if large else np.geomspace(1e-3, 1e-2, 6)
    for name, power in zip(RULES, powers):
        slope, _ = exponent(gammas, [solution(name, gamma0, [np.inf]).H_y[0] - 1 for gamma0 in gammas])
        # Hebb approaches its power slowly at large γ₀: 0.94 from 10 to 100, 0.99 from 1e3 to 1e4.
        assert abs(slope - power) < 0.01, (name, slope)


def test_gd_and_fully_aligned_feedback_agree_at_early_times():
    # Outputs differ by O(t³) only. Without the factor 2 of the errata they would differ at first order, as those of
    # other ρ do: f = (1+ρ)yt.
    times = np.geomspace(1e-4, 1e-2, 8)
    gd, fa, other = twolayer.gd(TASK, 1.0, times), *(twolayer.fa(TASK, 1.0, times, rho) for rho in (1.0, 0.5))
    slope, error = exponent(times, np.linalg.norm(gd.f - fa.f, axis=1))
    assert slope > 2.9, (slope, error)
    np.testing.assert_allclose(np.linalg.norm(gd.f[0] - other.f[0]) / np.linalg.norm(gd.f[0]), 0.25, rtol=1e-3)


# --- The solver and networks, which know nothing of the closed forms --------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_the_exact_solver_approaches_them_at_first_order_in_lr(name):
    # Gradient descent of step η is Euler's method for these equations: halving η halves what is left. A wrong factor
    # would leave a floor, and a slope near 0.
    rates, errors = (0.02, 0.01, 0.005), []
    for lr in rates:
        e = dl.Experiment(TASK, RULES[name][0], 1, "linear", gamma0=1.3, lr=lr, steps=round(1 / lr) + 1)
        closed, run = twolayer.solve(e), dl.meanfield.solve(e, samples=64)
        for value in (*NAMES, "times", "Delta", "loss", "alignment", "corr_g", "H_y", "h_y"):
            assert getattr(closed, value).shape == getattr(run, value).shape, value
        errors.append(list(dl.compare(closed, run).distance.values()))
        square = run.G_tilde_tilde  # which frozen feedback leaves as it is
        assert np.linalg.norm(closed.G_tilde_tilde - square) < lr * np.linalg.norm(square)
    slopes = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    np.testing.assert_allclose(slopes, 1.0, atol=0.05)
    assert np.max(errors[-1]) < 0.01


@pytest.mark.parametrize("name", RULES)
def test_networks_approach_them_as_one_over_N(name):
    # lr is small enough that its own error, squared, is below 1 % of that of the widest networks.
    widths, seeds = (32, 64, 128, 256), 120
    e = dl.Experiment(TASK, RULES[name][0], 1, "linear", gamma0=1.0, lr=0.01, steps=80)
    closed = solution(name, e.gamma0, e.lr * np.arange(e.steps))
    ensembles = [dl.network.ensemble(e, N, range(seeds)) for N in widths]
    for quantity in ("f", "Phi", "G_tilde", "K"):
        slope, _ = exponent(widths, [figures.squared_error(x, closed, quantity) for x in ensembles])
        assert abs(slope + 1) < 0.2, (quantity, slope)


@pytest.mark.parametrize("name", RULES)
def test_test_points_follow_the_training_inputs_that_they_overlap_with(name):
    task = dl.Task(TASK.X, TASK.y, X_test=[[0.5, -2.0], [1.0, 0.3], [3.0, 1.0]])
    e = dl.Experiment(task, RULES[name][0], 1, "linear", gamma0=1.3, lr=1e-3, steps=200)
    closed, run = twolayer.solve(e), dl.meanfield.solve(e, samples=64)
    assert closed.f_test.shape == run.f_test.shape == (200, 3)
    assert np.linalg.norm(closed.f_test - run.f_test) < 3e-3 * np.linalg.norm(run.f_test)  # of order lr
    assert twolayer.gd(TASK, 1.0, [0.0]).f_test is None


def test_equal_and_zero_targets_are_followed_too():
    run = twolayer.hebb(dl.Task.whitened([0.0, 1.0, 1.0, -1.0]), 2.0, [0, 0.7, np.inf])
    np.testing.assert_array_equal(run.Delta[:, 1], run.Delta[:, 2])
    np.testing.assert_allclose(run.Delta[:, 3], -run.Delta[:, 1], atol=1e-12)
    np.testing.assert_array_equal(run.Delta[:, 0], 0.0)
    np.testing.assert_array_equal(run.H[:, 0, 0], 1.0)


def test_an_integration_that_does_not_end_says_how_far_it_came(monkeypatch):
    monkeypatch.setattr(twolayer, "solve_ivp", lambda *_, **__: SimpleNamespace(success=False, t=np.array([0, 0.7])))
    with pytest.raises(RuntimeError, match=r"stopped at time 0\.7 of 2. Rates grow with `gamma0`.*earlier"):
        twolayer.gd(TASK, 1.0, [0.0, 0.7, 2.0])
