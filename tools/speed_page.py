"""What the page on speed and size says, from what benchmarks/speed.py and benchmarks/scaling.py measured."""

import json
from collections.abc import Callable, Iterable
from math import hypot, sqrt

import numpy as np

from . import chapters
from .costs import machine
from .markdown import commit, number, percent

SOURCES = {
    "speed": ("first", "profile", "lazy", "large", "inputs"),
    "scaling": ("deep", "shallow", "powers", "long", "samples", "width"),
}
RULES = {"gd": "GD", "fa": "FA(0.5)", "dfa": "DFA", "gln": "GLN", "hebb": "Hebb"}
ROUTES = {"widest": "wide networks", "narrow": "narrow networks", "line": "a line in 1/N", "wide": "one wide network"}
COMPARED = (0.013, 0.005)  # errors of K in the tables
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


def at(row: dict, error: float) -> dict:
    """What each route costs for an error of K: one of those at which costs were compared."""
    return next(found for found in row["routes"] if found["error"] == error)


def times(found: dict, route: str, size: str = "") -> str:
    """A route's seconds as a multiple of the mean field's, with the sizes that it takes; never, where a bias is too large."""
    return "never" if found[route] is None else number(found[route] / found["ours"]) + size


def cheapest(row: dict, error: float) -> tuple[str, float]:
    """The cheapest route of networks to an error of K, and its seconds as a multiple of the mean field's."""
    found = at(row, error)
    cost = {name: found[name] for name in ROUTES if found[name] is not None}
    best = min(cost, key=cost.get)
    return ROUTES[best], cost[best] / found["ours"]


def sizes(rows: list[dict], name: str) -> str:
    *some, last = (str(row[name]) for row in rows)
    return f"{', '.join(some)} and {last}"


def between(values: Iterable[float], shown: Callable = number) -> str:
    """From the least to the most, once if they are shown alike."""
    values = list(values)
    return " to ".join(dict.fromkeys(shown(end(values)) for end in (min, max)))


def errors_of_means(part: str) -> Iterable[float]:
    """The errors of the mean K of the networks of each width and rule, up to which their bias is known."""
    for row in result(part)["rows"]:
        yield from (sqrt(of["variance"] / of["networks"]) for of in row["networks"])


def without_matrices(error: float) -> str:
    """The cost of one wide network under GD, without matrices, as a multiple of the mean field's at this error of K."""
    found, rows = at(result("deep")["rows"][0], error), result("width")["rows"]
    x, cpu = (np.log([row[name] for row in rows]) for name in ("x", "cpu"))
    return number(np.exp(np.interp(np.log(found["wide_width"]), x, cpu)) / found["ours"])


def beside_networks(part: str, error: float) -> tuple[str, str]:
    """Seconds of the mean field for an error of K, over the rules, and the multiple of them that the cheapest networks cost."""
    rows = result(part)["rows"]
    return between(at(row, error)["ours"] for row in rows), between(cheapest(row, error)[1] for row in rows)


def beside_peer() -> tuple[str, str]:
    """Seconds of lazy kernels of the activations that neural-tangents has, and the multiple of them that it takes."""
    cpu = {(row["activation"], row["library"]): row["cpu"] for row in result("lazy")["rows"]}
    both = [(cpu[name, "dmftlib"], seconds) for (name, library), seconds in cpu.items() if library != "dmftlib"]
    return between(ours for ours, _ in both), between(peer / ours for ours, peer in both)


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
