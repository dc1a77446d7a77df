#!/usr/bin/env bash
# papermill 2.7.0 ends with status 0 on a notebook of which only a part has run, if a cell called sys.exit(0).
#
# Versions: papermill 2.7.0, nbclient 0.11.0, ipykernel 7.4.0.
# Expected: a notebook that ends early counts as unfinished, whatever the number, as it does for nbclient, which papermill
#           is built on.
# Instead:  after sys.exit(0), sys.exit() and sys.exit("0") the later cells are not run, and papermill's status is 0; the
#           notebook that it writes says of itself that this cell failed and that the next one is pending. After
#           sys.exit(False), which is status 0 in a script, it is 1. nbclient's own command, `jupyter execute`, has status
#           1 for all of them.
# Seen:     the table in `expected` below: papermill's status, nbclient's status, what papermill notes of the three cells.
# Why here: whoever runs chapters by papermill and trusts its status takes half a chapter for a whole one: a table of
#           results lacks its last rows, and old files stay in place. Our runner looks for the error in the outputs.
# Known:    meant so, to leave a notebook early (github.com/nteract/papermill/issues/435 and 536).
# Takes:    half a minute, and 150 MB while it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'papermill==2.7.0' 'nbclient==0.11.0' 'ipykernel==7.4.0'

cat > look.py <<'PY'
import subprocess

import nbformat

for argument in ("0", "", "'0'", "False", "3"):
    cells = [nbformat.v4.new_code_cell(code) for code in ("print(1)", f"import sys; sys.exit({argument})", "print(3)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, "in.ipynb")
    commands = (["papermill", "in.ipynb", "out.ipynb"], ["jupyter-execute", "in.ipynb", "--output=other"])
    status = [subprocess.run([f"venv/bin/{c[0]}", *c[1:]], capture_output=True).returncode for c in commands]
    # papermill may add a cell of text before one that failed
    done = [cell.metadata.papermill for cell in nbformat.read("out.ipynb", 4).cells if cell.cell_type == "code"]
    print(f"sys.exit({argument})", *status, *(cell["status"] for cell in done))
PY
expected="sys.exit(0) 0 1 completed failed pending
sys.exit() 0 1 completed failed pending
sys.exit('0') 0 1 completed failed pending
sys.exit(False) 1 1 completed failed pending
sys.exit(3) 1 1 completed failed pending"
seen=$(venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi
