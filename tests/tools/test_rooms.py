"""The code has three rooms, and arrows run one way: tools → companion → dmftlib."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tools import ROOT

ROOMS = ("dmftlib", "companion", "tools")
FILES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
}


def imports(module):
    """(module, name) of everything that a module of ours imports from one of ours, wherever in the file."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parts, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in FILES or source in FILES:
                    yield (whole, "") if whole in FILES else (source, alias.name)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_public_names_of_its_own_room_or_of_one_below(module):
    for source, name in imports(module):
        assert ROOMS.index(source.partition(".")[0]) <= ROOMS.index(module.partition(".")[0]), source
        assert not name.startswith("_"), f"{source}.{name}"


def test_no_modules_import_each_other():
    packages = {module for module, path in FILES.items() if path.name == "__init__.py"}
    sorter = TopologicalSorter({m: {source for source, _ in imports(m)} - packages for m in FILES})
    sorter.prepare()  # raises CycleError, which names the circle


def test_the_library_loads_neither_plots_nor_books():
    code = "import sys, dmftlib; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [
        name for name in ("matplotlib", "seaborn", "IPython", "pandas", "companion", "tools") if repr(name) in loaded
    ]
