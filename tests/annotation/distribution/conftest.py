"""A study with three images, of which two carry what a scanner adds, and two protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import CommandResult

Study = Callable[..., CommandResult]

PROTOCOL = """
name = "{name}"
version = "1"
task = "regions"
[domain]
rule = "declared"
classes = ["Region*"]
[blinding]
slides = {blind}
[[classes]]
name = "Benign"
color = "#00A000"
[[classes]]
name = "Tumor"
color = "#C00000"
"""

SLIDES = ("SP21-1001 A", "SP21-1002 B", "SP21-1003 C")


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    centimetre = 20_000.0  # pixels: half a micron each
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        tile=(256, 256),
        resolution=(centimetre, centimetre),
        resolutionunit="CENTIMETER",
    )


@pytest.fixture
def blinded(pathquorum: Study, tmp_path: Path) -> Study:
    """Three slides with images, the annotators P1 to P3, a blinding protocol and an open one."""
    commands: list[tuple[object, ...]] = []
    for name, blind in (("blind", "true"), ("open", "false")):
        file = tmp_path / f"{name}.toml"
        file.write_text(PROTOCOL.format(name=name, blind=blind), encoding="utf-8")
        commands.append(("protocol", "add", file))
    commands += [("annotator", "add", f"P{n}", "--role", "pathologist") for n in (1, 2, 3)]
    (tmp_path / "scans").mkdir()
    for number, name in enumerate(SLIDES):
        write_image(tmp_path / "scans" / f"{name}.tiff", number)
        commands.append(
            ("slide", "add", tmp_path / "scans" / f"{name}.tiff", "--patient", f"K{number}")
        )
    for arguments in commands:
        result = pathquorum(*arguments)
        assert result.status == 0, result.err
    return pathquorum
