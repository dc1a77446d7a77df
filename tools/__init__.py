"""Runs the chapters and builds the book. No physics here, and dmftlib imports none of it."""

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent


class ToolError(click.ClickException):
    """Something that the reader can put right; shown as one message, without a traceback."""


def git(root: Path, *words: str) -> str:
    """What git prints, or '' without git, without a repository, or where `root` lies inside another repository."""

    here = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    options = dict(env=here, capture_output=True, encoding="utf-8", errors="replace")
    try:
        return subprocess.run(["git", "-C", str(root), *words], **options).stdout.strip()
    except OSError:  # no git on the PATH
        return ""


def digest(root: Path, patterns: Iterable[str], *texts: str) -> str:
    """A hash of the files below `root` that match, with their names, and of texts."""
    found = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file()):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
