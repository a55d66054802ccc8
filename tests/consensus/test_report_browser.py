"""The report in a real browser: without errors, without network, and whole on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CommandResult, feature, square

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--v=0", "--hide-scrollbars",
)  # fmt: skip
PAPER_MM = 182  # A4 less its margins

CLASSES = {
    "prostate": ("Benign", "Low grade", "High grade"),
    "cells": ("Mitotic figure", "Mimic", "Low grade", *(f"Another class, {n}" for n in range(5))),
}

# Says what reaches beyond the paper, and how much is written beyond the edge of its cell.
MEASURE = """
<script>
const right = document.body.getBoundingClientRect().right;
const wide = Array.from(document.querySelectorAll("table, figure, code, dd"),
  e => [e.id || e.tagName, e.getBoundingClientRect().right - right]);
const full = Array.from(document.querySelectorAll("td, th"),
  e => [e.textContent, e.scrollWidth - e.clientWidth]);
document.title = JSON.stringify(wide.concat(full));
</script>
"""


@dataclass
class Seen:
    """What the browser made of a page."""

    dom: str
    console: list[str]
    requests: set[str]


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Seen]:
    """Opens a page in a headless browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser on the path: one of {', '.join(BROWSERS)}")

    def look(page: Path) -> Seen:
        folder = tmp_path_factory.mktemp("browser")
        log = folder / "net.json"
        result = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
             "--dump-dom", page.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        events = json.loads(log.read_text(encoding="utf-8"))["events"]
        asked = [event.get("params", {}) for event in events]
        return Seen(
            dom=result.stdout,
            console=[line for line in result.stderr.splitlines() if "CONSOLE" in line],
            # The browser's own errands have no origin; those of a page do.
            requests={
                entry["url"]
                for entry in asked
                if "url" in entry and entry.get("initiator", "not an origin") != "not an origin"
            },
        )

    return look


CELLS = """
name = "cells"
version = "1"
task = "objects"
[consensus]
quorum = 0.9
""" + "".join(f'[[classes]]\nname = "{name}"\n' for name in CLASSES["cells"])  # fmt: skip


@pytest.fixture(params=["prostate", "cells"])
def report(
    study: Callable[..., CommandResult],
    write_export: Callable[..., Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Path:
    """The report of a study with twelve raters, unwieldy names and a decided dispute.

    Of regions; and of objects, of more classes than a table can hold beside each other.
    """
    protocol = request.param
    slide = "slide-" + "with_an_unbroken_name" * 4
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
    cells = tmp_path / "cells.toml"
    cells.write_text(CELLS, encoding="utf-8")
    commands: list[tuple[object, ...]] = [
        ("protocol", "add", cells),
        ("slide", "add", slide, *size, "--patient", "B" * 60),
    ]
    for number in range(12):
        handle = f"rater-{number:02d}-" + "x" * (40 if number % 4 == 0 else 3)
        path_class = CLASSES[protocol][number % 3]
        export = write_export([feature(square(10 * number, 0), path_class)], f"R{number}")
        commands.append(("annotator", "add", handle, "--role", "pathologist"))
        pulled = ("--annotator", handle, "--protocol", protocol, "--slide", slide)
        commands.append(("pull", export, *pulled))
    path = tmp_path / "report.html"
    reason = "seen at high power, where " + "it is " * 30 + "/".join(["clear"] * 30)
    commands += [
        ("consensus", "run", "--protocol", protocol),
        ("adjudicate", "decide", 1, "--class", "Low grade", "--by", "L", "--reason", reason),
        ("report", "--to", path),
    ]
    for command in commands:
        result = study(*command)
        assert result.status == 0, (command, result.err)
    return path


def test_the_page_opens_without_errors_and_without_network(
    browse: Callable[[Path], Seen], report: Path, tmp_path: Path
) -> None:
    """Nothing on the console, no request by the page, and it is all there; a bad page is caught."""
    seen = browse(report)
    assert seen.console == []
    assert seen.requests == set()
    assert seen.dom.rstrip().endswith("</body></html>")
    assert seen.dom.count("<table") == report.read_text(encoding="utf-8").count("<table")

    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>oops()</script>", encoding="utf-8")
    seen = browse(bad)
    assert "oops is not defined" in seen.console[0]
    assert seen.requests == {"http://127.0.0.1:9/x.png"}


def test_nothing_is_cut_on_paper(
    browse: Callable[[Path], Seen], report: Path, tmp_path: Path
) -> None:
    """No table is wider than an A4 page, with many raters and long names; a wide one is caught."""

    def beyond_paper(extra: str) -> list[str]:
        text = report.read_text(encoding="utf-8")
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        assert "@media print" in text
        text = text.replace("@media print", "@media all")
        paper = f"<style>html {{ width: {PAPER_MM}mm; }} {extra}</style>"
        laid_out = tmp_path / "paper.html"
        laid_out.write_text(
            text.replace("</head>", paper + "</head>").replace("</body>", MEASURE + "</body>"),
            encoding="utf-8",
        )
        title = re.search(r"<title>(.*?)</title>", browse(laid_out).dom)
        assert title is not None
        measured = json.loads(html.unescape(title[1]))
        assert len(measured) > 100
        return [what for what, excess_px in measured if excess_px > 1]

    assert beyond_paper("") == []
    assert beyond_paper("td { white-space: nowrap !important; }") != []
