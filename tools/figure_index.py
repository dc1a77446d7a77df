"""What the page says that lists every figure of the book, and where each panel of the paper is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import contents, figures


@dataclass(frozen=True)
class Index:
    """What is known about every figure of the book, by id."""

    known: Mapping[str, Mapping]

    def link(self, id: str) -> str:
        return f"{{numref}}`{id}`" if self.known[id]["named"] else f"`{id}`"

    def title(self, id: str) -> str:
        return figures.title(self.known[id]["caption"])

    def panels(self, id: str) -> list[str]:
        """The panels of the paper that a figure shows."""
        return [panel for panel, ids in contents.paper()["panels"].items() if id in ids]

    def homes(self) -> dict[str, list[str]]:
        """The panels of the paper that this book shows, each with links to its figures."""
        found = {
            panel: [self.link(id) for id in ids if id in self.known]
            for panel, ids in contents.paper()["panels"].items()
        }
        return {panel: links for panel, links in found.items() if links}

    def chapters(self) -> dict[str, str]:
        """The chapter that shows each panel of the paper, '' for none."""
        return {
            panel: next((self.known[id]["chapter"] for id in ids if id in self.known), "")
            for panel, ids in contents.paper()["panels"].items()
        }
