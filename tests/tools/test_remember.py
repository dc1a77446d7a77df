"""Results of the engines that chapters take from earlier runs: only of the same computation, and with the same bytes."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_chapter

import dmftlib as dl
from tools import chapters, remember

EXPERIMENT = dl.Experiment(dl.Task.random(2, 3), dl.GD(), 1, "tanh", gamma0=1.0, lr=0.1, steps=2)


@pytest.fixture
def counted(tmp_path):
    """Makes a function remember; the list has the arguments of each call that was computed."""

    def make(function):
        calls = []

        def engine(*values, **named):
            calls.append((values, named))
            return function(*values, **named)

        engine.__signature__ = remember.inspect.signature(function)
        return remember.remembered(engine, tmp_path / "results"), calls

    return make


def test_a_result_is_found_again_with_the_same_bytes(counted):
    train, calls = counted(dl.network.train)
    again = replace(EXPERIMENT)
    one, two = train(EXPERIMENT, 8), train(again, width=8, seed=0)
    assert len(calls) == 1 and two.experiment is again and type(two) is type(one)
    for name in ("f", "K", "Phi", "final_h"):
        a, b = getattr(one, name), getattr(two, name)
        assert a.tobytes() == b.tobytes() and a.dtype == b.dtype and type(a) is type(b)
    train(EXPERIMENT, 8, seed=1)
    train(replace(EXPERIMENT, rule=dl.FA(0.5)), 8)
    assert len(calls) == 3


def test_a_run_that_warns_does_so_each_time(counted):
    def engine(x):
        warnings.warn("it diverges", RuntimeWarning, stacklevel=1)
        return x

    call, calls = counted(engine)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="diverges"):
            assert call(3) == 3
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-9]])
def test_a_file_that_is_not_whole_is_computed_again(counted, tmp_path, damage):
    call, calls = counted(lambda x: np.full(9, x))
    call(1.5)
    (file,) = (tmp_path / "results").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(call(1.5), np.full(9, 1.5))
    assert len(calls) == 2


DRAW = """import dmftlib as dl
from dataclasses import dataclass

@dataclass(frozen=True)
class Own(dl.Rule):
    def pseudo_gradient(self, layer):
        return {} * layer.g

runs = []
for rule in (dl.FA(0.5), Own()):
    experiment = dl.Experiment(dl.Task.random(2, 3), rule, 1, "tanh", gamma0=1.0, lr=0.1, steps=3)
    runs += [dl.network.train(experiment, 8), dl.meanfield.solve(experiment, 64)]
print([run.loss[-1].hex() for run in runs]){}
"""


def test_a_chapter_whose_figure_changed_calls_no_engine_and_prints_the_same(tree):
    """But for a rule of its own, which is known by no name that lasts."""

    def run(factor, figure="", **options):
        write_chapter(tree / "notebooks" / "small.ipynb", [("parameters", ""), ("draw", DRAW.format(factor, figure))])
        notebook = chapters.execute("small", {}, tree / "out", **options)
        return notebook.cells[-1].outputs[0].text.splitlines()[0], notebook.metadata["dmftlib"].get("remembered")

    first = run(1.0, remembers=True)
    assert first[1] is None
    (old := tree / "_build" / "results" / "old").mkdir()
    assert run(1.0, "\nprint('another colour')", remembers=True) == (first[0], 2)
    assert run(1.0) == first, "without remembering, as accept does"
    assert run(1.5, remembers=True)[0] != first[0], "the result of another rule"
    assert not old.exists(), "results of another version stay"
