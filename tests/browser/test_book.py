import json
import re
import tomllib

import jsonschema
import pytest
import yaml
from bs4 import BeautifulSoup

from tools import ROOT, ToolError, chapters, figures, pages, records
from tools.parameters import read_presets

LINKS = {"repository_url": "https://github.com/someone/somewhere", "doi": "10.5281/zenodo.1"}
ABSENT = {"repository_url": "", "doi": ""}


def toc_pages(toc):
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


PAGES = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text()))


@pytest.fixture
def small_book(small_tree, monkeypatch):
    for module in (chapters, pages):
        monkeypatch.setattr(module, "ROOT", small_tree)
    return small_tree


def chapter_page(html, name="small"):
    return (html / "notebooks" / f"{name}.html").read_text()


def test_every_page_of_the_contents_is_built_and_nothing_is_left_out(html):
    built = {path.relative_to(html).with_suffix("").as_posix() for path in html.glob("*/*.html")}
    assert {page for page in built if page.startswith(("book/", "notebooks/"))} == set(PAGES)
    prose = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert prose | {f"notebooks/{name}" for name in chapters.names()} == set(PAGES)


@pytest.mark.parametrize("chapter", chapters.names())
def test_every_chapter_closes_with_how_to_cite_and_rerun_it(html, chapter):
    page = re.sub(r"<[^>]+>", "", chapter_page(html, chapter))
    assert "Cite and rerun" in page
    assert f"make run CHAPTER={chapter}" in page
    assert "Shown with the outputs that are stored in the repository." in page


@pytest.mark.parametrize("chapter", chapters.names())
def test_what_a_cell_prints_is_one_box(html, chapter):
    # Jupyter divides it at every pause, so that the page would depend on the speed of the machine.
    soup = BeautifulSoup(chapter_page(html, chapter), "html.parser")
    printed = [len(cell.select(".output.stream")) for cell in soup.select(".cell_output")]
    assert max(printed) == 1


def test_without_addresses_there_are_no_links_to_them(small_book):
    pages.build(small_book / "html", {}, ABSENT)
    page = chapter_page(small_book / "html")
    for absent in (
        "mybinder",
        "colab",
        "Archived version",
        "doi.org",
        "Source:",
        "launch-buttons",
        "github.com/someone",
    ):
        assert absent not in page, absent


def test_with_addresses_every_chapter_can_be_launched_and_cited(small_book):
    pages.build(small_book / "html", {}, LINKS)
    page = chapter_page(small_book / "html")
    for link in (
        "https://mybinder.org/v2/gh/someone/somewhere/main?urlpath=",
        "https://colab.research.google.com/github/someone/somewhere/blob/main/notebooks/small.ipynb",
        "https://doi.org/10.5281/zenodo.1",
        "https://github.com/someone/somewhere/blob/main/notebooks/small.ipynb",
    ):
        assert f'href="{link}' in page, link


def test_the_settings_file_holds_both_addresses():
    assert set(pages.settings()) == set(LINKS)
    assert set(tomllib.loads(pages.SETTINGS.read_text())) == set(LINKS)


def test_the_closing_block_says_what_was_run(small_book):
    notebook = chapters.read(chapters.committed("small"))
    record = {"parameters": {"n": 5}, "version": "1.2.3", "commit": "abc1234", "dirty": False, "seconds": 12.3}
    notebook.metadata["dmftlib"] = record
    block = pages.closing_block("small", notebook, ABSENT)
    assert "Run in 12 s by dmftlib 1.2.3, commit `abc1234`." in block
    assert "| `n` | `5` | how many | `[1, 10]` |" in block
    assert "| `word` | `'a'` | what | `{a, b}` |" in block
    assert block.startswith("## Cite and rerun") and 'make run CHAPTER=small PARAMS="n=3"' in block
    notebook.cells[0].source += "\n\n## Cite and rerun"
    assert pages.closing_block("small", notebook, ABSENT).startswith("### What is shown here")
    notebook.metadata["dmftlib"] = record | {"dirty": True}
    assert "commit `abc1234` with uncommitted changes." in pages.closing_block("small", notebook, ABSENT)


RECORD = {
    "seconds": 123.4,
    "peak_memory_MB": 2345,
    "machine": {"processors": 7, "architecture": "m68k", "system": "AmigaOS"},
    "commit": "abc1234",
    "dirty": True,
    "claims": [
        {
            "claim": "First",
            "occurs": "yes",
            "quantity": "f",
            "theory": "1",
            "networks": "1 ± 0.1 (N = 64, 24 seeds)",
            "verdict": "holds",
        },
        {
            "claim": "|K|",
            "occurs": "no",
            "quantity": "K",
            "theory": "2",
            "networks": "3 ± 0.1 (N = 32…96, 72 seeds)",
            "verdict": "no",
        },
        {
            "claim": "Third",
            "quantity": "Φ",
            "theory": "3",
            "networks": "4 ± 1 (N = 96, 24 seeds)",
            "verdict": "in part",
        },
    ],
}


def cells(block):
    return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in block.splitlines() if line.startswith("|")]


def test_the_tables_of_the_paper_s_scale_are_computed_from_the_records(small_book):
    command, link = "`make run CHAPTER=small PRESET=paper`", "[small](../notebooks/small.ipynb)"
    assert cells(pages.scale_block("paper"))[2:] == [[command, "not run yet", "", "", "", "", ""]]
    chapters.write_text(json.dumps(RECORD), records.place("small", "paper"))
    rows = cells(pages.scale_block("paper"))
    dirty = "`abc1234` with uncommitted changes"
    assert rows[2] == [command, "96", "72", "123 s", "2.3 GB", "7 CPUs, m68k, AmigaOS", dirty]
    assert rows[5] == [link, "1", "1", "1", "1 of 2"]
    assert rows[8:] == [
        [link, "\\|K\\|", "K", "2", "3 ± 0.1 (N = 32…96, 72 seeds)", "no", "no"],
        [link, "Third", "Φ", "3", "4 ± 1 (N = 96, 24 seeds)", "—", "in part"],
    ]
    good = RECORD | {"dirty": False, "claims": RECORD["claims"][:1]}
    chapters.write_text(json.dumps(good), records.place("small", "paper"))
    block = pages.scale_block("paper")
    assert cells(block)[2][-1] == "`abc1234`" and cells(block)[5:] == [[link, "1", "0", "0", "1 of 1"]]
    assert block.endswith("Every claim that was recorded holds.\n")


def test_the_page_of_the_paper_s_scale_shows_every_chapter_s_command_and_the_preset(html):
    page = re.sub(r"<[^>]+>", "", (html / "book" / "paper_scale.html").read_text())
    for chapter in read_presets(records.presets(), "paper"):
        assert f"make run CHAPTER={chapter} PRESET=paper" in page
        assert f"[paper.{chapter}]" in page


def test_a_warning_stops_the_build_and_the_last_good_book_stays(small_book):
    html = small_book / "_build" / "html"
    pages.build(html, {}, ABSENT)
    before = (html / "book" / "welcome.html").read_text()
    (small_book / "book" / "welcome.md").write_text(
        "# Welcome\n\n{eq}`eq-that-is-not-there` {cite}`bordelon2023influence`\n"
    )
    with pytest.raises(ToolError, match=r"(?s)does not build.*eq-that-is-not-there"):
        pages.build(html, {}, ABSENT)
    assert (html / "book" / "welcome.html").read_text() == before


def test_equations_need_no_network(html):
    page = (html / f"{PAGES[1]}.html").read_text()
    assert re.search(r'<script [^>]*src="\.\./_static/mathjax/tex-svg\.js', page)
    assert (html / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000


def test_the_copies_of_scripts_name_licences_that_the_readme_names(html):
    readme = (ROOT / "README.md").read_text()
    assert "MathJax\n(Apache 2.0) and plotly.js (MIT)" in readme and "[THIRD_PARTY.md](THIRD_PARTY.md)" in readme
    plotly = (html / "_static" / "plotly" / "plotly.min.js").read_text(encoding="utf-8")
    assert "Licensed under the MIT license" in plotly[:300]


def test_how_to_cite():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["authors"] == [{"name": "The dmftlib developers"}]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert citation["version"] == version
    (paper,) = (reference for reference in citation["references"] if reference.get("type") == "conference-paper")
    assert paper["title"] == "The Influence of Learning Rule on Representation Dynamics in Wide Neural Networks"
    links = pages.settings()
    assert citation.get("repository-code", "") == links["repository_url"]
    assert citation.get("doi", "") == links["doi"]


def test_every_figure_has_a_line_of_files_and_an_entry_in_the_index(html):
    index = (html / "book" / "figures.html").read_text()
    for chapter in chapters.names():
        page = chapter_page(html, chapter)
        for figure in figures.shown(chapters.read(chapters.committed(chapter))):
            assert f"{figure.id}.bib" in page and f">{figure.id}<" in index, figure.id
            if figure.named:
                assert f'href="../notebooks/{chapter}.html#{figure.id}"' in index, figure.id


# The part of the Citation File Format's schema, version 1.2.0, that covers what the file uses.
TEXTS, PERSON = {"type": "string", "minLength": 1}, ["family-names", "given-names"]
AUTHORS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {"required": [key], "properties": dict.fromkeys(keys, TEXTS), "additionalProperties": False}
            for key, keys in (("name", ["name"]), ("family-names", PERSON))
        ]
    },
}
IDENTIFIER = {
    "type": "object",
    "required": ["type", "value"],
    "properties": {"type": {"enum": ["doi", "url", "swh", "other"]}, "value": TEXTS, "description": TEXTS},
    "additionalProperties": False,
}
COMMON = {
    "title": TEXTS,
    "authors": AUTHORS,
    "version": TEXTS,
    "doi": {"type": "string", "pattern": r"^10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-\.\(\)\[\]\\]+$"},
    "repository-code": {"type": "string", "pattern": "^https?://"},
    "identifiers": {"type": "array", "minItems": 1, "items": IDENTIFIER},
}
REFERENCE = {
    "type": "object",
    "required": ["type", "title", "authors"],
    "properties": COMMON
    | {
        "type": {"enum": ["conference-paper", "article", "book", "software"]},
        "year": {"type": "integer"},
        "collection-title": TEXTS,
        "conference": {"type": "object", "required": ["name"], "properties": {"name": TEXTS}},
    },
    "additionalProperties": False,
}
CITATION = {
    "type": "object",
    "required": ["cff-version", "message", "title", "authors"],
    "properties": COMMON
    | {
        "cff-version": {"const": "1.2.0"},
        "message": TEXTS,
        "type": {"enum": ["software", "dataset"]},
        "license": {"enum": ["BSD-3-Clause"]},
        "references": {"type": "array", "minItems": 1, "items": REFERENCE},
    },
    "additionalProperties": False,
}


def test_the_citation_file_follows_its_format():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    jsonschema.validate(citation, CITATION)
    for wrong in ({"license": "mine"}, {"authors": []}, {"cff-version": "1.1.0"}, {"year": 2026}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(citation | wrong, CITATION)
