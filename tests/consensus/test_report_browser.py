"""The report in a real browser: without errors or network, whole on paper, by keyboard, without colour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright, which drives the browser")
pytest.importorskip("pypdf", reason="needs pypdf, which reads what was printed")
pytest.importorskip("axe_playwright_python", reason="needs axe-core, which judges accessibility")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from annotation.cli import run
from annotation.store import create_or_upgrade
from consensus.reporting.drawing import LINE_STYLES
from tests.conftest import PROTOCOL, feature, square
from tests.consensus.browser import (
    Opened,
    letters,
    opened,
    printed_tables,
    printed_text,
    running_browser,
)

PAPER_PX = round(182 / 25.4 * 96)
"""The width of A4 less its margins, as the browser counts when it prints."""

CLASSES = {
    "prostate": ("Benign", "Low grade", "High grade"),
    "cells": ("Mitotic figure", "Mimic", "Low grade", *(f"Another class, {n}" for n in range(5))),
}
CELLS = """
name = "cells"
version = "1"
task = "objects"
[consensus]
quorum = 0.9
""" + "".join(f'[[classes]]\nname = "{name}"\n' for name in CLASSES["cells"])  # fmt: skip

NEXT_VERSION = PROTOCOL.replace('version = "1"', 'version = "2"').replace(
    'name = "Low grade"', 'name = "A grade of its own"\naliases = ["Low grade"]'
)

# What reaches beyond the paper, and how much is written beyond the edge of its cell.
MEASURE = """() => {
  const right = document.body.getBoundingClientRect().right;
  const wide = Array.from(document.querySelectorAll("table, figure, code, dd"),
    e => [e.id || e.tagName, e.getBoundingClientRect().right - right]);
  const full = Array.from(document.querySelectorAll("td, th"),
    e => [e.textContent, e.scrollWidth - e.clientWidth]);
  return wide.concat(full);
}"""

# The colours of all that is written, ruled or shaded, with an example of where.
COLOURS = """() => {
  const found = {};
  for (const e of document.querySelectorAll("body, body *")) {
    const style = getComputedStyle(e);
    for (const key of ["color", "backgroundColor", "borderTopColor", "borderLeftColor"])
      found[style[key]] = `${e.tagName}.${e.className} ${key}`;
  }
  return found;
}"""

SCROLLING = """() => Array.from(document.querySelectorAll("body *"))
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible")
  .map(e => [e.getAttribute("aria-labelledby"), e.tabIndex])"""

PATTERNS = """lines => lines.map(
  e => [e.getAttribute("stroke-dasharray"), e.getAttribute("stroke-width")])"""

FOCUSED = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return [e.getAttribute("href") || e.getAttribute("aria-labelledby") || e.tagName,
          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 1];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module", params=["prostate", pytest.param("cells", marks=pytest.mark.soak)])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with twelve raters, unwieldy names and a decided dispute.

    Of regions, read under two versions of the protocol; and of objects, of more classes than a
    table can hold beside each other.
    """
    protocol = request.param
    folder = tmp_path_factory.mktemp(protocol)
    url = f"sqlite:///{folder / 'store.db'}"
    create_or_upgrade(url)[0].close()
    slide = "slide-" + "with_an_unbroken_name" * 4
    for name, text in {"cells": CELLS, "prostate": PROTOCOL, "next": NEXT_VERSION}.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")

    def call(*arguments: object) -> None:
        assert run([*map(str, arguments), "--store", url]) == 0, arguments

    def read(version: str, number: int, shift: int, *more: object) -> None:
        export = folder / f"R{number}-{version}-{shift}.geojson"
        drawn = [feature(square(10 * number + shift, 0), CLASSES[protocol][number % 3])]
        export.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}))
        told = ("--annotator", handles[number], "--slide", slide)
        call("pull", export, "--protocol", f"{protocol}@{version}", *told, *more)

    handles = [f"rater-{number:02d}-" + "x" * (3 if number % 4 else 40) for number in range(12)]
    call("protocol", "add", folder / f"{protocol}.toml")
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
    call("slide", "add", slide, *size, "--patient", "B" * 60)
    call("annotator", "add", "L", "--role", "lead")
    credential = ("--credential", "board:ABP:1", "--valid-from", "2020-01-01")
    for number, handle in enumerate(handles):
        call("annotator", "add", handle, "--role", "pathologist", *credential)
        read("1", number, 0)
    read("1", 1, 5, "--replicate", 2)
    if protocol == "prostate":
        call("protocol", "add", folder / "next.toml")
        for number in range(3):
            read("2", number, 7)
    reason = "seen at high power, where " + "it is " * 30 + "/".join(["clear"] * 30)
    call("consensus", "run", "--protocol", f"{protocol}@1")
    call("adjudicate", "decide", 1, "--class", "Low grade", "--by", "L", "--reason", reason)
    call("release", "create", "v1", "--run", 1)
    call("report", "--to", folder / "report.html")
    return folder / "report.html"


def test_the_page_opens_without_errors_and_without_network(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """Nothing on the console, no request by the page, and it is all there; a bad page is caught."""
    with opened(browser, report) as seen:
        assert seen.console == []
        assert seen.requests == []
        tables = seen.page.locator("table").count()
        assert tables == report.read_text(encoding="utf-8").count("<table") > 10
        assert seen.page.locator("footer").is_visible()

    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>oops()</script>", encoding="utf-8")
    with opened(browser, bad) as seen:
        assert any("oops is not defined" in line for line in seen.console)
        assert seen.requests == ["http://127.0.0.1:9/x.png"]


def beyond_paper(seen: Opened) -> list[str]:
    """What is wider than a printed page, or than its cell."""
    seen.page.emulate_media(media="print")
    seen.page.set_viewport_size({"width": PAPER_PX, "height": 900})
    measured = seen.page.evaluate(MEASURE)
    assert len(measured) > 100
    return [what for what, excess_px in measured if excess_px > 1]


def test_no_table_is_wider_than_paper(browser: Browser, report: Path) -> None:
    """With many raters and long names; one that can't be broken is caught."""
    with opened(browser, report) as seen:
        assert beyond_paper(seen) == []
        seen.page.add_style_tag(content="td { white-space: nowrap !important; }")
        assert beyond_paper(seen) != []


def test_no_row_is_cut_between_pages_and_heads_are_repeated(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """By the structure of the printed file; all that stands in cells is on paper."""
    pdf = tmp_path / "report.pdf"
    with opened(browser, report) as seen:
        seen.page.pdf(path=pdf, prefer_css_page_size=True, tagged=True)
        cells = seen.page.locator("td, th").all_inner_texts()
    tables = printed_tables(pdf)
    assert len(tables) == report.read_text(encoding="utf-8").count("<table")
    assert any(len(table.pages) > 1 for table in tables)
    for table in tables:
        head, *rows = table.rows
        assert all(len(pages) == 1 for pages in rows)
        assert head >= frozenset().union(*rows)
    text = printed_text(pdf)
    assert [cell for cell in cells if letters(cell) not in text] == []

    tall = tmp_path / "tall.html"
    tall.write_text(
        "<table><thead><tr><th>x<tbody><tr><td>" + "<p>long</p>" * 60 + "</table>", encoding="utf-8"
    )
    with opened(browser, tall) as seen:
        seen.page.pdf(path=pdf, tagged=True)
    (table,) = printed_tables(pdf)
    assert len(table.rows[1]) > 1


def test_nothing_hinders_whoever_reads_otherwise(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """By all rules of axe-core, on a narrow screen, on which tables scroll; a bad page is caught.

    Among them: contrast of 4.5 by luminance, so in greys as well; headings in order; heads of
    tables; texts for pictures.
    """
    with opened(browser, report, width_px=380, scripts=True) as seen:
        assert violations(seen) == {}
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html lang=en><title>x</title><main><h1>a</h1><h3>b</h3><img src=''>"
        "<p style='color: #999'>pale</p><table><tr><td headers=x>y</table>",
        encoding="utf-8",
    )
    with opened(browser, bad, scripts=True) as seen:
        assert set(violations(seen)) >= {
            "color-contrast",
            "heading-order",
            "image-alt",
            "td-headers-attr",
        }


def violations(seen: Opened) -> dict[str, str]:
    """The rules that a page breaks, each with an example."""
    found = Axe().run(seen.page, options={"resultTypes": ["violations"]}).response
    return {one["id"]: one["nodes"][0]["html"] for one in found["violations"]}


def test_everything_can_be_reached_and_scrolled_by_keyboard(browser: Browser, report: Path) -> None:
    """On a narrow screen: the skip link comes first, each table can be focused and scrolled."""
    with opened(browser, report, width_px=380) as seen:
        page = seen.page
        wide = page.evaluate(SCROLLING)
        assert len(wide) > 5
        assert all(name is not None and tab_index == 0 for name, tab_index in wide)
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUSED) == ["#main", True]
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        reached = {}
        expected = page.locator("main a, main [tabindex='0']").count()
        for _ in range(expected):
            page.keyboard.press("Tab")
            name, outlined = page.evaluate(FOCUSED)
            reached[name] = outlined
        assert all(reached.values())
        names = {name for name, _ in wide}
        assert names <= set(reached)
        frame = page.locator(f"[aria-labelledby='{wide[0][0]}']")
        frame.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("e => e.scrollLeft > 0", arg=frame.element_handle())


def test_nothing_is_told_by_colour(browser: Browser, report: Path) -> None:
    """All but the lines of raters is grey, shades bear numbers, and each line its own pattern."""
    with opened(browser, report) as seen:
        colours = seen.page.evaluate(COLOURS)
        shaded = seen.page.locator("[class*='shade']").all_inner_texts()
        patterns = seen.page.locator(".legend").first.locator("line").evaluate_all(PATTERNS)
    assert len(colours) > 5
    assert {where for colour, where in colours.items() if is_coloured(colour)} == set()
    assert is_coloured("rgb(27, 95, 191)")
    assert all(text.strip() for text in shaded)
    assert len(shaded) > 100
    assert len({tuple(one) for one in patterns}) == len(patterns) == len(LINE_STYLES)


def is_coloured(colour: str) -> bool:
    """Whether a CSS colour is more than a grey with a breath of blue."""
    if not colour.startswith("rgb"):
        return False
    red, green, blue, *alpha = (float(part) for part in colour.split("(")[1][:-1].split(","))
    return alpha != [0.0] and max(red, green, blue) - min(red, green, blue) > 24
