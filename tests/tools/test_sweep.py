import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from conftest import SMALL_CHAPTER, SMALL_PRESETS, claims_cell, write_chapter

from companion.claims import Claims
from tools import ROOT, ToolError, chapters, collected, costs, sweep
from tools.__main__ import main, number
from tools.parameters import read_cell

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
    tree = tmp_path / "a tree"
    for name in ("tools", "companion", "dmftlib"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "notebooks").mkdir()
    (tree / "notebooks" / "presets.toml").write_text(SMALL_PRESETS)
    write_chapter(tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("claims", CLAIMS)])
    path = tree / "notebooks" / "small.ipynb"
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


def environment(tree):
    """PYTHONPATH as the page says for workers; the log of what was run."""
    return {**os.environ, "PYTHONPATH": str(tree), "RUN_LOG": str(tree / "log")}


def command(tree, *arguments):
    words = [sys.executable, "-m", "tools", "sweep", *arguments]
    return {"args": words, "cwd": tree, "env": environment(tree), "text": True}


def sweep_of(tree, *arguments):
    return subprocess.run(**command(tree, *arguments), capture_output=True)


def log(tree):
    return sorted((tree / "log").read_text().split())


def table(tree, name):
    with (tree / "runs" / name / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_on_a_cluster_of_processes_becomes_one_table_and_one_plot_and_a_failure_stops_no_other(tree):
    done = sweep_of(tree, "small", "n=2,9 word=a,b", "", "", "", "2")
    assert done.returncode == 1, done.stderr
    assert log(tree) == ["2a", "2b", "9a", "9b"]
    first, second, *progress = done.stdout.splitlines()
    assert first == "  small: 4 runs (2 of n × 2 of word), 0 of them done already, 2 at a time"
    assert second == "  how long a run takes has not been measured: make bench CHAPTER=small"
    assert [line.split(":")[0] for line in progress[:4]] == [f"  {n} of 4" for n in range(1, 5)]
    assert "2 of 4 runs failed; the others are kept." in done.stderr
    failed = tree / "runs" / "small-n=9-word=a" / "small.failed.ipynb"
    assert (
        f"n=9 word=a: ValueError: nine is one too many\n  The executed copy, up to the error, is {failed}."
        in done.stderr
    )
    assert failed.exists()
    rows = table(tree, "small-sweep-n=2,9-word=a,b")
    doubles = [row for row in rows if row["claim"] == "Doubles"]
    assert [(row["n"], row["word"]) for row in doubles] == [("2", "a"), ("2", "b")]
    assert [(row["theory"], row["mean"]) for row in doubles] == [("4.0", "4.1")] * 2
    assert {row["standard_error"] for row in doubles} == {"0.05"} and doubles[0]["quantity"] == "value of 2"
    rises = [row for row in rows if row["claim"] == "Rises" and row["word"] == "a"]
    assert [(row["entry"], row["theory"], row["mean"]) for row in rises] == [("1", "2.0", "2.1"), ("2", "3.0", "3.1")]
    svg = ElementTree.parse(tree / "runs" / "small-sweep-n=2,9-word=a,b" / "plot.svg")
    assert svg.getroot().tag == "{http://www.w3.org/2000/svg}svg"
    again = sweep_of(tree, "small", "n=2 word=a,b", "", "", "two values")  # another grid, of runs that are there
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("  small: 2 runs (1 of n × 2 of word), 2 of them done already")
    assert len(log(tree)) == 4
    folder = tree / "runs" / "small-sweep-n=2-word=a,b"
    assert {path.name for path in folder.iterdir()} == {"table.csv", "plot.svg", "provenance.json"}
    assert again.stdout.splitlines()[-3:] == [
        f"Table:   {folder}/table.csv",
        f"Plot:    {folder}/plot.svg",
        f"Made by: {folder}/provenance.json",
    ]


def test_two_sweeps_at_once_make_the_same_table(tree):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(**command(tree, "small", "n=2,3"), **pipes) for _ in range(2)]
    said = [sweep.communicate() for sweep in both]
    assert [sweep.returncode for sweep in both] == [0, 0], said
    assert [row["n"] for row in table(tree, "small-sweep-n=2,3")] == 3 * ["2"] + 3 * ["3"]
    assert {path.name for path in (tree / "runs").iterdir()} == {"small-n=2", "small-n=3", "small-sweep-n=2,3"}


def test_a_sweep_that_was_killed_goes_on_where_it_was(tree):
    path = tree / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace('"claims = Claims()', '"import time; time.sleep(1)\\nclaims = Claims()'))
    with subprocess.Popen(**command(tree, "small", "n=1:5", "", "", "", "2"), stdout=subprocess.PIPE) as killed:
        for line in killed.stdout:
            if "1 of 4" in line:
                break
        os.kill(killed.pid, signal.SIGKILL)
    finished = {path.parent.name for path in (tree / "runs").glob("*/small.ipynb")}
    assert 1 <= len(finished) < 4
    assert not list((tree / "runs").glob("*sweep*")), "a table of half a grid"
    resumed = sweep_of(tree, "small", "n=1:5", "", "", "", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert f"4 runs (4 of n), {len(finished)} of them done already" in resumed.stdout
    ran = log(tree)
    for name in finished:
        assert ran.count(f"{re.search(r'n=(.)', name)[1]}a") == 1, "a finished run was run again"
    assert [row["n"] for row in table(tree, "small-sweep-n=1,2,3,4") if row["number"] == "1"] == list("1234")


def test_the_same_command_hands_the_runs_to_a_scheduler_that_is_running(tree, tmp_path):
    dask, file = str(Path(sys.executable).with_name("dask")), str(tmp_path / "scheduler.json")
    here = {"cwd": tree, "env": environment(tree), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ["--host", "127.0.0.1", "--scheduler-file", file, "--no-dashboard"]
    workers = ["worker", *local, "--nthreads", "1", "--nworkers", "2", "--local-directory", str(tmp_path)]
    started = []
    try:
        started.append(subprocess.Popen([dask, "scheduler", "--port", "0", *local], **here))
        started.append(subprocess.Popen([dask, *workers], **here))
        while not Path(file).exists():
            assert started[0].poll() is None, "the scheduler ended"
            time.sleep(0.1)
        address = json.loads(Path(file).read_text())["address"]
        done = sweep_of(tree, "small", "n=2,3", "word=b", "", "", "", address)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=60)
    assert done.returncode == 0, done.stderr
    assert log(tree) == ["2b", "3b"]
    assert len(table(tree, "small-word=b-sweep-n=2,3")) == 6


@pytest.fixture
def here(tree, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tree)
    return tree


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["big", "n=1,2"], "there is no chapter 'big'; the chapters are: small"),
        (["small", ""], "nothing is swept"),
        (["small", "n=1,11"], "`n` must lie in [1, 10]; got 11"),
        (["small", "n=1,2", "m=1"], "small has no parameter `m`"),
        (["small", "n=1,2", "n=1"], "GRID and PARAMS both set n."),
        (["small", "n=1,2", "", "papr"], "there is no preset 'papr'"),
        (
            ["small", "n=1,2", "", "", "final"],
            "PLOT='final' is in none of the claims of small, which are\n  Doubles: v",
        ),
        (["small", "n=1,2", "", "", "", "0"], "JOBS is how many runs go on at a time, 1 or more; got '0'"),
        (["small", "n=1,2", "", "", "", "1", "tcp:/here"], "no dask scheduler answers at 'tcp:/here'"),
    ],
)
def test_a_wrong_sweep_stops_before_anything_runs(here, capsys, arguments, message):
    assert main(["sweep", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_jobs_are_as_many_as_asked_for():
    assert number("3") == 3 and number("") == chapters.AT_ONCE


def test_how_long_it_takes_is_told_from_the_table_of_costs(here, capsys):
    row = {"seconds": 61.0, "processor": "6502", "architecture": "6502", "system": "CP/M"}
    chapters.write_text(json.dumps({"small": row}), costs.place())
    runs = [sweep.Run("small", {"n": n}, {"n": n}, here) for n in range(5)]
    sweep.announce("small", {"n": [*range(5)]}, runs, runs[1:], jobs=3)
    assert capsys.readouterr().out.splitlines() == [
        "  small: 5 runs (5 of n), 1 of them done already, 3 at a time",
        "  about 2 min, at 1 min a run: its time with the default parameters on 6502, 6502, CP/M",
    ]
    sweep.announce("small", {"n": [*range(5)]}, runs, runs[1:], jobs=3, scheduler="tcp://node1:8786")
    assert capsys.readouterr().out.splitlines() == [
        "  small: 5 runs (5 of n), 1 of them done already, the others on tcp://node1:8786",
        "  about 4 min over all workers, at 1 min a run: its time with the default parameters on 6502, 6502, CP/M",
    ]


def test_what_another_version_computed_is_not_kept(here):
    run = sweep.Run("small", {"n": 2}, {"n": 2}, here / "runs" / "small-n=2")
    text = nbformat.writes(nbformat.v4.new_notebook(metadata={"dmftlib": {"seconds": 1.0}}))
    assert "another version" in sweep.keep(run, "0f", text, "")
    assert not run.folder.exists()
    assert sweep.keep(run, chapters.key("small", {"n": 2}), text, "") == ""
    assert run.is_done


def rows_of(point=None):
    return collected.claims(point or {"rhos": [0.0, 1.0]}, nbformat.v4.new_notebook(cells=[claims_cell(claims())]))


def test_a_sweep_has_every_digit_of_a_table_of_claims():
    names = ("number", "entry", "theory", "theory_error", "theory_half_step", "mean", "standard_error")
    assert [tuple(row[name] for name in names) for row in rows_of()] == [
        (1, 1, 6.0, 0.012, None, 6.1 + 1 / 3e5, 0.0512345),
        (2, 1, 0.0, 0.0, 0.0, pytest.approx(0.2), pytest.approx(0.1)),
        (2, 2, 1.0, 0.0, 1.0, pytest.approx(1.2), pytest.approx(0.1)),
        (3, 1, None, None, 1e-05, 1e-05, None),
        (3, 2, None, None, 2e-05, 2e-05, None),
    ]
    assert [row["networks"] for row in rows_of()][-1] == "N = 8…64, 1 seeds"
    read = list(csv.DictReader(collected.table(rows_of()).splitlines()))
    assert float(read[0]["mean"]) == 6.1 + 1 / 3e5 and read[3]["standard_error"] == read[3]["theory"] == ""
    assert read[0]["rhos"] == "[0.0, 1.0]" and read[1]["baseline"] == "the first"


@pytest.mark.parametrize("chapter", chapters.names())
def test_every_committed_table_of_claims_can_be_taken_apart(chapter):
    rows = collected.claims({"seed": 0}, chapters.read(chapters.committed(chapter)))
    assert all(row["mean"] < float("inf") and row["standard_error"] >= 0 for row in rows)
    assert any(row["theory"] is not None for row in rows)


def test_the_claim_that_is_drawn_is_the_one_named_or_the_first_with_theory():
    assert {row["claim"] for row in collected.matching(rows_of(), "")} == {"Doubles"}
    assert [row["mean"] for row in collected.matching(rows_of(), "two values")] == pytest.approx([0.2, 1.2])
    assert {row["claim"] for row in collected.matching(rows_of()[3:], "")} == set()
    assert {row["claim"] for row in collected.matching(rows_of(), "Falls")} == {"Falls"}


def test_a_label_that_differs_between_runs_has_an_ellipsis():
    assert collected.common(["loss at step 7"] * 2) == "loss at step 7"
    assert collected.common(["loss at step 7, ρ = 0.5", "loss at step 12, ρ = 0.5"]) == "loss at step …, ρ = …"


def test_a_sweep_says_with_what_it_was_made():
    parameters = read_cell('n: int = 3  # how many [1, 10]\nm: int = 1  # more [1, 10]\nword: str = "a"  # what {a, b}')
    about = sweep.provenance("small", {"n": [1, 2]}, {"m": 1, "word": "b"}, parameters, "paper")
    assert about["grid"] == {"n": [1, 2]} and about["parameters"] == {"m": 1, "word": "b"}
    assert about["not as in the book"] == {"word": "b"} and about["preset"] == "paper"
    assert {"version", "commit", "dirty", "date", "machine", "licence"} <= set(about)


def texts(svg):
    return {comment.strip() for comment in re.findall(r"<!--(.*?)-->", svg)}


def test_the_plot_has_a_panel_for_each_combination_of_the_others():
    swept = {"word": ["a", "b"], "n": [4, 2, 9], "rhos": [[0.0, 1.0]]}
    results = [
        rows_of({"word": word, "n": n, "rhos": [0.0, 1.0]}) for word in "ab" for n in swept["n"] if n != 9
    ]  # a run that failed is not there
    svg = collected.plot(swept, results, "")
    shown = texts(svg)
    assert {"word = a, rhos = [0.0,1.0]", "word = b, rhos = [0.0,1.0]", "n", "value of 3", "Doubles"} <= shown
    assert svg == collected.plot(swept, results, ""), "the same runs give another file"
    assert "not as in the book: m = 4" in texts(collected.plot(swept, results, "", "not as in the book: m = 4"))
    lists = {"rhos": [[0.0, 1.0], [0.5, 1.0]]}
    assert {"[0.0,1.0]", "[0.5,1.0]"} <= texts(
        collected.plot(lists, [rows_of({"rhos": value}) for value in lists["rhos"]], "Rises")
    )


def test_a_failed_run_is_reported_after_the_table_of_the_others_is_written(here, monkeypatch):
    def run_all(runs, jobs, scheduler, tell):
        for run in runs:
            executed = chapters.read(chapters.committed("small"))
            executed.metadata["dmftlib"] = {"seconds": 1.0}
            result = (chapters.key("small", run.values), nbformat.writes(executed))
            tell(run, sweep.keep(run, *result, "a\nlong\nstory" if run.point["n"] == 2 else ""))

    monkeypatch.setattr(sweep, "run_all", run_all)
    with pytest.raises(ToolError, match=r"1 of 3 runs failed; the others are kept\.\nn=2: story\n"):
        sweep.sweep("small", "n=1,2,3")
    assert [row["n"] for row in table(here, "small-sweep-n=1,2,3") if row["number"] == "1"] == ["1", "3"]
