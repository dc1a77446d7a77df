"""What a newcomer types: make and dmft, in a folder that is not ours and has spaces in its name."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import SMALL_CHAPTER, commit, dmft, tools, write_chapter

from tools import ROOT
from tools.__main__ import dmft as commands


@pytest.fixture
def checkout(small_tree):
    """A committed checkout that borrows this environment; -o keeps make from installing anything into it."""
    (small_tree / ".venv").symlink_to(ROOT / ".venv")
    commit(small_tree)
    return small_tree


def make(tree, *arguments, **exported):
    command = ["make", "--no-print-directory", "-o", ".venv/installed", *arguments]
    return subprocess.run(command, cwd=tree, env=os.environ | exported, capture_output=True, text=True)


def status(tree):
    return subprocess.run(["git", "status", "--porcelain"], cwd=tree, capture_output=True, text=True).stdout


def test_make_book_says_where_the_book_is_leaves_git_clean_and_runs_nothing_twice(checkout):
    first = make(checkout, "book")
    assert first.returncode == 0, first.stderr
    assert "small: done" in first.stdout
    assert first.stdout.splitlines()[-1] == f"The book is in {checkout}/_build/html/index.html"
    page = (checkout / "_build" / "html" / "notebooks" / "small.html").read_text()
    assert "aaa 0.42857142857142855" in page and re.search(r"Run in \d+ s by dmftlib [\d.]+, commit", page)
    second = make(checkout, "book")
    assert second.returncode == 0, second.stderr
    assert "small: unchanged, not run again" in second.stdout
    assert status(checkout) == ""


def test_make_run_takes_a_preset_and_parameters_and_writes_only_under_runs(checkout):
    done = make(checkout, "run", "CHAPTER=small", "PARAMS=n=2 word=b", "PRESET=paper")
    assert done.returncode == 0, done.stderr
    folder = checkout / "runs" / "small-paper-n=2-word=b"
    page = folder / "html" / "notebooks" / "small.html"
    told = ["+ bb 0.2857142857142857", f"Notebook: {folder}/small.ipynb", f"Page:     {page}"]
    assert done.stdout.splitlines()[-3:] == told  # the committed chapter of this checkout was never run
    text = page.read_text()
    assert "bb 0.2857142857142857" in text
    top = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", text[text.index("<h1>small") :]))
    assert "Not as in the book This page was run with n = 2 (in the book 3), word = b (in the book a)." in top[:200]
    assert status(checkout) == ""


def test_a_record_is_made_once_and_is_no_change_of_the_checkout(checkout):
    path = "notebooks/records/paper/small.json"
    assert tools(checkout, "record", "small", "--preset", "paper").stdout.splitlines()[-1] == f"Recorded in {path}"
    assert status(checkout).split() == ["??", "notebooks/records/"]
    record = json.loads((checkout / path).read_text())
    assert record["parameters"] == {"n": 5, "word": "b"} and record["commit"] and not record["dirty"]
    (checkout / "runs" / "small-paper" / "small.ipynb").unlink()
    tools(checkout, "record", "small", "--preset", "paper")
    assert not json.loads((checkout / path).read_text())["dirty"], "records of other runs count as changes"


@pytest.mark.parametrize(
    "words, message",
    [
        ("run fa", "there is no chapter 'fa'; the chapters are: small"),
        ("accept ../small", "there is no chapter '../small'; the chapters are: small. Did you mean `small`?"),
        ("run small n=11", "`n` must lie in [1, 10]; got 11"),
        (
            "run small --preset papr",
            "presets.toml has no [papr.small]; its presets, and their chapters, are {'paper': ['small']}",
        ),
        ("sweep small", "nothing is swept"),
        ("sweep small n=1,2 --set n=1", "both swept and set: n"),
        ("sweep small n=1,2 --plot final", "'final' is in none of the claims of small, which are\n  none"),
        ("check gd 1", "'gd' is not one of 'networks', 'entk'"),
        ("serve", "_build/html yet; make book builds it."),
    ],
)
def test_a_wrong_command_stops_before_anything_runs(tree, words, message):
    done = dmft(*words.split())
    assert done.exit_code in (1, 2) and message in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tree.iterdir()) == ["notebooks"]


@pytest.mark.parametrize(
    "words, spoiled, content, message",
    [
        ("run small", "notebooks/small.ipynb", "{", "small.ipynb is not a notebook: .* Restore it"),
        ("run small", "runs", "a file", r"cannot read or write a file: (File exists|Not a directory) \(.*runs"),
        ("record small --preset paper", "notebooks/presets.toml", "[paper", "presets.toml is not TOML"),
        ("record small --preset paper", "notebooks/presets.toml", "[paper.gd]\n", "has no .paper.small"),
        ("run small --preset paper", "notebooks/presets.toml", None, r"No such file or directory \(.*presets.toml\)"),
    ],
)
def test_a_spoiled_file_is_named(tree, words, spoiled, content, message):
    (tree / spoiled).unlink(missing_ok=True) if content is None else (tree / spoiled).write_text(content)
    done = dmft(*words.split())
    assert done.exit_code == 1 and re.search(message, done.stderr, re.DOTALL) and "Traceback" not in done.stderr


def test_help_lists_the_commands_the_chapters_or_the_parameters_of_one(tree):
    assert all(f"  {name} " in dmft("--help").output for name in commands.commands)
    assert "  small          small\n" in dmft("run", "--help").output
    for command in ("run", "sweep"):
        told = dmft(command, "small", "--help").output
        assert "  n: int = 3  how many [1, 10]\n  word: str = 'a'  what {a, b}\nor --preset paper" in told


def test_make_takes_the_words_that_it_knows_from_the_command_line_alone_as_they_are(checkout):
    wrong = make(checkout, "run", "CHAPTER=small", "PARAM=n=2")
    assert wrong.returncode == 2 and '"PARAM" means nothing to make' in wrong.stderr
    wrong = make(checkout, "-e", "run", "PARAMS=n=2", CHAPTER="small", PRESET="small")
    assert wrong.returncode == 2 and "there is no chapter ''; the chapters are: small" in wrong.stderr
    wrong = make(checkout, "run", "CHAPTER=small", "PARAMS=--n=2")
    assert "small has no parameter `--n`" in wrong.stderr and not (checkout / "runs").exists()


def test_an_interrupted_run_keeps_the_chapters_that_were_finished(checkout):
    waiting = [*SMALL_CHAPTER, ("wait", "import time; time.sleep(60)")]
    for name in ("wait", "wait_too"):  # after `small` in the alphabet: one runs beside it, the other has to queue
        write_chapter(checkout / "notebooks" / f"{name}.ipynb", waiting)
    # A shell may have made it deaf.
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.argv = ['dmft', 'book']; runpy.run_module('tools', run_name='__main__')"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=checkout, **pipes) as running:
        for line in running.stdout:
            if "small: done" in line:
                break
        os.killpg(running.pid, signal.SIGINT)  # what Ctrl-C does: the whole group, which start_new_session made
        try:
            _, errors = running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # a run that does not stop fails this test, and holds up no other
            raise
    assert running.returncode == 130 and "Chapters that were finished will not be run again." in errors
    kept = (checkout / "_build" / "chapters").glob("*.ipynb")
    assert [path.stem for path in kept if "." not in path.stem] == ["small"]


def test_a_locale_without_the_signs_of_the_book_changes_no_result(small_tree):
    signs = "print('γ₀ ± 0.1 → ∞, é')"
    write_chapter(small_tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("signs", signs)])
    ascii = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["run", "small", "n=2"], ["run", "small", "γ₀=2"]):
        done = tools(small_tree, *words, **ascii)
        assert "Traceback" not in done.stderr
        assert (done.returncode == 0) == (words[-1] != "γ₀=2"), done.stderr
    page = (small_tree / "runs" / "small-n=2" / "html" / "notebooks" / "small.html").read_text(encoding="utf-8")
    assert "γ₀ ± 0.1 → ∞, é" in page


@pytest.mark.parametrize(
    "script, message",
    [
        ("exit 1", "No Python 3.11, 3.12 or 3.13 was found: install one of them"),
        # Answers the first question, the version, and fails at the second, the modules.
        ('case "$2" in *venv*) exit 1;; esac', "has no venv module: install it (Debian, Ubuntu: apt-get install"),
    ],
)
def test_a_missing_python_or_venv_module_gets_one_sentence(tmp_path, script, message):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    command = [shutil.which("sh"), str(ROOT / "tools" / "venv.sh"), str(tmp_path / "venv")]
    done = subprocess.run(command, env={"PYTHON": str(python), "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_every_package_that_is_asked_for_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {
        "requirements.lock": project["dependencies"],
        "requirements-test.lock": project["optional-dependencies"]["test"],
    }
    for lock, requirements in asked.items():
        locked = re.findall(r"^([\w.-]+)(?:\[\w+\])?==", (ROOT / lock).read_text(), re.MULTILINE)
        assert {re.match(r"[\w.-]+", one)[0].lower() for one in requirements} <= set(locked)


def test_conda_and_binder_install_the_lock_and_this_package():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert listed == ["-r requirements.lock"]
    assert "pip install --no-deps --no-build-isolation -e ." in (ROOT / "postBuild").read_text()
