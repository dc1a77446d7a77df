import re
import sys
import tempfile

import pytest
from conftest import SMALL_CHAPTER, write_chapter

from tools import ToolError, chapters, progress

BAR = "Executing:  {}%|██▎   | {}/20 [00:03<00:20,  1.52s/cell]"


def test_the_cell_in_hand_is_the_one_after_those_finished_and_reading_moves_nothing():
    with tempfile.TemporaryFile("w+") as file:
        assert progress.cells(file.fileno()) == ""
        file.write("Input Notebook:  a 1/2\n" + "█" * 2000 + BAR.format(0, 0) + "\r" + BAR.format(10, 2))
        file.flush()
        before = file.tell()
        assert progress.cells(file.fileno()) == "cell 3 of 20"
        assert file.tell() == before
        file.write("\r" + BAR.format(100, 20))
        file.flush()
        assert progress.cells(file.fileno()) == "cell 20 of 20"


def shown(text):
    """What a terminal shows: a carriage return followed by "erase the line" starts the line anew."""
    return [line.rpartition("\r\x1b[K")[2] for line in text.split("\n")]


def test_on_a_terminal_one_line_shows_all_that_runs_and_lines_that_stay_push_it_down(capsys, monkeypatch):
    screen, text = progress.Screen(), ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    screen.show("fa", "cell 1 of 9, 2 s")
    screen.show("gd", "cell 4 of 9, 5 s")
    text += capsys.readouterr().out
    assert shown(text) == ["  fa: cell 1 of 9, 2 s · gd: cell 4 of 9, 5 s"]
    screen.say("dfa: done in 9 s")
    text += capsys.readouterr().out
    assert shown(text) == ["  dfa: done in 9 s", "  fa: cell 1 of 9, 2 s · gd: cell 4 of 9, 5 s"]
    screen.done("fa")
    screen.done("gd")
    assert shown(text + capsys.readouterr().out) == ["  dfa: done in 9 s", ""]


def test_elsewhere_lines_are_plain_and_rare(capsys):
    for screen in (progress.Screen(every=0.0), progress.Screen(every=1e9)):
        screen.show("fa", "cell 1 of 9, 2 s")
        screen.show("fa", "cell 2 of 9, 3 s")
        screen.done("fa")
        screen.say("fa: done in 9 s")
    often, rare = "  fa: cell 1 of 9, 2 s\n  fa: cell 2 of 9, 3 s\n", "  fa: done in 9 s\n"
    assert capsys.readouterr().out == often + rare + rare


def test_two_chapters_side_by_side_each_say_where_they_are(tree, monkeypatch, capsys):
    monkeypatch.setattr(progress.screen, "every", 0.0)
    write_chapter(tree / "notebooks" / "two.ipynb", [*SMALL_CHAPTER, ("last", "1 / 0")])
    with pytest.raises(ToolError, match=r"two failed\.\n(?s:.*)ZeroDivisionError") as error:
        chapters.run_all()
    assert "Executing: " not in str(error.value) and "papermill" not in str(error.value)
    out = capsys.readouterr().out
    for name in ("small", "two"):
        assert re.search(rf"^  {name}: cell [1-4] of [34], \d+ s$", out, re.MULTILINE)
    assert "\r" not in out
