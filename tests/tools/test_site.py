"""What pages promise: exercises with solutions, and a map of equations that names what exists."""

import re
from pydoc import locate

import pytest

from tools import ROOT, chapters

CODE = re.compile(r"`((?:companion|dmftlib)(?:\.\w+)+)`")


def sources():
    """What every page and chapter is written as, by name."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("book/*.md")}
    for name in chapters.names():
        cells = chapters.read(chapters.committed(name)).cells
        found[f"chapter {name}"] = "\n\n".join(cell.source for cell in cells)
    return found


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name) for name, text in sources().items() if "{exercise}" in text]
)
def test_exercises_have_solutions_but_for_the_last_which_checks_itself(text):
    posed, solved = (re.findall(rf"\n{mark} (ex-\S+)\n", text) for mark in (":label:", "```{solution(?:-start)?}"))
    assert posed[:-1] == solved and 3 <= len(posed) <= 5
    assert re.search(r"<< exercise\(.\w+.\) >>|self_check\(", text.split(posed[-1])[1])


def test_the_equation_map_names_labels_and_functions_that_exist():
    text, every = sources()["equations"], "\n\n".join(sources().values())
    labels = re.findall(r"^\s*\$\$ \((eq-[\w-]+)\)", every, re.MULTILINE)
    assert set(re.findall(r"{eq}`([\w-]+)`", text)) <= set(labels) and len(labels) == len(set(labels))
    assert [name for name in CODE.findall(text) if locate(name) is None] == []
    for row in (*(f"Eq. {number}" for number in range(1, 9)), "Table 1", "Table 2"):
        assert re.search(rf"^\| {re.escape(row)} \|.*{{eq}}.*dmftlib", text, re.MULTILINE), row
