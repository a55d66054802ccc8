"""What pathquorum wrote for QuPath, recognised when it comes back in a pull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.records import PathObject
from annotation.tables import PushedObject, Slide

__all__ = ["PushedObjects", "PushedOrigin", "is_changed", "same_outline"]

# QuPath keeps vertices as float32: up to 0.016 px beside what was written at 2^17 px.
FLOAT32_TOLERANCE_PX = 0.05


@dataclass(frozen=True, slots=True)
class PushedOrigin:
    """Where a pulled object came from, and whether a person has changed it since."""

    name: str
    changed: bool


class PushedObjects:
    """The objects that were pushed to one slide, by UUID."""

    def __init__(self, session: Session, slide: Slide) -> None:
        rows = session.scalars(
            select(PushedObject).where(PushedObject.slide_id == slide.id).order_by(PushedObject.id)
        )
        self._by_uuid = {row.uuid: row for row in rows}

    def origin(self, obj: PathObject, uuid: str, geometry_digest: bytes) -> PushedOrigin | None:
        """The push an object came from; None for a person's own.

        A lock, a name or a measurement is no change of what it says: class and outline are.
        """
        row = self._by_uuid.get(uuid)
        if row is None:
            return None
        return PushedOrigin(f"{row.origin}/{row.uuid}", is_changed(row, obj, geometry_digest))


def is_changed(row: PushedObject, obj: PathObject, geometry_digest: bytes) -> bool:
    """Whether a person has changed what was pushed."""
    if obj.path_class != row.path_class:
        return True
    return geometry_digest != row.geometry_digest and not same_outline(
        obj.geometry, shapely.from_wkb(row.geometry)
    )


def same_outline(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    """Whether two outlines are the same but for what float32 takes off."""
    pair = shapely.normalize(np.array([one, other], dtype=object))
    return bool(shapely.equals_exact(pair[0], pair[1], tolerance=FLOAT32_TOLERANCE_PX))
