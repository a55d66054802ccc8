"""What a model is not sure of, as disputes: a queue of its own under a protocol version.

Nobody has rated what is escalated, so that its pattern of labels is empty; its posterior is the
model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.protocol import Protocol
from annotation.store import SOFTWARE_VERSION, now
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.item_states import DISPUTED
from consensus.queue.decisions import InheritedDecisions
from consensus.queue.disputes import Entry, write_disputes
from consensus.queue.queue_order import label_entropy
from consensus.run_kinds import TRIAGE, of_triage
from consensus.statistics.weights import disagreement_weights
from consensus.study.study_ratings import RatedItem
from consensus.tables import ConsensusItem, ConsensusRun

__all__ = ["Escalated", "Triaged", "find_triage", "record_triage"]


@dataclass(frozen=True, eq=False)
class Escalated:
    """A place that a person should look at.

    Attributes
    ----------
    geometry
        Level-0 pixels; None for a whole slide.
    weight
        um2 for regions, else 1.
    posterior : length K
        The model's probabilities, in the order of the classes.
    """

    slide: Slide
    geometry: shapely.Geometry | None
    weight: float
    posterior: tuple[float, ...]


@dataclass(frozen=True)
class Triaged:
    """What a triage found, before it is written.

    Attributes
    ----------
    parameters
        The prediction run, its weights, the measure, the threshold and the target.
    input_digest
        Of the predictions and of what the threshold was fitted on.
    figures
        What a report shows of it.
    """

    row: ProtocolVersion
    classes: tuple[str, ...]
    places: Sequence[Escalated]
    parameters: dict[str, Any]
    input_digest: str
    figures: dict[str, Any]


def find_triage(session: Session, triaged: Triaged) -> ConsensusRun | None:
    """The run that holds this very triage; None where there is none yet."""
    rows = session.scalars(
        select(ConsensusRun)
        .where(
            of_triage(),
            ConsensusRun.protocol_id == triaged.row.id,
            ConsensusRun.input_digest == triaged.input_digest,
        )
        .order_by(ConsensusRun.id)
    )
    return next((row for row in rows if row.parameters == triaged.parameters), None)


def record_triage(session: Session, triaged: Triaged) -> ConsensusRun:
    """Write a triage and its queue; what was decided of the same place by an earlier one holds."""
    protocol = protocol_of(triaged.row)
    items = [
        RatedItem(f"{place.slide.name}/{number}", place.slide, place.geometry)
        for number, place in enumerate(triaged.places, start=1)
    ]
    posterior = np.array([place.posterior for place in triaged.places])
    posterior = posterior.reshape(len(items), len(triaged.classes))
    severity = _severity(protocol, triaged.classes, posterior)
    entries = [
        Entry(number, place.weight, float(severity[number]), place.geometry)
        for number, place in enumerate(triaged.places)
    ]
    inherited = InheritedDecisions(session, triaged.row, triage=True)
    answers = [inherited.answer(place.slide.id, {}, place.geometry) for place in triaged.places]
    decided = sum(answer.decision is not None for answer in answers)
    run = ConsensusRun(
        at=now(),
        protocol_id=triaged.row.id,
        method=TRIAGE,
        parameters=triaged.parameters,
        input_digest=triaged.input_digest,
        classes=list(triaged.classes),
        summary=_summary(protocol, triaged, decided),
        software_version=SOFTWARE_VERSION,
    )
    session.add(run)
    session.flush()
    keys = _write_items(session, run, items, triaged.places)
    entropy = label_entropy(posterior)
    write_disputes(session, run, protocol.task, items, entropy, entries, keys, answers)
    record(
        session,
        actor=None,
        action=TRIAGE,
        subject=f"run:{run.id}",
        new={
            "protocol": run.protocol_id,
            "parameters": run.parameters,
            "input_digest": run.input_digest,
            "disputes": len(entries),
            "inherited": decided,
        },
    )
    return run


def _severity(
    protocol: Protocol, classes: tuple[str, ...], posterior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean disagreement weight of two answers drawn from the model's probabilities, 0 to 1, (n,)."""
    weights = disagreement_weights(protocol.weights, classes, np.array(protocol.ranks))
    severity: NDArray[np.float64] = np.einsum("nk,kl,nl->n", posterior, weights, posterior)
    return severity


def _summary(protocol: Protocol, triaged: Triaged, decided: int) -> dict[str, Any]:
    """As of any run, so far as there is something without raters; and the figures of the triage."""
    weight = sum(place.weight for place in triaged.places)
    return {
        "slides": len({place.slide.id for place in triaged.places}),
        "items": len(triaged.places),
        "classes": {name: {"items": 0, "weight": 0.0} for name in triaged.classes},
        "open": {DISPUTED: {"items": len(triaged.places), "weight": weight}},
        "disputes": len(triaged.places),
        "disputed_weight": weight,
        "inherited": decided,
        "raters": [],
        "weight_unit": "um2" if protocol.task == "regions" else "count",
        "excluded": [],
        "notes": [],
        "raters_quality": {},
        "triage": triaged.figures,
    }


def _write_items(
    session: Session, run: ConsensusRun, items: Sequence[RatedItem], places: Sequence[Escalated]
) -> list[int]:
    if not items:
        return []
    rows: list[dict[str, Any]] = [
        {
            "run_id": run.id,
            "slide_id": place.slide.id,
            "name": item.name,
            "weight": place.weight,
            "pattern": {},
            "label": None,
            "state": DISPUTED,
            "posterior": [round(p, 9) for p in place.posterior],
            "geometry": None if place.geometry is None else shapely.to_wkb(place.geometry),
        }
        for item, place in zip(items, places, strict=True)
    ]
    return list(
        session.scalars(
            insert(ConsensusItem).returning(ConsensusItem.id, sort_by_parameter_order=True), rows
        )
    )
