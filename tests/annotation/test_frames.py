"""Frames: turns and shifts that lead to the slide and back, and how a project's image tells its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from annotation.errors import SourceError
from annotation.frames import WHOLE_SLIDE, Frame, SlideExtent
from annotation.projects.files import ProjectImage
from annotation.projects.image_frames import OPENSLIDE, frame_of, pixel_size_note

SLIDE = SlideExtent("A", 1000, 600, 0.25, (100, 50, 800, 400))
PLAIN = SlideExtent("A", 1000, 600, 0.25, None)

quarter = st.sampled_from([(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
frames = st.builds(
    lambda turn, x, y: Frame(*turn, x, y),
    quarter,
    st.integers(-9999, 9999),
    st.integers(-9999, 9999),
)


def image(server: dict[str, Any]) -> ProjectImage:
    return ProjectImage("p.qpproj", 1, "A", "A.svs", {}, Path("nowhere"), server)


def uri(width: int | None = None, height: int | None = None, **more: Any) -> dict[str, Any]:
    size = {} if width is None else {"metadata": {"width": width, "height": height}}
    return {"builderType": "uri", "uri": "file:/A.svs", "args": [], **size, **more}


@given(frames, frames, st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_frame_and_its_inverse_lead_back(one: Frame, two: Frame, x: float, y: float) -> None:
    point = np.array([shapely.Point(x, y), None], dtype=object)
    there = one.after(two).place(point)
    assert shapely.equals_exact(there[0], one.place(two.place(point))[0], 1e-6)
    back = one.after(two).inverse.place(there)
    assert shapely.equals_exact(back[0], point[0], 1e-6)
    assert back[1] is None


@pytest.mark.parametrize(
    ("server", "slide", "corner"),
    [
        (uri(1000, 600), SLIDE, (0, 0)),
        (uri(800, 400), SLIDE, (100, 50)),
        (uri(1000, 600), PLAIN, (0, 0)),
        (uri(), PLAIN, (0, 0)),
        (uri(providerClassName=OPENSLIDE), SLIDE, (100, 50)),
        ({"builderType": "cropped", "region": {"x": 7, "y": 9, "width": 20, "height": 30},
          "builder": uri(800, 400)}, SLIDE, (107, 59)),
        ({"builderType": "rotated", "rotation": "ROTATE_180", "builder": uri(1000, 600)}, PLAIN,
         (1000, 600)),
        ({"builderType": "rotated", "rotation": "ROTATE_90", "builder": uri(1000, 600)}, PLAIN,
         (0, 600)),
        ({"builderType": "rotated", "rotation": "ROTATE_90", "metadata": {"width": 600, "height": 1000},
          "builder": uri()}, PLAIN, (0, 600)),
        ({"builderType": "rotated", "rotation": "ROTATE_270", "builder": uri(800, 400)}, SLIDE,
         (900, 50)),
        (uri(600, 1000, args=["--rotate", "ROTATE_90"]), PLAIN, (0, 600)),
        (uri(1000, 600, args=["--rotate=ROTATE_180"]), PLAIN, (1000, 600)),
        (uri(1000, 600, args=["--series", "0", "--rotate", "ROTATE_NONE"]), PLAIN, (0, 0)),
        ({"builderType": "swapRedBlue", "builder": uri(1000, 600)}, PLAIN, (0, 0)),
    ],
)  # fmt: skip
def test_the_corner_of_an_image_lies_where_its_builders_say(
    server: dict[str, Any], slide: SlideExtent, corner: tuple[int, int]
) -> None:
    frame = frame_of(image(server), slide)
    (at,) = frame.place(np.array([shapely.Point(0, 0)], dtype=object))
    assert (at.x, at.y) == corner


@given(quarter, st.integers(1, 30), st.integers(1, 20))
def test_a_turn_keeps_what_is_inside_inside(turn: tuple[int, ...], x: int, y: int) -> None:
    names = {(0, 1, -1, 0): "ROTATE_90", (-1, 0, 0, -1): "ROTATE_180", (0, -1, 1, 0): "ROTATE_270"}
    rotation = names.get(turn, "ROTATE_NONE")
    server = {"builderType": "rotated", "rotation": rotation, "builder": uri(1000, 600)}
    frame = frame_of(image(server), PLAIN)
    width, height = (600, 1000) if rotation in ("ROTATE_90", "ROTATE_270") else (1000, 600)
    whole = frame.place(np.array([shapely.box(0, 0, width, height)], dtype=object))[0]
    assert whole.bounds == (0, 0, 1000, 600)
    small = frame.place(np.array([shapely.box(x, y, x + 3, y + 5)], dtype=object))[0]
    assert whole.contains(small)
    assert small.area == 15


@pytest.mark.parametrize(
    ("server", "slide", "said"),
    [
        (
            uri(500, 300),
            PLAIN,
            "500 x 300 px in QuPath.*1,000 x 600 px; it is a copy reduced 2 times",
        ),
        (uri(999, 300), SLIDE, "of which 800 x 400 px were scanned"),
        (uri(), SLIDE, "open it in QuPath once and save it"),
        ({"builderType": "affine", "builder": uri(1000, 600)}, PLAIN, "transformed"),
        ({"builderType": "sparse"}, PLAIN, "put together"),
        ({"builderType": "cropped", "builder": uri(1000, 600)}, PLAIN, "cropped"),
        ({"builderType": "later", "builder": uri(1000, 600)}, PLAIN, "made by 'later'"),
    ],
)
def test_what_has_no_way_to_the_slide_is_refused_in_one_line(
    server: dict[str, Any], slide: SlideExtent, said: str
) -> None:
    with pytest.raises(SourceError, match=said) as error:
        frame_of(image(server), slide)
    assert "\n" not in str(error.value)


def test_another_pixel_size_is_noted_and_the_same_is_not() -> None:
    def with_pixel(value: float, unit: str = "µm") -> ProjectImage:
        metadata = {"pixelCalibration": {"pixelWidth": {"value": value, "unit": unit}}}
        return image({"builderType": "uri", "metadata": metadata})

    note = pixel_size_note(with_pixel(0.5), PLAIN)
    assert note is not None
    assert "0.5 um per pixel in QuPath" in note
    assert pixel_size_note(with_pixel(0.2501), PLAIN) is None
    assert pixel_size_note(with_pixel(1.0, "px"), PLAIN) is None
    assert pixel_size_note(image(uri()), PLAIN) is None


def test_the_whole_slide_is_what_nothing_changes() -> None:
    assert Frame().is_whole_slide
    assert WHOLE_SLIDE.inverse == WHOLE_SLIDE
