"""Other losses than the squared one: their gradients, networks against the plain loop, theory against networks, the lazy limit."""

import pickle

import jax.numpy as jnp
import numpy as np
import numpy_network
import pytest

import dmftlib as dl
from dmftlib.losses import LOSSES

X = np.random.default_rng(0).standard_normal((9, 12))
TASKS = {
    "squared": dl.Task(X, np.arange(9) / 4 - 1),
    "logistic": dl.Task.from_labels(X, np.arange(9) % 3 > 0),
    "cross_entropy": dl.Task.from_labels(X, np.arange(9) % 3),
}


def own(y, f):
    """A squared hinge, of JAX arrays; its gradient is found."""
    return (jnp.maximum(0, 1 - y * f) ** 2).sum(axis=-1)


def experiment(loss, rule, steps=20, gamma0=1.0, task=None):
    return dl.Experiment(task or TASKS[loss], rule, 2, "tanh", gamma0, 0.05, steps, loss)


def softmax_error(y, f):
    """Of class labels: which class it is, less the share that the outputs give to it."""
    share = np.exp(f) / np.exp(f).sum(axis=-1, keepdims=True)
    return (y > 0) - share


PLAIN = {"logistic": lambda y, f: y * (1 - 1 / (1 + np.exp(-y * f))), "cross_entropy": softmax_error}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_error_is_minus_the_derivative_of_the_value(loss):
    e = experiment(loss, dl.GD())
    f, change = 2 * np.random.default_rng(1).standard_normal((2, *e.task.y.shape))
    slope = (e.losses(f + 1e-5 * change).sum() - e.losses(f - 1e-5 * change).sum()) / 2e-5
    factor = 2 if loss == "squared" else 1  # Σ (y − f)² is reported, half of it descended
    assert -factor * (e.error(f) * change).sum() == pytest.approx(slope, rel=1e-7)
    far = e.error(1e3 * f)  # no overflow
    assert np.isfinite(far).all() and np.isfinite(e.losses(1e3 * f)).all()


@pytest.mark.parametrize("loss", PLAIN)
@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(numpy_network.RHO), dl.Hebb()], ids=repr)
def test_networks_are_those_of_a_plain_loop(loss, rule):
    e = experiment(loss, rule, steps=6)
    drawn = numpy_network.drawn_by(e, 40, seed=3)
    plain = numpy_network.run_of(type(rule).__name__, e, drawn, error=PLAIN[loss])
    run = dl.network.train(e, 40, seed=3)
    for name in ("f", "Phi", "G_tilde", "K"):
        np.testing.assert_allclose(getattr(run, name), plain[name], atol=1e-11)


@pytest.mark.parametrize("loss, rule", [("cross_entropy", dl.GD()), ("logistic", dl.Hebb())], ids=repr)
def test_theory_is_the_limit_of_networks(loss, rule):
    e = experiment(loss, rule)
    theory = dl.meanfield.solve(e, 2048)
    limit = dl.network.extrapolate([dl.network.ensemble(e, N, range(16)) for N in (96, 384)])
    comparison = dl.compare(theory, limit)
    for name in ("f", "K"):
        distance, error = comparison[name]
        assert distance < 2.5 * np.hypot(error, comparison.theory_error[name])
    squared = dl.meanfield.solve(experiment("squared", rule, task=e.task), 1024)  # another loss is far outside
    assert dl.compare(squared, limit)["f"][0] > 5 * np.hypot(comparison["f"][1], comparison.theory_error["f"])


@pytest.mark.parametrize("loss", PLAIN)
@pytest.mark.parametrize("rule", [dl.GD(), dl.FA(0.5), dl.GLN()], ids=repr)
def test_outputs_become_lazy(loss, rule):
    e = experiment(loss, rule, gamma0=1e-3)
    f, lazy = dl.meanfield.solve(e, 1024, tol=1e-2).f, dl.lazy.predict(e)
    assert np.linalg.norm(f - lazy.f) < 0.04 * np.linalg.norm(lazy.f)
    assert lazy.f_test_inf is None


def test_a_loss_of_ones_own_needs_its_value_only(tmp_path):
    task, hinge = TASKS["logistic"], dl.Loss("hinge", own)
    e = experiment(hinge, dl.GD(), task=task)
    run = dl.meanfield.solve(e, 1024, tol=1e-2)
    np.testing.assert_allclose(run.Delta, 2 * task.y * np.maximum(0, 1 - task.y * run.f), atol=1e-12)
    assert run.loss[-1] < 0.2 * run.loss[0]
    path = dl.save(run, tmp_path / "run")
    with pytest.raises(ValueError, match="the loss 'hinge', one of your own"):
        dl.load(path)
    np.testing.assert_array_equal(dl.load(path, loss=hinge).loss, run.loss)


def test_losses_pickle_and_refuse_targets_that_make_no_sense():
    assert pickle.loads(pickle.dumps(LOSSES["logistic"])) is LOSSES["logistic"]
    for loss, task, match in (
        ("logistic", TASKS["squared"], "`y` must be −1 or 1"),
        ("cross_entropy", TASKS["logistic"], "as Task.from_labels codes them"),
        ("hinge", TASKS["logistic"], "`loss` must be one of 'squared', 'logistic', 'cross_entropy' or a Loss"),
    ):
        with pytest.raises(ValueError, match=match):
            experiment(loss, dl.GD(), task=task)
    with pytest.raises(TypeError, match="`value` must be a function"):
        dl.Loss("none", 3)
    linear = dl.Experiment(dl.Task.whitened([1.0, -1.0]), dl.GD(), 1, "linear", 1.0, 0.1, 5, "logistic")
    with pytest.raises(ValueError, match="hold for the squared loss"):
        dl.twolayer.solve(linear)
