"""The page that says how to get every panel of the paper, against the committed notebooks."""

import json
import re

import numpy as np
import pytest
from conftest import write_chapter
from test_costs import ROW

from companion.claims import RULE, Claims
from tools import chapters, costs, pages, records, reproduction

# The panels of figures 1 to 5, by their letters.
LETTERS = {"1": "abcdef", "2": "abcdef", "3": "abcde", "4": "abcd", "5": "abc"}


@pytest.fixture(scope="module")
def block():
    return reproduction.block(pages.table)


def section(block, panel):
    return re.search(rf"^### {panel}: .*?(?=^##|\Z)", block, re.MULTILINE | re.DOTALL)[0]


def test_every_panel_of_the_paper_has_claims_with_expected_values(block):
    assert list(reproduction.PANELS) == [figure + letter for figure, letters in LETTERS.items() for letter in letters]
    for panel in reproduction.PANELS:
        rows = [line.split(" | ") for line in section(block, panel).splitlines() if line.startswith("| ")][2:]
        assert rows, f"no claim says {panel}"
        assert any(re.match(r"-?[\d.]+(e-?\d+)? ± \d", row[4]) for row in rows), panel
        assert all(" ± " in row[5] and re.match(r"\d.*; \d", row[6]) for row in rows), panel
    assert RULE in block


def test_every_claim_about_a_figure_is_on_the_page_unless_it_tests_a_printed_formula(block):
    for chapter in chapters.names():
        for claim in records.claims(chapters.read(chapters.committed(chapter))):
            line = " | ".join(str(cell).replace("|", "\\|") for cell in reproduction.row(chapter, claim))
            named = bool(reproduction.panels(claim["paper figure"])) and "printed" not in claim["claim"]
            assert (line in block) == named, claim


def test_every_claim_names_panels_and_no_whole_figure():
    for chapter in chapters.names():
        for claim in records.claims(chapters.read(chapters.committed(chapter))):
            assert set(reproduction.panels(claim["paper figure"])) <= set(reproduction.PANELS), claim


@pytest.mark.parametrize(
    "label, panels",
    [
        ("1a", ["1a"]),
        ("1c, 1f", ["1c", "1f"]),
        ("2d–f, 3", ["2d", "2e", "2f", "3"]),
        ("(7), 5a", ["5a"]),
        ("4", ["4"]),
        ("Table 2", []),
        ("—", []),
        ("text", []),
        ("6a", []),
    ],
)
def test_a_label_names_panels(label, panels):
    assert reproduction.panels(label) == panels


def claim(method, *values):
    claims = Claims()
    getattr(claims, method)("c", "1a", "q", *values, "N = 8, 4 seeds")
    return claims.rows[0]


@pytest.mark.parametrize(
    "row, shown",
    [
        (claim("agree", 1.0, (1.1, 0.1)), ("1 ± 0.2", "1.1 ± 0.1")),  # two standard errors
        (claim("agree", 100.0, (101.0, 0.1)), ("100 ± 2", "101 ± 0.1")),  # 2 % of the value
        (claim("agree", (1.0, 0.3), (1.1, 0.4)), ("1 ± 1", "1.1 ± 0.4")),  # in quadrature
        (claim("slope", (-1.02, 0.03)), ("-1 ± 0.06", "-1.02 ± 0.03")),  # no 2 % for a slope
        (claim("agree", 0.605, (0.582, 0.0116)), ("0.605 ± 0.0232", "0.582 ± 0.01")),
        (claim("agree", 1.0, (1.20004, 0.1)), ("1 ± 0.2", "1.20004 ± 0.1")),  # as many digits as it takes
        (
            claim("ordered", "first", [1.0, 2.0], [1.0, 2.0], [[1.0, 1.2], [2.0, 2.2]]),
            ("1, 2 ± steps above 2 SE", "1.1, 2.1 ± 0.1"),
        ),
        (
            claim("ordered", "first", None, [[1.0, 1.2], [2.0, 2.2]], [[1.0, 1.2], [2.0, 2.2]]),
            ("steps above 2 SE", "1.1, 2.1 ± 0.1"),
        ),
    ],
)
def test_the_tolerance_is_that_of_the_rule(row, shown):
    assert reproduction.expected(row) == shown
    assert reproduction.row("gd", row)[4:7] == (*shown, "8; 4")


def test_the_numbers_shown_never_contradict_the_verdict():
    draw = np.random.default_rng(0)
    rows = [claim("agree", (v, v / 50), (v * (1 + 0.1 * m), e)) for v, m, e in draw.random((500, 3)) * [1, 1, 0.05]]
    rows += [row for c in chapters.names() for row in records.claims(chapters.read(chapters.committed(c)))]
    for row in rows:
        if row["numbers"]["allowed"] is not None:
            expected, networks = reproduction.expected(row)
            value, allowed = map(float, expected.split(" ± "))
            inside = abs(value - float(networks.split(" ± ")[0])) <= allowed
            assert inside or row["verdict"] != "holds", row
            assert not inside or row["verdict"] == "holds" or row["quantity"].startswith("slope"), row


def test_commands_come_with_seed_time_memory_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    for name in ("measured", "new"):
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        write_chapter(path, [("parameters", "seed: int = 7  # of all draws [0, 10]")])
    records.presets().write_text("[paper.measured]\nseed = 8\n[paper.new]\n")
    chapters.write_text(json.dumps({"measured": ROW}), costs.place())
    kept = {"seconds": 660.0, "peak_memory_MB": 2345, "parameters": {"seed": 8}}
    machine = {"machine": {"processors": 7, "architecture": "m68k", "system": "AmigaOS"}}
    chapters.write_text(json.dumps(kept | machine), records.place("measured", "paper"))
    rows = [
        line.strip("| ").split(" | ") for line in reproduction.commands(pages.table, ["measured", "new"]).splitlines()
    ]
    assert rows[2:] == [
        ["`make run CHAPTER=measured`", "7", "1 min", "0.9 GB", "one core of Motorola 68000, m68k, AmigaOS"],
        ["`make run CHAPTER=measured PRESET=paper`", "8", "11 min", "2.3 GB", "7 CPUs, m68k, AmigaOS"],
        ["`make run CHAPTER=new`", "7", "not measured"],
    ]


def test_the_page_shows_them(html):
    page = re.sub(r"<[^>]+>", "", (html / "book" / "reproduction.html").read_text())
    for text in ("make run CHAPTER=fa", "make run CHAPTER=fa PRESET=paper", "5c: ", "expected ± tolerance"):
        assert text in page
