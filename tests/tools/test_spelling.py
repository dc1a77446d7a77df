"""British spelling, with -ize, of all prose: pages, chapters, docstrings, and the files at the root."""

import ast
import re

import pytest
from spellchecker import SpellChecker

from tools import ROOT, chapters

CHECKER, KEPT = SpellChecker(distance=1), (ROOT / "tests" / "spelling.txt").read_text(encoding="utf-8").split()
# What is not prose: code, formulas, directives' names and options, roles, addresses, citations, HTML.
NOT_PROSE = re.compile(
    r"^(`{3,})(?:python|bash|text)$.*?^\1$"
    r"|\$\$.*?\$\$(?: \([\w-]+\))?|\$[^$\n]+\$|\$[^$]+?\$"
    r"|^`{3,}[^\n]*$|^:[\w-]+:.*?$|^\([\w-]+\)=$|^%.*?$"
    r"|\{[\w:]+\}`(?:[^`<]*<[^`]*>|[^`]*)`|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>]+>|^\|[-| ]+\|$",
    re.DOTALL | re.MULTILINE,
)
# A role's own text is prose: {term}`two words <target>`.
SHOWN = re.compile(r"\{(?:term|ref)\}`([^`<]*?)(?: <[^`]*>)?`")
WORD = re.compile(r"(?<![\w.\\/@-])[A-Za-zé]+(?:['’][a-z]+)?(?![\w/@]|\.\w|\()")
AMERICAN = re.compile(
    r"\b(?:[a-z]*(?:color|behavior|neighbor|favor|honor|labor)(?:s|ed|ing|al|able|hood)?|center(?:s|ed)?|gray|analyze[sd]?"
    r"|model(?:ed|ing)|label(?:ed|ing)|travel(?:ed|ing)|catalog|defense|license[sd]?(?= of\b)|judgment)\b",
    re.IGNORECASE,
)


def prose(text):
    """`text` without what is not prose."""
    return NOT_PROSE.sub(" ", SHOWN.sub(r"\1", text))


def docstrings(path):
    """Docstrings of a module; words that name arguments or quote code are set apart by backticks or columns."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield re.sub(r"^[\w, ]+(?:\([^)]*\))?  +", " ", text, flags=re.MULTILINE)


def texts():
    """Where every piece of prose is, and what it says."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("book/*.md")]:
        yield path.relative_to(ROOT).as_posix(), prose(path.read_text(encoding="utf-8"))
    for name in chapters.names():
        cells = chapters.read(chapters.committed(name)).cells
        yield f"notebooks/{name}.ipynb", prose("\n\n".join(c.source for c in cells if c.cell_type == "markdown"))
    for path in [*ROOT.glob("dmftlib/**/*.py"), *ROOT.glob("companion/*.py"), *ROOT.glob("tools/*.py")]:
        yield path.relative_to(ROOT).as_posix(), prose("\n\n".join(docstrings(path)))


def unknown(text):
    """Words of a text that are neither in the list of English words nor kept, without case."""
    words = {word.lower().replace("’", "'").removesuffix("'s") for word in WORD.findall(text) if len(word) > 2}
    return sorted(CHECKER.unknown(words - set(KEPT)))


@pytest.mark.parametrize("where, text", list(texts()), ids=[where for where, _ in texts()])
def test_every_word_is_a_word(where, text):
    assert unknown(text) == []
    assert AMERICAN.findall(text) == []


def test_the_list_of_kept_words_is_sorted_and_holds_no_word_that_is_known_anyway():
    assert sorted(set(KEPT)) == KEPT and CHECKER.known(KEPT) == set()
