"""The committed notebooks: nothing is hidden from nbval, outputs are complete, pictures have words."""

import base64
import re

import pytest

from companion import claims
from tools import chapters

CHAPTERS = chapters.names()


def code_cells(chapter):
    return [cell for cell in chapters.read(chapters.committed(chapter)).cells if cell.cell_type == "code"]


def is_picture(output):
    return any(kind.startswith("image/") or kind == "text/html" for kind in output.get("data", {}))


def wrongly_ignored(cells):
    """Cells that nbval is told to ignore although they print something."""
    tag = "nbval-ignore-output"
    comment = re.compile(r"#\s*(NBVAL_|PYTEST_VALIDATE_)\w*(IGNORE|SKIP|RAISES)", re.IGNORECASE)
    skipped = ("nbval-skip", "nbval-raises-exception", "raises-exception")
    wrong = []
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        ignored = tag in tags or comment.search(cell.source)
        pictures = cell.outputs and all(is_picture(output) for output in cell.outputs)
        if (ignored and not pictures) or any(name in tags for name in skipped):
            wrong.append(cell.id)
    return wrong


def test_an_ignored_number_is_found():
    cell = code_cells(CHAPTERS[0])[0]
    cell.outputs = [{"output_type": "stream", "name": "stdout", "text": "1.0"}]
    cell.metadata["tags"] = ["nbval-ignore-output"]
    assert wrongly_ignored([cell])
    cell.metadata["tags"], cell.source = [], "# NBVAL_IGNORE_OUTPUT\nprint(1.0)"
    assert wrongly_ignored([cell])
    cell.source = "print(1.0)"
    assert not wrongly_ignored([cell])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_stored_chapter_is_complete_clean_and_compared(chapter):
    cells = code_cells(chapter)
    assert not wrongly_ignored(cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `dmft accept`"
    notebook = chapters.read(chapters.committed(chapter))
    assert chapters.strip(chapters.read(chapters.committed(chapter))) == notebook, "run `dmft accept`"
    printed = ""
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.id
            if any(kind.startswith("image/") for kind in output.get("data", {})):  # for those who cannot see it
                assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), cell.id
            printed += output.get("text", "")
    rows = re.findall(r"^(f|Phi|G|G_tilde|K) +[\d.e+-]+ % +[\d.e+-]+ %", printed, re.MULTILINE)
    assert set(rows) == {"f", "Phi", "G", "G_tilde", "K"}, "the distances between theory and networks"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_table_of_claims_states_the_one_rule_of_verdicts(chapter):
    cells = chapters.read(chapters.committed(chapter)).cells
    heads = [cell.source for cell in cells if "-claims-table)=" in cell.source]
    assert all(claims.RULE in head for head in heads)
    drawn = [cell.id for cell in code_cells(chapter) if "= Claims()" in cell.source]
    assert len(heads) == len(drawn), "a table of claims is made by `Claims`, below the rule"


def test_the_readme_shows_the_chapter_s_first_figure():
    pictures = [
        o.data["image/png"] for cell in code_cells("gd") for o in cell.outputs if "image/png" in o.get("data", {})
    ]
    shown = chapters.ROOT / "book" / "_static" / "gd-overview.png"
    assert base64.b64decode(pictures[0]) == shown.read_bytes(), "rewrite it as the chapter's last section shows"
    assert f"]({shown.relative_to(chapters.ROOT).as_posix()})" in (chapters.ROOT / "README.md").read_text()
