"""What a sweep found: one table of all the claims of all its runs, and one plot."""

import re

import pandas

from . import run_records
from .parameters import written

NUMBER = r"(?:nan|-?inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
COLUMNS = {  # of the numbers of a claim, and their names there
    "theory": "theory",
    "theory_error": "theory_error",
    "theory_half_step": "half_step",
    "mean": "networks",
    "standard_error": "networks_error",
}


def claims(point: dict, notebook) -> pandas.DataFrame:
    """The table of claims of one run: a row for each number at full precision, so several for a claim about an order.

    A number that a claim does not have, or that cannot be known, is missing. A swept list is written as text.
    """
    rows, swept = [], {name: str(value) if isinstance(value, list) else value for name, value in point.items()}
    for number, claim in enumerate(run_records.claims(notebook), start=1):
        words = {name: claim[name] for name in ("claim", "BP figure", "quantity", "baseline")}
        rest = {"networks": claim["networks"].rpartition(" (")[2].removesuffix(")")}
        rest |= {name: claim[name] for name in ("verdict", "occurs")}
        for entry in range(len(claim["numbers"]["networks"])):
            values = {name: (claim["numbers"][key] or {entry: None})[entry] for name, key in COLUMNS.items()}
            rows.append(swept | {"number": number} | words | {"entry": entry + 1} | values | rest)
    return pandas.DataFrame(rows).rename(columns={"BP figure": "bp_figure"})


def matching(rows: pandas.DataFrame, wanted: str) -> pandas.DataFrame:
    """The numbers of the first claim of one run that says `wanted`; else of the first with a number from theory."""
    said = rows["claim"] + ": " + rows["quantity"]
    numbers = rows["number"][said.str.contains(wanted, regex=False) if wanted else rows["theory"].notna()]
    return rows[rows["number"] == numbers.min()]


def common(labels: pandas.Series) -> str:
    """One label for all: where runs differ in a number, as in "loss at step 7", an ellipsis takes its place."""
    return labels.iloc[0] if labels.nunique() == 1 else re.sub(NUMBER, "…", labels.iloc[0])


def plot(swept: dict[str, list], results: list[pandas.DataFrame], wanted: str, note: str = "") -> str:
    """One claim against the first parameter with numbers, as SVG: theory a line, networks markers with standard errors.

    Every combination of the other parameters has a panel. `note` stands in small print along the lower edge.
    """
    from companion.drawing import Panel, Series, draw, save  # slow to import

    numeric = [name for name, values in swept.items() if isinstance(values[0], int | float)]
    x, *_ = numeric or swept
    words = [] if numeric else [written(value) for value in swept[x]]
    drawn = pandas.concat([matching(rows, wanted) for rows in results], ignore_index=True)
    drawn["at"] = drawn[x] if numeric else drawn[x].map(written).map(words.index)
    titles = [f"{name} = " + drawn[name].map(written) for name in swept if name != x]
    drawn["title"] = pandas.concat(titles, axis=1).agg(", ".join, axis=1) if titles else ""
    axes = dict(legend=common(drawn["claim"]), ticks=range(len(words)), tick_labels=words)
    panels = []
    for title, rows in drawn.sort_values("at", kind="stable").groupby("title", sort=False):
        series = []
        for _, points in rows.groupby("entry"):
            at, theory, mean, error = points[["at", "theory", "mean", "standard_error"]].to_numpy(float).T
            series += [Series("line", at, theory, label="theory"), Series("markers", at, mean, error, "networks ± SE")]
        panels.append(Panel(series, x, common(drawn["quantity"]), title, beside=len(panels) % 2 > 0, **axes))
    return save(draw(panels, note), "svg").decode()
