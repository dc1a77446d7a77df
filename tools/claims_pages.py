"""What two pages say from tables of claims: every claim by chapter, and what each panel of the paper shows, here and at the paper's scale."""

import re
from dataclasses import dataclass
from functools import cached_property

from . import contents, costs, figures, run_records
from .markdown import chapter_link, commit, table
from .parameters import read_presets

MEANT = re.compile("printed|continuous time|lazy|5c")  # what claims say that are meant to fail
Rows = list[tuple[str, dict]]  # claims, each with its chapter


def failing(rows: Rows) -> Rows:
    """Claims that fail and are not meant to."""
    wrong = lambda row: row["verdict"] == "no" and not MEANT.search(row["claim"])  # noqa: E731
    # Records of long ago do not say what occurs.
    return [(chapter, row) for chapter, row in rows if wrong(row) or row.get("occurs", "—") not in ("yes", "—")]


def holding(rows: Rows) -> str:
    """How many claims hold, of those that compare theory and networks."""
    verdicts = [row["verdict"] for _, row in rows if row["verdict"] != "—"]
    return f"{verdicts.count('holds')} of {len(verdicts)}" if verdicts else "—"


def about(panel: str, rows: Rows) -> Rows:
    """Claims whose label names a panel, but for those that test a formula as it was printed: see the errata."""
    named = lambda row: "printed" not in row["claim"] and panel in row["BP figure"].split(", ")  # noqa: E731
    return [(chapter, row) for chapter, row in rows if named(row)]


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


def recorded() -> dict[str, dict]:
    """What was recorded of the chapters' runs at the paper's scale; empty for one that was not run yet."""
    return {name: run_records.kept(name, "paper") or {} for name in read_presets(run_records.presets())["paper"]}


def at_scale() -> Rows:
    return [(chapter, row) for chapter, record in recorded().items() for row in record.get("claims", [])]


def commands() -> str:
    """How each chapter is run and what that takes, by default and at the paper's scale."""
    cost = lambda row: f"{costs.time(row)}, {costs.memory(row)}" if row else "not measured"  # noqa: E731
    rows = []
    for chapter, record in recorded().items():
        N, count = (record and run_records.networks(record)) or ("—", "—")
        at = (cost(record), commit(record)) if record else ("not run yet", "")
        rows.append((f"`make run CHAPTER={chapter}`", cost(costs.table().get(chapter)), N, count, *at))
    return table(("command", "cost", "N", "networks", "cost with `PRESET=paper`", "commit"), rows)


@dataclass(frozen=True)
class Book:
    """The claims of the chapters of a staged book, and what is known about its figures."""

    notebooks: dict  # by chapter, in order
    known: dict[str, dict]  # by id

    @cached_property
    def claims(self) -> Rows:
        return [(chapter, row) for chapter, nb in self.notebooks.items() for row in run_records.claims(nb)]

    def title(self, chapter: str) -> str:
        text = "\n".join(cell.source for cell in self.notebooks[chapter].cells)
        return re.search("^# (.+)$", text, re.MULTILINE)[1]

    def number(self, chapter: str, name: str) -> str:
        """What a chapter glued as `chapter-name`, as its own page shows it."""
        outputs = (output for cell in self.notebooks[chapter].cells for output in cell.get("outputs", []))
        glued = {o.metadata["scrapbook"]["name"]: o for o in outputs if "scrapbook" in o.get("metadata", {})}
        return glued[f"{chapter}-{name}"].data["application/papermill.record/text/plain"].strip("'")

    def counts(self) -> str:
        """How many claims of each chapter hold, in part or not, how many phenomena occur, and how many hold at the paper's scale."""
        names = list(dict.fromkeys(chapter for chapter, _ in self.claims))
        rows = []
        for text, some in [(chapter_link(name, self.title(name)), [name]) for name in names] + [("all", names)]:
            here, wide = ([pair for pair in pairs if pair[0] in some] for pairs in (self.claims, at_scale()))
            verdicts, occur = ([row[column] for _, row in here] for column in ("verdict", "occurs"))
            told = (verdicts.count(verdict) for verdict in ("holds", "in part", "no"))
            rows.append((text, *told, f"{occur.count('yes')} of {len(occur) - occur.count('—')}", holding(wide)))
        return table(("chapter", "holds", "in part", "no", "occurs", "holds at N = 4000"), rows)

    def link(self, id: str) -> str:
        return f"{{numref}}`{id}`" if self.known[id]["named"] else f"`{id}`"

    def homes(self, panel: str) -> list[str]:
        """The figures of this book that show a panel of the paper."""
        return [id for id in contents.paper()["panels"][panel] if id in self.known]

    def fitted(self, panel: str) -> str:
        """The slopes that the chapter in which a panel is drawn fits to its networks."""
        home = {self.known[id]["chapter"] for id in self.homes(panel)}
        slopes = [row for chapter, row in about(panel, self.claims) if chapter in home and row["quantity"] == "slope"]
        pairs = [(*row["numbers"]["networks"], *row["numbers"]["networks_error"]) for row in slopes]
        return ", ".join(f"{mean:.2f} ± {error:.1g}".replace("-", "−") for mean, error in pairs)

    def figure(self, id: str) -> str:
        """What a figure shows, in a sentence."""
        return figures.title(self.known[id]["caption"])
