"""The full result of a chapter whose default run is a small part of it: measured point by point, then committed.

Each point is kept as soon as it is measured, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version

from . import ROOT, ToolError, chapters
from .progress import say

# A module with a list FULL of points, each with `measure`, and a file `<chapter>.csv` beside it.
SOURCES = {"beyond": "companion.beyond"}


def _code() -> str:
    """A short hash of the sources that results depend on: other code begins anew."""
    digest = hashlib.sha256()
    for path in [
        *sorted((ROOT / "dmftlib").rglob("*.py")),
        ROOT / "companion" / "beyond.py",
        ROOT / "requirements.lock",
    ]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def table(rows: list[dict], about: dict) -> str:
    """Rows as comma-separated values, below one line of comment for each fact about the run."""
    text = io.StringIO()
    text.write("".join(f"# {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in about.items()))
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def full(chapter: str) -> None:
    """Measure what is missing of a chapter's points and write the committed table."""
    if chapter not in SOURCES:
        raise ToolError(f"CHAPTER must be one with a full result, {', '.join(SOURCES)}; got {chapter!r}.")
    module = import_module(SOURCES[chapter])
    points, state = module.FULL, chapters.state()
    folder = ROOT / "_build" / "full" / f"{chapter}-{_code()}"
    folder.mkdir(parents=True, exist_ok=True)
    place = {point: folder / f"{hashlib.sha256(repr(point).encode()).hexdigest()[:16]}.json" for point in points}
    missing = [point for point in points if not place[point].exists()]
    say(f"{chapter}: {len(points)} points, {len(points) - len(missing)} of them measured already")
    for count, point in enumerate(missing, 1):
        start = time.monotonic()
        row = point.measure()
        seconds = time.monotonic() - start
        chapters.write_text(json.dumps(row | {"seconds": seconds}), place[point])
        words = ", ".join(f"{name} {value}" for name, value in asdict(point).items())
        say(f"{count} of {len(missing)}: {words}: {seconds:.0f} s")
    rows = [json.loads(place[point].read_text(encoding="utf-8")) for point in points]
    total = sum(row.pop("seconds") for row in rows)
    about = {"chapter": chapter, "command": f"make full CHAPTER={chapter}", **state}
    about |= {"jax": version("jax"), "hours": round(total / 3600, 2)}
    path = ROOT / "companion" / f"{chapter}.csv"
    chapters.write_text(table(rows, about), path)
    print(f"{len(rows)} points in {path.relative_to(ROOT)}")
