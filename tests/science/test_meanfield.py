"""The mean field solver: limits, networks, what may not change its result, room for directions, and how it begins.

Monte Carlo comparisons state where their tolerance comes from. Cases share shapes wherever they can, since most of
the time here is compilation. Against wide networks, rule by rule: test_theory.py; exact cases: test_linear.py.
"""

import dataclasses

import jax
import numpy as np
import numpy_network
import pytest
from numpy_network import RHO

import dmftlib as dl
from dmftlib import probe
from dmftlib.meanfield import sweep
from dmftlib.meanfield.revealed import RevealedMatrix
from dmftlib.results import RECORDED


def distance(a, b):
    """Relative Frobenius distance of a from b."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# --- One small case --------------------------------------------------------------------------------------------------

SMALL = dl.Experiment(dl.Task.random(3, 4, seed=2, P_test=1), dl.GD(), 2, "tanh", gamma0=1.5, lr=0.15, steps=6)
SAMPLES = 2048


@pytest.fixture(scope="module")
def small_runs():
    """Twelve independent solves of the small case."""
    return [dl.meanfield.solve(SMALL, samples=SAMPLES, seed=s) for s in range(12)]


def test_a_run_is_its_seed_and_says_what_it_was(small_runs):
    again = dl.meanfield.solve(SMALL, samples=SAMPLES, seed=0)
    for name in RECORDED:
        np.testing.assert_array_equal(getattr(again, name), getattr(small_runs[0], name))
        assert not np.array_equal(getattr(small_runs[1], name), getattr(small_runs[0], name))
    np.testing.assert_array_equal(again.final_h, small_runs[0].final_h)
    p = small_runs[3].provenance
    assert (p.engine, p.size, p.seed, p.dtype) == ("meanfield", SAMPLES, 3, "float64")
    assert len(p.rank) == 1 and all(3 <= rank <= 2 * 3 * 6 for rank in p.rank[0])
    assert 0 < p.discarded <= 3e-3  # three fields, of whose variance tol = 1e-3 may stay outside: all of it in one
    assert again.final_h.shape == again.final_z.shape == (2, SAMPLES, 3)


def test_kernels_are_averages_over_the_final_fields():
    run = dl.meanfield.solve(SMALL, samples=SAMPLES, kernels_at=(5,))  # without step 0, of which noise is known
    phi, z = np.tanh(run.final_h), run.final_z
    g = (1 - phi**2) * z
    np.testing.assert_allclose(run.Phi[-1], np.einsum("lsm,lsn->lmn", phi, phi) / SAMPLES, rtol=1e-10)
    np.testing.assert_allclose(run.G[-1], np.einsum("lsm,lsn->lmn", g, g) / SAMPLES, rtol=1e-10)
    # K is a product of averages: it is formed in each of the two independent halves, then averaged.
    halves = []
    for part in (slice(0, SAMPLES // 2), slice(SAMPLES // 2, SAMPLES)):
        Phi, G = (np.einsum("lsm,lsn->lmn", x[:, part], x[:, part]) / (SAMPLES // 2) for x in (phi, g))
        halves.append(G[0] * SMALL.task.K_x + G[1] * Phi[0] + Phi[1])
    np.testing.assert_allclose(run.K[-1], np.mean(halves, axis=0), rtol=1e-10)


def test_an_average_states_the_error_of_its_mean(small_runs):
    run, k = small_runs[0], np.arange(3)
    shifted = [
        dataclasses.replace(run, K=run.K + i, provenance=dataclasses.replace(run.provenance, seed=int(i))) for i in k
    ]
    error = dl.meanfield.average(shifted).provenance.errors["monte_carlo"]["K"]
    # Every entry scatters with standard deviation 1.
    assert error == pytest.approx(np.sqrt(run.K.size / 3) / np.linalg.norm(run.K + 1))


def test_networks_approach_the_theory_as_one_over_N(small_runs):
    # The mean over 12 solves is good to SE ≈ 0.3 %, far below the error of one network of width 256 (≈ 6 %).
    widths, rng = (32, 64, 128, 256), np.random.default_rng(7)
    runs = [numpy_network.run_of("GD", SMALL, numpy_network.draw(rng, 2, N, 4, 1, (60,))) for N in widths]
    for name in ("f", "f_test", "Phi", "G", "K"):
        theory = np.mean([getattr(run, name) for run in small_runs], axis=0)
        one = [((run[name] - theory) ** 2).mean() for run in runs]
        assert abs(np.polyfit(np.log(widths), np.log(one), 1)[0] + 1) < 0.25, name
        # A bias of the theory would stop the mean over seeds from following: at N = 256 it is 60 times closer in
        # square than one network, up to the bias O(1/N) of a network (allowed: three quarters of that gain).
        assert ((runs[-1][name].mean(axis=0) - theory) ** 2).mean() < one[-1] / 15, name


def test_initial_weights_and_their_transpose_are_one_matrix():
    """⟨v W(0)φ⟩ = ⟨φ W(0)ᵀv⟩ for φ = φ¹(0) and v = g̃²(t), which depends on Wφ¹(0) through φ̇(h²): the response D."""
    e = dl.Experiment(dl.Task.random(2, 3, seed=1), dl.FA(RHO), 2, "tanh", gamma0=1.5, lr=0.1, steps=6)
    fields = dl.meanfield.solve(e, samples=512, tol=1e-14, record=True).history
    phi, g_tilde = fields["phi"], fields["g_tilde"]
    image = np.arctanh(phi[0, 1])
    back = g_tilde[:, 0] / (1 - phi[:, 0] ** 2)
    forward, backward = g_tilde[:, 1] @ image.T / 512, back @ phi[0, 0].T / 512
    np.testing.assert_allclose(backward, RHO * forward, atol=1e-10)
    assert np.abs(forward[-1] - forward[0]).max() > 0.02


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb()], ids=str)
def test_the_lazy_limit(rule):
    """With several outputs. Errors fall as γ₀ (Hebb) or γ₀², until what is left is what noise does while training."""
    task = dl.Task.random(3, 4, seed=2, P_test=2)
    task = dl.Task(task.X, np.random.default_rng(7).standard_normal((3, 2)), task.X_test)
    e = dl.Experiment(task, rule, 2, "tanh", gamma0=1e-3, lr=0.15, steps=6)
    run, kernels, prediction = dl.meanfield.solve(e, SAMPLES), dl.lazy.kernels(e), dl.lazy.predict(e)
    for name in ("Phi", "G", "K"):
        assert distance(getattr(run, name)[-1], getattr(kernels, name)) < 3e-3, name
    # Kernels do not move, so noise is known at the start and taken off: of rules that use the gradient all of it, which
    # would leave 0.5 / √samples; frozen feedback moves f through images that the recorded gradient does not share.
    noise = 0 if rule in (dl.GD(), dl.GLN()) else 3 * run.provenance.errors["monte_carlo"]["f"]
    assert distance(run.f, prediction.f) < 1e-3 + noise < 0.1
    # Test points keep their noise, 1/√samples and not 1/γ₀ of it: measured up to 4 %.
    assert distance(run.f_test, prediction.f_test) < 0.1


# --- What may not change the result ---------------------------------------------------------------------------------

FEEDBACK = dl.Experiment(dl.Task.random(4, 10, seed=1), dl.FA(0.5), 3, "tanh", gamma0=1.0, lr=0.05, steps=8)


@pytest.mark.parametrize("rule, activation", [(dl.FA(0.5), "tanh"), (dl.GLN(), "relu"), (dl.GD(), "linear")])
def test_test_points_change_nothing_of_the_training_result(rule, activation):
    e = dataclasses.replace(FEEDBACK, rule=rule, activation=activation, hidden_layers=2)
    far = 3 * np.random.default_rng(0).standard_normal((20, 10))
    task = dl.Task(e.task.X, e.task.y, np.concatenate([e.task.X, far]))
    # Kernels of these steps leave f as the samples have it.
    alone, run = (dl.meanfield.solve(x, 2048, kernels_at=(0, 7)) for x in (e, dataclasses.replace(e, task=task)))
    for name in RECORDED:
        np.testing.assert_allclose(getattr(run, name), getattr(alone, name), rtol=0, atol=1e-11, err_msg=name)
    for source, errors in alone.provenance.errors.items():
        known = {name: error for name, error in run.provenance.errors[source].items() if name != "f_test"}
        assert known == pytest.approx(errors, abs=1e-9)
    # And a test point that is a training point gets its output: up to what tol leaves out, in the samples themselves.
    assert distance(run.f_test[:, :4], run.f) < (1e-12 if activation == "linear" else 3e-3)


def test_a_recorded_gradient_changes_nothing_of_the_run(monkeypatch):
    e = dataclasses.replace(FEEDBACK, hidden_layers=2)
    with_it = dl.meanfield.solve(e, samples=1024, kernels_at=(6, 7))
    monkeypatch.setattr(RevealedMatrix, "transpose_recorded", lambda self, v: 0 * v)
    without = dl.meanfield.solve(e, samples=1024, kernels_at=(6, 7))
    assert np.abs(with_it.G[:, 0] - without.G[:, 0]).max() > 0.1
    for name in ("f", "Phi", "G_tilde_tilde"):
        np.testing.assert_allclose(getattr(without, name), getattr(with_it, name), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("rule", [dl.FA(0.5), dl.DFA()])
def test_images_left_out_of_the_forward_pass_are_independent_of_the_features(rule, kept, monkeypatch):
    # Independent, √samples × their correlation is of order 1; those that features do depend on reach 0.1 × 256.
    # An array with two axes of these samples would take 34 GB: there is none.
    e, S = dataclasses.replace(FEEDBACK, rule=rule, hidden_layers=2, gamma0=3.0), 65536
    if kept:  # as of many samples
        monkeypatch.setattr(probe, "MOST_UNKEPT", 0)
    with jax.enable_x64(True):
        half = sweep.HalfSweep(e, S, (0, 0), 1e-3, "float64").run()
    phi, W = np.tanh(half.last["h"][0]), half.weights[1]
    phi = phi / np.sqrt((phi**2).mean(axis=1))[:, None]
    left_out = W.recorded.images["weights"] if kept else W.unkept
    assert np.abs(left_out @ phi.T / np.sqrt(S)).max() < 4.5
    assert ("weights" in W.sent.images) == (rule == dl.FA(0.5))
    if "weights" in W.sent.images:
        assert np.abs(W.sent.images["weights"] @ phi.T / np.sqrt(S)).max() > 20


def test_a_short_training_point_is_resolved_beside_long_ones():
    # Where tol counted by the longest fields, f of this point was 40 % off.
    X = np.concatenate([FEEDBACK.task.X[:1] / 100, FEEDBACK.task.X[1:]])
    e = dataclasses.replace(
        FEEDBACK, task=dl.Task(X, FEEDBACK.task.y), rule=dl.GD(), hidden_layers=2, activation="relu"
    )
    coarse, fine = (dl.meanfield.solve(e, samples=16384, tol=tol).f[:, 0] for tol in (1e-3, 1e-6))
    assert distance(coarse, fine) < 0.1


def test_kernels_start_from_what_is_known_and_a_wrong_start_warns(monkeypatch):
    e = dataclasses.replace(FEEDBACK, rule=dl.GD(), activation="relu")
    run, known = dl.meanfield.solve(e, samples=1024), dl.lazy.kernels(e)
    for name in RECORDED[1:]:
        np.testing.assert_allclose(getattr(run, name)[0], getattr(known, name), rtol=0, atol=1e-12, err_msg=name)
    wrong = dataclasses.replace(known, K=1.5 * known.K)
    monkeypatch.setattr(dl.lazy, "kernels", lambda _: wrong)
    with pytest.warns(UserWarning, match=r"K at initialization is .* % off its exact value.*`samples`"):
        dl.meanfield.solve(e, samples=1024)


@pytest.mark.parametrize("rule, activation", [(dl.FA(0.5), "tanh"), (dl.GD(), "linear")])
def test_the_sweep_in_numpy_is_the_compiled_one(rule, activation):
    # A compiled sweep is what one gets with `devices`. Both grow their bases on the way here.
    e = dataclasses.replace(SMALL, rule=rule, activation=activation, lr=0.05, steps=16)
    here, compiled = (dl.meanfield.solve(e, 512, tol=1e-4, devices=d) for d in (None, jax.devices()[:1]))
    assert here.provenance.rank == compiled.provenance.rank
    for name in (*RECORDED, "f_test"):
        assert distance(getattr(here, name), getattr(compiled, name)) < 1e-9, name


# --- Room for directions ---------------------------------------------------------------------------------------------

LONG = dl.Experiment(dl.Task.random(1, 3, seed=4), dl.GD(), 2, "tanh", gamma0=2.0, lr=0.1, steps=24)


def test_too_little_room_grows_and_cuts_nothing():
    coarse, run = (dl.meanfield.solve(LONG, samples=2048, tol=tol) for tol in (1e-3, 1e-12))
    assert run.provenance.discarded <= 1e-12 and np.greater(run.provenance.rank, coarse.provenance.rank).all()
