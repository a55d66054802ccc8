"""What keeps something from counting, why, and what would help."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.entitlement import entitlement
from annotation.lookup import find_annotator
from annotation.protocol import Protocol
from annotation.revisions import REMOVED, latest_revision_ids
from annotation.signing.sign_off import lacking_sign_off, sign_off_command
from annotation.study import protocol_of
from annotation.tables import (
    Annotation,
    Annotator,
    Assignment,
    ProtocolVersion,
    PullRead,
    Read,
    Revision,
    Slide,
)
from consensus.study.counted_reads import CountedRead
from consensus.tables import ConsensusRun

__all__ = ["KINDS", "Blocked", "what_is_blocked"]

KINDS: Final = (
    "signature", "credentials", "excluded", "domain", "raters", "adjudicator", "outdated",
)  # fmt: skip
"""What can stand in the way, in the order in which it is told."""

PulledRead = tuple[Read, Slide, str, PullRead]


@dataclass(frozen=True)
class Blocked:
    """One thing that does not count, or cannot go on."""

    kind: str
    what: str
    why: str
    next: str

    def to_dict(self) -> dict[str, Any]:
        """The entry in a document."""
        return asdict(self)


def what_is_blocked(
    session: Session,
    row: ProtocolVersion,
    reads: Sequence[PulledRead],
    counted: Sequence[CountedRead],
    *,
    run: ConsensusRun | None,
    open_disputes: int,
    input_digest: str | None,
    today: date,
) -> list[Blocked]:
    """Everything that is blocked under a protocol version, by kind.

    Parameters
    ----------
    reads, counted
        All reads, and those of them that count.
    run, open_disputes
        The latest run and what it leaves open.
    input_digest
        Of the reads as they stand; None where they can't be rated.
    """
    protocol = protocol_of(row)
    found = [
        *_signature(session, row, protocol),
        *_credentials(session, row, protocol, today),
        *_excluded(reads),
        *_domain(session, protocol, counted),
        *_raters(session, row, protocol, reads, counted),
        *_adjudicator(session, protocol, open_disputes),
        *_outdated(session, row, run, input_digest),
    ]
    return sorted(found, key=lambda one: KINDS.index(one.kind))


def _signature(session: Session, row: ProtocolVersion, protocol: Protocol) -> Iterator[Blocked]:
    lacking = lacking_sign_off(session, row, protocol)
    if lacking is not None:
        yield Blocked(
            "signature", f"protocol {row.name}@{row.version}", lacking, sign_off_command(row)
        )


def _excluded(reads: Sequence[PulledRead]) -> Iterator[Blocked]:
    for read, slide, handle, pulled in reads:
        if pulled.excluded is not None:
            yield Blocked(
                "excluded",
                f"read {read.id} of {slide.name} by {handle}",
                pulled.excluded,
                "it stays stored; add what is missing and pull again",
            )


def _in_hand(session: Session, row: ProtocolVersion) -> list[tuple[str, str]]:
    """Handle and slide of every first reading that was handed out and has not come back."""
    rows = session.execute(
        select(Annotator.handle, Slide.name)
        .select_from(Assignment)
        .join(Annotator, Assignment.annotator_id == Annotator.id)
        .join(Slide, Assignment.slide_id == Slide.id)
        .where(
            Assignment.protocol_id == row.id,
            Assignment.replicate == 1,
            Assignment.withdrawn_at.is_(None),
            Assignment.read_id.is_(None),
        )
        .order_by(Annotator.handle, Slide.name)
    )
    return [(handle, slide) for handle, slide in rows]


def _credentials(
    session: Session, row: ProtocolVersion, protocol: Protocol, today: date
) -> Iterator[Blocked]:
    """Who has slides in hand, and whose reads would not count today."""
    for handle, n_slides in Counter(handle for handle, _ in _in_hand(session, row)).items():
        missing = entitlement(session, find_annotator(session, handle), protocol, today).missing
        if missing is not None:
            slides = "1 slide" if n_slides == 1 else f"{n_slides} slides"
            yield Blocked(
                "credentials",
                f"annotator {handle}, who has {slides} to read",
                missing,
                "pathquorum annotator add HANDLE --role ROLE --credential KIND:ISSUER:NUMBER",
            )


def _domain(
    session: Session, protocol: Protocol, counted: Sequence[CountedRead]
) -> Iterator[Blocked]:
    """Reads that say nothing about any place, since what declared it is gone or not their own."""
    if protocol.domain.rule != "declared":
        return
    for read in counted:
        declared = session.scalar(
            select(func.count())
            .select_from(Revision)
            .join(Annotation, Revision.annotation_id == Annotation.id)
            .where(
                Revision.id.in_(latest_revision_ids([read.read])),
                Revision.state != REMOVED,
                Revision.class_kind == "domain",
                Revision.derived_from.is_(None),
            )
        )
        if not declared:
            yield Blocked(
                "domain",
                f"read {read.read} of {read.slide.name} by {read.annotator}",
                "it declares no domain",
                f"draw what was read as {' or '.join(protocol.domain.classes)} and pull again",
            )


def _raters(
    session: Session,
    row: ProtocolVersion,
    protocol: Protocol,
    reads: Sequence[PulledRead],
    counted: Sequence[CountedRead],
) -> Iterator[Blocked]:
    """Slides with fewer reads than a consensus takes."""
    needed = protocol.consensus.min_raters
    n_reads = Counter(read.slide.name for read in counted)
    readers: dict[str, list[str]] = defaultdict(list)
    for handle, slide in _in_hand(session, row):
        readers[slide].append(handle)
    for name in sorted({slide.name for _, slide, _, _ in reads} | readers.keys()):
        if n_reads[name] < needed:
            waiting = n_reads[name] + len(readers[name]) >= needed
            yield Blocked(
                "raters",
                f"slide {name}",
                f"{n_reads[name]} of {needed} reads",
                f"wait for {', '.join(readers[name])}" if waiting else "it needs another read",
            )


def _adjudicator(session: Session, protocol: Protocol, open_disputes: int) -> Iterator[Blocked]:
    roles = protocol.adjudication.roles
    entitled = session.scalar(
        select(func.count()).select_from(Annotator).where(Annotator.role.in_(roles))
    )
    if open_disputes and not entitled:
        yield Blocked(
            "adjudicator",
            f"{open_disputes} open dispute{'' if open_disputes == 1 else 's'}",
            f"nobody has the role {' or '.join(roles)}",
            f"pathquorum annotator add HANDLE --role {roles[0]}",
        )


def _outdated(
    session: Session, row: ProtocolVersion, run: ConsensusRun | None, input_digest: str | None
) -> Iterator[Blocked]:
    if run is None or input_digest is None or input_digest == run.input_digest:
        return
    last_pull = session.scalar(
        select(func.max(PullRead.pull_id))
        .join(Read, PullRead.read_id == Read.id)
        .where(Read.protocol_id == row.id)
    )
    yield Blocked(
        "outdated",
        f"consensus run {run.id}",
        f"reads have changed since (last pull {last_pull}), or decisions on a triage",
        f"pathquorum consensus run --protocol {row.name} --method {run.method}",
    )
