"""Runs the chapters and builds the book. No physics here, and dmftlib imports none of it."""

import os
import subprocess
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent


class ToolError(click.ClickException):
    """Something that the reader can put right; shown as one message, without a traceback."""


def git(root: Path, *words: str) -> str:
    """What git prints, or '' without git, without a repository, or where `root` lies inside another repository."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace").stdout.strip()

    try:
        top = ask("rev-parse", "--show-toplevel")
        return ask(*words) if top and os.path.samefile(top, root) else ""
    except OSError:  # no git on the PATH
        return ""
