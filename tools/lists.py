"""Lists that the book makes of its own chapters at staging: every claim with its number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from . import chapters, records, reproduction

SPECIAL = re.compile(r"([\\*_\[\]<>$`~^])")
COUNTED = {
    "verdict": ("holds", "in part", "no", "unknown"),
    "occurs": ("yes", "in part", "depends on the step", "no", "unknown"),
}
MEANT = re.compile("printed|continuous time|lazy|5c")  # what claims say that are meant to fail
FAILING = (
    "Most of the rows where theory and networks do not agree are meant to fail: they put a formula as printed, or carried to a rule that it was not "
    "printed for, a theory in continuous time or a lazy prediction to the test."
)
MISSED = "These were not meant to fail, or are about a phenomenon that does not occur. Their chapters discuss them."


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a claim fails that is not meant to."""
    return (row["verdict"] == "no" and not MEANT.search(row["claim"])) or row["occurs"] not in ("yes", "—")


def plain(text: str) -> str:
    """`text` so that Markdown shows it as it is."""
    return SPECIAL.sub(r"\\\1", text)


def ordered(tree: Path) -> list[Path]:
    """The chapters of a staged book, in the order of its contents."""
    toc = yaml.safe_load((tree / "_toc.yml").read_text(encoding="utf-8"))
    parts = [toc, *toc.get("parts", [])]
    files = [entry["file"] for part in parts for entry in part.get("chapters", [])]
    return [tree / f"{file}.ipynb" for file in files if file.startswith("notebooks/")]


def heading(notebook) -> str:
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE).group(1)


def drawn(label: str, there: Mapping[str, list[str]]) -> str:
    """The figures of this book that show what a claim's label names: a panel of the paper, several, or a whole figure."""
    named = reproduction.panels(label)
    links = [*dict.fromkeys(link for p in there if p in named or p[0] in named for link in there[p])]
    return ", ".join(links) if len(links) < 3 else f"{links[0]} … {links[-1]}"


def claims(tree: Path, there: Mapping[str, list[str]] = MappingProxyType({})) -> str:
    """Every row of every table of claims of a staged book, chapter by chapter, and how many hold.

    `there` is `figures.homes`: the figures of this book that show each panel of the paper.
    """
    from companion.claims import COLUMNS, HEAD  # slow to import

    from .pages import table

    counts, missed, lists = [], [], []
    for path in ordered(tree):
        notebook = chapters.read(path)
        rows = records.claims(notebook)
        if not rows:
            continue
        label = re.search(r"^\((\S+)\)=\n## Claims", "\n".join(c.source for c in notebook.cells), re.MULTILINE)
        title, link = heading(notebook), f"[{heading(notebook)}](../notebooks/{path.name})"
        found = {name: Counter(row[name] for row in rows) for name in COUNTED}
        counts.append((link, *(found[name][verdict] for name, verdicts in COUNTED.items() for verdict in verdicts)))
        texts = [{name: plain(text) for name, text in row.items() if name != "numbers"} for row in rows]
        missed += [
            (link, *(text[name] for name in ("claim", "occurs", "verdict", "quantity")))
            for row, text in zip(rows, texts)
            if failed(row)
        ]
        where = f"{{ref}}`Its table <{label.group(1)}>`" if label else f"[The chapter](../notebooks/{path.name})"
        shown = [
            (k, *(text[name] for name in COLUMNS), drawn(text["paper figure"], there))
            for k, text in enumerate(texts, 1)
        ]
        head = (path.stem, *HEAD, "that figure here")
        lists += [f"## {title}", f"{where} states the rule of the verdicts.", table(head, shown)]
    if not lists:
        return "No chapter of this book has a table of claims.\n"
    total = ("all", *(sum(column) for column in list(zip(*counts))[1:]))
    head = ("chapter", *(f"{COLUMNS[name]}: {verdict}" for name, verdicts in COUNTED.items() for verdict in verdicts))
    told = [table(head, [*counts, total]), FAILING]
    if missed:
        told += [MISSED, table(("chapter", "claim", "occurs", "theory = networks", "quantity"), missed)]
    return "\n\n".join([*told, *lists]) + "\n"
