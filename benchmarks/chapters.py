"""Time and memory of every chapter with its default parameters, alone on one core; rewrites notebooks/costs.json.

    python benchmarks/chapters.py [chapter ...]      the rows of other chapters stay

Compiled functions are not taken from earlier runs: the time is that of a reader's first run.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tools is not installed

from tools import ToolError, chapters, costs


def one_core():
    """Bind this process, and those that it starts, to one core where the system can (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(chapter):
    """Run a chapter with an empty cache and keep its row."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        notebook = chapters.execute(chapter, {}, chapters.ROOT / "_build" / "bench", at_once=os.cpu_count() or 1)
    row = costs.keep(chapter, notebook.metadata["dmftlib"])
    chapters.say(f"{chapter}: {costs.time(row)}, {costs.memory(row)}")


if __name__ == "__main__":
    one_core()
    try:
        for chapter in sys.argv[1:] or chapters.names():
            measure(chapter)
    except ToolError as error:
        sys.exit(f"Error: {error}")
