import nbformat
from conftest import claims_cell

from companion.claims import Claims
from tools import comparison
from tools.parameters import read_cell

PARAMETERS = read_cell("n: int = 3  # how many [1, 10]\nrhos: list[float] = [0.0, 1.0]  # rising, each [0, 1]")


def notebook(lines, networks=()):
    """A run that printed `lines`, and claims that each mean of networks is 1."""
    claims = Claims()
    for number, mean in enumerate(networks):
        claims.agree(f"Claim {number}", "1a", "f", 1.0, (mean, 0.01), "N = 4, 8 seeds")
    picture = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "Figure with data: 1"})
    outputs = [nbformat.v4.new_output("stream", text="\n".join(lines)), picture]
    printed, table = nbformat.v4.new_code_cell(id="a", outputs=outputs), claims_cell(claims)
    return nbformat.v4.new_notebook(cells=[printed, table])


def test_a_run_says_what_changed_and_no_more_lines_than_fit():
    names = [5 * chr(97 + n) for n in range(26)]
    old, new = (notebook([f"{name}: {value}" for name, value in zip(names, [1, *[k] * 25])]) for k in (1, 2))
    warning = "/tmp/kernel_1/2.py:3: RuntimeWarning: invalid value in log\n  slope = log(x)\n"
    new.cells[0].outputs.append(nbformat.v4.new_output("stream", name="stderr", text=2 * warning))
    assert comparison.report(PARAMETERS, {"n": 3, "rhos": [0.5]}, old, new, 4).splitlines() == [
        "Changed against the defaults:",
        "  rhos = [0.5] (default [0.0, 1.0])",
        "Printed lines: 25 of 26 are others:",
        *("- bbbbb: 1", "+ bbbbb: 2", "- ccccc: 1", "+ ccccc: 2"),
        "  and 46 more",
        "The run warned, where the notebook shows it:",
        "  RuntimeWarning: invalid value in log",
    ]
    same = ["Every parameter has its default value.", "Printed lines: 0 of 26 are others"]
    assert comparison.report(PARAMETERS, {"n": 3}, old, old).splitlines() == same


def test_claims_are_counted_and_those_whose_verdict_changed_listed():
    old, new = notebook(["1"], (1.0, 1.0, 1.1)), notebook(["1"], (1.001, 1.03, 1.0, 1.0))
    head, *lines = comparison.report(PARAMETERS, {}, old, new).splitlines()[2:]
    assert head == "Claims (theory = networks: 3 holds, 1 in part): 3 of 4 are others:"
    was, now = ["1 holds", "2 no"], ["1 in part", "2 holds", "3 holds"]
    told = [
        f"{sign} Claim {a}: f: theory = networks: {b}, occurs: —"
        for sign, claims in (("-", was), ("+", now))
        for a, b in (c.split(" ", 1) for c in claims)
    ]
    assert sorted(lines) == sorted(told)
