"""Several outputs: y of shape (P, C), in every engine."""

import numpy as np
import pytest
from numpy_network import RULES
from test_network import drawn, numpy_run  # noqa: F401

import dmftlib as dl
from dmftlib.results import OBSERVABLES, RECORDED

rng = np.random.default_rng(7)
X, Y, X_TEST = rng.standard_normal((4, 6)), rng.standard_normal((4, 3)), rng.standard_normal((2, 6))
TASK = dl.Task(X, Y, X_TEST, np.zeros((2, 3)))
BUILT_IN = [dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb()]


def experiment(rule, y=Y, depth=2, activation="tanh", gamma0=1.0, lr=0.05, steps=20):
    return dl.Experiment(dl.Task(X, y, X_TEST), rule, depth, activation, gamma0, lr, steps)


@pytest.mark.parametrize("rule", RULES)
def test_networks_agree_with_a_plain_numpy_loop(rule, drawn):  # noqa: F811
    e = dl.Experiment(TASK, RULES[rule], 3, "tanh", 1.3, 0.05, 8)
    run = dl.network.train(e, 12, seed=3)
    expected = numpy_run(rule, e, drawn)
    for name in (*RECORDED, "f_test", "final_h"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert run.f.shape == (8, 4, 3) and run.f_test.shape == (8, 2, 3) and run.K.shape == (8, 12, 12)
    np.testing.assert_allclose(run.loss, ((Y - run.f) ** 2).sum(axis=2).mean(axis=1))


@pytest.mark.parametrize("rule", BUILT_IN)
def test_one_output_is_the_same_with_and_without_its_axis(rule):
    for engine in (lambda e: dl.network.train(e, 16), lambda e: dl.meanfield.solve(e, 2048)):
        flat, column = engine(experiment(rule, Y[:, 0])), engine(experiment(rule, Y[:, :1]))
        assert column.f.shape == (*flat.f.shape, 1)
        for name in RECORDED:
            value = getattr(flat, name)
            np.testing.assert_array_equal(getattr(column, name).reshape(value.shape), value)
        for name in ("loss", "alignment", "H_y", "h_y", "corr_g"):
            np.testing.assert_allclose(getattr(column, name), getattr(flat, name), rtol=1e-12)


@pytest.mark.parametrize("rule", BUILT_IN)
def test_lazy_outputs_do_not_mix(rule):
    many, one = dl.lazy.kernels(experiment(rule)), dl.lazy.kernels(experiment(rule, Y[:, 0]))
    np.testing.assert_allclose(many.K, np.kron(one.K, np.eye(3)), atol=1e-12)
    np.testing.assert_allclose(many.G, np.kron(one.G, np.eye(3)), atol=1e-12)
    np.testing.assert_allclose(many.Phi, one.Phi, rtol=1e-12)
    together = dl.lazy.predict(experiment(rule))
    for c in range(3):
        alone = dl.lazy.predict(experiment(rule, Y[:, c]))
        np.testing.assert_allclose(together.f[..., c], alone.f, atol=1e-12)
        np.testing.assert_allclose(together.f_test[..., c], alone.f_test, atol=1e-12)
        if alone.f_test_inf is not None:
            np.testing.assert_allclose(together.f_test_inf[..., c], alone.f_test_inf, atol=1e-10)


@pytest.mark.parametrize("rule", BUILT_IN)
def test_mean_field_becomes_lazy(rule):
    lazy = dl.lazy.predict(experiment(rule)).f
    # Errors fall as γ₀ (Hebb) or γ₀² until Monte Carlo noise is left, a few per cent here.
    run = dl.meanfield.solve(experiment(rule, gamma0=0.01), 16384)
    assert np.linalg.norm(run.f - lazy) < 3 * run.provenance.errors["monte_carlo"]["f"] * np.linalg.norm(lazy) + 0.01


@pytest.mark.parametrize("rule", BUILT_IN)
def test_mean_field_agrees_with_networks(rule):
    e = experiment(rule, gamma0=0.5 if isinstance(rule, dl.Hebb) else 1.5)
    theory = dl.meanfield.solve(e, 8192)
    ensembles = [dl.network.ensemble(e, N, range(k * 48, (k + 1) * 48), "float32") for k, N in enumerate((128, 256))]
    table = dl.compare(theory, dl.network.extrapolate(ensembles))
    for name in OBSERVABLES:
        distance, error = table[name]
        assert distance < 2 * np.hypot(error, table.theory_error[name]), name
    change = np.linalg.norm(theory.Phi[-1] - theory.Phi[0]) / np.linalg.norm(theory.Phi[0])
    assert change > 2 * table["Phi"][1]  # the lazy kernels would not pass


def test_modes_of_white_data_follow_the_closed_form():
    # GD, L = 1, φ(h) = h, K_x = I: with Y = Σ_k s_k u_k v_kᵀ the equations split into one of a single target a mode,
    # d(h_k ± w_k)/dt = ±γ₀Δ_k(h_k ± w_k) with h_k = u_kᵀh and w_k = v_kᵀw, so that Δ = Σ_k Δ_k u_k v_kᵀ.
    left, sizes, right = np.linalg.svd(rng.standard_normal((4, 3)), full_matrices=False)
    Y, gamma0 = (left * sizes) @ right, 1.5
    errors = []
    for lr in (0.01, 0.005):
        e = dl.Experiment(dl.Task(2 * np.eye(4), Y), dl.GD(), 1, "linear", gamma0, lr, round(1 / lr) + 1)
        run = dl.meanfield.solve(e)
        found = np.einsum("pk,tpc,kc->tk", left, run.Delta, right)
        exact = [dl.twolayer.gd(dl.Task.whitened([s]), gamma0, run.times).Delta[:, 0] for s in sizes]
        errors.append(np.abs(found - np.stack(exact, axis=1)).max())
    assert errors[0] < 0.05 and 1.8 < errors[0] / errors[1] < 2.2  # the step is all that is left


def test_responses_have_one_gradient_an_output():
    run = dl.meanfield.solve(experiment(dl.GD(), steps=3), 1024, record=True)
    A, B = (run.responses()[name] for name in "AB")
    assert A.shape == (1, 3, 4, 3, 12) and B.shape == (1, 3, 12, 3, 4)
    one = dl.meanfield.solve(experiment(dl.GD(), np.pad(Y[:, :1], ((0, 0), (0, 2))), steps=3), 1024, record=True)
    # An output whose targets are zero is still moved by the others: it starts at 0 and its error is not asked for.
    assert np.abs(one.f[..., 1:]).max() < np.abs(one.f[..., 0]).max()


def test_closed_forms_refuse_several_outputs():
    with pytest.raises(ValueError, match=r"`task` must have one target a sample.*got y of shape \(2, 2\)"):
        dl.twolayer.gd(dl.Task(np.sqrt(2) * np.eye(2), np.eye(2)), 1.0, [0.0, 1.0])
