"""Writing revisions of one read, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from annotation.class_mapping import ClassMapping
from annotation.geometry import RatedGeometry, to_wkb
from annotation.records import Batch, PathObject, measurements_to_json
from annotation.revisions import REMOVED, Standing
from annotation.tables import Annotation, Pull, Read, Revision

__all__ = ["SLIDE_LABEL", "Draft", "RevisionWriter"]

SLIDE_LABEL = "slide"
"""Object type of a slide's label, which has a class and no place."""

NO_PARENT = ""
"""Stored where a source says that an object hangs below nothing; null means it was not said."""

# Past the ORM, which takes as long to prepare a row as SQLite to store it.
_ANNOTATIONS = cast(Table, Annotation.__table__)
_REVISIONS = cast(Table, Revision.__table__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A revision to be written: which object of the batch, and what became of it."""

    index: int
    uuid: str
    state: str
    derived_from: str | None


class RevisionWriter:
    """Appends revisions to one read, in the caller's transaction.

    Parameters
    ----------
    standing
        The last state of every object that the read ever held, by UUID.
    knows_parents
        Whether the source says what hangs below what; where it doesn't, the last known parent
        stays.
    """

    def __init__(
        self,
        session: Session,
        pull: Pull,
        read: Read,
        standing: Mapping[str, Standing],
        knows_parents: bool,
    ) -> None:
        self._session = session
        self._pull = pull
        self._read = read
        self._standing = standing
        self._knows_parents = knows_parents

    def write(
        self,
        batch: Batch,
        mappings: Sequence[ClassMapping],
        geometries: NDArray[np.object_],
        rated: RatedGeometry,
        drafts: Sequence[Draft],
    ) -> None:
        """Write the drafted objects of a batch; everything but ``drafts`` runs along the batch."""
        if not drafts:
            return
        index = np.array([draft.index for draft in drafts])
        pulled = to_wkb(geometries[index])
        as_rated: list[bytes | None] = [None] * len(drafts)
        # What needed neither repair nor clipping is the same Python object still.
        differs = [p for p, i in enumerate(index) if rated.geometries[i] is not geometries[i]]
        for position, wkb in zip(differs, to_wkb(rated.geometries[index[differs]]), strict=True):
            as_rated[position] = wkb
        keys = self._annotation_ids([draft.uuid for draft in drafts])
        rows = []
        for position, draft in enumerate(drafts):
            i = draft.index
            obj = batch.objects[i]
            rows.append(
                {
                    **self._common(keys[draft.uuid], draft.uuid, draft.state),
                    "class": obj.path_class,
                    "mapped_class": mappings[i].name,
                    "class_kind": mappings[i].kind,
                    "object_type": obj.object_type,
                    "name": obj.name,
                    "locked": obj.locked,
                    "parent": self.parent(obj, draft.uuid),
                    "z": obj.z,
                    "t": obj.t,
                    "c": obj.c,
                    "geometry": pulled[position],
                    "rated_geometry": as_rated[position],
                    "nucleus": None if obj.nucleus is None else to_wkb([obj.nucleus])[0],
                    "measurements": _json(measurements_to_json(obj.measurements)),
                    "extra": _json(obj.extra),
                    "digest": batch.content_digests[i],
                    "geometry_digest": batch.geometry_digests[i],
                    "repair_px2": float(rated.area_change_px2[i]) if rated.repaired[i] else None,
                    "overhang_px2": float(rated.overhang_px2[i]) or None,
                    "derived_from": draft.derived_from,
                }
            )
        self._session.execute(insert(_REVISIONS), rows)

    def write_label(
        self,
        label: PathObject,
        mapping: ClassMapping,
        state: str,
        digest: bytes,
        geometry_digest: bytes,
    ) -> None:
        """Write a slide's label."""
        uuid = str(label.uuid)
        row = {
            **self._common(self._annotation_ids([uuid])[uuid], uuid, state),
            "class": label.path_class,
            "mapped_class": mapping.name,
            "class_kind": mapping.kind,
            "object_type": SLIDE_LABEL,
            "digest": digest,
            "geometry_digest": geometry_digest,
        }
        self._session.execute(insert(_REVISIONS), row)

    def write_removals(self, missing: Mapping[str, Standing]) -> None:
        """Write a last revision for each object that is gone."""
        rows = [
            {
                **self._common(before.annotation_id, uuid, REMOVED),
                "class_kind": "unclassified",
                "object_type": "annotation",
                "digest": b"",
                "geometry_digest": b"",
            }
            for uuid, before in missing.items()
        ]
        if rows:
            self._session.execute(insert(_REVISIONS), rows)

    def _common(self, annotation_id: int, uuid: str, state: str) -> dict[str, Any]:
        before = self._standing.get(uuid)
        return {
            "annotation_id": annotation_id,
            "pull_id": self._pull.id,
            "revision": before.revision + 1 if before else 1,
            "state": state,
            "locked": False,
            "z": 0,
            "t": 0,
        }

    def parent(self, obj: PathObject, uuid: str) -> str | None:
        """What an object hangs below: a UUID, ``NO_PARENT``, or None where nobody has said."""
        if obj.parent is not None:
            return obj.parent
        if self._knows_parents:
            return NO_PARENT
        before = self._standing.get(uuid)
        return before.parent if before else None

    def _annotation_ids(self, uuids: Sequence[str]) -> dict[str, int]:
        known = {u: self._standing[u].annotation_id for u in uuids if u in self._standing}
        new = [u for u in uuids if u not in known]
        if new:
            # SQLite promises no order for RETURNING, so that SQLAlchemy would insert row by row.
            self._session.execute(
                insert(_ANNOTATIONS), [{"read_id": self._read.id, "uuid": uuid} for uuid in new]
            )
            rows = self._session.execute(
                select(_ANNOTATIONS.c.uuid, _ANNOTATIONS.c.id).where(
                    _ANNOTATIONS.c.read_id == self._read.id, _ANNOTATIONS.c.uuid.in_(new)
                )
            )
            known.update((uuid, key) for uuid, key in rows)
        return known


def _json(content: dict[str, Any]) -> str | None:
    return msgspec.json.encode(content, order="sorted").decode() if content else None
