"""The page that lists every figure of the book, and where each panel of the paper is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import contents, figures
from .markdown import chapter_link, table


class Index:
    """Every figure of the book, as `add` returns them, and where each panel of the paper is."""

    def __init__(self, known: Iterable[Mapping]):
        self.known = {about["id"]: about for about in known}

    def link(self, id: str) -> str:
        return f"{{numref}}`{id}`" if self.known[id]["named"] else f"`{id}`"

    def homes(self) -> dict[str, list[str]]:
        """The panels of the paper that this book shows, each with links to its figures."""
        found = {
            panel: [self.link(id) for id in ids if id in self.known]
            for panel, ids in contents.paper()["panels"].items()
        }
        return {panel: links for panel, links in found.items() if links}

    def of_the_paper(self) -> str:
        """Where each panel of the paper is."""
        rows, homes = [], self.homes()
        for panel, ids in contents.paper()["panels"].items():
            chapter = next((self.known[id]["chapter"] for id in ids if id in self.known), "")
            where = (chapter_link(chapter), f"`make run CHAPTER={chapter}`") if chapter else ("", "")
            rows.append((panel, ", ".join(homes.get(panel, ["absent from this book"])), *where))
        return table(("paper", "here", "chapter", "command"), rows)

    def every(self) -> str:
        """Every figure of the book."""
        rows = []
        for id, about in self.known.items():
            shows = [panel for panel, ids in contents.paper()["panels"].items() if id in ids]
            link = self.link(id) if about["named"] else "with sliders"
            name = f"{figures.title(about['caption'])}<br>`{id}`"
            rows.append((link, name, chapter_link(about["chapter"]), ", ".join(shows)))
        return table(("figure", "what it shows, and its id", "chapter", "paper"), rows)
