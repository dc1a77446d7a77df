"""What the page says that lists every figure of the book, and where each panel of the paper is."""

from dataclasses import dataclass

from . import contents, figures


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
        return {panel: [id for id in ids if id in self.known] for panel, ids in contents.paper()["panels"].items()}

    def homes(self) -> dict[str, list[str]]:
        """The panels of the paper that this book shows, each with links to its figures."""
        return {panel: [self.link(id) for id in ids] for panel, ids in self.of_panels().items() if ids}
