"""A wrong factor in the solver makes the chapter fail nbval: the committed numbers are checks, not decoration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LEARNED = ("signal = gamma0 * lr", "signal = 1.05 * gamma0 * lr")
FORWARD_RESPONSE = ('else h + (phi @ s["b"].T', 'else h + 0.0 * (phi @ s["b"].T')
BACKWARD_RESPONSE = (
    'return self._extend(v, "q") @ s["b"] + (v @ s["a_now"].T / self.S) @ s["p"]',
    'return self._extend(v, "q") @ s["b"] + (v @ (s["a_now"] - s["a"]).T / self.S) @ s["p"]',
)
KEEP_INITIAL = ("images(experiment.rule, record, linear)", "images(experiment.rule, record, True)")
MUTANTS = {
    "learned term times 1.05": [LEARNED],
    "no A response": [FORWARD_RESPONSE],
    "no B response": [BACKWARD_RESPONSE, KEEP_INITIAL],
}


def until_compared(notebook):
    """The chapter up to and including the cell that prints the distances."""
    chapter = nbformat.read(notebook, as_version=4)
    last = next(k for k, cell in enumerate(chapter.cells) if cell.cell_type == "code" and "dl.compare(" in cell.source)
    chapter.cells = chapter.cells[: last + 1]
    return chapter


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_solver_fails_the_chapter(mutant, tmp_path):
    shutil.copytree(ROOT / "dmftlib", tmp_path / "dmftlib", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "dmftlib" / "meanfield" / "solver.py"
    text = source.read_text()
    for right, wrong in MUTANTS[mutant]:
        assert text.count(right) == 1, f"the solver no longer has the line to mutate: {right}"
        text = text.replace(right, wrong)
    source.write_text(text)
    nbformat.write(until_compared(ROOT / "notebooks" / "gd.ipynb"), tmp_path / "gd.ipynb")

    # The mutated library comes before the installed one; no compiled function of the right one is reused.
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-qx",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "gd.ipynb",
    ]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "mismatch 'stdout'" in run.stdout and "caused an exception" not in run.stdout  # other numbers, no crash
