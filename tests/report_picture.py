"""`make pictures`: the demo's report as a browser shows it, for the README.

    python -m tests.report_picture DEMO TO

It needs a Chromium on the path; without one the picture that is there stays.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser

from tests.consensus.browser import find_browser, opened, running_browser

FILE: Final = "report.png"
SHOWN: Final = ("header", "#confusion-caption-1", "#disputes", "#pictures")
"""What stands at the top of each panel."""

PANEL_PX: Final = (900, 1120)
SCALE: Final = 0.66
GAP_PX: Final = 12
COLORS: Final = 64


def draw_report(browser: Browser, report: Path) -> Image.Image:
    """The panels, two beside each other."""
    width, height = (round(SCALE * side) for side in PANEL_PX)
    rows = (len(SHOWN) + 1) // 2
    size = (2 * width + GAP_PX, rows * height + (rows - 1) * GAP_PX)
    picture = Image.new("RGB", size, "#c9ced4")
    with opened(browser, report, width_px=PANEL_PX[0]) as seen:
        seen.page.set_viewport_size({"width": PANEL_PX[0], "height": PANEL_PX[1]})
        for number, shown in enumerate(SHOWN):
            top = seen.page.locator(shown).evaluate("e => e.getBoundingClientRect().top + scrollY")
            taken = seen.page.screenshot(
                full_page=True,
                clip={"x": 0, "y": max(0.0, top - 24), "width": PANEL_PX[0], "height": PANEL_PX[1]},
            )
            panel = Image.open(io.BytesIO(taken)).convert("RGB")
            place = (number % 2) * (width + GAP_PX), number // 2 * (height + GAP_PX)
            picture.paste(panel.resize((width, height), Image.Resampling.LANCZOS), place)
    return picture.quantize(COLORS)


if __name__ == "__main__":
    demo, to = Path(sys.argv[1]), Path(sys.argv[2])
    if find_browser() is None:
        print("there is no Chromium here; docs/report.png stays as it is")
        sys.exit(0)
    with running_browser() as running:
        draw_report(running, demo / "report.html").save(to / FILE, optimize=True)
    print(f"{to / FILE} ({(to / FILE).stat().st_size / 1000:.0f} kB)")
