"""Lists that the book makes of its own chapters at staging: every claim with its number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

from . import chapters, records, reproduction

SPECIAL = re.compile(r"([\\*_\[\]<>$`~^])")
VERDICTS = ("holds", "in part", "no")
FAILING = (
    "Most of the rows with *no* are meant to fail: they put a formula as printed, or carried to a rule that it was not "
    "printed for, a theory in continuous time or a lazy prediction to the test. Those that were not are discussed in their "
    "chapters: the absolute error of $K$ against $\\gamma_0$ (direct feedback alignment, finite width), the order of spreads "
    "with one hidden layer (finite width), the alignment of gated networks, their gain from richness, which was expected to "
    "be zero (beyond the paper), and the test error of networks that learn by Hebb's rule, whose bias of order $1/N$ is the "
    "largest: the row below it repeats it with networks twice as wide (beyond the paper)."
)
MEANT = re.compile("printed|continuous time|lazy|5c")  # what claims say that are meant to fail
# How those begin that were not, with their chapter, and the words above that are about them.
MISSED = {
    ("dfa", "The absolute error of K"): "absolute error of $K$ against $\\gamma_0$ (direct feedback alignment",
    ("finite_width", "The absolute error of K"): "finite width), the order",
    ("finite_width", "Hebb spreads most"): "order of spreads",
    ("gln", "(a) GLN tracks GD: eNTK"): "alignment of gated networks",
    ("beyond", "… and the networks' is zero"): "their gain from richness",
    ("beyond", "Theory predicts test errors"): "test error of networks that learn by Hebb's rule",
}


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
    from .pages import table

    counts, lists = [], []
    for path in ordered(tree):
        notebook = chapters.read(path)
        rows = records.claims(notebook)
        if not rows:
            continue
        label = re.search(r"^\((\S+)\)=\n## Claims", "\n".join(c.source for c in notebook.cells), re.MULTILINE)
        title, found = heading(notebook), Counter(row["verdict"] for row in rows)
        link = f"[{title}](../notebooks/{path.name})"
        counts.append((link, *(found[verdict] for verdict in VERDICTS)))
        where = f"{{ref}}`Its table <{label.group(1)}>`" if label else f"[The chapter](../notebooks/{path.name})"
        names = ("claim", "verdict", "quantity", "theory", "networks", "paper figure")
        shown = [
            (k, *(plain(row[name]) for name in names), drawn(row["paper figure"], there))
            for k, row in enumerate(rows, 1)
        ]
        middle = ("claim", "verdict", "quantity", "theory", "network mean ± SE (N, seeds)", "paper figure")
        head = (path.stem, *middle, "that figure here")
        lists += [f"## {title}", f"{where} states the rule of the verdicts.", table(head, shown)]
    if not lists:
        return "No chapter of this book has a table of claims.\n"
    total = ("all", *(sum(row[k] for row in counts) for k in (1, 2, 3)))
    return "\n\n".join([table(("chapter", *VERDICTS), [*counts, total]), FAILING, *lists]) + "\n"
