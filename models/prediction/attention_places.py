"""Where a model's attention lies: on tissue, glass and pen marks, and on what experts annotated.

Attention is spread over a tile by area: of a tile that is half glass, half of its attention lies on
glass. Beside each share stands that of an equal attention to all tiles, which is what chance gives.

Shapes: N tiles, F faces, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.labels.coverage import clean_shares, edges_of, tile_areas
from models.labels.items import item_labels
from models.prediction.predictor import Predicted

__all__ = ["PlaceShare", "annotated_shares", "attention_warnings", "place_shares"]

Floats = NDArray[np.float64]

MOST_ON_PEN = 0.05
MOST_OFF_TISSUE = 0.5
"""With more attention on pen marks, or off the tissue, there is a warning."""

TISSUE, GLASS, PEN, BLURRED = "tissue", "no tissue", "pen marks", "blurred tissue"
NOT_ANNOTATED = "not annotated, or left open"


@dataclass(frozen=True)
class PlaceShare:
    """How much of the attention lies on something, and how much would if all tiles had the same."""

    place: str
    attention: float
    equal: float


def place_shares(predicted: Predicted) -> list[PlaceShare]:
    """Shares of tissue, blurred tissue, pen marks and the rest; nothing without attention."""
    attention = predicted.slide.attention
    if attention is None:
        return []
    mask = predicted.tissue.mask
    x, y = predicted.slide.coordinates.T
    shares = {
        place: replace(mask, tissue=cells).share(x, y, predicted.slide.side_px)
        for place, cells in ((TISSUE, mask.tissue), (BLURRED, mask.blurred), (PEN, mask.pen))
    }
    shares[GLASS] = np.clip(1.0 - sum(shares.values()), 0.0, 1.0)
    return [_share(place, of_tile, attention) for place, of_tile in shares.items()]


def attention_warnings(shares: Sequence[PlaceShare]) -> list[str]:
    """What is wrong with where attention lies, a sentence each."""
    on = {share.place: share.attention for share in shares}
    warnings = []
    if on.get(PEN, 0.0) > MOST_ON_PEN:
        warnings.append(
            f"{on[PEN]:.0%} of the attention lies on pen marks: somebody's marking may have decided "
            "the class"
        )
    off = 1.0 - on.get(TISSUE, 1.0)
    if off > MOST_OFF_TISSUE:
        warnings.append(
            f"{off:.0%} of the attention lies outside sharp tissue: look at the heatmap before the "
            "class is believed"
        )
    return warnings


def annotated_shares(release: TrainingRelease, predicted: Predicted) -> list[PlaceShare] | None:
    """Shares of each class that a release of regions says of the slide; read while a session lasts.

    Returns
    -------
    list
        The classes of the release in their order, then what bears none. None where there is
        nothing to compare: no attention, a release of slides or objects, or one without the slide.
    """
    attention = predicted.slide.attention
    slide = _released(release, predicted)
    if attention is None or slide is None or release.task != "regions":
        return None
    faces = [item for item in release.items(slide) if item.geometry is not None]
    labels = item_labels(faces, release.classes, release.raters)
    outlines = np.array([face.geometry for face in faces], dtype=object)
    (x, y), side_px = predicted.slide.coordinates.T, predicted.slide.side_px
    covered_px2 = tile_areas(edges_of(outlines), len(faces), x, y, side_px)  # [N, F]
    of_class = clean_shares(covered_px2 / side_px**2 @ labels.hard_one_hot)  # [N, K]
    shares = [
        _share(name, column, attention)
        for name, column in zip(labels.classes, of_class.T, strict=True)
    ]
    rest = clean_shares(1.0 - of_class.sum(axis=1))
    return [*shares, _share(NOT_ANNOTATED, rest, attention)]


def _released(release: TrainingRelease, predicted: Predicted) -> ReleasedSlide | None:
    """The slide in the release: the same image, under whatever name."""
    slide = predicted.slide
    for one in release.slides:
        known = one.fingerprint is not None
        if one.fingerprint == slide.fingerprint or (not known and one.name == slide.slide):
            return one
    return None


def _share(place: str, of_tile: NDArray[np.floating], attention: NDArray[np.float32]) -> PlaceShare:
    weight = attention.astype(np.float64)
    return PlaceShare(place, float(of_tile @ weight / weight.sum()), float(of_tile.mean()))
