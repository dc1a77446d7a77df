"""Folders for work in progress: whatever is killed, and however many runs there are, only finished things reach their place."""

import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import psutil


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """An own folder beside `place`, removed at the end. Those that killed processes of this machine left go first."""
    place.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{place.name}.scratch-{platform.node()}-"
    for old in place.parent.glob(f"{escape(prefix)}*"):
        if not psutil.pid_exists(int(old.name.removeprefix(prefix).partition("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    own = dict(prefix=f"{prefix}{os.getpid()}-", dir=place.parent, ignore_cleanup_errors=True)
    with tempfile.TemporaryDirectory(**own) as folder:
        yield Path(folder)


def put(made: Path, place: Path) -> None:
    """Move a file or folder to its place on the same disk; a folder that is there goes first."""
    while made.is_dir():  # until no other run puts its own there in between
        with suppress(FileNotFoundError):
            os.rename(place, Path(tempfile.mkdtemp(dir=made.parent)) / place.name)
        try:
            os.rename(made, place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    os.replace(made, place)


def write_bytes(data: bytes, path: Path) -> None:
    """Whole or not at all, whenever the run is killed or the disk is full."""
    with scratch(path) as own:
        part = own / path.name
        part.write_bytes(data)
        put(part, path)


def borrow(cache: Path, own: Path) -> None:
    """A private copy of a cache, by links. JAX writes entries in place, and keeps a torn one, with a warning, for ever."""
    own.mkdir()
    for entry in cache.glob("*-cache"):
        try:
            os.link(entry, own / entry.name)
        except OSError:  # a disk without links
            shutil.copyfile(entry, own / entry.name)


def give_back(own: Path, cache: Path) -> None:
    """Add what a finished run compiled to the shared cache."""
    cache.mkdir(parents=True, exist_ok=True)
    for entry in own.glob("*-cache"):
        if not (cache / entry.name).exists():
            os.replace(entry, cache / entry.name)
