"""The built pages as files: links, anchors, headings; and what the reference pages promise."""

import re
from collections import Counter
from functools import cache
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import claims_cell
from pybtex.database import parse_file
from test_book import PAGES

from companion.claims import Claims
from tools import ROOT, api, chapters, lists

PROSE = ("networks", "entk", "meanfield", "solver", "scale", "own_rule")
CODE = re.compile(r"`(dmftlib(?:\.\w+)+)`")


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def anchors(path):
    return {node["id"] for node in soup(path).find_all(id=True)} | {
        node["name"] for node in soup(path).find_all("a", attrs={"name": True})
    }


def broken(html, page):
    """Addresses on a page, links and what it loads, that lead nowhere within the book."""
    found = []
    for node in soup(page).find_all(["a", "img", "link", "script", "source"]):
        address = node.get("href") or node.get("src")
        if not address or urlsplit(address).scheme in ("http", "https", "mailto", "data"):
            continue
        target, fragment = urldefrag(urljoin(page.resolve().as_uri(), address))
        path = page if target == page.resolve().as_uri() else html.joinpath(unquote(urlsplit(target).path))
        if not path.is_file():
            found.append(address)
        elif fragment and path.suffix == ".html" and unquote(fragment) not in anchors(path):
            found.append(address)
    return found


@pytest.mark.parametrize("name", [*PAGES, "genindex", "search"])
def test_links_lead_somewhere(html, name):
    html = html.resolve()
    assert broken(html, html / f"{name}.html") == []


def test_broken_links_are_seen(tmp_path):
    (tmp_path / "b.html").write_text("<p id='there'></p>")
    page = tmp_path / "a.html"
    page.write_text(
        "<a href='b.html#there'>1</a><a href='b.html#gone'>2</a><a href='c.html'>3</a><img src='d.png'>"
        "<a href='#gone'>4</a><a href='https://example.org'>5</a>"
    )
    assert broken(tmp_path, page) == ["b.html#gone", "c.html", "d.png", "#gone"]


def skipped(article):
    """Headings that come more than one level below the heading before them."""
    levels = [(int(node.name[1]), node.get_text()) for node in article.find_all(re.compile(r"^h[1-6]$"))]
    return [text for (before, _), (level, text) in zip([(0, ""), *levels], levels) if level > before + 1]


@pytest.mark.parametrize("name", PAGES)
def test_headings_are_in_order(html, name):
    article = soup(html / f"{name}.html").find("article")
    assert len(article.find_all("h1")) == 1
    assert skipped(article) == []


def test_a_heading_that_skips_a_level_is_seen():
    assert skipped(BeautifulSoup("<h1>a</h1><h2>b</h2><h4>c</h4><h2>d</h2>", "html.parser")) == ["c"]


# --- Pages of the theory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PROSE)
def test_pages_of_the_theory_have_objectives_a_takeaway_and_solved_exercises_but_for_the_last(page):
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    assert text.index("**After this page you can**") < text.index("\n## ")
    assert text.count("```{admonition} Takeaway\n:class: tip\n") == 1
    posed, solved = (
        re.findall(pattern, text) for pattern in (r"\n:label: (ex-\S+)", r"```{solution} (ex-\S+)\n:class: dropdown")
    )
    assert posed[:-1] == solved and 3 <= len(posed) <= 5  # the last one checks itself
    assert "```python\n" not in text.partition("## Exercises")[2]  # solutions are derivations: no code that is not run


def test_each_page_of_theory_and_each_chapter_ends_by_saying_whose_it_is():
    ends = {page: (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8").rpartition("\n## ")[2] for page in PROSE}
    for name in chapters.names():
        cells = chapters.read(chapters.committed(name)).cells
        ends[name] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown").rpartition("\n## ")[2]
    for name, end in ends.items():
        assert re.match("Where this comes from|What is (known|the paper's), what is (new|found|derived) here", end), (
            name
        )


def test_the_short_route_takes_an_hour():
    text = (ROOT / "book" / "welcome.md").read_text(encoding="utf-8").partition("**One hour.**")[2]
    assert sum(map(int, re.findall(r"^\|[^|]+\| (\d+) \|", text, re.MULTILINE))) == 60


# --- Reference --------------------------------------------------------------------------------------------------------


def labels():
    """Labels of all equations of the book."""
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("book/*.md")]
    for name in chapters.names():
        texts += [c.source for c in chapters.read(chapters.committed(name)).cells if c.cell_type == "markdown"]
    return Counter(label for text in texts for label in re.findall(r"^\s*\$\$ \((eq-[\w-]+)\)", text, re.MULTILINE))


def test_the_equation_map_names_labels_and_functions_that_exist():
    text = (ROOT / "book" / "equations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"{eq}`([\w-]+)`", text))
    assert named <= labels().keys()
    for name in CODE.findall(text):
        api.resolve(name)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert all(
        "{eq}" in row[2] and "dmftlib" in row[3] for row in rows if len(row) == 4 and row[0] not in ("| paper", "|---")
    )
    for number in range(1, 9):
        assert f"| ({number}) |" in text
    assert "| Table 1 |" in text and "| Table 2 |" in text


def test_no_label_is_given_twice():
    assert [label for label, times in labels().items() if times > 1] == []


def test_every_entry_of_the_references_has_a_link_that_the_page_shows(html):
    page = soup(html / "book" / "references.html").find("article")
    links = {node["href"] for node in page.find_all("a", href=True)}
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        doi, url = entry.fields.get("doi"), entry.fields.get("url", "")
        assert doi or re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\d{4,9}/\S+)", url), key
        assert doi is None or re.fullmatch(r"10\.\d{4,9}/\S+", doi), key
        assert url in links or f"https://doi.org/{doi}" in links, key


def test_claims_are_listed_in_the_order_of_the_book(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "root: book/welcome\nparts:\n  - chapters:\n      - file: notebooks/b\n      - file: notebooks/a\n      - file: notebooks/c\n"
    )
    for name, mean in (("a", 2.0), ("b", 1.0), ("c", None)):
        cells = [nbformat.v4.new_markdown_cell(f"# Chapter {name}\n\n(x-{name}-claims)=\n## Claims")]
        if mean:
            claims = Claims()
            claims.agree("a*b_c|d", "1", "f < 2", 1.0, (mean, 0.1), "N = 8, 2 seeds")
            claims.phenomenon("as printed", "—", "g", "GD", 1.0, -1.0, (1.0, 0.1), "N = 8, 2 seeds")
            cells.append(claims_cell(claims))
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
    text = lists.claims(tmp_path)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Chapter b", "Chapter a"]
    assert "| [Chapter b](../notebooks/b.ipynb) | 2 | 0 | 0 | 0 | 0 | 0 | 1 |" in text
    assert "| all | 3 | 0 | 1 | 0 | 0 | 0 | 2 | 0 | 0 |" in text
    failed = re.findall(r"^\| \[Chapter (.)\]\S+ \| (\D.*) \|", text, re.MULTILINE)
    step = "as printed | depends on the step | holds | g"
    assert failed == [("b", step), ("a", "a\\*b\\_c\\|d | — | no | f \\< 2"), ("a", step)]
    assert "{ref}`Its table <x-a-claims>`" in text
    row = "| 1 | a\\*b\\_c\\|d | — | no | f \\< 2 | — | 1 |  | 2 ± 0.1 (N = 8, 2 seeds) | 1 |"
    assert f"{row}  |" in text
    assert f"{row} Fig. 3, Fig. 4 |" in lists.claims(
        tmp_path, {"1a": ["Fig. 3"], "1b": ["Fig. 3", "Fig. 4"], "2a": ["Fig. 5"]}
    )


def test_a_claim_leads_to_the_figures_that_show_its_panels():
    there = {"1a": ["A"], "2d": ["B"], "2e": ["C"], "2f": ["D"], "3a": ["E", "F"]}
    assert lists.drawn("1a, 2e", there) == "A, C" and lists.drawn("2d–f", there) == "B … D"
    assert lists.drawn("3", there) == "E, F" and lists.drawn("Table 2", there) == lists.drawn("5", there) == ""


def test_a_book_without_claims_says_so(tmp_path):
    (tmp_path / "_toc.yml").write_text("root: book/welcome\n")
    assert lists.claims(tmp_path) == "No chapter of this book has a table of claims.\n"


def test_every_claim_of_every_chapter_is_on_the_list(html):
    page = soup(html / "book" / "claims.html").find("article")
    for name in chapters.names():
        notebook = chapters.read(chapters.committed(name))
        if rows := lists.records.claims(notebook):
            text = " ".join(page.get_text().replace("’", "'").split())
            assert all(" ".join(row["claim"].split()) in text for row in rows), name
