"""The full result of a chapter whose default run is a small part of it: measured point by point, then committed.

Each point is kept as soon as it is measured, so that an interrupted run goes on where it was.
"""

import hashlib
import json
import time
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version

import pandas

from . import ROOT, chapters, digest, remember

# Each has a module in `companion` with a list FULL of points, each with `measure`, and a file `<chapter>.csv` beside it.
CHAPTERS = ["beyond"]


def full(chapter: str) -> None:
    """Measure what is missing of a chapter's points and write the committed table."""
    points = import_module(f"companion.{chapter}").FULL
    about = {"chapter": chapter, "command": f"dmft full {chapter}", **chapters.state()}
    code = digest(ROOT, [f"companion/{chapter}.py"], remember.version())
    folder = ROOT / "_build" / "full" / f"{chapter}-{code[:12]}"  # other code begins anew
    place = {point: folder / f"{hashlib.sha256(repr(point).encode()).hexdigest()[:16]}.json" for point in points}
    missing = [point for point in points if not place[point].exists()]
    chapters.say(f"{chapter}: {len(points)} points, {len(points) - len(missing)} of them measured already")
    for count, point in enumerate(missing, 1):
        start = time.monotonic()
        row = point.measure()
        seconds = time.monotonic() - start
        chapters.write_text(json.dumps(row | {"seconds": seconds}), place[point])
        words = ", ".join(f"{name} {value}" for name, value in asdict(point).items())
        chapters.say(f"{count} of {len(missing)}: {words}: {seconds:.0f} s")
    table = pandas.DataFrame([json.loads(place[point].read_text(encoding="utf-8")) for point in points])
    about |= {"jax": version("jax"), "hours": round(table.pop("seconds").sum() / 3600, 2)}
    head = "".join(f"# {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in about.items())
    path = ROOT / "companion" / f"{chapter}.csv"
    chapters.write_text(head + table.to_csv(index=False, float_format="%.6g", lineterminator="\n"), path)
    print(f"{len(points)} points in {path.relative_to(ROOT)}")
