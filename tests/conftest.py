import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from IPython.core.formatters import DisplayFormatter
from slow import SLOW

from tools import ROOT, chapters, pages
from tools.__main__ import dmft as commands
from tools.atomic import borrow, give_back, scratch


def pytest_addoption(parser):
    parser.addoption("--fault", help="put this fault of tests/faults.py into the library first")


def pytest_configure(config):
    """The kernels that nbval starts share the cores and the compiled functions as those of `make book` do.

    Workers inherit what the first process sets. Tests that are killed leave no torn entry in the shared cache.
    """
    if config.getoption("fault"):
        import faults

        faults.seed(config.getoption("fault"), pytest.MonkeyPatch())
    if hasattr(config, "workerinput"):
        return
    running = ExitStack()
    own = running.enter_context(scratch(chapters.compiled()))
    config.add_cleanup(running.close)
    cache = own / "tests"
    borrow(chapters.compiled(), cache)
    # Before the folder is removed: last in, first out.
    config.add_cleanup(lambda: give_back(cache, chapters.compiled()))
    os.environ.update(chapters.environment(2, cache))


def pytest_collection_modifyitems(items):
    for item in items:
        if {item.path.name, item.name.partition("[")[0], *getattr(item, "fixturenames", ())} & SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_testnodedown(node, error):
    """A worker that died ends the run at once: replaced, it would hide what killed it, and the others go on for long."""
    if error:
        print(f"\n{node.gateway.id} died, so the run ends here: {error}", file=sys.__stderr__, flush=True)
        os._exit(1)


def pytest_runtest_logreport(report):
    """The whole run takes long: a failure is named when it happens, not only at the end."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid}: failed at {report.when}", file=sys.__stderr__, flush=True)


SMALL_BOOK = {
    "_toc.yml": "format: jb-book\nroot: book/welcome\nparts:\n- caption: All\n  chapters:\n  - file: notebooks/small\n",
    "book/welcome.md": "# Welcome\n\nThe paper is {cite:t}`bordelon2023influence`.\n\n```{bibliography}\n```\n",
}
SMALL_CHAPTER = [
    ("parameters", 'n: int = 3  # how many [1, 10]\nword: str = "a"  # what {a, b}'),
    ("print", "print(n * word, n / 7)"),
]


SMALL_PRESETS = '[paper.small]\nn = 5\nword = "b"\n'


def dmft(*words):
    """A command of `dmft`, in this process: its exit_code, its output and stderr."""
    return CliRunner().invoke(commands, [str(word) for word in words], prog_name="dmft")


def tools(tree, *words, **exported):
    """A command of `dmft` in a process of its own, in another copy of the project."""
    command = [sys.executable, "-m", "tools", *words]
    return subprocess.run(command, cwd=tree, env=os.environ | exported, capture_output=True, text=True)


def commit(tree):
    """Make a folder a repository with one commit of all that it holds."""
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "All"]):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", *identity, *words], cwd=tree, check=True)


def cells(text):
    """Rows of the tables of a page but for their heads."""
    lines = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [row for row, below in zip(lines, [*lines[1:], [""]]) if "---" not in (row[0], below[0])]


def copied(tree):
    """The code of this project in another folder."""
    for name in ("tools", "companion", "dmftlib"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def claims_cell(claims):
    """The cell of a notebook that was run and displayed a table of claims."""
    data, metadata = DisplayFormatter().format(claims.table())
    return nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])


def write_chapter(path: Path, cells: list[tuple[str, str]] = SMALL_CHAPTER) -> None:
    """A notebook whose cells are (id, source); the one called `parameters` gets the tag."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {path.stem}", id="title")])
    for name, source in cells:
        metadata = {"tags": ["parameters", "hide-input"]} if name == "parameters" else {}
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=name, metadata=metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(notebook, path)


@pytest.fixture
def small_tree(tmp_path):
    """A copy of the project with a book of two pages, in a folder with spaces in its name."""
    tree = copied(tmp_path / "a small book")
    (tree / "book" / "_static").mkdir(parents=True)
    kept = ("Makefile", "pyproject.toml", "requirements.lock", "requirements-test.lock", ".gitignore", "_config.yml")
    static = [f"book/_static/{name}" for name in ("favicon.svg", "book.css", "scorer.js")]
    for name in (*kept, "book/settings.toml", "book/figures.toml", "book/references.bib", *static):
        shutil.copy2(ROOT / name, tree / name)
    for name, text in SMALL_BOOK.items():
        (tree / name).write_text(text)
    write_chapter(tree / "notebooks" / "small.ipynb")
    (tree / "notebooks" / "presets.toml").write_text(SMALL_PRESETS)
    (tree / "notebooks" / "rerun.toml").write_text('small = ["n=4", "one letter more."]\n')
    return tree


@pytest.fixture(scope="session")
def html(testrun_uid):
    """The strict build of the committed outputs, made once a test run however many processes share it."""
    folder = ROOT / "_build" / "tested"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "made"
        if not made.exists() or made.read_text() != testrun_uid:
            pages.build(folder / "html", executed={})
            made.write_text(testrun_uid)
    return folder / "html"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Chapters only, for runs inside this process."""
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr("tools.__main__.ROOT", tmp_path)
    write_chapter(tmp_path / "notebooks" / "small.ipynb")
    (tmp_path / "notebooks" / "presets.toml").write_text(SMALL_PRESETS)
    return tmp_path
