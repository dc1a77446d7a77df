"""What chapters cost: words, the committed table, and the command that measures."""

import json

import pytest
from conftest import write_chapter

from tools import chapters, costs

ROW = dict(seconds=61.2, peak_memory_MB=944, commit="abc1234", dirty=False, date="2026-01-02")
ROW |= dict(processor="Motorola 68000", processors=7, architecture="m68k", system="AmigaOS")
ROW |= dict(python="3.11.7", jax="0.10.2")


@pytest.mark.parametrize(
    "seconds, words", [(0.3, "1 s"), (44, "40 s"), (61.2, "1 min"), (69, "1 min 10 s"), (725, "12 min")]
)
def test_times_are_rounded_as_no_two_runs_take_the_same(seconds, words):
    assert costs.time({"seconds": seconds}) == words


def test_a_chapter_says_what_it_costs_and_one_that_was_not_measured_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    assert costs.table() == {} and costs.sentences("small") == []
    for name in ("small", "other"):
        write_chapter(tmp_path / "notebooks" / f"{name}.ipynb")
    chapters.write_text(json.dumps({"small": ROW, "gone": ROW}), costs.place())
    (sentence,) = costs.sentences("small")
    assert "about 1 min and 0.9 GB on one core of Motorola 68000, m68k, AmigaOS" in sentence
    assert costs.sentences("other") == []
    record = {"seconds": 5.0, "peak_memory_MB": 100, "commit": "c", "dirty": True, "date": "d", "key": "0f"}
    row = costs.keep(
        "other", record | {"machine": {name: ROW[name] for name in ("processors", "architecture", "system")}}
    )
    assert costs.table() == {"other": row, "small": ROW} and set(row) == set(ROW)


def test_the_committed_table_is_of_chapters_that_exist_with_all_that_is_shown():
    rows = costs.table()
    assert set(rows) <= set(chapters.names())
    assert all(set(row) == set(ROW) and 0 < row["seconds"] < 600 for row in rows.values())
