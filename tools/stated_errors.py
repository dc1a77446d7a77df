"""The tables of the page on the solver that hold its stated errors against networks, from benchmarks/stated_errors.py."""

import json
from math import hypot, inf
from statistics import median

from . import chapters
from .markdown import percent, table

NAMES = {"f": "$f$", "Phi": "$\\Phi$", "G": "$G$", "G_tilde": "$\\tilde G$", "K": "$K$"}
WORST = 10  # settings shown one by one


def rows(limit: bool) -> list[dict]:
    """What was measured, a row for each setting and level: those in which networks have a limit of infinite width, or not."""
    path = chapters.ROOT / "benchmarks" / "results" / "stated_errors.json"
    return [row for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if limit != bool(row["no_limit"])]


def ratio(row: dict, name: str) -> float:
    """Distance over stated error and networks' error of one quantity; infinity where the solver gave no solution."""
    return row["quantities"][name]["ratio"] if "quantities" in row else inf


def counts() -> str:
    """A line for each level and quantity."""
    found, lines = rows(limit=True), []
    for level in dict.fromkeys(row["level"] for row in found):
        some = [row for row in found if row["level"] == level]
        for name, label in NAMES.items():
            ratios, solved = [ratio(row, name) for row in some], [row for row in some if "quantities" in row]
            shares = [percent(sum(r <= most for r in ratios) / len(some)) for most in (1, 2)]
            typical = [
                percent(median(row["quantities"][name][key] for row in solved)) for key in ("stated", "networks")
            ]
            lines.append((level, label, *shares, f"{max(ratios):.1f}", *typical))
    return table(("`tol`, `samples`", "quantity", "within 1", "within 2", "largest", "stated", "networks"), lines)


def about(row: dict) -> str:
    return row["about"].partition(": ")[2]


def worst() -> list[tuple[str, str, float, str]]:
    """Setting, level, ratio and quantity of the rows with the largest ratios."""
    largest = [(*max((ratio(row, name), label) for name, label in NAMES.items()), row) for row in rows(limit=True)]
    largest = sorted(largest, key=lambda one: one[:2], reverse=True)[:WORST]
    return [(about(row), row["level"], most, label) for most, label, row in largest]


def said(row: dict) -> str:
    """What the library says of a setting, its first sentence, and the largest error that it states of f, Φ or K."""
    told = [" ".join([row.get("raised", ""), *row["said"]]).strip().partition(". ")[0]]
    if errors := row.get("errors"):
        largest = max(hypot(*(by[name] for by in errors.values())) for name in ("f", "Phi", "K"))
        told.append(f"states an error of {percent(largest)}")
    return "; ".join(filter(None, told))
