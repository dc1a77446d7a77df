"""The list of faults for `dmft faults` fits the library as it is now; seeding them takes longer and is not done here."""

import json

import pytest
import seed_faults
from faults import FAULTS, TESTS, Fault
from seed_faults import ROOT, mutated


def test_every_fault_still_has_its_place():
    for fault in FAULTS:
        path, text = mutated(fault)  # raises if the piece does not occur exactly once
        compile(text, path, "exec")
        assert text != path.read_text()


def test_there_are_enough_faults_and_each_has_a_name_and_tests():
    names = [fault.name for fault in FAULTS]
    assert len(names) >= 60 and len(set(names)) == len(names)
    assert {fault.where for fault in FAULTS} == set(TESTS)
    for tests in TESTS.values():
        assert all((ROOT / "tests" / name).is_file() for name in tests)


def test_few_faults_are_called_equivalent():
    assert sum(bool(fault.equivalent) for fault in FAULTS) <= len(FAULTS) / 20


def seeded(monkeypatch, tmp_path, survivors, total=40):
    """The exit status of `dmft faults` with as many invented faults, of which some survive; an argument or "" for each."""
    faults = [Fault(str(k), "lazy.py", "a", "b", survivors[k] if k < len(survivors) else "") for k in range(total)]
    outcomes = {
        fault.name: "survived" if k < len(survivors) else "tests/science/test_lazy.py::a"
        for k, fault in enumerate(faults)
    }
    monkeypatch.setattr(seed_faults, "FAULTS", faults)
    monkeypatch.setattr(seed_faults, "KEPT", tmp_path / "kept" / "faults.json")
    monkeypatch.setattr(seed_faults, "rests_on", lambda fault, outcome: "all the same")
    monkeypatch.setattr(seed_faults, "outcome_of", lambda fault: outcomes[fault.name] if fault else "survived")
    return seed_faults.main([])


def test_faults_that_survive_with_a_reason_and_are_few_are_fine(monkeypatch, tmp_path, capsys):
    assert seeded(monkeypatch, tmp_path, ["only memory is lost", "a constant"]) == 0
    told = capsys.readouterr().out
    assert "38 of 40 faults caught (95.0 %)\nsurvived: 0: only memory is lost\n" in told
    assert len(json.loads(seed_faults.KEPT.read_text())) == 41


@pytest.mark.parametrize(
    "survivors, told",
    [
        (3 * ["only memory is lost"], "That is less than 95 %."),
        (["", "a constant"], "Of those that survived 1 must be found by a test, or say in `equivalent` why none can."),
    ],
)
def test_too_many_that_survive_or_one_without_a_reason_fail(monkeypatch, tmp_path, capsys, survivors, told):
    assert seeded(monkeypatch, tmp_path, survivors) == 1
    assert capsys.readouterr().out.endswith(told + "\n")


def test_tests_that_fail_without_a_fault_are_no_test_of_faults(monkeypatch, tmp_path):
    monkeypatch.setattr(seed_faults, "KEPT", tmp_path / "faults.json")
    monkeypatch.setattr(seed_faults, "FAULTS", [])
    monkeypatch.setattr(seed_faults, "rests_on", lambda fault, outcome: "all the same")
    monkeypatch.setattr(seed_faults, "outcome_of", lambda fault: "tests/science/test_lazy.py::a")
    with pytest.raises(SystemExit, match=r"the tests fail without a fault: tests/science/test_lazy\.py::a"):
        seed_faults.main([])


def test_a_fault_that_does_not_exist_is_named():
    with pytest.raises(SystemExit, match="there is no fault 'lazy K'"):
        seed_faults.main(["lazy K"])
