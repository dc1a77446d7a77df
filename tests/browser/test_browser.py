"""Every page of the book in headless Chromium, from its file: on a telephone in the dark, on a desk in the light, for every reader."""

import os
from importlib.metadata import distribution
from urllib.parse import urlsplit

import numpy as np
import pytest
from test_book import PAGES

from companion.sliders import QUANTITIES, RULES, two_layer
from tools import ROOT
from tools.pdf import BROWSER

SHOTS = ROOT / "_build" / "screenshots"
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

RAW_TEX = r"""() => {
    const text = document.querySelector("main").cloneNode(true);
    text.querySelectorAll("pre, code, script, style, mjx-container, textarea").forEach(node => node.remove());
    return text.textContent.match(/\$\$|\\begin\{|\\frac|\\\(|\\\[|\{(eq|numref|cite|ref|doc)(:\w)?\}`|(?<!\w)\$\\\w+/g) || [];
}"""
UNNAMED = 'images => images.filter(i => !i.getAttribute("alt")?.trim()).map(i => i.outerHTML.slice(0, 200))'


def need_browser():
    """Skip where there is no browser, or fail where one is required."""
    if BROWSER is None:
        sentence = "no Chromium was found, so the pages were not looked at: apt-get install chromium (Debian)"
        if os.environ.get("DMFTLIB_BROWSER") == "required":
            pytest.fail(sentence)
        pytest.skip(sentence)


@pytest.fixture(scope="module")
def browser():
    need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


class Visit:
    """A loaded page, its equations set, with what went wrong on the way."""

    def __init__(self, browser, url, width=1280, theme="light", scripts=True):
        self.requests, self.failures, self.errors = [], [], []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=scripts
        )
        self.page = page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failures.append(request.url))
        page.on("response", lambda response: self.failures.append(response.url) if response.status >= 400 else None)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url, wait_until="load")
        if scripts:
            page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise }")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.context.close()

    def problems(self):
        page = self.page
        found = {
            "console errors": [error for error in self.errors if "THEBE_JS_URL" not in error],  # the theme's own
            "failed requests": self.failures,
            "external requests": [url for url in self.requests if urlsplit(url).scheme not in ("file", "data")],
            "raw TeX": page.evaluate(RAW_TEX),
            "pictures without a text": page.eval_on_selector_all("main img", UNNAMED),
            "unset equations": page.eval_on_selector_all(
                "main .math", "maths => maths.filter(m => !m.querySelector('mjx-container')).map(m => m.textContent)"
            ),
            "wrong equations": page.eval_on_selector_all(
                "mjx-merror, [data-mjx-error]", "nodes => nodes.map(n => n.dataset.mjxError || n.textContent)"
            ),
        }
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if overflow > 0:
            found["sideways scroll"] = [f"{overflow} px"]
        return {problem: where for problem, where in found.items() if where}

    def violations(self, *rules):
        """What axe finds, by all of its rules or by these, without what is known."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.add_script_tag(path=AXE)
        return self.page.evaluate(RUN, [[list(entry[:2]) for entry in KNOWN], list(rules)])


@pytest.mark.parametrize("name", PAGES)
def test_page(browser, html, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / name.replace("/", "-")
    with Visit(browser, (html / f"{name}.html").as_uri(), 390, "dark") as visit:
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert visit.problems() == {} and visit.violations("color-contrast") == []
        visit.page.screenshot(path=f"{shot}-narrow-dark.png", full_page=True)
        visit.page.add_style_tag(content="* { transition: none !important }")  # colours of the theme fade
        visit.page.set_viewport_size({"width": 1280, "height": 900})
        visit.page.emulate_media(color_scheme="light")
        visit.page.wait_for_function("document.documentElement.dataset.theme == 'light'")
        assert visit.problems() == {} and visit.violations() == []
        visit.page.screenshot(path=f"{shot}-wide-light.png", full_page=True)


# --- The figure with sliders ------------------------------------------------------------------------------------------


CURVES = """() => Object.fromEntries(document.getElementById("two-layer-plot").data.map(
    curve => [curve.name + " " + curve.yaxis, [...curve.y]]))"""


def assert_shows(page, gamma0, rho):
    """Every curve, and the table, are those of the library at this γ₀ and ρ; test_sliders.py compares these with closed forms."""
    shown, expected = page.evaluate(CURVES), two_layer(gamma0=gamma0, rho=rho)
    assert len(shown) == 12
    for k, rule in enumerate(RULES):
        for axis, quantity in zip(("y", "y2", "y3"), QUANTITIES):
            np.testing.assert_allclose(shown[f"{rule} {axis}"], expected.curve(rule, quantity), rtol=1e-3, atol=1e-12)
        for q, quantity in ((1, "H_y"), (2, "G_tilde")):
            told = float(page.inner_text(f"#two-layer-end-{k}-{q}"))
            np.testing.assert_allclose(told, expected.curve(rule, quantity, "ends"), rtol=1e-3, atol=1e-12)


def test_sliders_move_all_curves_by_key(browser, html):
    for width, theme in ((1280, "light"), (390, "dark")):
        with Visit(browser, (html / "notebooks" / "linear.html").as_uri(), width, theme) as visit:
            page = visit.page
            page.wait_for_selector("#two-layer-plot .main-svg")
            assert page.is_hidden("#two-layer-picture")
            assert_shows(page, 1.0, 0.5)
            gamma0, rho = page.get_by_label("Richness γ₀"), page.get_by_label("Feedback correlation ρ")
            gamma0.focus()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Tab")
            page.keyboard.press("End")
            for slider, told in ((gamma0, "γ₀ = 2"), (rho, "ρ = 1")):
                assert slider.get_attribute("aria-valuetext") == told
            assert page.inner_text("#two-layer-gamma0-value") == "2" and page.inner_text("#two-layer-rho-value") == "1"
            assert_shows(page, 2.0, 1.0)
            page.keyboard.press("Home")
            assert_shows(page, 2.0, 0.0)
            box = page.locator("#two-layer-plot .main-svg").first.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width


@pytest.mark.parametrize("scripts", [True, False])
def test_without_scripts_or_plotly_a_picture_stands_in_place_of_the_sliders(browser, tmp_path, scripts):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><main>{two_layer()._repr_html_()}</main>")
    with Visit(browser, page.as_uri(), scripts=scripts) as visit:
        assert visit.page.is_visible("#two-layer-picture") and visit.page.get_attribute("#two-layer-picture", "alt")
        assert visit.page.is_hidden("#two-layer-controls") and visit.page.is_hidden("#two-layer-plot")
        assert visit.page.inner_text("#two-layer-end-0-1") == "1.803"
