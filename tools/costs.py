"""What a chapter costs with its default parameters, from the committed table that `dmft bench` writes."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from . import chapters
from .markdown import commit


def place() -> Path:
    return chapters.ROOT / "notebooks" / "costs.json"


def table() -> dict[str, dict]:
    """The measured chapters; empty before the first measurement."""
    return json.loads(place().read_text(encoding="utf-8")) if place().exists() else {}


def processor() -> str:
    """The model of this machine's processor, as the system names it; '' where it does not."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace").stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def keep(chapter: str, record: dict) -> dict:
    """Write the row of a chapter, from the record of its run, and return it; the other rows stay."""
    row = {name: record[name] for name in ("seconds", "peak_memory_MB", "commit", "dirty", "date")}
    row |= {"processor": processor(), **record["machine"], "python": platform.python_version(), "jax": version("jax")}
    rows = {name: row for name, row in table().items() if name in chapters.names()} | {chapter: row}
    chapters.write_text(json.dumps(dict(sorted(rows.items())), indent=1, ensure_ascii=False) + "\n", place())
    return row


def time(row: dict) -> str:
    """Rounded, since no two runs take the same: 9 s, 40 s, 1 min 20 s, 12 min."""
    seconds = max(1, round(row["seconds"], 0 if row["seconds"] < 10 else -1 if row["seconds"] < 600 else None))
    minutes, rest = divmod(int(seconds), 60)
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return " ".join(f"{count} {unit}" for count, unit in ((minutes, "min"), (rest, "s")) if count)


def memory(row: dict) -> str:
    return f"{row['peak_memory_MB'] / 1000:.1f} GB"


def machine(row: dict) -> str:
    """The processor's name where the system tells, and the kind of machine."""
    return ", ".join(filter(None, [row["processor"], row["architecture"], row["system"]]))


def sentences(chapter: str, measured: bool = False) -> list[str]:
    """The cost in words, and with what and when it was `measured`; nothing while it has not been."""
    if (row := table().get(chapter)) is None:
        return []
    cost = f"about {time(row)} and {memory(row)} on one core of {machine(row)}"
    told = [f"With its default parameters the chapter runs in {cost}; no GPU needed."]
    at = f" at commit {commit(row)}" if row["commit"] else ""
    versions = f"Python {row['python']}, jax {row['jax']}, functions compiled anew"
    return [*told, f"Measured on {row['date']}{at}, {versions}."] if measured else told
