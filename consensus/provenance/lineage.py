"""How much a read that corrects another one changed of it."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from sqlalchemy.orm import Session

from annotation.revisions import RatedObject, rated_objects
from annotation.tables import Read
from annotation.terminal import counted

__all__ = ["Lineage", "lineage"]


@dataclass(frozen=True)
class Lineage:
    """A read held against the read that it is based on, object by object.

    ``kept`` objects say the same, ``moved`` ones have another outline, ``reclassified`` ones another
    class (both may be true of one); ``changed_px2`` is the area that belongs to one of the two only,
    over all that both hold. ``added`` and ``removed`` are in one of the two alone.
    """

    based_on: int
    kept: int
    moved: int
    reclassified: int
    added: int
    removed: int
    changed_px2: float

    def to_dict(self) -> dict[str, object]:
        """The entry in a document."""
        return vars(self).copy()

    @property
    def in_words(self) -> str:
        """One clause for a report."""
        changes = [
            f"{count:,} {what}"
            for count, what in (
                (self.moved, "with another outline"),
                (self.reclassified, "with another class"),
                (self.added, "added"),
                (self.removed, "removed"),
            )
            if count
        ]
        kept = counted(self.kept, "object")
        return f"{kept} kept" + (f", {', '.join(changes)}" if changes else ", none changed")


def lineage(session: Session, read: Read, as_of_pull: int | None = None) -> Lineage | None:
    """What a read changed of the one it is based on; None where it is based on none.

    An object is the same one by its UUID.
    """
    if read.based_on_id is None:
        return None
    before = _by_uuid(session, read.based_on_id, as_of_pull)
    after = _by_uuid(session, read.id, as_of_pull)
    both = before.keys() & after.keys()
    moved = {uuid for uuid in both if before[uuid].wkb != after[uuid].wkb}
    moved = {uuid for uuid in moved if _differs(before[uuid], after[uuid])}
    renamed = {uuid for uuid in both if _class(before[uuid]) != _class(after[uuid])}
    return Lineage(
        based_on=read.based_on_id,
        kept=len(both - moved - renamed),
        moved=len(moved),
        reclassified=len(renamed),
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        changed_px2=sum(_changed_px2(before[uuid], after[uuid]) for uuid in sorted(moved)),
    )


def _by_uuid(session: Session, read: int, as_of_pull: int | None) -> dict[str, RatedObject]:
    return {thing.uuid: thing for thing in rated_objects(session, read, as_of_pull)}


def _class(thing: RatedObject) -> tuple[str, str | None]:
    return thing.class_kind, thing.mapped_class


def _differs(one: RatedObject, other: RatedObject) -> bool:
    """Whether two outlines are not the same, ring direction and first vertex aside."""
    return not shapely.equals(shapely.from_wkb(one.wkb), shapely.from_wkb(other.wkb))


def _changed_px2(one: RatedObject, other: RatedObject) -> float:
    first, second = (shapely.make_valid(shapely.from_wkb(thing.wkb)) for thing in (one, other))
    return float(shapely.symmetric_difference(first, second).area)
