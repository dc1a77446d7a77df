"""Many samples: kernels at asked steps, directions of many fields, what a run will take, samples shared by devices."""

import dataclasses
import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dl
from dmftlib import machine, meanfield, stability
from dmftlib.meanfield import solver, span
from dmftlib.results import KERNELS

RULES = [dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb()]
SOME = (0, 3, 7)


def experiment(rule=None, P=6, D=5, layers=2, activation="tanh", steps=8, P_test=3):
    return dl.Experiment(dl.Task.random(P, D, 1, P_test), rule or dl.GD(), layers, activation, 1.0, 0.05, steps)


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.DFA()], ids=repr)
def test_kernels_at_asked_steps_are_those_of_all_steps(rule, monkeypatch):
    # Outputs lose the noise of the start only where all kernels tell how long it lasts.
    monkeypatch.setattr(solver, "without_known_noise", lambda *_: {})
    e = experiment(rule)
    for run in (lambda **k: meanfield.solve(e, 1024, **k), lambda **k: dl.network.train(e, 32, **k)):
        whole, some = run(), run(kernels_at=SOME)
        assert some.kernels_at.tolist() == list(SOME) and whole.kernels_at.tolist() == list(range(8))
        np.testing.assert_allclose(some.kernel_times, [0, 0.15, 0.35])
        np.testing.assert_allclose(some.f, whole.f, atol=1e-12)
        np.testing.assert_allclose(some.f_test, whole.f_test, atol=1e-12)
        for name in (*KERNELS, "alignment", "H_y", "h_y", "corr_g"):
            np.testing.assert_allclose(getattr(some, name), getattr(whole, name)[list(SOME)], atol=1e-11, err_msg=name)


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.DFA()], ids=repr)
@pytest.mark.parametrize("devices", [None, jax.devices()[:1]])
def test_a_run_without_kernels_has_the_outputs_of_one_with_some(rule, devices):
    e = experiment(rule)
    none, some = (meanfield.solve(e, 1024, kernels_at=at, devices=devices) for at in ((), SOME))
    assert (
        none.K.shape == (0, 6, 6)
        and none.Phi.shape == (0, 2, 6, 6)
        and none.alignment.shape == none.corr_g.shape == (0,)
    )
    for name in ("f", "f_test", "final_h", "final_z"):
        np.testing.assert_allclose(getattr(none, name), getattr(some, name), atol=1e-12, err_msg=name)
    for source, errors in none.provenance.errors.items():
        assert errors == {name: some.provenance.errors[source][name] for name in ("f", "f_test")}
    assert np.isnan(none.relative_error("K")) and "error of f" in repr(none)
    with pytest.raises(ValueError, match="`kernels_at` must be a list"):
        meanfield.solve(e, 1024, kernels_at=(), record=True)


def test_a_step_that_overshoots_is_told_without_kernels():
    e = experiment(dl.DFA(), steps=2)
    edge = np.abs(np.linalg.eigvals(meanfield.solve(e, 8192).K[-1])).max()
    for share, told in ((0.9, False), (1.1, True)):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            meanfield.solve(dataclasses.replace(e, lr=share * 2 / edge, gamma0=1e-6), 8192, kernels_at=())
        assert [f"(lr·λ = {2 * share:.1f}" in str(warning.message) for warning in seen] == [True] * told


@pytest.mark.parametrize("C", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_the_largest_eigenvalue_of_fields_is_that_of_their_kernel(C, masked):
    rng, P, S = np.random.default_rng(0), 7, 50
    X, *phi = rng.standard_normal((P, 4)), rng.standard_normal((P, S)) + 1, rng.standard_normal((P, S))
    g = rng.standard_normal((2, P * C, S))
    g_tilde = g + 0.3 * rng.standard_normal((2, P * C, S))
    mask = np.arange(P) % 3 < 2 if masked else np.ones(P)
    K = np.zeros((P * C, P * C))
    for row in range(P * C):
        for column in range(P * C):
            (m, c), (n, d) = divmod(row, C), divmod(column, C)
            K[row, column] = mask[n] * (
                g[0, row] @ g_tilde[0, column] / S * (X[m] @ X[n]) + (c == d) * (phi[1][m] @ phi[1][n]) / S
            )
            K[row, column] += mask[n] * (g[1, row] @ g_tilde[1, column] / S * (phi[0][m] @ phi[0][n]) / S)
    below = [X, phi[0] / np.sqrt(S), phi[1] / np.sqrt(S)]
    found = stability.largest_of_fields(below, list(g), list(g_tilde), C, mask if masked else None)
    assert found == pytest.approx(np.abs(np.linalg.eigvals(K)).max(), rel=0.01)


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb()], ids=repr)
@pytest.mark.parametrize(
    "more", [{}, dict(weight_decay=0.3), dict(residual=0.7), dict(convolution=dl.Convolution((5,)))], ids=str
)
def test_lazy_kernels_in_blocks_are_those_of_all_samples_at_once(rule, more, monkeypatch):
    task = dl.Task(
        *(np.random.default_rng(k).standard_normal(shape) for k, shape in enumerate([(9, 5), (9, 2), (4, 5)]))
    )
    e = dl.Experiment(task, rule, 2, "tanh", 1.0, 0.01, 4, **more)
    run = lambda: (vars(dl.lazy.kernels(e)), vars(dl.lazy.predict(e)))  # noqa: E731
    whole = run()
    monkeypatch.setattr(dl.lazy, "ROWS", 7)
    for found, expected, names in zip(run(), whole, (KERNELS, ("f", "f_test", "K"))):
        for name in names:
            if expected[name] is not None:  # as K of `predict` where it changes
                atol = 1e-9 * np.abs(expected[name]).max()
                np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


def test_many_fields_leave_outside_what_tol_allows():
    """Shares that are followed as differences lead to a basis that holds what it should, and to few rows too many."""
    with jax.enable_x64(True):
        rng, S, tol = np.random.default_rng(0), 512, 1e-2
        mixing = rng.standard_normal((120, 300)) * 0.9 ** np.arange(300)
        fields = jnp.asarray(np.tanh(mixing @ rng.standard_normal((300, S))))
        assert len(fields) > span.CANDIDATES
        images = dict(weights=jnp.asarray(rng.standard_normal((200, S))))
        held = span.Basis(jnp.zeros((200, S)), images, jnp.zeros((), int), jnp.zeros((), bool))
        length = jnp.sqrt((fields**2).mean(axis=1))
        projections, largest = held.extend(fields, length, tol, jnp.zeros((4, S)), list)
        basis, count, lacks = held.directions, held.count, held.full
        residual = fields - (fields @ basis.T / S) @ basis
        share = np.asarray((residual**2).mean(axis=1) / (fields**2).mean(axis=1))
        count = int(count)
        assert not lacks and share.mean() <= tol and share.max() <= 10 * tol
        np.testing.assert_allclose(largest, share.max(), rtol=1e-8)
        np.testing.assert_allclose(basis[:count] @ basis[:count].T / S, np.eye(count), atol=1e-12)
        np.testing.assert_allclose(projections, fields @ basis.T / S, atol=1e-10)
        # The best basis of that many directions is that of the largest principal components.
        unit = fields / jnp.sqrt((fields**2).mean(axis=1))[:, None]
        values = np.linalg.eigvalsh(unit @ unit.T)[::-1]
        fewest = np.count_nonzero(values.sum() - np.cumsum(values) > tol * values.sum()) + 1
        assert fewest <= count <= 1.2 * fewest


def test_one_odd_field_among_many_is_not_lost():
    with jax.enable_x64(True):
        rng, S = np.random.default_rng(1), 256
        same, odd = rng.standard_normal((2, S))
        fields, fresh = jnp.asarray(np.stack([same] * 199 + [odd])), jnp.asarray(rng.standard_normal((20, S)))
        length, nothing = jnp.sqrt((fields**2).mean(axis=1)), jnp.zeros((20, S))
        held = span.Basis(nothing, dict(weights=fresh), jnp.zeros((), int), jnp.zeros((), bool))
        held.extend(fields, length, 1e-2, nothing[:1], list)
        assert int(held.count) == 2  # its share of the variance, 1/200, is below tol


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_digits_theory_predicts_test_outputs_of_networks(rule):
    task = dl.Task.digits(60, 40, seed=0)
    e = dl.Experiment(task, rule, 2, "tanh", 1.0, 0.3 / 60, 12)
    theory = meanfield.solve(e, 2048, tol=1e-2, dtype="float32", kernels_at=(11,))
    runs = np.stack([dl.network.train(e, 512, s, "float32", kernels_at=(11,)).f_test[-1] for s in range(12)])
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    distance = np.linalg.norm(theory.f_test[-1] - runs.mean(axis=0))
    own = theory.provenance.errors["monte_carlo"]["f"] * np.linalg.norm(theory.f_test[-1])
    assert distance < 2.5 * np.hypot(np.linalg.norm(error), own)
    # A factor 2 in what test points get from training would be far outside.
    assert np.linalg.norm(2 * theory.f_test[-1] - runs.mean(axis=0)) > 4 * np.linalg.norm(error)


def test_the_guess_of_directions_is_right_within_a_factor_of_three():
    for P, tol in ((10, 1e-3), (100, 3e-2)):
        e = dl.Experiment(dl.Task.digits(P, 0), dl.GD(), 2, "tanh", 1.5, 0.5 / P, 25)
        run = meanfield.solve(e, 2048, tol=tol, dtype="float32", kernels_at=(0,))
        guess = machine.estimate(e, 2048, tol).directions
        assert np.mean(run.provenance.rank) / 3 < guess < 3 * np.mean(run.provenance.rank)


SHARED = """
import jax, numpy as np, dmftlib as dl
e = dl.Experiment(dl.Task.random(6, 5, 1, 3), dl.FA(0.5), 3, "tanh", 1.0, 0.05, 8)
for n in (None, 1, 2, 8):
    run = dl.meanfield.solve(e, 1200, devices=None if n is None else jax.devices()[:n])
    last = run if n is None else last
    print(n, max(np.abs(getattr(run, x) - getattr(last, x)).max() for x in ("f", "f_test", "Phi", "G_tilde", "K")))
"""


def test_samples_shared_by_devices_give_the_same_numbers():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARED],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["None", "1", "2", "8"]
    assert max(float(row[1]) for row in rows) < 1e-10  # rounding, grown over the steps
