"""`dmft audit` is content only if every package was looked up."""

import json
import re
from types import SimpleNamespace

import pytest

from tools import ToolError, audit

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "jax", "skip_reason": "Dependency not found and could not be audited: jax (0.10.2)"}
FLAWED = {"name": "a", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
OPEN = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}


@pytest.mark.parametrize(
    "packages, message",
    [
        ([SOUND, SOUND], "None of the 2 packages locked for this Python has a known vulnerability."),
        (None, "nothing was audited. pip-audit says: ConnectionError: no route"),
        ([SKIPPED, SKIPPED], "2 of 2 locked packages were not audited: jax, jax."),
        ([SOUND, SKIPPED], "1 of 2 locked packages were not audited: jax."),
        ([SOUND, FLAWED], "known vulnerabilities:\n  a 1.0: PYSEC-1, mended in 1.1"),
        ([OPEN, SKIPPED], "  b 2.0: PYSEC-2, mended in no version yet"),
    ],
)
def test_only_packages_that_were_all_looked_up_and_are_sound_are_fine(monkeypatch, packages, message):
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    told = SimpleNamespace(stdout=answer, stderr="Traceback\nConnectionError: no route\n")
    monkeypatch.setattr(audit.subprocess, "run", lambda command, **options: told)
    if message.startswith("None"):
        assert audit.audit("pip-audit") == message
    else:
        with pytest.raises(ToolError, match=re.escape(message)):
            audit.audit("pip-audit")
