"""The page of notation against the formulas of all pages and chapters: every symbol of a displayed equation is on it."""

import re

import pytest

from tools import ROOT, chapters

EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!\$)\$(?!\$)([^$]+)\$(?!\$)")
# Layout, delimiters, relations and other signs that are read without a word of explanation, and words set upright.
PLAIN = re.compile(
    r"\\(?:begin|end)\{\w+\}|\\text\{[^}]*\}|\\text(?:style)?(?![a-z])|\\(?:quad|qquad|big|Big|bigg|frac|tfrac|sqrt"
    r"|sum|prod|cdot|cdots|dots|times|pm|left|right|le|ge|ne|in|to|sim|simeq|approx|propto|leftarrow|Rightarrow|perp"
    r"|sinh|cosh|sin|cos|tanh|exp|ln|log|max|langle|rangle|lVert|rVert|lvert|rvert|big|Big|limits|displaystyle|rm)(?![a-zA-Z])"
    r"|_\{?\s*\\(?:rm|max)\s*\w*\}?|\\rm\s*\w+|\\[!,;:|{}&\\ ]"
)
ACCENTED = r"\\(?:tilde|bar|hat|widehat|mathcal|mathsf|mathbb|mathrm|mathtt|operatorname)\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\\?[A-Za-z]+)"
SYMBOL = re.compile(ACCENTED + r"|\\[A-Za-z]+|[A-Za-z]")
DOTS = re.compile(r"\\d?dot(?=[\\{\s])")  # a rate is no symbol of its own


def symbols(formula):
    """Letters of a formula with their accents, without indices' and braces' ways of writing: {'\\tilde g', 'h', '\\mu'}."""
    found = SYMBOL.findall(DOTS.sub(" ", PLAIN.sub(" ", formula)))
    return {re.sub(r"[{}\s]", "", symbol) for symbol in found}


def pages():
    for path in sorted((ROOT / "book").glob("*.md")):
        if path.stem != "notation":
            yield path.stem, path.read_text(encoding="utf-8")
    for name in chapters.names():
        cells = chapters.read(chapters.committed(name)).cells
        yield name, "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


PAGES = dict(pages())
ROWS = [
    line.split("|")[1]
    for line in (ROOT / "book" / "notation.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| $") or line.startswith("| `")
]
EXPLAINED = set().union(*(symbols(formula) for row in ROWS for formula in INLINE.findall(row)))


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if EQUATION.search(text)])
def test_every_symbol_of_an_equation_is_on_the_page_of_notation(page):
    used = set().union(*map(symbols, EQUATION.findall(PAGES[page])))
    assert used - EXPLAINED == set()


def test_every_symbol_on_the_page_of_notation_is_used():
    used = set()
    for text in PAGES.values():
        for formula in EQUATION.findall(text) + INLINE.findall(EQUATION.sub("", text)):
            used |= symbols(formula)
    assert EXPLAINED - used == set()
