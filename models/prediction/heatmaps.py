"""Heatmaps of a slide as PNG: where attention lies, which class is seen where, and how surely.

Colours are viridis, which people with any colour vision can order; outlines are of the palette of
Okabe & Ito. Nothing but numbers and the classes' names is written into a picture.

Shapes: N tiles.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from annotation.paths import file_name, inside, replacing
from annotation.terminal import plain
from models.prediction.predictor import Predicted
from models.prediction.regions import PredictedRegion
from models.tiling.picture import SlidePicture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Heatmap", "draw_heatmap", "draw_regions", "heatmaps_of", "write_heatmaps"]

Floats = NDArray[np.float64]

LARGEST_PX: Final = 1000
"""Longer side of the slide in a picture."""

_DPI: Final = 100
_COLOURS: Final = "viridis"
_OPACITY: Final = 0.6
_SMALLEST_IN: Final = 3.0
_MARGIN_IN: Final = (1.1, 0.5)
_LONGEST_NAME: Final = 32
_PALETTE: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


@dataclass(frozen=True, eq=False)
class Heatmap:
    """What is shown of a slide's tiles.

    Attributes
    ----------
    name
        ``attention``, ``entropy``, ``mutual information``, or ``class`` and which.
    title
        Of the picture.
    values : shape (N,)
    low, high
        At the ends of the scale; what is beyond has the colour of the end.
    """

    name: str
    title: str
    values: Floats
    low: float
    high: float


def heatmaps_of(predicted: Predicted) -> list[Heatmap]:
    """All heatmaps of a slide: attention first, then each class, then how sure it is.

    Attention is shown as a multiple of what each tile would have were all alike.
    """
    slide = predicted.slide
    found = []
    if slide.attention is not None:
        times = slide.attention.astype(np.float64) * len(slide.attention)
        high = max(2.0, float(np.percentile(times, 99)))
        found.append(Heatmap("attention", "Attention, times an equal share", times, 0.0, high))
    for name, column in zip(slide.classes, slide.probability.T, strict=True):
        title = f"Probability of {_shortened(plain(name))}"
        found.append(Heatmap(f"class {name}", title, column.astype(np.float64), 0.0, 1.0))
    most = float(np.log(len(slide.classes)))
    entropy = slide.entropy.astype(np.float64)
    found.append(Heatmap("entropy", "Entropy, nats", entropy, 0.0, most))
    if slide.mutual_information.any():
        disagreed = slide.mutual_information.astype(np.float64)
        title = "Mutual information, nats"
        found.append(Heatmap("mutual information", title, disagreed, 0.0, float(disagreed.max())))
    return found


def draw_heatmap(predicted: Predicted, heatmap: Heatmap) -> bytes:
    """A heatmap over the slide, with its scale, as PNG."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shown = _Shown(predicted.tissue.picture)
    overlay = shown.tiles(predicted.slide.coordinates, predicted.slide.side_px, heatmap.values)
    figure, axes = shown.figure()
    axes.imshow(shown.pixels, interpolation="nearest")
    scale = Normalize(heatmap.low, heatmap.high)
    axes.imshow(overlay, cmap=_COLOURS, norm=scale, alpha=_OPACITY, interpolation="nearest")
    opaque = ScalarMappable(scale, _COLOURS)
    figure.colorbar(opaque, ax=axes, fraction=0.04, pad=0.02)
    axes.set_title(heatmap.title, loc="left", fontsize=10, parse_math=False)
    return _png(figure)


def draw_regions(predicted: Predicted) -> bytes:
    """The outlines of a slide's regions, a colour a class, as PNG."""
    from matplotlib.lines import Line2D

    shown = _Shown(predicted.tissue.picture)
    figure, axes = shown.figure()
    axes.imshow(shown.pixels, interpolation="nearest")
    entries = []
    for number, name in enumerate(predicted.slide.classes):
        mine = [region for region in predicted.regions if region.class_name == name]
        if mine:
            # Beyond seven classes colours come again, with other dashes.
            turn, place = divmod(number, len(_PALETTE))
            line: dict[str, Any] = {
                "color": _PALETTE[place],
                "linestyle": ("-", "--", ":", "-.")[turn % 4],
            }
            axes.add_collection(shown.outlines(mine, line))
            entries.append(Line2D([], [], label=_shortened(plain(name)), linewidth=2, **line))
    legend = axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _png(figure)


def write_heatmaps(folder: Path, predicted: Predicted) -> list[Path]:
    """Write all of a slide's heatmaps, and its regions where it has any, into a folder of its own."""
    own = inside(folder, file_name(predicted.slide.slide, ""))
    drawn = [(heatmap.name, draw_heatmap(predicted, heatmap)) for heatmap in heatmaps_of(predicted)]
    if predicted.regions:
        drawn.append(("regions", draw_regions(predicted)))
    paths = []
    for name, picture in drawn:
        path = inside(own, file_name(name, ".png"))
        with replacing(path) as temporary:
            temporary.write_bytes(picture)
        paths.append(path)
    return paths


class _Shown:
    """A slide as it stands in a picture."""

    def __init__(self, picture: SlidePicture) -> None:
        image = Image.fromarray(picture.pixels)
        self._shrink = max(1.0, max(image.size) / LARGEST_PX)
        size = (round(image.width / self._shrink), round(image.height / self._shrink))
        self.pixels = np.asarray(
            image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BOX)
        )
        self._left_px, self._top_px = picture.x_px, picture.y_px
        self._cell_px = picture.cell_px * self._shrink

    def tiles(self, coordinates: Floats, side_px: float, values: Floats) -> NDArray[Any]:
        """Values of tiles in the picture's pixels, masked where there is no tile."""
        height, width = self.pixels.shape[:2]
        found = np.full((height, width), np.nan)
        begin = self._at(coordinates)
        end = np.maximum(self._at(coordinates + side_px), begin + 1)
        for (left, top), (right, bottom), value in zip(
            begin.tolist(), end.tolist(), values.tolist(), strict=True
        ):
            found[max(top, 0) : bottom, max(left, 0) : right] = value
        return np.ma.masked_invalid(found)

    def outlines(self, regions: Sequence[PredictedRegion], line: dict[str, Any]) -> Any:
        """The outlines of regions, holes among them."""
        from matplotlib.collections import LineCollection

        rings = shapely.get_rings([region.polygon for region in regions])
        corner = np.array([self._left_px, self._top_px])
        lines = [(shapely.get_coordinates(ring) - corner) / self._cell_px - 0.5 for ring in rings]
        return LineCollection(
            lines, colors=line["color"], linestyles=line["linestyle"], linewidths=1.5
        )

    def figure(self) -> tuple[Figure, Axes]:
        """A figure as large as the slide's picture, or larger where that is tiny."""
        from matplotlib.figure import Figure

        height, width = self.pixels.shape[:2]
        beside, below = _MARGIN_IN
        inches = max(1 / _DPI, _SMALLEST_IN / max(height, width))
        size = (width * inches + beside, height * inches + below)
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
        axes = figure.subplots()
        axes.set_axis_off()
        return figure, axes

    def _at(self, corners: Floats) -> NDArray[np.int64]:
        corner = np.array([self._left_px, self._top_px])
        return np.asarray(np.rint((corners - corner) / self._cell_px), np.int64)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _png(figure: Figure) -> bytes:
    """The same figure gives the same bytes."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that the font lacks is a box here; the page beside has the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
