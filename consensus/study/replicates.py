"""Slides that the same annotator read more than once, rated within each annotator.

The readings of a slide enter one overlay, or one matching, as if several people had read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from annotation.tables import ProtocolVersion, Slide
from consensus.comparing.comparisons import Method, within_raters
from consensus.ratings import Ratings
from consensus.study.counted_reads import ExcludedRead, repeated_reads
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import rate_reads

__all__ = ["StudyReplicates", "rate_replicates"]


@dataclass(frozen=True)
class StudyReplicates:
    """By annotator the ratings of their readings, a column each, and what was left out."""

    ratings: dict[str, Ratings]
    excluded: list[ExcludedRead]

    def compared(self, method: Method) -> dict[str, Any]:
        """The document's part: each annotator against themselves, and what was left out."""
        return {
            **within_raters(self.ratings, method),
            "excluded": [read.to_dict() for read in self.excluded],
            "notes": [
                f"{handle}: {note}"
                for handle, ratings in sorted(self.ratings.items())
                for note in ratings.notes
            ],
        }


def rate_replicates(
    session: Session,
    row: ProtocolVersion,
    *,
    as_of_pull: int | None = None,
    include_derived: bool = False,
    slide: Slide | None = None,
) -> StudyReplicates:
    """Rate what annotators read more than once; see :func:`consensus.study.study_ratings.rate`."""
    repeated, excluded = repeated_reads(
        session, row, as_of_pull, slide=None if slide is None else slide.id
    )
    ratings = {}
    for handle, reads in repeated.items():
        named = [replace(read, annotator=f"replicate {number}") for number, read in reads]
        ratings[handle] = rate_reads(
            session,
            row,
            named,
            [],
            as_of_pull=as_of_pull,
            include_derived=include_derived,
            wanted=Wanted(geometry=False),
        ).ratings
    return StudyReplicates(ratings, excluded)
