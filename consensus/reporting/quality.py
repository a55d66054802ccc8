"""What the report says of how good each rater was by the consensus, and of how that came to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.reporting.numbers import (
    AreaScale,
    ShownStatistic,
    count_text,
    marks_of,
    percent_text,
    shown,
)

__all__ = [
    "HOW_IT_ENDED",
    "ConvergenceSection",
    "QualityRow",
    "QualitySection",
    "RaterFigures",
    "StartRow",
    "convergence_section",
    "quality_section",
]

HOW_IT_ENDED: Final = ("converged", "iterations", "log_likelihood")
"""Parameters of a run that say how it ended; :func:`convergence_section` tells them."""


@dataclass(frozen=True)
class QualityRow:
    """A rater's figures of one class, each with the amount that it was taken over."""

    name: str
    sensitivity: ShownStatistic
    sensitivity_over: str
    specificity: ShownStatistic
    specificity_over: str


@dataclass(frozen=True)
class RaterFigures:
    """One rater, and how much they rated."""

    rater: str
    rated: str
    rows: list[QualityRow]


@dataclass(frozen=True)
class QualitySection:
    """Figures of all raters; ``unit`` is one of area, or None where items are counted.

    ``marks`` stand behind intervals, each with its meaning.
    """

    against: str
    domain: str
    intervals: str
    cluster_unit: str
    marks: dict[str, str]
    unit: str | None
    raters: list[RaterFigures]


@dataclass(frozen=True)
class StartRow:
    """One start of expectation-maximisation."""

    name: str
    log_likelihood: str
    iterations: str
    converged: str
    labels_differ: str
    kept: bool


@dataclass(frozen=True)
class ConvergenceSection:
    """How expectation-maximisation ended; ``starts`` only where there were several."""

    converged: bool
    iterations: str
    log_likelihood: str
    starts: list[StartRow]


def quality_section(summary: Mapping[str, Any], classes: Sequence[str]) -> QualitySection | None:
    """The raters' figures in a run's summary; None for a run that was made before it had them.

    Parameters
    ----------
    classes
        The run's classes, in their order.
    """
    basis = summary.get("quality_basis")
    if not basis:
        return None
    of_raters = summary["raters_quality"]
    areal = summary["weight_unit"] == "um2"
    amounts = [one["domain_weight"] for one in of_raters.values()]
    scale = AreaScale.of(amounts) if areal else AreaScale("", 1.0, 0)
    raters = [
        RaterFigures(
            rater,
            scale.text(one["domain_weight"]) + (f" {scale.unit}" if areal else " items"),
            list(_rows(one, classes, scale)),
        )
        for rater, one in of_raters.items()
    ]
    rows = [row for one in raters for row in one.rows]
    return QualitySection(
        against=basis["against"],
        domain=basis["domain"],
        intervals=(
            f"{basis['intervals']} ({basis['cluster_unit']}s, "
            f"{count_text(basis['bootstrap'])} replicates)"
            if basis["bootstrap"]
            else ""
        ),
        cluster_unit=basis["cluster_unit"],
        marks=marks_of(figure for row in rows for figure in (row.sensitivity, row.specificity)),
        unit=scale.unit if areal else None,
        raters=raters,
    )


def _rows(one: Mapping[str, Any], classes: Sequence[str], scale: AreaScale) -> Iterator[QualityRow]:
    for name in classes:
        yield QualityRow(
            name,
            _figure(one, "sensitivity", name),
            scale.text(one["sensitivity_over"][name]),
            _figure(one, "specificity", name),
            scale.text(one["specificity_over"][name]),
        )


def _figure(one: Mapping[str, Any], kind: str, name: str) -> ShownStatistic:
    """A figure as a statistic: where it is undefined, its interval says why."""
    value, interval = one[kind][name], one[f"{kind}_ci"][name]
    status = "ok" if value is not None else interval["ci_status"]
    return shown({"value": value, "status": status, **interval}, as_percent=True)


def convergence_section(summary: Mapping[str, Any]) -> ConvergenceSection | None:
    """How the run's expectation-maximisation ended; None of a majority."""
    ended = summary.get("convergence")
    if not ended:
        return None
    starts = [
        StartRow(
            name="vote shares" if number == 0 else f"random {number}",
            log_likelihood=_likelihood(start["log_likelihood"]),
            iterations=count_text(start["iterations"]),
            converged="yes" if start["converged"] else "no",
            labels_differ=percent_text(start["labels_changed"]),
            kept=start["kept"],
        )
        for number, start in enumerate(ended["starts"])
    ]
    return ConvergenceSection(
        converged=ended["converged"],
        iterations=count_text(ended["iterations"]),
        log_likelihood=_likelihood(ended["log_likelihood"]),
        starts=starts if len(starts) > 1 else [],
    )


def _likelihood(value: float) -> str:
    return f"{value:,.2f}".replace("-", "\N{MINUS SIGN}")
