import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import SMALL_CHAPTER, SMALL_PRESETS, claims_cell, copied, dmft, write_chapter
from test_costs import ROW

from companion.claims import Claims
from tools import chapters, costs, sweep, sweep_table

# Theory says 2n, networks 2n + 0.1; every run leaves a line in a file, and 9 fails.
CLAIMS = """import os
from pathlib import Path
from companion.claims import Claims

with Path(os.environ["RUN_LOG"]).open("a") as log:
    log.write(f"{n}{word}\\n")
if n == 9:
    raise ValueError("nine is one too many")
claims = Claims()
claims.agree("Doubles", "1a", f"value of {n}", 2 * n, (2 * n + 0.1, 0.05), "N = 8, 4 seeds")
claims.ordered("Rises", "1b", "two values", "first", [n, n + 1], [n, n + 1], [[n, n + 0.2], [n + 1, n + 1.2]], "N = 8 → ∞, 4 seeds")
claims.table()"""


@pytest.fixture
def tree(tmp_path):
    """A checkout with one chapter and its stored outputs."""
    tree = copied(tmp_path / "a tree")
    write_chapter(path := tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("claims", CLAIMS)])
    (tree / "notebooks" / "presets.toml").write_text(SMALL_PRESETS)
    notebook = chapters.read(path)
    notebook.cells[-1].outputs = claims_cell(claims()).outputs
    chapters.write(notebook, path)
    return tree


def claims():
    """A claim about a number, one about an order, and one that theory has no number for and one group of networks."""
    claims = Claims()
    claims.agree("Doubles", "1a", "value of 3", (6.0, 0.012), (6.1 + 1 / 3e5, 0.0512345), "N = 8, 4 seeds")
    theory, groups = [0.0, 1.0], [[0.1, 0.3], [1.1, 1.3]]
    claims.ordered("Rises", "1b", "two values", "the first", theory, theory, groups, "N = 8 → ∞, 4 seeds")
    single = [[1e-5], [2e-5]]
    claims.ordered("Falls", "1b", "errors", "the first", None, single, single, "N = 8…64, 1 seeds", sign=-1)
    return claims


def command(tree, *arguments):
    """PYTHONPATH as the page says for workers; the log of what was run."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "RUN_LOG": str(tree / "log")}
    return {"args": [sys.executable, "-m", "tools", "sweep", *arguments], "cwd": tree, "env": environment, "text": True}


def sweep_of(tree, *arguments):
    return subprocess.run(**command(tree, *arguments), capture_output=True)


def log(tree):
    return sorted((tree / "log").read_text().split())


def table(tree, name):
    with (tree / "runs" / name / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_becomes_one_table_and_one_plot_and_a_failure_stops_no_other(tree):
    done = sweep_of(tree, "small", "n=2,9", "word=a,b")
    assert done.returncode == 1, done.stderr
    assert log(tree) == ["2a", "2b", "9a", "9b"] and "small: 4 runs, 0 of them done already" in done.stdout
    failed = tree / "runs" / "small-n=9-word=a" / "small.failed.ipynb"
    told = f"n=9 word=a: ValueError: nine is one too many\n  The executed copy, up to the error, is {failed}."
    assert "2 of 4 runs failed; the others are kept." in done.stderr and told in done.stderr and failed.exists()
    rows = table(tree, "small-sweep-n=2,9-word=a,b")
    names = ("n", "word", "quantity", "theory", "mean", "standard_error")
    doubles = [tuple(row[name] for name in names) for row in rows if row["claim"] == "Doubles"]
    assert doubles == [("2", word, "value of 2", "4.0", "4.1", "0.05") for word in "ab"]
    again = sweep_of(tree, "small", "n=2 word=a,b", "--plot", "two values")  # another grid, of runs that are there
    assert again.returncode == 0 and "2 runs, 2 of them done already" in again.stdout and len(log(tree)) == 4
    folder = tree / "runs" / "small-sweep-n=2-word=a,b"
    files = [f"{folder}/{name}" for name in ("table.csv", "plot.svg", "provenance.json")]
    assert again.stdout.splitlines()[-3:] == files and {str(path) for path in folder.iterdir()} == set(files)
    about = json.loads((folder / "provenance.json").read_text())
    assert about["grid"] == {"n": [2], "word": ["a", "b"]} and {"version", "commit", "date", "licence"} <= set(about)


def test_a_sweep_that_was_killed_goes_on_where_it_was(tree):
    path = tree / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace('"claims = Claims()', '"import time; time.sleep(1)\\nclaims = Claims()'))
    with subprocess.Popen(**command(tree, "small", "n=1:5"), stdout=subprocess.PIPE) as killed:
        for line in killed.stdout:
            if "1 of 4" in line:
                break
        os.kill(killed.pid, signal.SIGKILL)
    finished = {path.parent.name for path in (tree / "runs").glob("*/small.ipynb")}
    assert 1 <= len(finished) < 4
    assert not list((tree / "runs").glob("*sweep*")), "a table of half a grid"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(**command(tree, "small", "n=1:5"), **pipes) for _ in range(2)]  # and two at once
    said = [sweep.communicate() for sweep in both]
    assert [sweep.returncode for sweep in both] == [0, 0], said
    for name in finished:
        assert log(tree).count(f"{re.search(r'n=(.)', name)[1]}a") == 1, "a finished run was run again"
    assert [row["n"] for row in table(tree, "small-sweep-n=1,2,3,4") if row["number"] == "1"] == list("1234")


def test_the_same_command_hands_the_runs_to_a_scheduler_that_is_running(tree, tmp_path):
    dask, file = str(Path(sys.executable).with_name("dask")), str(tmp_path / "scheduler.json")
    here = {**command(tree), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ["--host", "127.0.0.1", "--scheduler-file", file, "--no-dashboard"]
    workers = ["worker", *local, "--nthreads", "1", "--nworkers", "2", "--local-directory", str(tmp_path)]
    started = []
    try:
        started.append(subprocess.Popen(**here | {"args": [dask, "scheduler", "--port", "0", *local]}))
        started.append(subprocess.Popen(**here | {"args": [dask, *workers]}))
        while not Path(file).exists():
            assert started[0].poll() is None, "the scheduler ended"
            time.sleep(0.1)
        address = json.loads(Path(file).read_text())["address"]
        done = sweep_of(tree, "small", "n=2,3", "--set", "word=b", "--scheduler", address)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=60)
    assert done.returncode == 0, done.stderr
    assert log(tree) == ["2b", "3b"] and len(table(tree, "small-word=b-sweep-n=2,3")) == 6


@pytest.fixture
def here(tree, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tree)
    return tree


def test_without_a_scheduler_or_a_claim_that_was_asked_for_nothing_runs(here):
    for option, value, said in (
        ("--scheduler", "tcp:/here", "no dask scheduler answers at 'tcp:/here'"),
        ("--plot", "x", "in none of the claims of small, which are\n  Doubles: v"),
    ):
        assert said in dmft("sweep", "small", "n=1", option, value).stderr
    assert not (here / "runs").exists()


def test_how_long_it_takes_is_told_and_what_another_version_computed_is_not_kept(here, capsys):
    chapters.write_text(json.dumps({"small": ROW}), costs.place())
    runs = [sweep.Run("small", {"n": n}, {"n": n}, here / "runs" / f"small-n={n}") for n in range(5)]
    sweep.announce("small", runs, runs[1:], 3, "")
    assert "about 2 min, from the chapter's time" in capsys.readouterr().out
    text = nbformat.writes(nbformat.v4.new_notebook(metadata={"dmftlib": {"seconds": 1.0}}))
    assert "another version" in sweep.keep(runs[2], "0f", text, "") and not runs[2].folder.exists()
    assert sweep.keep(runs[2], chapters.key("small", {"n": 2}), text, "") == "" and runs[2].is_done


def rows_of(point=None):
    return sweep_table.claims(point or {"rhos": [0.0, 1.0]}, nbformat.v4.new_notebook(cells=[claims_cell(claims())]))


def test_a_table_has_every_digit_of_the_claims_and_nothing_for_what_is_not_known():
    names = ("number", "entry", "theory", "theory_error", "theory_half_step", "mean", "standard_error")
    read = list(csv.DictReader(rows_of().to_csv(index=False).splitlines()))
    assert [tuple(float(row[name]) if row[name] else None for name in names) for row in read] == [
        (1, 1, 6.0, 0.012, None, 6.1 + 1 / 3e5, 0.0512345),
        (2, 1, 0.0, 0.0, 0.0, pytest.approx(0.2), pytest.approx(0.1)),
        (2, 2, 1.0, 0.0, 1.0, pytest.approx(1.2), pytest.approx(0.1)),
        (3, 1, None, None, 1e-05, 1e-05, None),
        (3, 2, None, None, 2e-05, 2e-05, None),
    ]
    assert read[-1]["networks"] == "N = 8…64, 1 seeds" and read[1]["baseline"] == "the first"
    assert read[0]["rhos"] == "[0.0, 1.0]" and read[0]["bp_figure"] == "1a"


def test_the_plot_shows_the_claim_named_or_the_first_with_theory_in_a_panel_for_each_combination():
    texts = lambda svg: {comment.strip() for comment in re.findall(r"<!--(.*?)-->", svg)}  # noqa: E731
    swept = {"word": ["a", "b"], "n": [4, 2, 9], "rhos": [[0.0, 1.0]]}
    # A run that failed is not there.
    results = [rows_of({"word": word, "n": n, "rhos": [0.0, 1.0]}) for word in "ab" for n in (4, 2)]
    results[0]["quantity"] = "value of 4"
    svg = sweep_table.plot(swept, results, "", "not as in the book: m = 4")
    shown = {"word = a, rhos = [0.0,1.0]", "word = b, rhos = [0.0,1.0]", "n", "value of …", "Doubles", "networks ± SE"}
    assert shown | {"not as in the book: m = 4"} <= texts(svg)
    assert svg == sweep_table.plot(swept, results, "", "not as in the book: m = 4"), "the same runs give another file"
    lists = {"rhos": [[0.0, 1.0], [0.5, 1.0]]}
    drawn = sweep_table.plot(lists, [rows_of({"rhos": value}) for value in lists["rhos"]], "Rises")
    assert {"[0.0,1.0]", "[0.5,1.0]", "Rises"} <= texts(drawn) and "Doubles" not in texts(drawn)
