"""Pictures of disputed slides: what each rater drew, and where they disagree.

Nothing but numbers is written into a picture; names stand beside it as text.

Frames: geometry comes in level-0 pixels; *picture pixels* are those of the finished picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.reporting.drawing import DPI, draw_disputed, draw_numbers, draw_outlines
from consensus.reporting.labels import Labelled
from consensus.reporting.window import draw_scale_bar, slide_image, window_around

__all__ = ["DisputedRegion", "SlideView", "draw_slide"]

MOST_NUMBERED: Final = 60
JPEG_QUALITY: Final = 82


@dataclass(frozen=True)
class DisputedRegion:
    """Where a dispute lies, in level-0 pixels; regions come in the order of the queue."""

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
    window = window_around(width_px, height_px, [*drawn, *(d.geometry for d in disputed)])
    picture, problem = slide_image(path, window)
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
        bar = draw_scale_bar(axes, window, mpp)
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
