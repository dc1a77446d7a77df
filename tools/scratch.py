"""Folders for work in progress: whatever is killed, and however many runs there are, only finished things reach their place."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Hold the lock on a folder, as its open descriptor; it ends with the last process that has it, however that ends."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def left_behind(path: Path) -> bool:
    """Whether no living process holds the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def scratch(place: Path) -> Iterator[tuple[Path, int]]:
    """An own folder beside `place`, removed at the end, and its lock, for child processes that work in it.

    Folders for the same place that killed processes left are removed first.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{place.name}.scratch-"
    with held(place.parent):  # so that nobody takes a folder for left behind before its lock is held
        for old in place.parent.glob(f"{prefix}*"):
            with suppress(FileNotFoundError):
                if left_behind(old):
                    shutil.rmtree(old, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))
        own.chmod(0o755)
        lock = held(own)
        descriptor = lock.__enter__()
    try:
        yield own, descriptor
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.__exit__(None, None, None)


def put(made: Path, place: Path) -> None:
    """Move a file or folder to its place on the same disk; a folder that is there goes first."""
    if not made.is_dir():
        os.replace(made, place)
        return
    with held(place.parent):
        if place.exists():
            os.rename(place, made.with_name(made.name + "-before"))
        os.rename(made, place)


def write_bytes(data: bytes, path: Path) -> None:
    """Whole or not at all, whenever the run is killed or the disk is full."""
    with scratch(path) as (own, _):
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
