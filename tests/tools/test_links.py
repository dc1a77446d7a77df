"""The cell that installs the package where it is missing, and the links that open chapters elsewhere."""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

from tools import ROOT, chapters, links, pages

URL = "https://github.com/someone/somewhere"


@pytest.mark.parametrize("chapter", chapters.names())
def test_the_cell_comes_first_is_hidden_and_can_be_taken_out_again(chapter):
    notebook, before = (chapters.read(chapters.committed(chapter)) for _ in range(2))
    for _ in range(2):  # putting it twice puts it once
        links.put(notebook, URL)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in notebook.cells if links.TAG in cell.metadata.get("tags", [])] == code[:1]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    links.put(notebook, pages.settings()["repository_url"])
    assert notebook == before, "run `dmft links`"


@pytest.mark.parametrize("found", [True, False])
def test_the_cell_calls_pip_where_the_package_is_missing_and_does_nothing_elsewhere(monkeypatch, found):
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: calls.append((command, options)))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find(name) if found or name != "dmftlib" else None)
    exec(links.cell(URL).source, {})
    install = [sys.executable, "-m", "pip", "install", "-q", f"git+{URL}"]
    assert calls == ([] if found else [(install, {"check": True})])


def test_what_colab_installs_is_what_the_notebooks_import():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w.-]+", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    given = (
        names | {"companion", "dmftlib", "myst_nb", "sklearn"} | set(sys.stdlib_module_names)
    )  # jupyter-book brings myst-nb; scikit-learn
    for chapter in chapters.names():
        for cell in chapters.read(chapters.committed(chapter)).cells:
            if cell.cell_type == "code":
                imported = re.findall(r"^\s*(?:from|import) (\w+)", cell.source, re.MULTILINE)
                assert set(imported) <= given, (chapter, cell.id)
