"""Whether a locked package has a known vulnerability, as far as pip-audit learns it from its advisory service.

pip-audit itself is content when the service knows none of the packages, or has nobody to ask: here that is an error.
"""

import json
import subprocess
from pathlib import Path

from . import ROOT, ToolError

LOCK = ROOT / "requirements-test.lock"  # has all that requirements.lock has
OPTIONS = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]


def audit(program: Path) -> str:
    """A sentence for packages that were all looked up and have no known vulnerability; else a ToolError."""
    done = subprocess.run([program, "-r", LOCK, *OPTIONS], capture_output=True, encoding="utf-8", errors="replace")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = done.stderr.strip().rpartition("\n")[2][:300]
        raise ToolError(f"no advisory service could be asked, so nothing was audited. pip-audit says: {why}") from None
    unknown, count = [one["name"] for one in packages if "skip_reason" in one], len(packages)
    found = [
        f"  {one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in packages
        for flaw in one.get("vulns", [])
    ]
    if found:
        raise ToolError("\n".join(["locked packages have known vulnerabilities:", *found]))
    if unknown:  # all of them, if it is no advisory service, but perhaps a mirror of packages
        raise ToolError(f"{len(unknown)} of {count} locked packages were not audited: {', '.join(unknown)}.")
    return f"None of the {count} packages locked for this Python has a known vulnerability."
