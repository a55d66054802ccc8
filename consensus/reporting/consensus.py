"""What the report says of a consensus: how it was made, where the rated went, what was disputed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from consensus.item_states import AGREED, BELOW_AREA, DISPUTED, TOO_FEW
from consensus.queue.adjudication_queue import QueueEntry, queue
from consensus.queue.decisions import CLASS, EXCLUDE, INDETERMINATE, answers_in_force
from consensus.reporting.adjudicated import AdjudicatedSection, adjudicated_section
from consensus.reporting.confusion import ConfusionSection, confusion_section
from consensus.reporting.disputes import PlaceRows, dispute_places
from consensus.reporting.numbers import AreaScale, count_text, moment_text, percent_text
from consensus.reporting.quality import (
    HOW_IT_ENDED,
    ConvergenceSection,
    QualitySection,
    convergence_section,
    quality_section,
)
from consensus.reporting.releases import ReleaseRow, releases_of
from consensus.tables import ConsensusItem, ConsensusRun

__all__ = ["ConsensusSection", "consensus_section"]

OPEN: Final = "open"


@dataclass(frozen=True)
class AccountRow:
    """Part of what was rated, and where it went."""

    name: str
    items: str
    decided: str
    amount: str
    share: str


@dataclass(frozen=True)
class OutcomeRow:
    """Disputes that ended alike."""

    name: str
    disputes: str
    amount: str


@dataclass(frozen=True)
class ConsensusSection:
    """Everything that the page says of one run.

    ``unit`` is the unit of the amounts: one of area, or None where items are counted.
    """

    run: int
    at: str
    method: str
    parameters: list[tuple[str, str]]
    input_digest: str
    software_version: str
    unit: str | None
    items: str
    consensus: list[AccountRow]
    left_out: list[AccountRow]
    total: AccountRow
    share_in_consensus: str
    outcomes: list[OutcomeRow]
    adjudicated: AdjudicatedSection
    places: list[PlaceRows]
    disputes_listed: int
    disputes_in_all: int
    open_disputes: int
    entries: list[QueueEntry]
    quality: QualitySection | None
    confusion: ConfusionSection | None
    releases: list[ReleaseRow]
    convergence: ConvergenceSection | None
    notes: list[str]


def consensus_section(session: Session, run: ConsensusRun) -> ConsensusSection:
    """The run, its accounts and its disputes, with the decisions in force now."""
    entries = queue(session, run)
    answers = answers_in_force(session, run)
    account = _Account(session, run, entries)
    areal = run.summary["weight_unit"] == "um2"
    listed = dispute_places(entries, answers, areal=areal)
    return ConsensusSection(
        run=run.id,
        at=moment_text(run.at),
        method=_METHOD_WORDS.get(run.method, run.method),
        parameters=[
            (key.replace("_", " "), _value(v))
            for key, v in sorted(run.parameters.items())
            if key not in HOW_IT_ENDED
        ],
        input_digest=run.input_digest,
        software_version=run.software_version,
        unit=account.scale.unit if areal else None,
        items=count_text(run.summary["items"]),
        consensus=list(account.by_class()),
        left_out=list(account.left_out()),
        total=account.total(),
        share_in_consensus=percent_text(account.share_in_consensus),
        outcomes=list(account.outcomes()),
        adjudicated=adjudicated_section(entries, account.rated_weight),
        places=listed,
        disputes_listed=sum(len(place.rows) for place in listed),
        disputes_in_all=len(entries),
        open_disputes=sum(entry.answer is None for entry in entries),
        entries=entries,
        quality=quality_section(run.summary, run.classes),
        confusion=confusion_section(run.summary, run.classes),
        releases=releases_of(session, run),
        convergence=convergence_section(run.summary),
        notes=list(run.summary.get("notes", [])),
    )


_METHOD_WORDS = {
    "majority": "majority vote",
    "dawid-skene": "Dawid-Skene (expectation-maximisation over raters)",
    "staple": "STAPLE (expectation-maximisation over raters)",
}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    return str(value)


class _Account:
    """Adds up where everything that was rated went: nothing is left unsaid."""

    def __init__(self, session: Session, run: ConsensusRun, entries: Sequence[QueueEntry]) -> None:
        self._classes: list[str] = list(run.classes)
        self._by_rule: dict[str, tuple[int, float]] = {}
        self._by_state: dict[str, tuple[int, float]] = {}
        rows = session.execute(
            select(
                ConsensusItem.state,
                ConsensusItem.label,
                func.count(),
                func.sum(ConsensusItem.weight),
            )
            .where(ConsensusItem.run_id == run.id)
            .group_by(ConsensusItem.state, ConsensusItem.label)
        )
        for state, label, items, weight in rows:
            if state == AGREED:
                self._by_rule[str(label)] = (items, float(weight))
            else:
                self._by_state[state] = (items, float(weight))
        self._decided: dict[str, int] = Counter()
        self._decided_weight: dict[str, float] = defaultdict(float)
        for entry in entries:
            key = _outcome(entry)
            self._decided[key] += 1
            self._decided_weight[key] += entry.weight
        self._queued = sum(entry.weight for entry in entries)
        amounts = [weight for _, weight in (*self._by_rule.values(), *self._by_state.values())]
        self._all = sum(amounts)
        areal = run.summary["weight_unit"] == "um2"
        self.scale = AreaScale.of([self._all]) if areal else AreaScale("", 1.0, 0)

    @property
    def rated_weight(self) -> float:
        """All that was rated by anyone."""
        return self._all

    @property
    def share_in_consensus(self) -> float:
        """Part of what was rated that has a class."""
        ruled = sum(weight for _, weight in self._by_rule.values())
        decided = sum(self._decided_weight[_class_key(name)] for name in self._classes)
        return (ruled + decided) / self._all if self._all else 0.0

    def by_class(self) -> Iterator[AccountRow]:
        """What has a class, by the rule or by a decision."""
        for name in self._classes:
            items, weight = self._by_rule.get(name, (0, 0.0))
            key = _class_key(name)
            yield self._row(name, items, self._decided[key], weight + self._decided_weight[key])

    def left_out(self) -> Iterator[AccountRow]:
        """What has none, by the reason."""
        for key, words in _LEFT_OUT_WORDS.items():
            if self._decided[key]:
                yield self._row(words, None, self._decided[key], self._decided_weight[key])
        small_items, small = self._by_state.get(BELOW_AREA, (0, 0.0))
        # The slivers of an item whose larger parts are in the queue.
        small += max(0.0, self._by_state.get(DISPUTED, (0, 0.0))[1] - self._queued)
        if small > 1e-6 * self._all:
            yield self._row("differences too small to be disputed", small_items, None, small)
        few_items, few = self._by_state.get(TOO_FEW, (0, 0.0))
        if few_items:
            yield self._row("rated by too few raters", few_items, None, few)

    def total(self) -> AccountRow:
        """All that was rated by anyone."""
        return self._row("Rated in all", None, None, self._all)

    def outcomes(self) -> Iterator[OutcomeRow]:
        """How the disputes ended, the classes first."""
        keys = [(_class_key(name), f"decided as {name}") for name in self._classes]
        for key, words in [*keys, *_OUTCOME_WORDS.items()]:
            if self._decided[key]:
                yield OutcomeRow(
                    words,
                    count_text(self._decided[key]),
                    self.scale.text(self._decided_weight[key]),
                )

    def _row(self, name: str, items: int | None, decided: int | None, weight: float) -> AccountRow:
        return AccountRow(
            name=name,
            items="" if items is None else count_text(items),
            decided="" if decided is None else count_text(decided),
            amount=self.scale.text(weight),
            share=percent_text(weight / self._all if self._all else 0.0),
        )


def _class_key(name: str) -> str:
    """Keeps a class named `open` apart from what is open."""
    return f"{CLASS}:{name}"


def _outcome(entry: QueueEntry) -> str:
    if entry.answer is None:
        return OPEN
    return _class_key(str(entry.path_class)) if entry.answer == CLASS else entry.answer


_LEFT_OUT_WORDS = {
    OPEN: "in dispute, not decided yet",
    INDETERMINATE: "decided: indeterminate",
    EXCLUDE: "decided: excluded",
}
_OUTCOME_WORDS = {
    INDETERMINATE: "decided as indeterminate",
    EXCLUDE: "excluded",
    OPEN: "open",
}
