"""Where a study stands: who has read what, how far they agree, the queue, and what is blocked."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.distribution.assignments import assignment_counts
from annotation.errors import PathquorumError
from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion, PullRead, Read, Slide
from consensus.agreement import agreement
from consensus.queue.decisions import answers_in_force
from consensus.study.counted_reads import counted_reads, pulled_reads
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate
from consensus.tables import ConsensusRun, Dispute

__all__ = ["study_status"]


def study_status(session: Session) -> dict[str, Any]:
    """The document of ``status``: one entry a protocol version that anything was read under."""
    protocols = session.scalars(select(ProtocolVersion).order_by(ProtocolVersion.id)).all()
    slides = session.scalars(select(Slide.name).order_by(Slide.name)).all()
    entries = [_protocol_status(session, row) for row in protocols]
    read = {r["slide"] for entry in entries for r in entry["reads"]}
    return {
        "slides": len(slides),
        "annotators": session.scalar(select(func.count()).select_from(Annotator)),
        "protocols": entries,
        "unread_slides": [name for name in slides if name not in read],
    }


def _protocol_status(session: Session, row: ProtocolVersion) -> dict[str, Any]:
    reads = _reads(session, row)
    try:
        rated = rate(session, row, wanted=Wanted(geometry=False)) if reads else None
    except PathquorumError as error:
        rated, refusal = None, str(error)
    else:
        refusal = "nothing was read"
    return {
        "name": row.name,
        "version": row.version,
        "signed": row.signed_at is not None,
        "reads": reads,
        "agreement": _agreement(rated) if rated else {"status": f"undefined: {refusal}"},
        "queue": _queue(session, row),
        "assignments": assignment_counts(session, row.id),
        "blocked": _blocked(session, row, reads, rated),
    }


def _reads(session: Session, row: ProtocolVersion) -> list[dict[str, Any]]:
    return [
        {
            "read": read.id,
            "slide": slide.name,
            "annotator": handle,
            "replicate": read.replicate,
            "based_on": read.based_on_id,
            "read_date": pulled.read_date,
            "read_date_source": pulled.read_date_source,
            "pull": pulled.pull_id,
            "objects": pulled.counts["objects"],
            "unclassified": pulled.counts["unclassified"],
            "unmapped": pulled.counts["unmapped"],
            "rejected": pulled.counts["rejected"],
            "copied": pulled.copied,
            "excluded": pulled.excluded,
        }
        for read, slide, handle, pulled in pulled_reads(session, row.id)
    ]


def _agreement(rated: StudyRatings) -> dict[str, Any]:
    found = agreement(rated.ratings, weights=rated.protocol.weights)
    return {
        "status": "ok",
        "items": found.items,
        "weights": found.weights,
        "kappa_on": found.kappa_on,
        "per_class": {
            name: statistics["kappa"].to_dict() for name, statistics in found.per_class.items()
        },
    }


def _latest_run(session: Session, row: ProtocolVersion) -> ConsensusRun | None:
    return session.scalars(
        select(ConsensusRun)
        .where(ConsensusRun.protocol_id == row.id)
        .order_by(ConsensusRun.id.desc())
    ).first()


def _queue(session: Session, row: ProtocolVersion) -> dict[str, Any] | None:
    run = _latest_run(session, row)
    if run is None:
        return None
    disputes = session.scalar(
        select(func.count()).select_from(Dispute).where(Dispute.run_id == run.id)
    )
    decided = len(answers_in_force(session, run))
    return {
        "run": run.id,
        "disputes": disputes,
        "decided": decided,
        "open": (disputes or 0) - decided,
    }


def _blocked(
    session: Session,
    row: ProtocolVersion,
    reads: list[dict[str, Any]],
    rated: StudyRatings | None,
) -> list[dict[str, str]]:
    """What keeps something from counting, and what would help."""
    protocol = protocol_of(row)
    blocked = []
    if protocol.require.signature and row.signed_at is None:
        blocked.append(
            {
                "what": f"protocol {row.name}@{row.version}",
                "why": "it requires a signature and has none",
                "next": f"pathquorum protocol sign {row.name} --version {row.version} --by HANDLE",
            }
        )
    counted, excluded = counted_reads(session, row)
    blocked += [
        {
            "what": f"read {read.read} of {read.slide} by {read.annotator}",
            "why": read.reason,
            "next": "it stays stored; add what is missing and pull again",
        }
        for read in excluded
    ]
    n_reads = Counter(read.slide.name for read in counted)
    needed = protocol.consensus.min_raters
    blocked += [
        {
            "what": f"slide {name}",
            "why": f"{n_reads[name]} of {needed} reads",
            "next": "it needs another read",
        }
        for name in sorted({r["slide"] for r in reads})
        if n_reads[name] < needed
    ]
    run = _latest_run(session, row)
    last_pull = session.scalar(
        select(func.max(PullRead.pull_id))
        .join(Read, PullRead.read_id == Read.id)
        .where(Read.protocol_id == row.id)
    )
    if run is not None and rated is not None and rated.input_digest != run.input_digest:
        blocked.append(
            {
                "what": f"consensus run {run.id}",
                "why": f"reads have changed since (last pull {last_pull})",
                "next": f"pathquorum consensus run --protocol {row.name} --method {run.method}",
            }
        )
    return blocked
