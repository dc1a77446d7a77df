"""Runs chapters through Papermill. Nothing is ever written under notebooks/, except by `accept` at its very end."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from difflib import SequenceMatcher
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat

from . import ROOT, ToolError, figures
from .parameters import read_notebook, similar
from .progress import cells, say, screen, without_bars
from .scratch import borrow, give_back, put, scratch

AT_ONCE = 2
# What a chapter's outputs depend on besides the notebook and its parameters.
INPUTS = ("dmftlib/**/*.py", "dmftlib/*.js", "dmftlib/*.csv", "requirements.lock")
interrupted = threading.Event()


def names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def committed(chapter: str) -> Path:
    path = ROOT / "notebooks" / f"{chapter}.ipynb"
    if chapter not in names():
        wrong = f"there is no chapter {chapter!r}" if chapter else "no chapter was named; add CHAPTER=name"
        guess = similar(Path(chapter.strip()).stem, names()) if chapter else ""
        raise ToolError(f"{wrong}; the chapters are: {', '.join(names())}.{guess}")
    return path


def read(path: Path):
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError) as error:  # not JSON, or other JSON
        raise ToolError(f"{path} is not a notebook: {error}. Restore it, for example with git checkout.") from None


def write_text(text: str, path: Path) -> None:
    """Whole or not at all, whenever the run is killed or the disk is full."""
    with scratch(path) as (own, _):
        part = own / path.name
        part.write_text(text, encoding="utf-8")
        put(part, path)


def write(notebook, path: Path) -> None:
    write_text(nbformat.writes(notebook) + "\n", path)


def strip(notebook):
    """Without what changes from run to run or from machine to machine: times, paths, versions, progress."""
    language = {k: v for k, v in notebook.metadata.get("language_info", {}).items() if k != "version"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": language})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in ("tags", "mystnb") if cell.metadata.get(k)})
    return notebook


def key(chapter: str, values: dict[str, Any]) -> str:
    """A hash of everything that a chapter's outputs depend on."""
    notebook = strip(read(committed(chapter)))
    cells = [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    digest = hashlib.sha256(json.dumps([cells, values, sys.version_info[:2]], sort_keys=True).encode())
    for pattern in INPUTS:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def state() -> dict[str, Any]:
    """Version, commit, whether the tree had other changes, date, kind of machine; read before a run writes anything."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    # A run does not depend on what earlier ones left.
    results = (":!notebooks/records", ":!notebooks/costs.json", ":!benchmarks/results")
    status = [*git, "status", "--porcelain", "--", ".", *results]
    changes = subprocess.run(status, capture_output=True, text=True)
    return {
        "version": version("dmftlib"),
        "commit": commit.stdout.strip(),
        "dirty": bool(changes.stdout.strip()),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processors": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
    }


def compiled() -> Path:
    """Where compiled functions are kept for the next run."""
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", ROOT / "_build" / "jax-cache"))


def environment(at_once: int, cache: Path | None = None) -> dict[str, str]:
    """Threads that `at_once` kernels can share, and a place for compiled functions."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    limits = {name: threads for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}  # NPROC is XLA's
    return {**os.environ, **limits, "JAX_COMPILATION_CACHE_DIR": str(cache or compiled())}


def finish(process: subprocess.Popen, look: Callable[[], None]) -> int:
    """Wait until it ends; the largest memory, in bytes, of the process or of one that it started, such as a kernel.

    `look` is called again and again until then.
    """
    while True:
        look()
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        if interrupted.is_set():
            os.kill(process.pid, signal.SIGTERM)  # process.terminate would ask for the status, and wait4 gets it once
        time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # Linux counts in KiB


def execute(
    chapter: str, values: dict[str, Any], folder: Path, at_once: int = 1, preset: str = "", watched: bool = True
):
    """Run a chapter into `folder`; return it with its record, or raise and keep the executed copy.

    While it runs, the screen shows which cell is being executed, if it is `watched`.
    """
    record = {"preset": preset, "parameters": values, **state()}
    with scratch(folder / chapter) as (own, lock):
        return _execute(chapter, record, folder, own, lock, at_once, watched)


def _execute(chapter: str, record: dict[str, Any], folder: Path, own: Path, lock: int, at_once: int, watched: bool):
    """`execute` in a folder of its own, which its processes hold as long as any of them lives."""
    source, part, cache = committed(chapter), own / f"{chapter}.ipynb", own / "jax-cache"
    borrow(compiled(), cache)
    # Papermill's own command, so that a chapter cannot disturb this process or the chapter beside it.
    command = [sys.executable, "-m", "papermill", str(source), str(part), "--cwd", str(source.parent)]
    command += ["--kernel", "python3", "--language", "python", "--progress-bar"]
    command += ["--parameters_yaml", json.dumps(record["parameters"])]
    start = time.monotonic()
    failed = folder / f"{chapter}.failed.ipynb"
    failed.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stderr, "pass_fds": [lock]}

        def look():
            if watched and (cell := cells(stderr.fileno())):
                screen.show(chapter, f"{cell}, {time.monotonic() - start:.0f} s")

        try:
            with subprocess.Popen(command, env=environment(at_once, cache), **pipes) as papermill:
                memory = finish(papermill, look)
        finally:
            screen.done(chapter)
        stderr.seek(0)
        errors = without_bars(stderr.read())
    if papermill.returncode:
        where = ""
        if part.exists():
            put(part, failed)
            where = f"\nThe executed copy, up to the error, is {failed}."
        said = errors.rpartition("PapermillExecutionError:")[2]  # without papermill's own stack
        raise ToolError(f"{chapter} failed.\n{said[-3000:].strip()}{where}")
    notebook = strip(read(part))
    figures.mark(notebook, record["parameters"])
    seconds = round(time.monotonic() - start, 1)
    notebook.metadata["dmftlib"] = {**record, "seconds": seconds, "peak_memory_MB": round(memory / 1e6)}
    give_back(cache, compiled())
    return notebook


def is_current(path: Path, wanted: str) -> bool:
    """Whether `path` holds an executed chapter with this key; what cannot be read does not count."""
    try:
        return path.exists() and read(path).metadata.get("dmftlib", {}).get("key") == wanted
    except ToolError:
        return False


def cached(chapter: str, values: dict[str, Any], folder: Path, at_once: int = 1, preset: str = "") -> Path:
    """The executed chapter in `folder`, run only if something that it depends on changed."""
    path, wanted = folder / f"{chapter}.ipynb", key(chapter, values)
    if is_current(path, wanted):
        say(f"{chapter}: unchanged, not run again")
        return path
    say(f"{chapter}: running")
    notebook = execute(chapter, values, folder, at_once, preset)
    notebook.metadata["dmftlib"]["key"] = wanted
    write(notebook, path)
    say(f"{chapter}: done in {notebook.metadata['dmftlib']['seconds']:.0f} s")
    return path


def run_all() -> dict[str, Path]:
    """Every chapter with its defaults, two at a time; a failure lets the others finish first."""
    for chapter in names():
        read_notebook(read(committed(chapter)))  # a parameters cell outside the grammar stops the build at once
    folder, found, failures = ROOT / "_build" / "chapters", {}, []
    at_once = min(AT_ONCE, len(names())) or 1
    with ThreadPoolExecutor(at_once) as pool:
        try:
            jobs = {chapter: pool.submit(cached, chapter, {}, folder, at_once) for chapter in names()}
            for chapter, job in jobs.items():
                try:
                    found[chapter] = job.result()
                except ToolError as error:
                    failures.append(str(error))
        except KeyboardInterrupt:  # also between two results: left alone, the pool would run all chapters first
            interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise ToolError("\n".join(failures))
    return found


def run_folder(chapter: str, given: dict[str, Any], preset: str = "") -> Path:
    """runs/gd-paper-P=8-gamma0=4.0: preset and given values, readable and the same for the same values."""
    parts = [*([preset] if preset else []), *(f"{name}={value}" for name, value in sorted(given.items()))]
    name = re.sub(r"[^\w.=,-]", "", "-".join([chapter, *(parts or ["default"])]))
    if len(name) > 100:
        name = f"{name[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return ROOT / "runs" / name


def printed(notebook) -> dict[str, list[str]]:
    """The lines with numbers that each cell printed, by cell id."""
    lines = {}
    for cell in notebook.cells:
        texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.get("outputs", [])]
        lines[cell.id] = [line for text in texts for line in text.splitlines() if re.search(r"\d", line)]
    return lines


def matched(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    """Lines of two executions of one cell in pairs; if one printed more, those that differ in decimals only are pairs."""
    if len(before) == len(after):
        return list(zip(before, after))
    words = [[re.sub(r"-?\d+(\.\d+)?e[-+]?\d+|-?\d*\.\d+", "…", line) for line in lines] for lines in (before, after)]
    blocks = SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    return [pair for _, a, b, c, d in blocks for pair in zip_longest(before[a:b], after[c:d], fillvalue="")]


def pairs(old, new) -> list[tuple[str, str]]:
    """The lines with numbers that two executions of a notebook printed, each beside its counterpart."""
    before, after = printed(old), printed(new)
    return [pair for cell in after for pair in matched(before.get(cell, []), after[cell])]


def side_by_side(old, new) -> str:
    """What two executions of a notebook printed; a changed line is marked with *."""
    rows = pairs(old, new)
    width = max((len(a) for a, _ in rows), default=0)
    return "\n".join(f"{' ' if a == b else '*'} {a:<{width}} | {b}" for a, b in rows)


def accept(chapter: str) -> None:
    """Replace the committed outputs of a chapter by those of a fresh run with its default parameters."""
    path = committed(chapter)
    old = read(path)
    read_notebook(old)
    new = strip(execute(chapter, {}, ROOT / "_build" / "accept"))
    print(f"Printed by {chapter}, old | new (* changed):\n{side_by_side(old, new)}")
    write(new, path)
    print(f"Replaced {path.relative_to(ROOT)}")
