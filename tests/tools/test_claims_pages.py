"""The pages about claims: the list, the panels of the paper here and at its scale; against the committed notebooks."""

import json
import re
import shutil

import nbformat
import pytest
from conftest import cells, claims_cell
from test_costs import ROW

from companion.claims import Claims
from tools import ROOT, chapters, claims_pages, contents, costs, pages, run_records
from tools.claims_pages import Book
from tools.figures import shown


@pytest.fixture(scope="module")
def book():
    notebooks = {name: chapters.read(chapters.committed(name)) for name in chapters.names()}
    known = {
        figure.id: {"named": True, "chapter": name, "caption": figure.caption}
        for name in notebooks
        for figure in shown(notebooks[name])
    }
    return Book(notebooks, known)


def filled(folder, name, book):
    """A page of the book with what the chapters say."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "book" / f"{name}.md", folder)
    pages.fill(folder, book.notebooks, book.known)
    return (folder / f"{name}.md").read_text(encoding="utf-8")


def claim(method, *values):
    claims = Claims()
    getattr(claims, method)("c", "1a", "q", *values, "N = 8, 4 seeds")
    return claims.rows[0]


def test_every_panel_of_the_paper_has_a_figure_and_claims_with_expected_values(book, tmp_path):
    paper = contents.paper()
    counts = {"1": "abcdef", "2": "abcdef", "3": "abcde", "4": "abcd", "5": "abc"}
    assert list(paper["shows"]) == [figure + panel for figure, letters in counts.items() for panel in letters]
    assert list(paper["panels"]) == list(paper["shows"]) and set(paper["printed"]) <= set(paper["shows"])
    rows = cells(filled(tmp_path, "reproduction", book))
    for panel in paper["shows"]:
        (home,) = [row for row in rows if row[0].startswith(f"{panel}: ")]
        assert home[1].count("{numref}`fig-") == len(paper["panels"][panel]) > 0
        assert home[2].startswith(paper["printed"].get(panel, "only the setting"))
        assert re.match(r"[1-9]\d* of \d", home[3]), panel
        claims = [row for row in rows if row[0] == panel]
        assert any(re.match(r"-?[\d.]+(e-?\d+)? ± \d", row[5]) for row in claims), panel
        assert all(" ± " in row[6] and re.match(r"\d.*; \d", row[7]) for row in claims), panel
        slopes = re.fullmatch(r".* \(here: (−[01]\.\d+ ± 0\.\d+(, )?)+\)", home[2])
        assert bool(slopes) == ("slope" in home[2]), panel


RISING = [[1.0, 1.2], [2.0, 2.2]]


@pytest.mark.parametrize(
    "row, shown",
    [
        (claim("agree", 1.0, (1.1, 0.1)), ("1 ± 0.2", "1.1 ± 0.1")),  # two standard errors
        (claim("agree", 100.0, (101.0, 0.1)), ("100 ± 2", "101 ± 0.1")),  # 2 % of the value
        (claim("agree", (1.0, 0.3), (1.1, 0.4)), ("1 ± 1", "1.1 ± 0.4")),  # in quadrature
        (claim("slope", (-1.02, 0.03)), ("-1 ± 0.06", "-1.02 ± 0.03")),  # no 2 % for a slope
        (claim("ordered", "first", [1.0, 2.0], [1.0, 2.0], RISING), ("1, 2 ± steps above 2 SE", "1.1, 2.1 ± 0.1")),
        (claim("ordered", "first", None, RISING, RISING), ("steps above 2 SE", "1.1, 2.1 ± 0.1")),
    ],
)
def test_the_tolerance_is_that_of_the_rule(row, shown):
    assert claims_pages.expected(row) == shown and claims_pages.where(row) == "8; 4"


def test_commands_come_with_time_and_memory_by_default_and_at_the_paper_s_scale(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    run_records.presets().parent.mkdir()
    run_records.presets().write_text("[paper.measured]\nn = 5\n[paper.new]\n")
    chapters.write_text(json.dumps({"measured": ROW}), costs.place())
    claims = Claims()
    claims.agree("First", "1a", "f", 1.0, (1.0, 0.1), "N = 64, 24 seeds")
    claims.phenomenon("Second", "1a", "K", "GD", 2.0, 2.0, (-3.0, 0.1), "N = 32…96, 72 seeds")
    kept = {"seconds": 660.0, "peak_memory_MB": 2345, "commit": "abc1234", "dirty": True, "claims": claims.rows}
    chapters.write_text(json.dumps(kept), run_records.place("measured", "paper"))
    commit = "`abc1234` with uncommitted changes"
    assert cells(claims_pages.commands()) == [
        ["`make run CHAPTER=measured`", "1 min, 0.9 GB", "96", "72", "11 min, 2.3 GB", commit],
        ["`make run CHAPTER=new`", "not measured", "—", "—", "not run yet", ""],
    ]
    assert [row["claim"] for _, row in claims_pages.failing(claims_pages.at_scale())] == ["Second"]


def test_the_list_counts_and_links_the_claims_of_every_chapter(tmp_path):
    notebooks = {}
    for name, mean in (("b", 1.0), ("a", 2.0), ("c", None)):
        heading = nbformat.v4.new_markdown_cell(f"# Chapter {name}")
        claims = Claims()
        if mean:
            claims.agree("a*b_c|d", "1a", "f < 2", 1.0, (mean, 0.1), "N = 8, 2 seeds")
            claims.phenomenon("as printed", "—", "g", "GD", 1.0, -1.0, (1.0, 0.1), "N = 8, 2 seeds")
        notebooks[name] = nbformat.v4.new_notebook(cells=[heading, claims_cell(claims)])
    rows = cells(filled(tmp_path, "claims", Book(notebooks, {})))
    a, b = (f"[Chapter {name}](../notebooks/{name}.ipynb)" for name in "ab")
    claim, step = ["a\\*b\\_c\\|d", "—", "no", "f \\< 2"], ["as printed", "depends on the step", "holds", "g"]
    scale = rows[2][-1]  # of the committed records
    assert rows[:3] == [
        [b, "2", "0", "0", "0 of 1", "—"],
        [a, "1", "0", "1", "0 of 1", "—"],
        ["all", "3", "0", "1", "0 of 2", scale],
    ]
    failing = [(row[0], row[1]) for row in rows if row[0].startswith(("[a]", "[b]"))]
    links = [f"[{name}](../notebooks/{name}.ipynb)" for name in "baa"]
    assert failing == [*zip(links, ("as printed", "a\\*b\\_c\\|d", "as printed"))]
    assert rows[-2:] == [
        ["1", *claim, "—", "1", "", "2 ± 0.1 (N = 8, 2 seeds)", "1a"],
        ["2", *step, "GD", "1", "-1", "1 ± 0.1 (N = 8, 2 seeds)", "—"],
    ]
