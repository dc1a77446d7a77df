"""What stands beneath a figure: files, citation, provenance; what a run with other parameters says; the index."""

import base64
import copy
import dataclasses
import functools
import re

import nbformat
import numpy as np
import pytest
from pybtex.database import parse_string

from companion import drawing, figures, sliders
from tools import chapters, pages
from tools import figures as shelf

MACHINE = {"processors": 2, "architecture": "m68k", "system": "AmigaOS"}
TREE = {"version": "0.1.0", "commit": "abc1234", "dirty": False, "date": "2026-01-02", "machine": MACHINE}
RECORD = TREE | {"parameters": {}, "dirty": True, "date": "2026-03-04", "seconds": 3.0}
CAPTION = "Loss for small $\\gamma_0$, {glue:text}`distance` off. Lines: theory of {numref}`fig-small`."
x = np.linspace(0, 1, 30)


def picture():
    lines, marks = {"GD": (x, np.exp(-x))}, {"GD": (x, np.exp(-x) + 0.01, 0.01 + 0 * x)}
    return figures.curves({"loss": (lines, marks)}, "time t (lr × step)", log="y")


@functools.cache
def stored():
    """What the two figures leave in a notebook: data and metadata of their outputs."""
    shown, moved = picture(), sliders.two_layer()
    pairs = ("image/png", base64.b64encode(shown.png()).decode()), ("text/html", moved._repr_html_())
    return [({kind: text}, one._repr_mimebundle_()[1]) for (kind, text), one in zip(pairs, (shown, moved))]


def add_figures(notebook):
    """A figure with a name and one with sliders, at the end of the notebook of `conftest.write_chapter`."""
    named = {"mystnb": {"figure": {"caption": CAPTION, "name": "fig-small"}, "image": {"alt": "a curve that falls"}}}
    for id, looks, (data, carried) in zip(("curve", "sliders"), (named, {}), copy.deepcopy(stored())):
        output = nbformat.v4.new_output("execute_result", data, metadata=carried, execution_count=2)
        cell = nbformat.v4.new_code_cell("shown", id=id, metadata=looks, execution_count=2, outputs=[output])
        notebook.cells.append(cell)
    notebook.cells.append(nbformat.v4.new_markdown_cell("{numref}`fig-small` and {numref}`fig-other`.", id="text"))
    return notebook


@pytest.fixture
def notebook(small_tree):
    return add_figures(nbformat.read(small_tree / "notebooks" / "small.ipynb", as_version=4))


def about(notebook, name="fig-small", **record):
    if record:
        notebook.metadata["dmftlib"] = RECORD | record
    figure = next(figure for figure in shelf.shown(notebook) if figure.id == name)
    return figure, shelf.provenance("small", figure, notebook, TREE)


def test_stored_outputs_and_a_run_say_with_what_they_were_made(notebook):
    _, known = about(notebook)
    assert known["made by"] == "outputs stored in the repository" and known["machine"] == "not recorded"
    assert (known["version"], known["commit"], known["modified"]) == ("0.1.0", "abc1234", False)
    assert known["parameters"] == {"n": 3, "word": "a"} and known["not as in the book"] == {}
    _, known = about(notebook, parameters={"n": 5, "word": "a"})
    assert known["parameters"] == {"n": 5, "word": "a"} and known["not as in the book"] == {"n": 5}
    assert (known["date"], known["modified"], known["machine"]) == ("2026-03-04", True, MACHINE)


def test_a_figure_of_data_measured_before_says_so_whatever_the_chapter_was_run_with(notebook):
    measured = {"command": "dmft full small", "version": "0.0.9", "commit": "def5678", "dirty": False}
    measured |= {"date": "2026-02-03", "machine": {"processors": 64}, "parameters": {"P": [300], "seed": [0, 1]}}
    carried = dataclasses.replace(picture(), source=measured)._repr_mimebundle_()[1]["dmftlib"]
    notebook.cells[-3].outputs[0].metadata["dmftlib"] = carried
    notebook.metadata["dmftlib"] = RECORD | {"parameters": {"n": 5, "word": "a"}}
    before = notebook.cells[-3].outputs[0].data["image/png"]
    shelf.mark(notebook, {"n": 5, "word": "a"})
    _, known = about(notebook)  # by the published id, which it keeps
    assert notebook.cells[-3].outputs[0].data["image/png"] == before and known["not as in the book"] == {}
    assert known["made by"] == "dmft full small, whose result is in the repository" and known["seed"] == [0, 1]
    assert all(known[name] == measured[name] for name in ("version", "commit", "date", "machine", "parameters"))
    assert "figures (but for `fig-small`, of data that was measured before)" in pages.banner(notebook)


def test_bibtex_has_the_figure_the_book_and_the_paper(notebook):
    _, known = about(notebook)
    entries = parse_string(shelf.bibtex(known, "https://example.org/book"), "bibtex").entries
    assert list(entries) == ["fig-small", "dmftlib", "bordelon2023influence"]
    figure, book, paper = entries.values()
    assert figure.fields["title"] == r"Loss for small $\gamma_0$, off" and "chapter small" in figure.fields["note"]
    assert "Version 0.1.0, commit abc1234" in book.fields["note"] and book.fields["url"] == "https://example.org/book"
    assert [str(person) for person in paper.persons["author"]] == ["Bordelon, Blake", "Pehlevan, Cengiz"]
    shelf.mark(notebook, {"n": 5, "word": "a"})  # with other parameters it says so, and has another key
    _, known = about(notebook, next(shelf.shown(notebook)).id, parameters={"n": 5, "word": "a"})
    (key, entry), *_ = parse_string(shelf.bibtex(known), "bibtex").entries.items()
    assert re.fullmatch(r"fig-small-[0-9a-f]{8}", key) and "not as in the book: n = 5" in entry.fields["title"]
    assert "n = 5" in entry.fields["note"] and "with uncommitted changes" in entry.fields["note"]


def test_other_parameters_stand_on_the_face_and_no_published_id_is_left(notebook):
    ids, defaults = [], [{"n": 3}, {"n": 3, "word": "a"}]
    for values in ({"n": 5}, {"n": 5, "word": "a"}, {"n": 6}, {"n": 5, "word": "b"}, *defaults):
        shelf.mark(other := copy.deepcopy(notebook), values)
        ids.append(next(shelf.shown(other)).id)
        assert (other == notebook) == (values in defaults)
    assert ids[0] == ids[1] and len(set(ids)) == 4
    shelf.mark(notebook, {"n": 5})
    curve, sliders = shelf.shown(notebook)
    text = "not as in the book: n = 5"
    expected = drawing.save(figures.draw(figures.read_csv(picture().csv()), text), "png")
    assert base64.b64decode(curve.output.data["image/png"]) == expected
    assert sliders.output.data["text/html"].endswith(f"<p><small>{text}</small></p>")
    assert re.fullmatch(r"fig-small-[0-9a-f]{8}", curve.id) and re.fullmatch(r"fig-sliders-[0-9a-f]{8}", sliders.id)
    look = curve.cell.metadata.mystnb.figure
    assert look.name == curve.id and look.caption.endswith(f"{{numref}}`{curve.id}`.")
    assert notebook.cells[-1].source == f"{{numref}}`{curve.id}` and {{numref}}`fig-other`."
    nbformat.validate(notebook)


def test_in_the_book_the_data_of_every_figure_give_it_again(html):
    notebooks = [chapters.read(chapters.committed(name)) for name in chapters.names()]
    ids = [figure.id for notebook in notebooks for figure in shelf.shown(notebook)]
    looks = [cell.metadata.get("mystnb", {}).get("figure", {}) for notebook in notebooks for cell in notebook.cells]
    assert {look["name"] for look in looks if look} <= set(ids), "a figure without data: run `dmft accept`"
    assert len(ids) == len(set(ids)) > 50 and all(re.fullmatch(r"fig-[a-z0-9-]+", id) for id in ids)
    assert {path.stem for path in (html / shelf.FOLDER).glob("*.csv")} == set(ids)
    for id in ids:
        csv, svg = (html / shelf.FOLDER / f"{id}.{kind}" for kind in ("csv", "svg"))
        assert drawing.save(figures.draw(figures.read_csv(csv)), "svg") == svg.read_bytes(), id
