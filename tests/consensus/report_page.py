"""The report's page as tests read it."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Page"]


class Page(HTMLParser):
    """Elements with their attributes, and the text of cells, row by row under each caption."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._caption, self._cell, self._in = "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "caption":
            self._caption = str(dict(attrs)["id"])
            self.tables[self._caption] = []
        elif tag == "tr":
            self.tables[self._caption].append([])
        if tag in ("td", "th", "style"):
            self._cell, self._in = "", tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append(" ".join(self._cell.split()))
        if tag == self._in:
            self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in != "style":
            self.text += data
            self._cell += data

    def rows(self, name: str, *, number: int | None = None) -> list[list[str]]:
        """The rows below the head of a table; of several of a kind, of the one of this number."""
        part = "" if number is None else f"-{number}"
        return self.tables[f"{name}-caption{part}"][1:]
