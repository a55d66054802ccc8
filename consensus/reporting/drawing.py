"""What is drawn over a slide: outlines by rater, disputed regions and their numbers.

Raters are told apart by the pattern of their lines as well as by colour, so that a page printed
in black and white says the same. Everything here is in picture pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.reporting.labels import Labelled, place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline

__all__ = [
    "DPI",
    "LINE_STYLES",
    "PT_PER_PX",
    "LineStyle",
    "dashes",
    "draw_disputed",
    "draw_numbers",
    "draw_outlines",
    "line_style",
    "outline_path",
]

DPI: Final = 100
PT_PER_PX: Final = 72 / DPI
_SIMPLIFY_PX: Final = 0.35


@dataclass(frozen=True)
class LineStyle:
    """How a rater's outlines are drawn: colour, dashes (on, off, ... in px), width and marker."""

    color: str
    dash_px: tuple[float, ...]
    width_px: float
    marker: str


_COLORS: Final = ("#0B3C9C", "#B23A00", "#00663A", "#7A1FA2", "#101010", "#7A5200")
_DASHES: Final[tuple[tuple[float, ...], ...]] = (
    (),
    (10, 5),
    (2, 3),
    (14, 4, 2, 4),
    (24, 7),
    (9, 3, 2, 3, 2, 3),
)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")

LINE_STYLES: Final = tuple(
    LineStyle(color, dash, width, marker)
    for width in (2.0, 3.6)
    for color, dash, marker in zip(_COLORS, _DASHES, _MARKERS, strict=True)
)
"""The styles of the first raters; they begin again after the last."""


def line_style(rater: int) -> LineStyle:
    """The style of the rater with this place among all raters of the run."""
    return LINE_STYLES[rater % len(LINE_STYLES)]


def draw_outlines(axes: Axes, outlines: Mapping[int, NDArray[np.object_]]) -> None:
    """Draw what each rater drew, by the rater's place among all raters of the run."""
    from matplotlib.collections import LineCollection

    lines: list[tuple[LineStyle, list[NDArray[np.float64]]]] = []
    for rater, geometries in sorted(outlines.items()):
        style = line_style(rater)
        parts = shapely.get_parts(geometries)
        lines.append((style, list(_lines(parts))))
        points = parts[shapely.get_dimensions(parts) == 0]
        if len(points):
            _draw_points(axes, style, shapely.get_coordinates(points))
    # All casings come before all lines, so that none hides another rater's line.
    for style, segments in lines:
        axes.add_collection(
            LineCollection(
                segments,
                colors="white",
                linewidths=(style.width_px + 2.2) * PT_PER_PX,
                alpha=0.75,
                capstyle="round",
                zorder=2,
            )
        )
    for style, segments in lines:
        axes.add_collection(
            LineCollection(
                segments,
                colors=style.color,
                linewidths=style.width_px * PT_PER_PX,
                linestyles=[dashes(style)],
                capstyle="butt",
                zorder=3,
            )
        )


def dashes(style: LineStyle) -> tuple[float, tuple[float, ...] | None]:
    """Dashes as matplotlib counts them, in multiples of the line's width."""
    if not style.dash_px:
        return 0.0, None
    return 0.0, tuple(length / style.width_px for length in style.dash_px)


def _draw_points(axes: Axes, style: LineStyle, xy: NDArray[np.float64]) -> None:
    axes.scatter(
        xy[:, 0],
        xy[:, 1],
        s=60,
        marker=style.marker,
        facecolors="none",
        edgecolors=style.color,
        linewidths=1.4,
        zorder=3,
    )


def _lines(parts: NDArray[np.object_]) -> Iterator[NDArray[np.float64]]:
    """The rings and lines of geometries, with no more vertices than the picture shows."""
    dimension = shapely.get_dimensions(parts)
    rings = shapely.get_rings(parts[dimension == 2])
    curves = np.concatenate([rings, parts[dimension == 1]])
    if not len(curves):
        return
    xy, owner = shapely.get_coordinates(curves, return_index=True)
    # As plain lines, which may shrink to a dot; rings would have to keep four vertices.
    lines = shapely.linestrings(xy, indices=owner)
    coarse = shapely.simplify(lines, _SIMPLIFY_PX, preserve_topology=False)
    xy, owner = shapely.get_coordinates(coarse, return_index=True)
    yield from np.split(xy, np.flatnonzero(np.diff(owner)) + 1)


def draw_disputed(axes: Axes, regions: NDArray[np.object_]) -> None:
    """Whiten and hatch disputed regions; a ring goes round what has no area."""
    from matplotlib.collections import PathCollection

    parts = shapely.get_parts(regions)
    polygons = parts[shapely.get_dimensions(parts) == 2]
    paths = [outline_path(polygon) for polygon in polygons]
    axes.add_collection(
        PathCollection(paths, facecolors=(1.0, 1.0, 1.0, 0.3), edgecolors="none", zorder=1)
    )
    axes.add_collection(
        PathCollection(
            paths,
            facecolors="none",
            edgecolors="black",
            linewidths=0.6,
            hatch="///",
            zorder=1.5,
        )
    )
    rest = parts[shapely.get_dimensions(parts) < 2]
    if len(rest):
        xy = shapely.get_coordinates(shapely.centroid(rest))
        axes.scatter(
            xy[:, 0], xy[:, 1], s=260, facecolors="none", edgecolors="black", linewidths=1.2
        )


def outline_path(polygon: shapely.Polygon) -> Outline:
    """A polygon with its holes as one path."""
    from matplotlib.path import Path as OutlinePath

    # Holes must run the other way round, or they would be filled.
    rings = shapely.get_rings(shapely.orient_polygons(polygon))
    pieces = [OutlinePath(shapely.get_coordinates(ring), closed=True) for ring in rings]
    return OutlinePath.make_compound_path(*pieces)


def draw_numbers(axes: Axes, labelled: Sequence[Labelled], size_px: tuple[int, int]) -> None:
    """Write the number of each region on it or beside it, with a line to it."""
    for label in place_labels(labelled, size_px):
        if label.outside:
            axes.plot(
                [label.x_px, label.anchor_x_px],
                [label.y_px, label.anchor_y_px],
                color="black",
                linewidth=0.8,
                zorder=4,
            )
        axes.text(
            label.x_px,
            label.y_px,
            label.text,
            ha="center",
            va="center",
            fontsize=12,
            fontweight="bold",
            color="black",
            zorder=5,
            bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "black", "lw": 0.8},
        )
