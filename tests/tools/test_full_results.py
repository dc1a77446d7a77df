"""`dmft full`: points one by one, none twice, none lost."""

import csv
import json
import sys
from dataclasses import asdict, dataclass
from types import ModuleType

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


@pytest.fixture
def squares(tmp_path, monkeypatch):
    module = ModuleType("squares")
    module.FULL = [Square(x) for x in (3, 1, 2)]
    Square.measured, Square.broken = [], None
    monkeypatch.setitem(sys.modules, "squares", module)
    monkeypatch.setitem(full_results.SOURCES, "squares", "squares")
    for file in ("companion/beyond.py", "dmftlib/code.py", "requirements.lock", "notebooks/small.ipynb"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("")
    for module in (full_results, chapters, remember):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def test_an_interrupted_run_goes_on_where_it_was_and_other_code_is_measured_anew(squares, capsys):
    Square.broken = 2
    with pytest.raises(KeyboardInterrupt):
        full_results.full("squares")
    assert Square.measured == [3, 1] and not (squares / "companion" / "squares.csv").exists()
    Square.broken = None
    full_results.full("squares")
    assert Square.measured == [3, 1, 2]
    assert "3 points, 2 of them measured already" in capsys.readouterr().out
    lines = (squares / "companion" / "squares.csv").read_text().splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("#"))
    assert json.loads(about["command"]) == "dmft full squares" and {"commit", "dirty", "date", "jax"} <= set(about)
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [(row["x"], row["square"]) for row in rows] == [("3", "1.28571"), ("1", "0.142857"), ("2", "0.571429")]
    (squares / "dmftlib" / "code.py").write_text("one = 2\n")
    full_results.full("squares")
    assert Square.measured == 2 * [3, 1, 2]
