"""Convolutions: finite networks against a plain loop and JAX's own, lazy kernels, mean field."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest
from numpy_network import RULES
from test_revealed_network import alike, differ, sample

import dmftlib as dl
from companion.statistics import fit_slope
from dmftlib import lazy, meanfield, network
from dmftlib.network import revealed
from dmftlib.network.training import train_each
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


RESIDUAL = [("FA", 3, IMAGE, 2, 0.8), ("GD", 3, LINE, 1, 1.2), ("Hebb", 2, LINE, 1, 1.0)]


@pytest.mark.parametrize("rule, depth, convolution, outputs, residual", [(*case, None) for case in CASES] + RESIDUAL)
def test_training_agrees_with_a_plain_numpy_loop(rule, depth, convolution, outputs, residual):
    activation, lr = "tanh" if depth < 3 else "erf", 0.02 if rule == "Hebb" else 0.1
    e = experiment(convolution, rule, depth, activation, outputs, lr=lr, residual=residual)
    run = network.train(e, 7, seed=4)
    expected = numpy_network.train_convolution(
        rule, activation, drawn_by(e, 7, 4), e.task, convolution, e.gamma0, lr, e.steps, residual=residual
    )
    for name in (*RECORDED, "f_test"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert np.linalg.norm(run.K[-1] - run.K[0]) > 0.005 * np.linalg.norm(run.K[0])  # something was learned


@pytest.mark.parametrize(
    "convolution", [LINE, IMAGE, dl.Convolution((4, 3), channels_in=3), dl.Convolution((5,), 3, "zero")]
)
def test_gradient_descent_is_that_of_jax_on_its_own_convolution(convolution):
    e, N, c = experiment(convolution), 6, convolution
    drawn, dims = drawn_by(e, N, 2)["W"], len(c.shape)
    letters = "AB"[:dims]
    numbers = jax.lax.conv_dimension_numbers(
        (1,) * (dims + 2), (1,) * (dims + 2), (f"N{letters}C", f"O{letters}I", f"N{letters}C")
    )

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
    a, b = (
        network.train(dl.Experiment(dl.Task(X, e.task.y[:2]), e.rule, 2, "tanh", 1.3, 0.1, 1, convolution=c), 16)
        for X in (e.task.X_test, shifted)
    )
    h, rolled = (run.final_h.reshape(2, 16, 2, 3, 4) for run in (a, b))
    np.testing.assert_allclose(np.roll(h, (1, 2), axis=(3, 4)), rolled, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("convolution", [LINE, IMAGE])
def test_one_precision_after_the_other(convolution):
    """JAX raised for an index of 64 bits that it had seen in float64. Draws of float32 are others, so that networks are, too."""
    e = experiment(convolution)
    double, single, again = (network.train(e, 8, 3, dtype) for dtype in ("float64", "float32", "float64"))
    assert np.isfinite(single.f).all()
    np.testing.assert_array_equal(again.f, double.f)


# --- The lazy limit --------------------------------------------------------------------------------------------------


def relu_kernels(e):
    """Φ, φ̇φ̇ by layer and G by layer of ReLU networks, by the arc-cosine formulas; axes (μ, a, ν, b)."""
    c, shifts = e.convolution, numpy_network.shifts_of(e.convolution)
    A, L = shifts.shape[1], e.hidden_layers
    x = e.task.X.reshape(e.task.P, A, -1)

    def both(kernel, upward):
        """The mean over offsets of a kernel at the positions that they lead to, or come from."""
        places = "kca,manb,kdb->mcnd" if upward else "kac,manb,kbd->mcnd"
        return np.einsum(places, shifts, kernel, shifts) / len(shifts)

    Sigma, Phi, slopes, patches = both(np.einsum("mai,nbi->manb", x, x) / c.channels_in, True), [], [], []
    for _ in range(L):
        patches.append(Sigma)
        sd = np.sqrt(np.einsum("mama->ma", Sigma))
        scale = sd[:, :, None, None] * sd
        angle = np.arccos(np.where(Sigma > (1 - 1e-14) * scale, 1.0, Sigma / scale))
        Phi.append(scale / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle)))
        slopes.append(1 - angle / np.pi)
        Sigma = both(Phi[-1], True)
    z = np.ones((A, A)) if c.readout == "average" else np.eye(A)
    G = [slopes[-1] * z[None, :, None, :]]
    for slope in slopes[-2::-1]:
        G.insert(0, slope * both(G[0], False))
    return Phi, patches, G


@pytest.mark.parametrize("readout", ["average", "all"])
@pytest.mark.parametrize("shape, size, padding", [((5,), 3, "circular"), ((5,), 5, "zero"), ((3, 3), 3, "zero")])
def test_lazy_kernels_are_those_of_the_recursion_over_positions(shape, size, padding, readout):
    c = dl.Convolution(shape, size, padding, readout, channels_in=2)
    e = experiment(c, depth=3, activation="relu")
    Phi, patches, G = relu_kernels(e)
    rows = lambda kernel: np.stack(kernel).reshape(3, P * c.positions, -1)  # noqa: E731
    s2 = c.positions ** (-2 if readout == "average" else -1)
    last = s2 * (Phi[-1].sum(axis=(1, 3)) if readout == "average" else np.einsum("mana->mn", Phi[-1]))
    for rule, coefficients in ((dl.GD(), [1, 1, 1]), (dl.FA(0.6), [0.6**3, 0.6**2, 0.6]), (dl.DFA(), [0, 0, 0])):
        found = lazy.kernels(replace(e, rule=rule))
        terms = [s2 * k * (g * below).sum(axis=(1, 3)) for k, g, below in zip(coefficients, G, patches, strict=True)]
        for name, value in (("Phi", rows(Phi)), ("G", rows(G)), ("K", last + sum(terms))):
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12, atol=1e-12, err_msg=f"{rule} {name}")
        G_tilde = rows([k * g for k, g in zip(coefficients, G, strict=True)])
        np.testing.assert_allclose(found.G_tilde, G_tilde, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "GLN", "Hebb"])
@pytest.mark.parametrize("shape, padding", [((5,), "circular"), ((3, 4), "zero")])
def test_one_layer_averages_the_fully_connected_kernel_of_patches(rule, shape, padding):
    """Over all pairs of positions; with a readout of all positions, over each position with itself alone."""
    c = dl.Convolution(shape, 3, padding, "average", channels_in=2)
    x = np.pad(
        task_for(c).X.reshape(P, *shape, 2),
        [(0, 0), *[(1, 1)] * len(shape), (0, 0)],
        mode="wrap" if padding == "circular" else "constant",
    )
    windows = [x[:, *[slice(i, i + 3) for i in at]].reshape(P, -1) for at in np.ndindex(shape)]
    patches = dl.Task(np.stack(windows, axis=1).reshape(P * c.positions, -1), np.ones(P * c.positions))
    e = experiment(c, rule, 1, "erf")
    K = lazy.kernels(replace(e, task=patches, convolution=None)).K.reshape(P, c.positions, P, c.positions)
    for readout, expected in (("average", K.mean(axis=(1, 3))), ("all", np.einsum("mana->mn", K) / c.positions)):
        found = lazy.kernels(replace(e, convolution=replace(c, readout=readout))).K
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_lazy_kernels_of_the_average_are_those_of_images_moved_one_by_one(rule):
    c = dl.Convolution((3, 4), channels_in=2)
    e = experiment(c, rule, 2)
    moved = [np.roll(x.reshape(3, 4, 2), (k, 2 * k + 1), axis=(0, 1)).ravel() for k, x in enumerate(e.task.X)]
    K, K_moved = (lazy.kernels(replace(e, task=dl.Task(X, e.task.y))).K for X in (e.task.X, np.array(moved)))
    np.testing.assert_allclose(K_moved, K, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "rule, convolution, outputs",
    [("GD", LINE, 1), ("FA", IMAGE, 2), ("DFA", LINE, 2), ("GLN", IMAGE, 1), ("Hebb", LINE, 1)],
)
def test_lazy_kernels_are_those_of_wide_networks(rule, convolution, outputs):
    """Drawn and computed by the plain loop."""
    residual = None if rule in ("GLN", "Hebb") else 0.9
    e, N, runs = experiment(convolution, rule, 2, "tanh", outputs, steps=1, residual=residual), 128, []
    for seed in range(12):
        drawn = drawn_by(e, N, 100 + seed)
        how = rule, "tanh", drawn, e.task, convolution, e.gamma0, e.lr, 1
        runs.append(numpy_network.train_convolution(*how, residual=residual))
    exact = lazy.kernels(e)
    for name in RECORDED[1:]:
        values = np.stack([run[name][0] for run in runs])
        error = np.linalg.norm(values.std(axis=0, ddof=1)) / np.sqrt(len(runs))
        off, size = np.linalg.norm(values.mean(axis=0) - getattr(exact, name)), np.linalg.norm(getattr(exact, name))
        assert off < 2.5 * error, name
        assert size == 0 or name == "G_tilde" or error < 0.25 * size, name  # a wrong factor would be seen


def test_lazy_predictions_follow_decay_batches_and_errors():
    """Against networks of 2048 channels at γ₀ → 0, with what a step can have."""
    c = dl.Convolution((3,), readout="all")
    for rule, outputs, more in (
        ("GD", 2, dict(weight_decay=0.3, batches=((0, 1), (2,)))),
        ("Hebb", 1, {}),
        ("GLN", 1, dict(weight_decay=0.3)),
    ):
        e = experiment(c, rule, 2, "tanh", outputs, gamma0=1e-3, lr=0.1, steps=15, **more)
        theory, ensemble = lazy.predict(e), network.ensemble(e, 256, range(24))
        for name in ("f", "f_test"):
            off, error = (
                np.linalg.norm(getattr(theory, name) - getattr(ensemble, name)),
                np.linalg.norm(ensemble.standard_error[name]),
            )
            assert off < 2.5 * error + 0.02 * np.linalg.norm(getattr(theory, name)), (rule, name)


# --- The mean field --------------------------------------------------------------------------------------------------

slow = lambda *case: pytest.param(*case, marks=pytest.mark.slow)  # noqa: E731


@pytest.mark.parametrize(
    "rule, convolution, outputs, more",
    [
        ("GD", LINE, 1, {}),
        ("GD", dl.Convolution((4,), 3, "zero"), 1, dict(residual=1.0)),
        ("FA", dl.Convolution((4,), 3, "zero", "all"), 2, {}),
        ("DFA", dl.Convolution((4,), 3, "zero", "all", 2), 1, {}),
        ("GLN", LINE, 1, {}),
        ("Hebb", dl.Convolution((4,)), 1, {}),
        slow("GD", dl.Convolution((3, 3), 3, "zero"), 2, {}),
        slow("FA", dl.Convolution((3, 3)), 1, {}),
        slow("GD", LINE, 1, dict(weight_decay=0.3, batches=((0, 1), (2,)))),
        slow("mixed", LINE, 1, {}),
    ],
)
def test_mean_field_is_the_limit_of_networks(rule, convolution, outputs, more):
    e = experiment(convolution, rule, 2, "tanh", outputs, lr=0.05 if rule == "Hebb" else 0.1, steps=10, **more)
    theory = meanfield.solve(e, 4096, tol=3e-4)
    networks = network.extrapolate([network.ensemble(e, N, range(N, N + 48)) for N in (64, 128)])
    comparison = dl.compare(theory, networks)
    for name in ("f", "Phi", "G", "G_tilde", "K"):
        found, error = comparison[name]
        assert found < 2.5 * np.hypot(error, theory.relative_error(name)), name
    off = np.linalg.norm(theory.f_test - networks.f_test)
    assert off < 2.5 * np.linalg.norm(networks.standard_error["f_test"]) + 0.01 * np.linalg.norm(networks.f_test)


@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "GLN", "Hebb"])
@pytest.mark.parametrize("convolution", [LINE, dl.Convolution((2, 3), 1, readout="all", channels_in=3)])
def test_mean_field_tends_to_the_lazy_limit(rule, convolution):
    e = experiment(convolution, rule, 2, "tanh", gamma0=1e-3, steps=8)
    theory, exact = meanfield.solve(e, 2048), lazy.predict(e)
    np.testing.assert_allclose(theory.f, exact.f, atol=5e-3)
    np.testing.assert_allclose(theory.f_test, exact.f_test, atol=5e-3)


def squared_distances(e, N, seeds, theory):
    """Of K of each network to the theory, over all steps, relative."""
    runs = train_each(e, N, seeds)
    return [(np.linalg.norm(run.K - theory.K) / np.linalg.norm(theory.K)) ** 2 for run in runs]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["GD", "FA", "DFA", "GLN", "Hebb"])
def test_squared_distance_falls_as_one_over_the_channels(rule):
    e = experiment(dl.Convolution((4,)), rule, 2, "tanh", gamma0=1.0, lr=0.05, steps=10)
    theory = meanfield.average([meanfield.solve(e, 8192, seed, tol=1e-4) for seed in range(2)])
    widths = np.array([32, 64, 128, 256])
    values = [squared_distances(e, N, range(64), theory) for N in widths]
    mean, error = np.mean(values, axis=1), np.std(values, axis=1, ddof=1) / 8
    slope, slope_error = fit_slope(widths, mean, error)
    print(rule, slope, slope_error, mean)
    assert abs(slope + 1) < 2.5 * slope_error
    assert slope_error < 0.15


@pytest.mark.parametrize(
    "convolution, outputs", [(dl.Convolution((4,), 3, "zero", "all"), 2), (dl.Convolution((3, 3)), 1)]
)
def test_a_revealed_network_is_a_network(convolution, outputs, monkeypatch):
    """The dense filters that its products imply, trained by the plain loop, give the same run."""
    made, original, N = [], revealed.initialize, 11

    def initialize(*args):
        made.append(original(*args))
        made.append(made[0][1][0].weights)
        return made[0]

    monkeypatch.setattr(revealed, "initialize", initialize)
    e = experiment(convolution, "FA", 3, "tanh", outputs)
    run = network.train(e, N, seed=4, revealed=True)
    X, (_, (_, *matrices, last), _) = e.inputs, made[0]
    onto_inputs = np.linalg.pinv(X) @ revealed.input_factor(X) * np.sqrt(X.shape[1])
    W, feedback = [(onto_inputs @ made[1]).T], [np.zeros((N, X.shape[1]))]
    for matrix in matrices:
        p, q = matrix.features, matrix.sent
        W.append(
            p.rows("initial").T @ p.rows() / np.sqrt(convolution.K * N) + q.rows().T @ q.rows("weights") / np.sqrt(N)
        )
        feedback.append(matrix.fed.rows().T @ matrix.fed.rows("feedback") / np.sqrt(N))
    drawn = dict(W=[*W, last.initial], feedback=[*feedback, last.fresh])
    expected = numpy_network.train_convolution("FA", "tanh", drawn, e.task, convolution, e.gamma0, e.lr, e.steps)
    for name in (*RECORDED, "f_test"):
        np.testing.assert_allclose(getattr(run, name), expected[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule, convolution, outputs",
    [
        ("FA", dl.Convolution((4,), 3, "zero", "all"), 2),
        ("GD", dl.Convolution((4,)), 1),
        ("DFA", dl.Convolution((4,)), 2),
    ],
)
def test_revealed_networks_are_distributed_as_drawn_ones(rule, convolution, outputs):
    e = experiment(convolution, rule, 2, "tanh", outputs)
    one, other = (sample(e, 12, range(600), known) for known in (True, False))
    assert alike(*differ(one, other))


# --- Results, and what is refused ------------------------------------------------------------------------------------


def test_results_keep_their_convolution(tmp_path):
    e = experiment(IMAGE, C=2, steps=3)
    runs = network.train(e, 5), network.ensemble(e, 5, range(2)), meanfield.solve(e, 2048, tol=1e-2), lazy.predict(e)
    for run in runs:
        loaded = dl.load(dl.save(run, tmp_path / "run"))
        assert loaded.experiment.convolution == IMAGE and repr(IMAGE) in repr(loaded)
        np.testing.assert_array_equal(loaded.f, run.f)
        labelled = run.to_xarray()
        assert labelled.K.dims[-2:] == ("sample_2", "output_2") or labelled.K.dims == ("sample", "sample_2")
    labelled, run, A = runs[0].to_xarray(), runs[0], IMAGE.positions
    assert labelled.Phi.dims == ("step", "layer", "sample", "position", "sample_2", "position_2")
    np.testing.assert_array_equal(
        labelled.G.sel(step=2, layer=1, sample=1, output=0, position=3)[0, 1, 7],
        run.G[2, 0, (2 * 1 + 0) * A + 3, A + 7],
    )
    np.testing.assert_array_equal(labelled.final_h.sel(layer=2, sample=1, position=4), run.final_h[1, :, A + 4])
    assert labelled.final_z.dims == ("layer", "neuron", "sample", "output", "position")
    assert run.H_y.shape == run.h_y.shape == run.alignment.shape == (3,)
    new = dl.predict(run, e.task.X_test[:1])
    np.testing.assert_allclose(new.f_test, run.f_test[:, :1], rtol=1e-12)
    assert "f" in dl.compare(runs[2], runs[0]).distance
    with pytest.raises(ValueError, match="convolution"):
        dl.compare(runs[0], network.train(replace(e, convolution=replace(IMAGE, padding="circular")), 5))
    assert network.train(e, 5, record=True).two_time()["Phi"].shape == (2, 3, P * A, 3, P * A)


def test_the_readout_kernel_is_the_last_term_of_K():
    for readout in ("average", "all"):
        c = dl.Convolution((5,), readout=readout)
        run = network.train(experiment(c, "GD", 1), 8)
        y = run.experiment.task.y
        h = run.final_h.transpose(2, 0, 1).reshape(P, 5, 1, 8)[:, :, 0]
        features = np.tanh(h).mean(axis=1) if readout == "average" else np.tanh(h).reshape(P, -1) / np.sqrt(5)
        np.testing.assert_allclose(run.H_y[-1], (y @ features) @ (y @ features) / 8 / (y @ y))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: dl.Convolution(5), "`shape` must be"),
        (lambda: dl.Convolution((2, 2, 2), 1), "`shape` must be"),
        (lambda: dl.Convolution((4.0,)), "`shape` must be a whole number"),
        (lambda: dl.Convolution((5,), 4), "`size` must be odd.*got 4. Pass 5."),
        (lambda: dl.Convolution((5, 3), 5), "at most 3.*got 5. Pass 3."),
        (lambda: dl.Convolution((4,), 7), "at most 4.*got 7. Pass 3."),
        (lambda: dl.Convolution((5,), padding="same"), "`padding` must be one of 'circular', 'zero'; got 'same'"),
        (lambda: dl.Convolution((5,), readout="max"), "`readout` must be one of 'average', 'all'; got 'max'"),
        (lambda: dl.Convolution((5,), channels_in=0), "`channels_in` must be a whole number"),
        (lambda: dl.Convolution((5,), stride=2), "`stride` must be 1.*got 2"),
        (lambda: replace(experiment(LINE), convolution=dl.Convolution((6,))), "D = 5 inputs.*got 6 positions"),
        (lambda: replace(experiment(LINE), convolution=(5,)), "`convolution` must be a dmftlib.Convolution or None; got tuple"),
        (lambda: meanfield.solve(experiment(LINE), devices=jax.devices()), "`devices` cannot share"),
        (lambda: meanfield.solve(experiment(LINE, steps=2), 512, record=True).responses(), "fully connected"),
        (lambda: dl.twolayer.solve(experiment(LINE, activation="linear", depth=1)), "`convolution`"),
    ],
)  # fmt: skip
def test_what_a_convolution_cannot_do_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_a_rule_that_multiplies_fields_of_two_layers_is_refused():
    class Local(dl.Rule):
        def pseudo_gradient(self, layer):
            return layer.g_tilde_next * layer.phi_dot

        __hash__ = object.__hash__

    task = task_for(LINE)
    dl.Experiment(task, Local(), 1, "tanh", 1.0, 0.1, 2)
    with pytest.raises(ValueError, match=r"`rule`.*`g_tilde_next`.*W_T"):
        dl.Experiment(task, Local(), 1, "tanh", 1.0, 0.1, 2, convolution=LINE)
