"""Lines of the built pages end where a reader expects it: a full stop stays with its formula, a unit with its number."""

import re
from pathlib import Path

FORMULA = re.compile(r'[(“]*<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)”]*')
BARE = re.compile(r"<span[^>]*>[^<]*</span>")
CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)  # of a table: narrow, so that every space is a place to break
BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|[GM]i?B|min|ns|s|h)[\s<,;.)])")


def together(page: str) -> str:
    """The HTML with every formula held together with the marks around it, and in tables every number with its unit."""

    def hold(found: re.Match) -> str:
        return found[0] if BARE.fullmatch(found[0]) else f'<span class="unbroken">{found[0]}</span>'

    def join(found: re.Match) -> str:
        copied = "<code" in found[0]  # a reader pastes it, and a shell knows no such space
        return found[0] if copied else BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", found[0])

    page = page.replace(' aria-label="Toggle hidden content"', "")  # hides what the fold's own words say
    return FORMULA.sub(hold, CELL.sub(join, page))


def mend(folder: Path) -> None:
    for path in folder.rglob("*.html"):
        path.write_text(together(path.read_text(encoding="utf-8")), encoding="utf-8")
