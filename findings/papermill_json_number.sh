#!/usr/bin/env bash
# papermill 2.7.0 reads a JSON file of parameters as YAML 1.1, in which 1e-05 is text and not a number.
#
# Versions: papermill 2.7.0, nbclient 0.11.0, ipykernel 7.4.0, PyYAML 6.0.3.
# Expected: a number is a number in JSON, so 1e-05 arrives in the notebook as a float, by whatever way it is passed.
# Instead:  by `-y` and by `-f` it arrives as the string '1e-05', also from a file that json.dump has written and whose
#           name ends in .json. YAML 1.1 wants a point in a float (1.0e-05), and a sign in its exponent (1.0e+5). By `-p`,
#           from Python, and from what yaml.safe_dump writes (it adds the point), it arrives as a float.
# Nothing complains: twice the string is a string, as the last column shows, and the run ends with status 0.
# Seen:     the table in `expected` below.
# Why here: learning rates and tolerances are such numbers, and Python prints those below 1e-04 without a point if they
#           have one digit. A reader who writes parameters to JSON and hands them to papermill gets text in a chapter. Our
#           runner passes numbers with a point for this reason.
# Known:    that YAML 1.1 reads 1e-05 as text; that JSON goes through the same reader is in papermill's command line
#           (papermill/cli.py), and its documentation of `-f` names YAML files only.
# Takes:    half a minute, and 150 MB while it runs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q 'papermill==2.7.0' 'nbclient==0.11.0' 'ipykernel==7.4.0' 'PyYAML==6.0.3'

cat > look.py <<'PY'
import json
import subprocess

import nbformat
import papermill
import yaml

cell = nbformat.v4.new_code_cell("lr = 0.1", metadata={"tags": ["parameters"]})
notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("print(type(lr).__name__, 2 * lr)")])
notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(notebook, "lr.ipynb")
with open("lr.json", "w") as file:
    json.dump({"lr": 1e-5}, file)
with open("lr.yaml", "w") as file:
    yaml.safe_dump({"lr": 1e-5}, file)


def arrived():
    return nbformat.read("out.ipynb", 4).cells[-1].outputs[0].text.strip()


ways = [
    ["-p", "lr", "1e-05"],
    ["-y", "lr: 1e-05"],
    ["-y", '{"lr": 1e-05}'],
    ["-y", "lr: 1.0e-05"],
    ["-f", "lr.json"],
    ["-f", "lr.yaml"],
]
for way in ways:
    command = ["venv/bin/papermill", "lr.ipynb", "out.ipynb", "--no-progress-bar", *way]
    status = subprocess.run(command, capture_output=True).returncode
    print(" ".join(way), "| status", status, "|", arrived())
papermill.execute_notebook("lr.ipynb", "out.ipynb", {"lr": 1e-5}, progress_bar=False)
print("from Python |", arrived())
PY
expected='-p lr 1e-05 | status 0 | float 2e-05
-y lr: 1e-05 | status 0 | str 1e-051e-05
-y {"lr": 1e-05} | status 0 | str 1e-051e-05
-y lr: 1.0e-05 | status 0 | float 2e-05
-f lr.json | status 0 | str 1e-051e-05
-f lr.yaml | status 0 | float 2e-05
from Python | float 2e-05'
seen=$(venv/bin/python look.py 2> log) || { cat log; exit 1; }
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'This has changed. It was:\n%s\n' "$expected"
    exit 1
fi
