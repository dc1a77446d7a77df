"""What the pages about claims list: every claim with its number, what each panel of the paper shows, runs at the paper's scale."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from . import chapters, contents, costs, run_records
from .markdown import chapter_link, table
from .parameters import read_notebook, read_presets

PANEL = re.compile("[12][a-f]?|3[a-e]?|4[a-d]?|5[a-c]?")
COUNTED = {
    "verdict": ("holds", "in part", "no", "unknown"),
    "occurs": ("yes", "in part", "depends on the step", "no", "unknown"),
}
MEANT = re.compile("printed|continuous time|lazy|5c")  # what claims say that are meant to fail


def failed(row: dict) -> bool:
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


def expected(row: dict) -> tuple[str, str]:
    """Theory with what the rule of verdicts allows beside it, and the networks' mean, in digits enough to compare them."""
    shown, numbers = row["networks"].rpartition(" (")[0], row["numbers"]
    if numbers["allowed"] is None:
        return f"{row['theory']} ± steps above 2 SE" if row["theory"] else "steps above 2 SE", shown
    (value,), (mean,), (error,) = numbers["theory"], numbers["networks"], numbers["networks_error"]
    return f"{value:.4g} ± {numbers['allowed']:.3g}", f"{mean:.4g} ± {error:.1g}"


def where(row: dict) -> str:
    """Widths and numbers of the networks of a claim: 'N; seeds'."""
    trained = row["networks"].rpartition(" (")[2].removesuffix(")").removeprefix("N = ").replace(" seeds", "")
    return "; ".join(trained.rsplit(", ", 1))


def commands(names: Iterable[str]) -> str:
    """How each chapter is run, with what seed, and what that took and where, by default and at the paper's scale."""
    rows = []
    for chapter in names:
        default = read_notebook(chapters.read(chapters.committed(chapter)))["seed"].default
        runs = [("", default, costs.table().get(chapter), "one core of ")]
        for preset, about in read_presets(run_records.presets()).items():
            if chapter in about and (record := run_records.kept(chapter, preset)):
                seed = record["parameters"].get("seed", default)
                runs.append((f" PRESET={preset}", seed, record | record["machine"], ""))
        for preset, seed, row, where in runs:
            told = (costs.time(row), costs.memory(row), where + costs.machine(row)) if row else None
            rows.append((f"`make run CHAPTER={chapter}{preset}`", seed, *(told or ("not measured", "", ""))))
    return table(("command", "seed", "time", "memory", "machine"), rows)


@dataclass(frozen=True)
class Book:
    """The claims of the chapters of a staged book, and the figures of this book that show each panel of the paper."""

    notebooks: dict  # by chapter, in order
    figures: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def claims(self) -> dict[str, list[dict]]:
        """Rows of the tables of claims by chapter, where there are any."""
        return {chapter: rows for chapter, nb in self.notebooks.items() if (rows := run_records.claims(nb))}

    def found(self, chapter: str, pattern: str) -> str:
        """What a pattern finds in the text of a chapter."""
        text = "\n".join(cell.source for cell in self.notebooks[chapter].cells)
        return re.search(pattern, text, re.MULTILINE)[1]

    def title(self, chapter: str) -> str:
        return self.found(chapter, "^# (.+)$")

    def label(self, chapter: str) -> str:
        """What refers to a chapter's own table of claims."""
        return self.found(chapter, r"^\((\S+)\)=\n## Claims")

    def number(self, chapter: str, name: str) -> str:
        """What a chapter glued as `chapter-name`, as its own page shows it."""
        outputs = (output for cell in self.notebooks[chapter].cells for output in cell.get("outputs", []))
        glued = {o.metadata["scrapbook"]["name"]: o for o in outputs if "scrapbook" in o.get("metadata", {})}
        return glued[f"{chapter}-{name}"].data["application/papermill.record/text/plain"].strip("'")

    def counts(self) -> str:
        """How many claims of each chapter have which verdict."""
        from companion.claims import COLUMNS  # slow to import

        verdicts = [(name, verdict) for name, all_of_them in COUNTED.items() for verdict in all_of_them]
        counts = {
            chapter: [sum(row[name] == verdict for row in rows) for name, verdict in verdicts]
            for chapter, rows in self.claims.items()
        }
        rows = [(chapter_link(chapter, self.title(chapter)), *numbers) for chapter, numbers in counts.items()]
        head = ("chapter", *(f"{COLUMNS[name]}: {verdict}" for name, verdict in verdicts))
        return table(head, [*rows, ("all", *map(sum, zip(*counts.values())))])

    def drawn(self, label: str) -> str:
        """The figures of this book that show what a claim's label names: a panel of the paper, several, or a whole figure."""
        named = panels(label)
        shown = [self.figures[panel] for panel in self.figures if panel in named or panel[0] in named]
        links = [*dict.fromkeys(link for links in shown for link in links)]
        return ", ".join(links) if len(links) < 3 else f"{links[0]} … {links[-1]}"

    def about(self, panel: str) -> list[tuple[str, dict]]:
        """Chapters and their claims about a panel, but for those that test a formula as it was printed: see the errata."""
        return [
            (chapter, row)
            for chapter in sorted(self.claims)
            for row in self.claims[chapter]
            if "printed" not in row["claim"] and panel in panels(row["paper figure"])
        ]

    def commands(self, figure: str) -> str:
        """How to run the chapters that have claims about a figure of the paper."""
        here = [figure, *(panel for panel in contents.paper()["shows"] if panel[0] == figure)]
        return commands(sorted({chapter for panel in here for chapter, _ in self.about(panel)}))


# --- Runs with a preset -----------------------------------------------------------------------------------------------


def recorded(preset: str) -> dict[str, dict | None]:
    """What was recorded of the chapters' runs with a preset."""
    return {chapter: run_records.kept(chapter, preset) for chapter in read_presets(run_records.presets())[preset]}


def verdicts(preset: str) -> str:
    """How many claims hold, and how many phenomena occur."""
    rows = []
    for chapter, record in recorded(preset).items():
        if record:
            counts = Counter(row["verdict"] for row in record["claims"])
            occurs = [row["occurs"] for row in record["claims"] if row.get("occurs", "—") != "—"]
            about = f"{occurs.count('yes')} of {len(occurs)}"
            rows.append((chapter_link(chapter), *(counts[verdict] for verdict in ("holds", "in part", "no")), about))
    return table(("chapter", "holds", "in part", "no", "phenomena that occur"), rows)


def failing(preset: str) -> list[tuple[str, dict]]:
    """Chapters and their claims that do not hold, or only in part, or about phenomena that do not occur."""
    return [
        (chapter, row)
        for chapter, record in recorded(preset).items()
        for row in (record or {"claims": []})["claims"]
        if row["verdict"] not in ("holds", "—") or row.get("occurs", "—") not in ("yes", "—")
    ]
