import re
import tempfile

import pytest
from conftest import SMALL_CHAPTER, write_chapter

from tools import ToolError, chapters, progress

BAR = "Executing:  {}%|██▎   | {}/20 [00:03<00:20,  1.52s/cell]"


def test_finished_cells_are_counted_and_reading_moves_nothing():
    with tempfile.TemporaryFile("w+") as file:
        assert progress.cells(file.fileno()) == (0, 0)
        file.write("Input Notebook:  a 1/2\n" + "█" * 2000 + BAR.format(0, 0) + "\r" + BAR.format(10, 2))
        file.flush()
        before = file.tell()
        assert progress.cells(file.fileno()) == (2, 20)
        assert file.tell() == before


@pytest.mark.parametrize("terminal", [True, False])
def test_two_chapters_side_by_side_each_say_where_they_are(tree, monkeypatch, capsys, terminal):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    write_chapter(tree / "notebooks" / "two.ipynb", [*SMALL_CHAPTER, ("last", "1 / 0")])
    with pytest.raises(ToolError, match=r"two failed\.\n(?s:.*)ZeroDivisionError") as error:
        chapters.run_all()
    assert "Executing: " not in str(error.value) and "papermill" not in str(error.value)
    out, bars = capsys.readouterr()
    for name in ("small", "two"):
        if terminal:
            assert re.search(rf"  {name}: +\d+%\|.*\| [0-3]/[34] \[", bars)
        else:
            assert re.search(rf"^  {name}: cell [1-4] of [34], \d+ s$", out, re.MULTILINE)
    assert "\r" not in out and (bars != "") == terminal
