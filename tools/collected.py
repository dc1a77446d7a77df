"""What a sweep found: one table of all the claims of all its runs, and one plot."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from . import grid, records

NUMBER = r"(?:nan|-?inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


def claims(point: Mapping[str, Any], notebook) -> list[dict[str, Any]]:
    """The table of claims of one run: a row for each number at full precision, so several for a claim about an order.

    A number that a claim does not have, or that cannot be known, is None.
    """
    rows = []
    for number, claim in enumerate(records.claims(notebook), start=1):
        numbers, networks = claim["numbers"], claim["networks"].rpartition(" (")[2].removesuffix(")")
        nothing = [None] * len(numbers["networks"])
        for entry, mean in enumerate(numbers["networks"]):
            rows.append({
                **point,
                "number": number,
                "claim": claim["claim"],
                "paper_figure": claim["paper figure"],
                "quantity": claim["quantity"],
                "baseline": claim["baseline"],
                "entry": entry + 1,
                "theory": (numbers["theory"] or nothing)[entry],
                "theory_error": (numbers["theory_error"] or nothing)[entry],
                "theory_half_step": (numbers["half_step"] or nothing)[entry],
                "mean": mean,
                "standard_error": numbers["networks_error"][entry],
                "networks": networks,
                "verdict": claim["verdict"],
                "occurs": claim["occurs"],
            })  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """As CSV; a list is written as in JSON."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def matching(rows: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """The numbers of the first claim of one run that says `wanted`; else of the first with a number from theory."""
    said = [
        row for row in rows if (wanted in f"{row['claim']}: {row['quantity']}" if wanted else row["theory"] is not None)
    ]
    return [row for row in said if row["number"] == said[0]["number"]]


def common(labels: list[str]) -> str:
    """One label for all: where runs differ in a number, as in "loss at step 7", an ellipsis takes its place."""
    return labels[0] if len(set(labels)) == 1 else re.sub(NUMBER, "…", labels[0])


def plot(swept: Mapping[str, list[Any]], results: list[list[dict[str, Any]]], wanted: str, note: str = "") -> str:
    """One claim against the first parameter with numbers, as SVG: theory a line, networks markers with standard errors.

    Every combination of the other parameters has a panel. `note` stands in small print along the lower edge.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from companion.drawing import REST, STYLE, THEORY

    x = next((name for name, values in swept.items() if isinstance(values[0], int | float)), next(iter(swept)))
    ticks = {grid.written(value): n for n, value in enumerate(swept[x])} if isinstance(swept[x][0], str | list) else {}
    place = lambda row: ticks.get(grid.written(row[x]), row[x])  # noqa: E731
    panels: dict[str, list[dict[str, Any]]] = {}
    for rows in results:
        others = ", ".join(f"{name} = {grid.written(rows[0][name])}" for name in swept if name != x)
        panels.setdefault(others, []).extend(matching(rows, wanted))
    columns = min(3, len(panels))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns, 2.8 * math.ceil(len(panels) / columns)), layout="constrained")
        axes = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False, sharex=True, sharey=True).flat
        for ax, (title, rows) in zip(axes, panels.items()):
            for entry in sorted({row["entry"] for row in rows}):
                line = sorted((row for row in rows if row["entry"] == entry), key=place)
                at = [place(row) for row in line]
                expected, mean, error = (
                    [math.nan if row[k] is None else row[k] for row in line]
                    for k in ("theory", "mean", "standard_error")
                )
                ax.plot(at, expected, color=THEORY, label="theory" if entry == 1 else None)
                ax.errorbar(at, mean, error, fmt="o", color=REST, label="networks ± SE" if entry == 1 else None)
            ax.set(title=title, xlabel=x, **({"xticks": [*ticks.values()], "xticklabels": [*ticks]} if ticks else {}))
        for ax in list(axes)[len(panels) :]:
            ax.set_visible(False)
        drawn = [row for rows in panels.values() for row in rows]
        figure.axes[0].set_ylabel(common([row["quantity"] for row in drawn]))
        figure.axes[0].legend()
        figure.suptitle(common([row["claim"] for row in drawn]), fontsize=10)
        figure.supxlabel(textwrap.fill(note, 55 * columns), x=0.01, ha="left", fontsize=8)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
