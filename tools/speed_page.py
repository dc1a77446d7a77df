"""What the page on speed and size says, from what benchmarks/speed.py and benchmarks/scaling.py measured."""

import json

from . import chapters
from .costs import machine
from .markdown import commit, number

SOURCES = {"speed": ("first", "profile", "lazy", "large"), "scaling": ("deep", "shallow", "powers", "samples", "width")}
RULES = {"gd": "GD", "fa": "FA(0.5)", "dfa": "DFA", "gln": "GLN", "hebb": "Hebb"}
PROJECTED, DEVICE = 10_000, 1e13  # inputs; operations a second of the device in the example


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
    share = result("profile")["rows"][-1]["share_square"]
    device = needs.operations / share / DEVICE
    return dict(
        samples=samples, directions=directions, seconds=seconds, memory=needs.memory, kernels=kernels,
        operations=needs.operations, device=device,
    )  # fmt: skip
