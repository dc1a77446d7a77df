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
    tag, comment = (
        "nbval-ignore-output",
        re.compile(r"#\s*(NBVAL_|PYTEST_VALIDATE_)\w*(IGNORE|SKIP|RAISES)", re.IGNORECASE),
    )
    skipped = ("nbval-skip", "nbval-raises-exception", "raises-exception")
    wrong = []
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        ignored = tag in tags or comment.search(cell.source)
        pictures = cell.outputs and all(is_picture(output) for output in cell.outputs)
        if (ignored and not pictures) or any(name in tags for name in skipped):
            wrong.append(cell.id)
    return wrong


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_only_pictures_are_ignored(chapter):
    assert not wrongly_ignored(code_cells(chapter))


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
def test_stored_outputs_are_complete_and_clean(chapter):
    cells = code_cells(chapter)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `dmft accept`"
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_stored_metadata_does_not_churn(chapter):
    notebook = chapters.read(chapters.committed(chapter))
    assert chapters.strip(chapters.read(chapters.committed(chapter))) == notebook, "run `dmft accept`"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_picture_has_a_text_for_those_who_cannot_see_it(chapter):
    for cell in code_cells(chapter):
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            assert cell.metadata.get("mystnb", {}).get("image", {}).get("alt"), cell.id


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_distances_between_theory_and_networks_are_printed_for_nbval_to_compare(chapter):
    printed = "".join(
        output.get("text", "")
        for cell in code_cells(chapter)
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        for output in cell.outputs
    )
    rows = re.findall(r"^(f|Phi|G|G_tilde|K) +[\d.e+-]+ % +[\d.e+-]+ %", printed, re.MULTILINE)
    assert set(rows) == {"f", "Phi", "G", "G_tilde", "K"}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_table_of_claims_states_the_one_rule_of_verdicts(chapter):
    heads = [
        cell.source for cell in chapters.read(chapters.committed(chapter)).cells if "-claims-table)=" in cell.source
    ]
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
