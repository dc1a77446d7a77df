"""The list of faults fits the library as it is now; seeding them takes tens of minutes and is not done here."""

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
