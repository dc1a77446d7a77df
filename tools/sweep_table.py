"""What a sweep found: one table of all the claims of all its runs, and one plot."""

import math
import re
import textwrap
from io import StringIO

import pandas

from . import run_records
from .parameters import written

NUMBER = r"(?:nan|-?inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


def claims(point: dict, notebook) -> pandas.DataFrame:
    """The table of claims of one run: a row for each number at full precision, so several for a claim about an order.

    A number that a claim does not have, or that cannot be known, is missing. A swept list is written as text.
    """
    rows = []
    for number, claim in enumerate(run_records.claims(notebook), start=1):
        numbers = claim["numbers"]
        about = {
            **{name: str(value) if isinstance(value, list) else value for name, value in point.items()},
            "number": number,
            "claim": claim["claim"],
            "paper_figure": claim["paper figure"],
            "quantity": claim["quantity"],
            "baseline": claim["baseline"],
        }
        told = {"networks": claim["networks"].rpartition(" (")[2].removesuffix(")")}
        told |= {"verdict": claim["verdict"], "occurs": claim["occurs"]}
        columns = {"theory": "theory", "theory_error": "theory_error", "theory_half_step": "half_step"}
        columns |= {"mean": "networks", "standard_error": "networks_error"}
        for entry in range(len(numbers["networks"])):
            values = {column: numbers[name][entry] if numbers[name] else None for column, name in columns.items()}
            rows.append({**about, "entry": entry + 1, **values, **told})
    return pandas.DataFrame(rows)


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
    from matplotlib.figure import Figure

    from companion.drawing import REST, STYLE, THEORY

    x = next((name for name, values in swept.items() if isinstance(values[0], int | float)), next(iter(swept)))
    drawn = pandas.concat([matching(rows, wanted) for rows in results]).astype(
        {"theory": float, "standard_error": float}
    )
    if not isinstance(swept[x][0], int | float):
        drawn[x] = drawn[x].map(written)  # matplotlib places words one after another
    titles = [f"{name} = " + drawn[name].map(written) for name in swept if name != x]
    drawn["panel"] = pandas.concat(titles, axis=1).agg(", ".join, axis=1) if titles else ""
    panels = drawn.groupby("panel", sort=False)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns, 2.8 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for ax, (title, panel) in zip(axes, panels):
            for entry, line in panel.groupby("entry"):
                line = line.sort_values(x) if isinstance(swept[x][0], int | float) else line
                first = entry == 1
                ax.plot(line[x], line["theory"], color=THEORY, label="theory" if first else None)
                errors = {"fmt": "o", "color": REST, "label": "networks ± SE" if first else None}
                ax.errorbar(line[x], line["mean"], line["standard_error"], **errors)
            ax.set(title=title, xlabel=x)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        axes[0].set_ylabel(common(drawn["quantity"]))
        axes[0].legend()
        figure.suptitle(common(drawn["claim"]), fontsize=10)
        figure.supxlabel(textwrap.fill(note, 55 * columns), x=0.01, ha="left", fontsize=8)
        figure.savefig(out := StringIO(), format="svg", metadata={"Date": None})
    return out.getvalue()
