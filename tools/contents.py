"""What the book contains: its pages in order, its figures, and which of them show a panel of the paper."""

import tomllib
from dataclasses import dataclass

import yaml

from . import chapters, figures


def parts() -> list[tuple[str, list[str]]]:
    """Captions and their pages; the first part, without a caption, is the page that the book begins with."""
    toc = yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    first = [toc["root"], *(page["file"] for page in toc.get("chapters", []))]
    return [("", first)] + [
        (part["caption"], [page["file"] for page in part["chapters"]]) for part in toc.get("parts", [])
    ]


def in_order(names: list[str]) -> list[str]:
    """Chapters as the book has them, then those that it leaves out."""
    pages = [page.removeprefix("notebooks/") for _, part in parts() for page in part]
    return sorted(names, key=lambda name: pages.index(name) if name in pages else len(pages))


def paper() -> dict[str, dict]:
    """What the panels of the paper's figures show (`shows`), and which figures of this book show that (`panels`)."""
    return tomllib.loads((chapters.ROOT / "book" / "figures.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Index:
    """What is known about every figure of the book, by id."""

    known: dict[str, dict]

    def link(self, id: str) -> str:
        return f"{{numref}}`{id}`" if self.known[id]["named"] else f"`{id}`"

    def title(self, id: str) -> str:
        return figures.title(self.known[id]["caption"])

    def of_panels(self) -> dict[str, list[str]]:
        """The figures that show each panel of the paper; none for a panel that this book lacks."""
        return {panel: [id for id in ids if id in self.known] for panel, ids in paper()["panels"].items()}

    def homes(self) -> dict[str, list[str]]:
        """The panels of the paper that this book shows, each with links to its figures."""
        return {panel: [self.link(id) for id in ids] for panel, ids in self.of_panels().items() if ids}
