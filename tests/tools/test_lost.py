"""Nothing lost: whatever is killed, full or running twice, the next run completes and redoes only what is missing."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL_CHAPTER, dmft, tools, write_chapter

from tools import ToolError, atomic, chapters

BOOK = [sys.executable, "-m", "tools", "book"]
WAITING = [*SMALL_CHAPTER, ("wait", "import pathlib, time\nwhile not pathlib.Path('../go').exists(): time.sleep(0.1)")]


def start(tree):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(BOOK, cwd=tree, **pipes)


def assert_whole(tree):
    """The book is there, and nothing half made beside it."""
    pages = tree / "_build" / "html"
    assert "aaa 0.42857142857142855" in (pages / "notebooks" / "small.html").read_text()
    assert (pages / "index.html").exists() and (pages / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1e6
    assert not [*(tree / "_build").rglob(".*.scratch-*")]


def test_two_runs_at_once_make_the_same_book(small_tree):
    with start(small_tree) as one, start(small_tree) as two:
        errors = [run.communicate()[1] for run in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), errors
    assert_whole(small_tree)


@pytest.mark.parametrize("command", ["accept small", "record small --preset paper"])
def test_a_disk_that_fills_up_while_a_result_is_written_leaves_the_old_one(tree, monkeypatch, command):
    kept = chapters.committed("small").read_bytes()

    def full(part, data):
        with part.open("wb") as file:
            file.write(data[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        done = dmft(*command.split())
    assert done.exit_code == 1 and "Error: cannot read or write a file: No space left on device" in done.stderr
    assert chapters.committed("small").read_bytes() == kept
    assert not [*tree.rglob(".*.scratch-*")] and not [*tree.rglob("records/*/*")]
    assert dmft(*command.split()).exit_code == 0


@pytest.mark.parametrize(
    "line, whole_group", [("small: done", True), ("small: done", False), ("building the HTML", True)]
)
def test_a_run_that_is_killed_leaves_only_whole_things_and_the_next_one_goes_on(small_tree, line, whole_group):
    write_chapter(small_tree / "notebooks" / "wait.ipynb", WAITING)
    toc = small_tree / "_toc.yml"
    toc.write_text(toc.read_text() + "  - file: notebooks/wait\n")
    if line != "small: done":
        (small_tree / "go").touch()
    with start(small_tree) as running:
        for printed in running.stdout:
            if line in printed:
                break
        (os.killpg if whole_group else os.kill)(running.pid, signal.SIGKILL)
    finished = {path.stem for path in (small_tree / "_build" / "chapters").glob("*.ipynb")}
    assert finished == ({"small"} if line == "small: done" else {"small", "wait"})
    assert not (small_tree / "_build" / "html").exists()
    (small_tree / "go").touch()
    again = tools(small_tree, "book")
    assert again.returncode == 0, again.stderr
    assert all(f"{name}: {'unchanged' if name in finished else 'done'}" in again.stdout for name in ("small", "wait"))
    assert_whole(small_tree)


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "", lambda text: "[]"])
def test_an_executed_chapter_that_cannot_be_read_is_run_again(tree, capsys, damage):
    path = chapters.cached("small", {}, tree / "out")
    path.write_text(damage(path.read_text()))
    assert chapters.cached("small", {}, tree / "out") == path
    assert "small: unchanged" not in capsys.readouterr().out
    assert chapters.read(path).metadata["dmftlib"]["key"] == chapters.key("small", {})


CACHE = "import os, pathlib; cache = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR'])\n"


def test_only_runs_that_end_well_add_to_the_cache_of_compiled_functions(tree, monkeypatch):
    """JAX writes entries in place, so that one whose writer was killed is torn, and warns at every later use."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    write_chapter(
        tree / "notebooks" / "small.ipynb",
        [*SMALL_CHAPTER, ("one", CACHE + "(cache / 'a-cache').write_bytes(b'whole');")],
    )
    chapters.execute("small", {}, tree / "out")
    torn = CACHE + "assert (cache / 'a-cache').exists(); (cache / 'b-cache').write_bytes(b'to'); os._exit(9)"
    write_chapter(tree / "notebooks" / "killed.ipynb", [*SMALL_CHAPTER, ("two", torn)])
    with pytest.raises(ToolError, match=r"killed failed\."):
        chapters.execute("killed", {}, tree / "out")
    assert {path.name: path.read_bytes() for path in chapters.compiled().iterdir()} == {"a-cache": b"whole"}


def test_a_folder_that_is_in_use_is_not_taken_for_left_behind(tmp_path):
    place = tmp_path / "place"
    with atomic.scratch(place) as one:
        with atomic.scratch(place) as two:
            assert one.is_dir() and two.is_dir() and one != two
        assert one.is_dir() and not two.exists()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    left = tmp_path / one.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    left.mkdir()
    (left / "file").write_text("half")
    with atomic.scratch(place) as own:
        assert not left.exists() and own.is_dir()
