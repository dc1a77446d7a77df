"""Records of runs with a preset: what the committed files under notebooks/records/ hold of them."""

import json
import re
from pathlib import Path

from . import chapters


def presets() -> Path:
    return chapters.ROOT / "notebooks" / "presets.toml"


def place(chapter: str, preset: str) -> Path:
    return chapters.ROOT / "notebooks" / "records" / preset / f"{chapter}.json"


def claims(notebook) -> list[dict]:
    """The rows of the chapter's tables of claims, as `companion.claims.Claims` made them: metadata of the outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [row for output in outputs for row in output.get("metadata", {}).get("claims", [])]


def printed(notebook) -> dict[str, list[str]]:
    """The lines with numbers that each cell printed, by cell id: no warnings, pictures or claims, which say no more here."""
    lines = {}
    for cell in notebook.cells:
        for out in cell.get("outputs", []):
            data = out.get("data", {})
            if out.get("name") != "stderr" and "image/png" not in data and "claims" not in out.get("metadata", {}):
                text = out.get("text") or data.get("text/plain", "")
                lines.setdefault(cell.id, []).extend(line for line in text.splitlines() if re.search(r"\d", line))
    return lines


def keep(chapter: str, preset: str, notebook) -> Path:
    """Write what is kept of an executed chapter: its run, the lines that its cells printed, its claims."""
    run = {name: value for name, value in notebook.metadata["dmftlib"].items() if name not in ("key", "remembered")}
    said = {cell: lines for cell, lines in printed(notebook).items() if lines}
    record = {"chapter": chapter, **run, "printed": said, "claims": claims(notebook)}
    chapters.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", path := place(chapter, preset))
    return path


def kept(chapter: str, preset: str) -> dict | None:
    path = place(chapter, preset)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def networks(record: dict) -> tuple[int, int] | None:
    """The largest width that a claim rests on, and the most networks, of all widths, that one with this width rests on."""
    found = re.findall(r"\(N = ([^()]*), (\d+) seeds\)", "\n".join(row["networks"] for row in record["claims"]))
    sizes = [(max(map(int, re.findall(r"\d+", widths))), int(seeds)) for widths, seeds in found]
    return max(sizes, default=None)
