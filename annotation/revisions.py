"""Which revision of each object is in force, now or at an earlier pull."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from annotation.errors import InputError
from annotation.lookup import find_pull
from annotation.tables import Annotation, Pull, Revision

__all__ = [
    "RatedObject",
    "Standing",
    "latest_revision_ids",
    "parse_as_of",
    "rated_objects",
    "revisions_in_force",
    "standing",
]

REMOVED = "removed"


@dataclass(slots=True)
class Standing:
    """What a pull must know of an object's last revision to say what changed."""

    annotation_id: int
    revision: int
    removed: bool
    digest: bytes
    parent: str | None


class RatedObject(NamedTuple):
    """An object of a read; ``wkb`` is its geometry as it is rated, clipped to the slide."""

    uuid: str
    digest: bytes
    derived_from: str | None
    object_type: str
    class_kind: str
    mapped_class: str | None
    wkb: bytes


def latest_revision_ids(read_ids: Sequence[int], as_of_pull: int | None = None) -> Select[Any]:
    """The ids of each object's last revision in these reads, as a subquery."""
    query = (
        select(func.max(Revision.id))
        .join(Annotation, Revision.annotation_id == Annotation.id)
        .where(Annotation.read_id.in_(read_ids))
        .group_by(Revision.annotation_id)
    )
    return query if as_of_pull is None else query.where(Revision.pull_id <= as_of_pull)


def revisions_in_force(
    session: Session, read_ids: Sequence[int], as_of_pull: int | None = None
) -> Iterator[tuple[Annotation, Revision]]:
    """Each object of the reads with its revision in force; removed objects are left out."""
    rows = session.execute(
        select(Annotation, Revision)
        .join(Revision, Revision.annotation_id == Annotation.id)
        .where(Revision.id.in_(latest_revision_ids(read_ids, as_of_pull)))
        .where(Revision.state != REMOVED)
        .order_by(Annotation.read_id, Annotation.id)
        .execution_options(yield_per=5000)
    )
    yield from rows


def rated_objects(
    session: Session, read_id: int, as_of_pull: int | None = None
) -> Sequence[RatedObject]:
    """What of a read's objects in force enters its ratings, by UUID.

    Columns instead of whole rows: a read has as many as somebody drew.
    """
    rows = session.execute(
        select(
            Annotation.uuid,
            Revision.digest,
            Revision.derived_from,
            Revision.object_type,
            Revision.class_kind,
            Revision.mapped_class,
            func.coalesce(Revision.rated_geometry, Revision.geometry),
        )
        .join(Revision, Revision.annotation_id == Annotation.id)
        .where(Revision.id.in_(latest_revision_ids([read_id], as_of_pull)))
        .where(Revision.state != REMOVED)
    )
    return sorted((RatedObject(*row) for row in rows), key=lambda found: found.uuid)


def standing(session: Session, read_id: int) -> dict[str, Standing]:
    """The last state of every object that the read ever held, by UUID."""
    rows = session.execute(
        select(
            Annotation.uuid,
            Annotation.id,
            Revision.revision,
            Revision.state,
            Revision.digest,
            Revision.parent,
        )
        .join(Revision, Revision.annotation_id == Annotation.id)
        .where(Revision.id.in_(latest_revision_ids([read_id])))
    )
    return {
        uuid: Standing(annotation_id, revision, state == REMOVED, digest, parent)
        for uuid, annotation_id, revision, state, digest, parent in rows
    }


def parse_as_of(session: Session, text: str | None) -> int | None:
    """The last pull at a moment: a pull's number, or a time in ISO 8601.

    A time without a zone is UTC; a day without a time includes the whole day.

    Returns
    -------
    The pull's number, 0 where nothing was pulled before, None where no moment was given.
    """
    if text is None:
        return None
    if text.isdecimal() and len(text) < 10:
        return find_pull(session, int(text)).id
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text!r} is neither a pull's number nor a time; write 12 or 2026-01-31T12:00:00Z"
        ) from None
    if len(text) <= 10:
        moment = datetime.combine(moment.date() + timedelta(days=1), time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    compared = Pull.at < moment if len(text) <= 10 else Pull.at <= moment
    return session.scalar(select(func.max(Pull.id)).where(compared)) or 0
