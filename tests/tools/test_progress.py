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


def test_bars_are_left_out_of_what_went_wrong():
    said = f"Executing notebook with kernel: python3\n{BAR.format(5, 1)}\n{BAR.format(10, 2)}\n\nTraceback"
    assert progress.without_bars(said) == "Executing notebook with kernel: python3\n\nTraceback"


class Terminal:
    def __init__(self, on):
        self.text, self.on = "", on

    def isatty(self):
        return self.on

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def shown(text):
    """What a terminal shows: a carriage return followed by "erase the line" starts the line anew."""
    return [line.rpartition("\r\x1b[K")[2] for line in text.split("\n")]


@pytest.fixture
def terminal(monkeypatch):
    def put(on):
        terminal = Terminal(on)
        monkeypatch.setattr(sys, "stdout", terminal)
        return terminal

    return put


def test_on_a_terminal_one_line_shows_all_that_runs_and_lines_that_stay_push_it_down(terminal):
    out, screen = terminal(True), progress.Screen()
    screen.show("fa", "cell 1 of 9, 2 s")
    screen.show("gd", "cell 4 of 9, 5 s")
    assert shown(out.text) == ["  fa: cell 1 of 9, 2 s · gd: cell 4 of 9, 5 s"]
    screen.say("dfa: done in 9 s")
    assert shown(out.text) == ["  dfa: done in 9 s", "  fa: cell 1 of 9, 2 s · gd: cell 4 of 9, 5 s"]
    written = len(out.text)
    screen.show("fa", "cell 1 of 9, 2 s")
    assert len(out.text) == written, "a line that did not change is written again"
    screen.done("fa")
    screen.done("gd")
    assert shown(out.text) == ["  dfa: done in 9 s", ""]


def test_elsewhere_lines_are_plain_and_rare(terminal):
    out, often, rare = terminal(False), progress.Screen(every=0.0), progress.Screen(every=1e9)
    for screen in (often, rare):
        screen.show("fa", "cell 1 of 9, 2 s")
        screen.show("fa", "cell 2 of 9, 3 s")
        screen.done("fa")
    rare.say("fa: done in 9 s")
    assert out.text == "  fa: cell 1 of 9, 2 s\n  fa: cell 2 of 9, 3 s\n  fa: done in 9 s\n"


def test_two_chapters_side_by_side_each_say_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(progress.screen, "every", 0.0)
    for name, last in (("one", "print(1)"), ("two", "1 / 0")):
        write_chapter(tmp_path / "notebooks" / f"{name}.ipynb", [*SMALL_CHAPTER, ("last", last)])
    with pytest.raises(ToolError, match=r"two failed\.\n(?s:.*)ZeroDivisionError") as error:
        chapters.run_all()
    assert "Executing: " not in str(error.value) and "click" not in str(error.value)
    out = capsys.readouterr().out
    for name in ("one", "two"):
        assert re.search(rf"^  {name}: cell [1-4] of 4, \d+ s$", out, re.MULTILINE)
    assert "\r" not in out
