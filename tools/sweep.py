"""A grid of runs of one chapter, several at a time, on this machine or on a cluster: dmft sweep.

On a cluster the engine is dask, whose scheduler and workers are plain Python; Snakemake would need a file of rules and its
own profiles. A worker returns the executed notebook and this process writes it, so a cluster needs no shared folder; what
stands in runs/ is not run again, whenever a sweep was killed.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import nbformat
import pandas

from . import ToolError, chapters, costs, figures, run_records, sweep_table
from .parameters import read_grid, read_notebook, read_preset, read_settings, written


@dataclass(frozen=True)
class Run:
    """One point of the grid: what was swept, all values given to the chapter, and where its notebook goes."""

    chapter: str
    point: dict
    values: dict
    folder: Path

    def __str__(self) -> str:
        return " ".join(f"{name}={written(value)}" for name, value in self.point.items())

    @property
    def path(self) -> Path:
        return self.folder / f"{self.chapter}.ipynb"

    @property
    def is_done(self) -> bool:
        return chapters.is_current(self.path, chapters.key(self.chapter, self.values))


def compute(chapter: str, values: dict, at_once: int | None) -> tuple[str, str, str]:
    """On a worker: the key of what was run, the executed notebook, and what went wrong ('' if nothing did)."""
    with tempfile.TemporaryDirectory() as folder:
        error = ""
        try:
            notebook = chapters.execute(chapter, values, Path(folder), at_once or os.cpu_count() or 1, watched=False)
        except ToolError as failure:
            left, error = Path(folder) / f"{chapter}.failed.ipynb", str(failure).partition("\nThe executed copy")[0]
            notebook = chapters.read(left) if left.exists() else nbformat.v4.new_notebook()
        return chapters.key(chapter, values), nbformat.writes(notebook), error


def keep(run: Run, key: str, text: str, error: str) -> str:
    """Write what a worker returned; what went wrong, or ''."""
    if key != chapters.key(run.chapter, run.values):
        return "the worker has another version of the chapter, of dmftlib or of Python than this checkout"
    notebook = nbformat.reads(text, as_version=4)
    failed = run.path.with_suffix(".failed.ipynb")
    if error:
        chapters.write(notebook, failed)
        return f"{error.splitlines()[-1]}\n  The executed copy, up to the error, is {failed}."
    notebook.metadata["dmftlib"]["key"] = key
    chapters.write(notebook, run.path)
    failed.unlink(missing_ok=True)
    return ""


@contextmanager
def workers(scheduler: str) -> Iterator[Executor]:
    """The workers of a dask scheduler that is running, given by its address."""
    from distributed import Client  # slow to import, and of use to this command only

    try:
        client = Client(scheduler, timeout=30)
    except (OSError, TimeoutError, ValueError) as error:
        raise ToolError(f"no dask scheduler answers at {scheduler!r}, as in tcp://host:8786: {error}") from None
    with client:
        yield client.get_executor(pure=False)


def run_all(runs: Iterable[Run], jobs: int, scheduler: str, tell: Callable[[Run, str], None]) -> None:
    """Run on the scheduler, or `jobs` at a time on this machine; `tell` each run as it ends, with what went wrong."""
    at_once = None if scheduler else jobs  # a worker of a cluster gives each of its threads one core
    with workers(scheduler) if scheduler else chapters.side_by_side(jobs) as pool:
        futures = {pool.submit(compute, run.chapter, run.values, at_once): run for run in runs}
        for future in as_completed(futures):
            lost = future.exception()  # of the worker: what goes wrong in a chapter is returned
            tell(futures[future], str(lost) if lost else keep(futures[future], *future.result()))


def announce(chapter: str, runs: list[Run], missing: list[Run], jobs: int, scheduler: str) -> None:
    """How many runs, how many are there already, and about how long the rest takes."""
    chapters.say(f"{chapter}: {len(runs)} runs, {len(runs) - len(missing)} of them done already")
    if missing and (row := costs.table().get(chapter)):
        turns = len(missing) if scheduler else math.ceil(len(missing) / jobs)
        total = costs.time(row | {"seconds": row["seconds"] * turns}) + (" over all workers" if scheduler else "")
        chapters.say(f"about {total}, from the chapter's time with its default parameters on {costs.machine(row)}")


def provenance(swept: dict[str, list], fixed: dict, notebook) -> dict:
    """Where a table comes from. The runs in it have records of their own; this one is of the sweep that collected them."""
    values = {name: parameter.default for name, parameter in read_notebook(notebook).items()} | fixed
    rest = {name: value for name, value in values.items() if name not in swept}
    other = {"parameters": rest, "not as in the book": figures.changed(notebook, rest)}
    return {"grid": swept, **other, **chapters.state(), "licence": figures.LICENCE}


def sweep(chapter: str, grid: str, settings: str, preset: str, wanted: str, jobs: int, scheduler: str) -> None:
    """Run what is missing of a grid, then write its table and its plot; raise, after that, if a run failed."""
    committed = chapters.read(chapters.committed(chapter))
    parameters = read_notebook(committed)
    swept, given = read_grid(grid, parameters, chapter), read_settings(settings, parameters, chapter)
    chosen = read_preset(run_records.presets(), preset, parameters, chapter)
    if both := set(swept) & set(given):
        raise ToolError(f"both swept and set: {', '.join(sorted(both))}.")
    known = [f"{row['claim']}: {row['quantity']}" for row in run_records.claims(committed)]
    if not any(wanted in claim for claim in known):
        told = "\n".join(f"  {claim}" for claim in known)
        raise ToolError(f"{wanted!r} is in none of the claims of {chapter}, which are\n{told or '  none'}")
    points = [dict(zip(swept, values)) for values in product(*swept.values())]  # the last one changes fastest
    folders = [chapters.run_folder(chapter, given | point, preset) for point in points]
    runs = [Run(chapter, point, chosen | given | point, folder) for point, folder in zip(points, folders)]
    about = {"chapter": chapter, "preset": preset, **provenance(swept, chosen | given, committed)}
    missing, failures = [run for run in runs if not run.is_done], {}
    announce(chapter, runs, missing, jobs, scheduler)
    ended = []

    def tell(run: Run, error: str) -> None:
        failures.update({str(run): error} if error else {})
        ended.append(run)
        chapters.say(f"{len(ended)} of {len(missing)}: {run}{': failed' if error else ''}")

    if missing:
        run_all(missing, jobs, scheduler, tell)
    found = (sweep_table.claims(run.point, chapters.read(run.path)) for run in runs if run.is_done)
    if results := [rows for rows in found if len(rows)]:
        folder = chapters.run_folder(chapter, given, preset, swept)
        other = figures.words(about["not as in the book"])
        note = f"chapter {chapter}, {f'not as in the book: {other}' if other else 'else as in the book'}"
        files = {
            "table.csv": pandas.concat(results).to_csv(index=False, lineterminator="\n"),
            "plot.svg": sweep_table.plot(swept, results, wanted, note),
            "provenance.json": json.dumps(about, indent=1, ensure_ascii=False) + "\n",
        }
        for name, text in files.items():
            chapters.write_text(text, folder / name)
            print(folder / name)
    if failures:
        told = "\n".join(f"{run}: {error}" for run, error in failures.items())
        raise ToolError(f"{len(failures)} of {len(runs)} runs failed; the others are kept.\n{told}")
