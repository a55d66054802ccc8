"""What votes weigh in a study: by the roles that its people have, or by their agreement."""

from __future__ import annotations

from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.tables import Annotator
from consensus.fusing.assisted import reads_alone
from consensus.fusing.voting import (
    VoteKind,
    VoteRule,
    Votes,
    agreement_votes,
    equal_votes,
    role_votes,
)
from consensus.ratings import Ratings
from consensus.study.study_ratings import StudyRatings

__all__ = ["vote_rule", "vote_rules"]


def vote_rule(session: Session, rated: StudyRatings, kind: VoteKind) -> VoteRule:
    """The rule of this name; ``role`` takes the roles in force now and the protocol's weights."""
    if kind == "equal":
        return equal_votes
    if kind == "agreement":
        if rated.decided.any():
            reads = reads_alone(rated)
            return lambda _ratings: agreement_votes(reads)
        return agreement_votes
    people = select(Annotator.handle, Annotator.role)
    role_of = {person.handle: person.role for person in session.execute(people)}
    weights = rated.protocol.consensus.role_weights
    name = f"{rated.row.name}@{rated.row.version}"

    def by_role(ratings: Ratings) -> Votes:
        return role_votes(ratings, role_of, weights, name)

    return by_role


def vote_rules(session: Session, rated: StudyRatings) -> dict[str, VoteRule]:
    """Every rule, by its name."""
    return {kind: vote_rule(session, rated, kind) for kind in get_args(VoteKind)}
