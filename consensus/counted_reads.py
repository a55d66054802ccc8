"""Which reads count under a protocol version, and why the others don't."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, Patient, ProtocolVersion, PullRead, Read, Slide

__all__ = ["CountedRead", "ExcludedRead", "counted_reads", "pulled_reads"]


@dataclass(frozen=True)
class CountedRead:
    """A read that enters agreement and consensus."""

    read: int
    annotator: str
    slide: Slide
    cluster: str
    by_patient: bool


@dataclass(frozen=True)
class ExcludedRead:
    """A read that is stored and does not count."""

    read: int
    annotator: str
    slide: str
    reason: str

    def to_dict(self) -> dict[str, object]:
        """The read's entry in a document."""
        return vars(self).copy()


def pulled_reads(
    session: Session, protocol_id: int, as_of_pull: int | None = None
) -> list[tuple[Read, Slide, str, PullRead]]:
    """Every read of a protocol version, with its slide, handle and last pull up to ``as_of_pull``.

    In the order of slide, handle and replicate.
    """
    last = select(func.max(PullRead.id)).group_by(PullRead.read_id)
    if as_of_pull is not None:
        last = last.where(PullRead.pull_id <= as_of_pull)
    rows = session.execute(
        select(Read, Slide, Annotator.handle, PullRead)
        .join(Slide, Read.slide_id == Slide.id)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(PullRead, PullRead.read_id == Read.id)
        .where(Read.protocol_id == protocol_id, PullRead.id.in_(last))
        .order_by(Slide.name, Annotator.handle, Read.replicate)
    )
    return [(read, slide, handle, pulled) for read, slide, handle, pulled in rows]


def counted_reads(
    session: Session, protocol: ProtocolVersion, as_of_pull: int | None = None
) -> tuple[list[CountedRead], list[ExcludedRead]]:
    """The reads of a protocol version as they stood after a pull: those that count, and the rest."""
    rows = pulled_reads(session, protocol.id, as_of_pull)
    patients = {row.id: row.name for row in session.scalars(select(Patient))}
    # A correction that does not count itself leaves what it corrected in force.
    corrected = {
        read.based_on_id: read.id
        for read, _, _, pulled in rows
        if pulled.excluded is None and read.replicate == 1
    }
    counted, excluded = [], []
    for read, slide, handle, pulled in rows:
        reason = pulled.excluded
        if reason is None and read.replicate > 1:
            reason = f"replicate {read.replicate}: not another rater"
        if reason is None and read.id in corrected:
            reason = f"corrected by read {corrected[read.id]}, which is based on it"
        if reason is not None:
            excluded.append(ExcludedRead(read.id, handle, slide.name, reason))
            continue
        patient = None if slide.patient_id is None else patients[slide.patient_id]
        counted.append(
            CountedRead(read.id, handle, slide, patient or slide.name, patient is not None)
        )
    return counted, excluded
