"""THIRD_PARTY.md against a built book, the lock and the files themselves."""

import hashlib
import re
from fnmatch import fnmatch

import pytest

from tools import ROOT

TEXT = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")]
PACKAGES = [row for row in ROWS if len(row) == 5 and row[0] != "package"]
HASHES = ROOT / "tests" / "assets.sha256"  # of `sha256sum`, in _static of the built book
# What has the book in it, and no hash.
MADE = {"documentation_options.js": "Sphinx writes our settings into it", "../searchindex.js": "the words of our pages"}
RENEW = (
    "The file is not the one that was looked at. See in its package what changed, then write `sha256sum NAME`, run in "
    "_build/tested/html/_static, to tests/assets.sha256"
)


def patterns():
    return [name for *_, files in PACKAGES for name in re.findall(r"`([^`]+)`", files)]


def unlisted(names):
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns())]


@pytest.fixture
def files(html):
    """Scripts, styles and fonts of a built book that are not its own, by their place below _static."""
    static = html / "_static"
    kinds = (".js", ".css", ".ttf", ".woff", ".woff2", ".otf", ".eot")
    return {
        path.relative_to(static).as_posix()
        if static in path.parents
        else f"../{path.relative_to(html).as_posix()}": path
        for path in html.rglob("*")
        if path.suffix in kinds and not (ROOT / "book" / "_static" / path.name).exists()
    }


def test_every_script_style_and_font_of_a_built_book_is_listed_and_the_one_that_was_looked_at(files):
    assert len(files) > 20 and set(MADE) <= set(files) and unlisted(files) == []
    assert [pattern for pattern in patterns() if not any(fnmatch(name, pattern) for name in files)] == []
    known = {name: value for value, name in (line.split() for line in HASHES.read_text().splitlines())}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name not in MADE}
    assert found.items() ^ known.items() == set(), RENEW


def test_versions_are_those_of_the_lock():
    """One version each, whatever the Python: else one hash a file would not do."""
    locked = re.findall(r"^([\w.-]+)==([\w.]+)(.*)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    for package, version, *_ in PACKAGES:
        ((found, marker),) = ((other, marker) for name, other, marker in locked if name == package)
        assert found == version and "python" not in marker, package
