"""The tables of the page that says how to get every panel of the paper: command, seed, expected values, time, memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from . import chapters, costs, records
from .parameters import all_presets, read_notebook, read_presets

# What the panels of the paper's figures show.
PANELS = {
    "1a": "loss of the rules",
    "1b": "alignment of the eNTK with the target",
    "1c": "$\\tilde G$ during training",
    "1d": "density of final preactivations",
    "1e": "final $\\Phi$",
    "1f": "final $\\tilde G$",
    "2a": "lazy kernel of $\\rho$-FA, several $\\rho$",
    "2b": "lazy kernel of $\\rho$-FA, several depths",
    "2c": "lazy kernel of GLN, several depths",
    "2d": "error of $\\Phi$ against width",
    "2e": "error of $G$ against width",
    "2f": "error of the eNTK against width",
    "3a": "loss of DFA, several $\\gamma_0$",
    "3b": "alignment of $\\Phi^L$ with the target",
    "3c": "correlation of $g$ and $\\tilde g$",
    "3d": "final eNTK",
    "3e": "error of the eNTK against width",
    "4a": "loss of $\\rho$-FA, several $\\rho$",
    "4b": "$\\tilde G^\\ell$ during training",
    "4c": "alignment of the eNTK with the target",
    "4d": "overlap of the feature kernels with the target",
    "5a": "loss of all rules",
    "5b": "$h_y$",
    "5c": "$\\Delta H_y$ against $\\gamma_0$",
}


def panels(label: str) -> list[str]:
    """The panels, or whole figures, that a label of a claim names: '2d–f, 3' is 2d, 2e, 2f and 3; others name none."""
    found = []
    for part in label.split(", "):
        if match := re.fullmatch(r"([1-5])([a-f])–([a-f])", part):
            found += [match[1] + chr(n) for n in range(ord(match[2]), ord(match[3]) + 1)]
        elif part in PANELS or re.fullmatch(r"[1-5]", part):
            found.append(part)
    return found


def claimed(panel: str, claims: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The claims about one panel, but for those that test a formula as it was printed: the errata are about these."""
    return [row for row in claims if "printed" not in row["claim"] and panel in panels(row["paper figure"])]


def expected(row: dict[str, Any]) -> tuple[str, str]:
    """Theory with what the rule of verdicts allows beside it, and the networks' mean, so written that both show the verdict.

    Three digits, two for what is allowed, unless rounding puts the difference on the other side of it: then more.
    """
    shown, numbers = row["networks"].rpartition(" (")[0], row["numbers"]
    if numbers["allowed"] is None:
        return f"{row['theory']} ± steps above 2 SE" if row["theory"] else "steps above 2 SE", shown
    (value,), (mean,), allowed = numbers["theory"], numbers["networks"], numbers["allowed"]
    for digits in range(3, 18):
        told = f"{value:.{digits}g}", f"{allowed:.{digits - 1}g}", f"{mean:.{digits}g}"
        near, limit, far = map(float, told)
        if (abs(near - far) <= limit) == (abs(value - mean) <= allowed):
            break
    return f"{told[0]} ± {told[1]}", f"{told[2]} ± {numbers['networks_error'][0]:.1g}"


def row(chapter: str, claim: dict[str, Any]) -> tuple[str, ...]:
    where = claim["networks"].rpartition(" (")[2].removesuffix(")").removeprefix("N = ").replace(" seeds", "")
    where = "; ".join(where.rsplit(", ", 1))
    link = f"[{chapter}](../notebooks/{chapter}.ipynb)"
    told = (claim[name] for name in ("claim", "occurs", "verdict", "quantity"))
    return *told, *expected(claim), where, link


def commands(table, names: Iterable[str]) -> str:
    """How each chapter is run, with what seed, and what that took and where, by default and at the paper's scale."""
    rows = []
    for chapter in names:
        parameters = read_notebook(chapters.read(chapters.committed(chapter)))
        default = parameters["seed"].default
        cost = costs.table().get(chapter)
        told = (
            (costs.time(cost), costs.memory(cost), f"one core of {costs.machine(cost)}")
            if cost
            else ("not measured", "", "")
        )
        rows.append((f"`make run CHAPTER={chapter}`", default, *told))
        for preset in all_presets(records.presets()):
            if (record := records.kept(chapter, preset)) and chapter in read_presets(records.presets(), preset):
                seed = record["parameters"].get("seed", default)
                machine = "{processors} CPUs, {architecture}, {system}".format(**record["machine"])
                told = (costs.time(record), costs.memory(record), machine)
                rows.append((f"`make run CHAPTER={chapter} PRESET={preset}`", seed, *told))
    return table(("command", "seed", "time", "memory", "machine"), rows)


def block(table, there: Mapping[str, list[str]] = MappingProxyType({})) -> str:
    """A section for each figure of the paper; `table` makes Markdown of a head and rows, `there` is `figures.homes`."""
    from companion.claims import RULE  # slow to import

    claims = {chapter: records.claims(chapters.read(chapters.committed(chapter))) for chapter in chapters.names()}
    head = ("claim", "occurs", "theory = networks", "quantity", "expected ± tolerance", "networks, mean ± SE", "N; seeds",
            "chapter")  # fmt: skip
    blocks = [RULE]
    for figure in "12345":
        named = {panel: text for panel, text in PANELS.items() if panel[0] == figure} | {
            figure: "the figure as a whole"
        }
        found = {p: [(c, row_) for c, rows in claims.items() for row_ in claimed(p, rows)] for p in named}
        homes = sorted({chapter for rows in found.values() for chapter, _ in rows})
        blocks += [f"## Figure {figure}", commands(table, homes)]
        for panel, text in named.items():
            if found[panel] or panel in PANELS:
                drawn = [f"Drawn in {', '.join(there[panel])}."] if panel in there else []
                blocks += [f"### {panel}: {text}", *drawn, table(head, [row(c, claim) for c, claim in found[panel]])]
    return "\n\n".join(blocks) + "\n"
