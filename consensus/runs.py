"""A consensus run: ratings + method + parameters give a class and a posterior for each item.

A run is written once. What its rule leaves open enters the adjudicator's queue; what was decided
before is inherited where region and labels are the same, else reopened with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import InputError, UnknownNameError
from annotation.store import SOFTWARE_VERSION, now
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Pull
from annotation.units import um2_per_px2
from consensus.fused import OPEN, Fused
from consensus.fusing.assisted import alone, of_reads, open_where_alone
from consensus.fusing.rater_quality import REPLICATES
from consensus.fusing.study_votes import vote_rule
from consensus.fusing.voting import VoteKind
from consensus.fusion import FusionOptions, fuse
from consensus.item_states import AGREED, BELOW_AREA, DISPUTED, TOO_FEW
from consensus.queue.decisions import Inherited, InheritedDecisions
from consensus.queue.disputes import Entry, write_disputes
from consensus.queue.queue_order import label_entropy, queue_posterior
from consensus.ratings import NOT_RATED
from consensus.regions import disputed_components
from consensus.run_kinds import of_raters
from consensus.run_summary import raters_summary, run_summary
from consensus.statistics.weights import disagreement_weights
from consensus.study.assisted_ratings import assisted_ratings
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import StudyRatings, rate
from consensus.tables import ConsensusItem, ConsensusRun

__all__ = ["METHODS", "ComputedRun", "compute_run", "find_run", "last_pull_before", "record_run"]

METHODS = ("majority", "dawid-skene", "staple")


def find_run(
    session: Session, number: int | None = None, *, raters_only: bool = False
) -> ConsensusRun:
    """The run with this number; the latest one where none is given.

    Parameters
    ----------
    raters_only
        The latest one that fuses ratings: no triage.
    """
    if number is None:
        runs = select(ConsensusRun).order_by(ConsensusRun.id.desc())
        found = session.scalars(runs.where(of_raters()) if raters_only else runs).first()
        if found is None:
            raise UnknownNameError(
                "there is no consensus run yet; make one with `pathquorum consensus run`",
                kind="run",
                name="",
            )
        return found
    found = session.get(ConsensusRun, number)
    if found is None:
        raise UnknownNameError(
            f"no consensus run {number}; see `pathquorum consensus list`", kind="run", name=number
        )
    return found


def last_pull_before(session: Session, run: ConsensusRun) -> int:
    """The last pull that a run can have seen; 0 where there was none."""
    return session.scalar(select(func.max(Pull.id)).where(Pull.at <= run.at)) or 0


@dataclass(frozen=True)
class ComputedRun:
    """A run before it is written: what was rated, what follows from it, and what stays open.

    Parameters
    ----------
    states : length n_items
        Of each item, see :mod:`consensus.item_states`.
    entropy : shape (n_items,)
        Of the probabilities that order the queue.
    answers : length n_entries
        What earlier runs say to each entry of the queue.
    """

    row: ProtocolVersion
    method: str
    parameters: dict[str, Any]
    rated: StudyRatings
    fused: Fused
    states: Sequence[str]
    entropy: NDArray[np.float64]
    entries: Sequence[Entry]
    answers: Sequence[Inherited]
    summary: dict[str, Any]


def compute_run(
    session: Session,
    row: ProtocolVersion,
    method: str,
    *,
    min_raters: int | None = None,
    votes: VoteKind | None = None,
    options: FusionOptions | None = None,
    bootstrap: int = REPLICATES,
    review_below: float | None = None,
) -> ComputedRun:
    """Fuse what counts under a protocol version, and find what stays open; nothing is written.

    Parameters
    ----------
    min_raters
        Raters that an item needs; None takes the protocol's number.
    votes
        Of the majority: what a vote weighs; None takes one for each rater.
    options
        What else the method is told.
    bootstrap
        Replicates for the intervals of raters' quality.
    review_below
        An item is disputed as well where its class is less probable than this, by the posterior
        that orders the queue. Methods that estimate raters leave little but ties open by
        themselves. None asks for nothing.

    Raises
    ------
    NoRatingsError, TooFewRatersError, NoVotesError
        There is nothing to fuse, or too little for the method.
    """
    if method not in METHODS:
        raise InputError(f"no method {method!r}; choose one of {', '.join(METHODS)}")
    if review_below is not None and not 0 <= review_below <= 1:
        raise InputError(f"--review-below {review_below:g} is no probability; give 0 to 1")
    tolerance_um = protocol_of(row).dispute.tolerance_um
    assisted = assisted_ratings(session, row)
    rated = rate(session, row, wanted=Wanted(tolerance_um=tolerance_um), assisted=assisted)
    rule = rated.protocol.consensus
    needed = rule.min_raters if min_raters is None else min_raters
    if needed < 1:
        raise InputError(f"--min-raters counts from 1, not {needed}")
    options = FusionOptions() if options is None else options
    if votes is not None:
        options = replace(options, votes=vote_rule(session, rated, votes))
    fused = open_where_alone(
        rated,
        fuse(rated.ratings, method, quorum=rule.quorum, min_raters=needed, options=options),
    )
    posterior = queue_posterior(rated.ratings)
    stated = fused
    if review_below is not None:
        fused = _without_the_doubtful(fused, posterior, review_below)
    states = _states(rated, fused, needed)
    entries = list(_entries(rated, states))
    states = _without_entries(states, entries)
    inherited = InheritedDecisions(session, row)
    answers = [
        inherited.answer(rated.items[e.item].slide.id, _pattern(rated, e.item), e.geometry)
        for e in entries
    ]
    return ComputedRun(
        row=row,
        method=method,
        parameters={"min_raters": needed, "quorum": rule.quorum, **fused.parameters},
        rated=rated,
        fused=fused,
        states=states,
        entropy=label_entropy(posterior),
        entries=entries,
        answers=answers,
        summary=run_summary(rated, fused, states, entries, [a.decision for a in answers])
        | raters_summary(*of_reads(rated, stated), options, bootstrap),
    )


def record_run(session: Session, computed: ComputedRun) -> ConsensusRun:
    """Write a run and its queue; the store must stand as it did when the run was computed."""
    rated = computed.rated
    run = ConsensusRun(
        at=now(),
        protocol_id=computed.row.id,
        method=computed.method,
        parameters=computed.parameters,
        input_digest=rated.input_digest,
        classes=list(rated.ratings.classes),
        summary=computed.summary,
        software_version=SOFTWARE_VERSION,
    )
    session.add(run)
    session.flush()
    keys = _write_items(session, run, rated, computed.fused, computed.states)
    write_disputes(
        session,
        run,
        rated.protocol.task,
        rated.items,
        computed.entropy,
        computed.entries,
        keys,
        computed.answers,
    )
    record(
        session,
        actor=None,
        action="consensus run",
        subject=f"run:{run.id}",
        new={
            "protocol": run.protocol_id,
            "method": run.method,
            "parameters": run.parameters,
            "input_digest": run.input_digest,
            "items": len(rated.items),
            "disputes": len(computed.entries),
            "inherited": sum(a.decision is not None for a in computed.answers),
            "ai_assisted": len(rated.assisted),
        },
    )
    return run


def _without_the_doubtful(
    fused: Fused, posterior: NDArray[np.float64], review_below: float
) -> Fused:
    """The same consensus, open where its class is less probable than asked for."""
    probable = posterior[np.arange(len(posterior)), fused.labels]
    return replace(
        fused,
        labels=np.where(probable < review_below, OPEN, fused.labels),
        parameters={**fused.parameters, "review_below": review_below},
    )


def _states(rated: StudyRatings, fused: Fused, needed: int) -> list[str]:
    too_few = ((rated.ratings.codes != NOT_RATED).sum(axis=1) < needed) | alone(rated)
    return [
        TOO_FEW if lacking else DISPUTED if label < 0 else AGREED
        for lacking, label in zip(too_few.tolist(), fused.labels.tolist(), strict=True)
    ]


def _entries(rated: StudyRatings, states: Sequence[str]) -> Iterable[Entry]:
    """The queue: of regions, each connected part of the protocol's least size is one entry."""
    severity = _severity(rated)
    rule = rated.protocol.dispute
    for index, (item, state) in enumerate(zip(rated.items, states, strict=True)):
        if state != DISPUTED:
            continue
        if rated.protocol.task != "regions":
            weight = float(rated.ratings.weight[index])
            yield Entry(index, weight, float(severity[index]), item.geometry)
            continue
        mpp = item.slide.mpp
        parts = disputed_components(
            item.geometry,
            min_area_px2=rule.min_area_um2 / um2_per_px2(mpp),
            boundary=None if rated.strips is None else rated.strips.of_slide.get(item.slide.id),
        )
        for part in parts.kept:
            yield Entry(index, float(part.area) * um2_per_px2(mpp), float(severity[index]), part)


def _without_entries(states: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    queued = {entry.item for entry in entries}
    return [
        BELOW_AREA if state == DISPUTED and index not in queued else state
        for index, state in enumerate(states)
    ]


def _severity(rated: StudyRatings) -> NDArray[np.float64]:
    """Mean disagreement weight over the pairs of raters of each item, from 0 to 1."""
    codes = rated.ratings.codes
    weights = disagreement_weights(
        rated.protocol.weights, rated.ratings.classes, rated.ratings.rank
    )
    total = np.zeros(len(codes))
    pairs = np.zeros(len(codes))
    for first in range(codes.shape[1]):
        for second in range(first + 1, codes.shape[1]):
            both = (codes[:, first] != NOT_RATED) & (codes[:, second] != NOT_RATED)
            total[both] += weights[codes[both, first], codes[both, second]]
            pairs += both
    return np.divide(total, pairs, out=np.zeros(len(codes)), where=pairs > 0)


def _pattern(rated: StudyRatings, item: int) -> dict[str, str]:
    ratings = rated.ratings
    return {
        rater: ratings.classes[code]
        for rater, code in zip(ratings.raters, ratings.codes[item], strict=True)
        if code != NOT_RATED
    }


def _write_items(
    session: Session,
    run: ConsensusRun,
    rated: StudyRatings,
    fused: Fused,
    states: Sequence[str],
) -> list[int]:
    ratings = rated.ratings
    posterior = np.round(fused.posterior, 9).tolist()
    wkb = shapely.to_wkb(np.array([item.geometry for item in rated.items], dtype=object))
    rows = [
        {
            "run_id": run.id,
            "slide_id": item.slide.id,
            "name": item.name,
            "weight": float(ratings.weight[index]),
            "pattern": _pattern(rated, index),
            "label": ratings.classes[fused.labels[index]] if states[index] == AGREED else None,
            "state": states[index],
            "posterior": posterior[index],
            "geometry": wkb[index],
        }
        for index, item in enumerate(rated.items)
    ]
    return list(
        session.scalars(
            insert(ConsensusItem).returning(ConsensusItem.id, sort_by_parameter_order=True), rows
        )
    )
