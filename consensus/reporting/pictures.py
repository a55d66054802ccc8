"""Pictures of disputed slides: what each rater drew, and where they disagree.

Nothing but numbers is written into a picture; names stand beside it as text.

Frames: geometry comes in level-0 pixels; *picture pixels* are those of the finished picture.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import SlideError
from consensus.reporting.drawing import DPI, draw_disputed, draw_numbers, draw_outlines
from consensus.reporting.labels import Labelled
from consensus.reporting.numbers import length_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

__all__ = ["DisputedRegion", "SlideView", "draw_slide"]

LONGEST_PX: Final = 1000
SHORTEST_PX: Final = 120
WHOLE_FROM: Final = 0.5
"""Part of the slide from which on all of it is shown, instead of where anyone drew."""
MARGIN: Final = 0.06
LEAST_MARGIN_PX: Final = 200
MOST_NUMBERED: Final = 60
JPEG_QUALITY: Final = 82
_SCALE_BAR: Final = 0.2


@dataclass(frozen=True)
class DisputedRegion:
    """Where a dispute lies, in level-0 pixels; regions come the most severe first."""

    dispute: int
    geometry: shapely.Geometry


@dataclass(frozen=True)
class SlideView:
    """A finished picture.

    ``part`` is what is shown of the slide (x, y, width, height in level-0 pixels), None for all
    of it. ``image`` says whether the slide itself stands behind the outlines, and ``problem`` why
    it doesn't. ``numbered`` are the disputes that bear their number.
    """

    uri: str
    width_px: int
    height_px: int
    part: tuple[float, float, float, float] | None
    image: bool
    problem: str | None
    numbered: list[int]
    scale_bar: str


@dataclass(frozen=True)
class _Window:
    """What is shown of the slide, and how small."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    scale: float
    whole: bool

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height in picture pixels."""
        return round(self.width_px / self.scale), round(self.height_px / self.scale)

    def shown(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Geometries in picture pixels."""
        moved: NDArray[np.object_] = shapely.transform(
            geometries, lambda xy: (xy - (self.x_px, self.y_px)) / self.scale
        )
        return moved


def draw_slide(
    path: Path | None,
    *,
    width_px: int,
    height_px: int,
    mpp: float,
    outlines: Mapping[int, Sequence[shapely.Geometry]],
    disputed: Sequence[DisputedRegion],
) -> SlideView:
    """Draw a slide, what each rater drew on it, and the disputed regions with their numbers.

    Parameters
    ----------
    path
        The slide's image; where it is None or can't be read, a plain frame stands for it.
    outlines
        What each rater drew, by the rater's place among all raters of the run.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [g for geometries in outlines.values() for g in geometries]
    window = _window(width_px, height_px, [*drawn, *(d.geometry for d in disputed)])
    picture, problem = _image(path, window)
    width, height = window.size_px
    with mpl.rc_context({"hatch.linewidth": 0.9, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="#F3F3F0")
        FigureCanvasAgg(figure)  # no pyplot: no windows, no global state
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        if picture is not None:
            axes.imshow(np.asarray(picture), extent=(0, width, height, 0), aspect="auto", zorder=0)
        draw_outlines(
            axes,
            {r: window.shown(np.array(drawn, dtype=object)) for r, drawn in outlines.items()},
        )
        shown_regions = window.shown(np.array([d.geometry for d in disputed], dtype=object))
        draw_disputed(axes, shown_regions)
        labelled = [
            Labelled(str(d.dispute), region)
            for d, region in zip(disputed, shown_regions, strict=True)
        ][:MOST_NUMBERED]
        draw_numbers(axes, labelled, (width, height))
        bar = _draw_scale_bar(axes, window, mpp)
        stream = io.BytesIO()
        figure.savefig(stream, format="raw", dpi=DPI)
    pixels = np.frombuffer(stream.getvalue(), dtype=np.uint8).reshape(height, width, 4)
    return SlideView(
        uri=_data_uri(pixels[:, :, :3], photograph=picture is not None),
        width_px=width,
        height_px=height,
        part=(
            None if window.whole else (window.x_px, window.y_px, window.width_px, window.height_px)
        ),
        image=picture is not None,
        problem=problem,
        numbered=[d.dispute for d in disputed[:MOST_NUMBERED]],
        scale_bar=bar,
    )


def _window(width_px: int, height_px: int, drawn: Sequence[shapely.Geometry]) -> _Window:
    """The whole slide, or where anyone drew if that is a small part of it."""
    x_min, y_min, x_max, y_max = shapely.total_bounds(np.array(drawn, dtype=object))
    margin = max(MARGIN * max(x_max - x_min, y_max - y_min), LEAST_MARGIN_PX)
    x_min, y_min = max(0.0, x_min - margin), max(0.0, y_min - margin)
    x_max, y_max = min(float(width_px), x_max + margin), min(float(height_px), y_max + margin)
    whole = (x_max - x_min) * (y_max - y_min) >= WHOLE_FROM * width_px * height_px
    if whole:
        x_min, y_min, x_max, y_max = 0.0, 0.0, float(width_px), float(height_px)
    scale = max(x_max - x_min, y_max - y_min) / LONGEST_PX
    # In a strip nothing could be seen: what lies beyond the slide's edge is shown as well.
    grow_x = max(0.0, SHORTEST_PX * scale - (x_max - x_min))
    grow_y = max(0.0, SHORTEST_PX * scale - (y_max - y_min))
    return _Window(
        x_px=x_min - grow_x / 2,
        y_px=y_min - grow_y / 2,
        width_px=x_max - x_min + grow_x,
        height_px=y_max - y_min + grow_y,
        scale=scale,
        whole=whole,
    )


def _image(path: Path | None, window: _Window) -> tuple[Image.Image | None, str | None]:
    """The slide's picture, or why there is none."""
    from annotation.slides import read_region

    if path is None:
        return None, "the slide was registered without an image"
    if not path.exists():
        return None, "the slide’s image is not at hand"
    try:
        corner_and_size = window.x_px, window.y_px, window.width_px, window.height_px
        return read_region(path, *corner_and_size, max_px=LONGEST_PX), None
    except (SlideError, OSError):
        return None, "the slide’s image cannot be read"


def _draw_scale_bar(axes: Axes, window: _Window, mpp: float) -> str:
    """A bar of a round length in the lower left corner; returns its length in words."""
    width, height = window.size_px
    um_per_px = window.scale * mpp
    length_um = _round_length(_SCALE_BAR * width * um_per_px)
    x, y = 16.0, height - 14.0
    bar_px = length_um / um_per_px
    axes.plot([x, x + bar_px], [y, y], color="white", linewidth=5, zorder=6, solid_capstyle="butt")
    axes.plot(
        [x, x + bar_px], [y, y], color="black", linewidth=2.4, zorder=7, solid_capstyle="butt"
    )
    axes.text(
        x + bar_px / 2,
        y - 5,
        length_text(length_um),
        ha="center",
        va="bottom",
        fontsize=12,
        color="black",
        zorder=7,
        bbox={"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
    )
    return length_text(length_um)


def _round_length(at_most: float) -> float:
    """The largest of 1, 2, 5, 10, ... up to a length."""
    power = 10.0 ** math.floor(math.log10(at_most))
    return max(step * power for step in (1, 2, 5) if step * power <= at_most)


def _data_uri(pixels: NDArray[np.uint8], *, photograph: bool) -> str:
    """A picture as a ``data:`` URI: JPEG behind which a slide stands, else a PNG."""
    from PIL import Image

    picture, stream = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    if photograph:
        picture.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
        kind = "jpeg"
    else:
        picture.quantize(64).save(stream, "PNG", optimize=True)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
