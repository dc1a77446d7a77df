"""The pages for everyone: keyboard and search."""

import pytest
from test_browser import Visit, browser  # noqa: F401  fixture

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
def test_tab_reaches_everything_in_order(browser, html, name):  # noqa: F811
    with Visit(browser, (html / f"{name}.html").as_uri(), width=390) as visit:
        expected = visit.page.evaluate(REACHABLE)
        assert len(expected) > 20
        for kind in WALKS[name].split(", "):
            assert visit.page.locator(f":is({kind})[data-stop]").count() > 0, kind
        assert stops(visit.page) == expected


def test_solutions_open_by_key(browser, html):  # noqa: F811
    with Visit(browser, (html / "book" / "networks.html").as_uri()) as visit:
        solution = visit.page.locator("div.solution").first
        inside, button = solution.locator("section p").first, solution.locator("button.toggle-button")
        assert not inside.is_visible() and button.get_attribute("aria-expanded") == "false"
        button.focus()
        visit.page.keyboard.press("Enter")
        inside.wait_for(state="visible")
        visit.page.keyboard.press("Enter")
        inside.wait_for(state="hidden")


@pytest.mark.parametrize(
    "query, chapter", [("feedback alignment", "fa"), ("richness", "glossary"), ("lazy.kernels", "api")]
)
def test_search_finds_the_page(browser, html, query, chapter):  # noqa: F811
    with Visit(browser, f"{(html / 'search.html').as_uri()}?q={query.replace(' ', '+')}") as visit:
        visit.page.wait_for_selector("#search-results li a")
        visit.page.wait_for_function("/\\d/.test(document.querySelector('#search-results')?.textContent)")
        links = visit.page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.pathname)")
        assert any(link.endswith(f"/{chapter}.html") for link in links[:3])
