"""Tests outside the unit part, which `make unit` runs in 3 minutes: whole files, and single tests of others."""

SLOW = {
    # They start other programs: a browser, the build of the book, kernels, make.
    "test_book.py",
    "test_browser.py",
    "test_commands.py",
    "test_lost.py",
    "test_mutants.py",
    "test_runner.py",
}
