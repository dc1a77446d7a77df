"""What the book contains: its pages in order, and which of its figures show a panel of the paper."""

import tomllib

import yaml

from . import chapters


def parts() -> list[tuple[str, list[str]]]:
    """Captions and their pages; the first part, without a caption, is the page that the book begins with."""
    toc = yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    rest = [(part["caption"], [page["file"] for page in part["chapters"]]) for part in toc["parts"]]
    return [("", [toc["root"]]), *rest]


def in_order(names: list[str]) -> list[str]:
    """Chapters as the book has them, then those that it leaves out."""
    pages = [page.removeprefix("notebooks/") for _, part in parts() for page in part]
    return sorted(names, key=lambda name: pages.index(name) if name in pages else len(pages))


def paper() -> dict[str, dict]:
    """What is known about the panels of the paper's figures: see `book/figures.toml`."""
    return tomllib.loads((chapters.ROOT / "book" / "figures.toml").read_text(encoding="utf-8"))
