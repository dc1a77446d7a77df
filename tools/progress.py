"""What is running now: a bar for each chapter on a terminal, a plain line now and then elsewhere."""

import os
import re
import sys
import threading
import time

from tqdm import tqdm

EVERY = 20.0  # seconds between two plain lines about one chapter
tqdm.set_lock(threading.RLock())  # the one of several processes would need a process of its own


def say(line: str) -> None:
    """A line that stays."""
    tqdm.write(f"  {line}")
    sys.stdout.flush()


def cells(descriptor: int) -> tuple[int, int]:
    """How many cells are finished, of how many, from the end of the file into which papermill writes its progress."""
    # pread: the file's position is papermill's.
    end = os.pread(descriptor, 2048, max(0, os.fstat(descriptor).st_size - 2048)).decode(errors="replace")
    *_, (finished, total) = [(0, 0), *re.findall(r"(\d+)/(\d+) \[", end)]
    return int(finished), int(total)


class Watch:
    """Shows how far a chapter is, for each call of `look`."""

    def __init__(self, chapter: str, descriptor: int):
        self.chapter, self.descriptor, self.start = chapter, descriptor, time.monotonic()
        self.told = self.start
        self.bar = tqdm(desc=f"  {chapter}", unit="cell", leave=False, disable=None)

    def look(self) -> None:
        finished, total = cells(self.descriptor)
        now = time.monotonic()
        if not self.bar.disable:
            self.bar.n, self.bar.total = finished, total
            self.bar.refresh()
        elif total and now - self.told >= EVERY:
            self.told = now
            say(f"{self.chapter}: cell {min(finished + 1, total)} of {total}, {now - self.start:.0f} s")
