"""`dmft faults`: seeds each fault of tests/faults.py into a copy of the project and runs the quick tests there.

Tests of the touched module come first, and the first failure ends a run. Results are kept in _build/faults.json with a
hash of what they rest on, so that an interrupted call goes on where it was. Two faults at a time. Prints the score and
the faults that no test found, and fails if that is less than LEAST of them or if one of them has no argument in
`equivalent`. First of all the tests must pass without a fault. Names of faults as arguments seed only these.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import FAULTS, TESTS

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "_build" / "faults.json"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "_build", "runs", "__pycache__", ".*_cache", ".hypothesis")
ROOMS = "dmftlib", "companion"
NONE, SURVIVED = "no fault", "survived"
LIMIT = 1500  # seconds for a run; one that hangs is found out, too
AT_ONCE = 2
LEAST = 0.95  # of the faults are to be caught
OPTIONS = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
# Every run starts from a process that has imported what takes seconds, but nothing of the project.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "jax", "scipy.integrate", "scipy.stats", "seaborn", "nbformat"])


def mutated(fault, root=ROOT):
    """The file that a fault touches, and its text with the fault. Raises ValueError unless its piece occurs once."""
    texts = {path: path.read_text() for path in sorted(p for room in ROOMS for p in (root / room).rglob(fault.where))}
    count = sum(text.count(fault.old) for text in texts.values())
    if count != 1:
        raise ValueError(f"{fault.name}: its piece occurs {count} times in {fault.where}, not once: {fault.old!r}")
    path = next(path for path, text in texts.items() if fault.old in text)
    return path, texts[path].replace(fault.old, fault.new)


def rests_on(fault, outcome):
    """A hash of what a result depends on: the library, the fault and the tests; if one test caught it, only that file's."""
    tests = ROOT / "tests"
    caught = re.search(r"tests/(\w+/test_\w+\.py)", outcome)
    ran = [tests / caught[1]] if caught else [*tests.rglob("test_*.py"), tests / "slow.py"]
    others = {"faults.py", "seed_faults.py", "slow.py"}
    helpers = [path for path in tests.glob("*.py") if path.name not in others and not path.name.startswith("test_")]
    value = hashlib.sha256(repr(fault and (fault.where, fault.old, fault.new)).encode())
    for path in sorted([*(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), *helpers, *ran]):
        value.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return value.hexdigest()


def run_tests(tree, selection):
    """Run pytest on the copy, in a process that has only what all runs share; its exit code is pytest's."""
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)  # before the installed library, in processes that tests start, too
    sys.path.insert(0, str(tree))
    with open("told", "w") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
    import pytest

    sys.exit(pytest.main([*OPTIONS, *selection]))


def outcome_of(fault):
    """The first test that fails with the fault (or without one, for None); "survived" if none does."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        tree = Path(folder) / "project"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        first = []
        if fault:
            path, text = mutated(fault, tree)
            path.write_text(text)
            first = [f"tests/{name}" for name in TESTS[fault.where]]
        # Compiled functions are found by what they compute, so that a shared cache gives no fault away.
        (tree / "_build").mkdir()
        (ROOT / "_build" / "jax-cache").mkdir(parents=True, exist_ok=True)
        (tree / "_build" / "jax-cache").symlink_to(ROOT / "_build" / "jax-cache")
        # test_faults.py would miss the piece of source that is replaced here, which is no way to find a fault.
        others = ["tests", *(f"--ignore={name}" for name in (*first, "tests/tools/test_faults.py"))]
        for selection in filter(None, (first, others)):
            run = FORKS.Process(target=run_tests, args=(tree, selection), daemon=True)
            run.start()
            run.join(LIMIT)
            if run.exitcode is None:
                run.kill()
                return f"hangs in {selection[0]}"
            told = (tree / "told").read_text()
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", told, re.MULTILINE)
            if run.exitcode in (1, 2) and failed:  # a test failed, or could not be collected
                return failed[1]
            if run.exitcode < 0:
                return f"crashes {selection[0]}"
            if run.exitcode:
                raise RuntimeError(f"pytest ended with {run.exitcode}:\n{told}")
    return SURVIVED


def main(names):
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        sys.exit(f"there is no fault {', '.join(map(repr, sorted(unknown)))}")
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    lock = threading.Lock()

    def seed(fault):
        name = fault.name if fault else NONE
        old = kept.get(name)
        if old and old["rests on"] == rests_on(fault, old["outcome"]):
            return
        outcome = outcome_of(fault)
        with lock:
            kept[name] = {"outcome": outcome, "rests on": rests_on(fault, outcome)}
            part = KEPT.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1, ensure_ascii=False))
            os.replace(part, KEPT)
            print(f"  {name}: {outcome}", flush=True)

    KEPT.parent.mkdir(exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(seed, [None, *chosen]))
    if kept[NONE]["outcome"] != SURVIVED:
        sys.exit(f"the tests fail without a fault: {kept[NONE]['outcome']}")
    lines, failed = verdict(chosen, {fault.name: kept[fault.name]["outcome"] for fault in chosen})
    print("\n".join(lines))
    return int(failed)


def verdict(faults, outcomes):
    """What is printed in the end, and whether the tests are not good enough."""
    survivors = [fault for fault in faults if outcomes[fault.name] == SURVIVED]
    share = 1 - len(survivors) / len(faults)
    lines = [f"{len(faults) - len(survivors)} of {len(faults)} faults caught ({100 * share:.1f} %)"]
    lines += [f"survived: {fault.name}: {fault.equivalent or 'no test sees it'}" for fault in survivors]
    unargued = sum(not fault.equivalent for fault in survivors)
    if share < LEAST:
        lines.append(f"That is less than {100 * LEAST:g} %.")
    if unargued:
        lines.append(f"Of those that survived {unargued} must be found by a test, or say in `equivalent` why none can.")
    return lines, share < LEAST or unargued > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
