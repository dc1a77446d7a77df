import nbformat
from conftest import claims_cell

from companion.claims import Claims
from tools import comparison
from tools.parameters import read_cell

PARAMETERS = read_cell("n: int = 3  # how many [1, 10]\nrhos: list[float] = [0.0, 1.0]  # rising, each [0, 1]")


def notebook(lines, networks=(), phenomenon=()):
    """A run that printed `lines` and claims, for each mean of networks, that 1 is 1, or that something rises."""
    claims = Claims()
    for number, mean in enumerate(networks):
        claims.agree(f"Claim {number}", "1a", "f", 1.0, (mean, 0.01), "N = 4, 8 seeds")
    for mean in phenomenon:
        claims.phenomenon("Rises", "1a", "f", "GD", 1.0, 1.0, (mean, 0.01), "N = 4, 8 seeds")
    outputs = [nbformat.v4.new_output("stream", text="\n".join(lines))]
    printed, table = nbformat.v4.new_code_cell(id="a", outputs=outputs), claims_cell(claims)
    table.id = "b"
    return nbformat.v4.new_notebook(cells=[printed, table])


def report(old, new, values=(), most=4):
    return comparison.report(PARAMETERS, dict(values), old, new, most).splitlines()


def test_changed_parameters_and_numbers_are_told_and_so_many_at_most():
    old, new = notebook([f"line {n}" for n in range(30)]), notebook(["line 0", *(f"line {n}.5" for n in range(1, 30))])
    assert report(old, new, {"n": 3, "rhos": [0.5]}) == [
        "Changed against the defaults:",
        "  rhos = [0.5] (default [0.0, 1.0])",
        "Printed numbers, with the defaults | now (29 of 30 lines changed):",
        *(f"* line {n} | line {n}.5" for n in range(1, 5)),
        "  and 25 more, in the notebook",
    ]
    same = ["Every parameter has its default value.", "Printed numbers: all 30 lines are as with the defaults."]
    assert report(old, old, {"n": 3}) == same
    assert report(notebook(["1" * 500]), notebook(["2" * 500]))[2:] == [f"* {'1' * 110}", f"    now: {'2' * 110}"]


def test_claims_are_counted_and_those_whose_verdict_changed_listed():
    old, new = notebook(["1"], (1.0, 1.0, 1.1)), notebook(["1"], (1.0, 1.03, 1.0, 1.0))
    head = "Claims, with the defaults | now: 2 hold, 0 in part, 1 do not | 3 hold, 1 in part, 0 do not"
    moved = [
        "  holds → in part: Claim 1: f, theory 1, networks 1.03 ± 0.01 (N = 4, 8 seeds)",
        "  no → holds: Claim 2: f, theory 1, networks 1 ± 0.01 (N = 4, 8 seeds)",
        "  new → holds: Claim 3: f, theory 1, networks 1 ± 0.01 (N = 4, 8 seeds)",
    ]
    assert report(old, new, most=9)[2:] == [head, *moved]
    assert report(old, new, most=4)[2:] == [head, *moved[:2], "  and 1 more, in the notebook"]
    _, _, _, counts, told = report(notebook(["1"], (), [1.0]), notebook(["1"], (), [-1.0]))
    assert counts == "  phenomena that occur: 1 | 0"
    assert told.startswith("  occurs: yes, theory = networks: holds → occurs: no, theory = networks: no: Rises: f")


def test_pictures_and_warnings_are_no_printed_numbers_and_warnings_are_told():
    old, new = notebook(["a 1"]), notebook(["a 1"])
    picture = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "Figure with data: 1"})
    text = "/tmp/kernel_1/2.py:3: RuntimeWarning: invalid value in log\n  slope = log(x)\n"
    new.cells[0].outputs += [picture, nbformat.v4.new_output("stream", name="stderr", text=text * 2)]
    assert report(old, new)[1:] == [
        "Printed numbers: all 1 lines are as with the defaults.",
        "The run warned, where the notebook shows it:",
        "  RuntimeWarning: invalid value in log",
    ]


def test_lines_that_an_execution_lacks_do_not_shift_the_others():
    before = ["L = 1: 2.01 ± 0.02", "L = 2: 2.95 ± 2e-05", "L = 1, again: 1.5", "L = 2, again: 2.5"]
    after = ["L = 1: 1.92 ± 0.2", "L = 1, again: 1.4"]
    there, gone = [*zip(before[::2], after)], [(line, "") for line in before[1::2]]
    assert comparison.matched(before, after) == [there[0], gone[0], there[1], gone[1]]
    assert comparison.matched(["a 1.5", "b"], ["c 2", "d 3"]) == [("a 1.5", "c 2"), ("b", "d 3")]
