"""What pathquorum wrote for QuPath, recognised when it comes back in a pull."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.records import PathObject
from annotation.tables import PushedObject, Slide

__all__ = [
    "PREDICTIONS",
    "REFERENCE_ONLY",
    "PushedObjects",
    "PushedOrigin",
    "is_changed",
    "is_prediction",
    "pushes_in_metadata",
    "same_outline",
    "scores_key",
]

PREDICTIONS = "predictions/"
"""How the origin of a model's objects begins."""

REFERENCE_ONLY = "for reference only; the decision stays with the pathologist"
"""What is said of every prediction, where a person sees it."""

_METADATA = "pathquorum "
_AT_ONCE = 500
"""UUIDs in one statement; databases take 999 parameters and more."""

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


def scores_key(run: str) -> str:
    """The key in an image's metadata that says where the scores beside it come from.

    The scores of a prediction run stand under this key, a colon and the class.
    """
    return f"{_METADATA}{run}"


def pushes_in_metadata(metadata: Mapping[str, str]) -> set[str]:
    """The pushes of predictions whose scores stand in an image's metadata."""
    return {
        PREDICTIONS + key.removeprefix(_METADATA)
        for key, value in metadata.items()
        if key.startswith(_METADATA) and value.startswith(REFERENCE_ONLY)
    }


class PushedObjects:
    """The objects that were pushed to one slide, looked up by UUID: there may be millions."""

    def __init__(self, session: Session, slide: Slide) -> None:
        self._session = session
        self._slide = slide.id
        ours = select(PushedObject.id).where(PushedObject.slide_id == slide.id).limit(1)
        self._any = session.scalar(ours) is not None

    def origins(
        self,
        objects: Sequence[PathObject],
        uuids: Sequence[str],
        geometry_digests: Sequence[bytes],
    ) -> list[PushedOrigin | None]:
        """The push that each object came from; None for a person's own.

        A lock, a name or a measurement is no change of what it says: class and outline are.
        """
        known = self._known(uuids) if self._any else {}
        return [
            PushedOrigin(rows[-1].origin, uuid, is_changed(rows, thing, digest))
            if (rows := known.get(uuid))
            else None
            for thing, uuid, digest in zip(objects, uuids, geometry_digests, strict=True)
        ]

    def _known(self, uuids: Sequence[str]) -> dict[str, list[PushedObject]]:
        by_uuid: dict[str, list[PushedObject]] = defaultdict(list)
        for first in range(0, len(uuids), _AT_ONCE):
            # By UUID alone: a database that also sees the slide may look through all of its objects.
            rows = self._session.scalars(
                select(PushedObject)
                .where(PushedObject.uuid.in_(uuids[first : first + _AT_ONCE]))
                .order_by(PushedObject.id)
            )
            for row in rows:
                if row.slide_id == self._slide:
                    by_uuid[row.uuid].append(row)
        return by_uuid


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
