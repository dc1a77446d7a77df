"""Two executions of a chapter side by side: old and new outputs, or the committed ones beside a run with chosen parameters."""

import re
from collections import Counter
from copy import deepcopy
from difflib import SequenceMatcher
from itertools import zip_longest

from . import run_records
from .parameters import Parameter

LINE = 110  # characters of a long line that are shown


def matched(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    """Lines of two executions of one cell in pairs: those that differ in decimals only, or stand at the same place between."""
    words = [[re.sub(r"-?\d+(\.\d+)?e[-+]?\d+|-?\d*\.\d+", "…", line) for line in lines] for lines in (before, after)]
    blocks = SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    return [pair for _, a, b, c, d in blocks for pair in zip_longest(before[a:b], after[c:d], fillvalue="")]


def pairs(old, new) -> list[tuple[str, str]]:
    """The lines with numbers that two executions of a notebook printed, each beside its counterpart."""
    before, after = run_records.printed(old), run_records.printed(new)
    return [pair for cell in after for pair in matched(before.get(cell, []), after[cell])]


def side_by_side(rows: list[tuple[str, str]]) -> list[str]:
    """Old | new, or, if that is too long for a terminal, one above the other; a changed line is marked with *."""
    width = max((len(old) for old, new in rows if len(old) + len(new) < LINE), default=0)

    def line(old, new):
        short = len(old) + len(new) < LINE
        both = f"{old:<{width}} | {new}" if short else f"{old[:LINE]}\n    now: {new[:LINE]}"
        return f"{' ' if old == new else '*'} {both}"

    return [line(*row) for row in rows]


def settings(parameters: dict[str, Parameter], values: dict) -> list[str]:
    """The parameters that differ from their defaults, a line each."""
    both = [(name, value, parameters[name].default) for name, value in values.items()]
    changed = [f"  {name} = {value!r} (default {default!r})" for name, value, default in both if value != default]
    return ["Changed against the defaults:", *changed] if changed else ["Every parameter has its default value."]


def prints(notebook):
    """A copy without pictures, warnings, and tables of claims, which are compared by themselves."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        for out in [*cell.get("outputs", [])]:
            if out.get("name") == "stderr" or "image/png" in out.get("data", {}) or "claims" in out.get("metadata", {}):
                cell.outputs.remove(out)
    return copy


def warnings(notebook) -> list[str]:
    """What the run warned of, each warning once: with other parameters a number can be out of reach."""
    texts = [out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    found = dict.fromkeys(re.findall(r"\b\w*Warning: .+", "\n".join(texts)))
    return ["The run warned, where the notebook shows it:", *(f"  {line[:LINE]}" for line in found)] if found else []


def more(count: int) -> list[str]:
    return [f"  and {count} more, in the notebook"] if count > 0 else []


def numbers(old, new, most: int) -> list[str]:
    """The printed lines that changed, old | new, at most so many."""
    lines = pairs(prints(old), prints(new))
    changed = [pair for pair in lines if pair[0] != pair[1]]
    if not changed:
        return [f"Printed numbers: all {len(lines)} lines are as with the defaults."]
    head = f"Printed numbers, with the defaults | now ({len(changed)} of {len(lines)} lines changed):"
    return [head, *side_by_side(changed[:most]), *more(len(changed) - most)]


def verdict(row: dict) -> str:
    """The two verdicts of a claim in words."""
    return row["verdict"] if row["occurs"] == "—" else f"occurs: {row['occurs']}, theory = networks: {row['verdict']}"


def claims(old, new, most: int) -> list[str]:
    """How many claims hold, before and now, and those whose verdict changed, at most so many."""
    both = before, after = run_records.claims(old), run_records.claims(new)
    if not after:
        return []
    counts = [Counter(row["verdict"] for row in rows) for rows in both]
    told = " | ".join(f"{c['holds']} hold, {c['in part']} in part, {c['no']} do not" for c in counts)
    found = " | ".join(str(sum(row["occurs"] == "yes" for row in rows)) for rows in both)
    was = {(row["claim"], row["quantity"]): verdict(row) for row in before}
    moved = [
        f"  {was.get((row['claim'], row['quantity']), 'new')} → {verdict(row)}: {row['claim']}: {row['quantity']}, "
        f"theory {row['theory'] or '—'}, networks {row['networks']}"
        for row in after
        if was.get((row["claim"], row["quantity"])) != verdict(row)
    ]
    occur = [f"  phenomena that occur: {found}"] if any(row["occurs"] != "—" for row in after) else []
    return [f"Claims, with the defaults | now: {told}", *occur, *moved[:most], *more(len(moved) - most)]


def report(parameters: dict[str, Parameter], values: dict, old, new, most: int = 20) -> str:
    """What a reader wants to know at the end of a run, in some tens of lines at most."""
    told = (settings(parameters, values), numbers(old, new, most), claims(old, new, most // 2), warnings(new))
    return "\n".join(line for lines in told for line in lines)
