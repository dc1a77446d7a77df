"""Convolutions: finite networks against a plain loop and JAX's own, lazy kernels, mean field."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
from numpy_network import RULES

import dmftlib as dl
from dmftlib import lazy, meanfield, network
from dmftlib.results import RECORDED

P, STEPS = 3, 6
LINE, IMAGE = dl.Convolution((5,)), dl.Convolution((3, 4), padding="zero", readout="all", channels_in=2)


def task_for(convolution, C=1, P=P, P_test=2, seed=5):
    rng = np.random.default_rng(seed)
    D = convolution.positions * convolution.channels_in
    X, X_test = rng.standard_normal((P, D)), rng.standard_normal((P_test, D))
    y = rng.standard_normal((P, C)) if C > 1 else np.sign(rng.standard_normal(P))
    return dl.Task(X, y, X_test)


def experiment(convolution, rule="GD", depth=2, activation="tanh", C=1, gamma0=1.3, lr=0.1, steps=STEPS, **more):
    return dl.Experiment(
        task_for(convolution, C), RULES[rule], depth, activation, gamma0, lr, steps, convolution=convolution, **more
    )


def drawn_by(e, N, seed):
    """What `network.train` draws, in the library's shapes."""
    L, C, c = e.hidden_layers, e.task.outputs, e.convolution
    D, readout = c.K * c.channels_in, c.weights_of_output * N

    def gaussian(kind, layer, *shape):
        return np.random.default_rng((seed, kind, layer, *shape)).standard_normal(shape)

    W, feedback = ([gaussian(k, l, N, c.K * N) for l in range(1, L)] + [gaussian(k, L, C, readout)] for k in (0, 1))
    return dict(
        W=[gaussian(0, 0, D, N).T, *W],
        feedback=[np.zeros((N, D)), *feedback],
        M=[gaussian(2, l, D, N).T for l in range(L)],
        vector=[gaussian(3, l, C, readout) for l in range(L)],
    )


CASES = [(rule, 1 + k % 3, LINE if k % 2 else IMAGE, 1 + 2 * (k % 2)) for k, rule in enumerate(list(RULES)[:5])]
CASES += [(rule, 2, IMAGE if k % 2 else LINE, 1 + k % 2) for k, rule in enumerate(list(RULES)[:5])]
CASES += [("GD", 2, dl.Convolution((3, 3), padding="circular"), 1), ("FA", 3, dl.Convolution((6,), 5, "zero"), 2)]


@pytest.mark.parametrize("rule, depth, convolution, outputs", CASES)
def test_training_agrees_with_a_plain_numpy_loop(rule, depth, convolution, outputs):
    e = experiment(convolution, rule, depth, "tanh" if depth < 3 else "erf", outputs, lr=0.02 if rule == "Hebb" else 0.1)
    run = network.train(e, 7, seed=4)
    expected = numpy_network.train_convolution(
        rule, e.phi.name, drawn_by(e, 7, 4), e.task, convolution, e.gamma0, e.lr, e.steps
    )
    for name in (*RECORDED, "f_test"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert np.linalg.norm(run.K[-1] - run.K[0]) > 0.005 * np.linalg.norm(run.K[0])  # something was learned


@pytest.mark.parametrize("convolution", [LINE, IMAGE, dl.Convolution((4, 3), channels_in=3), dl.Convolution((5,), 3, "zero")])
def test_gradient_descent_is_that_of_jax_on_its_own_convolution(convolution):
    e, N, c = experiment(convolution), 6, convolution
    drawn, dims = drawn_by(e, N, 2)["W"], len(c.shape)
    letters = "AB"[:dims]
    numbers = jax.lax.conv_dimension_numbers((1,) * (dims + 2), (1,) * (dims + 2), (f"N{letters}C", f"O{letters}I", f"N{letters}C"))

    def outputs(weights, X):
        x = X.reshape(-1, *c.shape, c.channels_in)
        for W in weights[:-1]:
            ends = [(0, 0), *[(c.size // 2,) * 2] * dims, (0, 0)]
            x = jnp.pad(x, ends, mode="wrap" if c.padding == "circular" else "constant")
            W = W.reshape(N, *[c.size] * dims, -1)
            h = jax.lax.conv_general_dilated(x, W, (1,) * dims, "VALID", dimension_numbers=numbers)
            x = jnp.tanh(h / np.sqrt(c.K * x.shape[-1]))
        x = x.reshape(len(X), -1, N)
        x = x.mean(axis=1) if c.readout == "average" else x.reshape(len(X), -1) / np.sqrt(c.positions)
        return x @ weights[-1][0] / (e.gamma0 * N)

    with jax.enable_x64(True):
        weights = [jnp.asarray(w) for w in drawn]
        start = outputs(weights, e.task.X)
        for f in network.train(e, N, seed=2).f:
            np.testing.assert_allclose(f, outputs(weights, e.task.X) - start, rtol=1e-10, atol=1e-12)
            loss = lambda w: 0.5 * ((e.task.y - outputs(w, e.task.X) + start) ** 2).sum()  # noqa: E731
            # δW = −η γ₀² N ∂ℒ/∂W: the step that makes updates of order 1 at any width.
            weights = [w - e.lr * e.gamma0**2 * N * d for w, d in zip(weights, jax.grad(loss)(weights))]


@pytest.mark.parametrize("rule", RULES)
def test_one_position_is_the_fully_connected_network(rule):
    task = dl.Task.random(P, 4, seed=5, P_test=2)
    for readout in ("average", "all"):
        one = dl.Convolution((1,), 1, readout=readout, channels_in=4)
        e, c = (dl.Experiment(task, RULES[rule], 2, "tanh", 1.3, 0.02, 5, convolution=c) for c in (None, one))
        for solve in (lambda e: network.train(e, 9, 3), lambda e: meanfield.solve(e, 256), lazy.initial, lazy.predict):
            a, b = solve(e), solve(c)
            for name in [n for n in (*RECORDED, "f_test") if isinstance(getattr(a, n, None), np.ndarray)]:
                np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-9, atol=1e-9, err_msg=name)


def test_shifted_inputs_shift_fields_and_leave_the_average():
    c = dl.Convolution((3, 4), channels_in=2)
    e = experiment(c)
    shifted = np.roll(e.task.X_test.reshape(-1, 3, 4, 2), (1, 2), axis=(1, 2)).reshape(e.task.X_test.shape)
    moved = dl.Task(e.task.X, e.task.y, shifted)
    a, b = (network.train(dl.Experiment(t, e.rule, 2, "tanh", 1.3, 0.1, 4, convolution=c), 16) for t in (e.task, moved))
    np.testing.assert_allclose(a.f_test, b.f_test, rtol=1e-12, atol=1e-14)
    a, b = (network.train(dl.Experiment(dl.Task(X, e.task.y[:2]), e.rule, 2, "tanh", 1.3, 0.1, 1, convolution=c), 16) for X in (e.task.X_test, shifted))
    h, rolled = (run.final_h.reshape(2, 16, 2, 3, 4) for run in (a, b))
    np.testing.assert_allclose(np.roll(h, (1, 2), axis=(3, 4)), rolled, rtol=1e-12, atol=1e-14)
