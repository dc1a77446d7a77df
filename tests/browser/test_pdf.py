"""The whole book as one PDF: outline, page numbers, equations, pictures, links."""

import re
from collections import Counter

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from test_book import PAGES, small_book  # noqa: F401  fixture
from test_browser import need_browser

from tools import ToolError, pages, pdf


@pytest.fixture(scope="module")
def document(html):
    """The pages in one document, as it is printed."""
    return pdf.assemble(html)


@pytest.fixture(scope="module")
def whole(html, tmp_path_factory):
    need_browser()
    place = tmp_path_factory.mktemp("whole book") / pdf.NAME
    pdf.write(html, place)
    return PdfReader(place)


def flat(outline):
    """Titles of an outline, in order."""
    return [title for entry in outline for title in (flat(entry) if isinstance(entry, list) else [entry.title])]


def images(holder):
    """How many pictures a page shows, none of them decoded."""
    shown = [part.get_object() for part in holder.get("/Resources", {}).get("/XObject", {}).values()]
    return sum(1 if part["/Subtype"] == "/Image" else images(part) for part in shown)


def test_every_heading_number_equation_picture_and_solution_is_there(whole, html, document):
    assert flat(whole.outline) == pdf.titles(document)
    for name in PAGES:
        page = BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        assert page.find("article").find("h1").get_text().removesuffix("#") in flat(whole.outline)
    texts = [page.extract_text() for page in whole.pages]
    assert len(texts) > 100
    assert all(
        fold.has_attr("open") for fold in BeautifulSoup(document, "html.parser").select("details:not(.above-input)")
    )
    assert [k for k, text in enumerate(texts, 1) if f"{k} of {len(texts)}" not in text] == []
    assert not re.search(r"\\\(|\\\[|\\begin\{|\\frac|\{(eq|numref|cite|term|ref|doc)(:\w)?\}`", "\n".join(texts))
    shown = BeautifulSoup(document, "html.parser").find_all("img", src=re.compile(r"\.(png|jpg)$"))
    assert sum(map(images, whole.pages)) >= len(shown) > 40
    assert "and the response at equal times vanishes" in " ".join(" ".join(texts).split())  # in a folded solution


def test_links_stay_in_the_file_or_lead_to_the_web(whole, document):
    soup = BeautifulSoup(document, "html.parser")
    ids = Counter(node["id"] for node in soup.find_all(id=True))
    assert {ids[node["href"][1:]] for node in soup.find_all("a", href=re.compile("^#."))} == {1}
    annotations = [annotation.get_object() for page in whole.pages for annotation in page.get("/Annots", [])]
    actions = {annotation.get("/A", {}).get("/URI", "") for annotation in annotations}
    assert len(annotations) > 300 and {action for action in actions if not re.match(r"https?://|$", action)} == set()


def test_the_first_page_links_the_file_that_is_made_with_it(small_book):  # noqa: F811
    need_browser()
    (small_book / "book" / "welcome.md").write_text(
        "# Welcome\n\n```{include} pdf.txt\n```\n\n{cite}`bordelon2023influence` $x^2$\n\n```{bibliography}\n```\n"
    )
    pages.build(small_book / "html", {}, with_pdf=True)
    page = small_book / "html" / "book" / "welcome.html"
    link = BeautifulSoup(page.read_text(), "html.parser").find(href=re.compile("pdf$"))
    titles = ["Learning rules in wide networks", "Welcome", "small", "Cite and rerun", "What is shown here"]
    assert flat(PdfReader(page.parent / link["href"]).outline) == titles


def test_without_a_browser_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(pdf, "BROWSER", None)
    with pytest.raises(ToolError, match="printed by Chromium, which was not found: apt-get install chromium"):
        pdf.check()
    monkeypatch.setattr(pdf, "BROWSER", "chromium")
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"needs the test tools.*make \.venv/installed-test"):
        pdf.check()
