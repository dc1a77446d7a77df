"""The built book as files, its addresses, and how to cite it."""

import tomllib

import pytest
import yaml
from bs4 import BeautifulSoup
from pybtex.database import parse_string

from tools import ROOT, ToolError, chapters, contents, pages

LINKS = 'repository_url = "https://github.com/someone/somewhere"\ndoi = "10.5281/zenodo.1"\n'
# How the files beneath a figure begin.
STARTS = dict(SVG=b"<?xml", PDF=b"%PDF", PNG=b"\x89PNG", CSV=b"# id: ", BibTeX=b"@misc{fig-", provenance=b'{\n "id": ')
STARTS["all values"] = b"{"


PAGES = [page for _, part in contents.parts() for page in part]


@pytest.fixture
def small_book(small_tree, monkeypatch):
    for module in (chapters, pages):
        monkeypatch.setattr(module, "ROOT", small_tree)
    (small_tree / "book" / "settings.toml").write_text('repository_url = ""\ndoi = ""\n')
    return small_tree


def test_every_page_of_the_contents_is_built_and_nothing_is_left_out(html):
    built = {path.relative_to(html).with_suffix("").as_posix() for path in html.glob("*/*.html")}
    assert {page for page in built if page.startswith(("book/", "notebooks/"))} == set(PAGES)
    prose = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert prose | {f"notebooks/{name}" for name in chapters.names()} == set(PAGES)


@pytest.mark.parametrize("chapter", chapters.names())
def test_a_chapter_prints_in_boxes_closes_with_how_to_cite_it_and_offers_files_of_every_figure(html, chapter):
    soup = BeautifulSoup((html / "notebooks" / f"{chapter}.html").read_text(), "html.parser")
    index = (html / "book" / "reproduction.html").read_text()
    assert "Cite and rerun" in soup.get_text() and f"make run CHAPTER={chapter}" in soup.get_text()
    # What a cell prints is one box: Jupyter divides it at every pause, and the page would depend on the machine's speed.
    assert max(len(cell.select(".output.stream")) for cell in soup.select(".cell_output")) == 1
    lines = soup.select(".figure-files")
    assert len(lines) >= len(soup.select("main figure")) > 0
    for line in lines:
        paths = {a.get_text(): html / "notebooks" / a["href"] for a in line.select("a")}
        assert STARTS.keys() - paths.keys() <= {"all values"}
        assert all(path.read_bytes().startswith(STARTS[name]) for name, path in paths.items())
        id, paper = paths["SVG"].stem, "bordelon2023influence"
        assert f">{id}<" in index and paper in parse_string(paths["BibTeX"].read_text(), "bibtex").entries


@pytest.mark.parametrize("public", [True, False])
def test_with_addresses_every_chapter_can_be_launched_and_cited(small_book, public):
    if public:
        (small_book / "book" / "settings.toml").write_text(LINKS)
    pages.build(small_book / "html", {})
    page = (small_book / "html" / "notebooks" / "small.html").read_text()
    for link in (
        "https://mybinder.org/v2/gh/someone/somewhere/main?urlpath=",
        "https://colab.research.google.com/github/someone/somewhere/blob/main/notebooks/small.ipynb",
        "https://doi.org/10.5281/zenodo.1",
        "https://github.com/someone/somewhere/blob/main/notebooks/small.ipynb",
    ):
        assert (f'href="{link}' in page) == public, link
    assert ("no public address" in page) != public


def test_a_warning_stops_the_build_and_the_last_good_book_stays(small_book):
    html = small_book / "_build" / "html"
    pages.build(html, {})
    before = (html / "book" / "welcome.html").read_text()
    (small_book / "book" / "welcome.md").write_text(
        "# Welcome\n\n{eq}`eq-that-is-not-there` {cite}`bordelon2023influence`\n"
    )
    with pytest.raises(ToolError, match=r"(?s)does not build.*eq-that-is-not-there"):
        pages.build(html, {})
    assert (html / "book" / "welcome.html").read_text() == before


def test_how_to_cite():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project, links = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"], pages.settings()
    assert citation["cff-version"] == "1.2.0" and citation["version"] == project["version"]
    assert citation.get("repository-code", "") == links["repository_url"] and citation.get("doi", "") == links["doi"]
