"""A consensus run as a reference: what its raters said, and the class that holds.

The items are those of the run, so that a decision stays with the region that it was taken on. What
holds is the class agreed by the run's rule or decided by an adjudicator; where there is none, the
state says why. A class that was agreed rests on the raters' own votes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import UnknownNameError
from annotation.study import protocol_of
from annotation.tables import Patient, ProtocolVersion, Slide
from consensus.comparing.comparisons import Amount, Method, against_reference
from consensus.consensus_items import Consensus
from consensus.ratings import NOT_RATED, Ratings
from consensus.run_kinds import of_raters, require_raters
from consensus.runs import find_run
from consensus.study.study_ratings import joint_negatives
from consensus.tables import ConsensusRun

__all__ = ["RunReference", "run_for", "run_reference"]


@dataclass(frozen=True)
class RunReference:
    """The raters of a run and the class of each item.

    Parameters
    ----------
    reference : shape (n_items,)
        Class that holds, ``NOT_RATED`` where none does.
    states
        How much is ``agreed``, ``adjudicated``, ``disputed`` and so on.
    """

    run: int
    ratings: Ratings
    reference: NDArray[np.int32]
    states: dict[str, Amount]

    def compared(self, method: Method) -> dict[str, Any]:
        """The document's part: each rater of the run against the class that holds."""
        return {
            "kind": "consensus run",
            "name": "adjudicated",
            "run": self.run,
            "states": {state: vars(amount) for state, amount in self.states.items()},
            "raters": [
                one.to_dict() for one in against_reference(self.ratings, self.reference, method)
            ],
        }


def run_for(session: Session, row: ProtocolVersion, number: int | None) -> ConsensusRun:
    """The run of this number under a protocol version; without one, its latest run.

    Raises
    ------
    UnknownNameError
        There is no such run, or it was made under another protocol version.
    """
    if number is None:
        newest = (
            select(ConsensusRun)
            .where(ConsensusRun.protocol_id == row.id, of_raters())
            .order_by(ConsensusRun.id.desc())
        )
        latest = session.scalars(newest).first()
        if latest is None:
            raise UnknownNameError(
                f"there is no consensus run under {row.name}@{row.version} yet; make one with "
                "`pathquorum consensus run`",
                kind="run",
                name="",
            )
        return latest
    run = find_run(session, number)
    require_raters(run, "name a run of `pathquorum consensus run`")
    if run.protocol_id != row.id:
        other = session.get_one(ProtocolVersion, run.protocol_id)
        raise UnknownNameError(
            f"consensus run {number} was made under {other.name}@{other.version}; name that "
            "protocol, or another run",
            kind="run",
            name=number,
        )
    return run


def run_reference(session: Session, run: ConsensusRun) -> RunReference:
    """Read a run with the decisions in force."""
    consensus = Consensus(session, run)
    protocol = protocol_of(consensus.protocol_row)
    code = {name: index for index, name in enumerate(consensus.classes)}
    patients = {row.id: row.name for row in session.scalars(select(Patient))}
    # A decision that counted as a rating is no figure of whoever decided.
    decided = {(one["slide"], one["annotator"]) for one in run.summary.get("ai_assisted", [])}
    raters = sorted(run.summary["raters"])
    column = {rater: index for index, rater in enumerate(raters)}
    names, codes, weight, reference, slide_of, state_of = [], [], [], [], [], []
    for number, slide in enumerate(consensus.slides):
        for item in consensus.items(slide):
            said = np.full(len(raters), NOT_RATED, dtype=np.int32)
            for rater, label in item.pattern.items():
                if (slide.name, rater) not in decided:
                    said[column[rater]] = code[label]
            names.append(item.name)
            codes.append(said)
            weight.append(item.weight)
            reference.append(NOT_RATED if item.label is None else code[item.label])
            slide_of.append(number)
            state_of.append(item.state)
    clusters = [_cluster(slide, patients) for slide in consensus.slides]
    cluster_names = sorted(set(clusters))
    slides = np.array(slide_of, dtype=np.int64)
    regions = protocol.task == "regions"
    weights = np.array(weight, dtype=np.float64)
    ratings = Ratings(
        items=tuple(names),
        raters=tuple(raters),
        classes=consensus.classes,
        codes=np.array(codes, dtype=np.int32).reshape(len(names), len(raters)),
        weight=weights,
        cluster=np.array([cluster_names.index(name) for name in clusters], dtype=np.int64)[slides],
        cluster_names=tuple(cluster_names),
        rank=np.array(protocol.ranks),
        negative=None if protocol.negative is None else code[protocol.negative],
        weight_unit="um2" if regions else "count",
        cluster_unit="patient"
        if any(slide.patient_id is not None for slide in consensus.slides)
        else "slide",
        joint_negatives=joint_negatives(protocol),
        slide=slides,
        slide_names=tuple(slide.name for slide in consensus.slides),
        domain_um2=float(weights.sum()) if regions else None,
    )
    in_state: dict[str, list[int]] = defaultdict(list)
    for index, state in enumerate(state_of):
        in_state[state].append(index)
    states = {}
    for state, items in sorted(in_state.items()):
        used = np.zeros(len(names), dtype=bool)
        used[items] = True
        states[state] = Amount.of(ratings, used)
    return RunReference(run.id, ratings, np.array(reference, dtype=np.int32), states)


def _cluster(slide: Slide, patients: dict[int, str]) -> str:
    """What is resampled with a slide: its patient, else the slide itself."""
    return slide.name if slide.patient_id is None else patients[slide.patient_id]
