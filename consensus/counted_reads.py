"""Which reads count under a protocol version, and why the others don't."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, Patient, ProtocolVersion, PullRead, Read, Slide

__all__ = ["CountedRead", "ExcludedRead", "counted_reads"]


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


def counted_reads(
    session: Session, protocol: ProtocolVersion, as_of_pull: int | None = None
) -> tuple[list[CountedRead], list[ExcludedRead]]:
    """The reads of a protocol version as they stood after a pull, in order of slide and handle."""
    last = select(func.max(PullRead.id)).group_by(PullRead.read_id)
    if as_of_pull is not None:
        last = last.where(PullRead.pull_id <= as_of_pull)
    rows = session.execute(
        select(Read, Annotator.handle, Slide, Patient.name, PullRead.excluded)
        .join(PullRead, PullRead.read_id == Read.id)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(Slide, Read.slide_id == Slide.id)
        .outerjoin(Patient, Slide.patient_id == Patient.id)
        .where(Read.protocol_id == protocol.id, PullRead.id.in_(last))
        .order_by(Slide.name, Annotator.handle, Read.replicate)
    ).all()
    corrected = {read.based_on_id: read.id for read, *_ in rows if read.based_on_id is not None}
    counted, excluded = [], []
    for read, handle, slide, patient, refusal in rows:
        reason = refusal
        if reason is None and read.replicate > 1:
            reason = f"replicate {read.replicate}: not another rater"
        if reason is None and read.id in corrected:
            reason = f"corrected by read {corrected[read.id]}, which is based on it"
        if reason is not None:
            excluded.append(ExcludedRead(read.id, handle, slide.name, reason))
        else:
            counted.append(
                CountedRead(read.id, handle, slide, patient or slide.name, patient is not None)
            )
    return counted, excluded
