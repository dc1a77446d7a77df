"""The commands behind the Makefile: python -m tools book | pdf | run | sweep | check | accept | full | record | links | serve | audit."""

from __future__ import annotations

import argparse
import os
import re
import sys

from . import (
    ROOT,
    ToolError,
    audit,
    chapters,
    comparison,
    costs,
    exercises,
    full,
    links,
    pages,
    pdf,
    records,
    serve,
    sweep,
)
from .parameters import presets_of, read_notebook, read_preset, read_settings


def book() -> None:
    pages.build(ROOT / "_build" / "html", chapters.run_all())
    print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")


def whole_book() -> None:
    pdf.check()
    html = ROOT / "_build" / "html"
    pages.build(html, chapters.run_all(), with_pdf=True)
    print(f"The book is in {html / 'index.html'}\nAs one file:   {html / '_static' / pdf.NAME}")


def explain(chapter: str) -> None:
    """What can be set in a chapter, or, without one, which chapters there are."""
    if not chapter:
        titles = {name: chapters.read(chapters.committed(name)).cells[0].source for name in chapters.names()}
        print("make run CHAPTER=name HELP=1 lists the parameters of a chapter; the names are")
        print("\n".join(f"  {name:<14} {title.splitlines()[0].lstrip('# ')}" for name, title in titles.items()))
        return
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    lines = [f'make run CHAPTER={chapter} PARAMS="name=value name=value"']
    lines += [f'make sweep CHAPTER={chapter} GRID="name=value,value name=value,value"', "where the names are"]
    lines += [f"  {parameter}" for parameter in parameters.values()]
    lines += [f"or PRESET={preset}, which sets many" for preset in presets_of(records.presets(), chapter)]
    print("\n".join([*lines, *costs.sentences(chapter)]))


def run(chapter: str, text: str, preset: str) -> None:
    committed = chapters.read(chapters.committed(chapter))
    parameters = read_notebook(committed)
    given = read_settings(text, parameters, chapter)
    chosen = read_preset(records.presets(), preset, parameters, chapter) if preset else {}
    folder = chapters.run_folder(chapter, given, preset)
    notebook = chapters.cached(chapter, chosen | given, folder, preset=preset)
    # Other parameters may make a sentence or a reference of the chapter moot, so warnings are not errors here.
    pages.build(folder / "html", {chapter: notebook}, strict=False)
    print(comparison.report(parameters, chosen | given, committed, chapters.read(notebook)))
    print(f"Notebook: {notebook}\nPage:     {folder / 'html' / 'notebooks' / f'{chapter}.html'}")


def record(chapter: str, preset: str) -> None:
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    values = read_preset(records.presets(), preset, parameters, chapter)
    notebook = chapters.cached(chapter, values, chapters.run_folder(chapter, {}, preset), preset=preset)
    print(f"Recorded in {records.keep(chapter, preset, chapters.read(notebook)).relative_to(ROOT)}")


def number(jobs: str) -> int:
    """How many runs at a time: as many as asked for, or as many as the book's chapters."""
    if not re.fullmatch(r"|[1-9]\d*", jobs):
        raise ToolError(f"JOBS is how many runs go on at a time, 1 or more; got {jobs!r}.")
    return int(jobs or chapters.AT_ONCE)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("book")
    commands.add_parser("pdf")
    runner = commands.add_parser("run")
    runner.add_argument("chapter")
    runner.add_argument("parameters", nargs="?", default="")
    runner.add_argument("preset", nargs="?", default="")
    runner.add_argument("--explain", action="store_true")
    sweeper = commands.add_parser("sweep")
    for name in ("chapter", "grid", "parameters", "preset", "plot", "jobs", "scheduler"):
        sweeper.add_argument(name, nargs="?", default="")
    sweeper.add_argument("--explain", action="store_true")
    checker = commands.add_parser("check")
    checker.add_argument("exercise")
    checker.add_argument("answer")
    commands.add_parser("accept").add_argument("chapter")
    commands.add_parser("full").add_argument("chapter")
    commands.add_parser("links")
    commands.add_parser("audit")
    commands.add_parser("serve").add_argument("port", nargs="?", default="")
    recorder = commands.add_parser("record")
    recorder.add_argument("chapter")
    recorder.add_argument("preset")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "book":
                book()
            case "run" | "sweep" if chosen.explain:
                explain(chosen.chapter)
            case "pdf":
                whole_book()
            case "run":
                run(chosen.chapter, chosen.parameters, chosen.preset)
            case "sweep":
                names = ("chapter", "grid", "parameters", "preset", "plot")
                sweep.sweep(*(getattr(chosen, name) for name in names), number(chosen.jobs), chosen.scheduler)
            case "check":
                print(exercises.check(chosen.exercise, chosen.answer))
            case "accept":
                chapters.accept(chosen.chapter)
            case "full":
                full.full(chosen.chapter)
            case "links":
                links.write_all()
            case "audit":
                print(audit.audit())
            case "serve":
                serve.serve(ROOT / "_build" / "html", chosen.port)
            case "record":
                record(chosen.chapter, chosen.preset)
    except ToolError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the output went to `head` or a pager, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # what the reader's disk refuses
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"Error: cannot read or write a file: {error.strerror}{where}. Make room or allow it, and run it again: "
            "chapters that were finished will not be run again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Chapters that were finished will not be run again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # in a locale that lacks a sign, a question mark
    sys.exit(main())
