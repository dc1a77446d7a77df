"""The code has three rooms, and imports go one way: tools → companion → dmftlib."""

import subprocess
import sys

import pytest

BOOKS = ("matplotlib", "seaborn", "IPython", "pandas", "companion", "tools")


@pytest.mark.parametrize(
    "names, unwanted",
    [("dmftlib", BOOKS), ("companion.beyond, companion.claims, companion.questions, companion.sliders", ("tools",))],
)
def test_a_room_loads_nothing_of_those_above_it(names, unwanted):
    code = f"import sys, {names}; print({{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in unwanted if repr(name) in loaded]
