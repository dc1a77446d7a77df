"""What a newcomer types: make, in a folder that is not ours and has spaces in its name."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import yaml
from conftest import SMALL_CHAPTER, write_chapter

from tools import ROOT

LOCKS = ["requirements.lock", "requirements-test.lock"]


@pytest.fixture
def checkout(small_tree):
    """A committed checkout that borrows this environment; -o keeps make from installing anything into it."""
    (small_tree / ".venv").symlink_to(ROOT / ".venv")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "A small book"]):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", *identity, *command], cwd=small_tree, check=True)
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
    assert "aaa 0.42857142857142855" in page
    assert re.search(r"Run in \d+ s by dmftlib [\d.]+, commit", page)
    assert "uncommitted" not in page
    second = make(checkout, "book")
    assert second.returncode == 0, second.stderr
    assert "small: unchanged, not run again" in second.stdout
    assert status(checkout) == ""


def test_an_interrupted_run_keeps_the_chapters_that_were_finished(checkout):
    waiting = [*SMALL_CHAPTER, ("wait", "import time; time.sleep(60)")]
    for name in ("wait", "wait_too"):  # after `small` in the alphabet: one runs beside it, the other has to queue
        write_chapter(checkout / "notebooks" / f"{name}.ipynb", waiting)
    command = [sys.executable, "-m", "tools", "book"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=checkout, **pipes) as running:
        for line in running.stdout:
            if "small: done" in line:
                break
        os.killpg(running.pid, signal.SIGINT)  # what Ctrl-C does: the whole group, which start_new_session made
        try:
            _, errors = running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # a run that does not stop fails this test, and holds up no other
            raise
    assert running.returncode == 130
    assert "Interrupted. Chapters that were finished will not be run again." in errors
    assert [path.stem for path in (checkout / "_build" / "chapters").glob("*.ipynb") if "." not in path.stem] == [
        "small"
    ]


def test_make_run_takes_parameters_and_writes_only_under_runs(checkout):
    done = make(checkout, "run", "CHAPTER=small", "PARAMS=n=2 word=b")
    assert done.returncode == 0, done.stderr
    folder = checkout / "runs" / "small-n=2-word=b"
    assert done.stdout.splitlines()[-7:] == [
        "Changed against the defaults:",
        "  n = 2 (default 3)",
        "  word = 'b' (default 'a')",
        "Printed numbers, with the defaults | now (1 of 1 lines changed):",
        "   | bb 0.2857142857142857",  # the committed chapter of this checkout was never run
        f"Notebook: {folder}/small.ipynb",
        f"Page:     {folder}/html/notebooks/small.html",
    ]
    page = (folder / "html" / "notebooks" / "small.html").read_text()
    assert "bb 0.2857142857142857" in page
    top = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", page[page.index("<h1>small") :]))
    assert "Not as in the book This page was run with n = 2 (in the book 3), word = b (in the book a)." in top[:200]
    assert status(checkout) == ""


def test_make_run_help_lists_parameters_or_chapters_and_runs_nothing(checkout):
    done = make(checkout, "run", "CHAPTER=small", "HELP=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'make run CHAPTER=small PARAMS="name=value name=value"',
        'make sweep CHAPTER=small GRID="name=value,value name=value,value"',
        "where the names are",
        "  n: int = 3  how many [1, 10]",
        "  word: str = 'a'  what {a, b}",
        "or PRESET=paper, which sets many",
    ]
    assert make(checkout, "sweep", "CHAPTER=small", "HELP=1").stdout == done.stdout
    listed = make(checkout, "run", "HELP=1")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[1] == "  small          small"
    assert "there is no chapter 'smal'" in make(checkout, "run", "CHAPTER=smal", "HELP=1").stderr
    assert not (checkout / "runs").exists()


def test_make_sweep_passes_on_what_was_typed(checkout):
    wrong = make(checkout, "sweep", "CHAPTER=small", "GRID=n=1,2 word=[a];[b]", "PARAMS=m=1", "JOBS=many")
    assert wrong.returncode != 0 and "JOBS is how many runs go on at a time, 1 or more; got 'many'" in wrong.stderr
    wrong = make(checkout, "sweep", "CHAPTER=small", "GRID=n=1,2 word=[a];[b]")
    assert "`word` is one value a run, so its grid is written word=a,b,c; got '[a];[b]'" in wrong.stderr
    wrong = make(checkout, "sweep", "CHAPTER=small", "GRID=n=1,2", "PARAMS=m=1")
    assert "small has no parameter `m`" in wrong.stderr
    wrong = make(checkout, "sweep", "CHAPTER=small", "GRID=n=1,2", "PRESET=papr")
    assert "there is no preset 'papr'" in wrong.stderr
    wrong = make(checkout, "sweep", "CHAPTER=small", "GRID=n=1,2", "PLOT=final")
    assert "PLOT='final' is in none of the claims of small, which are\n  none" in wrong.stderr
    assert status(checkout) == "" and not (checkout / "runs").exists()


def test_make_run_takes_a_preset_and_parameters_win(checkout):
    done = make(checkout, "run", "CHAPTER=small", "PRESET=paper", "PARAMS=n=2")
    assert done.returncode == 0, done.stderr
    executed = (checkout / "runs" / "small-paper-n=2" / "small.ipynb").read_text()
    assert "bb 0.2857142857142857" in executed  # n = 2 as typed, the word "b" of the preset
    assert json.loads(executed)["metadata"]["dmftlib"]["preset"] == "paper"
    assert status(checkout) == ""


def test_make_record_runs_a_preset_once_and_keeps_its_record(checkout):
    done = make(checkout, "record", "CHAPTER=small", "PRESET=paper")
    assert done.returncode == 0, done.stderr
    path = "notebooks/records/paper/small.json"
    assert done.stdout.splitlines()[-1] == f"Recorded in {path}"
    assert status(checkout).split() == ["??", "notebooks/records/"]
    record = json.loads((checkout / path).read_text())
    assert record["parameters"] == {"n": 5, "word": "b"} and record["printed"] == {
        "print": ["bbbbb 0.7142857142857143"]
    }
    assert record["commit"] and not record["dirty"] and record["date"] and record["peak_memory_MB"] > 0
    assert "small: unchanged, not run again" in make(checkout, "record", "CHAPTER=small", "PRESET=paper").stdout
    again = make(checkout, "run", "CHAPTER=small", "PRESET=paper", "PARAMS=n=2")
    assert again.returncode == 0, again.stderr
    executed = json.loads((checkout / "runs" / "small-paper-n=2" / "small.ipynb").read_text())
    assert not executed["metadata"]["dmftlib"]["dirty"], "records of other runs count as changes"


def test_make_run_refuses_a_preset_that_does_not_exist(checkout):
    done = make(checkout, "run", "CHAPTER=small", "PRESET=papr")
    assert done.returncode != 0
    assert "there is no preset 'papr'; presets.toml has: paper." in done.stderr
    assert not (checkout / "runs").exists()


@pytest.mark.parametrize("stray", ["n=2", "chapter=small", "PARAM=n=2"])
def test_make_refuses_words_that_it_would_ignore(checkout, stray):
    wrong = make(checkout, "run", "CHAPTER=small", "PYTHON=python3", stray)
    assert wrong.returncode == 2 and f'"{stray.partition("=")[0]}" means nothing to make' in wrong.stderr
    assert 'parameters of a chapter stand inside PARAMS="name=value name=value"' in wrong.stderr
    assert not (checkout / "runs").exists()


def test_only_words_on_the_command_line_count(checkout):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    exported = dict.fromkeys(re.search(r"^WORDS = (.*)$", makefile, re.MULTILINE)[1].split(), "small")
    for option in ([], ["-e"]):
        wrong = make(checkout, *option, "run", "PARAMS=nn=2", **exported)
        assert "no chapter was named; add CHAPTER=name" in wrong.stderr and wrong.returncode == 2
    told = make(checkout, "-n", "lock", **exported)
    assert 'PYTHON="" sh' in told.stdout
    assert "n: int = 3" in make(checkout, "run", "CHAPTER=small", "HELP=1", **(exported | {"HELP": ""})).stdout


def test_a_locale_without_the_signs_of_the_book_changes_no_result(small_tree):
    signs = "print('γ₀ ± 0.1 → ∞, é')"
    write_chapter(small_tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("signs", signs)])
    ascii = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["run", "small", "n=2"], ["run", "--explain", "small"], ["run", "small", "γ₀=2"]):
        command = [sys.executable, "-m", "tools", *words]
        done = subprocess.run(command, cwd=small_tree, env=os.environ | ascii, capture_output=True)
        assert b"Traceback" not in done.stderr
        assert (done.returncode == 0) == (words[-1] != "γ₀=2"), done.stderr
    page = (small_tree / "runs" / "small-n=2" / "html" / "notebooks" / "small.html").read_text(encoding="utf-8")
    assert "γ₀ ± 0.1 → ∞, é" in page


def test_every_word_that_a_recipe_reads_is_one_that_make_takes():
    makefile = (ROOT / "Makefile").read_text()
    read = set(re.findall(r"\$\$\{?([A-Z]+)\b", makefile)) | set(re.findall(r"\$\((PYTHON)\)", makefile))
    assert read == set(re.search(r"^WORDS = (.*)$", makefile, re.MULTILINE)[1].split())


def test_make_passes_on_parameters_that_look_like_options(checkout):
    wrong = make(checkout, "run", "CHAPTER=small", "PARAMS=--n=2")
    assert wrong.returncode == 2 and "small has no parameter `--n`. Did you mean `n`?" in wrong.stderr


def test_make_bench_help_says_what_would_be_run_and_runs_nothing(checkout):
    shutil.copytree(ROOT / "benchmarks", checkout / "benchmarks")
    done = make(checkout, "bench", "HELP=1")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len([*(ROOT / "benchmarks").glob("*.py")])
    assert "Time and memory of every chapter" in done.stdout and '"""' not in done.stdout


def test_output_that_nobody_reads_to_its_end_is_no_error(checkout):
    command = f"'{sys.executable}' -m tools run --explain -- small; echo rc $? >&2"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(["sh", "-c", command], cwd=checkout, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "rc 1\n"


def test_make_run_refuses_a_wrong_parameter(checkout):
    done = make(checkout, "run", "CHAPTER=small", "PARAMS=nn=2")
    assert done.returncode != 0
    assert "small has no parameter `nn`. Did you mean `n`?" in done.stderr
    assert "n: int = 3  how many [1, 10]" in done.stderr
    assert not (checkout / "runs").exists()


def test_make_fails_and_says_so_when_a_chapter_fails(checkout):
    path = checkout / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace("n / 7", "n / 0"))
    before = path.read_bytes()
    done = make(checkout, "book")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
    assert "_build/chapters/small.failed.ipynb" in done.stderr
    assert (checkout / "_build" / "chapters" / "small.failed.ipynb").exists()
    assert path.read_bytes() == before


def test_make_help_names_every_command():
    commands = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    listed = re.findall(r"^  make ([\w-]+)", make(ROOT, "help").stdout, re.MULTILINE)
    assert listed == commands


def test_the_environment_is_made_once_and_again_when_the_lock_changes(small_tree):
    venv = small_tree / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch(mode=0o755)
    (venv / "installed").touch()

    def plan():
        command = ["make", "--dry-run", ".venv/installed"]
        return subprocess.run(command, cwd=small_tree, capture_output=True, text=True, check=True).stdout

    assert "pip install" not in plan()
    os.utime(small_tree / "requirements.lock", (later := time.time() + 5, later))
    assert "--require-hashes -r requirements.lock" in plan()


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
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash_and_no_host_is_named(lock):
    text = (ROOT / lock).read_text()
    entries = re.findall(
        r"^(\S.*?)(?=^\S|\Z)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), re.MULTILINE | re.DOTALL
    )
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[\w.-]+(\[\w+\])?==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text and "--index" not in text


def test_the_test_lock_extends_the_lock_and_both_cover_what_is_asked_for():
    book, test = (set(re.findall(r"^([\w.-]+==\S+)", (ROOT / lock).read_text(), re.MULTILINE)) for lock in LOCKS)
    assert book < test
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for asked, locked in [(project["dependencies"], book), (project["optional-dependencies"]["test"], test)]:
        for requirement in asked:
            name = re.match(r"[\w.-]+", requirement).group(0).replace("_", "-").lower()
            assert any(entry.startswith(f"{name}==") for entry in locked), name


def test_conda_and_binder_install_the_same_locked_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, *others = environment["dependencies"]
    assert python in {"python=3.11", "python=3.12", "python=3.13"}
    assert others[-1] == {"pip": ["-r requirements.lock"]}
    assert (ROOT / "postBuild").stat().st_mode & 0o100
    install = "pip install --no-deps --no-build-isolation -e ."
    assert (ROOT / "postBuild").read_text().splitlines()[-1] == f"python -m {install}"
    assert not (ROOT / "binder").exists(), "Binder would ignore the files at the root"


def test_environment_yml_and_postbuild_installed_into_a_fresh_environment_are_the_locked_set(tmp_path):
    # What conda does with the file's pip section and Binder with postBuild, in a virtual environment of this Python.
    tree, python = tmp_path / "tree", tmp_path / "fresh" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", "_build", "runs", "notebooks"))
    listed = yaml.safe_load((tree / "environment.yml").read_text())["dependencies"][-1]["pip"]
    (tree / "pip section").write_text("\n".join(listed).replace("requirements.lock", str(tree / "requirements.lock")))
    install = [python, "-m", "pip", "install", "-q", "--require-hashes", "-r", tree / "pip section"]
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    for command in (install, ["./postBuild"], [python, "-m", "pip", "check"]):
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    freeze = subprocess.run([python, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True)
    installed = {line.lower().replace("_", "-") for line in freeze.stdout.split()}
    locked = re.findall(r"^([\w.-]+==[\w.!+-]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert installed <= {entry.lower().replace("_", "-") for entry in locked}
    assert len(installed) > 100
    subprocess.run([python, "-c", "import dmftlib"], cwd=tmp_path, check=True)


def test_the_two_commands_are_in_the_readme_and_continuous_integration_checks_all():
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^ *make book$", readme, re.MULTILINE) and re.search(r"^ *make test$", readme, re.MULTILINE)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test-all"


def test_this_python_is_supported():
    assert (3, 11) <= sys.version_info[:2] < (3, 14)
