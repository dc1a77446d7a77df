"""What stands beneath every figure of a chapter: its files, how to cite it, where it comes from.

A figure hands the build what it shows as metadata of the cell's output (`companion.figures.FigureWithData`). From that
its files are drawn, and from that it is drawn again, with a note on its face and an id of its own, if the chapter was
run with other parameters.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import nbformat

from . import ROOT, digest, git
from .atomic import write_bytes
from .parameters import read_notebook

FOLDER = "_static/figures"  # below book/
PAPER = "bordelon2023influence"  # the entry of book/references.bib
LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
AUTHORS = "The dmftlib developers"
BOOK = "Learning rules in wide networks: a companion that you can run"
STORED = "outputs stored in the repository"
# What a file's name ends with, and what its link says.
LINKS = {
    "svg": "SVG",
    "pdf": "PDF",
    "png": "PNG",
    "csv": "CSV",
    "grid.json": "all values",
    "bib": "BibTeX",
    "json": "provenance",
}


@dataclass(frozen=True)
class Shown:
    """A figure in a notebook: its cell, and the output that shows it."""

    cell: object
    output: object

    @property
    def carried(self) -> dict:
        """What the figure handed over, `csv` and perhaps `source`, and what `mark` adds, `note` and `id`."""
        return self.output.get("metadata", {}).get("dmftlib", {})

    @property
    def named(self) -> dict:
        """The caption and name that the page gives it; none under sliders."""
        return self.cell.metadata.get("mystnb", {}).get("figure", {})

    @property
    def id(self) -> str:
        """Its name; without one, as under sliders, it is named after its cell."""
        return self.named.get("name") or self.carried.get("id", f"fig-{self.cell.id}")

    @property
    def caption(self) -> str:
        return self.named.get("caption", "Figure with sliders: the two-layer closed forms of every rule")


def shown(notebook) -> Iterator[Shown]:
    """The figures of a notebook, in order."""
    every = (Shown(cell, output) for cell in notebook.cells for output in cell.get("outputs", []))
    return (figure for figure in every if figure.carried)


# --- Other parameters -------------------------------------------------------------------------------------------------


def changed(notebook, values: dict) -> dict:
    """The values that differ from the defaults of the chapter."""
    parameters = read_notebook(notebook)
    return {name: value for name, value in sorted(values.items()) if value != parameters[name].default}


def words(values: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def mark(notebook, values: dict) -> None:
    """Where `values` differ from the defaults, say so on the face of every figure, and give each an id of its own.

    Figures of data that was measured before do not depend on them.
    """
    other = changed(notebook, values)
    if not other:
        return
    short = hashlib.sha256(json.dumps(other, sort_keys=True).encode()).hexdigest()[:8]
    note, renamed = f"not as in the book: {words(other)}", {}
    for figure in [figure for figure in shown(notebook) if "source" not in figure.carried]:
        renamed[figure.id] = id = f"{figure.id}-{short}"
        figure.named.update({"name": id} if figure.named else {})
        figure.carried.update(note=note, id=id)
        if "image/png" in figure.output.data:
            picture = pictures(figure.carried["csv"], note)["png"]
            figure.output.data["image/png"] = base64.b64encode(picture).decode()
        if "text/html" in figure.output.data:
            figure.output.data["text/html"] += f"\n<p><small>{note}</small></p>"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = renamed_in(cell.source, renamed)
        caption = cell.metadata.get("mystnb", {}).get("figure", {})
        if "caption" in caption:
            caption["caption"] = renamed_in(caption["caption"], renamed)


def renamed_in(text: str, names: dict[str, str]) -> str:
    return re.sub(r"`(fig-[\w-]+)`", lambda found: f"`{names.get(found[1], found[1])}`", text)


# --- Files ------------------------------------------------------------------------------------------------------------


def places(csv: str, note: str) -> dict[str, Path]:
    """Where a picture is kept by format: files in _build/figures are named after all that it depends on."""
    key = digest(ROOT, ["companion/drawing.py", "requirements.lock"], note, csv)
    return {kind: ROOT / "_build" / "figures" / f"{key}.{kind}" for kind in ("png", "svg", "pdf")}


def pictures(csv: str, note: str = "") -> dict[str, bytes]:
    """The picture by format, drawn once."""
    kept = places(csv, note)
    if not all(path.exists() for path in kept.values()):
        from companion import drawing  # here, since it takes seconds to load, which a wrong command need not wait for

        panels = drawing.read_csv(csv)
        for kind, path in kept.items():
            write_bytes(drawing.save(drawing.draw(panels, note), kind), path)
    return {kind: path.read_bytes() for kind, path in kept.items()}


def draw_missing(notebooks: Iterable) -> None:
    """Draw what is not kept of the figures of notebooks, in two processes: Matplotlib cannot draw in two threads."""
    carried = [figure.carried for notebook in notebooks for figure in shown(notebook)]
    asked = [(each["csv"], each.get("note", "")) for each in carried]
    missing = [each for each in asked if not all(path.exists() for path in places(*each).values())]
    if missing:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(pictures, *zip(*missing)))


def provenance(chapter: str, figure: Shown, notebook, tree: dict) -> dict:
    """Where a figure comes from.

    That is the run which measured its data, if another than the chapter's; else the record of the chapter's run or,
    where outputs are as committed, the state of the tree.
    """
    record, run = notebook.metadata.get("dmftlib"), "a run of the chapter"
    defaults = {name: parameter.default for name, parameter in read_notebook(notebook).items()}
    if source := figure.carried.get("source"):
        record, defaults, run = source, {}, f"{source['command']}, whose result is in the repository"
    parameters = defaults | dict(record["parameters"] if record else {})
    state, run = (record, run) if record else (tree, STORED)
    return {
        "id": figure.id,
        "chapter": chapter,
        "caption": figure.caption,
        "parameters": parameters,
        "not as in the book": {} if source else changed(notebook, parameters),
        "seed": parameters.get("seed", "none"),
        "made by": run,
        "version": state["version"],
        "commit": state["commit"],
        "modified": state["dirty"],
        "date": record["date"] if record else last_change(chapter),
        "machine": record["machine"] if record else "not recorded",
        "licence": LICENCE,
    }


def last_change(chapter: str) -> str:
    """The day on which the stored outputs were last committed; unknown outside of a repository."""
    return git(ROOT, "log", "-1", "--format=%cs", "--", f"notebooks/{chapter}.ipynb") or "unknown"


def bibtex(about: dict, address: str = "") -> str:
    """Entries for the figure, for the book in this version and commit, and for the paper."""
    from pybtex.database import BibliographyData, Entry, Person, parse_file

    name = title(about["caption"])
    commit = about["commit"] + " with uncommitted changes" * bool(about["modified"]) if about["commit"] else "unknown"
    note = f"Figure {about['id']}, chapter {about['chapter']}, version {about['version']}, commit {commit}, CC BY 4.0"
    if other := words(about["not as in the book"]):
        name += f" (not as in the book: {other})"
        note += f". Not the figure of the book, but made with {other}"
    year, author = re.findall(r"^\d{4}", about["date"]), {"author": [Person(last=AUTHORS)]}
    common = ({"year": year[0]} if year else {}) | ({"url": address} if address else {})
    where = "" if address else ". No public address yet: cite version and commit"
    whole = f"Version {about['version']}, commit {commit}{where}. Text CC BY 4.0, code BSD-3-Clause"
    entries = {
        about["id"]: Entry("misc", {"title": name, "howpublished": BOOK, "note": note} | common, author),
        "dmftlib": Entry("misc", {"title": BOOK, "note": whole} | common, author),
        PAPER: parse_file(ROOT / "book" / "references.bib").entries[PAPER],
    }
    text = BibliographyData(entries).to_string("bibtex")
    return re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(r"\_", "_"), text)  # escaped in formulas, too


def files(figure: Shown, about: dict, address: str = "") -> dict[str, bytes]:
    """The content of every file of a figure, by what its name ends with."""
    texts = {"bib": bibtex(about, address), "json": json.dumps(about, indent=1, ensure_ascii=False) + "\n"}
    html = figure.output.data.get("text/html", "")
    if grid := re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL):
        texts["grid.json"] = grid[1]  # every value that the sliders reach
    header = "".join(f"# {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in about.items())
    texts["csv"] = header + figure.carried["csv"]
    drawn = pictures(figure.carried["csv"], figure.carried.get("note", ""))
    return drawn | {kind: text.encode() for kind, text in texts.items()}


def line(id: str, kinds: Iterable[str]) -> str:
    """The line beneath a figure."""
    links = " · ".join(
        f'<a href="../{FOLDER}/{id}.{kind}" download aria-label="{name} of {id}">{name}</a>'
        for kind, name in LINKS.items()
        if kind in kinds
    )
    return f'<p class="figure-files" style="font-size: 0.8em">{links} · {id} · CC BY 4.0</p>'


def add(chapter: str, notebook, book: Path, tree: dict, address: str = "") -> list[dict]:
    """Write the files of all figures of a chapter below the folder `book`, and links to them beneath each figure.

    Returns what is known about each. `tree` is `chapters.state()`, for outputs that have no record of their own.
    """
    known, folder = [], book / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for figure in list(shown(notebook)):
        about = provenance(chapter, figure, notebook, tree)
        made = files(figure, about, address)
        for kind, content in made.items():
            (folder / f"{figure.id}.{kind}").write_bytes(content)
        known.append(about | {"named": bool(figure.named)})
        beneath = nbformat.v4.new_markdown_cell(line(figure.id, made), id=f"{figure.cell.id}-files"[:64])
        notebook.cells.insert(notebook.cells.index(figure.cell) + 1, beneath)
    return known


def title(caption: str) -> str:
    """The first sentence of a caption, without references."""
    return " ".join(re.sub(r"\{[\w:]+\}`[^`]*`", "", caption).split(". ")[0].strip(". ").split())
