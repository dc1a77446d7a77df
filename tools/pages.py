"""Stages the book and builds its HTML: pages filled with what was measured, executed chapters with a closing block, scripts."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import yaml

from . import (
    ROOT,
    ToolError,
    api,
    chapters,
    claims_pages,
    contents,
    costs,
    digest,
    figures,
    markdown,
    pdf,
    run_records,
    speed_page,
    stated_errors,
    typography,
)
from .atomic import put, scratch
from .markdown import TEMPLATES
from .parameters import read_notebook

# What pages load, from locked packages that carry it: the place under _static, the package, the file in it.
ASSETS = {
    "mathjax/tex-svg.js": ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg.js"),
    "plotly/plotly.min.js": ("plotly", "plotly/package_data/plotly.min.js"),
}


def settings(name: str = "book/settings.toml") -> dict:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def trials() -> dict[str, list[str]]:
    """What to change when one reruns each chapter, and what to look for."""
    return settings("notebooks/rerun.toml")


def closing_block(chapter: str, notebook, links: dict[str, str]) -> str:
    """How to cite and rerun a chapter, with what is known about the run that is shown."""
    parameters, record = read_notebook(notebook), notebook.metadata.get("dmftlib", {})
    values, shown = record.get("parameters", {}), "Shown with the outputs that are stored in the repository."
    if record:
        at = f", commit {markdown.commit(record)}" if record["commit"] else ""
        shown = f"Run in {record['seconds']:.0f} s by dmftlib {record['version']}{at}."
        if record.get("remembered"):
            shown += f" {record['remembered']} results of its engines were there already, from earlier runs."
    rows = [
        (f"`{p.name}`", f"`{values.get(p.name, p.default)!r}`", p.help, p.allowed and f"`{p.allowed}`")
        for p in parameters.values()
    ]
    return TEMPLATES.get_template("closing.md").render(
        chapter=chapter,
        links=links,
        shown=shown,
        costs=costs.sentences(chapter, measured=True),
        trial=trials().get(chapter),
        parameters=markdown.table(("parameter", "here", "meaning", "allowed"), rows),
    )


def banner(notebook) -> str:
    """What a page says at its top if it was run with other parameters; '' else."""
    record = notebook.metadata.get("dmftlib")
    other = figures.changed(notebook, record["parameters"]) if record else {}
    if not other:
        return ""
    default = read_notebook(notebook)
    values = ", ".join(f"`{name}` = {value} (in the book {default[name].default})" for name, value in other.items())
    kept = ", ".join(f"`{figure.id}`" for figure in figures.shown(notebook) if "source" in figure.carried)
    return TEMPLATES.get_template("banner.md").render(values=values, kept=kept)


def configuration(links: dict[str, str]) -> dict:
    """_config.yml; while the repository has no address, there is nothing to launch or to link."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if links["repository_url"]:
        config["sphinx"]["config"]["html_theme_options"] |= {
            "repository_url": links["repository_url"],
            "repository_branch": "main",
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": dict(binderhub_url="https://mybinder.org", colab_url="https://colab.research.google.com"),
        }
    return config


def stage(tree: Path, executed: dict[str, Path], with_pdf: bool = False) -> None:
    """Lay out in `tree` all that Jupyter Book reads; a chapter that is not in `executed` keeps its committed outputs."""
    links = settings()
    shutil.copytree(ROOT / "book", tree / "book")
    for name, (package, file) in ASSETS.items():
        asset = tree / "book" / "_static" / name
        asset.parent.mkdir(parents=True)
        shutil.copyfile(distribution(package).locate_file(file), asset)
    shutil.copyfile(ROOT / "_toc.yml", tree / "_toc.yml")
    (tree / "notebooks").mkdir()
    shutil.copyfile(run_records.presets(), tree / "notebooks" / "presets.toml")
    (tree / "_config.yml").write_text(yaml.safe_dump(configuration(links)), encoding="utf-8")
    known, state = [], chapters.state()
    order = contents.in_order(chapters.names())
    notebooks = {chapter: chapters.read(executed.get(chapter, chapters.committed(chapter))) for chapter in order}
    figures.draw_missing(notebooks.values())
    for chapter, notebook in notebooks.items():
        known += figures.add(chapter, notebook, tree / "book", state, links["repository_url"])
        for sentence in costs.sentences(chapter):
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(sentence, id="cost"))
        if said := banner(notebook):
            first = notebook.cells[0]
            first.source = re.sub("^# .+", lambda title: f"{title[0]}\n\n{said}", first.source, count=1, flags=re.M)
        closing = nbformat.v4.new_markdown_cell(closing_block(chapter, notebook, links), id="cite-and-rerun")
        notebook.cells.append(closing)
        chapters.write(notebook, tree / "notebooks" / f"{chapter}.ipynb")
    fill(tree / "book", notebooks, {about["id"]: about for about in known})
    (tree / "book" / "pdf.txt").write_text(pdf.link() if with_pdf else "", encoding="utf-8")


def fill(book: Path, notebooks: dict, known: dict[str, dict]) -> None:
    """Put into staged pages what the code, the measurements and the chapters say."""
    from companion.claims import COLUMNS  # slow to import

    from . import diagrams, exercises

    values = dict(
        book=claims_pages.Book(notebooks, known),
        claims=claims_pages,
        columns=COLUMNS,
        exercise=exercises.field,
        paper=contents.paper(),
        speed=speed_page,
        stated_errors=stated_errors,
    )
    for page in book.glob("*.md"):
        page.write_text(TEMPLATES.from_string(page.read_text(encoding="utf-8")).render(values), encoding="utf-8")
    api.fill(book / "api.md")
    diagrams.fill(book)


def build(html: Path, executed: dict[str, Path], strict: bool = True, with_pdf: bool = False) -> None:
    """The book in `html`, complete or not at all; any warning stops a strict build. `with_pdf` adds it as one file.

    Nothing is built where `html` was made of the same pages.
    """
    with scratch(html) as own:
        tree = own / "stage"
        stage(tree, executed, with_pdf)
        own_code = digest(ROOT, ["tools/typography.py", "requirements.lock"])
        key, made = digest(tree, ["**/*"], own_code), html / ".made"
        if made.exists() and made.read_text() == key:
            chapters.say("the pages are as they were")
            return
        chapters.say("building the HTML")
        command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(tree), "--all"]
        command += ["-W", "-n", "--keep-going"] if strict else []
        # Whatever the locale.
        utf8 = {"encoding": "utf-8", "errors": "replace", "env": os.environ | {"PYTHONUTF8": "1"}}
        done = subprocess.run(command, capture_output=True, **utf8)
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
            raise ToolError(
                "\n".join(["the book does not build:", *(told or [done.stdout[-3000:], done.stderr[-3000:]])])
            )
        built = tree / "_build" / "html"
        typography.mend(built)
        if with_pdf:
            pdf.write(built, built / "_static" / pdf.NAME)
        (built / ".made").write_text(key)
        put(built, html)
