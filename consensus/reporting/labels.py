"""Where the number of a disputed region stands in a picture: on it, or beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Label", "Labelled", "place_labels"]

HEIGHT_PX: Final = 28.0
DIGIT_PX: Final = 11.5
PADDING_PX: Final = 13.0
_STEPS: Final = (1.0, 2.2, 3.6)
_DIRECTIONS: Final = ((1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1), (1, 0), (-1, 0), (0, 1))


@dataclass(frozen=True)
class Labelled:
    """A text and the region that it names, in picture pixels."""

    text: str
    region: shapely.Geometry


@dataclass(frozen=True)
class Label:
    """Where a text stands (its middle), and the point of the region that it belongs to."""

    text: str
    x_px: float
    y_px: float
    anchor_x_px: float
    anchor_y_px: float
    outside: bool


def place_labels(labelled: Sequence[Labelled], size_px: tuple[int, int]) -> list[Label]:
    """Place labels one after the other where they hide neither each other nor their region.

    A region that is much larger than its label carries it; beside a smaller one it stands at the
    first free place round about. Where none is free, labels overlap.
    """
    taken = np.zeros((0, 4))
    placed = []
    for one in labelled:
        half_width, half_height = (DIGIT_PX * len(one.text) + PADDING_PX) / 2, HEIGHT_PX / 2
        largest = max(shapely.get_parts(one.region), key=lambda part: part.area)
        anchor = largest.representative_point()
        choices = list(_choices(largest, anchor, half_width, half_height))
        boxes = np.array(
            [(x - half_width, y - half_height, x + half_width, y + half_height) for x, y in choices]
        )
        within = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= size_px).all(axis=1)
        free = within & ~_crosses_any(boxes, taken)
        best = int(np.argmax(free)) if free.any() else int(np.argmax(within))
        taken = np.vstack([taken, boxes[best]])
        x, y = choices[best]
        outside = not one.region.contains(shapely.Point(x, y))
        placed.append(Label(one.text, x, y, anchor.x, anchor.y, outside))
    return placed


def _crosses_any(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (x min, y min, x max, y max) overlap at least one of the others."""
    begins_before = (boxes[:, None, :2] < others[None, :, 2:]).all(axis=2)
    ends_after = (boxes[:, None, 2:] > others[None, :, :2]).all(axis=2)
    return np.asarray(np.any(begins_before & ends_after, axis=1), dtype=np.bool_)


def _choices(
    region: shapely.Geometry, anchor: shapely.Point, half_width: float, half_height: float
) -> Iterator[tuple[float, float]]:
    """Places for a label, the best first."""
    x_min, y_min, x_max, y_max = region.bounds
    if x_max - x_min > 5 * half_width and y_max - y_min > 5 * half_height:
        yield anchor.x, anchor.y
    middle_x, middle_y = (x_min + x_max) / 2, (y_min + y_max) / 2
    for step in _STEPS:
        for right, down in _DIRECTIONS:
            yield (
                middle_x + right * ((x_max - x_min) / 2 + step * (half_width + 4)),
                middle_y + down * ((y_max - y_min) / 2 + step * (half_height + 4)),
            )
    yield anchor.x, anchor.y
