"""What a picture shows of a slide: which part, how small, the tissue behind it and its scale bar.

Frames: geometry comes in level-0 pixels; *picture pixels* are those of the finished picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import SlideError
from consensus.reporting.numbers import length_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image

__all__ = ["LONGEST_PX", "Window", "draw_scale_bar", "slide_image", "window_around"]

LONGEST_PX: Final = 1000
SHORTEST_PX: Final = 120
WHOLE_FROM: Final = 0.5
"""Part of the slide from which on all of it is shown, instead of where anyone drew."""
MARGIN: Final = 0.06
LEAST_MARGIN_PX: Final = 200
_SCALE_BAR: Final = 0.2


@dataclass(frozen=True)
class Window:
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


def window_around(width_px: int, height_px: int, drawn: Sequence[shapely.Geometry]) -> Window:
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
    return Window(
        x_px=x_min - grow_x / 2,
        y_px=y_min - grow_y / 2,
        width_px=x_max - x_min + grow_x,
        height_px=y_max - y_min + grow_y,
        scale=scale,
        whole=whole,
    )


def slide_image(path: Path | None, window: Window) -> tuple[Image.Image | None, str | None]:
    """The slide's picture, or why there is none."""
    from annotation.slides import read_region

    if path is None:
        return None, "the slide was registered without an image"
    if not path.exists():
        return None, "the slide’s image is not at hand"
    try:
        corner_and_size = window.x_px, window.y_px, window.width_px, window.height_px
        return read_region(path, *corner_and_size, max_px=max(window.size_px)), None
    except (SlideError, OSError):
        return None, "the slide’s image cannot be read"


def draw_scale_bar(axes: Axes, window: Window, mpp: float) -> str:
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
