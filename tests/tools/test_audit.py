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


@pytest.mark.parametrize(
    "packages, message",
    [
        (
            [SOUND, SOUND | {"name": "scipy"}],
            "None of the 2 packages locked for this Python has a known vulnerability.",
        ),
        (None, "nothing was audited. pip-audit says: ConnectionError: no route"),
        ([SKIPPED, SKIPPED], "knows none of the 2 locked packages, so nothing was"),
        ([SOUND, SKIPPED], "1 of 2 locked packages were not audited: jax."),
        ([SOUND, FLAWED], "known vulnerabilities:\n  a 1.0: PYSEC-1, mended in 1.1"),
        ([OPEN, SKIPPED], "  b 2.0: PYSEC-2, mended in no version yet"),
    ],
)
def test_only_packages_that_were_all_looked_up_and_are_sound_are_fine(tmp_path, packages, message):
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    program, script = tmp_path / "pip-audit", tmp_path / "answer.py"
    script.write_text(
        "import sys\nassert '--require-hashes' in sys.argv and '--disable-pip' in sys.argv\n"
        f"print({answer!r})\nprint('Traceback\\nConnectionError: no route', file=sys.stderr)\n"
    )
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')  # a first line has no room for spaces
    program.chmod(0o755)
    if message.startswith("None"):
        assert audit.audit(program) == message
    else:
        with pytest.raises(ToolError, match=re.escape(message)):
            audit.audit(program)


def test_where_pip_audit_cannot_be_had_the_command_says_so(tree, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # without a network, or with an index that lacks it
    done = dmft("audit")
    assert done.exit_code == 1 and "pip-audit could not be installed; try it with a network." in done.stderr
