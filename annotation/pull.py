"""Pull: what annotators drew comes into the store, all of one pull or nothing.

Counting follows one rule: an object of a source is added, changed, unchanged, rejected or ours,
and exactly one of these; what stood in the store before and is gone now is removed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.collector import collector_paused
from annotation.entitlement import entitlement
from annotation.errors import ConflictError, InputError, SourceError
from annotation.frames import WHOLE_SLIDE, Frame
from annotation.logs import log
from annotation.lookup import find_read
from annotation.pulled_digests import PULLED, stored_sha256
from annotation.pushed import is_prediction
from annotation.read_changes import ReadChanges, record_changes
from annotation.readings import ReadOf, assigned_readings, named_readings, within_washout
from annotation.recognition import extent_of
from annotation.signing.sign_off import require_sign_off
from annotation.source_files import keeping
from annotation.sources import ReadSource
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import protocol_of
from annotation.tables import (
    Annotator,
    ProtocolVersion,
    Pull,
    PullRead,
    Read,
    Slide,
)

__all__ = ["PullRequest", "PullResult", "PulledRead", "pull"]


@dataclass(frozen=True)
class PullRequest:
    """What to pull, for whom, and what to accept.

    ``assignments`` stand beside the sources where these come from projects that were handed out;
    they say whose reading of what each is, and the annotator, protocol, slide and replicate given
    here don't count. ``notes`` are passed on to the result.
    """

    sources: Sequence[ReadSource]
    annotator: str = ""
    protocol: str = ""
    assignments: Sequence[str] = ()
    notes: Sequence[str] = ()
    slide: str | None = None
    read_date: date | None = None
    replicate: int = 1
    based_on: int | None = None
    ai_assisted: bool = False
    accept_removals: bool = False
    accept_copy: bool = False
    strict: bool = False
    dry_run: bool = False
    display: str = ""
    slides_root: Path | None = None


@dataclass
class PulledRead:
    """What a pull brought for one read."""

    read: int
    slide: str
    annotator: str
    read_date: date
    read_date_source: str
    changes: ReadChanges
    excluded: str | None
    elapsed_s: float
    frame: Frame = WHOLE_SLIDE
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The read's entry in the document of ``pull --json``."""
        return {
            "read": self.read,
            "slide": self.slide,
            "annotator": self.annotator,
            "read_date": self.read_date.isoformat(),
            "read_date_source": self.read_date_source,
            **self.changes.counts(),
            "rejections": [{"id": r.id, "reason": r.reason} for r in self.changes.rejections],
            "unmapped_classes": self.changes.unmapped_classes,
            "copied": self.changes.copied,
            "excluded": self.excluded,
            "frame": self.frame.to_list(),
        }


@dataclass
class PullResult:
    """A pull, or with ``dry_run`` what it would have been."""

    pull: int | None
    at: datetime
    reads: list[PulledRead] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``pull --json``."""
        return {
            "pull": self.pull,
            "at": self.at,
            "reads": [read.to_dict() for read in self.reads],
            "notes": self.notes,
        }


class _DryRun(Exception):  # noqa: N818 - no error: it takes the transaction back
    """Carries the result out of a transaction that is to be rolled back."""

    def __init__(self, result: PullResult) -> None:
        super().__init__()
        self.result = result


def pull(store: Store, request: PullRequest) -> PullResult:
    """Bring every source of the request into the store, in one transaction.

    Raises
    ------
    SourceError, UnknownNameError, RefusedError, ConflictError
        A fault of a source; the store is as it was.
    """
    if not request.sources:
        raise SourceError("there is nothing to pull; name a GeoJSON export or a project")
    request = _of_one_slide(request)
    start_s = time.monotonic()
    try:
        with collector_paused(), store.writing() as session:
            result = _pull(session, request)
            if request.dry_run:
                result.pull = None
                raise _DryRun(result)
    except _DryRun as dry:
        return dry.result
    for read in result.reads:
        log.info(
            "read pulled",
            pull=result.pull,
            read=read.read,
            elapsed_s=read.elapsed_s,
            **read.changes.counts(),
        )
    log.info(
        "pulled",
        pull=result.pull,
        reads=len(result.reads),
        objects=sum(read.changes.counts()["objects"] for read in result.reads),
        elapsed_s=round(time.monotonic() - start_s, 3),
    )
    return result


def _of_one_slide(request: PullRequest) -> PullRequest:
    """Where several sources lie side by side, ``--slide`` picks the one of that name."""
    if request.slide is None or request.assignments or len(request.sources) == 1:
        return request
    named = [source for source in request.sources if request.slide in source.slide_names]
    if len(named) != 1:
        raise InputError(
            f"{len(named)} of {len(request.sources)} reads are named after slide "
            f"{request.slide!r}; pull its file by itself"
        )
    return replace(request, sources=named)


def _pull(session: Session, request: PullRequest) -> PullResult:
    at = now()
    readings = (
        assigned_readings(session, request.assignments)
        if request.assignments
        else named_readings(
            session,
            request.sources,
            annotator=request.annotator,
            protocol=request.protocol,
            slide=request.slide,
            replicate=request.replicate,
            slides_root=request.slides_root,
        )
    )
    versions = {reading.protocol.id: reading.protocol for reading in readings}
    result = PullResult(pull=None, at=at, notes=list(request.notes))
    for row in versions.values():
        result.notes += _signature(session, row)
    entry = Pull(at=at, source=request.display, software_version=SOFTWARE_VERSION)
    session.add(entry)
    session.flush()
    result.pull = entry.id
    seen: dict[tuple[int, int, int, int], str] = {}
    for source, reading in zip(request.sources, readings, strict=True):
        if reading.key in seen:
            raise SourceError(
                f"{source.name} and {seen[reading.key]} are both for slide {reading.slide.name!r}; "
                "pull one of them"
            )
        seen[reading.key] = source.name
        result.notes += source.notes
        if reading.assignment is None and reading.slide.name not in (
            request.slide,
            *source.slide_names,
        ):
            result.notes.append(f"{source.name} is slide {reading.slide.name!r} by its fingerprint")
        result.reads.append(_pull_read(session, request, entry, source, reading))
        result.notes += result.reads[-1].notes
        result.notes += within_washout(reading, result.reads[-1].read_date)
    for annotator in {reading.annotator.id: reading.annotator for reading in readings}.values():
        theirs = [
            {
                "read": read.read,
                **read.changes.counts(),
                "stored_sha256": stored_sha256(session, entry.id, read.read),
                **({"assignment": of.assignment.id} if of.assignment is not None else {}),
            }
            for read, of in zip(result.reads, readings, strict=True)
            if of.annotator is annotator
        ]
        record(
            session,
            actor=annotator,
            action=PULLED,
            subject=f"pull:{entry.id}",
            new={"reads": theirs},
        )
    return result


def _signature(session: Session, row: ProtocolVersion) -> list[str]:
    require_sign_off(session, row, protocol_of(row))
    if row.signed_at is not None:
        return []
    return [f"protocol {row.name} version {row.version} is not signed"]


def _pull_read(
    session: Session,
    request: PullRequest,
    entry: Pull,
    source: ReadSource,
    reading: ReadOf,
) -> PulledRead:
    start_s = time.monotonic()
    slide, annotator, protocol = reading.slide, reading.annotator, protocol_of(reading.protocol)
    read = _read(session, request, reading)
    if reading.assignment is not None:
        reading.assignment.read_id = read.id
    if not request.accept_copy and source.count:
        _refuse_copy(session, source, read)
    frame, remarks = source.placement(extent_of(slide))
    with keeping(session, source.sha256, source.raw):
        changes = record_changes(
            session,
            entry,
            read,
            slide,
            protocol,
            source,
            frame,
            accept_removals=request.accept_removals,
            strict=request.strict,
        )
    read_date = request.read_date or source.modified.date()
    entitled = entitlement(session, annotator, protocol, read_date)
    pulled = PulledRead(
        read=read.id,
        slide=slide.name,
        annotator=annotator.handle,
        read_date=read_date,
        read_date_source="given" if request.read_date else "inferred",
        changes=changes,
        excluded=entitled.missing,
        elapsed_s=round(time.monotonic() - start_s, 3),
        frame=frame,
        notes=remarks,
    )
    session.add(
        PullRead(
            pull_id=entry.id,
            read_id=read.id,
            source_sha256=source.sha256,
            read_date=read_date,
            read_date_source=pulled.read_date_source,
            counts={
                **changes.counts(),
                "frame": frame.to_list(),
                "elapsed_s": pulled.elapsed_s,
            },
            rejections=[{"id": r.id, "reason": r.reason} for r in changes.rejections],
            copied=changes.copied,
            excluded=pulled.excluded,
            circumstances={
                "entitlement": entitled.to_dict(),
                "blinded": None if reading.assignment is None else reading.assignment.masked,
                "ai_assisted": request.ai_assisted or any(map(is_prediction, changes.saw)),
                "saw": sorted(changes.saw),
            },
        )
    )
    session.flush()
    return pulled


def _read(session: Session, request: PullRequest, reading: ReadOf) -> Read:
    slide = reading.slide
    if reading.replicate < 1:
        raise InputError(f"--replicate counts from 1, not {reading.replicate}")
    present = session.scalars(
        select(Read).where(
            Read.slide_id == slide.id,
            Read.annotator_id == reading.annotator.id,
            Read.protocol_id == reading.protocol.id,
            Read.replicate == reading.replicate,
        )
    ).first()
    if request.based_on is not None:
        basis = find_read(session, request.based_on)
        if basis.slide_id != slide.id:
            raise ConflictError(
                f"read {basis.id} is of another slide than {slide.name!r}; "
                "--based-on names a read of the same slide"
            )
    if present is not None:
        if request.based_on not in (None, present.based_on_id):
            raise ConflictError(
                f"read {present.id} was first pulled "
                + (
                    f"as based on read {present.based_on_id}"
                    if present.based_on_id
                    else "by itself"
                )
                + "; that stays, use --replicate for another read"
            )
        return present
    read = Read(
        slide_id=slide.id,
        annotator_id=reading.annotator.id,
        protocol_id=reading.protocol.id,
        replicate=reading.replicate,
        based_on_id=request.based_on,
    )
    session.add(read)
    session.flush()
    return read


def _refuse_copy(session: Session, source: ReadSource, read: Read) -> None:
    """A file that was pulled for somebody else, or for another slide, is a mix-up."""
    earlier = session.execute(
        select(Annotator.handle, Slide.name)
        .select_from(PullRead)
        .join(Read, PullRead.read_id == Read.id)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(Slide, Read.slide_id == Slide.id)
        .where(PullRead.source_sha256 == source.sha256)
        .where((Read.annotator_id != read.annotator_id) | (Read.slide_id != read.slide_id))
    ).first()
    if earlier is not None:
        raise ConflictError(
            f"{source.name} was pulled already for annotator {earlier[0]!r} on slide "
            f"{earlier[1]!r}; check the file, or pass --accept-copy",
            file=source.name,
        )
