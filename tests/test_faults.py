"""The list of faults for `make faults` fits the library as it is now; seeding them takes longer and is not done here."""

from faults import FAULTS, TESTS
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
