"""The commands behind the Makefile: python -m tools book | run | accept | record."""

from __future__ import annotations

import argparse
import sys

from . import ROOT, ToolError, chapters, pages, records
from .parameters import read_notebook, read_preset, read_settings


def book() -> None:
    pages.build(ROOT / "_build" / "html", chapters.run_all())
    print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")


def run(chapter: str, text: str, preset: str) -> None:
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    given = read_settings(text, parameters, chapter)
    chosen = read_preset(records.presets(), preset, parameters, chapter) if preset else {}
    folder = chapters.run_folder(chapter, given, preset)
    notebook = chapters.cached(chapter, chosen | given, folder, preset=preset)
    # Other parameters may make a sentence or a reference of the chapter moot, so warnings are not errors here.
    pages.build(folder / "html", {chapter: notebook}, strict=False)
    print(f"Notebook: {notebook}\nPage:     {folder / 'html' / 'notebooks' / f'{chapter}.html'}")


def record(chapter: str, preset: str) -> None:
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    values = read_preset(records.presets(), preset, parameters, chapter)
    notebook = chapters.cached(chapter, values, chapters.run_folder(chapter, {}, preset), preset=preset)
    print(f"Recorded in {records.keep(chapter, preset, chapters.read(notebook)).relative_to(ROOT)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("book")
    runner = commands.add_parser("run")
    runner.add_argument("chapter")
    runner.add_argument("parameters", nargs="?", default="")
    runner.add_argument("preset", nargs="?", default="")
    commands.add_parser("accept").add_argument("chapter")
    recorder = commands.add_parser("record")
    recorder.add_argument("chapter")
    recorder.add_argument("preset")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "book":
                book()
            case "run":
                run(chosen.chapter, chosen.parameters, chosen.preset)
            case "accept":
                chapters.accept(chosen.chapter)
            case "record":
                record(chosen.chapter, chosen.preset)
    except ToolError as error:
        print(f"Error: {error}", file=sys.stderr)
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
    sys.exit(main())
