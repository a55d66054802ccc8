"""Slides whose label rests on what people said with a model's own predictions in sight.

Such a label agrees with the model more than an expert would have done without it, so that it is no
test of this model. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.pushed import is_prediction
from annotation.tables import PullRead
from annotation.terminal import counted
from consensus.consensus_items import Consensus
from consensus.prediction_runs import run_of_origin, weights_of
from consensus.runs import last_pull_before
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusRun
from models.evaluation.review_list import reviewed_weights

__all__ = ["assisted_note", "assisted_slides"]

_NAMED = 3


def assisted_slides(
    session: Session, consensus: Consensus, weights_sha256: Collection[str]
) -> dict[str, str]:
    """By name, the slides of a consensus that the predictions of these weights had a part in.

    Those are slides with a decision on a triage of theirs that the consensus counts, and slides of
    which it counts a read that saw their pushes, or pushes of a run that is no longer on record.
    """
    found: dict[str, str] = {}
    for name, why in (
        *_read_with(session, consensus, set(weights_sha256)),
        *_decided_with(session, consensus.run, set(weights_sha256)),
    ):
        found.setdefault(name, why)
    return dict(sorted(found.items()))


def assisted_note(model: str, slides: dict[str, str]) -> str | None:
    """What a reader of the figures has to know; None where no slide was left out."""
    if not slides:
        return None
    named = "; ".join(f"{name}: {why}" for name, why in list(slides.items())[:_NAMED])
    more = f" and {len(slides) - _NAMED} more" if len(slides) > _NAMED else ""
    return (
        f"{counted(len(slides), 'slide')} left out of the evaluation of {model}, whose predictions "
        f"were in sight when they were labelled ({named}{more})"
    )


def _decided_with(
    session: Session, run: ConsensusRun, weights: set[str]
) -> Iterator[tuple[str, str]]:
    for one in run.summary.get("ai_assisted", []):
        triage = session.get_one(ConsensusRun, one["run"])
        if weights & set(triage.parameters["weights_sha256"]):
            yield one["slide"], f"decision {one['decision']} on triage {triage.id}"


def _read_with(
    session: Session, consensus: Consensus, weights: set[str]
) -> Iterator[tuple[str, str]]:
    last_pull = last_pull_before(session, consensus.run)
    reads, _ = counted_reads(session, consensus.protocol_row, last_pull)
    slide_of = {read.read: read.slide.name for read in reads if read.ai_assisted}
    last = (
        select(func.max(PullRead.id))
        .where(PullRead.read_id.in_(slide_of), PullRead.pull_id <= last_pull)
        .group_by(PullRead.read_id)
    )
    pulled = session.scalars(select(PullRead).where(PullRead.id.in_(last)).order_by(PullRead.id))
    for row in pulled:
        for push in filter(is_prediction, (row.circumstances or {}).get("saw", [])):
            if _is_of(session, push, weights):
                yield slide_of[row.read_id], f"read {row.read_id} saw {push}"


def _is_of(session: Session, push: str, weights: set[str]) -> bool:
    """Whether a push showed what these weights predict; one of no run on record may have."""
    run = run_of_origin(session, push)
    if run is not None:
        return bool(weights & set(weights_of(run)))
    begin = reviewed_weights(push)
    return begin is None or any(one.startswith(begin) for one in weights)
