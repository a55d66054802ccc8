"""What a pull stored of a read, as one SHA-256 that the pull's event holds.

The database guards revisions by triggers, which its owner can take away. The audit trail can't be
changed unnoticed, so what it says of a pull is what the rows are held against: the read, its entry
in the pull, and every revision with the UUID of its object. The order and the keys of revisions
don't count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import utc_text
from annotation.tables import Annotation, Event, Pull, PullRead, Read, Revision

__all__ = ["PULLED", "PulledCheck", "PulledFault", "check_pulled", "stored_sha256"]

PULLED = "pulled"
"""The action of a pull's events."""

# A column that a later schema adds is no part of what earlier events are bound to.
_ENTRY = (
    Pull.at,
    Pull.source,
    Pull.software_version,
    Read.slide_id,
    Read.annotator_id,
    Read.protocol_id,
    Read.replicate,
    Read.based_on_id,
    PullRead.source_sha256,
    PullRead.read_date,
    PullRead.read_date_source,
    PullRead.counts,
    PullRead.rejections,
    PullRead.copied,
    PullRead.excluded,
    PullRead.circumstances,
)
_REVISION = (
    Annotation.uuid,
    Revision.revision,
    Revision.state,
    Revision.path_class,
    Revision.mapped_class,
    Revision.class_kind,
    Revision.object_type,
    Revision.name,
    Revision.locked,
    Revision.parent,
    Revision.z,
    Revision.t,
    Revision.c,
    Revision.geometry,
    Revision.rated_geometry,
    Revision.nucleus,
    Revision.measurements,
    Revision.extra,
    Revision.digest,
    Revision.geometry_digest,
    Revision.repair_px2,
    Revision.overhang_px2,
    Revision.derived_from,
)


class _ToldRead(msgspec.Struct):
    read: int
    stored_sha256: str | None = None


class _Told(msgspec.Struct):
    reads: list[_ToldRead]


@dataclass(frozen=True)
class PulledFault:
    """A read of a pull that is not as the trail records it."""

    pull: int
    read: int
    problem: str

    def __str__(self) -> str:
        return f"pull {self.pull} of read {self.read}: {self.problem}"


@dataclass
class PulledCheck:
    """What :func:`check_pulled` found; ``unbound`` counts what earlier versions left undigested."""

    bound: int = 0
    unbound: int = 0
    faults: list[PulledFault] = field(default_factory=list)


def stored_sha256(session: Session, pull: int, read: int) -> str:
    """The digest of what stands in the store of a read's pull."""
    encode = msgspec.json.Encoder(order="sorted").encode
    entry = session.execute(
        select(*_ENTRY)
        .select_from(PullRead)
        .join(Pull, PullRead.pull_id == Pull.id)
        .join(Read, PullRead.read_id == Read.id)
        .where(PullRead.pull_id == pull, PullRead.read_id == read)
    ).all()
    rows = session.execute(
        select(*_REVISION)
        .join(Annotation, Revision.annotation_id == Annotation.id)
        .where(Revision.pull_id == pull, Annotation.read_id == read)
        .execution_options(yield_per=5000)
    )
    revisions = sorted(hashlib.sha256(encode(tuple(row))).digest() for row in rows)
    digest = hashlib.sha256(encode([(utc_text(at), *others) for at, *others in entry]))
    for revision in revisions:
        digest.update(revision)
    return digest.hexdigest()


def check_pulled(session: Session, reads: Collection[int] | None = None) -> PulledCheck:
    """Hold what pulls stored against an unbroken trail.

    Parameters
    ----------
    reads
        The reads to look at; None for all.
    """
    found = PulledCheck()
    recorded = _recorded(session)
    stored = _stored(session, reads)
    if reads is not None:
        recorded = {pair: told for pair, told in recorded.items() if pair[1] in reads}
    for pull, read in sorted(recorded.keys() | stored):
        told = recorded.get((pull, read), [])
        if len(told) != 1:
            times = "no event" if not told else f"{len(told)} events"
            problem = f"{times} of the trail tell of it"
        elif told[0] is None:
            found.unbound += 1
            continue
        else:
            found.bound += 1
            if stored_sha256(session, pull, read) == told[0]:
                continue
            problem = "what it stored was changed since"
        found.faults.append(PulledFault(pull, read, problem))
    return found


def _recorded(session: Session) -> dict[tuple[int, int], list[str | None]]:
    """What the trail says of every pull of a read."""
    found: dict[tuple[int, int], list[str | None]] = {}
    events = select(Event.subject, Event.new).where(Event.action == PULLED).order_by(Event.id)
    for subject, new in session.execute(events):
        try:
            pull = int(subject.removeprefix("pull:"))
            told = msgspec.convert(new, _Told)
        except (ValueError, msgspec.ValidationError):
            continue  # then no event tells of the pull
        for entry in told.reads:
            found.setdefault((pull, entry.read), []).append(entry.stored_sha256)
    return found


def _stored(session: Session, reads: Collection[int] | None) -> set[tuple[int, int]]:
    """Every read of a pull that anything in the store is of."""
    entries = select(PullRead.pull_id, PullRead.read_id)
    revisions = (
        select(Revision.pull_id, Annotation.read_id)
        .join(Annotation, Revision.annotation_id == Annotation.id)
        .distinct()
    )
    if reads is not None:
        entries = entries.where(PullRead.read_id.in_(reads))
        revisions = revisions.where(Annotation.read_id.in_(reads))
    return {(pull, read) for query in (entries, revisions) for pull, read in session.execute(query)}
