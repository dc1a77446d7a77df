"""`make faults`: seeds each fault of tests/faults.py into a copy of the project and runs the unit part of the tests there.

Tests of the touched module come first, and the first failure ends a run. Results are kept in _build/faults.json with a
hash of what they rest on, so that an interrupted call goes on where it was; two faults at a time, with what is left of
two cores for each. Prints the score, and the faults that no test found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import FAULTS, TESTS

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "_build" / "faults.json"
COPIED = ("dmftlib", "tests", "tools", "benchmarks", "book", "notebooks", "pyproject.toml", "_toc.yml", "_config.yml")
LIMIT = 1800  # seconds for a run; one that hangs is found out, too
AT_ONCE = 2


def mutated(fault, root=ROOT):
    """The file that a fault touches, and its text with the fault. Raises ValueError unless its piece occurs once."""
    found = [path for path in sorted((root / "dmftlib").glob(fault.where)) if fault.old in path.read_text()]
    count = sum(path.read_text().count(fault.old) for path in found)
    if count != 1:
        raise ValueError(
            f"fault {fault.name!r}: its piece occurs {count} times in {fault.where}, not once: {fault.old!r}"
        )
    return found[0], found[0].read_text().replace(fault.old, fault.new)


def digest(paths):
    value = hashlib.sha256()
    for path in sorted(paths):
        value.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return value.hexdigest()


def rests_on(fault, outcome):
    """What a result depends on: the library, the fault, and the tests: of a fault that was caught, the file that did."""
    library = [*(ROOT / "dmftlib").rglob("*.py"), ROOT / "pyproject.toml"]
    helpers = [path for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")]
    helpers = [path for path in helpers if path.name not in ("faults.py", "seed_faults.py", "slow.py")]
    caught = re.search(r"tests/(test_\w+\.py)", outcome)
    tests = (
        [ROOT / "tests" / caught[1]] if caught else [*(ROOT / "tests").glob("test_*.py"), ROOT / "tests" / "slow.py"]
    )
    seed = hashlib.sha256(repr((fault.where, fault.old, fault.new)).encode()).hexdigest()
    return seed + digest([*library, *helpers, *tests])


def outcome_of(fault):
    """The first test that fails with the fault, or "survived"."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        tree = Path(folder)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(
                ROOT / name,
                tree / name,
                **({"ignore": shutil.ignore_patterns("__pycache__")} if copy is shutil.copytree else {}),
            )
        path, text = mutated(fault, tree)
        path.write_text(text)
        (tree / "_build").mkdir()
        (ROOT / "_build" / "jax-cache").mkdir(parents=True, exist_ok=True)
        (tree / "_build" / "jax-cache").symlink_to(ROOT / "_build" / "jax-cache")
        first = [f"tests/{name}" for name in TESTS[fault.where]]
        rest = ["tests", *(f"--ignore={name}" for name in first)]
        for selection in (first, rest):
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "-m",
                "not slow",
                "-p",
                "no:cacheprovider",
                "--tb=no",
                "-rfE",
                *selection,
            ]
            try:
                # The copy comes before the installed library.
                environment = os.environ | {"PYTHONPATH": str(tree)}
                run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT)
            except subprocess.TimeoutExpired:
                return f"hangs in {selection[0]}"
            if run.returncode in (1, 2):  # a test failed, or none could be collected
                failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
                return failed[1] if failed else f"stops {selection[0]}"
            if run.returncode:
                raise RuntimeError(f"pytest ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return "survived"


def main(names):
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    lock = threading.Lock()

    def seed(fault):
        old = kept.get(fault.name)
        if old and old["rests on"] == rests_on(fault, old["outcome"]):
            return
        outcome = outcome_of(fault)
        with lock:
            kept[fault.name] = {"outcome": outcome, "rests on": rests_on(fault, outcome)}
            KEPT.parent.mkdir(exist_ok=True)
            part = KEPT.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1, ensure_ascii=False))
            os.replace(part, KEPT)
            print(f"  {fault.name}: {outcome}", flush=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(seed, chosen))
    survivors = [fault for fault in chosen if kept[fault.name]["outcome"] == "survived"]
    caught = len(chosen) - len(survivors)
    print(f"{caught} of {len(chosen)} faults caught ({100 * caught / len(chosen):.1f} %)")
    for fault in survivors:
        print(f"survived: {fault.name}: {fault.equivalent or 'no test sees it'}")


if __name__ == "__main__":
    main(sys.argv[1:])
