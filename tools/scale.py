"""The tables of the page on speed and size, from what benchmarks/speed.py and benchmarks/scaling.py measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import chapters, costs

SOURCES = {
    "first": "speed",
    "deep": "scaling",
    "shallow": "scaling",
    "powers": "scaling",
    "samples": "scaling",
    "profile": "speed",
    "lazy": "speed",
    "large": "speed",
}
RULES = {"gd": "GD", "fa": "FA(0.5)", "dfa": "DFA", "gln": "GLN", "hebb": "Hebb"}
PROJECTED, DEVICE = 10_000, 1e13  # inputs; operations a second of the device in the example


def result(part: str) -> dict[str, Any] | None:
    """What was measured in one part; None before the first measurement."""
    path = chapters.ROOT / "benchmarks" / "results" / f"{SOURCES[part]}-{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def number(value: float | None, digits: int = 2) -> str:
    """Rounded to significant digits, without powers of ten: 0.59, 2.3, 41, 27000; 'never' for None."""
    if value is None:
        return "never"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def percent(share: float) -> str:
    return f"{number(100 * share)} %"


def busy(about: dict[str, Any]) -> str:
    """How much of the cores other processes used meanwhile, where that is known."""
    if about["others"] is None:
        return "where other work may have run beside it"
    if about["others"] < 0.1:
        return "otherwise idle"
    return f"of which other work used {number(about['others'])} on average, so that the seconds are too many"


def measured(part: str) -> str:
    """On what, when and beside what the rows of a part were measured."""
    about = result(part)["about"]
    dirty = " with uncommitted changes" if about["dirty"] else ""
    return (
        f"*Measured on {about['date']} at commit `{about['commit'] or 'unknown'}`{dirty} with jax {about['jax']} on {about['processors']} cores "
        f"of {costs.machine(about)}, {busy(about)}: "
        f"`python benchmarks/{SOURCES[part]}.py {part}`.*"
    )


def both(row: dict[str, Any], name: str) -> str:
    return f"{number(row[f'{name}_wall'])} ({number(row[f'{name}_cpu'])})"


def first(table: Callable) -> list[str]:
    found = result("first")
    head = ("arithmetic", "compiled anew", "compiled by an earlier process", "compiled already", "error of $K$")
    rows = [
        (row["dtype"], both(row, "anew"), both(row, "cached"), both(row, "warm"), percent(row["error"]))
        for row in found["rows"]
    ]
    left = found["rows"][0]
    said = (
        f"Seconds of the clock, and of all cores added in brackets, for {found['samples']} samples. With functions "
        f"compiled by an earlier process, {percent(left['cached_cpu'] / left['anew_cpu'])} of the first call's work is "
        f"left. The error is the root mean square over {found['seeds']} seeds of the distance from the stored reference, "
        f"whose own standard error, {percent(found['reference'])}, is part of it."
    )
    return [said, table(head, rows)]


def routes(part: str, table: Callable) -> str:
    head = ("rule", "seconds", "error", "$N = 2048$", "narrow ($N$)", "line in $1/N$", "one wide ($N$)")
    rows = [
        (
            rule(row),
            number(row["cpu"]),
            percent(row["error"]),
            number(row["ratio_widest"]),
            number(row["ratio_narrow"]) + (f" ({row['narrow']})" if row["ratio_narrow"] else ""),
            f"{number(row['ratio_line'])} ({row['pair'][0]}, {row['pair'][1]})",
            f"{number(row['ratio_wide'])} ({number(row['width'])})",
        )
        for row in result(part)["rows"]
    ]
    return table(head, rows)


def rule(row: dict[str, Any]) -> str:
    return RULES[row["case"].partition("-")[0]]


def span(part: str, name: str) -> str:
    """From the least to the most that one route costs, over the rules."""
    ratios = [row[f"ratio_{name}"] for row in result(part)["rows"]]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return "never reach it"
    never = f"; for {len(ratios) - len(known)} of {len(ratios)} rules they never do" if len(known) < len(ratios) else ""
    return f"cost {number(min(known))} to {number(max(known))} times as much{never}"


def deep(table: Callable) -> list[str]:
    said = (
        f"Over the rules, networks of width 2048 {span('deep', 'widest')}; narrower ones alone {span('deep', 'narrow')}; "
        f"lines in $1/N$ {span('deep', 'line')}. Three tanh layers:"
    )
    return [said, routes("deep", table)]


def shallow(table: Callable) -> list[str]:
    found = result("shallow")
    size = found["samples"]
    rows = [
        (rule(row), percent(row["error"]), percent(row["same_size_error"]), number(row["same_size"]))
        for row in found["rows"]
    ]
    said = (
        f"There is no matrix between layers here, and {size} samples stand beside {size} neurons. One network of that "
        "width, its error beside the mean field's, and its cost as a multiple:"
    )
    head = ("rule", "error, mean field", f"error, $N = {size}$", "cost")
    return ["One ReLU layer:", routes("shallow", table), said, table(head, rows)]


def powers(table: Callable) -> list[str]:
    found, blocks = result("powers"), []
    names = dict(T="steps $T$, 10 inputs", P="inputs $P$, 20 steps")
    rows = [
        (
            names[axis],
            f"{numbers[0]} … {numbers[-1]}",
            label,
            *(f"{fit[name]:.2f}" for name in ("cpu", "rank", "at_rank")),
        )
        for axis, part in found.items()
        if axis != "about"
        for numbers in [[row["x"] for row in part["rows"]]]
        for label, fit in (("all", part["powers"]["all"]), ("last two", part["powers"]["last"]))
    ]
    blocks.append(table(("against", "range", "points", "cost", "rank", "cost / rank"), rows))
    several = [(name.split(",")[0], axis) for axis, name in names.items()]
    for name, axis in several:
        points = [(row["x"], number(row["cpu"]), row["rank"]) for row in found[axis]["rows"]]
        blocks.append(table((name, "seconds, all cores added", "directions, all bases"), points))
    return [*blocks, measured("powers")]


def samples(table: Callable) -> list[str]:
    found = result("samples")
    rows = [(row["x"], number(row["cpu"]), f"{1024 * row['memory']:.0f} MiB") for row in found["rows"]]
    said = f"Against samples, for the same case as above, cost has the power {found['cpu']:.2f} and memory {found['memory']:.2f}:"
    return [said, table(("samples", "seconds, all cores added", "memory"), rows)]


def profile(table: Callable) -> list[str]:
    cases = result("profile")["rows"]
    rows = [
        ("arithmetic", *(row["dtype"] for row in cases)),
        ("directions $p$, $q$ of each gap", *(", ".join(f"{p} and {q}" for p, q in row["rank"]) for row in cases)),
        ("seconds of draws", *(number(row["draws"]) for row in cases)),
        ("seconds of steps", *(number(row["sweep"]) for row in cases)),
        ("operations of steps", *(f"{number(row['operations'] / 1e9)} × 10⁹" for row in cases)),
        ("a second, skinny products", *(f"{number(row['skinny'] / 1e9)} × 10⁹" for row in cases)),
        ("a second, square product", *(f"{number(row['square'] / 1e9)} × 10⁹" for row in cases)),
        ("share of the steps at skinny speed", *(percent(row["share_skinny"]) for row in cases)),
        ("share of the steps at square speed", *(percent(row["share_square"]) for row in cases)),
    ]
    return [table(("one sweep of half of the samples", *(row["name"] for row in cases)), rows)]


def lazy(table: Callable) -> list[str]:
    found = result("lazy")
    head = ("activation", "seconds", "memory", "an entry and layer", "in passes", "arccos alone")
    rows = [
        (
            row["activation"],
            f"{number(row['wall'])} ({number(row['cpu'])})",
            f"{row['memory']:.1f} GiB",
            f"{number(1e9 * row['entry'])} ns",
            number(row["entry"] * found["P"] ** 2 / row["one_pass"]),
            percent(row["arccos"]) if row["activation"] == "relu" else "",
        )
        for row in found["rows"]
    ]
    smooth = found["rows"][0]
    said = (
        f"{found['P']} inputs, {found['L']} layers, gradient descent. A pass reads two arrays of the kernels' size and writes one; here it "
        f"moves {number(smooth['bandwidth'] / 1e9)} × 10⁹ bytes a second. The series of the smooth activation takes "
        f"{number(smooth['operations'])} operations an entry and layer and {percent(smooth['series'])} of the time, in "
        f"which it makes {number(smooth['speed'] / 1e9)} × 10⁹ operations and moves {number(smooth['moved'] / 1e9)} × 10⁹ "
        f"bytes a second, most of them within the cache; a product of two such arrays makes {number(smooth['product'] / 1e9)} "
        "× 10⁹ operations a second and core."
    )
    return [said, table(head, rows)]


def large(table: Callable) -> list[str]:
    found = result("large")
    head = ("rule", "seconds", "memory", "directions", "loss, first and last", "test error")
    rows = [
        (
            RULES[row["rule"]],
            f"{number(row['wall'])} ({number(row['cpu'])})",
            f"{row['memory']:.1f} GiB",
            "{} and {}".format(*row["rank"]),
            "{:.2f}, {:.2f}".format(*row["loss"]),
            percent(row["test"]),
        )
        for row in found["rows"]
    ]
    said = (
        f"$P = {found['P']}$ digits to train on and {found['P_test']} to test, $T = {found['T']}$ steps, "
        f"$\\gamma_0 = {found['gamma0']:g}$, {found['samples']} samples. Seconds of the clock, and of all cores added in brackets, "
        "compilation included; memory is the peak of the whole process."
    )
    return [said, table(head, rows)]


def growth() -> tuple[float, float]:
    """Powers of P that seconds and directions follow; the former at least that of samples × directions × inputs."""
    fit = result("powers")["P"]["powers"]["last"]
    return max(fit["cpu"], 1 + fit["rank"]), fit["rank"]


def projected(samples: int) -> dict[str, float]:
    """Directions of the larger basis, seconds of all cores added, bytes, of kernels alone too, and operations for PROJECTED digits by GD."""
    import dmftlib as dl  # slow to import

    found, (of_seconds, of_directions) = result("large"), growth()
    row, times = found["rows"][0], PROJECTED / found["P"]
    directions = round(max(row["rank"]) * times**of_directions)
    task = dl.Task.random(PROJECTED, 64)
    experiment = dl.Experiment(task, dl.GD(), 2, "tanh", found["gamma0"], 1.0, found["T"])
    ends = (0, found["T"] - 1)
    needs, less = (
        dl.machine.estimate(experiment, samples, 3e-2, "float32", kernels_at=steps, directions=directions)
        for steps in (ends, ends[:1])
    )
    kernels = len(ends) * (needs.memory - less.memory)  # it is proportional to their number
    seconds = row["cpu"] * times**of_seconds * samples / found["samples"]
    return dict(
        directions=directions, seconds=seconds, memory=needs.memory, kernels=kernels, operations=needs.operations
    )


def projection(table: Callable) -> list[str]:
    found, (of_seconds, of_directions) = result("large"), growth()
    share = result("profile")["rows"][-1]["share_square"]
    rows = []
    for count in (found["samples"], 4 * found["samples"]):
        p = projected(count)
        rows.append(
            (
                count,
                p["directions"],
                f"{number(p['seconds'] / 3600)} h",
                f"{number(p['memory'] / 2**30)} GiB",
                f"{number(p['kernels'] / 2**30)} GiB",
                f"{number(p['operations'] / 1e12)} × 10¹²",
                f"{number(p['operations'] / share / DEVICE)} s",
            )
        )
    head = ("samples", "directions", "core time here", "memory", "of it kernels", "operations", "device time")
    said = (
        f"With $\\beta_{{\\rm s}} = {of_seconds:.2f}$ and $\\beta_{{\\rm d}} = {of_directions:.2f}$, from the last two points of the table of exponents, "
        f"$P_0 = {found['P']}$ and the row of gradient descent there; the device makes $10^{{13}}$ operations a second in large "
        f"products, {percent(share)} of which the sweep is taken to reach, as it did here:"
    )
    return [said, table(head, rows), "**All numbers of this table are projected; none was measured.**"]


def blocks(table: Callable) -> dict[str, str]:
    """Markdown by name; `table` makes it of a head and rows. What was not measured yet says so."""
    made = {}
    makers = (first, deep, shallow, powers, samples, profile, lazy, large)
    for part, make in zip(SOURCES, makers):
        if result(part) is None:
            made[part] = f"Not measured yet: `python benchmarks/{SOURCES[part]}.py {part}`."
        else:
            made[part] = "\n\n".join([*make(table), *([measured(part)] if part != "powers" else [])])
    known = all(result(part) for part in ("large", "powers", "profile"))
    made["projection"] = "\n\n".join(projection(table)) if known else "Not measured yet."
    return {name: text + "\n" for name, text in made.items()}
