"""THIRD_PARTY.md against a built book, the lock and the files themselves."""

import hashlib
import re
from fnmatch import fnmatch
from importlib.metadata import metadata

from tools import ROOT, pages

TEXT = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")]
PACKAGES = [row for row in ROWS if len(row) == 5 and row[0] != "package"]
LICENCES = {"MIT": "MIT", "BSD-3-Clause": "BSD", "BSD-2-Clause": "BSD", "Apache-2.0": "Apache"}


def patterns():
    return [name for *_, files in PACKAGES for name in re.findall(r"`([^`]+)`", files)]


def unlisted(names):
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns())]


def test_every_script_style_and_font_of_a_built_book_is_listed_and_nothing_else(html):
    static = html / "_static"
    kinds = (".js", ".css", ".ttf", ".woff", ".woff2", ".otf", ".eot")
    found = [path for path in html.rglob("*") if path.suffix in kinds]
    names = [
        path.relative_to(static).as_posix() if static in path.parents else f"../{path.relative_to(html).as_posix()}"
        for path in found
        if not (ROOT / "book" / "_static" / path.name).exists()  # the book's own
    ]
    assert len(names) > 20 and unlisted(names) == []
    assert [pattern for pattern in patterns() if not any(fnmatch(name, pattern) for name in names)] == []


def test_a_script_that_is_not_listed_is_found():
    assert unlisted(["clipboard.min.js", "scripts/jquery.js"]) == ["scripts/jquery.js"]


def test_versions_are_those_of_the_lock():
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {package: version for package, version, *_ in PACKAGES} == {row[0]: locked[row[0]] for row in PACKAGES}


def test_licences_are_those_that_the_packages_state():
    for package, _, carried, licence, _ in PACKAGES:
        if not carried.startswith(("its own", "colours")):
            continue  # what it carries of others has a licence of its own
        about = metadata(package)
        stated = [about.get("License-Expression") or "", about.get("License") or "", *about.get_all("Classifier", [])]
        assert any(LICENCES[licence] in line for line in stated), package


def test_the_files_that_we_copy_have_the_hashes_stated(html):
    stated = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", TEXT, re.MULTILINE))
    assert set(stated) == set(pages.ASSETS)
    for name, expected in stated.items():
        assert hashlib.sha256((html / "_static" / name).read_bytes()).hexdigest() == expected


def test_versions_inside_packages_are_those_of_the_files(html):
    for name, carried in (
        ("plotly/plotly.min.js", r"plotly\.js v(\S+)"),
        ("mathjax/tex-svg.js", r'VERSION="(3\.[\d.]+)"'),
        ("clipboard.min.js", r"clipboard\.js v(\S+)"),
        ("scripts/bootstrap.js.LICENSE.txt", r"Bootstrap v(\S+)"),
        ("scripts/fontawesome.js.LICENSE.txt", r"Font Awesome Free (\S+)"),
    ):
        version = re.search(carried, (html / "_static" / name).read_text(encoding="utf-8"))[1]
        assert re.search(rf" {re.escape(version)}\b", TEXT), (name, version)
