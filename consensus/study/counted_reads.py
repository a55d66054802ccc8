"""Which reads count under a protocol version, and why the others don't."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, Patient, ProtocolVersion, PullRead, Read, Slide

__all__ = [
    "CountedRead",
    "ExcludedRead",
    "cluster_of",
    "counted_reads",
    "patient_names",
    "pulled_reads",
    "repeated_reads",
]


@dataclass(frozen=True)
class CountedRead:
    """A read that enters agreement and consensus; ``ai_assisted`` with predictions in sight."""

    read: int
    annotator: str
    slide: Slide
    cluster: str
    by_patient: bool
    ai_assisted: bool


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
    session: Session, protocol_id: int, as_of_pull: int | None = None, *, slide: int | None = None
) -> list[tuple[Read, Slide, str, PullRead]]:
    """Every read of a protocol version, with its slide, handle and last pull up to ``as_of_pull``.

    In the order of slide, handle and replicate.

    Parameters
    ----------
    slide
        The key of the only slide that is asked for; None asks for all.
    """
    last = select(func.max(PullRead.id)).group_by(PullRead.read_id)
    query = (
        select(Read, Slide, Annotator.handle, PullRead)
        .join(Slide, Read.slide_id == Slide.id)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(PullRead, PullRead.read_id == Read.id)
        .where(Read.protocol_id == protocol_id)
        .order_by(Slide.name, Annotator.handle, Read.replicate)
    )
    if slide is not None:
        last = last.join(Read, PullRead.read_id == Read.id).where(Read.slide_id == slide)
        query = query.where(Read.slide_id == slide)
    if as_of_pull is not None:
        last = last.where(PullRead.pull_id <= as_of_pull)
    rows = session.execute(query.where(PullRead.id.in_(last)))
    return [(read, on, handle, pulled) for read, on, handle, pulled in rows]


def counted_reads(
    session: Session,
    protocol: ProtocolVersion,
    as_of_pull: int | None = None,
    *,
    replicate: int = 1,
    slide: int | None = None,
) -> tuple[list[CountedRead], list[ExcludedRead]]:
    """The reads of a protocol version as they stood after a pull: those that count, and the rest.

    Parameters
    ----------
    replicate
        Which reading of each annotator counts.
    slide
        The key of the only slide that is asked for; None asks for all.
    """
    rows = pulled_reads(session, protocol.id, as_of_pull, slide=slide)
    patients = patient_names(session)
    # A correction that does not count itself leaves what it corrected in force.
    corrected = {
        read.based_on_id: read.id
        for read, _, _, pulled in rows
        if pulled.excluded is None and read.replicate == replicate
    }
    counted, excluded = [], []
    for read, on, handle, pulled in rows:
        reason = pulled.excluded
        if reason is None and read.replicate != replicate:
            reason = f"replicate {read.replicate}: "
            reason += "not another rater" if replicate == 1 else f"{replicate} is asked for"
        if reason is None and read.id in corrected:
            reason = f"corrected by read {corrected[read.id]}, which is based on it"
        if reason is not None:
            excluded.append(ExcludedRead(read.id, handle, on.name, reason))
            continue
        counted.append(_counted(read, handle, on, pulled, patients))
    return counted, excluded


def repeated_reads(
    session: Session,
    protocol: ProtocolVersion,
    as_of_pull: int | None = None,
    *,
    slide: int | None = None,
) -> tuple[dict[str, list[tuple[int, CountedRead]]], list[ExcludedRead]]:
    """The slides that an annotator read more than once: by handle the replicates and their reads.

    A read that goes back to another one of the same annotator, or to the same draft of somebody
    else's, is no second reading. It is left out and told, with reads that don't count anyway.

    Parameters
    ----------
    slide
        The key of the only slide that is asked for; None asks for all.
    """
    rows = pulled_reads(session, protocol.id, as_of_pull, slide=slide)
    patients = patient_names(session)
    based_on = {read.id: read.based_on_id for read, _, _, _ in rows}
    of_slide: dict[tuple[str, int], list[tuple[Read, Slide, PullRead]]] = defaultdict(list)
    for read, on, handle, pulled in rows:
        of_slide[handle, on.id].append((read, on, pulled))
    repeated: dict[str, list[tuple[int, CountedRead]]] = defaultdict(list)
    excluded = []
    for (handle, _), reads in of_slide.items():
        if len(reads) < 2:
            continue
        independent: dict[int, tuple[int, CountedRead]] = {}
        for read, on, pulled in reads:
            origin = _origin(read.id, based_on)
            reason = pulled.excluded
            if reason is None and origin in independent:
                earlier, _ = independent[origin]
                reason = f"replicate {read.replicate} goes back to the same read as {earlier}"
            if reason is not None:
                excluded.append(ExcludedRead(read.id, handle, on.name, reason))
                continue
            independent[origin] = read.replicate, _counted(read, handle, on, pulled, patients)
        if len(independent) > 1:
            repeated[handle] += independent.values()
    return dict(repeated), excluded


def _origin(read: int, based_on: dict[int, int | None]) -> int:
    """The read that a read goes back to: itself, unless it is based on another one."""
    while (basis := based_on.get(read)) is not None:
        read = basis
    return read


def patient_names(session: Session) -> dict[int, str]:
    """The name of each patient, by key."""
    return dict(session.execute(select(Patient.id, Patient.name)).all())


def cluster_of(slide: Slide, patients: dict[int, str]) -> tuple[str, bool]:
    """What is resampled with a slide: its patient, else itself; and whether it is a patient."""
    patient = None if slide.patient_id is None else patients[slide.patient_id]
    return patient or slide.name, patient is not None


def _counted(
    read: Read, handle: str, slide: Slide, pulled: PullRead, patients: dict[int, str]
) -> CountedRead:
    assisted = bool((pulled.circumstances or {}).get("ai_assisted"))
    return CountedRead(read.id, handle, slide, *cluster_of(slide, patients), assisted)
