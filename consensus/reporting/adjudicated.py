"""What the report says of adjudication: how much had to be decided, and what it overturned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consensus.queue.adjudication_queue import QueueEntry
from consensus.queue.decisions import CLASS
from consensus.reporting.numbers import count_text, percent_text

__all__ = ["AdjudicatedSection", "adjudicated_section"]


@dataclass(frozen=True)
class AdjudicatedSection:
    """The rate of adjudication, and how decisions relate to what most raters had said.

    ``rows`` name an outcome and count its disputes; ``rate`` is the disputes' share of what was
    rated, by weight.
    """

    disputes: int
    decided: int
    rate: str
    rows: list[tuple[str, str, str]]


def adjudicated_section(entries: Sequence[QueueEntry], rated_weight: float) -> AdjudicatedSection:
    """Count decisions by how they relate to the raters' labels.

    Parameters
    ----------
    entries
        The disputes of a run with the decisions in force.
    rated_weight
        Of all items of the run, in the unit of the disputes' weights.
    """
    counts = Counter(_outcome(entry) for entry in entries if entry.answer is not None)
    decided = sum(counts.values())
    disputed_weight = sum(entry.weight for entry in entries)
    return AdjudicatedSection(
        disputes=len(entries),
        decided=decided,
        rate=percent_text(disputed_weight / rated_weight if rated_weight else 0.0),
        rows=[
            (what, count_text(counts[what]), percent_text(counts[what] / decided))
            for what in _OUTCOMES
            if counts[what]
        ],
    )


_KEPT = "the class that most raters had said"
_OVERTURNED = "another rater’s class, against most raters (overturned)"
_SPLIT = "the class of some, where no class had most raters"
_NEW = "a class that no rater had said (overturned)"
_NONE = "no class: indeterminate or excluded"
_OUTCOMES = (_KEPT, _OVERTURNED, _SPLIT, _NEW, _NONE)


def _outcome(entry: QueueEntry) -> str:
    if entry.answer != CLASS:
        return _NONE
    most = _plurality(entry.labels)
    if entry.path_class not in entry.labels.values():
        return _NEW
    if most is None:
        return _SPLIT
    return _KEPT if entry.path_class == most else _OVERTURNED


def _plurality(labels: Mapping[str, str]) -> str | None:
    """The label that more raters said than any other; None in a draw."""
    counts = Counter(labels.values()).most_common(2)
    return counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else None
