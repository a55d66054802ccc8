"""What the report says of the study: its slides, its people, and who has read what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.entitlement import Held, credentials_of
from annotation.study_statements import KINDS, statements
from annotation.tables import (
    Annotator,
    Patient,
    PullRead,
    Read,
    Site,
    Slide,
)
from consensus.provenance.lineage import lineage
from consensus.reporting.numbers import count_text
from consensus.reporting.planned import PlannedRow, planned_reads
from consensus.study.counted_reads import pulled_reads
from consensus.study.study_ratings import StudyRatings
from consensus.tables import ConsensusRun

__all__ = ["PersonRow", "ReadRow", "StudySection", "study_section"]


@dataclass(frozen=True)
class PersonRow:
    """Somebody who read or decided; known by a handle alone."""

    handle: str
    role: str
    credentials: list[str]
    counted: int
    not_counted: int
    decided: int


@dataclass(frozen=True)
class ReadRow:
    """One read, as it stood when the run was made."""

    read: int
    slide: str
    handle: str
    replicate: int
    read_date: date
    inferred: bool
    objects: int
    remarks: list[str]
    excluded: str | None
    blinded: bool | None


@dataclass(frozen=True)
class StudySection:
    """The study at a glance, and its people and reads."""

    slides: int
    patients: int
    slides_without_patient: int
    sites: list[tuple[str, int]]
    unread_slides: int
    people: list[PersonRow]
    raters: int
    reads: list[ReadRow]
    counted: int
    first_read: date
    last_read: date
    has_replicates: bool
    later_reads: int
    planned: list[PlannedRow]
    statements: list[tuple[str, str | None]]


def study_section(
    session: Session,
    run: ConsensusRun,
    rated: StudyRatings,
    as_of_pull: int | None,
    decided_by: Mapping[int, int],
) -> StudySection:
    """The study as it stood when the run was made.

    Parameters
    ----------
    decided_by
        Disputes of the run that each annotator, by key, has decided.
    """
    reads = _reads(session, run, rated, as_of_pull)
    read_slides = {row.slide for row in reads}
    slides = session.execute(
        select(Slide.name, Slide.patient_id, Site.name)
        .outerjoin(Patient, Slide.patient_id == Patient.id)
        .outerjoin(Site, Site.id == func.coalesce(Slide.site_id, Patient.site_id))
    ).all()
    seen = [(patient, site) for name, patient, site in slides if name in read_slides]
    sites = Counter(site if site is not None else "not stated" for _, site in seen)
    days = [row.read_date for row in reads]
    said = statements(session)
    return StudySection(
        slides=len(seen),
        patients=len({patient for patient, _ in seen if patient is not None}),
        slides_without_patient=sum(patient is None for patient, _ in seen),
        sites=sorted(sites.items()),
        unread_slides=len(slides) - len(seen),
        people=_people(session, reads, decided_by),
        raters=len({row.handle for row in reads if row.excluded is None}),
        reads=reads,
        counted=sum(row.excluded is None for row in reads),
        first_read=min(days),
        last_read=max(days),
        has_replicates=any(row.replicate > 1 for row in reads),
        later_reads=_later_reads(session, run, as_of_pull),
        planned=planned_reads(session, run, as_of_pull),
        statements=[(words, said.get(kind)) for kind, words in KINDS.items()],
    )


def _reads(
    session: Session, run: ConsensusRun, rated: StudyRatings, as_of_pull: int | None
) -> list[ReadRow]:
    reasons = {read.read: read.reason for read in rated.excluded}
    return [
        ReadRow(
            read=read.id,
            slide=slide.name,
            handle=handle,
            replicate=read.replicate,
            read_date=pulled.read_date,
            inferred=pulled.read_date_source == "inferred",
            objects=pulled.counts["objects"],
            remarks=_remarks(session, read, pulled, as_of_pull),
            excluded=reasons.get(read.id),
            blinded=(pulled.circumstances or {}).get("blinded"),
        )
        for read, slide, handle, pulled in pulled_reads(session, run.protocol_id, as_of_pull)
    ]


def _remarks(session: Session, read: Read, pulled: PullRead, as_of_pull: int | None) -> list[str]:
    """What a reader of the figures should know of a read."""
    remarks = [
        f"{count_text(pulled.counts[key])} {words}"
        for key, words in _COUNT_WORDS.items()
        if pulled.counts.get(key, 0)
    ]
    corrects = lineage(session, read, as_of_pull)
    if corrects is not None:
        remarks.append(f"corrects read {corrects.based_on}: {corrects.in_words}")
    if (pulled.circumstances or {}).get("ai_assisted"):
        remarks.append("with predictions in sight")
    remarks += [
        f"outlines vertex-identical to those of {entry['annotator']} "
        f"({count_text(entry['objects'])}): {entry['flag']}"
        for entry in pulled.copied
    ]
    return remarks


_COUNT_WORDS = {
    "rejected": "rejected",
    "ours": "pushed by pathquorum, not rated",
    "derived": "changed from what pathquorum pushed, not rated",
    "unclassified": "without a class, not rated",
    "unmapped": "with a class unknown to the protocol, not rated",
    "ignored": "of an ignored class, not rated",
    "outside_domain": "outside the declared domain, not rated",
    "overhanging": "clipped at the slide’s edge",
    "repaired": "repaired",
}


def _later_reads(session: Session, run: ConsensusRun, as_of_pull: int | None) -> int:
    """Reads that were pulled, or pulled again, after the run."""
    query = (
        select(func.count(func.distinct(PullRead.read_id)))
        .join(Read, PullRead.read_id == Read.id)
        .where(Read.protocol_id == run.protocol_id, PullRead.pull_id > (as_of_pull or 0))
    )
    return session.scalar(query) or 0


def _people(
    session: Session, reads: Sequence[ReadRow], decided_by: Mapping[int, int]
) -> list[PersonRow]:
    counted = Counter(row.handle for row in reads if row.excluded is None)
    not_counted = Counter(row.handle for row in reads if row.excluded is not None)
    return [
        PersonRow(
            handle=person.handle,
            role=person.role,
            credentials=sorted({_credential(held) for held in credentials_of(session, person)}),
            counted=counted[person.handle],
            not_counted=not_counted[person.handle],
            decided=decided_by.get(person.id, 0),
        )
        for person in session.scalars(select(Annotator).order_by(Annotator.handle))
        if person.handle in counted or person.handle in not_counted or person.id in decided_by
    ]


def _credential(held: Held) -> str:
    """Its kind and days, as corrected; the number would name a person."""
    kind = held.credential.kind
    if held.withdrawn:
        return f"{kind} (withdrawn)"
    days = [
        f"from {held.valid_from}" if held.valid_from else "",
        f"to {held.valid_to}" if held.valid_to else "",
    ]
    told = " ".join(day for day in days if day)
    return f"{kind} ({told})" if told else kind
