"""What people bring: labels, tables and images; a step that works; predictions at new points; results in files."""

import dataclasses
import pickle

import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import scipy.sparse
import xarray
from sklearn.datasets import make_moons

import dmftlib as dl

RULES = (dl.GD(), dl.FA(0.5), dl.DFA(), dl.GLN(), dl.Hebb())


def moons(P=40, P_test=0, seed=0):
    X, labels = make_moons(P + P_test, noise=0.1, random_state=seed)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    names = np.where(labels == 1, "lower", "upper")
    return X[:P], names[:P], X[P:], names[P:]


@pytest.mark.parametrize(
    "bring", (np.asarray, list, pandas.Series, lambda x: np.reshape(x, (-1, 1)), pandas.Categorical)
)
def test_labels_of_two_classes_become_signs_and_names_come_back(bring):
    X, labels, X_test, labels_test = moons(20, 10)
    task = dl.Task.from_labels(pandas.DataFrame(X), bring(labels), X_test, bring(labels_test))
    np.testing.assert_array_equal(task.y, np.where(labels == "upper", 1, -1))
    np.testing.assert_array_equal(task.decode(0.1 * task.y_test), labels_test)
    assert task.classes == ("lower", "upper")


def test_labels_of_more_classes_become_one_output_each():
    task = dl.Task.from_labels(np.eye(9), pandas.Series([3, 5, 8] * 3, dtype="Int64"))
    np.testing.assert_allclose(task.y[:3], np.eye(3) - 1 / 3)
    np.testing.assert_array_equal(task.decode(task.y), [3, 5, 8] * 3)


def test_images_and_boolean_columns_are_numbers():
    images = np.random.default_rng(0).standard_normal((5, 2, 3))
    np.testing.assert_array_equal(dl.Task(images, np.ones(5)).X, images.reshape(5, 6))
    table = pandas.DataFrame(dict(a=[True, False], b=pandas.array([1, 2], dtype="Int32")))
    np.testing.assert_array_equal(dl.Task(table, [1, 2]).X, [[1, 1], [0, 2]])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    (
        ((scipy.sparse.eye(3), [1, 2, 3]), TypeError, "sparse. Pass X.toarray"),
        ((np.eye(2) * 1j, [1, 2]), TypeError, "complex"),
        (
            (pandas.DataFrame(dict(a=pandas.array([1, None], dtype="Int64"))), [1, 2]),
            ValueError,
            "1 entries that are NaN",
        ),
        ((np.eye(2), ["a", "b"]), TypeError, "from_labels"),
    ),
)
def test_data_that_are_not_numbers_are_refused_by_name(arguments, error, match):
    with pytest.raises(error, match=match):
        dl.Task(*arguments)


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    (
        (["a"] * 4, ValueError, "at least two classes"),
        ([0.1, 0.2, 0.3, 0.4], ValueError, "no classes go into Task"),
        (["a", None, "b", "a"], TypeError, "missing"),
        ([1.0, np.nan, 2.0, 1.0], TypeError, "missing"),
        (["a", float("nan"), "b", "a"], TypeError, "missing; got NaN, str"),
        (np.ma.array([0, 1, 0, 1], mask=[1, 0, 0, 0]), ValueError, "`labels` has masked entries"),
        (scipy.sparse.csr_array(np.eye(4)), TypeError, "sparse. Pass labels.toarray"),
        (np.eye(4), ValueError, r"one label a row; .* go into Task\(X, y\); of one-hot rows pass their argmax"),
    ),
)
def test_labels_that_are_none_are_refused(labels, error, match):
    with pytest.raises(error, match=match):
        dl.Task.from_labels(np.eye(4), labels)
    with pytest.raises(ValueError, match=r"labels_test.* 'c', which is no label of the training samples: \['a', 'b'\]"):
        dl.Task.from_labels(np.eye(4), list("abab"), np.eye(4)[:1], ["c"])


def test_inputs_far_from_scale_one_are_told_once():
    with pytest.warns(UserWarning, match="mean square of 6.5e") as told:
        dl.Task(np.full((3, 2), 255.0), np.ones(3))
    assert told[0].filename == __file__ and len(told) == 1 and "standardize" in str(told[0].message)


def test_test_inputs_and_targets_of_another_scale_are_told():
    with pytest.warns(
        UserWarning, match="`X_test` has a mean square of 1e.04, `X` one of 1. Pass both in the same units"
    ):
        dl.Task(np.ones((3, 2)), np.ones(3), np.full((1, 2), 100.0))
    images = np.random.default_rng(0).integers(50, 255, (8, 4, 4)).astype(np.uint8)
    for train, test, match in (
        (images, images[:2] / 255, "of 0.* at most, samples"),
        (images / 255, images[:2], "scaled as"),
    ):
        task = dl.Task(train, np.arange(8), scale="pixels")
        assert task.with_test(train[:2]).X_test.shape == (2, 16)
        run = dl.network.train(dl.Experiment(task, dl.GD(), 1, "tanh", 1.0, 0.01, 3), 8)
        with pytest.warns(UserWarning, match=match) as told:
            dl.predict(run, test)
        assert told[0].filename == __file__ and len(told) == 1
    with pytest.warns(UserWarning, match="`y` has a mean square of 2.25e.*scale_y=True"):
        dl.Task(np.eye(2), [150.0, 150.0])


@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("scale", ("standardize", "pixels", "unit_norm", None))
def test_a_task_that_scales_takes_everything_as_it_comes(scale, bias, tmp_path):
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(2, [1, 2, 3], (12, 3)), np.full(12, 2.0)])
    X_test, y, y_test = X[:3] + 1, rng.normal([3, -200], [1, 50], (12, 2)), rng.normal([3, -200], [1, 50], (3, 2))
    task = dl.Task(X, y, X_test, y_test, scale=scale, bias=bias, scale_y=True)
    inputs = task.X[:, :4]
    assert task.D == 4 + bias and (not bias or ((task.X[:, 4] == 1).all() and (task.X_test[:, 4] == 1).all()))
    if scale == "standardize":
        np.testing.assert_allclose(inputs, np.c_[(X - X.mean(0))[:, :3] / X.std(0)[:3], np.zeros(12)], atol=1e-14)
        assert (task.X_test[:, 3] == 0).all()  # an input that is constant in training is left out
    elif scale == "pixels":
        np.testing.assert_allclose(inputs[:, :3], (X - X.mean(0))[:, :3] / (X - X.mean(0)).std(), atol=1e-14)
    else:
        factor = np.sqrt(4) / np.linalg.norm(X, axis=1, keepdims=True) if scale else 1
        np.testing.assert_allclose(inputs, factor * X, atol=1e-14)
    np.testing.assert_allclose(task.y, (y - y.mean(0)) / y.std(0))
    np.testing.assert_allclose(
        task.decode(np.stack([task.y_test, 0 * task.y_test])), [y_test, np.tile(y.mean(0), (3, 1))]
    )
    e = dl.Experiment(task, dl.GD(), 1, "tanh", 1.0, 0.01, 4)
    run, lazy = dl.network.train(e, 16), dl.lazy.predict(e)
    for result in (run, lazy):
        read = dl.load(dl.save(result, tmp_path / "run"))
        new = dl.predict(read, X_test, y_test)
        np.testing.assert_allclose(new.f_test, result.f_test, atol=1e-14)
        np.testing.assert_allclose(new.experiment.task.y_test, task.y_test)
        data = result.to_xarray()
        assert all("scaled targets" in data[name].units for name in ("f", "f_test", "y", "y_test"))
        np.testing.assert_allclose(data.y_shift + data.y_divide * data.y_test, y_test)
        with pytest.raises(ValueError, match="D = 4, inputs before they are scaled"):
            dl.predict(read, task.X[:, :3])


def test_rows_of_a_table_keep_their_names_and_tables_that_do_not_fit_together_are_refused(tmp_path):
    X = pandas.DataFrame(np.random.default_rng(0).standard_normal((4, 2)), columns=["a", "b"], index=list("wxyz"))
    y = pandas.Series([1.0, -1.0, 1.0, 2.0], index=X.index)
    task = dl.Task(X, y, X[:1], y[:1], scale="standardize")
    assert task.columns == ("a", "b")
    run = dl.network.train(dl.Experiment(task, dl.GD(), 1, "tanh", 1.0, 0.1, 2), 8)
    data = dl.load(dl.save(dl.predict(run, X[2:]), tmp_path / "run")).to_xarray()
    assert data.sample_test.values.tolist() == ["y", "z"] and data.f_test.dims == ("step", "sample_test")
    assert data.K.sel(step=1, sample="x", sample_2="z") == run.K[1, 1, 3]
    for call in (lambda: dl.Task(X, y, X[["b", "a"]]), lambda: dl.predict(run, X[["b", "a"]])):
        with pytest.raises(ValueError, match=r"the columns of `X`, \['a', 'b'\], in this order; got \['b', 'a'\]"):
            call()
    Y = pandas.DataFrame(dict(load=y, price=2 * y))
    several = dl.network.train(dl.Experiment(dl.Task(X, Y), dl.GD(), 1, "tanh", 1.0, 0.1, 2), 8)
    assert (
        several.to_xarray().K.sel(step=1, sample="x", output="price", sample_2="w", output_2="load")
        == several.K[1, 3, 0]
    )
    with pytest.raises(ValueError, match="`y_test` must have the columns of `y`"):
        dl.predict(several, X, Y[["price", "load"]])
    with pytest.raises(ValueError, match="`y` has the rows of the inputs in another order"):
        dl.Task(X, y[::-1])
    with pytest.raises(ValueError, match="`labels` has the rows of the inputs in another order"):
        dl.Task.from_labels(X, (y > 0)[::-1])
    with pytest.raises(TypeError, match=r"at row 0, column 'c'.*get_dummies"):
        dl.Task(X.assign(c="text"), y)
    with pytest.raises(ValueError, match="`labels` must be one label a row, 4; got 2"):
        dl.Task.from_labels(X, ["a", "b"])
    for bad, match in (((np.ones((3, 2)), [1, 2, 3]), "`X` is the same"), ((np.eye(2), [1, 1]), "`y` is the same")):
        with pytest.raises(ValueError, match=match):
            dl.Task(*bad, scale="standardize", scale_y=True)
    with pytest.raises(ValueError, match=r"K = 0.*Are all inputs 0"):
        dl.network.stable_lr(dl.Experiment(dl.Task(np.zeros((2, 2)), [1, 2]), dl.GD(), 1, "tanh", 1.0, 0.1, 2), 8)


def test_images_are_scaled_by_name_and_an_unknown_scale_is_refused():
    images = np.random.default_rng(0).integers(0, 255, (6, 4, 5, 3), dtype=np.uint8)
    task = dl.Task.from_labels(images, list("aabbab"), images[:1], ["a"], scale="pixels", bias=True)
    assert task.X.shape == (6, 61) and (task.X[:, :60] ** 2).mean() == pytest.approx(1)
    np.testing.assert_array_equal(task.X[0], task.X_test[0])
    assert "D 61 (4 × 5 × 3 a sample, flattened)" in repr(task)
    for bad, got in ((np.moveaxis(images, 3, 1), r"\(6, 3, 4, 5\)"), (images[0], r"\(4, 5, 3\)")):
        with pytest.raises(ValueError, match=rf"D = 4 × 5 × 3 = 60.*; got {got}. A single sample x is x\[None\]"):
            task.with_test(bad)
    with pytest.raises(ValueError, match=r"got shape \(60,\). A single sample x is x\[None\], of a table table.iloc"):
        task.with_test(images[0].ravel())
    with pytest.raises(
        ValueError, match="`scale` must be one of 'standardize', 'pixels', 'unit_norm', or None; got 'z'"
    ):
        dl.Task.from_labels(images, list("aabbab"), scale="z")


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_step_that_was_tried_on_one_network_serves_another_and_the_theory(rule):
    X, labels, *_ = moons()
    e = dl.Experiment(dl.Task.from_labels(X, labels), rule, 2, "tanh", 1.0, 1.0, 40)
    e = dl.Experiment(e.task, rule, 2, "tanh", 1.0, dl.network.stable_lr(e), 40)
    for run in (dl.network.train(e, 300, 7), dl.meanfield.solve(e, 1024, tol=1e-2)):  # warnings are errors
        assert run.loss[-1] < 0.9 * run.loss[0]


@pytest.fixture(scope="module")
def runs():
    X, labels, X_test, labels_test = moons(8, 3)
    e = dl.Experiment(dl.Task.from_labels(X, labels, X_test, labels_test), dl.FA(0.5), 2, "tanh", 1.0, 0.02, 6)
    solutions = [dl.meanfield.solve(e, 512, seed, kernels_at=(0, 5)) for seed in (0, 1)]
    return dict(
        lazy=dl.lazy.predict(e),
        meanfield=solutions[0],
        average=dl.meanfield.average(solutions),
        network=dl.network.train(e, 64, 3),
        ensemble=dl.network.ensemble(e, 32, range(3), "float32"),
    )


EVERY = ("lazy", "meanfield", "average", "network", "ensemble")


@pytest.mark.parametrize("name", EVERY)
def test_a_result_is_read_back_bit_for_bit_and_predicts_at_new_points(runs, name, tmp_path):
    run = runs[name]
    path = dl.save(run, tmp_path / "run")
    for read in (dl.load(path), pickle.loads(pickle.dumps(run))):
        assert type(read) is type(run) and read.experiment.rule == run.experiment.rule and repr(read) == repr(run)
        np.testing.assert_equal(
            {k: v for k, v in vars(read).items() if k != "experiment"},
            {k: v for k, v in vars(run).items() if k not in ("experiment", "history")}
            | ({"history": None} if "history" in vars(run) else {}),
        )
        assert read.experiment.task.classes == ("lower", "upper")
    task = run.experiment.task
    new = dl.predict(dl.load(path), np.concatenate([task.X_test, task.X]))
    np.testing.assert_allclose(new.f, run.f, atol=1e-12)
    rounding = 1e-7 if name == "ensemble" else 1e-12
    np.testing.assert_allclose(new.f_test[:, :3], run.f_test, atol=rounding)  # they were there from the start
    # The training points among the new ones are predicted as they were trained; sampled theory adds what tol leaves out.
    np.testing.assert_allclose(new.f_test[:, 3:], run.f, atol=2e-3 if name in ("meanfield", "average") else rounding)
    assert np.abs(new.f_test[-1]).max() > 0.1


def test_test_targets_of_a_task_with_classes_are_labels(runs):
    *_, X_test, labels_test = moons(8, 3)
    new = dl.predict(runs["lazy"], X_test, pandas.Series(labels_test))
    np.testing.assert_array_equal(new.experiment.task.y_test, runs["lazy"].experiment.task.y_test)
    with pytest.raises(ValueError, match=r"`y_test` has 'high', which is no label"):
        dl.predict(runs["lazy"], X_test, ["high", "lower", "upper"])


def test_zero_and_tiny_targets_do_not_diverge_by_what_a_mean_field_leaves_out():
    task = dl.Task.random(12, 20)
    for size in (0.0, 1e-4):
        e = dl.Experiment(dl.Task(task.X, size * task.y), dl.GD(), 2, "tanh", 1.0, 0.02, 20)
        np.testing.assert_allclose(dl.meanfield.solve(e, 1024, tol=1e-2).f, dl.lazy.predict(e).f, atol=1e-7)


def test_new_outputs_come_with_their_error(runs):
    X_test = moons(8, 40)[2]
    average, ensemble = (dl.predict(runs[name], X_test) for name in ("average", "ensemble"))
    assert 0 < average.relative_error("f_test") < 0.1 and average.provenance.parts[1].seed == 1
    assert average.provenance.errors["tol"]["f_test"] < 0.1
    np.testing.assert_allclose(
        average.f_test,
        np.mean(
            [dl.meanfield.solve(average.experiment, 512, seed, kernels_at=(0, 5)).f_test for seed in (0, 1)], axis=0
        ),
    )
    assert ensemble.standard_error["f_test"].shape == ensemble.f_test.shape and ensemble.dtype == "float32"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("classes", (2, 3))
def test_a_dataset_has_names_and_comes_back_from_a_file(runs, name, classes, tmp_path):
    run = runs[name]
    if classes == 3:
        task = dl.Task.from_labels(np.eye(6), list("abcabc"), np.eye(6)[:2], list("ab"))
        e = dl.Experiment(task, dl.GD(), 2, "tanh", 1.0, 0.02, 3)
        run = {
            "lazy": lambda: dl.lazy.predict(e),
            "meanfield": lambda: dl.meanfield.solve(e, 512),
            "average": lambda: dl.meanfield.average([dl.meanfield.solve(e, 512, seed) for seed in (0, 1)]),
            "network": lambda: dl.network.train(e, 16, kernels_at=(0, 2)),
            "ensemble": lambda: dl.network.ensemble(e, 16, range(3)),
        }[name]()
    data, task = run.to_xarray(), run.experiment.task
    data.to_netcdf(tmp_path / "run.nc", engine="scipy")
    read = xarray.load_dataset(tmp_path / "run.nc", engine="scipy")
    xarray.testing.assert_equal(data, read)
    assert {key: str(value) for key, value in data.attrs.items() if key != "seeds"} == {
        key: str(value) for key, value in read.attrs.items() if key != "seeds"
    }
    np.testing.assert_array_equal(data.label_test, task.decode(task.y_test))
    np.testing.assert_array_equal(data.f_test.isel(sample_test=1, step=-1), run.f_test[-1, 1])
    np.testing.assert_allclose(
        data.loss, ((data.y - data.f) ** 2).sum(["output"] if classes == 3 else []).mean("sample")
    )
    P, at = task.P, {"output": "b", "output_2": "c"} if classes == 3 else {}
    if name == "lazy":
        np.testing.assert_array_equal(data.K_test, run.K[P:])
    else:
        step = "step" if len(run.K) == len(run.f) else "kernel_step"
        np.testing.assert_array_equal(data[step], run.kernels_at)
        place = (1 * classes + 1, 4 * classes + 2) if classes == 3 else (1, 4)
        for kernel, layer in (("K", ()), ("G_tilde", (1,))):
            found = data[kernel].sel(
                {step: run.kernels_at[-1], "sample": 1, "sample_2": 4, **at} | ({"layer": 2} if layer else {})
            )
            assert found == getattr(run, kernel)[(-1, *layer, *place)], kernel
    if name == "ensemble":
        np.testing.assert_array_equal(data.K_se.values.ravel(), run.standard_error["K"].ravel())
    if name == "network":
        again = dl.network.train(run.experiment, run.provenance.size, 9, kernels_at=run.kernels_at)
        joined = xarray.concat([data, again.to_xarray()], "seed")
        assert joined.seed.values.tolist() == [run.provenance.seed, 9] and joined.f.dims[0] == "seed"


def test_what_is_printed_says_what_it_is_in_two_lines(runs):
    for name, words in dict(
        lazy="Prediction: lazy limit", meanfield="Solution: meanfield, samples 512, seed 0", average="samples 1024, seeds [0, 1]",
        network="Dynamics: network, width 64, seed 3", ensemble="Ensemble: networks, width 32, seeds [0, 1, 2], dtype float32",
    ).items():  # fmt: skip
        said = repr(runs[name])
        assert (
            words in said and "FA(rho=0.5), 2 hidden layers, tanh" in said and len(said) < 320 and said.count("\n") == 1
        )
        assert ("error of K" in said) == (name not in ("lazy", "network"))
    assert repr(runs["lazy"].experiment.task) == "<Task: P 8, D 2, P_test 3, classes 'lower', 'upper'>"
    assert "5 outputs" in repr(dl.Task(np.eye(3), np.ones((3, 5)))) and "array" not in repr(runs["lazy"].experiment)
    assert "K (8, 8)" in repr(dl.lazy.kernels(runs["lazy"].experiment))


def test_what_is_no_saved_result_is_refused(runs, tmp_path):
    path = dl.save(runs["network"], tmp_path / "run.npz")
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(
        tmp_path / "later.npz",
        **(arrays | {"about": np.array(str(arrays["about"]).replace('"format": 4', '"format": 5'))}),
    )
    with pytest.raises(ValueError, match="format 5, this version reads 4"):
        dl.load(tmp_path / "later.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    with pytest.raises(ValueError, match="a file that dmftlib wrote"):
        dl.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="must be the FA"):
        dl.load(path, rule=dl.GD())
    with pytest.raises(TypeError, match="must be one of Dynamics"):
        dl.save(runs["network"].f, path)
    wide = dl.network.extrapolate([runs["ensemble"], dl.network.ensemble(runs["ensemble"].experiment, 64, range(2))])
    with pytest.raises(ValueError, match="of finite size"):
        dl.predict(wide, np.ones((1, 2)))
    assert np.array_equal(dl.load(path.with_suffix("")).f, runs["network"].f)  # the name that save was given
    e = dataclasses.replace(runs["network"].experiment, rule=dl.GD(), task=dl.Task(np.eye(12, 3), np.ones(12)))
    with pytest.raises(ValueError, match="samples for its training points alone, 256; new points need a few more"):
        dl.predict(dl.meanfield.solve(e, 256), np.eye(20, 3))


def test_a_rule_or_activation_of_ones_own_is_not_taken_for_the_library_s_of_that_name(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class GD(dl.Rule):
        def pseudo_gradient(self, layer):
            return 2 * layer.g

    tanh = dl.Activation("tanh", lambda h: 2 * jnp.tanh(h))
    X, labels, *_ = moons(6)
    e = dl.Experiment(dl.Task.from_labels(X, labels), GD(), 1, tanh, 1.0, 0.02, 3)
    path = dl.save(dl.network.train(e, 8), tmp_path / "gamma 0.5")
    assert path.name == "gamma 0.5.npz" and list(tmp_path.iterdir()) == [path]
    (other := tmp_path / "other").touch()
    assert path.stat().st_mode == other.stat().st_mode  # who may read a new file may read it
    with pytest.raises(FileNotFoundError, match=r"`path` is in a folder that does not exist, .*nowhere\. Make"):
        dl.save(dl.lazy.predict(e), tmp_path / "nowhere" / "run")
    with pytest.raises(ValueError, match="the rule GD, which is not the library's"):
        dl.load(path)
    with pytest.raises(ValueError, match="the activation 'tanh', one of your own"):
        dl.load(path, rule=GD())
    assert dl.load(path, rule=GD(), activation=tanh).experiment.phi is tanh
