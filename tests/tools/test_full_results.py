"""`dmft full`: points one by one, none twice, none lost."""

import json
import sys
from dataclasses import asdict, dataclass
from types import ModuleType

import pandas
import pytest

from tools import chapters, full_results, remember


@dataclass(frozen=True)
class Square:
    x: int

    def measure(self):
        if self.x == Square.broken:
            raise KeyboardInterrupt
        Square.measured.append(self.x)
        return asdict(self) | {"square": self.x**2 / 7}


def test_an_interrupted_run_goes_on_where_it_was_and_other_code_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "companion.squares", module := ModuleType("companion.squares"))
    module.FULL, Square.measured, Square.broken = [Square(x) for x in (3, 1, 2)], [], 2
    for file in ("companion/squares.py", "dmftlib/code.py", "requirements.lock", "notebooks/small.ipynb"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    for module in (full_results, chapters, remember):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    result = tmp_path / "companion" / "squares.csv"
    with pytest.raises(KeyboardInterrupt):
        full_results.full("squares")
    assert Square.measured == [3, 1] and not result.exists()
    Square.broken = None
    full_results.full("squares")
    assert Square.measured == [3, 1, 2]
    about = dict(line[2:].split(": ", 1) for line in result.read_text().splitlines() if line.startswith("#"))
    assert json.loads(about["command"]) == "dmft full squares" and {"commit", "dirty", "date", "jax"} <= set(about)
    rows = pandas.read_csv(result, comment="#")
    assert rows["x"].tolist() == [3, 1, 2] and rows["square"].tolist() == [1.28571, 0.142857, 0.571429]
    (tmp_path / "dmftlib" / "code.py").write_text("one = 2\n")
    full_results.full("squares")
    assert Square.measured == 2 * [3, 1, 2]
