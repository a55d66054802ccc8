"""Decisions on what a model was not sure of, as ratings: made with its prediction in sight.

Each counts as one rating by whoever decided, at that place. It enters a consensus and no figure of
raters, and by itself it is too few raters, whatever the protocol's number.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import shapely
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, ProtocolVersion, Slide
from consensus.queue.decisions import CLASS
from consensus.run_kinds import of_triage
from consensus.study.counted_reads import cluster_of, patient_names
from consensus.tables import ConsensusRun, Decision, Dispute

__all__ = [
    "AssistedRating",
    "assisted_ratings",
    "digest_with",
    "last_decision_before",
    "on_slide",
]


@dataclass(frozen=True)
class AssistedRating:
    """A class that a person gave to an escalated place.

    Attributes
    ----------
    run
        The triage.
    geometry
        Level-0 pixels; None for a whole slide.
    """

    decision: int
    run: int
    annotator: str
    slide: Slide
    cluster: str
    by_patient: bool
    path_class: str
    geometry: shapely.Geometry | None

    def to_dict(self) -> dict[str, Any]:
        """The rating's entry in the summary of a run that counts it."""
        return {
            "decision": self.decision,
            "run": self.run,
            "slide": self.slide.name,
            "annotator": self.annotator,
            "class": self.path_class,
        }


def last_decision_before(session: Session, run: ConsensusRun) -> int:
    """The last decision that a run can have seen; 0 where there was none."""
    return session.scalar(select(func.max(Decision.id)).where(Decision.at <= run.at)) or 0


def assisted_ratings(
    session: Session, protocol: ProtocolVersion, *, up_to: int | None = None
) -> list[AssistedRating]:
    """The classes in force on the disputes of a protocol version's triages, in their order.

    What a later triage has inherited counts once, and not at all where either was opened again.

    Parameters
    ----------
    up_to
        The last decision that counts; None takes all there are.
    """
    query = (
        select(Decision, Dispute, Annotator.handle, Slide)
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .join(Slide, Dispute.slide_id == Slide.id)
        .outerjoin(Annotator, Decision.by_id == Annotator.id)
        .where(ConsensusRun.protocol_id == protocol.id, of_triage())
        .order_by(Decision.id)
    )
    if up_to is not None:
        query = query.where(Decision.id <= up_to)
    rows = session.execute(query).all()
    root: dict[int, int] = {}
    bears: dict[int, set[int]] = defaultdict(set)
    last: dict[int, int] = {}
    for decision, dispute, _, _ in rows:
        root[decision.id] = root.get(decision.inherited_from_id or decision.id, decision.id)
        bears[root[decision.id]].add(dispute.id)
        last[dispute.id] = decision.id
    patients = patient_names(session)
    found = []
    for decision, dispute, handle, slide in rows:
        in_force = all(root[last[number]] == decision.id for number in bears[decision.id])
        if root[decision.id] != decision.id or not in_force or decision.answer != CLASS:
            continue
        cluster, by_patient = cluster_of(slide, patients)
        geometry = None if dispute.geometry is None else shapely.from_wkb(dispute.geometry)
        found.append(
            AssistedRating(
                decision=decision.id,
                run=dispute.run_id,
                annotator=handle,
                slide=slide,
                cluster=cluster,
                by_patient=by_patient,
                path_class=str(decision.path_class),
                geometry=geometry,
            )
        )
    return found


def on_slide(
    ratings: Sequence[AssistedRating], slide: int, read_by: Collection[str]
) -> dict[str, list[AssistedRating]]:
    """What counts on one slide, by annotator; where places of one overlap, the last word holds.

    Parameters
    ----------
    slide
        Its key.
    read_by
        Who has a read of the slide that counts: they have said there what they see.
    """
    by_annotator: dict[str, list[AssistedRating]] = defaultdict(list)
    for rating in ratings:
        if rating.slide.id == slide and rating.annotator not in read_by:
            by_annotator[rating.annotator].append(rating)
    return {name: list(_last_words(own)) for name, own in sorted(by_annotator.items())}


def _last_words(ratings: Sequence[AssistedRating]) -> Iterator[AssistedRating]:
    """One annotator's ratings on a slide, the last first, each without what later ones cover."""
    said: shapely.Geometry = shapely.Polygon()
    for rating in reversed(ratings):
        if rating.geometry is None:
            yield rating
            return
        left = shapely.difference(rating.geometry, said)
        said = shapely.union(said, rating.geometry)
        if left.area > 0:
            yield replace(rating, geometry=left)


def digest_with(digest: str, ratings: Sequence[AssistedRating]) -> str:
    """The input digest of reads and of decisions that count beside them."""
    if not ratings:
        return digest
    lines = sorted(
        b"\0".join(
            [
                *(
                    text.encode()
                    for text in (rating.slide.name, rating.annotator, rating.path_class)
                ),
                b"" if rating.geometry is None else shapely.to_wkb(rating.geometry),
            ]
        )
        for rating in ratings
    )
    return hashlib.sha256(b"\0\0".join([digest.encode(), *lines])).hexdigest()
