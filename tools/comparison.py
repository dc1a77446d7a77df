"""What changed between two executions of a chapter: old and new outputs, or those of the book and of other parameters."""

import re
from collections import Counter
from difflib import ndiff

from . import run_records
from .parameters import Parameter


def difference(what: str, before: list[str], after: list[str], most: int) -> list[str]:
    """The lines that differ, - before and + after, similar ones below each other; at most so many of them."""
    changed = [line[:120] for line in ndiff(before, after) if line[0] in "-+"]
    more = [f"  and {len(changed) - most} more"] if len(changed) > most else []
    count = sum(line[0] == "+" for line in changed)
    return [f"{what}: {count} of {len(after)} are others{':' if changed else ''}", *changed[:most], *more]


def printed(notebook) -> list[str]:
    return [line for lines in run_records.printed(notebook).values() for line in lines]


def verdicts(notebook) -> list[str]:
    """A line for each claim, in which no number stands that is not part of its words."""
    return [
        f"{row['claim']}: {row['quantity']}: theory = networks: {row['verdict']}, occurs: {row['occurs']}"
        for row in run_records.claims(notebook)
    ]


def warnings(notebook) -> list[str]:
    """What the run warned of, each warning once: with other parameters a number can be out of reach."""
    texts = [out.text for cell in notebook.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    found = dict.fromkeys(re.findall(r"\b\w*Warning: .+", "\n".join(texts)))
    return ["The run warned, where the notebook shows it:", *(f"  {line[:120]}" for line in found)] if found else []


def report(parameters: dict[str, Parameter], values: dict, old, new, most: int = 40) -> str:
    """What a reader wants to know at the end of a run, in some tens of lines at most."""
    both = [(name, value, parameters[name].default) for name, value in values.items()]
    changed = [f"  {name} = {value!r} (default {default!r})" for name, value, default in both if value != default]
    lines = ["Changed against the defaults:", *changed] if changed else ["Every parameter has its default value."]
    lines += difference("Printed lines", printed(old), printed(new), most)
    if rows := run_records.claims(new):
        counts = Counter(row["verdict"] for row in rows)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        lines += difference(f"Claims (theory = networks: {told})", verdicts(old), verdicts(new), most // 2)
    return "\n".join(lines + warnings(new))
