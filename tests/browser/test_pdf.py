"""The whole book as one PDF: outline, page numbers, equations, pictures, links."""

import re

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from test_book import ABSENT, PAGES, small_book  # noqa: F401  fixture
from test_browser import need_browser

from tools import ToolError, pages, pdf


@pytest.fixture(scope="module")
def whole(html, tmp_path_factory):
    need_browser()
    place = tmp_path_factory.mktemp("whole book") / pdf.NAME
    pdf.write(html, place)
    return PdfReader(place)


@pytest.fixture(scope="module")
def texts(whole):
    return [page.extract_text() for page in whole.pages]


@pytest.fixture(scope="module")
def document(html):
    """The pages in one document, as it is printed."""
    return pdf.assemble(html)


def flat(outline):
    """Titles of an outline, in order."""
    return [title for entry in outline for title in (flat(entry) if isinstance(entry, list) else [entry.title])]


def test_the_outline_has_every_heading_by_its_name(whole, html, document):
    assert flat(whole.outline) == pdf.titles(document)
    for name in PAGES:
        heading = (
            BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser").find("h1").get_text()
        )
        assert heading.removesuffix("#") in flat(whole.outline)


def images(holder):
    """How many pictures a page shows, none of them decoded."""
    shown = [part.get_object() for part in holder.get("/Resources", {}).get("/XObject", {}).values()]
    return sum(1 if part["/Subtype"] == "/Image" else images(part) for part in shown)


def test_every_page_has_its_number(texts):
    assert len(texts) > 100
    assert [k for k, text in enumerate(texts, 1) if f"{k} of {len(texts)}" not in text] == []
    assert not re.search(r"\\\(|\\\[|\\begin\{|\\frac|\{(eq|numref|cite|term|ref|doc)(:\w)?\}`", "\n".join(texts))


def test_every_picture_is_there_and_solutions_are_open(whole, texts, document):
    pictures = sum(
        str(node["src"]).endswith((".png", ".jpg"))
        for node in BeautifulSoup(document, "html.parser").find_all("img", src=True)
    )
    assert sum(map(images, whole.pages)) >= pictures > 40
    text = " ".join(" ".join(texts).split())
    assert "Gaussian vectors exist for every such covariance" in text  # in a folded solution


def test_links_stay_in_the_file_or_lead_to_the_web(whole):
    actions = [
        annotation.get_object().get("/A", {}).get("/URI", "")
        for page in whole.pages
        for annotation in page.get("/Annots", [])
    ]
    assert len(actions) > 300
    assert {action for action in actions if not re.match(r"https?://|$", action)} == set()


def test_pages_are_joined_with_ids_of_their_own(small_book, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pdf, "ROOT", small_book)
    (small_book / "book" / "welcome.md").write_text(
        "# Welcome\n\n(twice)=\n## Twice\n\n[over](../notebooks/small.ipynb) {ref}`here <twice>`\n\n"
        "{download}`a file <settings.toml>` {cite}`bordelon2023influence`\n\n```{bibliography}\n```\n"
    )
    pages.build(small_book / "html", {}, ABSENT)
    document = BeautifulSoup(pdf.assemble(small_book / "html"), "html.parser")
    ids = [node["id"] for node in document.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = {node.get_text(): node.get("href") for node in document.find_all("a")}
    assert links["over"] == "#notebooks-small" and links["here"] == "#book-welcome--twice" and links["a file"] is None
    (cited,) = {node["href"] for node in document.select("#notebooks-small a.reference") if "welcome" in node["href"]}
    assert re.fullmatch(r"#book-welcome--id\d+", cited)  # from the end of the other page to the references
    assert all(link[1:] in ids for link in links.values() if link and link.startswith("#"))


def test_without_a_browser_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(pdf, "BROWSER", None)
    with pytest.raises(ToolError, match="printed by Chromium, which was not found: apt-get install chromium"):
        pdf.check()
    monkeypatch.setattr(pdf, "BROWSER", "chromium")
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"needs the test tools.*make \.venv/installed-test"):
        pdf.check()


def test_the_first_page_links_the_file_when_it_was_made(small_book, monkeypatch):  # noqa: F811
    need_browser()
    monkeypatch.setattr(pdf, "ROOT", small_book)
    (small_book / "book" / "welcome.md").write_text(
        "# Welcome\n\n```{include} pdf.txt\n```\n\n{cite}`bordelon2023influence` $x^2$\n\n```{bibliography}\n```\n"
    )
    pages.build(small_book / "html", {}, ABSENT)
    assert pdf.NAME not in (small_book / "html" / "book" / "welcome.html").read_text()
    pages.build(small_book / "html", {}, ABSENT, with_pdf=True)
    link = BeautifulSoup((small_book / "html" / "book" / "welcome.html").read_text(), "html.parser").find(
        href=re.compile("pdf$")
    )
    made = PdfReader(small_book / "html" / "book" / link["href"])
    assert flat(made.outline) == [
        "Learning rules in wide networks",
        "Welcome",
        "small",
        "Cite and rerun",
        "What is shown here",
    ]
