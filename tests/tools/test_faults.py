"""The list of faults fits the library as it is now; seeding them takes tens of minutes and is not done here."""

import json
from itertools import chain

import faults
import pytest


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_still_has_its_place(name):
    changed = []

    class Patch(pytest.MonkeyPatch):
        def setattr(self, place, key, wrong):
            changed.append(wrong is not vars(place)[key])

        def setitem(self, place, key, wrong):
            changed.append(wrong is not place[key])

    faults.seed(name, Patch())
    assert changed and all(changed)


def test_there_are_enough_faults_and_tests_that_run_first():
    assert len(faults.FAULTS) >= 60 and {name.partition(":")[0] for name in faults.FAULTS} == set(faults.FIRST)
    for name in chain(*faults.FIRST.values()):
        assert (faults.ROOT / "tests" / "science" / name).is_file(), name


@pytest.mark.parametrize("survive, status", [(0, 0), (faults.LEAST, 0), (0.9, 1)])
def test_the_score_is_what_is_caught(tmp_path, capsys, survive, status):
    """And a second call runs nothing again."""
    kept, ran, some = tmp_path / "kept.json", [], len(faults.FAULTS) * (1 - faults.LEAST) // 1
    survivors = list(faults.FAULTS)[: {0: 0, faults.LEAST: int(some), 0.9: int(some) + 1}[survive]]

    def outcome_of(name):
        ran.append(name)
        return "survived" if name in [None, *survivors] else "tests/science/test_lazy.py::a"

    for _ in range(2):
        assert faults.main([], outcome_of, kept) == status
    assert len(ran) == len(json.loads(kept.read_text())) == len(faults.FAULTS) + 1
    told = capsys.readouterr().out
    assert all(f"survived: {name}\n" in told for name in survivors)
    assert f"{len(faults.FAULTS) - len(survivors)} of {len(faults.FAULTS)} faults caught" in told


def test_tests_that_fail_without_a_fault_are_no_test_of_faults(tmp_path):
    with pytest.raises(SystemExit, match=r"the tests fail without a fault: tests/science/test_lazy\.py::a"):
        faults.main([], lambda name: "tests/science/test_lazy.py::a", tmp_path / "kept.json")
    with pytest.raises(SystemExit, match="there is no fault 'lazy K'"):
        faults.main(["lazy K"])
