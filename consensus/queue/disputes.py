"""The queue as it is written: each dispute with what orders it, where it lies, and what it inherits.

A dispute is one connected part of one label pattern, an object or a slide. Disputes that lie side
by side share the number of a region, which an adjudicator looks at as one place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.orm import Session

from annotation.store import now
from annotation.units import length_px
from consensus.queue.decisions import Inherited
from consensus.queue.viewing_regions import FIELD_UM, viewing_regions
from consensus.study.study_ratings import RatedItem
from consensus.tables import ConsensusRun, Decision, Dispute

__all__ = ["Entry", "write_disputes"]


@dataclass(frozen=True)
class Entry:
    """An entry of the queue before it has a key; ``item`` is its number among the run's items."""

    item: int
    weight: float
    severity: float
    geometry: shapely.Geometry | None


def write_disputes(
    session: Session,
    run: ConsensusRun,
    task: str,
    items: Sequence[RatedItem],
    entropy: NDArray[np.float64],
    entries: Sequence[Entry],
    item_keys: Sequence[int],
    answers: Sequence[Inherited],
) -> None:
    """Write the queue of a run, and the decisions that it inherits.

    Parameters
    ----------
    task
        The protocol's.
    items : length n_items
        Where they lie.
    entropy : shape (n_items,)
        Of the probabilities that order the queue, see :mod:`consensus.queue.queue_order`.
    item_keys
        Of the rows of ``consensus_items``, in the order of the items.
    answers
        What earlier runs say, one per entry.
    """
    if not entries:
        return
    rows = [
        {
            "run_id": run.id,
            "item_id": item_keys[entry.item],
            "slide_id": items[entry.item].slide.id,
            "weight": entry.weight,
            "severity": entry.severity,
            "entropy": float(entropy[entry.item]),
            "region": int(region) + 1,
            "geometry": None if entry.geometry is None else shapely.to_wkb(entry.geometry),
            "reopened_because": answer.reopened_because,
        }
        for entry, region, answer in zip(
            entries, _regions(task, items, entries), answers, strict=True
        )
    ]
    keys = session.scalars(
        insert(Dispute).returning(Dispute.id, sort_by_parameter_order=True), rows
    ).all()
    inherited = [
        {
            "dispute_id": key,
            "at": now(),
            "by_id": answer.decision.by_id,
            "answer": answer.decision.answer,
            "path_class": answer.decision.path_class,
            "reason": answer.decision.reason,
            "inherited_from_id": answer.decision.id,
        }
        for key, answer in zip(keys, answers, strict=True)
        if answer.decision is not None
    ]
    if inherited:
        session.execute(insert(Decision), inherited)


def _regions(task: str, items: Sequence[RatedItem], entries: Sequence[Entry]) -> NDArray[np.int64]:
    """The region of each entry, counted from 0 through the run; objects and slides stand alone."""
    if task != "regions":
        return np.arange(len(entries))
    of_slide: dict[int, list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        of_slide[items[entry.item].slide.id].append(number)
    region = np.empty(len(entries), dtype=np.int64)
    so_far = 0
    for members in of_slide.values():
        slide = items[entries[members[0]].item].slide
        polygons = np.array([entries[number].geometry for number in members], dtype=object)
        here = viewing_regions(polygons, length_px(FIELD_UM, slide.mpp))
        region[members] = so_far + here
        so_far += int(here.max()) + 1
    return region
