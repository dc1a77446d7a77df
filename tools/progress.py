"""What is running now: one line that is rewritten on a terminal, a plain line now and then elsewhere."""

import os
import re
import shutil
import sys
import threading
import time


class Screen:
    """Whole lines said by several threads, and under them what each running chapter is doing."""

    def __init__(self, every: float = 20.0):
        self.every = every  # seconds between two plain lines about one chapter
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._told: dict[str, float] = {}

    def say(self, line: str) -> None:
        """A line that stays."""
        with self._lock:
            self._write(f"  {line}\n")

    def show(self, name: str, state: str) -> None:
        """What `name` does now; the next state replaces it."""
        with self._lock:
            now = time.monotonic()
            if sys.stdout.isatty():
                self._running[name] = f"{name}: {state}"
                self._write()
            elif now - self._told.setdefault(name, now) >= self.every:
                self._told[name] = now
                self._write(f"  {name}: {state}\n")

    def done(self, name: str) -> None:
        """Nothing more about `name`."""
        with self._lock:
            if self._running.pop(name, None):
                self._write()

    def _write(self, line: str = "") -> None:
        if sys.stdout.isatty():  # erase the line of what is running, and write it anew below
            status = f"  {' · '.join(self._running.values())}" if self._running else ""
            line = f"\r\x1b[K{line}{status[: shutil.get_terminal_size().columns - 1]}"
        print(line, end="", flush=True)


screen = Screen()  # there is one terminal
say = screen.say


def cells(descriptor: int) -> str:
    """'cell 3 of 20', from the end of the file into which papermill writes its progress; '' before the first cell."""
    # pread: the file's position is papermill's.
    end = os.pread(descriptor, 2048, max(0, os.fstat(descriptor).st_size - 2048)).decode(errors="replace")
    *_, (finished, total) = [(0, 0), *re.findall(r"(\d+)/(\d+) \[", end)]
    return f"cell {min(int(finished) + 1, int(total))} of {total}" if total else ""


def without_bars(errors: str) -> str:
    """What papermill said besides its progress."""
    return "\n".join(line for line in errors.splitlines() if not line.startswith("Executing: "))
