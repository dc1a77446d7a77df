"""Every page of the book in headless Chromium: on a desk and on a telephone, light and dark, without a network."""

import functools
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from test_book import PAGES

from tools import ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
SHOTS = ROOT / "_build" / "screenshots"
WIDTHS = {"wide": 1280, "narrow": 390}

RAW_TEX = r"""() => {
    const text = document.querySelector("main").cloneNode(true);
    text.querySelectorAll("pre, code, script, style, mjx-container, textarea").forEach(node => node.remove());
    return text.textContent.match(/\$\$|\\begin\{|\\frac|\\\(|\\\[|\{(eq|numref|cite|ref|doc)(:\w)?\}`|(?<!\w)\$\\\w+/g) || [];
}"""
UNNAMED = 'images => images.filter(i => !i.getAttribute("alt")?.trim()).map(i => i.outerHTML.slice(0, 200))'


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(html):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        sentence = "no Chromium was found, so the pages were not looked at: apt-get install chromium (Debian)"
        if os.environ.get("DMFTLIB_BROWSER") == "required":
            pytest.fail(sentence)
        pytest.skip(sentence)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=[f"--{flag}" for flag in FLAGS.split()])
        yield browser
        browser.close()


class Visit:
    """A loaded page, its equations set, with what went wrong on the way."""

    def __init__(self, browser, url, width=1280, theme="light"):
        self.requests, self.failures, self.errors = [], [], []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
        )
        self.page = page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.failures.append(request.url))
        page.on("response", lambda response: self.failures.append(response.url) if response.status >= 400 else None)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url, wait_until="load")
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
            "external requests": [url for url in self.requests if urlsplit(url).hostname not in ("127.0.0.1", None)],
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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, address, name, width, theme):
    with Visit(browser, f"{address}/{name}.html", WIDTHS[width], theme) as visit:
        assert visit.page.evaluate("document.documentElement.dataset.theme") == theme
        SHOTS.mkdir(parents=True, exist_ok=True)
        visit.page.screenshot(path=SHOTS / f"{name.replace('/', '-')}-{width}-{theme}.png", full_page=True)
        assert visit.problems() == {}


@pytest.mark.parametrize(
    "problem, body",
    [
        ("console errors", "<script>console.error('ours')</script>"),
        ("console errors", "<script>throw new Error('ours')</script>"),
        ("failed requests", "<img alt='a' src='missing.png'>"),
        ("external requests", "<img alt='a' src='http://192.0.2.1/a.png'>"),
        ("raw TeX", "<p>where $$x$$</p>"),
        ("raw TeX", r"<p>where \begin{aligned}</p>"),
        ("raw TeX", "<p>see {eq}`eq-a`</p>"),
        ("pictures without a text", "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"),
        ("unset equations", "<span class='math'>x</span>"),
        ("wrong equations", "<mjx-merror>undefined</mjx-merror>"),
        ("sideways scroll", "<div style='width: 5000px'>wide</div>"),
    ],
)
def test_each_problem_is_seen(browser, tmp_path, problem, body):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>a</title><main>{body}</main>")
    with Visit(browser, page.as_uri()) as visit:
        assert problem in visit.problems()
