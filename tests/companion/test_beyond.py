"""Test errors at one training loss: the moment, the points of a grid, and rows of the committed result."""

from types import SimpleNamespace

import numpy as np
import pytest

import dmftlib as dl
from companion.beyond import FULL, RULES, TASKS, Point, experiment, full, outcome
from dmftlib.stability import largest_eigenvalue

TASK = dl.Task(np.eye(2), [1.0, -1.0], np.eye(2)[:1], [1.0])


def run_of(task, f, f_test):
    return SimpleNamespace(f=np.array(f), f_test=np.array(f_test), experiment=SimpleNamespace(task=task))


def falling(losses, tests, task=TASK):
    """A run whose training loss and whose only test output are given."""
    f = np.array([1.0, -1.0]) * (1 - np.sqrt(np.array(losses)))[:, None]
    return run_of(task, f, np.array(tests, float)[:, None])


def test_the_moment_lies_where_an_exponential_loss_passes_the_level():
    times = np.arange(6.0)
    run = falling(np.exp(-0.7 * times), 0.1 * times)  # test error (1 − 0.1 t)², which is nearly straight in a step
    found, moment = outcome(run, TASK, level=0.1), -np.log(0.1) / 0.7
    assert found.step == pytest.approx(moment)
    assert found.error == pytest.approx(np.interp(moment, times, (1 - 0.1 * times) ** 2))
    assert found.accuracy == 1.0 and found.last_loss == pytest.approx(np.exp(-3.5)) and found.last_error == 0.25
    assert outcome(run, TASK, level=1.0).step == 0.0
    never = outcome(run, TASK, level=1e-3)
    assert np.isnan([never.error, never.accuracy, never.step]).all() and never.last_error == 0.25


def test_errors_are_means_of_squares_and_answers_are_the_nearer_value():
    """By hand, for targets 3 and 8, whose middle is 5.5: neither sign nor size of an output is the answer."""
    task = dl.Task(np.eye(3)[:2], [8.0, 3.0], np.eye(3), [8.0, 3.0, 8.0])
    found = outcome(run_of(task, [[0.0, 0.0], [7.5, 3.5]], [[0.0, 0, 0], [5.6, 5.7, 30.0]]), task, level=0.25)
    assert found.last_loss == pytest.approx((0.5**2 + 0.5**2) / 2)
    assert found.last_error == pytest.approx((2.4**2 + 2.7**2 + 22.0**2) / 3)
    assert found.last_accuracy == pytest.approx(2 / 3) and found.step == pytest.approx(1.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: outcome(falling([1.0], [0.0]), dl.Task(np.eye(2), [1, -1])), "`task` must have `X_test` and `y_test`"),
        (lambda: outcome(falling([1.0], [0.0]), TASK, level=0), "`level` must be a training loss above 0; got 0"),
        (lambda: Point("digit", 8, 8, "GD", 1.0), "`task` must be one of digits, digits-rows, direction; got 'digit'"),
        (lambda: Point("digits", 8, 8, "GD", 0.0, width=16), "`gamma0` must be above 0 for a network; got 0"),
        (lambda: Point("digits", 8, 8, "SGD", 1.0), "`rule` must be one of GD, FA, DFA, GLN, Hebb; got 'SGD'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_step_follows_the_lazy_kernel_and_the_richness():
    task = TASKS["direction"](12, 0, 0)
    K = dl.lazy.kernels(experiment(task, dl.GD(), 1.0, 0.2)).K
    for gamma0 in (0.0, 1.0, 3.0):
        step = experiment(task, dl.GD(), gamma0, 0.2).lr * largest_eigenvalue(K)
        assert step == pytest.approx(0.2 / (1 + gamma0) ** 2)


@pytest.mark.parametrize("rule, caution", [("GD", 1.0), ("GLN", 0.5), ("Hebb", 0.3)])
@pytest.mark.parametrize("gamma0", [0.0, 2.0])
def test_a_point_is_what_the_engines_make_of_its_fields(rule, caution, gamma0):
    """Of its draw of the data, in steps that are smaller for rules whose kernels grow most, with its width and seed."""
    point = Point("direction", 6, 3, rule, gamma0, draw=2, width=8 if gamma0 else 0, seed=5)
    task = dl.Task.direction(6, 32, 3, 2)
    e = experiment(task, RULES[rule].rule, gamma0, 0.2 * caution, 80 if gamma0 else 2000)
    run, expected = point.run(), dl.network.train(e, 8, 5, "float32") if gamma0 else dl.lazy.predict(e)
    np.testing.assert_allclose(run.f_test, expected.f_test, rtol=1e-5, atol=1e-6)
    assert point.measure() == vars(point) | vars(outcome(run, task))


def test_a_theory_point_is_the_mean_field_of_its_samples_and_seed():
    point = Point("direction", 4, 2, "DFA", 1.0, samples=512, seed=3)
    e = experiment(point.data(), dl.DFA(), 1.0, 0.2)
    run, expected = point.run("float64"), dl.meanfield.solve(e, 512, 3, 3e-2, kernels_at=(0, 79))
    np.testing.assert_allclose(run.f_test, expected.f_test, rtol=1e-9)


@pytest.mark.parametrize(
    "target, rule, gains",
    [
        (lambda x: x[:, 0] * x[:, 1], dl.GLN(), True),
        (lambda x: x[:, 0], dl.GLN(), False),
        (lambda x: x[:, 0], dl.GD(), False),
    ],
)
def test_gains_of_one_relu_layer_depend_on_the_target(target, rule, gains):
    """Least test error on the way, lazy and rich, against networks; the verdict is the same at half the step.

    Frozen gates gain on the sign of a product, and nobody does on that of one coordinate.
    """
    x = np.random.default_rng(0).standard_normal((400, 5))
    y = np.where(target(x) >= 0, 1.0, -1.0)
    task = dl.Task(x[:200], y[:200], x[200:], y[200:])

    def least(run):
        return ((run.f_test - task.y_test) ** 2).mean(axis=1).min()

    start = least(dl.lazy.predict(experiment(task, rule, 0.0, 0.5, 1000, 1, "relu")))
    for finer in (1, 2):
        e = experiment(task, rule, 2.0, 0.8 / finer, 120 * finer, 1, "relu")
        theory = least(dl.meanfield.solve(e, 8192, kernels_at=(0,)))
        networks = [least(dl.network.train(e, 4096, seed, kernels_at=(0,))) for seed in range(4)]
        mean, SE = np.mean(networks), np.std(networks, ddof=1) / 2
        assert abs(theory - mean) < 3 * SE + 0.01 * theory
        gain = start - theory, start - mean
        assert min(gain) > max(3 * SE, 0.02) if gains else max(np.abs(gain)) < 0.01


def point_of(row):
    return Point(**{name: row[name] for name in Point.__annotations__})


def test_the_committed_result_has_every_point_of_its_grid():
    rows, about = full()
    assert [point_of(row) for row in rows] == FULL and len(set(FULL)) == len(FULL)
    assert about["chapter"] == "beyond" and not about["dirty"]
    assert about["parameters"]["width"] == [0, 128, 512]
    assert all(np.isfinite(row["last_error"]) and 0 <= row["last_accuracy"] <= 1 for row in rows)


@pytest.mark.parametrize("rule, gamma0, width, seed", [("GD", 1.0, 512, 1), ("DFA", 1.0, 512, 1), ("GD", 2.0, 0, 0)])
def test_a_row_of_the_committed_result_is_measured_again(rule, gamma0, width, seed):
    wanted = dict(task="digits", rule=rule, gamma0=gamma0, draw=0, width=width, seed=seed, finer=1)
    (row,) = (row for row in full()[0] if all(row[name] == value for name, value in wanted.items()))
    again = point_of(row).measure()
    for name in ("error", "step", "last_error"):  # rounding differs between machines, and training carries it on
        assert again[name] == pytest.approx(row[name], rel=0.02), name
