"""What pathquorum wrote for QuPath, recognised when it comes back in a pull."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.records import PathObject
from annotation.tables import PushedObject, Slide

__all__ = [
    "PREDICTIONS",
    "PushedObjects",
    "PushedOrigin",
    "is_changed",
    "is_prediction",
    "same_outline",
]

PREDICTIONS = "predictions/"
"""How the origin of a model's objects begins."""

# QuPath keeps vertices as float32: up to 0.016 px beside what was written at 2^17 px.
FLOAT32_TOLERANCE_PX = 0.05


@dataclass(frozen=True, slots=True)
class PushedOrigin:
    """Where a pulled object came from, and whether a person has changed it since."""

    push: str
    uuid: str
    changed: bool

    @property
    def name(self) -> str:
        """The object's, within all pushes."""
        return f"{self.push}/{self.uuid}"


def is_prediction(push: str) -> bool:
    """Whether a push brought a model's predictions."""
    return push.startswith(PREDICTIONS)


class PushedObjects:
    """The objects that were pushed to one slide, by UUID."""

    def __init__(self, session: Session, slide: Slide) -> None:
        rows = session.scalars(
            select(PushedObject).where(PushedObject.slide_id == slide.id).order_by(PushedObject.id)
        )
        self._by_uuid: dict[str, list[PushedObject]] = defaultdict(list)
        for row in rows:
            self._by_uuid[row.uuid].append(row)

    def origin(self, obj: PathObject, uuid: str, geometry_digest: bytes) -> PushedOrigin | None:
        """The push an object came from; None for a person's own.

        A lock, a name or a measurement is no change of what it says: class and outline are.
        """
        rows = self._by_uuid.get(uuid)
        if not rows:
            return None
        return PushedOrigin(rows[-1].origin, uuid, is_changed(rows, obj, geometry_digest))


def is_changed(rows: Sequence[PushedObject], obj: PathObject, geometry_digest: bytes) -> bool:
    """Whether a person has changed what was pushed, so that it is none of its states on record.

    There are several where it was replaced, also by a push that was stopped before it was written.
    """
    return all(_differs(row, obj, geometry_digest) for row in rows)


def _differs(row: PushedObject, obj: PathObject, geometry_digest: bytes) -> bool:
    if obj.path_class != row.path_class:
        return True
    return geometry_digest != row.geometry_digest and not same_outline(
        obj.geometry, shapely.from_wkb(row.geometry)
    )


def same_outline(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    """Whether two outlines are the same but for what float32 takes off."""
    pair = shapely.normalize(np.array([one, other], dtype=object))
    return bool(shapely.equals_exact(pair[0], pair[1], tolerance=FLOAT32_TOLERANCE_PX))
