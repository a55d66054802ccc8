"""What is on record of objects in projects: what was pushed where, and what was taken back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.digests import geometry_digests
from annotation.errors import RefusedError, UnknownNameError
from annotation.geometry import to_wkb
from annotation.project_changes import ImageChange
from annotation.store import now
from annotation.tables import PushedObject

__all__ = [
    "announce",
    "forget",
    "note_push",
    "nothing_there",
    "records_in_force",
    "targets_of",
    "withdraw",
]

_AT_ONCE = 500
"""Ids in one statement; databases take 999 parameters and more."""


def targets_of(session: Session, origin: str, project: Path) -> list[tuple[str, int]]:
    """Where something of an origin stands in a project: image and slide."""
    everywhere = session.execute(
        select(PushedObject.target, PushedObject.slide_id)
        .where(PushedObject.origin == origin, PushedObject.reverted_at.is_(None))
        .distinct()
    )
    return sorted(
        (target, slide) for target, slide in everywhere if target.rpartition("#")[0] == str(project)
    )


def nothing_there(origin: str, place: Path) -> UnknownNameError:
    """The error for a place to which nothing of an origin was pushed."""
    return UnknownNameError(
        f"nothing of {origin} stands in {place}; see where it was pushed to in "
        "`pathquorum audit export`",
        kind="push",
        name=origin,
    )


def records_in_force(
    session: Session, origin: str, target: str, slide_id: int
) -> dict[str, list[PushedObject]]:
    """What was pushed to an image and not taken back, by UUID, the oldest first."""
    found = session.scalars(
        select(PushedObject)
        .where(
            PushedObject.slide_id == slide_id,
            PushedObject.origin == origin,
            PushedObject.target == target,
            PushedObject.reverted_at.is_(None),
        )
        .order_by(PushedObject.id)
    )
    records: dict[str, list[PushedObject]] = defaultdict(list)
    for row in found:
        records[row.uuid].append(row)
    return dict(records)


def announce(session: Session, origin: str, change: ImageChange, sha256: str) -> list[int]:
    """Record what is about to be in the project, and see that it is recorded.

    Returns
    -------
    list of int
        The records, to be withdrawn should it not come to that.
    """
    things = [*change.add, *change.recorded]
    if not things:
        return []
    outlines = [thing.geometry for thing in things]
    content = {}
    rows: list[dict[str, Any]] = []
    for thing, wkb, digest in zip(
        things, to_wkb(outlines), geometry_digests(outlines), strict=True
    ):
        content[thing.uuid] = (thing.path_class, digest)
        rows.append(
            {
                "uuid": thing.uuid,
                "origin": origin,
                "slide_id": change.slide_id,
                "target": change.target,
                "path_class": thing.path_class,
                "geometry": wkb,
                "geometry_digest": digest,
                "file_sha256": sha256,
            }
        )
    session.execute(insert(PushedObject), rows)
    newest = {
        uuid: found[-1]
        for uuid, found in records_in_force(session, origin, change.target, change.slide_id).items()
        if uuid in content
    }
    if {u: (row.path_class, row.geometry_digest) for u, row in newest.items()} != content:
        raise RefusedError(
            f"the store does not hold what {change.target} would, so nothing was pushed; check it "
            "with `pathquorum audit verify`",
            target=change.target,
        )
    return [row.id for row in newest.values()]


def forget(session: Session, ids: Sequence[int]) -> None:
    """Mark records as taken back; they stay."""
    for first in range(0, len(ids), _AT_ONCE):
        session.execute(
            update(PushedObject)
            .where(PushedObject.id.in_(ids[first : first + _AT_ONCE]))
            .values(reverted_at=now())
        )


def withdraw(session: Session, ids: Sequence[int]) -> None:
    """Take out records of what was announced and never written."""
    for first in range(0, len(ids), _AT_ONCE):
        session.execute(
            delete(PushedObject).where(PushedObject.id.in_(ids[first : first + _AT_ONCE]))
        )


def note_push(
    session: Session,
    action: str,
    origin: str,
    path: Path,
    *,
    old: int | None,
    new: tuple[int, Mapping[str, str]],
    metadata: Mapping[str, Mapping[str, str | None]] | None = None,
) -> None:
    """Record in the audit trail what happened to a project: objects before, and now by image.

    ``metadata`` are entries of images' metadata that were set, or taken out where None.
    """
    objects, images = new
    record(
        session,
        actor=None,
        action=action,
        subject=f"push:{origin}",
        old=None if old is None else {"objects": old},
        new={
            "objects": objects,
            "project": str(path.resolve()),
            "images": dict(images),
            **({"metadata": metadata} if metadata else {}),
        },
    )
