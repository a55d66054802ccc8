"""What the report says of triages: what the model was left, what that rests on, and who decided."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.tables import ProtocolVersion
from consensus.queue.decisions import answers_in_force
from consensus.reporting.coverage_risk import automatic_share, draw_coverage_risk
from consensus.reporting.numbers import (
    MARKS,
    MINUS,
    ShownStatistic,
    count_text,
    moment_text,
    percent_text,
    shown,
)
from consensus.run_kinds import of_triage
from consensus.tables import ConsensusRun, Dispute

__all__ = ["MeasureRow", "TriageSection", "triage_sections"]


@dataclass(frozen=True)
class MeasureRow:
    """A measure of uncertainty: the area under its curve, and what the deciding one gains on it."""

    measure: str
    area: ShownStatistic
    difference: ShownStatistic | None


@dataclass(frozen=True)
class TriageSection:
    """One triage; ``facts`` are what it did, in words, ``picture`` is a data URI."""

    run: int
    predictions: str
    model: str
    at: str
    unit: str
    facts: list[tuple[str, str]]
    decided: int
    open: int
    measures: list[MeasureRow]
    picture: str
    alt: str
    few_patients: bool


def triage_sections(session: Session, row: ProtocolVersion) -> list[TriageSection]:
    """The latest triage of each prediction run under a protocol version, the oldest first."""
    latest = (
        select(ConsensusRun)
        .where(ConsensusRun.protocol_id == row.id, of_triage())
        .order_by(ConsensusRun.id)
    )
    by_predictions = {run.parameters["prediction_run"]: run for run in session.scalars(latest)}
    runs = sorted(by_predictions.values(), key=lambda run: run.id)
    return [_section(session, run) for run in runs]


def _section(session: Session, run: ConsensusRun) -> TriageSection:
    figures = run.summary["triage"]
    curves = figures["coverage_risk"]
    share = automatic_share(figures)
    decided = len(answers_in_force(session, run))
    disputes = session.scalar(
        select(func.count()).select_from(Dispute).where(Dispute.run_id == run.id)
    )
    measures = [
        MeasureRow(
            one["measure"],
            _shown(one["aurc"]),
            None if one["difference"] is None else _shown(one["difference"]),
        )
        for one in curves["measures"]
    ]
    picture = draw_coverage_risk(curves, share)
    return TriageSection(
        run=run.id,
        predictions=figures["predictions"],
        model=figures["model"],
        at=moment_text(run.at),
        unit=figures["unit"],
        facts=_facts(figures),
        decided=decided,
        open=(disputes or 0) - decided,
        measures=measures,
        picture=f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}",
        alt=_alt(curves, share),
        few_patients=any("†" in one.area.interval for one in measures),
    )


def _shown(statistic: Mapping[str, Any]) -> ShownStatistic:
    """A small number with three decimals, as two would hide what differs."""
    words = shown(statistic)
    if not words.defined or statistic["ci_low"] is None:
        return words
    mark = f" {MARKS[statistic['ci_status']]}" if statistic["ci_status"] in MARKS else ""
    low, high = (_decimals(statistic[limit]) for limit in ("ci_low", "ci_high"))
    return replace(words, text=_decimals(statistic["value"]), interval=f"{low} to {high}{mark}")


def _decimals(value: float) -> str:
    return f"{value:.3f}".replace("-", MINUS)


def _facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    target, fitted, triaged = figures["target"], figures["calibration"], figures["triaged"]
    if fitted is None:
        return [
            ("Asked for", f"the {count_text(target['most'])} {figures['unit']} least sure"),
            ("Escalated", f"by {figures['measure']}, the largest first"),
            ("Shown", "nothing: how much the model misses among the others is not known"),
            (
                "Left to the model",
                f"{count_text(triaged['automatic'])} of {count_text(triaged['units'])} triaged "
                f"{figures['unit']}",
            ),
        ]
    found, automatic = fitted["sensitivity"], fitted["automatic"]
    threshold = fitted["threshold"]
    return [
        ("Must not be missed", ", ".join(figures["positive"])),
        (
            "Asked for",
            f"sensitivity of at least {target['sensitivity']:g} at {target['confidence']:.0%}, "
            "one-sided",
        ),
        (
            "Escalated",
            f"from {figures['measure']} {threshold:.4g} on"
            if threshold is not None
            else "nothing: the model may be left everything",
        ),
        (
            "Shown on the other half",
            f"{found['caught']} of {found['patients']} patients with a positive have all of theirs "
            f"escalated or called positive: at least {found['lower']:.3f} "
            f"({found['positives_caught']} of {found['positives']} {figures['unit']})",
        ),
        (
            "Of what it was left there",
            f"{automatic['caught']} of {automatic['patients']} patients with a positive have all of "
            f"theirs called positive ({automatic['positives_caught']} of {automatic['positives']} "
            f"{figures['unit']})",
        ),
        (
            "Left to the model",
            f"{percent_text(fitted['automatic_share'])} there; "
            f"{count_text(triaged['automatic'])} of {count_text(triaged['units'])} triaged "
            f"{figures['unit']}",
        ),
    ]


def _alt(curves: Mapping[str, Any], share: float) -> str:
    areas = ", ".join(f"{one['measure']} {one['aurc']['value']:.3f}" for one in curves["measures"])
    return (
        "Share of errors over the share of units left to the model, the surest first, a line for each "
        f"measure of uncertainty. Areas under the curves: {areas}. The threshold leaves "
        f"{percent_text(share)} to the model."
    )
