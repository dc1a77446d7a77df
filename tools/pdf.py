"""The whole book as one PDF: the built pages in one document, equations set, solutions open, printed by Chromium."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup

from . import ToolError, chapters, contents
from .markdown import TEMPLATES

NAME = "learning-rules.pdf"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FOOTER = (
    '<div style="font-size: 8pt; width: 100%; text-align: center; color: #444">'
    '<span class="pageNumber"></span> of <span class="totalPages"></span></div>'
)
# Done when all equations are set and all pictures are there; returns how many equations are not. Sliders show a picture.
READY = """async () => {
    await MathJax.startup.promise;
    await Promise.all([...document.images].map(image => { image.loading = "eager"; return image.decode(); }));
    return [...document.querySelectorAll(".math")].filter(math => !math.querySelector("mjx-container")).length;
}"""


def link() -> str:
    """The sentence that a page shows when the PDF is made with it."""
    return f'<p>The whole book is also <a href="../_static/{NAME}">one PDF file</a>, with an outline and page numbers.</p>\n'


def slug(page: str) -> str:
    return page.replace("/", "-")


def anchor(article, page: str, known: set[str], root: str) -> None:
    """Make every id of a page unique in the whole document, and every link within the book a link to such an id.

    Files that a page offers stay behind: their links become plain text. Pictures are read from `root`.
    """
    for node in article.find_all(id=True):
        node["id"] = f"{slug(page)}--{node['id']}"
    for node in article.find_all("a", href=True):
        address, fragment = urldefrag(urljoin(f"{page}.html", node["href"]))
        target = address.removesuffix(".html")
        if urlsplit(address).scheme:
            continue
        if target in known:
            node["href"] = f"#{slug(target)}--{fragment}" if fragment else f"#{slug(target)}"
        else:
            del node["href"]
    for node in article.find_all(src=True):
        node["src"] = urljoin(f"{root}/{page}.html", node["src"])


def assemble(html: Path) -> str:
    """One document from the built pages in `html`."""
    root, parts = html.resolve().as_uri(), contents.parts()
    known = {page for _, pages in parts for page in pages}
    read = {page: BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser") for page in known}

    def joined(page: str) -> dict[str, str]:
        article = read[page].find("article")
        for node in article.find_all(["script", "style"]):
            node.decompose()
        for node in article.find_all("details"):
            if "above-input" not in node.get("class", []):  # all but code
                node["open"] = ""
        anchor(article, page, known, root)
        heading = article.find("h1").get_text().removesuffix("#").strip()
        return {"slug": slug(page), "heading": heading, "content": article.decode_contents()}

    head = read[parts[0][1][0]].head  # of the first page, whose addresses are seen from its own folder
    loaded = [
        *head.find_all("link", rel="stylesheet"),
        *(s for s in head.find_all("script") if "mathjax" in str(s).lower()),
    ]
    return TEMPLATES.get_template("book.html").render(
        title=yaml.safe_load((chapters.ROOT / "_config.yml").read_text(encoding="utf-8"))["title"],
        head="\n".join(map(str, loaded)).replace('="../', f'="{root}/'),
        parts=[(caption, [joined(page) for page in pages]) for caption, pages in parts],
    )


def titles(document: str) -> list[str]:
    """What the headings say, in order, formulas as TeX."""
    headings = BeautifulSoup(document, "html.parser").find_all(["h1", "h2", "h3", "h4", "h5", "h6"])
    texts = (heading.get_text().removesuffix("#") for heading in headings)
    return [" ".join(text.replace("\\(", "").replace("\\)", "").split()) for text in texts]


def name_outline(path: Path, names: list[str]) -> None:
    """Give the entries of the outline their names: Chromium doubles some that are broken into lines."""
    from pypdf import PdfWriter
    from pypdf.generic import NameObject, TextStringObject

    writer = PdfWriter(clone_from=path)
    entries, waiting = [], [writer.get_outline_root().get("/First")]
    while waiting:
        if reference := waiting.pop():
            entry = reference.get_object()
            entries.append(entry)
            waiting += [entry.get("/Next"), entry.get("/First")]
    if len(entries) != len(names):
        raise ToolError(f"the PDF's outline has {len(entries)} entries for {len(names)} headings: a heading is empty.")
    for entry, name in zip(entries, names):
        entry[NameObject("/Title")] = TextStringObject(name)
    writer.write(path)


def check() -> None:
    """Raise ToolError if this machine has nothing to print with."""
    if BROWSER is None:
        raise ToolError("the PDF is printed by Chromium, which was not found: apt-get install chromium (Debian).")
    if find_spec("playwright") is None or find_spec("pypdf") is None:
        raise ToolError("the PDF needs the test tools, which drive Chromium: make .venv/installed-test.")


def write(html: Path, place: Path) -> None:
    """Print the pages in `html` into one file."""
    check()
    from playwright.sync_api import sync_playwright

    chapters.say("printing the PDF")
    document, text = place.with_suffix(".html"), assemble(html)
    document.write_text(text, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(document.resolve().as_uri(), wait_until="load")
        if unset := page.evaluate(READY):
            raise ToolError(f"{unset} equations of the book were not set, so that the PDF would show TeX.")
        page.pdf(
            path=place,
            outline=True,
            tagged=True,
            prefer_css_page_size=True,
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
        )
        browser.close()
    document.unlink()
    name_outline(place, titles(text))
