"""The committed notebooks: nothing is hidden from nbval, outputs are complete, pictures have words."""

import base64
import re

import pytest

from tools import chapters

CHAPTERS = chapters.names()


def code_cells(chapter):
    return [cell for cell in chapters.read(chapters.committed(chapter)).cells if cell.cell_type == "code"]


def is_picture(output):
    return any(kind.startswith("image/") or kind == "text/html" for kind in output.get("data", {}))


# What tells nbval to pass over a cell, or its output; allowed is the tag for pictures.
SKIPPED = {"nbval-skip", "nbval-raises-exception", "raises-exception"}
COMMENT = re.compile(r"#\s*(NBVAL_|PYTEST_VALIDATE_)\w*(IGNORE|SKIP|RAISES)", re.IGNORECASE)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_stored_chapter_is_complete_clean_and_compared(chapter):
    cells = code_cells(chapter)
    for cell in cells:
        assert not SKIPPED & set(cell.metadata.get("tags", [])) and not COMMENT.search(cell.source), cell.id
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            assert cell.outputs and all(map(is_picture, cell.outputs)), cell.id
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


def test_the_readme_shows_the_chapter_s_first_figure():
    pictures = [
        o.data["image/png"] for cell in code_cells("gd") for o in cell.outputs if "image/png" in o.get("data", {})
    ]
    shown = chapters.ROOT / "book" / "_static" / "gd-overview.png"
    assert base64.b64decode(pictures[0]) == shown.read_bytes(), "rewrite it as the chapter's last section shows"
    assert f"]({shown.relative_to(chapters.ROOT).as_posix()})" in (chapters.ROOT / "README.md").read_text()
