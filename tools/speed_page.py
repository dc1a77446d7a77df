"""What the page on speed and size says, from what benchmarks/speed.py and benchmarks/scaling.py measured."""

import json
from math import hypot

from . import chapters
from .costs import machine
from .markdown import commit, number, percent

SOURCES = {
    "speed": ("first", "profile", "lazy", "large", "inputs"),
    "scaling": ("deep", "shallow", "powers", "long", "samples", "width"),
}
RULES = {"gd": "GD", "fa": "FA(0.5)", "dfa": "DFA", "gln": "GLN", "hebb": "Hebb"}
DEVICE = 1e13  # operations a second, in large products, of the device in the example


def script(part: str) -> str:
    return next(name for name, parts in SOURCES.items() if part in parts)


def result(part: str) -> dict:
    """What was measured in one part."""
    path = chapters.ROOT / "benchmarks" / "results" / f"{script(part)}-{part}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def measured(part: str) -> str:
    """On what, when and beside what the rows of a part were measured."""
    about = result(part)["about"]
    if about["others"] is None:
        busy = "where other work may have run beside it"
    elif about["others"] < 0.1:
        busy = "otherwise idle"
    else:
        busy = f"of which other work used {number(about['others'])} on average, so that the seconds are too many"
    return (
        f"*Measured on {about['date']} at commit {commit(about) or '`unknown`'} with jax {about['jax']} on {about['processors']} cores "
        f"of {machine(about)}, {busy}: `python benchmarks/{script(part)}.py {part}`.*"
    )


def both(row: dict, name: str = "") -> str:
    """Seconds of the clock, and of all cores added."""
    wall, cpu = (row[f"{name}_{kind}" if name else kind] for kind in ("wall", "cpu"))
    return f"{number(wall)} ({number(cpu)})"


def rule(row: dict) -> str:
    return RULES[row.get("rule") or row["case"].partition("-")[0]]


def width(row: dict, name: str, shown: object) -> str:
    """What a route costs, and the width that it takes, if it exists."""
    return number(row[f"ratio_{name}"]) + (f" ({shown})" if row[f"ratio_{name}"] else "")


def span(part: str, name: str) -> str:
    """From the least to the most that one route costs, over the rules."""
    ratios = [row[f"ratio_{name}"] for row in result(part)["rows"]]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return "never reach it"
    never = f"; for {len(ratios) - len(known)} of {len(ratios)} rules they never do" if len(known) < len(ratios) else ""
    return f"cost {number(min(known))} to {number(max(known))} times as much{never}"


def of(rule: str, route: str) -> dict:
    """One run of many inputs: its route is the steps at which kernels are recorded, or the lazy limit."""
    return next(row for row in result("inputs")["rows"] if (row["rule"], row["route"]) == (rule, route))


def error(row: dict) -> str:
    """The stated error of f, of samples and of `tol` together."""
    return percent(hypot(*(row["errors"][source]["f"] for source in ("monte_carlo", "tol"))))


def on_a_device(rule: str) -> str:
    """Seconds on the device in the example, projected from operations, at the share of its speed that a sweep reaches here."""
    import dmftlib as dl  # slow to import

    found, row = result("inputs"), of(rule, "()")
    settings = dl.GD() if rule == "gd" else dl.DFA(), 2, "relu", found["gamma0"], 1.0, found["T"]
    e = dl.Experiment(dl.Task.random(found["P"], found["D"]), *settings)
    options = dict(kernels_at=(), directions=max(row["rank"]))
    needed = dl.machine.estimate(e, found["samples"], 3e-2, "float32", **options).operations
    return number(needed / result("profile")["rows"][-1]["share_square"] / DEVICE)
