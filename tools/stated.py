"""The table of the page on the solver that holds its stated errors against networks, from benchmarks/stated_errors.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import hypot
from statistics import median
from typing import Any

from . import chapters
from .scale import percent

NAMES = {"f": "$f$", "Phi": "$\\Phi$", "G": "$G$", "G_tilde": "$\\tilde G$", "K": "$K$"}
WORST = 10  # settings shown one by one


def rows() -> list[dict[str, Any]]:
    """What was measured: a row for each setting and level."""
    path = chapters.ROOT / "benchmarks" / "results" / "stated_errors.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def with_limit(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of settings in which networks have a limit of infinite width."""
    return [row for row in found if not row["no_limit"]]


def ratios(found: list[dict[str, Any]], name: str) -> list[float]:
    """Distance over stated error and networks' error of one quantity; infinity where the solver gave no solution."""
    return [row["quantities"][name]["ratio"] if "quantities" in row else float("inf") for row in found]


def largest(row: dict[str, Any]) -> tuple[float, str]:
    """The largest ratio of a row, and of which quantity it is."""
    return max((ratios([row], name)[0], label) for name, label in NAMES.items())


def counts(found: list[dict[str, Any]], table: Callable) -> str:
    """A line for each level and quantity."""
    lines = []
    for level in dict.fromkeys(row["level"] for row in found):
        some = [row for row in found if row["level"] == level]
        for name, label in NAMES.items():
            all_ratios = ratios(some, name)
            typical = [
                percent(median(row["quantities"][name][key] for row in some if "quantities" in row))
                for key in ("stated", "networks")
            ]
            shares = [percent(sum(ratio <= most for ratio in all_ratios) / len(some)) for most in (1, 2)]
            lines.append((level, label, *shares, f"{max(all_ratios):.1f}", *typical))
    return table(("`tol`, `samples`", "quantity", "within 1", "within 2", "largest", "stated", "networks"), lines)


def worst(found: list[dict[str, Any]], table: Callable) -> str:
    """The rows with the largest ratios."""
    order = sorted(found, key=largest, reverse=True)[:WORST]
    lines = [
        (row["about"].partition(": ")[2], row["level"], f"{largest(row)[0]:.1f}", largest(row)[1]) for row in order
    ]
    return table(("setting", "`tol`, `samples`", "largest ratio", "of"), lines)


def stated(row: dict[str, Any]) -> float:
    """The largest relative error that the solver states of f, Φ or K; 0 without a solution."""
    errors = row.get("errors")
    return max(hypot(*(by[name] for by in errors.values())) for name in ("f", "Phi", "K")) if errors else 0.0


def said(row: dict[str, Any]) -> str:
    """What the library says of a setting, its first sentence, and the largest error that it states."""
    first = " ".join([row.get("raised", ""), *row["said"]]).strip().partition(". ")[0]
    error = f"states an error of {percent(stated(row))}" if "errors" in row else ""
    return "; ".join(part for part in (first, error) if part)


def block(table: Callable) -> str:
    """Markdown; `table` makes it of a head and rows. What was not measured yet says so."""
    found = rows()
    if not found:
        return "Not measured yet: `python benchmarks/stated_errors.py`.\n"
    limited, others = with_limit(found), [row for row in found if row["no_limit"]]
    settings = len({row["setting"] for row in limited})
    blocks = [
        f"{settings} settings in which networks have a limit. A ratio is the distance in units of the stated error and the "
        "networks' own error, added in quadrature; the last two columns are the medians of the two, relative to the quantity.",
        counts(limited, table),
        "The largest ratios. Of the inputs some are special: two equal or opposite, one zero or 30 times shorter; passive is a "
        "test point 10 times longer. $C$ is the number of outputs, the rate the largest $\\eta\\lambda(K)$ of the run, and "
        "own is $\\phi(h)=\\cos h+h/2$.",
        worst(limited, table),
    ]
    if others:
        lines = [
            (row["about"].partition(": ")[2], row["no_limit"], said(row)) for row in others if row["level"] == "default"
        ]
        blocks += [
            "Settings in which networks have no usable limit:",
            table(("setting", "networks", "what `meanfield.solve` says"), lines),
        ]
    return "\n\n".join(blocks) + "\n"
