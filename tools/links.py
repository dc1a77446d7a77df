"""The cell with which a chapter installs the package where it is missing; the address is in book/settings.toml."""

import nbformat

from . import chapters, pages

TAG = "install"
SOURCE = """# Elsewhere than in this project's own environment, as on Colab: install the package. Otherwise nothing happens.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("dmftlib") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "git+{url}"], check=True)
    importlib.invalidate_caches()"""


def cell(url: str):
    """Hidden on the page, and without an output: nothing there for nbval to compare."""
    return nbformat.v4.new_code_cell(
        SOURCE.format(url=url), id="install", metadata={"tags": [TAG, "remove-cell"]}, execution_count=1
    )


def put(notebook, url: str) -> None:
    """Make the install cell the first code cell, or, without address, have none; counts are those of a fresh run."""
    cells = [c for c in notebook.cells if TAG not in c.metadata.get("tags", [])]
    first = next((n for n, c in enumerate(cells) if c.cell_type == "code"), len(cells))
    notebook.cells = [*cells[:first], *([cell(url)] if url else []), *cells[first:]]
    code = [c for c in notebook.cells if c.cell_type == "code"]
    if all(c.execution_count for c in code):
        for count, c in enumerate(code, start=1):
            c.execution_count = count


def write_all() -> None:
    """Bring every committed chapter in line with the settings."""
    url = pages.settings()["repository_url"]
    for chapter in chapters.names():
        notebook = chapters.read(chapters.committed(chapter))
        put(notebook, url)
        chapters.write(notebook, chapters.committed(chapter))
    print(f"{len(chapters.names())} chapters {f'install from {url}' if url else 'have no install cell'}.")
