"""Objects as tiles around their centres, with the labels of the objects.

Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.consensus_items import ResolvedItem
from models.labels.coverage import distributions
from models.labels.items import OpenItems, item_labels
from models.labels.tiles import TileLabels

__all__ = ["ObjectTiles", "object_centres", "object_tiles"]


@dataclass(frozen=True, eq=False)
class ObjectTiles:
    """Tiles around the objects of one slide.

    ``x_px, y_px`` (n,) are top left corners, ``side_px`` the side, ``names`` those of the items.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    side_px: float
    names: tuple[str, ...]
    labels: TileLabels


def object_centres(items: Sequence[ResolvedItem]) -> NDArray[np.float64]:
    """The centroids (n, 2) of the objects among a slide's items, in level-0 pixels."""
    outlines = [item.geometry for item in items if item.geometry is not None]
    centres = shapely.centroid(np.array(outlines, dtype=object))
    return np.column_stack([shapely.get_x(centres), shapely.get_y(centres)]).reshape(-1, 2)


def object_tiles(
    items: Sequence[ResolvedItem],
    classes: Sequence[str],
    raters: Sequence[str],
    side_px: float,
    *,
    open_items: OpenItems = "masked",
) -> ObjectTiles:
    """A tile around each object, ``absent`` ones included: they are what somebody took for one.

    Parameters
    ----------
    items
        The slide's objects; a tile's middle is the centroid of what was matched.
    side_px
        Side of a tile in level-0 pixels. Tiles may reach beyond the slide.
    """
    objects = [item for item in items if item.geometry is not None]
    labels = item_labels(objects, classes, raters, open_items=open_items)
    x_px, y_px = object_centres(objects).T
    return ObjectTiles(
        x_px=x_px - side_px / 2,
        y_px=y_px - side_px / 2,
        side_px=side_px,
        names=tuple(item.name for item in objects),
        labels=TileLabels(
            posterior=distributions(labels.posterior * labels.teaches[:, None]),
            hard=labels.hard,
            votes=labels.votes,
            in_domain=labels.rated.astype(np.float32),
            labelled=labels.teaches.astype(np.float32),
            decided=labels.decided,
            classes=labels.classes,
            raters=labels.raters,
        ),
    )
