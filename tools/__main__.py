"""The commands behind the Makefile: python -m tools book | run | accept."""

from __future__ import annotations

import argparse
import sys

from . import ROOT, ToolError, chapters, pages
from .parameters import read_notebook, read_settings


def book() -> None:
    pages.build(ROOT / "_build" / "html", chapters.run_all())
    print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")


def run(chapter: str, text: str) -> None:
    values = read_settings(text, read_notebook(chapters.read(chapters.committed(chapter))), chapter)
    folder = chapters.run_folder(chapter, values)
    notebook = chapters.cached(chapter, values, folder)
    # Other parameters may make a sentence or a reference of the chapter moot, so warnings are not errors here.
    pages.build(folder / "html", {chapter: notebook}, strict=False)
    print(f"Notebook: {notebook}\nPage:     {folder / 'html' / 'notebooks' / f'{chapter}.html'}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("book")
    runner = commands.add_parser("run")
    runner.add_argument("chapter")
    runner.add_argument("parameters", nargs="?", default="")
    commands.add_parser("accept").add_argument("chapter")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "book":
                book()
            case "run":
                run(chosen.chapter, chosen.parameters)
            case "accept":
                chapters.accept(chosen.chapter)
    except ToolError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Chapters that were finished will not be run again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
