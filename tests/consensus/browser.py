"""A headless browser for tests, and what a printed page holds.

What is printed is read from the PDF's own structure: which pages each table and row stand on.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader
from pypdf.generic import DictionaryObject, IndirectObject, PdfObject

__all__ = [
    "Opened",
    "PrintedTable",
    "find_browser",
    "letters",
    "opened",
    "printed_tables",
    "printed_text",
    "running_browser",
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def find_browser() -> str | None:
    """The Chromium on the path; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """The Chromium of this machine; none is downloaded, and tests skip where there is none."""
    binary = find_browser()
    if binary is None:
        pytest.skip(f"needs a browser on the path: one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, what it wrote on the console, and what it asked for beside itself."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(
    browser: Browser, file: Path, *, width_px: int = 1200, scripts: bool = False
) -> Iterator[Opened]:
    """Open a file.

    Parameters
    ----------
    scripts
        Let the test run scripts in it, which the page's own policy forbids.
    """
    context = browser.new_context(
        viewport={"width": width_px, "height": 900}, bypass_csp=scripts, offline=True
    )
    seen = Opened(context.new_page())
    seen.page.on("console", lambda message: seen.console.append(message.text))
    seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
    # A picture that stands in the page itself (data:) asks nobody for anything.
    seen.page.on(
        "request",
        lambda asked: (
            seen.requests.append(asked.url)
            if asked.url != file.as_uri() and not asked.url.startswith("data:")
            else None
        ),
    )
    seen.page.goto(file.as_uri())
    yield seen
    context.close()


@dataclass(frozen=True)
class PrintedTable:
    """The pages, from 0, on which a table stands, and those of each of its rows, the head first."""

    pages: frozenset[int]
    rows: tuple[frozenset[int], ...]


def printed_text(pdf: Path) -> str:
    """The letters of all that is written on paper."""
    return letters("".join(page.extract_text() for page in PdfReader(pdf).pages))


def letters(text: str) -> str:
    """A text without blanks, its ligatures taken apart."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def printed_tables(pdf: Path) -> list[PrintedTable]:
    """The tables of a tagged PDF."""
    reader = PdfReader(pdf)
    number = {
        page.indirect_reference.idnum: index
        for index, page in enumerate(reader.pages)
        if page.indirect_reference is not None
    }
    catalog = reader.trailer["/Root"].get_object()
    assert isinstance(catalog, DictionaryObject)
    found: list[PrintedTable] = []
    _Structure(number, found).pages_of(catalog["/StructTreeRoot"], frozenset(), [])
    return found


class _Structure:
    """A walk through the tree of a PDF's structure (ISO 32000-1, 14.7.2)."""

    def __init__(self, number: dict[int, int], tables: list[PrintedTable]) -> None:
        self._number = number
        self._tables = tables

    def pages_of(
        self, node: PdfObject, on: frozenset[int], rows: list[frozenset[int]]
    ) -> frozenset[int]:
        """The pages on which a node's content stands; ``rows`` are those of the table around it."""
        node = node.get_object()
        if not isinstance(node, DictionaryObject):  # the number of a piece of content
            return on
        if "/Pg" in node:
            page = node.raw_get("/Pg")
            assert isinstance(page, IndirectObject)
            on = frozenset({self._number[page.idnum]})
        if node.get("/Type") in ("/MCR", "/OBJR"):
            return on if node["/Type"] == "/MCR" else frozenset()
        kids = node.get("/K", [])
        kids = kids if isinstance(kids, list) else [kids]
        inner: list[frozenset[int]] = [] if node.get("/S") == "/Table" else rows
        found = frozenset().union(*(self.pages_of(kid, on, inner) for kid in kids))
        if node.get("/S") == "/TR":
            rows.append(found)
        if node.get("/S") == "/Table":
            self._tables.append(PrintedTable(found, tuple(inner)))
        return found
