"""The commands of the project: dmft, in .venv/bin, or python -m tools."""

import errno
import subprocess
import sys
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from . import ROOT, ToolError, chapters, comparison, costs, full_results, links, pages, pdf, run_records, sweep
from .parameters import listing, read_notebook, read_preset, read_presets, read_settings


class Commands(click.Group):
    """Says in one sentence what the reader's disk or keyboard stopped."""

    def list_commands(self, context):
        return list(self.commands)

    def invoke(self, context):
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("Interrupted. Chapters that were finished will not be run again.", err=True)
            context.exit(130)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the output went to `head` or a pager, which has seen enough: click knows
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise ToolError(
                f"cannot read or write a file: {error.strerror}{where}. Make room or allow it, and run it again: "
                "chapters that were finished will not be run again."
            ) from None


def known(chapter: str) -> str:
    chapters.committed(chapter)  # which raises for another name
    return chapter


class Runner(click.Command):
    """Its --help, after a chapter, lists what can be set in it."""

    def parse_args(self, context, args):
        context.meta["typed"] = list(args)
        return super().parse_args(context, args)

    def format_epilog(self, context, formatter):
        if chapter := next((word for word in context.meta["typed"] if word in chapters.names()), None):
            lines = [f"The parameters of {chapter}:", *listing(parameters(chapter))]
            presets = read_presets(run_records.presets()).items()
            lines += [f"or --preset {preset}, which sets many" for preset, about in presets if chapter in about]
            lines += costs.sentences(chapter)
        else:
            titles = {name: chapters.read(chapters.committed(name)).cells[0].source for name in chapters.names()}
            lines = ["The chapters; with the name of one, --help lists its parameters:"]
            lines += [f"  {name:<14} {title.splitlines()[0].lstrip('# ')}" for name, title in titles.items()]
        formatter.write("\n" + "\n".join(lines) + "\n")


def parameters(chapter: str):
    return read_notebook(chapters.read(chapters.committed(chapter)))


def words(command):
    """What a command needs to say which chapter, and with what."""
    settings = click.argument("settings", nargs=-1, metavar="name=value ...")
    preset = click.option("--preset", default="", help="Many values at once, those of notebooks/presets.toml.")
    return click.argument("chapter", type=known)(settings(preset(command)))


@click.group(cls=Commands)
def dmft():
    """Run the chapters, build the book, and look after both."""
    if not (chapters.ROOT / "notebooks").is_dir():
        raise ToolError("dmft works in a clone of the repository, in which `make book` made .venv.")


@dmft.command()
def book():
    """Run the chapters that changed and build the book."""
    pages.build(ROOT / "_build" / "html", chapters.run_all(costs.table()))
    print(f"The book is in {ROOT / '_build' / 'html' / 'index.html'}")


@dmft.command("pdf")
def whole_book():
    """Build the book, and one PDF of all of it, which its first page links."""
    pdf.check()
    html = ROOT / "_build" / "html"
    pages.build(html, chapters.run_all(costs.table()), with_pdf=True)
    print(f"The book is in {html / 'index.html'}\nAs one file:   {html / '_static' / pdf.NAME}")


@dmft.command(cls=Runner)
@words
def run(chapter, settings, preset):
    """Run a chapter with your parameters: dmft run gd gamma0=0.5 P=8."""
    committed = chapters.read(chapters.committed(chapter))
    allowed = read_notebook(committed)
    given = read_settings(" ".join(settings), allowed, chapter)
    values = read_preset(run_records.presets(), preset, allowed, chapter) | given
    folder = chapters.run_folder(chapter, given, preset)
    notebook = chapters.cached(chapter, values, folder, preset=preset)
    # Other parameters may make a sentence or a reference of the chapter moot, so warnings are not errors here.
    pages.build(folder / "html", {chapter: notebook}, strict=False)
    print(comparison.report(allowed, values, committed, chapters.read(notebook)))
    print(f"Notebook: {notebook}\nPage:     {folder / 'html' / 'notebooks' / f'{chapter}.html'}")


@dmft.command("sweep", cls=Runner)
@words
@click.option("--set", "fixed", multiple=True, metavar="name=value", help="A parameter that is not swept; repeatable.")
@click.option("--plot", default="", help="Words of the claim to draw; else the first with a number from theory.")
@click.option("--jobs", type=click.IntRange(1), default=chapters.AT_ONCE, help="How many runs go on at a time.")
@click.option("--scheduler", default="", metavar="tcp://HOST:PORT", help="A dask scheduler that is running.")
def sweep_(chapter, settings, preset, fixed, plot, jobs, scheduler):
    """Run a grid, and collect its table and plot: dmft sweep gd gamma0=0.5,1,2 seed=0:3 --set P=8."""
    if not settings:
        raise ToolError("nothing is swept; write for example gamma0=0.5,1,2.")
    sweep.sweep(chapter, " ".join(settings), " ".join(fixed), preset, plot, jobs, scheduler)


@dmft.command(context_settings={"ignore_unknown_options": True})
@click.argument("exercise")
@click.argument("answer", type=float)
def check(exercise, answer):
    """Say whether the answer to an exercise without a solution is right."""
    from . import exercises  # slow to import

    print(exercises.question(exercise).judge(answer))


@dmft.command()
@click.argument("chapter", type=known)
def accept(chapter):
    """Run a chapter and commit its new outputs to notebooks/."""
    parameters(chapter)
    path = chapters.committed(chapter)
    new = chapters.strip(chapters.execute(chapter, {}, ROOT / "_build" / "accept"))
    old = comparison.printed(chapters.read(path))
    print("\n".join(comparison.difference("Printed lines", old, comparison.printed(new), 1000)))
    chapters.write(new, path)
    print(f"Replaced {path.relative_to(ROOT)}")


@dmft.command()
@click.argument("chapter", type=click.Choice(full_results.CHAPTERS))
def full(chapter):
    """Measure the full result of a chapter that shows a part of it."""
    full_results.full(chapter)


@dmft.command()
@click.argument("chapter", type=known)
@click.option("--preset", required=True)
def record(chapter, preset):
    """Run a chapter with a preset, unless that was done, and keep its record."""
    values = read_preset(run_records.presets(), preset, parameters(chapter), chapter)
    notebook = chapters.cached(chapter, values, chapters.run_folder(chapter, {}, preset), preset=preset)
    print(f"Recorded in {run_records.keep(chapter, preset, chapters.read(notebook)).relative_to(ROOT)}")


@dmft.command()
@click.argument("chapter", type=known, required=False)
def bench(chapter):
    """Measure the cost of a chapter, or run all of benchmarks/ (hours)."""
    scripts = [ROOT / "benchmarks" / "chapters.py"] if chapter else sorted((ROOT / "benchmarks").glob("*.py"))
    for path in scripts:
        script([sys.executable, path, *([chapter] if chapter else [])])


@dmft.command()
def faults():
    """Seed faults into the library and see whether the quick tests find them (tens of minutes; resumable)."""
    script([sys.executable, ROOT / "tests" / "faults.py"])


def script(words: list) -> None:
    if status := subprocess.run(words).returncode:
        click.get_current_context().exit(status)


@dmft.command("links")
def links_():
    """Put the repository's address of book/settings.toml into every chapter, for Colab, or take it out."""
    links.write_all()


@dmft.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
def serve(port):
    """Serve the built book to a browser on this machine, for browsers that restrict pages opened from a file."""
    html = ROOT / "_build" / "html"
    if not (html / "index.html").exists():
        raise ToolError(f"there is no book in {html} yet; make book builds it.")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=html))
    except OSError:  # another program has it, or only root may take it
        raise ToolError(f"port {port} is not free here; take another with --port.") from None
    with server, suppress(KeyboardInterrupt):
        print(f"The book is at http://127.0.0.1:{server.server_port}/ until you press Ctrl-C.", flush=True)
        server.serve_forever()


@dmft.command()
def lock():
    """Resolve the newest versions into requirements.lock and requirements-test.lock."""
    uv = [tool("uv"), "pip", "compile", "-q", "--upgrade", "--universal", "--generate-hashes"]
    uv += ["--custom-compile-command", "dmft lock", "pyproject.toml"]
    both = "requirements.lock", "requirements-test.lock"
    for options in (["-o", both[0]], ["--extra", "test", "-c", both[0], "-o", both[1]]):
        subprocess.run([*uv, *options], cwd=ROOT, check=True)


@dmft.command()
def audit():
    """Ask whether a locked package has a known vulnerability; fail, too, if one could not be looked up."""
    options = ["--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    script([tool("pip-audit"), *options, "-r", ROOT / "requirements-test.lock"])  # it has all of requirements.lock


def tool(name: str) -> Path:
    """A program in an environment of its own: .venv holds the locked set and nothing else."""
    place = ROOT / "_build" / name
    program = place / "bin" / name
    if not program.exists():
        install = [place / "bin" / "python", "-m", "pip", "install", "-q", name]
        for command in ([sys.executable, "-m", "venv", place], install):
            if subprocess.run(command).returncode:
                raise ToolError(f"{name} could not be installed; try it with a network.")
    return program


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # in a locale that lacks a sign, a question mark
    dmft(prog_name="dmft")


if __name__ == "__main__":
    main()
