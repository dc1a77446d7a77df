"""The result type: metrics from their formulas, distances as `compare` defines them, and shape errors."""

import dataclasses
import warnings

import numpy as np
import pytest

import dmftlib as dl
from dmftlib.dynamics import OBSERVABLES, Provenance, check_records, target_alignment, warn_if_unstable

T, L, P = 5, 2, 3
E = dl.Experiment(dl.Task([[1.0, 0.0], [0.3, 1.0], [-1.0, 2.0]], [1.0, -0.5, 2.0]), dl.GD(), L, "tanh", 1.0, 0.25, T)


def dynamics(seed=0, experiment=E):
    """Arbitrary positive-definite kernels and outputs, from no engine."""
    rng = np.random.default_rng(seed)

    def kernel(*shape):
        a = rng.standard_normal((*shape, P, P + 2))
        return a @ a.swapaxes(-1, -2)

    arrays = dict(f=rng.standard_normal((T, P)), K=kernel(T))
    arrays |= {name: kernel(T, L) for name in ("Phi", "G", "G_tilde", "G_tilde_tilde")}
    return dl.Dynamics(experiment, Provenance("none", 1, seed, "float64"), **arrays)


def test_two_time_kernels_follow_their_formula_entry_by_entry():
    rng, N = np.random.default_rng(3), 7
    fields = {name: rng.standard_normal((T, L, P, N)) for name in ("phi", "g", "g_tilde")}
    kernels = dataclasses.replace(dynamics(), history=fields).two_time()
    pairs = dict(Phi=("phi", "phi"), G=("g", "g"), G_tilde=("g", "g_tilde"), G_tilde_tilde=("g_tilde", "g_tilde"))
    for name, (a, b) in pairs.items():
        for l, t, m, s, n in ((0, 1, 2, 4, 0), (1, 3, 0, 2, 1), (1, 2, 2, 2, 1)):
            expected = fields[a][t, l, m] @ fields[b][s, l, n] / N
            assert kernels[name][l, t, m, s, n] == pytest.approx(expected, abs=1e-14), name


def test_metrics_follow_their_formulas():
    run, y = dynamics(), E.task.y
    np.testing.assert_allclose(run.times, [0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(run.Delta, y - run.f)
    for t in range(T):
        K, Phi = run.K[t], run.Phi[t, -1]
        assert np.isclose(run.loss[t], sum((y[m] - run.f[t, m]) ** 2 for m in range(P)) / P)
        K_dot_yy = sum(K[m, n] * y[m] * y[n] for m in range(P) for n in range(P))
        assert np.isclose(run.alignment[t], K_dot_yy / np.sqrt((K**2).sum()) / (y**2).sum())
        assert np.isclose(run.H_y[t], y @ Phi @ y / (y @ y))
        assert np.isclose(run.h_y[t], y @ Phi @ y / (y @ y) / np.trace(Phi))
        layers = [
            np.trace(run.G_tilde[t, k]) / np.sqrt(np.trace(run.G[t, k]) * np.trace(run.G_tilde_tilde[t, k]))
            for k in range(L)
        ]
        assert np.isclose(run.corr_g[t], np.mean(layers))


def test_alignment_is_one_for_the_target_kernel_and_zero_for_orthogonal_ones():
    y = np.array([1.0, -2.0, 0.5])
    other = np.array([2.0, 1.0, 0.0])  # orthogonal to y
    assert np.isclose(target_alignment(7.0 * np.outer(y, y), y), 1.0)
    assert np.isclose(target_alignment(np.outer(other, other), y), 0.0)
    assert np.isclose(target_alignment(np.eye(3), y), 1 / np.sqrt(3))


def test_gradients_that_are_the_pseudo_gradients_have_correlation_one():
    run = dynamics()
    same = dataclasses.replace(run, G_tilde=run.G, G_tilde_tilde=run.G)
    np.testing.assert_allclose(same.corr_g, 1.0, rtol=1e-14)


def ensemble(mean, relative_error):
    arrays = {name: getattr(mean, name) for name in (*OBSERVABLES, "G_tilde_tilde")}
    error = {name: relative_error * np.abs(value) for name, value in arrays.items()}
    return dl.network.Ensemble(E, 64, (0, 1), **arrays, standard_error=error)


def test_compare_is_the_relative_frobenius_distance_over_all_times():
    a, b = dynamics(0), dynamics(1)
    comparison = dl.compare(a, ensemble(b, 0.1))
    for name in OBSERVABLES:
        difference, reference = (getattr(a, name) - getattr(b, name)).ravel(), getattr(b, name).ravel()
        expected = np.sqrt((difference**2).sum() / (reference**2).sum())
        assert np.isclose(comparison.distance[name], expected)
        assert np.isclose(comparison.standard_error[name], 0.1)  # ‖SE‖/‖mean‖
        assert comparison[name] == (comparison.distance[name], comparison.standard_error[name])


def test_compare_with_a_scaled_copy_gives_the_factor():
    b = dynamics(1)
    a = dataclasses.replace(b, **{name: 1.05 * getattr(b, name) for name in OBSERVABLES})
    comparison = dl.compare(a, b)
    np.testing.assert_allclose(list(comparison.distance.values()), 0.05, rtol=1e-12)
    assert np.isnan(list(comparison.standard_error.values())).all()  # one run has no standard error
    assert all(x == 0 for x in dl.compare(b, b).distance.values())


def test_comparison_prints_a_row_for_each_quantity():
    text = str(dl.compare(dynamics(0), ensemble(dynamics(0), 0.0123)))
    rows = text.splitlines()
    assert [row.split()[0] for row in rows[1:]] == list(OBSERVABLES)
    assert all("1.2 %" in row for row in rows[1:])


def test_agreement_counts_both_errors():
    run = dynamics(0)
    provenance = dataclasses.replace(run.provenance, errors=dict(monte_carlo=dict.fromkeys(OBSERVABLES, 0.03)))
    theory = dataclasses.replace(run, provenance=provenance, **{name: 1.1 * getattr(run, name) for name in OBSERVABLES})
    for se, ratio, agrees in ((0.05, "1.7", True), (0.02, "2.8", False)):
        lines = dl.compare(theory, ensemble(run, se)).agreement().splitlines()
        assert [line.split()[0] for line in lines] == list(OBSERVABLES)
        assert all(f"is {ratio} standard errors, agrees: {agrees}" in line for line in lines), lines


@pytest.mark.parametrize("name", OBSERVABLES)
def test_compare_refuses_other_shapes(name):
    a, b = dynamics(0), dynamics(1)
    short = dataclasses.replace(b, **{name: getattr(b, name)[:-1]})
    with pytest.raises(ValueError, match=rf"`{name}` has shape .*`theory`.*`runs`.*like with like"):
        dl.compare(a, short)


# --- Divergence and instability --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, step", [(np.nan, 2), (np.inf, 3), (-np.inf, 1), (1e200, 2), (50.0, 4)])
def test_divergence_names_the_first_bad_step(value, step):
    f = np.zeros((T, P))
    f[step:, 1] = value
    with pytest.raises(dl.Diverged, match=rf"at step {step} the loss is .*`lr` = 0.25 .*try lr = 0.062"):
        check_records(E, {"f": f})
    with pytest.raises(dl.Diverged, match=rf"at step {step + 40} "):  # a later part of the same run
        check_records(E, {"f": f}, first_step=40)


def test_a_kernel_that_is_not_finite_is_divergence_too():
    K = np.ones((T, P, P))
    K[3, 0, 1] = np.nan
    with pytest.raises(dl.Diverged, match=r"at step 3"):
        check_records(E, {"f": np.zeros((T, P)), "K": K})


def test_a_transient_is_no_divergence():
    # The initial loss is ⟨y²⟩ = 1.75; a loss 50 times as large may still come back.
    f = np.zeros((T, P))
    f[2] = E.task.y + np.sqrt(50 * 1.75)
    check_records(E, {"f": f})


def test_warning_starts_above_two():
    K = np.eye(P) * np.array([1.0, 7.9, 8.1, 20.0, 3.0])[:, None, None]
    with pytest.warns(UserWarning, match=r"exceeds 2 from step 2 on \(largest value 5\)"):
        warn_if_unstable(E, K)
    with pytest.warns(UserWarning, match=r"exceeds 2 from step 2 on \(largest value 2.02\)"):
        warn_if_unstable(E, np.minimum(K, 8.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unstable(E, np.minimum(K, 8.0))
