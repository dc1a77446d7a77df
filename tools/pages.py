"""Stages the book and builds its HTML: prose, executed chapters with a closing block, settings, scripts that pages load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import yaml

from . import (
    ROOT,
    ToolError,
    api,
    chapters,
    costs,
    exercises,
    figures,
    lists,
    pdf,
    records,
    reproduction,
    scale,
    stated,
    typography,
)
from .parameters import read_notebook, read_presets
from .scratch import put, scratch

SETTINGS = ROOT / "book" / "settings.toml"
# What pages load, from locked packages that carry it: the place under _static, the package, the file in it.
ASSETS = {
    "mathjax/tex-svg.js": ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg.js"),
    "plotly/plotly.min.js": ("plotly", "plotly/package_data/plotly.min.js"),
}


def settings(path: Path = SETTINGS) -> dict[str, str]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; a bar inside a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def commit(record: Mapping) -> str:
    """`abc1234`, with whether there were changes besides; nothing outside of a repository."""
    dirty = " with uncommitted changes" if record["dirty"] else ""
    return record["commit"] and f"`{record['commit']}`{dirty}"


def closing_block(chapter: str, notebook, links: Mapping[str, str]) -> str:
    """How to cite and rerun a chapter, with what is known about the run that is shown."""
    parameters, record = read_notebook(notebook), notebook.metadata.get("dmftlib")
    values = record["parameters"] if record else {}
    rows = [
        (f"`{p.name}`", f"`{values.get(p.name, p.default)!r}`", p.help, p.allowed and f"`{p.allowed}`")
        for p in parameters.values()
    ]
    if record:
        at = f", commit {commit(record)}" if record["commit"] else ""
        shown = f"Run in {record['seconds']:.0f} s by dmftlib {record['version']}{at}."
        if record.get("remembered"):
            shown += f" {record['remembered']} results of its engines were there already, from earlier runs."
    else:
        shown = "Shown with the outputs that are stored in the repository."
    shown = " ".join([shown, *costs.sentences(chapter), *costs.versions(chapter)])
    name, value = next((p.name, str(p.default).replace(" ", "")) for p in parameters.values())
    blocks = ["### What is shown here", shown, table(("parameter", "here", "meaning", "allowed"), rows)]
    if not any("## Cite and rerun" in cell.source for cell in notebook.cells):  # a chapter may say more itself
        blocks = [
            "## Cite and rerun",
            "Please cite the paper, {cite:t}`bordelon2023influence`, and this book: `CITATION.cff` has both entries. "
            "To run the chapter with other values of its parameters:",
            f'```bash\nmake run CHAPTER={chapter} PARAMS="{name}={value}"\n```',
            *blocks,
        ]
    if links["doi"]:
        blocks.append(f"Archived version: [doi:{links['doi']}](https://doi.org/{links['doi']}).")
    if links["repository_url"]:
        source = f"{links['repository_url']}/blob/main/notebooks/{chapter}.ipynb"
        blocks.append(f"Source: [notebooks/{chapter}.ipynb]({source}).")
    return "\n\n".join(blocks)


def banner(notebook) -> str:
    """What a page says at its top if it was run with other parameters; '' else."""
    record = notebook.metadata.get("dmftlib")
    other = figures.changed(notebook, record["parameters"]) if record else {}
    if not other:
        return ""
    default = read_notebook(notebook)
    values = ", ".join(f"`{name}` = {value} (in the book {default[name].default})" for name, value in other.items())
    kept = ", ".join(f"`{figure.id}`" for figure in figures.shown(notebook) if "source" in figure.carried)
    but = f" (but for {kept}, of data that was measured before)" if kept else ""
    return (
        f":::{{admonition}} Not as in the book\n:class: warning\nThis page was run with {values}. Its outputs and figures{but}, "
        "and its table of claims, are of this run; its text was written for the values of the book.\n:::"
    )


def scale_block(preset: str) -> str:
    """What was recorded of the chapters' runs with a preset: how they ran, and which claims do not hold."""
    runs, verdicts, failing = [], [], []
    for chapter in read_presets(records.presets(), preset):
        link, record = f"[{chapter}](../notebooks/{chapter}.ipynb)", records.kept(chapter, preset)
        command = f"`make run CHAPTER={chapter} PRESET={preset}`"
        if record is None:
            runs.append((command, "not run yet", *[""] * 5))
            continue
        width, most = records.networks(record) or ("—", "—")
        machine = "{processors} CPUs, {architecture}, {system}".format(**record["machine"])
        memory = f"{record['peak_memory_MB'] / 1000:.1f} GB"
        runs.append((command, width, most, f"{record['seconds']:.0f} s", memory, machine, commit(record)))
        counts = Counter(row["verdict"] for row in record["claims"])
        occurs = Counter(row.get("occurs", "—") for row in record["claims"])  # "—": recorded before they had a column
        about = len(record["claims"]) - occurs["—"]
        verdicts.append(
            (link, *(counts[verdict] for verdict in ("holds", "in part", "no")), f"{occurs['yes']} of {about}")
        )
        failing += [
            (link, *(row.get(name, "—") for name in ("claim", "quantity", "theory", "networks", "occurs", "verdict")))
            for row in record["claims"]
            if row["verdict"] not in ("holds", "—") or row.get("occurs", "—") not in ("yes", "—")
        ]
    blocks = [table(("command", "N", "networks", "time", "memory", "machine", "commit"), runs)]
    if verdicts:
        blocks += [
            "How many claims hold, and how many phenomena occur:",
            table(("chapter", "holds", "in part", "no", "phenomena that occur"), verdicts),
        ]
    if failing:
        head = ("chapter", "claim", "quantity", "theory", "network mean ± SE (N, seeds)", "occurs", "theory = networks")
        blocks += ["The claims that do not hold, or only in part:", table(head, failing)]
    elif verdicts:
        blocks.append("Every claim that was recorded holds.")
    return "\n\n".join(blocks) + "\n"


def configuration(links: Mapping[str, str]) -> dict:
    """_config.yml; while the repository has no address, there is nothing to launch or to link."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if links["repository_url"]:
        config["sphinx"]["config"]["html_theme_options"] |= {
            "repository_url": links["repository_url"],
            "repository_branch": "main",
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        }
    return config


def stage(tree: Path, executed: Mapping[str, Path], links: Mapping[str, str], with_pdf: bool = False) -> None:
    """Lay out in `tree` all that Jupyter Book reads; a chapter that is not in `executed` keeps its committed outputs."""
    shutil.copytree(ROOT / "book", tree / "book")
    for name, (package, file) in ASSETS.items():
        asset = tree / "book" / "_static" / name
        asset.parent.mkdir(parents=True)
        shutil.copyfile(distribution(package).locate_file(file), asset)
    shutil.copyfile(ROOT / "_toc.yml", tree / "_toc.yml")
    (tree / "book" / "paper_scale.txt").write_text(scale_block("paper"), encoding="utf-8")
    (tree / "notebooks").mkdir()
    shutil.copyfile(records.presets(), tree / "notebooks" / "presets.toml")
    (tree / "_config.yml").write_text(yaml.safe_dump(configuration(links)), encoding="utf-8")
    known, state = [], chapters.state()
    for chapter in chapters.names():
        notebook = chapters.read(executed.get(chapter, chapters.committed(chapter)))
        known += figures.add(chapter, notebook, tree / "book", state, links["repository_url"])
        costs.add_to(notebook, chapter)
        if said := banner(notebook):
            first = notebook.cells[0]
            first.source = re.sub(
                "^# .+", lambda title: f"{title[0]}\n\n{said}", first.source, count=1, flags=re.MULTILINE
            )
        notebook.cells.append(
            nbformat.v4.new_markdown_cell(closing_block(chapter, notebook, links), id="cite-and-rerun")
        )
        chapters.write(notebook, tree / "notebooks" / f"{chapter}.ipynb")
    order = [path.stem for path in lists.ordered(tree)]
    known.sort(key=lambda about: order.index(about["chapter"]) if about["chapter"] in order else len(order))
    there = figures.homes(known)
    (tree / "book" / "figures.txt").write_text(figures.index(known), encoding="utf-8")
    (tree / "book" / "claims.txt").write_text(lists.claims(tree, there), encoding="utf-8")
    (tree / "book" / "reproduction.txt").write_text(reproduction.block(table, there), encoding="utf-8")
    for name, text in scale.blocks(table).items():
        (tree / "book" / f"scale-{name}.txt").write_text(text, encoding="utf-8")
    (tree / "book" / "stated-errors.txt").write_text(stated.block(table), encoding="utf-8")
    (tree / "book" / "pdf.txt").write_text(pdf.link() if with_pdf else "", encoding="utf-8")
    api.fill(tree / "book" / "api.md")
    exercises.fill(tree / "book")


def build(
    html: Path,
    executed: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
    strict: bool = True,
    with_pdf: bool = False,
) -> None:
    """The book in `html`, complete or not at all; any warning stops a strict build. `with_pdf` adds it as one file."""
    with scratch(html) as (own, lock):
        tree = own / "stage"
        stage(tree, executed, settings() if links is None else links, with_pdf)
        chapters.say("building the HTML")
        _build(tree, strict, lock)
        built = tree / "_build" / "html"
        typography.mend(built)
        if with_pdf:
            pdf.write(built, built / "_static" / pdf.NAME)
        put(built, html)


def _build(tree: Path, strict: bool, lock: int) -> None:
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(tree), "--all"]
    options = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "pass_fds": [lock]}
    options["env"] = os.environ | {"PYTHONUTF8": "1"}  # whatever the locale
    done = subprocess.run([*command, *(["-W", "-n", "--keep-going"] if strict else [])], **options)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise ToolError("the book does not build:\n" + "\n".join(told or [done.stdout[-3000:], done.stderr[-3000:]]))
