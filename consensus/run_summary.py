"""What a run says of itself: fixed when it was made, and stored with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from consensus.fused import Fused
from consensus.fusing.rater_quality import quality_basis, quality_document, staple_document
from consensus.fusion import FusionOptions
from consensus.item_states import AGREED, BELOW_AREA, DISPUTED
from consensus.queue.disputes import Entry
from consensus.ratings import Ratings
from consensus.study.study_ratings import StudyRatings
from consensus.tables import Decision

__all__ = ["raters_summary", "run_summary"]


def run_summary(
    rated: StudyRatings,
    fused: Fused,
    states: Sequence[str],
    entries: Sequence[Entry],
    inherited: Sequence[Decision | None],
) -> dict[str, Any]:
    """What ``consensus show`` prints of a run, fixed when it was made."""
    ratings = rated.ratings
    classes: dict[str, dict[str, float]] = {
        name: {"items": 0, "weight": 0.0} for name in ratings.classes
    }
    for label, weight, state in zip(fused.labels, ratings.weight, states, strict=True):
        if state == AGREED:
            classes[ratings.classes[label]]["items"] += 1
            classes[ratings.classes[label]]["weight"] += float(weight)
    left: dict[str, dict[str, float]] = defaultdict(lambda: {"items": 0, "weight": 0.0})
    rest = {
        index: float(weight)
        for index, (weight, state) in enumerate(zip(ratings.weight, states, strict=True))
        if state != AGREED
    }
    for entry, decision in zip(entries, inherited, strict=True):
        rest[entry.item] -= entry.weight
        if decision is None:
            counted = left[DISPUTED]
        elif decision.path_class is not None:
            counted = classes[decision.path_class]
        else:
            counted = left[decision.answer]
        counted["items"] += 1
        counted["weight"] += entry.weight
    for index, weight in rest.items():
        # What of a disputed pattern is too small for the queue stays open like other specks.
        state = BELOW_AREA if states[index] == DISPUTED else states[index]
        left[state]["items"] += states[index] != DISPUTED
        left[state]["weight"] += max(weight, 0.0)
    queued = sum(entry.weight for entry in entries)
    return {
        "slides": len(ratings.slide_names),
        "items": len(rated.items),
        "classes": classes,
        "open": {state: entry for state, entry in left.items() if entry["weight"] > 0},
        "disputes": len(entries),
        "disputed_weight": queued,
        "inherited": sum(decision is not None for decision in inherited),
        "raters": list(ratings.raters),
        "ai_assisted": [rating.to_dict() for rating in rated.assisted],
        "weight_unit": ratings.weight_unit,
        "excluded": [read.to_dict() for read in rated.excluded],
        "notes": [*rated.notes, *fused.notes],
        **({} if rated.matching is None else {"matching": rated.matching.to_dict()}),
    }


def raters_summary(
    ratings: Ratings, fused: Fused, options: FusionOptions, bootstrap: int
) -> dict[str, Any]:
    """What the summary says of the raters, and of how the method came to its end."""
    drawn = {"bootstrap": bootstrap, "seed": options.seed}
    per_class = {"staple_per_class": staple_document(ratings)} if options.per_class else {}
    return {
        "raters_quality": quality_document(ratings, fused, **drawn),
        "quality_basis": quality_basis(ratings, fused, **drawn),
        "convergence": fused.convergence,
        **per_class,
    }
