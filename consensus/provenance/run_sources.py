"""What stands behind a consensus run: its protocol, the reads that it fused, and the decisions on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.pulled_digests import PULLED
from annotation.tables import Annotator, Event, ProtocolVersion, PullRead, Read, Slide
from consensus.run_kinds import is_triage
from consensus.runs import last_pull_before
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusRun, Decision, Dispute, Release

__all__ = ["reads_behind", "release_entry", "run_sources"]


def run_sources(
    session: Session,
    number: int,
    *,
    slides: set[int] | None = None,
    items: set[int] | None = None,
) -> dict[str, Any]:
    """A run with the reads that it fused and the decisions on it, of some slides and items."""
    run = session.get_one(ConsensusRun, number)
    protocol = session.get_one(ProtocolVersion, run.protocol_id)
    last_pull = last_pull_before(session, run)
    counted, excluded = counted_reads(session, protocol, last_pull)
    wanted = [r.read for r in counted if slides is None or r.slide.id in slides]
    return {
        "run": {
            "run": run.id,
            "at": run.at,
            "method": run.method,
            "input_digest": run.input_digest,
            "software_version": run.software_version,
            **({"triage": run.parameters} if is_triage(run) else {}),
        },
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "sha256": protocol.sha256,
            "signed": protocol.signed_at is not None,
        },
        "reads": reads_behind(session, wanted, last_pull),
        "excluded_reads": sorted(read.read for read in excluded),
        "decisions": _decisions(session, run, slides, items),
        # Decisions on a triage that the run counts as ratings.
        "ai_assisted": run.summary.get("ai_assisted", []),
        "releases": [
            release_entry(row)["release"]
            for row in session.scalars(select(Release).where(Release.run_id == run.id))
        ],
    }


def reads_behind(
    session: Session, reads: list[int], as_of_pull: int | None
) -> list[dict[str, Any]]:
    """Some reads, each as of its last pull, with what the reader held on that day."""
    rows = session.execute(
        select(Read, Annotator, Slide.name, PullRead)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(Slide, Read.slide_id == Slide.id)
        .join(PullRead, PullRead.read_id == Read.id)
        .where(Read.id.in_(reads))
        .order_by(Read.id, PullRead.id)
    )
    last: dict[int, dict[str, Any]] = {}
    for read, annotator, slide, pulled in rows:
        if as_of_pull is not None and pulled.pull_id > as_of_pull:
            continue
        held = (pulled.circumstances or {}).get("entitlement") or {}
        last[read.id] = {
            "read": read.id,
            "slide": slide,
            "annotator": annotator.handle,
            "role": held.get("role"),
            "credentials": held.get("credentials"),
            "read_date": pulled.read_date,
            "based_on": read.based_on_id,
            "pull": pulled.pull_id,
            "source_sha256": pulled.source_sha256,
            "event": _pull_event(session, pulled.pull_id),
        }
    return list(last.values())


def _pull_event(session: Session, pull: int) -> int | None:
    return session.scalar(
        select(Event.id)
        .where(Event.subject == f"pull:{pull}", Event.action == PULLED)
        .order_by(Event.id)
        .limit(1)
    )


def _decisions(
    session: Session, run: ConsensusRun, slides: set[int] | None, items: set[int] | None
) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Decision, Dispute, Annotator.handle, Slide.name)
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .join(Slide, Dispute.slide_id == Slide.id)
        .outerjoin(Annotator, Decision.by_id == Annotator.id)
        .where(Dispute.run_id == run.id)
        .order_by(Decision.id)
    )
    return [
        {
            "decision": decision.id,
            "dispute": dispute.id,
            "slide": slide,
            "at": decision.at,
            "by": handle,
            "answer": decision.answer,
            "class": decision.path_class,
            "reason": decision.reason,
            "inherited_from": decision.inherited_from_id,
            "ai_assisted": is_triage(run),
        }
        for decision, dispute, handle, slide in rows
        if (slides is None or dispute.slide_id in slides)
        and (items is None or dispute.item_id in items)
    ]


def release_entry(row: Release) -> dict[str, Any]:
    """A release in brief."""
    return {
        "release": {
            "release": row.name,
            "at": row.at,
            "manifest_sha256": row.manifest_sha256,
            "up_to_event": row.up_to_event_id,
        }
    }
