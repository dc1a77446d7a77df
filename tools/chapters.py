"""Runs chapters through Papermill. Nothing is ever written under notebooks/, except by `accept` at its very end."""

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
import yaml

from . import ROOT, ToolError, digest, figures, git, remember
from .atomic import borrow, give_back, put, scratch, write_bytes
from .parameters import read_notebook, similar, written

AT_ONCE = 2
CELL_SECONDS = 1800  # the longest cell that a chapter may have with its default parameters, on a slow machine
DEAD_KERNEL = 138  # papermill's exit status
EVERY = 20.0  # seconds between two lines about one chapter that is running
# What a chapter's outputs depend on besides the notebook and its parameters.
INPUTS = ("dmftlib/**/*.py", "companion/*.*", "requirements.lock")
interrupted = threading.Event()


def names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def committed(chapter: str) -> Path:
    path = ROOT / "notebooks" / f"{chapter}.ipynb"
    if chapter not in names():
        guess = similar(Path(chapter.strip()).stem, names())
        raise ToolError(f"there is no chapter {chapter!r}; the chapters are: {', '.join(names())}.{guess}")
    return path


def read(path: Path):
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError) as error:  # not JSON, or other JSON
        raise ToolError(f"{path} is not a notebook: {error}. Restore it, for example with git checkout.") from None


def write_text(text: str, path: Path) -> None:
    write_bytes(text.encode(), path)


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


def key(chapter: str, values: dict) -> str:
    """A hash of everything that a chapter's outputs depend on."""
    notebook = strip(read(committed(chapter)))
    cells = [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    return digest(ROOT, INPUTS, json.dumps([cells, values, sys.version_info[:2]], sort_keys=True))


def state() -> dict:
    """Version, commit, whether the tree had other changes, date, kind of machine; read before a run writes anything.

    The commit is '' outside of a repository of this project.
    """
    # A run does not depend on what earlier ones left.
    results = (":!notebooks/records", ":!notebooks/costs.json", ":!benchmarks/results")
    return {
        "version": version("dmftlib"),
        "commit": git(ROOT, "rev-parse", "--short", "HEAD"),
        "dirty": bool(git(ROOT, "status", "--porcelain", "--", ".", *results)),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processors": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
    }


def compiled() -> Path:
    """Where compiled functions are kept for the next run."""
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", ROOT / "_build" / "jax-cache"))


def environment(at_once: int, cache: Path) -> dict[str, str]:
    """Threads that `at_once` kernels can share, and a place for compiled functions."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    limits = {name: threads for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}  # NPROC is XLA's
    # A chapter compiles many functions that run for a moment each.
    flags = (
        "xla_backend_optimization_level=1",
        "xla_cpu_use_fusion_emitters=false",
        "xla_cpu_parallel_codegen_split_count=1",
    )
    quick = {"XLA_FLAGS": " ".join(f"--{flag}" for flag in flags)}
    # Whatever the locale, files are read and written in UTF-8.
    return {**quick, **os.environ, **limits, "PYTHONUTF8": "1", "JAX_COMPILATION_CACHE_DIR": str(cache)}


def say(line: str) -> None:
    """A line for the reader at once; chapters side by side do not break into each other's."""
    print(f"  {line}\n", end="", flush=True)


def finish(process: subprocess.Popen, look: Callable[[], None]) -> int:
    """Wait until it ends; the largest memory, in bytes, of the process or of one that it started, such as a kernel.

    Linux says at least the most that the calling process held, since a new process begins as its copy.
    `look` is called now and then until it ends.
    """
    looked = time.monotonic()
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - looked >= EVERY:
            looked = time.monotonic()
            look()
        if interrupted.is_set():
            os.kill(process.pid, signal.SIGTERM)  # process.terminate would ask for the status, and wait4 gets it once
        time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # Linux counts in KiB


def cells(descriptor: int) -> str:
    """Where a chapter is, from the end of the file into which papermill writes its bar: '3 of 20'."""
    # pread: the file's position is papermill's.
    end = os.pread(descriptor, 2048, max(0, os.fstat(descriptor).st_size - 2048)).decode(errors="replace")
    *_, (finished, total) = [(0, 1), *re.findall(r"(\d+)/(\d+) \[", end)]
    return f"{min(int(finished) + 1, int(total))} of {total}"


def papermill(source: Path, part: Path, values: dict) -> list[str]:
    """Papermill's own command, so that a chapter cannot disturb this process or the chapter beside it."""
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, part)]  # papermill fills in braces
    command = [sys.executable, "-m", "papermill", *paths, "--cwd", str(source.parent)]
    command += ["--kernel", "python3", "--language", "python", "--progress-bar"]
    # Not JSON: papermill reads YAML 1.1, where 1e-05 without a point is text.
    command += ["--parameters_yaml", yaml.safe_dump(values)]
    return command if values else [*command, "--execution-timeout", str(CELL_SECONDS)]  # else a cell may need hours


def execute(
    chapter: str,
    values: dict,
    folder: Path,
    at_once: int = 1,
    preset: str = "",
    watched: bool = True,
    remembers: bool = False,
):
    """Run a chapter into `folder`; return it with its record, or raise and keep the executed copy.

    If it is `watched`, it says now and then how far it is. If it `remembers`, results of the engines are
    taken from earlier runs, and kept for later ones.
    """
    record = {"preset": preset, "parameters": values, **state()}
    failed = folder / f"{chapter}.failed.ipynb"
    with scratch(folder / chapter) as own, tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        part, cache = own / f"{chapter}.ipynb", own / "jax-cache"
        borrow(compiled(), cache)
        failed.unlink(missing_ok=True)
        settings = environment(at_once, cache) | (remembering(own) if remembers else {})
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stderr}
        start = time.monotonic()

        def look():
            if watched:
                say(f"{chapter}: cell {cells(stderr.fileno())}, {time.monotonic() - start:.0f} s")

        with subprocess.Popen(papermill(committed(chapter), part, values), env=settings, **pipes) as run:
            memory = finish(run, look)
        if interrupted.is_set():
            raise KeyboardInterrupt
        stderr.seek(0)
        if said := complaint(part, run.returncode, stderr.read(), memory):
            where = ""
            if part.exists():
                put(part, failed)
                where = f"\nThe executed copy, up to the error, is {failed}."
            raise ToolError(f"{chapter} failed.\n{said}{where}")
        notebook = strip(read(part))
        figures.mark(notebook, values)
        record |= {"seconds": round(time.monotonic() - start, 1), "peak_memory_MB": round(memory / 1e6)}
        if (own / "used").exists():
            record["remembered"] = (own / "used").stat().st_size
        notebook.metadata["dmftlib"] = record
        give_back(cache, compiled())
        return notebook


def remembering(own: Path) -> dict[str, str]:
    """Variables that make a kernel remember results, and note in the file `used` of its folder how many it found."""
    results = ROOT / "_build" / "results"
    now = results / remember.version()
    for old in set(results.glob("*")) - {now}:
        shutil.rmtree(old, ignore_errors=True)
    start = own / "start.py"  # run before the first cell, in its names
    call = f"remember.install({str(now)!r}, {str(own / 'used')!r})"
    start.write_text(f"from tools import remember\n{call}\ndel remember\n", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(remember.ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONSTARTUP": str(start), "PYTHONPATH": path}


def complaint(part: Path, status: int, errors: str, memory: int) -> str:
    """What went wrong in a chapter that papermill executed into `part`, or '': one sentence, or the cell's own error.

    `status` and `errors` are papermill's, `memory` the bytes of its largest process.
    """
    cells = read(part).cells if part.exists() else []
    begun = [n for n, cell in enumerate(cells, 1) if cell.metadata.get("papermill", {}).get("start_time")]
    first = next(iter(cells[begun[-1] - 1].source.strip().splitlines()), "") if begun else ""
    where = f"in cell {begun[-1]} of {len(cells)}, which begins with `{first}`" if begun else "before the first cell"
    if status == DEAD_KERNEL:
        return (
            f"Its kernel died {where}, probably because the memory ran out: the largest process had {memory / 1e9:.1f} GB. "
            "Close other programs, run fewer chapters at a time, or give it smaller parameters."
        )
    if "CellTimeoutError" in errors:
        return f"It was stopped {where}: with its default parameters no cell may take more than {CELL_SECONDS} s."
    if status < 0:
        return f"It was ended {where} by signal {-status}, from outside or because the memory ran out."
    if status:
        said = "\n".join(line for line in errors.splitlines() if not line.startswith("Executing: "))  # its bars
        return said.rpartition("PapermillExecutionError:")[2][-3000:].strip()  # without papermill's own stack
    if any(output.output_type == "error" for cell in cells for output in cell.get("outputs", [])):
        return f"It called sys.exit() {where}: a chapter runs to its end."
    return ""


def is_current(path: Path, wanted: str) -> bool:
    """Whether `path` holds an executed chapter with this key; what cannot be read does not count."""
    try:
        return path.exists() and read(path).metadata.get("dmftlib", {}).get("key") == wanted
    except ToolError:
        return False


def cached(chapter: str, values: dict, folder: Path, at_once: int = 1, preset: str = "") -> Path:
    """The executed chapter in `folder`, run only if something that it depends on changed."""
    path, wanted = folder / f"{chapter}.ipynb", key(chapter, values)
    if is_current(path, wanted):
        say(f"{chapter}: unchanged, not run again")
        return path
    say(f"{chapter}: running")
    notebook = execute(chapter, values, folder, at_once, preset, remembers=not preset)
    notebook.metadata["dmftlib"]["key"] = wanted
    write(notebook, path)
    say(f"{chapter}: done in {notebook.metadata['dmftlib']['seconds']:.0f} s")
    return path


@contextmanager
def side_by_side(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that execute chapters; Ctrl-C ends those chapters, and none that waits begins."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise


def run_all(rows: dict[str, dict]) -> dict[str, Path]:
    """Every chapter with its defaults, two at a time, the longest by their `rows` of costs first; a failure lets others finish."""
    for chapter in names():
        read_notebook(read(committed(chapter)))  # a parameters cell outside the grammar stops the build at once
    folder, found, failures = ROOT / "_build" / "chapters", {}, []
    at_once = min(AT_ONCE, len(names())) or 1
    order = sorted(names(), key=lambda chapter: -rows.get(chapter, {}).get("seconds", 0))
    with side_by_side(at_once) as pool:
        jobs = {chapter: pool.submit(cached, chapter, {}, folder, at_once) for chapter in order}
        for chapter, job in jobs.items():
            try:
                found[chapter] = job.result()
            except ToolError as error:
                failures.append(str(error))
    if failures:
        raise ToolError("\n".join(failures))
    return found


def run_folder(chapter: str, given: dict, preset: str = "", swept: dict[str, list] | None = None) -> Path:
    """runs/gd-paper-P=8-gamma0=4.0, or, for a sweep, runs/gd-P=8-sweep-gamma0=1.0,2.0: another one for other values."""
    told = [f"{name}={written(value)}" for name, value in sorted(given.items())]
    between = lambda values: ".." if isinstance(values[0], list) else ","  # noqa: E731
    grid = [f"{name}={between(values).join(map(written, values))}" for name, values in (swept or {}).items()]
    parts = [chapter, *([preset] if preset else []), *told, *(["sweep", *grid] if swept else [])]
    name = re.sub(r"[\[\]]", "", "-".join(parts if len(parts) > 1 else [*parts, "default"]))
    if len(name) > 100:
        name = f"{name[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return ROOT / "runs" / name
