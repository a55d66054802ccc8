"""Pictures of disputed slides: readable in black and white, and true to where things lie."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image

from consensus.reporting.drawing import LINE_STYLES
from consensus.reporting.labels import Labelled, place_labels
from consensus.reporting.pictures import (
    MOST_NUMBERED,
    DisputedRegion,
    SlideView,
    draw_slide,
)
from consensus.reporting.window import LONGEST_PX

WIDTH, HEIGHT = 2000, 1000


def picture(view: SlideView) -> NDArray[np.uint8]:
    """The picture, its pixels as numbers."""
    kind, _, data = view.uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def draw(
    outlines: dict[int, list[shapely.Geometry]],
    disputed: list[shapely.Geometry],
    path: Path | None = None,
) -> SlideView:
    return draw_slide(
        path,
        width_px=WIDTH,
        height_px=HEIGHT,
        mpp=0.5,
        outlines=outlines,
        disputed=[DisputedRegion(number, g) for number, g in enumerate(disputed, start=1)],
    )


def test_styles_differ_without_colour_and_colours_are_dark() -> None:
    """No two raters share dashes and width, and every line is dark enough on white paper."""
    patterns = [(style.dash_px, style.width_px) for style in LINE_STYLES]
    assert len(set(patterns)) == len(patterns) == 12
    for style in LINE_STYLES:
        red, green, blue = bytes.fromhex(style.color[1:])
        assert 0.299 * red + 0.587 * green + 0.114 * blue < 110


def test_outlines_lie_where_they_were_drawn() -> None:
    """A square's outline is found at its edges in the picture, in its rater's colour."""
    view = draw({0: [shapely.box(0, 0, WIDTH, HEIGHT), shapely.box(400, 200, 1200, 800)]},
                [shapely.box(1500, 100, 1700, 300)])  # fmt: skip
    assert (view.width_px, view.height_px, view.part) == (LONGEST_PX, 500, None)
    pixels = picture(view).astype(int)
    blue = (pixels[:, :, 2] > 100) & (pixels[:, :, 0] < 80)
    rows, columns = np.flatnonzero(blue[:, 400]), np.flatnonzero(blue[250])
    for expected in (100, 400):
        assert np.abs(rows - expected).min() <= 1
    for expected in (200, 600):
        assert np.abs(columns - expected).min() <= 1
    assert not blue[250, 250:550].any()  # nothing is drawn across the square


def test_a_disputed_region_is_hatched_and_its_hole_is_not() -> None:
    """Black strokes cover the region in black and white, and spare what isn't disputed."""
    # Both rings run the same way round, as a file may have them.
    rings = [shapely.box(*b).exterior for b in ((400, 100, 1600, 900), (800, 300, 1200, 700))]
    region = shapely.Polygon(rings[0], [rings[1]])
    gray = picture(draw({0: [shapely.box(0, 0, WIDTH, HEIGHT)]}, [region])).mean(axis=2)
    assert (gray[200:300, 220:380] < 100).mean() > 0.03
    assert (gray[170:330, 420:580] < 100).sum() == 0


def test_without_an_image_a_plain_frame_says_so(tmp_path: Path) -> None:
    """No path, a file that is gone and one that is no slide are told apart, and drawn on."""
    outlines, disputed = {0: [shapely.box(0, 0, 900, 900)]}, [shapely.box(100, 100, 300, 300)]
    broken = tmp_path / "broken.svs"
    broken.write_bytes(b"no slide")
    problems = [
        draw(outlines, disputed, path).problem for path in (None, tmp_path / "gone.svs", broken)
    ]
    assert problems == [
        "the slide was registered without an image",
        "the slide’s image is not at hand",
        "the slide’s image cannot be read",
    ]


@pytest.mark.parametrize("only_part", [True, False])
def test_the_image_lies_under_its_outlines(tmp_path: Path, only_part: bool) -> None:
    """Whole slide or part: the tissue's dark corner is where the slide has it."""
    pixels = np.full((HEIGHT, WIDTH, 3), 240, dtype=np.uint8)
    pixels[600:, 1000:] = (90, 20, 120)
    path = tmp_path / "slide.tiff"
    _write_tiff(path, pixels)
    square = shapely.box(900, 550, 1100, 650) if only_part else shapely.box(0, 0, WIDTH, HEIGHT)
    view = draw({0: [square]}, [shapely.box(920, 560, 940, 580)], path)
    assert view.image
    assert view.uri.startswith("data:image/jpeg")
    assert (view.part is not None) is only_part
    left, top, width, height = view.part or (0.0, 0.0, float(WIDTH), float(HEIGHT))
    seen = picture(view)

    def at(x_px: float, y_px: float) -> float:
        column = round((x_px - left) / width * view.width_px)
        row = round((y_px - top) / height * view.height_px)
        return float(seen[row, column].mean())

    assert at(1020, 620) < 120
    assert at(980, 620) > 200
    assert at(1020, 580) > 200


def _write_tiff(path: Path, pixels: NDArray[np.uint8]) -> None:
    import tifffile

    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="deflate")


def test_thousands_of_disputes_are_drawn_and_some_are_numbered() -> None:
    """All are hatched; the gravest bear numbers."""
    disputed = [
        shapely.box(x, y, x + 6, y + 6) for x in range(0, 2000, 20) for y in range(0, 1000, 40)
    ]
    view = draw({0: []}, disputed)
    assert len(disputed) == 2500
    assert view.numbered == list(range(1, MOST_NUMBERED + 1))


def test_points_and_lines_are_drawn() -> None:
    """Objects without an area have a mark, and their dispute a ring."""
    point, line = shapely.Point(500, 500), shapely.LineString([(900, 300), (1500, 700)])
    empty = picture(draw({0: [shapely.box(0, 0, WIDTH, HEIGHT)]}, [shapely.box(0, 0, 40, 40)]))
    marked = picture(
        draw(
            {0: [shapely.box(0, 0, WIDTH, HEIGHT), point], 3: [line]},
            [shapely.box(0, 0, 40, 40), shapely.MultiPoint([point, shapely.Point(520, 500)])],
        )
    )
    changed = np.abs(empty.astype(int) - marked.astype(int)).max(axis=2) > 60
    assert changed[230:270, 230:280].any()
    assert changed[240:260, 560:640].any()


def test_numbers_hide_neither_each_other_nor_small_regions() -> None:
    """Labels of a cluster of small regions stand apart, within the picture, beside their region."""
    regions = [
        Labelled(str(10 + number), shapely.box(x, y, x + 8, y + 8))
        for number, (x, y) in enumerate(
            [(2, 2), (14, 2), (300, 200), (312, 205), (306, 214), (985, 485)]
        )
    ]
    placed = place_labels(regions, (1000, 500))
    boxes = [shapely.box(p.x_px - 15, p.y_px - 12, p.x_px + 15, p.y_px + 12) for p in placed]
    for index, one in enumerate(boxes):
        assert not any(one.intersects(other) for other in boxes[:index])
        assert shapely.box(0, 0, 1000, 500).contains(one)
        assert not one.intersects(regions[index].region)
        assert placed[index].outside
    large = place_labels([Labelled("7", shapely.box(100, 100, 400, 300))], (1000, 500))[0]
    assert (large.x_px, large.y_px, large.outside) == (250, 200, False)
