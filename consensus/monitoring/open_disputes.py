"""The queue in numbers: how many disputes are open, and for how long they have been."""

from __future__ import annotations

import hashlib
from datetime import datetime
from statistics import median
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import ProtocolVersion
from consensus.queue.decisions import REOPEN, answers_in_force
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = ["queue_status"]

_DAY_S = 86_400


def queue_status(
    session: Session, row: ProtocolVersion, run: ConsensusRun, now: datetime
) -> dict[str, Any]:
    """What of a run's disputes is decided and open, and how old the open ones are."""
    disputes = session.scalar(
        select(func.count()).select_from(Dispute).where(Dispute.run_id == run.id)
    )
    decided = answers_in_force(session, run)
    ages_s = [
        max(0.0, (now - opened).total_seconds())
        for opened in _opened(session, row, run, set(decided)).values()
    ]
    return {
        "run": run.id,
        "disputes": disputes,
        "decided": len(decided),
        "open": len(ages_s),
        "median_age_days": median(ages_s) / _DAY_S if ages_s else None,
        "oldest_age_days": max(ages_s) / _DAY_S if ages_s else None,
    }


def _opened(
    session: Session, row: ProtocolVersion, run: ConsensusRun, decided: set[int]
) -> dict[int, datetime]:
    """Since when each open dispute of a run has been open.

    A later run repeats what earlier ones left open: where slide, labels and region are the same it
    is the same dispute, open since the first of these runs, or since it was last reopened.
    """
    rows = session.execute(
        select(
            Dispute.id, Dispute.run_id, Dispute.slide_id, Dispute.geometry, ConsensusItem.pattern
        )
        .add_columns(ConsensusRun.at)
        .join(ConsensusItem, Dispute.item_id == ConsensusItem.id)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .where(ConsensusRun.protocol_id == row.id, Dispute.run_id <= run.id)
        .order_by(Dispute.run_id)
        .execution_options(yield_per=5000)
    )
    since: dict[bytes, datetime] = {}
    key_of: dict[int, bytes] = {}
    still_open: list[int] = []
    for dispute, of_run, slide, geometry, pattern, at in rows:
        key = _key(slide, pattern, geometry)
        key_of[dispute] = key
        since.setdefault(key, at)
        if of_run == run.id and dispute not in decided:
            still_open.append(dispute)
    reopened = session.execute(
        select(Decision.dispute_id, Decision.at)
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .where(ConsensusRun.protocol_id == row.id, Decision.answer == REOPEN)
        .order_by(Decision.id)
    )
    for dispute, at in reopened:
        if dispute in key_of:
            since[key_of[dispute]] = at
    return {dispute: since[key_of[dispute]] for dispute in still_open}


def _key(slide: int, pattern: dict[str, str], geometry: bytes | None) -> bytes:
    labels = msgspec.json.encode([slide, pattern], order="sorted")
    return hashlib.sha256(labels + b"\0" + (geometry or b"")).digest()
