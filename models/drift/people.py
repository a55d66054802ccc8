"""What people did with a model's slides: what was escalated, overturned, and read with it in sight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import ProtocolVersion, PullRead, Read
from consensus.queue.decisions import CLASS
from consensus.run_kinds import TRIAGE, of_triage
from consensus.tables import (
    ConsensusItem,
    ConsensusRun,
    Decision,
    Dispute,
    PredictedSlide,
    PredictionRun,
)
from models.drift.selection import Comparison
from models.prediction.slide_file import SlidePrediction

__all__ = ["Adjudicated", "PeopleOfSlides", "adjudicated_places", "overturned_share", "people_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Adjudicated:
    """A place that an adjudicator gave a class; without geometry the whole slide."""

    path_class: str
    geometry: shapely.Geometry | None


@dataclass(frozen=True, eq=False)
class PeopleOfSlides:
    """Of each slide compared, (n_slides,): NaN where there is nothing to tell.

    Attributes
    ----------
    escalated
        1 where triage brought anything of the slide to a person, 0 where not.
    overturned
        Share of its adjudicated places to which the model gives another class.
    ai_assisted
        Share of its reads, and of its decisions, that were made with a prediction in sight.
    not_escalated
        Why nothing is told of escalation.
    """

    escalated: Floats
    overturned: Floats
    ai_assisted: Floats
    not_escalated: str | None = None


def people_of(session: Session, comparison: Comparison, overturned: Floats) -> PeopleOfSlides:
    """What people did with the slides.

    Parameters
    ----------
    overturned : shape (n_slides,)
        From :func:`overturned_share`.
    """
    escalated, reason = _escalated(session, comparison)
    return PeopleOfSlides(escalated, overturned, _ai_assisted(session, comparison), reason)


def adjudicated_places(session: Session, comparison: Comparison) -> dict[int, list[Adjudicated]]:
    """The classes that adjudicators gave under the protocol, by slide.

    The last answer to each dispute counts, and an answer that a later run inherited counts once.
    """
    last = select(func.max(Decision.id)).group_by(Decision.dispute_id)
    rows = session.execute(
        select(Dispute.slide_id, Dispute.geometry, Decision.path_class)
        .join(Decision, Decision.dispute_id == Dispute.id)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .join(ProtocolVersion, ConsensusRun.protocol_id == ProtocolVersion.id)
        .where(
            ProtocolVersion.name == comparison.protocol.name,
            Decision.id.in_(last),
            Decision.answer == CLASS,
            Decision.path_class.is_not(None),
            Decision.inherited_from_id.is_(None),
        )
        .order_by(Decision.id)
    )
    found: dict[int, list[Adjudicated]] = defaultdict(list)
    for slide, geometry, path_class in rows:
        where = None if geometry is None else shapely.from_wkb(geometry)
        found[slide].append(Adjudicated(str(path_class), where))
    return found


def overturned_share(
    places: Sequence[Adjudicated], result: Mapping[str, object], prediction: SlidePrediction
) -> float:
    """Share of places to which the model gives another class than the adjudicator; NaN without any.

    The model's class of a place is the most probable one on average over the tiles whose centres lie
    in it, or over the nearest tile where none does. Classes that the model doesn't know don't count.
    """
    known = [place for place in places if place.path_class in prediction.classes]
    if not known:
        return np.nan
    centres = prediction.coordinates + prediction.side_px / 2
    apart = 0
    for place in known:
        if place.geometry is None:
            said = result.get("predicted")
        else:
            inside = shapely.contains_xy(place.geometry, centres[:, 0], centres[:, 1])
            if not inside.any():
                point = place.geometry.representative_point()
                nearest = np.hypot(centres[:, 0] - point.x, centres[:, 1] - point.y).argmin()
                inside[nearest] = True
            mean = prediction.probability[inside].mean(axis=0)
            said = prediction.classes[int(mean.argmax())]
        apart += said != place.path_class
    return apart / len(known)


def _escalated(session: Session, comparison: Comparison) -> tuple[Floats, str | None]:
    """Whether anything of each slide was escalated, by the last triage of either run."""
    nothing = np.full(len(comparison.slides), np.nan)
    triages = {
        run.id: _last_triage(session, run) for run in (comparison.reference, comparison.current)
    }
    found = [triage for triage in triages.values() if triage is not None]
    if len(found) < len(triages):
        return nothing, "not both runs went through triage"
    rules = {(one.parameters.get("measure"), one.parameters.get("threshold")) for one in found}
    if len(rules) > 1:
        return nothing, "the runs went through triage at different thresholds"
    slides = {
        run: set(
            session.scalars(
                select(ConsensusItem.slide_id).where(ConsensusItem.run_id == triage.id).distinct()
            )
        )
        for run, triage in triages.items()
        if triage is not None
    }
    return (
        np.array([float(one.slide.id in slides[one.run.id]) for one in comparison.slides]),
        None,
    )


def _last_triage(session: Session, run: PredictionRun) -> ConsensusRun | None:
    triages = session.scalars(
        select(ConsensusRun).where(of_triage()).order_by(ConsensusRun.id.desc())
    )
    return next((one for one in triages if one.parameters.get("prediction_run") == run.id), None)


def _ai_assisted(session: Session, comparison: Comparison) -> Floats:
    """Share of each slide's reads and decisions under the protocol that saw a prediction."""
    of_slides = select(PredictedSlide.slide_id).where(
        PredictedSlide.run_id.in_([comparison.reference.id, comparison.current.id])
    )
    counts: dict[int, list[bool]] = defaultdict(list)
    last = select(func.max(PullRead.id)).group_by(PullRead.read_id)
    reads = session.execute(
        select(Read.slide_id, PullRead.circumstances)
        .join(PullRead, PullRead.read_id == Read.id)
        .join(ProtocolVersion, Read.protocol_id == ProtocolVersion.id)
        .where(
            ProtocolVersion.name == comparison.protocol.name,
            PullRead.id.in_(last),
            Read.slide_id.in_(of_slides),
        )
    )
    for slide, circumstances in reads:
        counts[slide].append(bool((circumstances or {}).get("ai_assisted")))
    decisions = session.execute(
        select(Dispute.slide_id, ConsensusRun.method)
        .join(Decision, Decision.dispute_id == Dispute.id)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .join(ProtocolVersion, ConsensusRun.protocol_id == ProtocolVersion.id)
        .where(
            ProtocolVersion.name == comparison.protocol.name,
            Decision.id.in_(select(func.max(Decision.id)).group_by(Decision.dispute_id)),
            Decision.answer == CLASS,
            Decision.inherited_from_id.is_(None),
            Dispute.slide_id.in_(of_slides),
        )
    )
    for slide, method in decisions:
        counts[slide].append(method == TRIAGE)
    return np.array(
        [
            float(np.mean(counts[one.slide.id])) if one.slide.id in counts else np.nan
            for one in comparison.slides
        ]
    )
