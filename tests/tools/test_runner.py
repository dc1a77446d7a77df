import platform
import re
import resource
import tomllib

import nbformat
import pytest
from conftest import SMALL_CHAPTER, claims_cell, commit, dmft, write_chapter

from companion.claims import Claims
from tools import ROOT, ToolError, chapters, figures, run_records
from tools.parameters import read_notebook, read_preset, read_presets, read_settings

SMALL = tomllib.loads((ROOT / "tests" / "small.toml").read_text(encoding="utf-8"))
FAILING = [*SMALL_CHAPTER, ("fail", "raise ValueError('the cell that fails')")]


def texts(notebook):
    return [output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]


@pytest.mark.parametrize("chapter", chapters.names())
def test_a_committed_chapter_runs_with_small_parameters(chapter, tmp_path, monkeypatch):
    before = chapters.committed(chapter).read_bytes()
    parameters = read_notebook(chapters.read(chapters.committed(chapter)))
    for name, value in SMALL[chapter].items():
        parameters[name].check(value)
    notebook = chapters.execute(chapter, SMALL[chapter], tmp_path)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in notebook.cells)
    assert all(figure.carried.keys() & {"note", "source"} for figure in figures.shown(notebook)), "not as in the book"
    assert notebook.metadata["dmftlib"]["parameters"] == SMALL[chapter]
    assert chapters.committed(chapter).read_bytes() == before


def test_a_run_uses_the_given_values_and_keeps_a_record(tree):
    path = chapters.cached("small", {"n": 2, "word": "b"}, tree / "runs")
    notebook = chapters.read(path)
    assert texts(notebook) == ["bb 0.2857142857142857\n"]
    record = notebook.metadata["dmftlib"]
    assert record["parameters"] == {"n": 2, "word": "b"} and record["preset"] == "" and record["version"]
    assert record["seconds"] > 0 and record["machine"]["system"]
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if platform.system() == "Linux" else 1e6)
    assert (
        20 < record["peak_memory_MB"] < 1000 + 1.1 * mine
    )  # Linux counts what this process held when it started the other
    assert platform.node() not in path.read_text() and str(tree) not in path.read_text(), "this machine is named"
    assert [p.name for p in path.parent.iterdir()] == ["small.ipynb"]


def test_a_chapter_runs_again_only_if_something_it_depends_on_changed(tree, monkeypatch):
    runs = []

    def execute(chapter, values, *rest, **options):
        runs.append(values)
        notebook = chapters.strip(chapters.read(chapters.committed(chapter)))
        notebook.metadata["dmftlib"] = {"seconds": 0.0}
        return notebook

    monkeypatch.setattr(chapters, "execute", execute)

    def again(values=None):
        before = len(runs)
        chapters.cached("small", values or {}, tree / "_build" / "chapters")
        return len(runs) - before

    assert [again(), again(), again({"n": 4}), again()] == [1, 0, 1, 1]
    for name in ("dmftlib/rules.py", "companion/figures.py", "requirements.lock"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("x")
        assert [again(), again()] == [1, 0], name
    write_chapter(tree / "notebooks" / "small.ipynb", [*SMALL_CHAPTER, ("more", "print(1)")])
    assert again() == 1
    notebook = chapters.read(chapters.committed("small"))
    notebook.cells[-1].execution_count = 7  # outputs are results, not inputs
    nbformat.write(notebook, chapters.committed("small"))
    assert again() == 0


def test_a_record_keeps_the_run_what_was_printed_and_the_claims(tree):
    claims = Claims()
    claims.agree("A < B", "1", "f", 1.0, (1.1, 0.1), "N = 64, 8 seeds")
    claims.phenomenon("B", "1", "K", "GD", 2.0, 1.0, (3.0, 0.1), "N = 64…256, 40 seeds")
    printed = nbformat.v4.new_output("stream", text="f 1.0\nwords\n")
    cell = nbformat.v4.new_code_cell(id="a", outputs=[printed, *claims_cell(claims).outputs])
    run = {"preset": "paper", "parameters": {"n": 5}, "seconds": 3.5, "commit": "abc1234"}
    run_records.keep(
        "small", "paper", nbformat.v4.new_notebook(cells=[cell], metadata={"dmftlib": run | {"key": "0f"}})
    )
    record = run_records.kept("small", "paper")
    assert record == {"chapter": "small", **run, "printed": {"a": ["f 1.0"]}, "claims": claims.rows}
    assert run_records.networks(record) == (256, 40) and run_records.kept("small", "other") is None


def test_every_committed_record_is_of_the_preset_as_it_is_now():
    for chapter in read_presets(run_records.presets())["paper"]:
        if record := run_records.kept(chapter, "paper"):
            parameters = read_notebook(chapters.read(chapters.committed(chapter)))
            assert record["parameters"] == read_preset(run_records.presets(), "paper", parameters, chapter), chapter


def test_a_failing_chapter_is_kept_for_inspection_and_does_not_stop_the_others(tree):
    write_chapter(tree / "notebooks" / "bad.ipynb", FAILING)
    before = (tree / "notebooks" / "bad.ipynb").read_bytes()
    with pytest.raises(ToolError, match=r"(?s)bad failed\..*the cell that fails.*_build/chapters/bad\.failed\.ipynb"):
        chapters.run_all({})
    kept = chapters.read(tree / "_build" / "chapters" / "bad.failed.ipynb")
    assert [out.ename for cell in kept.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    assert (tree / "notebooks" / "bad.ipynb").read_bytes() == before
    assert not (tree / "_build" / "chapters" / "bad.ipynb").exists()
    assert texts(chapters.read(tree / "_build" / "chapters" / "small.ipynb")) == ["aaa 0.42857142857142855\n"]


def test_accept_replaces_outputs_and_nothing_else_and_nothing_when_the_run_fails(tree):
    path = chapters.committed("small")
    old = chapters.read(path)
    done = dmft("accept", "small")
    assert done.exit_code == 0 and "+ aaa 0.42857142857142855" in done.output
    new = chapters.read(path)
    assert texts(new) == ["aaa 0.42857142857142855\n"]
    assert [(cell.id, cell.source) for cell in new.cells] == [(cell.id, cell.source) for cell in old.cells]
    assert "papermill" not in path.read_text() and "dmftlib" not in new.metadata
    write_chapter(path, FAILING)
    before = path.read_bytes()
    failed = dmft("accept", "small")
    assert failed.exit_code == 1 and "_build/accept/small.failed.ipynb" in failed.stderr
    assert path.read_bytes() == before


def test_a_parameters_cell_outside_the_grammar_stops_the_book_before_anything_runs(tree):
    write_chapter(tree / "notebooks" / "small.ipynb", [("parameters", "n = 3")])
    with pytest.raises(ToolError, match="not `name: type = default"):
        chapters.run_all({})
    assert not (tree / "_build").exists()


def test_a_folder_of_runs_is_named_after_its_values():
    assert chapters.run_folder("gd", {}).name == "gd-default"
    for given in ({"gamma0": 4.0, "P": 8}, {"P": 8, "gamma0": 4.0}):
        assert chapters.run_folder("gd", given, "paper").name == "gd-paper-P=8-gamma0=4.0"
    assert chapters.run_folder("gd", {"P": 8}, swept={"seed": [0, 1]}).name == "gd-P=8-sweep-seed=0,1"
    rhos = [[0.0, 1.0], [0.0, 1.0, 0.5], [1.0], [0.0]]
    fixed = [{}, {"x": -1.0, "w": "a"}, {"x": -1.0, "w": "b"}, *({"widths": [*range(100)], "seed": s} for s in (0, 1))]
    grids = [{}, {"x": [1.0]}, {"x": [1.0, -1.0]}, *({"r": [a, b]} for a in rhos for b in rhos if a != b)]
    names = [chapters.run_folder("gd", f, p, g).name for f in fixed for p in ("", "paper") for g in grids]
    assert len(set(names)) == len(names) and all(len(name) <= 100 for name in names)


TYPES = """a: float = 1.0  # a number (0, inf)
b: list[float] = [1.0]  # numbers, each [-inf, inf]
n: int = 1  # a count [0, inf)
w: str = "no"  # a word {no, 1e5, null}"""


def test_numbers_arrive_as_numbers_from_a_command_line_and_a_preset_in_a_folder_with_braces(tmp_path, monkeypatch):
    root = tmp_path / "a {clone} {} {{n}}"
    monkeypatch.setattr(chapters, "ROOT", root)
    write_chapter(root / "notebooks" / "types.ipynb", [("parameters", TYPES), ("print", "print([a, b, n, w])")])
    parameters = read_notebook(chapters.read(chapters.committed("types")))
    values = {"a": 1e-5, "b": [1e-300, 1e300, -1e22, 2.0], "n": 10**22, "w": "1e5"}
    text = "a=0.00001 b=1e-300,1e300,-1e22,2 n=10000000000000000000000 w=1e5"
    assert repr(read_settings(text, parameters, "types")) == repr(values)
    (tmp_path / "presets.toml").write_text("[p.types]\na = 1e-5\nb = [1e-300, 1e300, -1e22, 2.0]\n")
    assert repr(read_preset(tmp_path / "presets.toml", "p", parameters, "types")) == repr({k: values[k] for k in "ab"})
    assert texts(chapters.execute("types", values, root / "runs")) == [f"{[*values.values()]}\n"]


@pytest.mark.parametrize(
    "source, message",
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"Its kernel died in cell 3 of 4, .*memory.*Close"),
        ("import sys; sys.exit()", r"It called sys\.exit\(\) in cell 3 of 4, which begins with `import sys; sys\.exit"),
        ("import time; time.sleep(60)", r"It was stopped in cell 3 of 4, .* no cell may take more than 5 s\."),
    ],
)
def test_a_chapter_that_does_not_reach_its_end_fails_with_one_sentence(tree, monkeypatch, source, message):
    monkeypatch.setattr(chapters, "CELL_SECONDS", 5)
    write_chapter(tree / "notebooks" / "bad.ipynb", [SMALL_CHAPTER[0], ("bad", source), ("more", "print(1)")])
    with pytest.raises(ToolError, match=message) as error:
        chapters.execute("bad", {}, tree / "runs")
    first, _, where = str(error.value).splitlines()
    assert first == "bad failed." and where.startswith("The executed copy, up to the error, is ")


def test_the_commit_of_a_run_is_that_of_this_project_or_none(tree, monkeypatch):
    commit(tree)
    assert re.fullmatch("[0-9a-f]{7,}", chapters.state()["commit"]) and not chapters.state()["dirty"]
    (tree / "copy").mkdir()
    monkeypatch.setattr(chapters, "ROOT", tree / "copy")  # unpacked inside another repository
    assert chapters.state()["commit"] == "" and not chapters.state()["dirty"]
    monkeypatch.setattr(chapters, "ROOT", tree)
    monkeypatch.setenv("PATH", "")  # no git
    assert chapters.state()["commit"] == "" and chapters.state()["version"]
