"""What push writes, a real QuPath imports; and the demo's slides open in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.demo.slides import demo_slides, write_slide
from tests.conftest import CommandResult, feature, square

pytestmark = pytest.mark.qupath


def test_pushed_regions_and_a_demo_slide_open_in_qupath(
    qupath_version: str,
    study: Callable[..., CommandResult],
    write_export: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Class, colour, lock, posteriors, mark and UUID arrive as they were stored."""
    for handle, name in (("P1", "High grade"), ("P2", "High grade"), ("P3", "Low grade")):
        path = write_export([feature(square(10, 10), name)], handle)
        arguments = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        assert study("pull", path, *arguments).status == 0
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    assert study("push", "--run", 1, "--to", tmp_path / "out").status == 0
    written = tmp_path / "out" / "S1.geojson"
    slide = write_slide(demo_slides(0, 1)[0], tmp_path)
    script = Path(__file__).with_name("import_objects.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", script, written, slide],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    seen = json.loads(line.removeprefix("RESULT "))
    (obj,) = seen["objects"]
    (stored,) = json.loads(written.read_text())["features"]
    assert obj["id"] == stored["id"]
    assert obj["class"] == "High grade"
    assert obj["color"] & 0xFFFFFF == 0xC00000
    assert obj["locked"]
    assert obj["area_px2"] == pytest.approx(10_000)
    assert obj["measurements"]["pathquorum posterior High grade"] == pytest.approx(2 / 3)
    assert obj["metadata"]["pathquorum"] == "run 1"
    assert seen["image"] == {"width_px": 2304, "levels": 2, "mpp": pytest.approx(0.5)}
