"""`dmft audit` with programs that stand in for pip-audit: it is content only if every package was looked up."""

import json
import re
import sys

import pytest
from conftest import dmft

from tools import ToolError, audit

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "jax", "skip_reason": "Dependency not found on PyPI and could not be audited: jax (0.10.2)"}
FLAWED = {"name": "a", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
OPEN = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}


@pytest.fixture
def program(tmp_path):
    """Writes a program that answers as pip-audit would, and checks that it was asked for every hash."""

    def write(packages=None, told="", status=0):
        answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
        path, script = tmp_path / "pip-audit", tmp_path / "answer.py"
        script.write_text(
            "import sys\nassert '--require-hashes' in sys.argv and '--disable-pip' in sys.argv\n"
            f"print({answer!r})\nprint({told!r}, file=sys.stderr)\nsys.exit({status})\n"
        )
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')  # a first line has no room for spaces
        path.chmod(0o755)
        return path

    return write


def test_packages_that_were_all_looked_up_are_fine(program):
    told = audit.audit(program([SOUND, SOUND | {"name": "scipy"}], "No known vulnerabilities found"))
    assert told == "None of the 2 packages locked for this Python has a known vulnerability."


@pytest.mark.parametrize(
    "packages, told, status, message",
    [
        (
            None,
            "Traceback\nConnectionError: no route",
            1,
            "nothing was audited. pip-audit says: ConnectionError: no route",
        ),
        (
            [SKIPPED, SKIPPED],
            "No known vulnerabilities found",
            0,
            "knows none of the 2 locked packages, so nothing was",
        ),
        ([SOUND, SKIPPED], "No known vulnerabilities found", 0, "1 of 2 locked packages were not audited: jax."),
        ([SOUND, FLAWED], "Found 1 known vulnerability", 1, "known vulnerabilities:\n  a 1.0: PYSEC-1, mended in 1.1"),
        ([OPEN, SKIPPED], "Found 1 known vulnerability", 1, "  b 2.0: PYSEC-2, mended in no version yet"),
    ],
)
def test_what_was_not_looked_up_or_is_not_sound_is_an_error(program, packages, told, status, message):
    with pytest.raises(ToolError, match=re.escape(message)):
        audit.audit(program(packages, told, status))


def test_where_pip_audit_cannot_be_had_the_command_says_so(tree, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # without a network, or with an index that lacks it
    done = dmft("audit")
    assert done.exit_code == 1 and "pip-audit could not be installed; try it with a network." in done.stderr
