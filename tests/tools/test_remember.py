"""Results of the engines that chapters take from earlier runs: only of the same computation, and with the same bytes."""

import pickle
import warnings
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
from conftest import write_chapter

import dmftlib as dl
from tools import chapters, figures, remember

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
        return remember.remembered(engine, remember.Store(tmp_path / "results")), calls

    return make


def test_a_result_is_found_again_with_the_same_bytes_and_the_experiment_that_was_asked_about(counted):
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


RULE = """
@dataclass(frozen=True)
class Own(dl.Rule):
    share: float = 1.0

    def pseudo_gradient(self, layer):
        return {} * self.share * factor() * layer.g

def factor():
    return {}
"""


def own(inner, outer=1.0, share=1.0):
    """An experiment whose rule a notebook defines, in names of its own as in a new kernel."""
    names = {"__name__": "__main__", "dl": dl, "dataclass": dataclass}
    exec(RULE.format(inner, outer), names)
    return replace(EXPERIMENT, rule=names["Own"](share))


def test_a_rule_or_an_activation_of_a_notebook_is_known_by_its_code(monkeypatch):
    monkeypatch.setitem(remember.sys.modules, "__main__", ModuleType("__main__"))  # where dataclass looks for names
    key = lambda experiment: remember.key(dl.network.train, {"experiment": experiment})  # noqa: E731
    assert key(own(1.0)) == key(own(1.0))
    others = [own(1.0), own(2.0), own(1.0, 2.0), own(1.0, share=2.0)]
    bounds = [replace(EXPERIMENT, activation=dl.Activation("a", lambda h, c=c: c * h)) for c in (1.0, 2.0)]
    assert len({key(experiment) for experiment in others + bounds}) == 6


def test_what_uses_code_that_no_key_covers_is_not_remembered():
    with pytest.raises(pickle.PicklingError, match="may change while the key stays"):
        remember.key(dl.network.train, {"x": lambda: figures})


def test_a_run_that_warns_does_so_each_time_where_it_was_called(counted):
    def engine(x):
        warnings.warn("it diverges", RuntimeWarning, stacklevel=3)  # past the counting function
        return x

    call, calls = counted(engine)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="diverges") as warned:
            assert call(3) == 3
        assert warned[0].filename == __file__
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

experiment = dl.Experiment(dl.Task.random(2, 3), Own(), 1, "tanh", gamma0=1.0, lr=0.1, steps=3)
runs = [dl.network.train(experiment, 8), dl.meanfield.solve(experiment, 64)]
print([run.loss[-1].hex() for run in runs]){}
"""


def test_a_chapter_whose_figure_changed_calls_no_engine_and_prints_the_same(tree):
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
