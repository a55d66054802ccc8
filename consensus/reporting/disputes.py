"""What the report says of the queue: the places in dispute, in the order of what an answer gains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.queue.adjudication_queue import Place, QueueEntry, places
from consensus.queue.decisions import EXCLUDE, INDETERMINATE
from consensus.reporting.numbers import area_um2_text, count_text
from consensus.tables import Decision

__all__ = ["DisputeRow", "PlaceRows", "dispute_places"]

MOST_DISPUTES_LISTED: Final = 400

NO_BREAK: Final = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class DisputeRow:
    """A dispute, and how it ended; raters stand under the names the adjudicator saw."""

    dispute: int
    slide: str
    area: str
    severity: str
    gain: str
    labels: list[tuple[str, str]]
    decision: str
    decided_by: str
    reason: str
    remarks: list[str]


@dataclass(frozen=True)
class PlaceRows:
    """Disputes that lie side by side; ``head`` says so, and is empty where there is one alone."""

    head: str
    rows: list[DisputeRow]


def dispute_places(
    entries: Sequence[QueueEntry], answers: Mapping[int, Decision | None], *, areal: bool
) -> list[PlaceRows]:
    """The first of a queue's disputes, by place, as ``adjudicate list`` orders regions.

    Parameters
    ----------
    answers
        Decisions in force, by dispute.
    areal
        Whether weights are areas in um2, else numbers of items.
    """
    found: list[PlaceRows] = []
    room = MOST_DISPUTES_LISTED
    for place in places(entries):
        listed = place.entries[:room]
        if not listed:
            break
        room -= len(listed)
        rows = [_dispute(entry, answers.get(entry.dispute), areal) for entry in listed]
        found.append(PlaceRows(_head(place, areal), rows))
    return found


def _head(place: Place, areal: bool) -> str:
    """What an adjudicator is told of disputes that lie side by side."""
    if len(place.entries) == 1:
        return ""
    document = place.to_dict()
    told = [f"{count_text(len(place.entries))} disputes, {count_text(document['open'])} open"]
    if areal:
        told.append(f"{area_um2_text(place.weight)} µm²")
    told.append(f"gain {_gain_text(place.gain, areal)}")
    if document["bounds_px"] is not None:
        left, top, right, bottom = document["bounds_px"]
        told.append(f"x {left:.0f} to {right:.0f}, y {top:.0f} to {bottom:.0f} px")
    return f"Region {place.region}, side by side: {'; '.join(told)}"


def _gain_text(gain: float, areal: bool) -> str:
    return area_um2_text(gain) if areal else f"{gain:.2f}"


def _by_label(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each label with the masked raters who gave it, the most frequent first."""
    raters: dict[str, list[str]] = defaultdict(list)
    for rater, label in sorted(labels.items()):
        raters[label].append(rater.replace(" ", NO_BREAK))
    ranked = sorted(raters.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [(label, ", ".join(who)) for label, who in ranked]


def _dispute(entry: QueueEntry, answer: Decision | None, areal: bool) -> DisputeRow:
    remarks = []
    if answer is not None and answer.inherited_from_id is not None:
        remarks.append("inherited from an earlier run")
    if entry.reopened_because:
        remarks.append(f"reopened: {entry.reopened_because}")
    decision = {INDETERMINATE: "indeterminate", EXCLUDE: "excluded"}.get(str(entry.answer))
    return DisputeRow(
        dispute=entry.dispute,
        slide=entry.slide,
        area=area_um2_text(entry.weight) if areal else "",
        severity=f"{entry.severity:.2f}",
        gain=_gain_text(entry.gain, areal),
        labels=_by_label(entry.labels),
        decision=decision or entry.path_class or entry.state,
        decided_by=entry.decided_by or "",
        reason=entry.reason or "",
        remarks=remarks,
    )
