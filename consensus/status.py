"""Where a study stands: who has read what, how far they agree, the queue, and what is blocked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.distribution.assignments import assignment_counts
from annotation.distribution.plan_file import PlanFile
from annotation.errors import PathquorumError
from annotation.store import SOFTWARE_VERSION
from annotation.tables import Annotator, ProtocolVersion, Pull, PullRead, Read, Slide
from consensus.monitoring.blocked import what_is_blocked
from consensus.monitoring.kappa_by_month import kappa_by_month, kappa_of, last_reads
from consensus.monitoring.open_disputes import queue_status
from consensus.monitoring.progress import progress
from consensus.run_kinds import of_raters, of_triage
from consensus.study.assisted_ratings import assisted_ratings, digest_with
from consensus.study.counted_reads import CountedRead, counted_reads, pulled_reads
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate
from consensus.tables import ConsensusRun, PredictedSlide, PredictionRun

__all__ = ["OVERDUE_DAYS", "Asked", "study_status"]

OVERDUE_DAYS: Final = 28

PulledReads = list[tuple[Read, Slide, str, PullRead]]


@dataclass(frozen=True)
class Asked:
    """What `status` is asked for: at which moment, when a read is overdue, and by which plan."""

    at: datetime
    overdue_days: int = OVERDUE_DAYS
    plan: PlanFile | None = None


def study_status(session: Session, asked: Asked) -> dict[str, Any]:
    """The document of ``status``: what the store holds, and an entry a protocol version."""
    protocols = session.scalars(select(ProtocolVersion).order_by(ProtocolVersion.id)).all()
    slides = session.scalars(select(Slide.name).order_by(Slide.name)).all()
    entries = [_protocol_status(session, row, asked) for row in protocols]
    read = {r["slide"] for entry in entries for r in entry["reads"]}
    return {
        "at": asked.at,
        "software_version": SOFTWARE_VERSION,
        "slides": len(slides),
        "annotators": session.scalar(select(func.count()).select_from(Annotator)),
        "overdue_after_days": asked.overdue_days,
        "pulls": _pulls(session),
        "predictions": _predictions(session),
        "protocols": entries,
        "unread_slides": [name for name in slides if name not in read],
    }


def _pulls(session: Session) -> dict[str, Any]:
    """How often was pulled, how many reads that brought, and how long these took."""
    brought = session.scalars(select(PullRead.counts)).all()
    # Pulls of earlier versions of this software were not timed.
    took = [counts["elapsed_s"] for counts in brought if "elapsed_s" in counts]
    return {
        "pulls": session.scalar(select(func.count()).select_from(Pull)),
        "reads": len(brought),
        "reads_timed": len(took),
        "elapsed_s": round(sum(took), 3),
        "last_at": session.scalar(select(func.max(Pull.at))),
    }


def _predictions(session: Session) -> dict[str, int]:
    """How many prediction runs there are, and how their slides stand."""
    states = session.execute(
        select(PredictedSlide.state, func.count()).group_by(PredictedSlide.state)
    )
    found = {state: count for state, count in states}  # noqa: C416 - rows are no pairs to dict()
    return {
        "runs": session.scalar(select(func.count()).select_from(PredictionRun)) or 0,
        "done": found.get("done", 0),
        "failed": found.get("failed", 0),
        "waiting": found.get("waiting", 0) + found.get("claimed", 0),
    }


def _protocol_status(session: Session, row: ProtocolVersion, asked: Asked) -> dict[str, Any]:
    reads = pulled_reads(session, row.id)
    counted, _ = counted_reads(session, row)
    rated, refusal = None, "nothing was read"
    if reads:
        try:
            rated = rate(session, row, wanted=Wanted(geometry=False))
        except PathquorumError as error:
            refusal = str(error)
    runs = (
        select(ConsensusRun)
        .where(ConsensusRun.protocol_id == row.id)
        .order_by(ConsensusRun.id.desc())
    )
    run = session.scalars(runs.where(of_raters())).first()
    triage = session.scalars(runs.where(of_triage())).first()
    queue = None if run is None else queue_status(session, row, run, asked.at)
    triaged = None if triage is None else queue_status(session, row, triage, asked.at)
    today = asked.at.date()
    blocked = what_is_blocked(
        session,
        row,
        reads,
        counted,
        run=run,
        open_disputes=sum(one["open"] for one in (queue, triaged) if one is not None),
        input_digest=None
        if rated is None
        else digest_with(rated.input_digest, assisted_ratings(session, row)),
        today=today,
    )
    return {
        "name": row.name,
        "version": row.version,
        "signed": row.signed_at is not None,
        "progress": progress(
            session, row, reads, today=today, overdue_days=asked.overdue_days, plan=asked.plan
        ),
        "reads": _reads(reads),
        "agreement": _agreement(rated, reads, counted)
        if rated
        else {"status": f"undefined: {refusal}", "by_month": []},
        "queue": queue,
        "triage": triaged,
        "assignments": assignment_counts(session, row.id),
        "blocked": [one.to_dict() for one in blocked],
    }


def _reads(reads: PulledReads) -> list[dict[str, Any]]:
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
        for read, slide, handle, pulled in reads
    ]


def _agreement(
    rated: StudyRatings, reads: PulledReads, counted: list[CountedRead]
) -> dict[str, Any]:
    weights = rated.protocol.weights
    return {
        "status": "ok",
        **kappa_of(rated.ratings, weights),
        "by_month": kappa_by_month(rated.ratings, weights, last_reads(reads, counted)),
    }
