"""Lines of the built pages end where a reader expects it: a full stop stays with the formula that it follows."""

from __future__ import annotations

import re
from pathlib import Path

FORMULA = re.compile(r'[(“]*<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)”]*')
BARE = re.compile(r"<span[^>]*>[^<]*</span>")


def together(page: str) -> str:
    """The HTML with every formula in the text held together with the marks around it, which browsers part from it."""

    def hold(found: re.Match) -> str:
        return found[0] if BARE.fullmatch(found[0]) else f'<span class="unbroken">{found[0]}</span>'

    return FORMULA.sub(hold, page)


def mend(folder: Path) -> None:
    for path in folder.rglob("*.html"):
        path.write_text(together(path.read_text(encoding="utf-8")), encoding="utf-8")
