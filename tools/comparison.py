"""A run with chosen parameters beside the committed chapter: what was changed, and what changed with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import nbformat

from . import chapters, records
from .parameters import Parameter

LINE = 110  # characters of a long line that are shown


def fits(old: str, new: str) -> bool:
    """Whether two lines can stand side by side on a terminal; longer ones stand one above the other."""
    return len(old) + len(new) < LINE


def settings(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> list[str]:
    """The parameters that differ from their defaults, a line each."""
    changed = [f"  {name} = {value!r} (default {parameters[name].default!r})" for name, value in values.items()
               if value != parameters[name].default]  # fmt: skip
    return ["Changed against the defaults:", *changed] if changed else ["Every parameter has its default value."]


def is_print(output) -> bool:
    """Whether it is text that a cell meant to show: neither a picture nor a warning."""
    return output.get("name") != "stderr" and "image/png" not in output.get("data", {})


def prints(notebook):
    """A copy with what its cells printed, without tables of claims, which are compared by themselves."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if records.claims(nbformat.v4.new_notebook(cells=[cell])):
            cell.outputs = []
        elif cell.get("outputs"):
            cell.outputs = [output for output in cell.outputs if is_print(output)]
    return copy


def warnings(notebook) -> list[str]:
    """What the run warned of, each warning once: with other parameters a number can be out of reach."""
    texts = [out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    found = dict.fromkeys(re.findall(r"\b\w*Warning: .+", "\n".join(texts)))
    return ["The run warned, where the notebook shows it:", *(f"  {line[:LINE]}" for line in found)] if found else []


def numbers(old, new, most: int) -> list[str]:
    """The printed lines that changed, old | new, at most so many."""
    lines = chapters.pairs(prints(old), prints(new))
    changed = [pair for pair in lines if pair[0] != pair[1]]
    if not changed:
        return [f"Printed numbers: all {len(lines)} lines are as with the defaults."]
    shown = changed[:most]
    width = max((len(old) for old, new in shown if fits(old, new)), default=0)
    return [
        f"Printed numbers, with the defaults | now ({len(changed)} of {len(lines)} lines changed):",
        *(
            f"  {old:<{width}} | {new}" if fits(old, new) else f"  {old[:LINE]}\n    now: {new[:LINE]}"
            for old, new in shown
        ),
        *([f"  and {len(changed) - most} more, in the notebook"] if len(changed) > most else []),
    ]


def both(row: Mapping[str, Any]) -> str:
    """The two verdicts of a claim in words."""
    return row["verdict"] if row["occurs"] == "—" else f"occurs: {row['occurs']}, theory = networks: {row['verdict']}"


def claims(old, new, most: int) -> list[str]:
    """How many claims hold, before and now, and those whose verdict changed, at most so many."""
    before, after = records.claims(old), records.claims(new)
    if not after:
        return []
    counts = [Counter(row["verdict"] for row in rows) for rows in (before, after)]
    told = " | ".join(f"{c['holds']} hold, {c['in part']} in part, {c['no']} do not" for c in counts)
    found = [sum(row["occurs"] == "yes" for row in rows) for rows in (before, after)]
    verdicts = {(row["claim"], row["quantity"]): both(row) for row in before}
    moved = [(row, was) for row in after
             if (was := verdicts.get((row["claim"], row["quantity"]), "new")) != both(row)]  # fmt: skip
    left = len(moved) - most
    return [
        f"Claims, with the defaults | now: {told}",
        *([f"  phenomena that occur: {found[0]} | {found[1]}"] if any(row["occurs"] != "—" for row in after) else []),
        *(
            f"  {was} → {both(row)}: {row['claim']}: {row['quantity']}, "
            f"theory {row['theory'] or '—'}, networks {row['networks']}"
            for row, was in moved[:most]
        ),
        *([f"  and {left} more, in the notebook"] if left > 0 else []),
    ]


def report(parameters: Mapping[str, Parameter], values: Mapping[str, Any], old, new, most: int = 20) -> str:
    """What a reader wants to know at the end of a run, in some tens of lines at most."""
    told = (settings(parameters, values), numbers(old, new, most), claims(old, new, most // 2), warnings(new))
    return "\n".join(line for lines in told for line in lines)
