"""The pages for everyone: axe, keyboard, search, and from a file without a server."""

from importlib.metadata import distribution

import pytest
from test_book import PAGES
from test_browser import Visit, address, browser  # noqa: F401  fixtures

from companion import questions

AXE = distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js")
# What the theme and the formula setter do, not this book: (rule, selector of the offending element, why).
KNOWN = (
    ("region", ".sidebar-primary-item", "the theme puts the book's name beside the sidebar's landmark"),
    ("label-content-name-mismatch", "button", "the theme's buttons have a label besides their symbol"),
    ("aria-allowed-role", "div.citation", "docutils marks references with a role of its own"),
    ("aria-deprecated-role", "div.citation", "docutils marks references with a role that has been renamed since"),
    ("aria-required-children", "div.citation-list", "the same role, in the list of references"),
    ("empty-table-header", "th:has(mjx-container)", "the heading is a formula, whose MathML axe does not read as text"),
)
# Formulas are set by MathJax, which gives each a hidden text in MathML.
RUN = """async ([known, rules]) => {
    const options = rules.length ? {runOnly: rules} : {};
    const found = await axe.run({exclude: ["mjx-container"]}, {...options, resultTypes: ["violations"]});
    const excused = (rule, node) => known.some(([name, selector]) => name === rule && node.matches(selector));
    return found.violations.flatMap(({id, nodes}) => nodes.map(n => [id, n.target.join(" "), n.html.slice(0, 120)]))
        .filter(([id, target]) => !excused(id, document.querySelector(target)));
}"""
DARK = "document.documentElement.dataset.theme = document.documentElement.dataset.mode = 'dark'"


def violations(page, *rules):
    return page.evaluate(RUN, [[list(entry[:2]) for entry in KNOWN], list(rules)])


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_of_ours(browser, address, name):  # noqa: F811
    with Visit(browser, f"{address}/{name}.html") as visit:
        visit.page.add_script_tag(path=AXE)
        assert violations(visit.page) == []
        visit.page.evaluate(DARK)
        visit.page.wait_for_timeout(400)  # colours of the theme fade
        assert violations(visit.page, "color-contrast") == []


@pytest.mark.parametrize(
    "rule, body",
    [
        ("image-alt", "<img src='data:,'>"),
        ("color-contrast", "<p style='color: #ccc; background: #fff'>pale</p>"),
        ("empty-table-header", "<table><tr><th></th></tr><tr><td>a</td></tr></table>"),
        ("label", "<input type='number'>"),
    ],
)
def test_axe_finds_what_is_wrong(browser, tmp_path, rule, body):  # noqa: F811
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html lang='en'><title>a</title><main><h1>a</h1>{body}</main></html>")
    with Visit(browser, page.as_uri()) as visit:
        visit.page.add_script_tag(path=AXE)
        assert rule in {found[0] for found in violations(visit.page)}


# --- Keyboard ---------------------------------------------------------------------------------------------------------

REACHABLE = """() => [...document.querySelectorAll("article :is(a[href], button, summary, input, select, [tabindex])")]
    .filter(node => node.tabIndex >= 0 && node.checkVisibility({visibilityProperty: true}))
    .map((node, k) => node.dataset.stop = String(k))"""
TAB = "() => document.activeElement?.dataset.stop ?? (document.activeElement === document.body ? 'end' : '')"


def stops(page):
    """What Tab reaches from the top of the page to its end."""
    found = []
    for _ in range(600):
        page.keyboard.press("Tab")
        at = page.evaluate(TAB)
        if at == "end":
            return found
        if at:
            found.append(at)
    raise AssertionError("Tab does not come to the end of the page: a trap for the keyboard")


# Pages, and what must be among the stops of each.
WALKS = {
    "book/entk": "button.toggle-button",
    "book/notation": ".pst-scrollable-table-container",
    "book/api": "button.copybtn",
    "notebooks/linear": "input[type=range], .figure-files a",
}


@pytest.mark.parametrize("name", WALKS)
def test_tab_reaches_everything_in_order(browser, address, name):  # noqa: F811
    with Visit(browser, f"{address}/{name}.html", width=390) as visit:
        expected = visit.page.evaluate(REACHABLE)
        assert len(expected) > 20
        for kind in WALKS[name].split(", "):
            assert visit.page.locator(f":is({kind})[data-stop]").count() > 0, kind
        assert stops(visit.page) == expected


def test_tables_that_scroll_can_be_scrolled_by_key(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/claims.html", width=390) as visit:
        wide = "t => t.filter(t => t.scrollWidth > t.clientWidth + 1).map(t => t.tabIndex)"
        found = visit.page.eval_on_selector_all("article .pst-scrollable-table-container", wide)
        assert found and set(found) == {0}


def test_solutions_open_by_key(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/networks.html") as visit:
        solution = visit.page.locator("div.solution").first
        inside, button = solution.locator("section p").first, solution.locator("button.toggle-button")
        assert not inside.is_visible() and button.get_attribute("aria-expanded") == "false"
        button.focus()
        visit.page.keyboard.press("Enter")
        inside.wait_for(state="visible")
        visit.page.keyboard.press("Enter")
        inside.wait_for(state="hidden")


def test_questions_are_answered_by_key(browser, tmp_path):  # noqa: F811
    question = questions.predict("q", "How large?", 2.0, why="Because.", low="It is larger.")
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><html lang='en'><meta charset=utf-8><title>a</title><main><article>{question._repr_html_()}</article></main>"
    )
    with Visit(browser, page.as_uri()) as visit:
        keyboard = visit.page.keyboard
        keyboard.press("Tab")
        keyboard.type("1")
        keyboard.press("Tab")
        keyboard.press("Enter")
        assert "larger" in visit.page.inner_text("#q-told")
        keyboard.press("Tab")
        keyboard.press("Enter")
        assert visit.page.locator("details[open]").count() == 1


# --- Search, and reading without a server -----------------------------------------------------------------------------


def results(page):
    """Addresses that a search finds, in their order, when the list is complete."""
    page.wait_for_function("/\\d/.test(document.querySelector('#search-results')?.textContent)")
    page.wait_for_selector("#search-results li a")
    return page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.pathname)")


@pytest.mark.parametrize(
    "query, chapter", [("feedback alignment", "fa"), ("richness", "glossary"), ("lazy.kernels", "api")]
)
def test_search_finds_the_page(browser, html, address, query, chapter):  # noqa: F811
    for start in (address, html.resolve().as_uri()):
        with Visit(browser, f"{start}/search.html?q={query.replace(' ', '+')}") as visit:
            assert any(link.endswith(f"/{chapter}.html") for link in results(visit.page)[:3])


@pytest.mark.parametrize("name", ["book/welcome", "book/entk", "notebooks/fa", "notebooks/linear", "book/claims"])
def test_pages_work_from_a_file(browser, html, name):  # noqa: F811
    with Visit(browser, (html / f"{name}.html").resolve().as_uri()) as visit:
        assert visit.problems() == {}
        assert all(request.startswith(("file:", "data:")) for request in visit.requests)
