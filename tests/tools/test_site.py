"""The built pages as files: links, anchors, headings; and what the reference pages promise."""

import re
from collections import Counter
from functools import cache
from pydoc import locate
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from pybtex.database import parse_file
from test_book import PAGES

from tools import ROOT, chapters, exercises

PROSE = {path.stem for path in (ROOT / "book").glob("*.md") if "```{exercise}" in path.read_text(encoding="utf-8")}
CODE = re.compile(r"`((?:companion|dmftlib)(?:\.\w+)+)`")


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
def test_links_lead_somewhere_and_headings_are_in_order(html, name):
    html = html.resolve()
    assert broken(html, html / f"{name}.html") == []
    if name in PAGES:
        headings = soup(html / f"{name}.html").find("article").find_all(re.compile(r"^h[1-6]$"))
        levels = [int(heading.name[1]) for heading in headings]
        assert levels.count(1) == 1 and all(b <= a + 1 for a, b in zip([0, *levels], levels))


# --- Sources ----------------------------------------------------------------------------------------------------------


def test_pages_of_the_theory_have_objectives_a_takeaway_and_solved_exercises_but_for_the_last():
    assert PROSE == set(exercises.QUESTIONS)
    for page in PROSE:
        text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
        assert text.index("**After this page you can**") < text.index("\n## "), page
        assert text.count("```{admonition} Takeaway\n:class: tip\n") == 1, page
        posed, solved = (re.findall(rf"\n{mark} (ex-\S+)\n", text) for mark in (":label:", "```{solution}"))
        assert posed[:-1] == solved and 3 <= len(posed) <= 5, page  # the last one checks itself
        assert f"```{{include}} check-{page}.txt" in text.split(posed[-1])[1], page


# --- Reference --------------------------------------------------------------------------------------------------------


def labels():
    """Labels of all equations of the book."""
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("book/*.md")]
    for name in chapters.names():
        texts += [c.source for c in chapters.read(chapters.committed(name)).cells if c.cell_type == "markdown"]
    return Counter(label for text in texts for label in re.findall(r"^\s*\$\$ \((eq-[\w-]+)\)", text, re.MULTILINE))


def test_the_equation_map_names_labels_and_functions_that_exist():
    text = (ROOT / "book" / "equations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"{eq}`([\w-]+)`", text)) <= labels().keys()
    assert [label for label, times in labels().items() if times > 1] == []
    assert [name for name in CODE.findall(text) if locate(name) is None] == []
    for row in (*(f"({number})" for number in range(1, 9)), "Table 1", "Table 2"):
        assert re.search(rf"^\| {re.escape(row)} \|.*{{eq}}.*dmftlib", text, re.MULTILINE), row


def test_every_entry_of_the_references_has_a_link_that_the_page_shows(html):
    page = soup(html / "book" / "references.html").find("article")
    links = {node["href"] for node in page.find_all("a", href=True)}
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        doi, url = entry.fields.get("doi"), entry.fields.get("url", "")
        assert doi or re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\d{4,9}/\S+)", url), key
        assert doi is None or re.fullmatch(r"10\.\d{4,9}/\S+", doi), key
        assert url in links or f"https://doi.org/{doi}" in links, key
