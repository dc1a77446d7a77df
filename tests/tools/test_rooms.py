"""The code has three rooms, and arrows run one way: tools → companion → dmftlib."""

import re
import subprocess
import sys

import pytest

from tools import ROOT

ROOMS = ("dmftlib", "companion", "tools")
FILES = {path.relative_to(ROOT).as_posix(): path for room in ROOMS for path in (ROOT / room).rglob("*.py")}
IMPORT = re.compile(r"^ *(?:from ([\w.]+) )?import (\([^)]*\)|.*)", re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_a_module_imports_public_names_of_its_own_room_or_of_one_below(file):
    level = ROOMS.index(file.partition("/")[0])
    for source, names in IMPORT.findall(FILES[file].read_text(encoding="utf-8")):
        room = (source or names).partition(".")[0]
        assert room not in ROOMS or ROOMS.index(room) <= level, source or names
        if room in ("", *ROOMS):  # one of ours; relative imports begin with a dot
            assert not re.search(r"(?<!\w)_\w", names), f"{source} {names}"


def test_the_library_loads_neither_plots_nor_books():
    code = "import sys, dmftlib; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    forbidden = ("matplotlib", "seaborn", "IPython", "pandas", "companion", "tools")
    assert not [name for name in forbidden if repr(name) in loaded]
