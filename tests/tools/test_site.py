"""The built pages as files: links, anchors, headings; and what the reference pages promise."""

import re
from functools import cache
from pydoc import locate
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from test_book import PAGES

from tools import ROOT, chapters

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


def sources():
    """What every page and chapter is written as, by name."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("book/*.md")}
    for name in chapters.names():
        cells = chapters.read(chapters.committed(name)).cells
        found[f"chapter {name}"] = "\n\n".join(cell.source for cell in cells)
    return found


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name) for name, text in sources().items() if "{exercise}" in text]
)
def test_exercises_have_solutions_but_for_the_last_which_checks_itself(text):
    posed, solved = (re.findall(rf"\n{mark} (ex-\S+)\n", text) for mark in (":label:", "```{solution(?:-start)?}"))
    assert posed[:-1] == solved and 3 <= len(posed) <= 5
    assert re.search(r"include} check-\w+.txt|self_check\(", text.split(posed[-1])[1])


def test_the_equation_map_names_labels_and_functions_that_exist():
    text, every = sources()["equations"], "\n\n".join(sources().values())
    labels = re.findall(r"^\s*\$\$ \((eq-[\w-]+)\)", every, re.MULTILINE)
    assert set(re.findall(r"{eq}`([\w-]+)`", text)) <= set(labels) and len(labels) == len(set(labels))
    assert [name for name in CODE.findall(text) if locate(name) is None] == []
    for row in (*(f"({number})" for number in range(1, 9)), "Table 1", "Table 2"):
        assert re.search(rf"^\| {re.escape(row)} \|.*{{eq}}.*dmftlib", text, re.MULTILINE), row
