"""What the pages about claims list: every claim with its number, what each panel of the paper shows, runs at the paper's scale."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import chapters, contents, costs, records
from .markdown import chapter_link, commit, table
from .parameters import all_presets, read_notebook, read_presets

PANEL = re.compile("[12][a-f]?|3[a-e]?|4[a-d]?|5[a-c]?")
SPECIAL = re.compile(r"([\\*_\[\]<>$`~^])")
COUNTED = {
    "verdict": ("holds", "in part", "no", "unknown"),
    "occurs": ("yes", "in part", "depends on the step", "no", "unknown"),
}
MEANT = re.compile("printed|continuous time|lazy|5c")  # what claims say that are meant to fail


def plain(text: str) -> str:
    """`text` so that Markdown shows it as it is."""
    return SPECIAL.sub(r"\\\1", text)


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a claim fails that is not meant to."""
    return (row["verdict"] == "no" and not MEANT.search(row["claim"])) or row["occurs"] not in ("yes", "—")


def panels(label: str) -> list[str]:
    """The panels, or whole figures, that a label of a claim names: '2d–f, 3' is 2d, 2e, 2f and 3; others name none."""
    found = []
    for part in label.split(", "):
        if match := re.fullmatch(r"([1-5])([a-f])–([a-f])", part):
            found += [match[1] + chr(n) for n in range(ord(match[2]), ord(match[3]) + 1)]
        elif PANEL.fullmatch(part):
            found.append(part)
    return found


def expected(row: Mapping[str, Any]) -> tuple[str, str]:
    """Theory with what the rule of verdicts allows beside it, and the networks' mean, so written that both show the verdict.

    Three digits, two for what is allowed, unless rounding puts the difference on the other side of it: then more.
    """
    shown, numbers = row["networks"].rpartition(" (")[0], row["numbers"]
    if numbers["allowed"] is None:
        return f"{row['theory']} ± steps above 2 SE" if row["theory"] else "steps above 2 SE", shown
    (value,), (mean,), allowed = numbers["theory"], numbers["networks"], numbers["allowed"]
    for digits in range(3, 18):
        told = f"{value:.{digits}g}", f"{allowed:.{digits - 1}g}", f"{mean:.{digits}g}"
        near, limit, far = map(float, told)
        if (abs(near - far) <= limit) == (abs(value - mean) <= allowed):
            break
    return f"{told[0]} ± {told[1]}", f"{told[2]} ± {numbers['networks_error'][0]:.1g}"


def reproduced(chapter: str, claim: Mapping[str, Any]) -> tuple[str, ...]:
    """A claim as the page on the panels of the paper has it."""
    where = claim["networks"].rpartition(" (")[2].removesuffix(")").removeprefix("N = ").replace(" seeds", "")
    told = (claim[name] for name in ("claim", "occurs", "verdict", "quantity"))
    return *told, *expected(claim), "; ".join(where.rsplit(", ", 1)), chapter_link(chapter)


def commands(names: Iterable[str]) -> str:
    """How each chapter is run, with what seed, and what that took and where, by default and at the paper's scale."""
    rows = []
    for chapter in names:
        default = read_notebook(chapters.read(chapters.committed(chapter)))["seed"].default
        runs = [("", default, costs.table().get(chapter), "one core of ")]
        for preset in all_presets(records.presets()):
            record = records.kept(chapter, preset)
            if record and chapter in read_presets(records.presets(), preset):
                seed = record["parameters"].get("seed", default)
                runs.append((f" PRESET={preset}", seed, record | record["machine"], ""))
        for preset, seed, row, where in runs:
            told = (costs.time(row), costs.memory(row), where + costs.machine(row)) if row else None
            rows.append((f"`make run CHAPTER={chapter}{preset}`", seed, *(told or ("not measured", "", ""))))
    return table(("command", "seed", "time", "memory", "machine"), rows)


@dataclass(frozen=True)
class Book:
    """The claims of the chapters of a staged book, and the figures of this book that show each panel of the paper."""

    notebooks: Mapping[str, Any]  # by chapter, in order
    figures: Mapping[str, list[str]] = field(default_factory=dict)

    @cached_property
    def claims(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the tables of claims by chapter, where there are any."""
        found = {chapter: records.claims(notebook) for chapter, notebook in self.notebooks.items()}
        return {chapter: rows for chapter, rows in found.items() if rows}

    def title(self, chapter: str) -> str:
        return re.search(r"^# (.+)$", self.notebooks[chapter].cells[0].source, re.MULTILINE)[1]

    def counts(self) -> str:
        """How many claims of each chapter have which verdict."""
        from companion.claims import COLUMNS  # slow to import

        counts = []
        for chapter, rows in self.claims.items():
            found = {name: Counter(row[name] for row in rows) for name in COUNTED}
            numbers = (found[name][verdict] for name, verdicts in COUNTED.items() for verdict in verdicts)
            counts.append((chapter_link(chapter, self.title(chapter)), *numbers))
        total = ("all", *map(sum, list(zip(*counts))[1:]))
        verdicts = (f"{COLUMNS[name]}: {verdict}" for name, verdicts in COUNTED.items() for verdict in verdicts)
        return table(("chapter", *verdicts), [*counts, total])

    def missed(self) -> str:
        """Claims that fail and were not meant to."""
        names = ("claim", "occurs", "verdict", "quantity")
        rows = [
            (chapter_link(chapter, self.title(chapter)), *(plain(row[name]) for name in names))
            for chapter, rows in self.claims.items()
            for row in rows
            if failed(row)
        ]
        return table(("chapter", "claim", "occurs", "theory = networks", "quantity"), rows)

    def label(self, chapter: str) -> str:
        """What refers to a chapter's own table of claims."""
        text = "\n".join(cell.source for cell in self.notebooks[chapter].cells)
        return re.search(r"^\((\S+)\)=\n## Claims", text, re.MULTILINE)[1]

    def listed(self, chapter: str) -> str:
        """Every claim of a chapter, numbered."""
        from companion.claims import COLUMNS, HEAD  # slow to import

        rows = [
            (k, *(plain(row[name]) for name in COLUMNS), self.drawn(row["paper figure"]))
            for k, row in enumerate(self.claims[chapter], 1)
        ]
        return table((chapter, *HEAD, "that figure here"), rows)

    def drawn(self, label: str) -> str:
        """The figures of this book that show what a claim's label names: a panel of the paper, several, or a whole figure."""
        named = panels(label)
        shown = [self.figures[panel] for panel in self.figures if panel in named or panel[0] in named]
        links = [*dict.fromkeys(link for links in shown for link in links)]
        return ", ".join(links) if len(links) < 3 else f"{links[0]} … {links[-1]}"

    def about(self, panel: str) -> list[tuple[str, dict[str, Any]]]:
        """Chapters and their claims about a panel, but for those that test a formula as it was printed: see the errata."""
        every = [(chapter, row) for chapter, rows in self.claims.items() for row in rows]
        return sorted(
            (one for one in every if "printed" not in one[1]["claim"] and panel in panels(one[1]["paper figure"])),
            key=lambda one: one[0],
        )

    def commands(self, figure: str) -> str:
        """How to run the chapters that have claims about a figure of the paper."""
        here = [figure, *(panel for panel in contents.paper()["shows"] if panel[0] == figure)]
        return commands(sorted({chapter for panel in here for chapter, _ in self.about(panel)}))

    def reproduced(self, panel: str) -> str:
        """What to expect of a panel of the paper."""
        head = ("claim", "occurs", "theory = networks", "quantity", "expected ± tolerance", "networks, mean ± SE",
                "N; seeds", "chapter")  # fmt: skip
        return table(head, [reproduced(chapter, row) for chapter, row in self.about(panel)])


# --- Runs with a preset -----------------------------------------------------------------------------------------------


def recorded(preset: str) -> dict[str, dict[str, Any] | None]:
    """What was recorded of the chapters' runs with a preset."""
    return {chapter: records.kept(chapter, preset) for chapter in read_presets(records.presets(), preset)}


def runs(preset: str) -> str:
    """How they ran, and on what."""
    rows = []
    for chapter, record in recorded(preset).items():
        told = ("not run yet", *[""] * 5)
        if record:
            width, most = records.networks(record) or ("—", "—")
            took = f"{record['seconds']:.0f} s", costs.memory(record), costs.machine(record["machine"])
            told = (width, most, *took, commit(record))
        rows.append((f"`make run CHAPTER={chapter} PRESET={preset}`", *told))
    return table(("command", "N", "networks", "time", "memory", "machine", "commit"), rows)


def verdicts(preset: str) -> str:
    """How many claims hold, and how many phenomena occur."""
    rows = []
    for chapter, record in recorded(preset).items():
        found = [row for row in record["claims"]] if record else []
        counts = Counter(row["verdict"] for row in found)
        occurs = Counter(row.get("occurs", "—") for row in found)  # "—": recorded before they had a column
        if record:
            about = f"{occurs['yes']} of {len(found) - occurs['—']}"
            rows.append((chapter_link(chapter), *(counts[verdict] for verdict in ("holds", "in part", "no")), about))
    return table(("chapter", "holds", "in part", "no", "phenomena that occur"), rows)


def failing(preset: str) -> str:
    """The claims that do not hold, or only in part, and phenomena that do not occur."""
    rows = [
        (chapter_link(chapter), *(row.get(name, "—") for name in ("claim", "quantity", "theory", "networks", "occurs", "verdict")))
        for chapter, record in recorded(preset).items()
        for row in (record or {"claims": []})["claims"]
        if row["verdict"] not in ("holds", "—") or row.get("occurs", "—") not in ("yes", "—")
    ]  # fmt: skip
    head = ("chapter", "claim", "quantity", "theory", "network mean ± SE (N, seeds)", "occurs", "theory = networks")
    return table(head, rows)
