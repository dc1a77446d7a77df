#!/usr/bin/env bash
# nbval 0.11.0 passes a notebook whose outputs were cleared, whatever its cells print.
#
# Versions: nbval 0.11.0, pytest 9.2.0, ipykernel 7.4.0, nbconvert 7.17.0.
# Expected: `pytest --nbval` compares what a cell prints with what is stored. If nothing is stored and the cell prints,
#           the two differ, and the test fails.
# Instead:  it depends on the number beside the cell. With outputs removed and the number left, the test fails. With
#           both removed, as `jupyter nbconvert --clear-output` and "clear all outputs" in an editor do, the cell counts
#           as not run yet, nothing is compared, and the test passes.
# Seen:     the table in `expected` below; the cell that is changed prints 2, and 1 is stored.
# Why here: chapters are checked by `--nbval`, and a tool that strips outputs before a commit would switch that check off
#           without a word, for the whole book. A test of ours demands that every cell of a chapter has its number.
# Known:    meant so, for notebooks that are kept without outputs (github.com/computationalmodelling/nbval/pull/82).
# Takes:    half a minute, and 150 MB while it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'nbval==0.11.0' 'pytest==9.2.0' 'ipykernel==7.4.0' 'nbconvert==7.17.0'

cat > look.py <<'PY'
import subprocess

import nbformat

cell = nbformat.v4.new_code_cell("print(1)", execution_count=1)
cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
notebook = nbformat.v4.new_notebook(cells=[cell])


def check(words):
    nbformat.write(notebook, "a.ipynb")
    if words == "cleared by nbconvert":
        clear = ["venv/bin/python", "-m", "nbconvert", "--clear-output", "--inplace", "a.ipynb"]
        subprocess.run(clear, check=True, capture_output=True)
    command = ["venv/bin/python", "-m", "pytest", "--nbval", "--nbval-current-env", "a.ipynb"]
    status = subprocess.run(command, capture_output=True).returncode
    print(words, "|", {0: "passes", 1: "fails"}[status])


check("stored and run agree")
cell.source = "print(2)"
check("cell changed")
check("cleared by nbconvert")
cell.outputs = []
check("output removed, number left")
cell.execution_count = None
check("output and number removed")
PY
expected='stored and run agree | passes
cell changed | fails
cleared by nbconvert | passes
output removed, number left | fails
output and number removed | passes'
seen=$(venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi
