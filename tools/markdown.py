"""How pages write tables, links and numbers.

Pages of `book/` and the files of `tools/templates/` are templates of Jinja2: `<< expression >>` becomes its value,
and `<% statement %>` takes no line of its own.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SPECIAL = re.compile(r"([\\*_\[\]<>$`~^])")


def cell(text: object) -> str:
    """A bar inside a cell of a table does not end it."""
    return str(text).replace("|", "\\|")


def plain(text: str) -> str:
    """A cell that shows `text` as it is."""
    return cell(SPECIAL.sub(r"\\\1", text))


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def chapter_link(chapter: str, text: str = "") -> str:
    return f"[{text or chapter}](../notebooks/{chapter}.ipynb)"


def number(value: float | None) -> str:
    """Rounded to two significant digits, without powers of ten: 0.59, 2.3, 41, 27000; 'never' for None."""
    if value is None:
        return "never"
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if abs(rounded) >= 10 else f"{rounded:.2g}"


def percent(share: float) -> str:
    return f"{number(100 * share)} %"


def commit(record: dict) -> str:
    """`abc1234`, with whether there were changes besides; nothing outside of a repository."""
    dirty = " with uncommitted changes" if record["dirty"] else ""
    return record["commit"] and f"`{record['commit']}`{dirty}"


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
TEMPLATES.filters |= {"cell": cell, "link": chapter_link, "number": number, "percent": percent, "plain": plain}
