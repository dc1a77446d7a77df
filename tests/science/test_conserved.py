"""What gradient flow conserves and steps do not: the laws of the chapter on discrete time, both sides evaluated.

Networks: norms of the matrices of the plain loop against kernels of the library. Mean field: the norms of the first and
the last matrix, which the fields give.
"""

import dataclasses
import re

import numpy as np
import numpy_network
import pytest

import dmftlib as dl
from companion.figures import fit_slope
from dmftlib import network
from tools import chapters

TASK = dl.Task.random(4, 6, 2)
GAMMA0, TIME, RHO = 1.2, 0.96, 0.6
N, L = 24, 3  # this width trains in pieces of three steps: with multiples of three, one compiled piece serves all lr


def experiment(rule, activation, lr=0.04, depth=L):
    return dl.Experiment(TASK, rule, depth, activation, GAMMA0, lr, round(TIME / lr))


def both(e, seed):
    """A run of the library, the states of the same network in the plain loop, one more, and its feedback matrices B."""
    drawn, more = numpy_network.drawn_by(e, N, seed), dataclasses.replace(e, steps=e.steps + 1)
    states = numpy_network.run_of(type(e.rule).__name__, more, drawn, record=True)["states"]
    B = [RHO * w + np.sqrt(1 - RHO**2) * b for w, b in zip(drawn["W"], drawn["feedback"])]
    return network.train(e, N, seed), states, B


def norms(states):
    """‖W^ℓ(t)‖²/N, shape (T + 1, L + 1)."""
    return np.array([[(w**2).sum() / N for w in s.W] for s in states])


def overlaps(states, B):
    """⟨B^ℓ, W^ℓ(t)⟩/N for ℓ ≥ 1, shape (T + 1, L)."""
    return np.array([[(b * w).sum() / N for b, w in zip(B[1:], s.W[1:])] for s in states])


def lengths(run):
    """Squared length of one step of each matrix over N, γ₀²η² Δᵀ(⟨g̃g̃⟩^{ℓ+1} ⊙ Φ^ℓ)Δ: shape (T, L + 1)."""
    one = np.ones((len(run.f), 1, 1, 1))
    below = np.concatenate([TASK.K_x * one, run.Phi], axis=1)
    above = np.concatenate([run.G_tilde_tilde, one * np.ones_like(TASK.K_x)], axis=1)
    squares = np.einsum("tm,tlmn,tlmn,tn->tl", run.Delta, above, below, run.Delta)
    return (GAMMA0 * run.experiment.lr) ** 2 * squares


def assert_steps(conserved, expected):
    """`conserved` moves as expected, by steps that can be told from rounding."""
    np.testing.assert_allclose(np.diff(conserved, axis=0), expected, atol=1e-11)
    assert np.abs(expected).max() > 1e-4


# Networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [dl.GD(), dl.GLN(), dl.FA(RHO)])
def test_balance(rule):
    """eq-dt-norm-step for every rule, then eq-dt-balance or eq-dt-fa-balance: matrices against recorded kernels."""
    run, W, B = both(experiment(rule, "relu", 0.02), 0)
    square = lengths(run)
    work = [np.einsum("m,ms,ms->", Delta, s.g_tilde[0], s.h[0]) / N for Delta, s in zip(run.Delta, W)]
    assert_steps(norms(W)[:, 0], 2 * GAMMA0 * run.experiment.lr * np.array(work) + square[:, 0])
    if isinstance(rule, dl.FA):
        assert_steps(overlaps(W, B) - norms(W)[:, :-1] / 2, -square[:, :-1] / 2)
    else:
        assert_steps(np.diff(norms(W), axis=1), np.diff(square, axis=1))


@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(RHO)])
def test_drift_is_first_order(rule):
    """At one final time, over a factor of 8 in lr, what is conserved in continuous time drifts with slope 1."""
    lrs, drifts = np.array([0.02, 0.01, 0.005, 0.0025]), []
    for lr in lrs:
        _, W, B = both(experiment(rule, "linear", lr), 3)
        squares = norms(W)
        conserved = overlaps(W, B) - squares[:, :-1] / 2 if isinstance(rule, dl.FA) else np.diff(squares, axis=1)
        drifts.append(np.linalg.norm(conserved[-1] - conserved[0]))
    slope, _ = fit_slope(lrs, drifts, np.zeros(4))
    assert abs(slope - 1) < 0.05, (slope, drifts)
    assert drifts[-1] < 0.02 * np.linalg.norm(squares[-1] - squares[0])  # the norms themselves do move


# Infinite width -------------------------------------------------------------------------------------------------


def input_norm(hh):
    """Tr (K^x)⁻¹⟨h¹h¹ᵀ⟩, the squared length of a neuron's input weights within the span of the data."""
    return np.einsum("...mn,mn->...", hh, np.linalg.inv(TASK.K_x))


@pytest.mark.parametrize("rule", [dl.GD(), dl.GLN()])
def test_carried(rule):
    """eq-dt-carried: ⟨g^ℓ h^ℓ⟩ = γ₀ f in every layer and step; and the ends of the run balance, eq-dt-infinite."""
    # What `tol` leaves out of the bases is all that is missing: 2e-5 at tol = 1e-6, rounding (GD) and 2e-9 (GLN) at 1e-8.
    # Kernels of two steps leave f as the samples have it: what is taken off for the known start is no law of theirs.
    chosen = experiment(rule, "relu", lr=0.06, depth=2)
    run = dl.meanfield.solve(chosen, 1024, tol=1e-9, record=True, kernels_at=(0, chosen.steps - 1))
    fields = run.history["phi"], run.history["g"]
    halves = zip(*(np.split(x, 2, axis=-1) for x in fields), np.split(run.final_h[0], 2), np.split(run.final_z[-1], 2))
    for phi, g, h, z in halves:  # each sweeps by its own errors: a law with products of averages is one of a half
        S = len(h)
        carried = np.einsum("tlms,tlms->tlm", g, phi) / S / np.sqrt(2)  # where a unit is active, φ = √2 h
        np.testing.assert_allclose(carried[:, 0], carried[:, 1], atol=1e-8)
        Delta = TASK.y - carried[:, 1] / GAMMA0
        Phi, G = (np.einsum("tms,tns->tmn", x, x) / S for x in (phi[:, -1], g[:, 0]))
        square = np.einsum("tm,tmn,tn->t", Delta, Phi - G * TASK.K_x, Delta)[:-1]
        expected = (GAMMA0 * run.experiment.lr) ** 2 * square.sum()
        drift = (z[:, 0] ** 2).mean() - input_norm(h.T @ h / S) - (1 - TASK.P)
        assert abs(drift - expected) < 1e-7 * abs(expected), drift / expected - 1
    carried = np.einsum("tlms,tlms->tlm", *fields) / fields[0].shape[-1] / np.sqrt(2)
    np.testing.assert_allclose(carried, GAMMA0 * np.repeat(run.f[:, None], 2, axis=1), atol=1e-8)
    assert np.abs(run.f[-1]).max() > 0.5


@pytest.mark.parametrize("rule, depth", [(dl.GD(), 2), (dl.FA(RHO), 1)])
def test_infinite(rule, depth):
    """eq-dt-infinite at every step, for linear units, whose Φ¹ is ⟨h¹h¹ᵀ⟩ and whose G^L is ⟨w²⟩."""
    run = dl.meanfield.solve(experiment(rule, "linear", depth=depth), 512)
    bottom, square = input_norm(run.Phi[:, 0]), lengths(run)[:-1]
    if isinstance(rule, dl.FA):
        assert_steps(run.G_tilde[:, 0, 0, 0] - bottom / 2, -square[:, 0] / 2)
    else:
        assert_steps(run.G[:, -1, 0, 0] - bottom, square[:, -1] - square[:, 0])


def test_the_chapter_and_this_file_name_each_other():
    cells = chapters.read(chapters.committed("discrete_time")).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named == {"test_balance", "test_drift_is_first_order", "test_carried", "test_infinite"}
    assert named <= set(globals())
    for label in set(re.findall(r"eq-dt-[\w-]+", " ".join(str(globals()[name].__doc__) for name in named))):
        assert f"({label})" in text, label
