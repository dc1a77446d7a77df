"""Tasks and experiments: what they hold, and the errors for everything they must refuse.

Nothing here may reach a compiler: every refusal happens on construction.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmftlib as dl

GOOD = dict(task=dl.Task.random(3, 4), rule=dl.GD(), hidden_layers=2, activation="tanh", gamma0=1.0, lr=0.1, steps=3)


@pytest.fixture(autouse=True)
def no_compilation():
    """Fail any test of this file that compiles something."""
    compiled = []

    def listen(event, *_, **__):
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield
    jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


# --- Task ---------------------------------------------------------------------------------------------------------


def test_task_keeps_float64_copies_and_their_kernel():
    X = np.arange(6).reshape(2, 3)
    task = dl.Task(X, [1, -1])
    X[:] = 0  # the task must not follow the caller's array
    assert task.X.dtype == task.y.dtype == np.float64 and (task.P, task.D) == (2, 3)
    np.testing.assert_array_equal(task.K_x, np.array([[5.0, 14.0], [14.0, 50.0]]) / 3)
    with pytest.raises(ValueError, match=r"read-only"):
        task.X[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.X = X


def test_tables_of_several_types_are_numbers():
    # What numpy makes of a table with a column of booleans, or of numbers that may be missing and are not.
    task = dl.Task(np.array([[1.5, True], [2, np.bool_(False)]], dtype=object), np.array([np.float32(1), -1], object))
    np.testing.assert_array_equal(task.X, [[1.5, 1.0], [2.0, 0.0]])
    assert task.X.dtype == task.y.dtype == np.float64
    np.testing.assert_array_equal(dl.Task(np.ma.ones((2, 3)), [1.0, -1.0]).X, np.ones((2, 3)))  # nothing is masked


def test_random_task_is_seeded_standard_normal_with_balanced_targets():
    task, again, other = (dl.Task.random(400, 50, seed, P_test=3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(task.X, again.X)
    assert not np.array_equal(task.X, other.X)
    assert task.X_test.shape == (3, 50) and task.y_test.shape == (3,)
    assert task.X_all.shape == (403, 50) and np.array_equal(task.X_all[:400], task.X)
    # 20000 numbers: the mean is within 4 standard errors of 0, the variance within 4 of 1.
    assert abs(task.X.mean()) < 4 / np.sqrt(20000) and abs(task.X.var() - 1) < 4 * np.sqrt(2 / 20000)
    np.testing.assert_array_equal(task.y, np.repeat([1.0, -1.0], 200))
    # Adding test points leaves the training points as they were.
    np.testing.assert_array_equal(task.X, dl.Task.random(400, 50, 1).X)


def test_odd_number_of_samples_still_has_both_targets():
    np.testing.assert_array_equal(dl.Task.random(5, 2).y, [1, 1, 1, -1, -1])


def test_whitened_task_has_unit_kernel():
    task = dl.Task.whitened([1.5, -0.5, 0.25])
    np.testing.assert_allclose(task.K_x, np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(task.y, [1.5, -0.5, 0.25])


def test_circle_task_has_the_cosine_kernel():
    angles = np.array([0.0, 0.3, 2.0, np.pi])
    task = dl.Task.circle(angles, np.ones(4))
    np.testing.assert_allclose(task.K_x, np.cos(angles[:, None] - angles), atol=1e-15)


X, Y = np.ones((3, 2)), np.ones(3)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((np.ones(3), Y), ValueError, r"`X` must have shape \(P, D\).*got shape \(3,\)"),
        ((np.ones((3, 2, 1)), Y), ValueError, r"`X` must have shape"),
        ((np.ones((0, 2)), np.ones(0)), ValueError, r"`X` must hold at least one sample.*\(0, 2\)"),
        ((np.ones((3, 0)), Y), ValueError, r"`X` must hold at least one sample.*\(3, 0\)"),
        ((np.where(np.eye(3, 2) > 0, np.nan, 1.0), Y), ValueError, r"`X` must be finite; got 2 entries"),
        ((np.where(np.eye(3, 2) > 0, np.inf, 1.0), Y), ValueError, r"`X` must be finite"),
        (("text", Y), TypeError, r"`X` must be an array of numbers.*str"),
        (([[1.0, 2.0], [3.0]], np.ones(2)), TypeError, r"`X` must be an array of numbers"),
        ((X, np.ones((3, 1, 1))), ValueError, r"`y` must have shape \(P,\), or \(P, C\).*\(3, 1, 1\)"),
        ((X, np.ones((3, 0))), ValueError, r"`y` must be \(P,\), or \(P, C\).*\(3, 0\)"),
        ((X, np.ones((3, 2)), X, np.ones((3, 3))), ValueError, r"`y_test` must have shape \(3, 2\).*got \(3, 3\)"),
        ((X, np.ones(4)), ValueError, r"`y` must be \(P,\), or \(P, C\) for C outputs, with P = 3.*\(4,\)"),
        ((X, [1.0, np.nan, 2.0]), ValueError, r"`y` must be finite; got 1 "),
        ((X, Y, np.ones((2, 3))), ValueError, r"`X_test` must be \(P_test, D\) with D = 2.*\(2, 3\)"),
        ((X, Y, np.ones((0, 2))), ValueError, r"`X_test` must be"),
        ((X, Y, np.full((1, 2), np.inf)), ValueError, r"`X_test` must be finite"),
        ((X, Y, None, np.ones(1)), ValueError, r"`y_test` was given without `X_test`"),
        ((X, Y, np.ones((2, 2)), np.ones(3)), ValueError, r"`y_test` must have shape \(2,\).*got \(3,\)"),
        ((X, Y, np.ones((2, 2)), [1.0, np.inf]), ValueError, r"`y_test` must be finite"),
    ],
)
def test_bad_task_names_the_argument(arguments, error, words):
    with pytest.raises(error, match=words):
        dl.Task(*arguments)


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: dl.Task.random(0, 3), "`P` must be a whole number, at least 1; got 0"),
        (lambda: dl.Task.random(2, 2.5), "`D` must be a whole number, at least 1; got 2.5"),
        (lambda: dl.Task.random(2, 2, P_test=-1), "`P_test` must be a whole number, at least 0; got -1"),
        (lambda: dl.Task.whitened([[1.0]]), r"`y` must have shape"),
        (lambda: dl.Task.circle([0.0, np.nan], [1.0, 1.0]), "`angles` must be finite"),
        (lambda: dl.Task.circle([0.0, 1.0], [1.0]), r"`y` must be \(P,\), or \(P, C\) for C outputs, with P = 2"),
    ],
)
def test_bad_task_constructors_name_the_argument(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# --- Experiment ---------------------------------------------------------------------------------------------------


def test_experiment_is_frozen_and_can_be_varied():
    experiment = dl.Experiment(**GOOD)
    assert dataclasses.replace(experiment, gamma0=2).gamma0 == 2.0 and experiment.gamma0 == 1.0
    assert dataclasses.replace(experiment, activation="relu").phi.name == "relu"
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.lr = 1.0
    with pytest.raises(ValueError, match=r"`lr`"):
        dataclasses.replace(experiment, lr=-1.0)


def test_numpy_numbers_are_numbers():
    experiment = dl.Experiment(**GOOD | dict(hidden_layers=np.int64(1), gamma0=np.float32(0.5), lr=np.float64(0.1)))
    assert (experiment.hidden_layers, experiment.gamma0) == (1, 0.5)


@pytest.mark.parametrize("name", ["gamma0", "lr"])
@pytest.mark.parametrize("value", [0, -0.5, np.nan, np.inf, "1", None, True, 1j, np.ones(2)])
def test_gamma0_and_lr_must_be_finite_and_positive(name, value):
    with pytest.raises(ValueError, match=f"`{name}` .* must be a finite number above 0; got"):
        dl.Experiment(**GOOD | {name: value})


@pytest.mark.parametrize("name", ["hidden_layers", "steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "2", None, True])
def test_counts_must_be_whole_and_positive(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number, at least 1; got"):
        dl.Experiment(**GOOD | {name: value})


def test_gamma0_error_points_to_the_lazy_engine():
    with pytest.raises(ValueError, match=r"`gamma0`.*lazy"):
        dl.Experiment(**GOOD | dict(gamma0=0.0))


def test_unknown_activation_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"`activation` must be one of 'relu', 'tanh', 'erf', 'linear'.*got 'gelu'"):
        dl.Experiment(**GOOD | dict(activation="gelu"))
    with pytest.raises(TypeError, match=r"`activation` must be one of"):
        dl.Experiment(**GOOD | dict(activation=jnp.tanh))
    with pytest.raises(TypeError, match=r"`phi` must be a function of an array; got str"):
        dl.Activation("mine", "tanh")


def test_task_and_rule_must_be_objects():
    with pytest.raises(TypeError, match=r"`task` must be a dmftlib.Task; got tuple"):
        dl.Experiment(**GOOD | dict(task=(X, Y)))
    with pytest.raises(TypeError, match=r"`rule` must be a dmftlib.Rule object such as GD\(\)"):
        dl.Experiment(**GOOD | dict(rule="GD"))
    with pytest.raises(TypeError, match=r"`rule` must be a dmftlib.Rule object"):
        dl.Experiment(**GOOD | dict(rule=dl.GD))


# --- Engines refuse their own arguments before running -------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(samples=0), "`samples` must be a whole number, at least"),
        (dict(samples=4096.0), "`samples` must be a whole number"),
        (dict(samples=4097), "`samples` must be even.*got 4097"),
        (dict(seed=-1), "`seed` must be a whole number, at least 0; got -1"),
        (dict(tol=0.0), "`tol` must be a share of variance.*got 0.0"),
        (dict(tol=1.0), "`tol` must be a share of variance.*got 1.0"),
        (dict(tol=0.6), "`tol` must be a share of variance.*got 0.6"),
        (dict(tol=np.nan), "`tol` must be a share of variance.*got nan"),
        (dict(tol=1e-9, dtype="float32"), "`tol` must be a share of variance.*float32"),
        (dict(dtype="float16"), '`dtype` must be "float64" or "float32", as text; got \'float16\''),
    ],
)
def test_bad_arguments_of_solve(arguments, words):
    with pytest.raises(ValueError, match=words):
        dl.meanfield.solve(dl.Experiment(**GOOD), **arguments)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(width=0), "`width` must be a whole number, at least 1; got 0"),
        (dict(width=10.0), "`width` must be a whole number"),
        (dict(seed=-1), "`seed` must be a whole number, at least 0"),
        (dict(seed=0.5), "`seed` must be a whole number"),
        (dict(dtype="int8"), "`dtype` must be"),
    ],
)
def test_bad_arguments_of_train(arguments, words):
    with pytest.raises(ValueError, match=words):
        dl.network.train(dl.Experiment(**GOOD), **arguments)
