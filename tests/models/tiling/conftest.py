"""A painted slide with pen strokes and a blurred patch, and a reader of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from models.reader import Reader, open_reader
from tests.models.slides import write_jpeg_tiff

INKS = {
    "blue": (40, 70, 170),
    "green": (30, 120, 60),
    "black": (35, 32, 38),
    "red": (200, 30, 40),
}
PEN_UM = 150.0
BLUR_UM = 5.0


@dataclass(frozen=True)
class MarkedSlide:
    """Where what lies on a slide, in level-0 pixels; masks have its height and width."""

    path: Path
    mpp: float
    tissue: NDArray[np.bool_]
    strokes: dict[str, NDArray[np.bool_]]
    blurred: NDArray[np.bool_]


def drawn(size: tuple[int, int], kind: str, points: list[float], **how: int) -> NDArray[np.bool_]:
    mask = Image.new("L", size)
    getattr(ImageDraw.Draw(mask), kind)(points, fill=255, **how)
    return np.asarray(mask) > 0


@pytest.fixture(scope="session")
def marked_slide(tmp_path_factory: pytest.TempPathFactory) -> MarkedSlide:
    """The demo's first slide, with a stroke of each ink on its left and a blurred square."""
    slide = demo_slides(count=1)[0]
    size = slide.width_px, slide.height_px
    sharp = Image.fromarray(paint(slide))
    middle = slide.width_px // 2, slide.height_px // 2
    patch = [*middle, middle[0] + 600, middle[1] + 600]
    blurred = drawn(size, "rectangle", patch)
    soft = sharp.filter(ImageFilter.GaussianBlur(BLUR_UM / slide.mpp))
    pixels = np.where(blurred[..., None], soft, sharp).astype(np.uint16)
    strokes = {}
    for number, (ink, colour) in enumerate(INKS.items()):
        y = 250 + 390 * number
        line = [100, y, middle[0] - 200, y + 60]
        strokes[ink] = drawn(size, "line", line, width=round(PEN_UM / slide.mpp))
        pixels[strokes[ink]] = pixels[strokes[ink]] * colour // 255
    path = write_jpeg_tiff(
        tmp_path_factory.mktemp("marked") / "M.tiff",
        pixels.astype(np.uint8), mpp=slide.mpp, tile_px=256, overviews=(4,),
    )  # fmt: skip
    outline = [xy for point in slide.tissue.exterior.coords for xy in point]
    return MarkedSlide(path, slide.mpp, drawn(size, "polygon", outline), strokes, blurred)


@pytest.fixture
def marked(marked_slide: MarkedSlide) -> Iterator[Reader]:
    """A reader of the marked slide."""
    with open_reader(marked_slide.path) as reader:
        yield reader
