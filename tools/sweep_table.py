"""What a sweep found: one table of all the claims of all its runs, and one plot."""

import re
import textwrap
from io import StringIO

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
    import matplotlib
    import seaborn
    from matplotlib import pyplot

    from companion.drawing import REST, STYLE, THEORY

    numeric = [name for name, values in swept.items() if isinstance(values[0], int | float)]
    x = (numeric or list(swept))[0]
    drawn = pandas.concat([matching(rows, wanted) for rows in results])
    drawn = drawn.astype({"theory": float, "standard_error": float}).sort_values(
        x if numeric else "entry", kind="stable"
    )
    if not numeric:
        drawn[x] = drawn[x].map(written)  # matplotlib places words one after another
    titles = [f"{name} = " + drawn[name].map(written) for name in swept if name != x]
    drawn["panel"] = pandas.concat(titles, axis=1).agg(", ".join, axis=1) if titles else ""

    def draw(data, **_):
        for entry, line in data.groupby("entry"):
            told = ("theory", "networks ± SE") if entry == 1 else (None, None)
            pyplot.plot(line[x], line["theory"], color=THEORY, label=told[0])
            pyplot.errorbar(line[x], line["mean"], line["standard_error"], fmt="o", color=REST, label=told[1])

    with matplotlib.rc_context(STYLE):
        grid = seaborn.FacetGrid(drawn, col="panel", col_wrap=min(3, drawn["panel"].nunique()), height=2.8)
        grid.map_dataframe(draw).set_titles("{col_name}").set_axis_labels(x, common(drawn["quantity"]))
        grid.axes[0].legend()
        grid.figure.suptitle(common(drawn["claim"]), fontsize=10)
        grid.figure.supxlabel(textwrap.fill(note, 55), x=0.01, ha="left", fontsize=8)
        grid.figure.set_layout_engine("constrained")
        grid.savefig(out := StringIO(), format="svg", metadata={"Date": None})
        pyplot.close(grid.figure)
    return out.getvalue()
