"""The pages about claims: the list, the panels of the paper, runs at the paper's scale; against the committed notebooks."""

import json
import re
import shutil

import nbformat
import pytest
from conftest import cells, claims_cell, write_chapter
from test_costs import ROW

from companion.claims import Claims
from tools import ROOT, chapters, claims_pages, contents, costs, pages, run_records
from tools.claims_pages import Book
from tools.contents import Index

MACHINE = {"machine": {"processors": 7, "architecture": "m68k", "system": "AmigaOS"}}


@pytest.fixture(scope="module")
def book():
    return Book({name: chapters.read(chapters.committed(name)) for name in chapters.names()})


def filled(folder, name, notebooks, known=()):
    """A page of the book with what the chapters say, its tables by the heading that they stand beneath."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "book" / f"{name}.md", folder)
    pages.fill(folder, notebooks, Index(dict(known)))
    return (folder / f"{name}.md").read_text(encoding="utf-8")


def claim(method, *values):
    claims = Claims()
    getattr(claims, method)("c", "1a", "q", *values, "N = 8, 4 seeds")
    return claims.rows[0]


def test_every_panel_of_the_paper_has_claims_with_expected_values(book, tmp_path):
    assert list(contents.paper()["panels"]) == list(contents.paper()["shows"])
    claims = [row for rows in book.claims.values() for row in rows]
    named = {panel for row in claims for panel in claims_pages.panels(row["paper figure"])}
    assert {panel for panel in named if len(panel) > 1} == set(contents.paper()["shows"])
    page = filled(tmp_path, "reproduction", book.notebooks)
    for panel in contents.paper()["shows"]:
        rows = cells(re.search(rf"^### {panel}: .*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)[0])
        assert any(re.match(r"-?[\d.]+(e-?\d+)? ± \d", row[4]) for row in rows), panel
        assert all(" ± " in row[5] and re.match(r"\d.*; \d", row[6]) for row in rows), panel


@pytest.mark.parametrize(
    "label, panels",
    [("1c, 1f", ["1c", "1f"]), ("2d–f, 3", ["2d", "2e", "2f", "3"]), ("(7), 5a", ["5a"]), ("Table 2", []), ("6a", [])],
)
def test_a_label_names_panels(label, panels):
    assert claims_pages.panels(label) == panels


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


def test_commands_come_with_seed_time_memory_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    for name in ("measured", "new"):
        write_chapter(
            tmp_path / "notebooks" / f"{name}.ipynb", [("parameters", "seed: int = 7  # of all draws [0, 10]")]
        )
    run_records.presets().write_text("[paper.measured]\nseed = 8\n[paper.new]\n")
    chapters.write_text(json.dumps({"measured": ROW}), costs.place())
    kept = {"seconds": 660.0, "peak_memory_MB": 2345, "parameters": {"seed": 8}}
    chapters.write_text(json.dumps(kept | MACHINE), run_records.place("measured", "paper"))
    assert cells(claims_pages.commands(["measured", "new"])) == [
        ["`make run CHAPTER=measured`", "7", "1 min", "0.9 GB", "one core of Motorola 68000, m68k, AmigaOS"],
        ["`make run CHAPTER=measured PRESET=paper`", "8", "11 min", "2.3 GB", "7 CPUs, m68k, AmigaOS"],
        ["`make run CHAPTER=new`", "7", "not measured", "", ""],
    ]


def test_the_list_counts_and_links_the_claims_of_every_chapter(tmp_path):
    notebooks = {}
    for name, mean in (("b", 1.0), ("a", 2.0), ("c", None)):
        heading = nbformat.v4.new_markdown_cell(f"# Chapter {name}")
        claims = Claims()
        if mean:
            claims.agree("a*b_c|d", "1a", "f < 2", 1.0, (mean, 0.1), "N = 8, 2 seeds")
            claims.phenomenon("as printed", "—", "g", "GD", 1.0, -1.0, (1.0, 0.1), "N = 8, 2 seeds")
        notebooks[name] = nbformat.v4.new_notebook(cells=[heading, claims_cell(claims)])
    page = filled(tmp_path, "claims", notebooks, {"fig-rules-curves": {"named": True}})
    a, b = (f"[Chapter {name}](../notebooks/{name}.ipynb)" for name in "ab")
    claim, step = ["a\\*b\\_c\\|d", "—", "no", "f \\< 2"], ["as printed", "depends on the step", "holds", "g"]
    rows = cells(page)
    assert rows[:3] == [
        [b, "2", "0", "0", "0", "0", "0", "1", "0", "0"],
        [a, "1", "0", "1", "0", "0", "0", "1", "0", "0"],
        ["all", "3", "0", "1", "0", "0", "0", "2", "0", "0"],
    ]
    assert rows[3:6] == [[b, *step], [a, *claim], [a, *step]], "those that fail"
    shown = ["—", "1", "", "2 ± 0.1 (N = 8, 2 seeds)", "1a", "{numref}`fig-rules-curves`"]
    assert rows[8] == ["1", *claim, *shown]


def test_a_claim_leads_to_the_figures_that_show_its_panels():
    book = Book({}, {"1a": ["A"], "2d": ["B"], "2e": ["C"], "2f": ["D"], "3a": ["E", "F"]})
    assert book.drawn("1a, 2e") == "A, C" and book.drawn("2d–f") == "B … D"
    assert book.drawn("3") == "E, F" and book.drawn("Table 2") == book.drawn("5") == ""


def test_the_tables_of_the_paper_s_scale_are_computed_from_the_records(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "book" / "figures.toml", tmp_path / "book")
    chapters.write_text("[paper.small]\nn = 5\n", run_records.presets())
    assert "`make run CHAPTER=small PRESET=paper` | not run yet" in filled(tmp_path / "page", "paper_scale", {})
    claims = Claims()
    claims.agree("First", "1a", "f", 1.0, (1.0, 0.1), "N = 64, 24 seeds")
    claims.phenomenon("Second", "1a", "K", "GD", 2.0, 2.0, (-3.0, 0.1), "N = 32…96, 72 seeds")
    record = {
        "seconds": 123.4,
        "peak_memory_MB": 2345,
        "commit": "abc1234",
        "dirty": True,
        "claims": claims.rows,
    } | MACHINE
    chapters.write_text(json.dumps(record), run_records.place("small", "paper"))
    command, link = "`make run CHAPTER=small PRESET=paper`", "[small](../notebooks/small.ipynb)"
    assert cells(filled(tmp_path / "page", "paper_scale", {})) == [
        [command, "96", "72", "123 s", "2.3 GB", "7 CPUs, m68k, AmigaOS", "`abc1234` with uncommitted changes"],
        [link, "1", "0", "1", "0 of 1"],
        [link, "Second", "K", "2", "-3 ± 0.1 (N = 32…96, 72 seeds)", "no", "no"],
    ]
