"""Stages the book and builds its HTML: prose, executed chapters with a closing block, settings, offline MathJax."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import yaml

from . import ROOT, ToolError, chapters
from .parameters import read_notebook

SETTINGS = ROOT / "book" / "settings.toml"


def settings(path: Path = SETTINGS) -> dict[str, str]:
    return tomllib.loads(path.read_text())


def closing_block(chapter: str, notebook, links: Mapping[str, str]) -> str:
    """How to cite and rerun a chapter, with what is known about the run that is shown."""
    parameters, record = read_notebook(notebook), notebook.metadata.get("dmftlib")
    values = record["parameters"] if record else {}
    table = ["| parameter | here | meaning | allowed |", "|---|---|---|---|"]
    for p in parameters.values():
        table.append(
            f"| `{p.name}` | `{values.get(p.name, p.default)!r}` | {p.help} | {p.allowed and f'`{p.allowed}`'} |"
        )
    if record:
        commit = f", commit `{record['commit']}`" if record["commit"] else ""
        dirty = " with uncommitted changes" if record["commit"] and record["dirty"] else ""
        shown = f"Run in {record['seconds']:.0f} s by dmftlib {record['version']}{commit}{dirty}."
    else:
        shown = "Shown with the outputs that are stored in the repository."
    name, value = next((p.name, str(p.default).replace(" ", "")) for p in parameters.values())
    blocks = ["### What is shown here", shown, "\n".join(table)]
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


def configuration(links: Mapping[str, str]) -> dict:
    """_config.yml; while the repository has no address, there is nothing to launch or to link."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
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


def stage(tree: Path, executed: Mapping[str, Path], links: Mapping[str, str]) -> None:
    """Lay out in `tree` all that Jupyter Book reads; a chapter that is not in `executed` keeps its committed outputs."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "book", tree / "book")
    mathjax = distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js")
    (tree / "book" / "_static" / "mathjax").mkdir(parents=True)
    shutil.copyfile(mathjax, tree / "book" / "_static" / "mathjax" / "tex-svg.js")
    shutil.copyfile(ROOT / "_toc.yml", tree / "_toc.yml")
    (tree / "_config.yml").write_text(yaml.safe_dump(configuration(links)))
    for chapter in chapters.names():
        notebook = chapters.read(executed.get(chapter, chapters.committed(chapter)))
        notebook.cells.append(
            nbformat.v4.new_markdown_cell(closing_block(chapter, notebook, links), id="cite-and-rerun")
        )
        chapters.write(notebook, tree / "notebooks" / f"{chapter}.ipynb")


def build(
    html: Path, executed: Mapping[str, Path], links: Mapping[str, str] | None = None, strict: bool = True
) -> None:
    """The book in `html`, complete or not at all; any warning stops a strict build."""
    tree = html.with_name(html.name + "-stage")
    stage(tree, executed, settings() if links is None else links)
    chapters.say("building the HTML")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(tree), "--all"]
    done = subprocess.run([*command, *(["-W", "-n", "--keep-going"] if strict else [])], capture_output=True, text=True)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line]
        raise ToolError("the book does not build:\n" + "\n".join(told or [done.stdout[-3000:], done.stderr[-3000:]]))
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(tree / "_build" / "html", html)
    shutil.rmtree(tree)
