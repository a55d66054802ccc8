"""What the report says of agreement: the figures of the agreement document, laid out as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from consensus.reporting.boundary import BoundarySection, boundary_section
from consensus.reporting.comparisons import RaterComparison, comparison_tables
from consensus.reporting.detection import DetectionSection, detection_section
from consensus.reporting.numbers import AreaScale, ShownStatistic, count_text, marks_of, shown
from consensus.statistics.intervals import METHODS

__all__ = ["COEFFICIENTS", "AgreementSection", "agreement_section"]

COEFFICIENTS: Final = {
    "percent": "Weighted agreement",
    "cohen_mean": "Cohen’s kappa, mean over pairs",
    "cohen_pooled": "Cohen’s kappa, pooled over pairs",
    "conger": "Conger’s kappa",
    "fleiss": "Fleiss’ kappa",
    "krippendorff": "Krippendorff’s alpha",
    "gwet": "Gwet’s AC",
    "brennan_prediger": "Brennan-Prediger",
}
HEADLINE: Final = ("cohen_pooled", "conger", "fleiss")
"""The coefficient of the summary: the first of these, the one that the classes' kappas average to."""

MATRIX_COLUMNS: Final = 10
"""Raters beside each other in a matrix; more go into a further table, so that paper shows all."""

SHADES: Final = 5


@dataclass(frozen=True)
class CoefficientRow:
    """A coefficient over all raters."""

    title: str
    figure: ShownStatistic


@dataclass(frozen=True)
class ClassRow:
    """The figures of one class."""

    name: str
    kappa: ShownStatistic
    fleiss: ShownStatistic
    dice: ShownStatistic
    prevalence: ShownStatistic
    prevalence_index: ShownStatistic
    bias_index: ShownStatistic


@dataclass(frozen=True)
class MatrixCell:
    """Kappa of two raters; ``shade`` runs from 0 (none) to ``SHADES``."""

    text: str
    shade: int
    defined: bool = True
    diagonal: bool = False


@dataclass(frozen=True)
class MatrixPart:
    """Some columns of the matrix, for all raters."""

    columns: list[str]
    rows: list[tuple[str, list[MatrixCell]]]


@dataclass(frozen=True)
class PairRow:
    """Two raters, what both rated, and how far they agree on it."""

    a: str
    b: str
    items: str
    area: str
    kappa: ShownStatistic
    f1: ShownStatistic | None
    f1_strict: ShownStatistic | None


@dataclass(frozen=True)
class AgreementSection:
    """Everything that the page says of agreement."""

    raters: list[str]
    headline: CoefficientRow
    weights: str
    items: str
    kappa_on: str
    interval_basis: str
    cluster_unit: str
    clusters: int
    coefficients: list[CoefficientRow]
    classes: list[ClassRow]
    detection: ShownStatistic | None
    boundary: BoundarySection | None
    objects: DetectionSection | None
    matrix: list[MatrixPart]
    pairs: list[PairRow]
    pair_area_unit: str | None
    comparisons: list[RaterComparison]
    has_median: bool
    has_with_raters: bool
    marks: dict[str, str]
    notes: list[str]


def agreement_section(document: Mapping[str, Any]) -> AgreementSection:
    """The agreement document as rows of tables.

    Parameters
    ----------
    document
        What :meth:`consensus.agreement.Agreement.to_dict` gives, and perhaps the parts of
        :mod:`consensus.comparing.comparisons`, :mod:`consensus.comparing.objects_document` and
        :mod:`consensus.comparing.boundary_document`.
    """
    rows = {name: _coefficient(name, one) for name, one in document["coefficients"].items()}
    classes = [
        ClassRow(
            name,
            shown(figures["kappa"]),
            shown(figures["fleiss"]),
            shown(figures["dice"]),
            shown(figures["prevalence"], as_percent=True),
            shown(figures["prevalence_index"]),
            shown(figures["bias_index"]),
        )
        for name, figures in document["per_class"].items()
    ]
    pairs, unit = _pairs(document)
    every = [row.figure for row in rows.values()]
    every += [figure for row in classes for figure in (row.kappa, row.fleiss, row.dice)]
    every += [row.prevalence for row in classes] + [row.kappa for row in pairs]
    objects, comparisons = detection_section(document), comparison_tables(document)
    marked = every + [row.f1 for row in pairs if row.f1 is not None]
    boundary = boundary_section(document, COEFFICIENTS)
    marked += [] if objects is None else objects.figures
    marked += [] if boundary is None else boundary.figures
    marked += [figure for part in comparisons for figure in part.figures]
    return AgreementSection(
        raters=list(document["raters"]),
        headline=next((rows[name] for name in HEADLINE if name in rows), next(iter(rows.values()))),
        weights=document["weights"],
        items=count_text(document["items"]),
        kappa_on=document.get("kappa_on", "all rated"),
        interval_basis=_basis(document),
        cluster_unit=document["cluster_unit"],
        clusters=document["clusters"],
        coefficients=list(rows.values()),
        classes=classes,
        detection=_detection(document),
        boundary=boundary,
        objects=objects,
        matrix=_matrix(document),
        pairs=pairs,
        pair_area_unit=unit,
        comparisons=comparisons,
        has_median=any(figure.median for figure in every),
        has_with_raters=any(row.figure.with_raters for row in rows.values()),
        marks=marks_of(marked),
        notes=list(document.get("notes", [])),
    )


def _coefficient(name: str, statistic: Mapping[str, Any]) -> CoefficientRow:
    title = COEFFICIENTS.get(name, name)
    if name == "gwet" and "name" in statistic:
        title = f"Gwet’s {statistic['name']}"
    return CoefficientRow(title, shown(statistic))


def _basis(document: Mapping[str, Any]) -> str:
    """What the intervals rest on, in one sentence."""
    if document.get("bootstrap"):
        return (
            f"Intervals are 95 % {METHODS[document['interval']]} intervals of "
            f"{document['bootstrap']:,} bootstrap replicates (seed {document['seed']}) over {document['clusters']} clusters "
            f"({document['cluster_unit']}s), for these raters."
        )
    return "Intervals are 95 % analytic intervals, for these raters."


def _detection(document: Mapping[str, Any]) -> ShownStatistic | None:
    """F1 of finding anything, where there is a class that means nothing was found."""
    found = document.get("detection")
    if not found or not found["pairs"]:
        return None
    return shown(found["f1"])


def _pairs(document: Mapping[str, Any]) -> tuple[list[PairRow], str | None]:
    areal = document["domain_um2"] is not None
    scale = AreaScale.of(pair["weight"] for pair in document["pairs"]) if areal else None
    found = document.get("detection") or {"pairs": []}
    f1, strict = (
        {(pair["a"], pair["b"]): shown(pair[key]) for pair in found["pairs"] if key in pair}
        for key in ("f1", "f1_strict")
    )
    rows = [
        PairRow(
            a=pair["a"],
            b=pair["b"],
            items=count_text(pair["items"]),
            area=scale.text(pair["weight"]) if scale else "",
            kappa=shown(pair["kappa"]),
            f1=f1.get((pair["a"], pair["b"])),
            f1_strict=strict.get((pair["a"], pair["b"])),
        )
        for pair in document["pairs"]
    ]
    return rows, scale.unit if scale else None


def _matrix(document: Mapping[str, Any]) -> list[MatrixPart]:
    """Kappa of every pair as a symmetric matrix, cut into parts that fit on paper."""
    raters = list(document["raters"])
    cells: dict[tuple[str, str], MatrixCell] = {}
    for pair in document["pairs"]:
        cell = _cell(pair["kappa"])
        cells[pair["a"], pair["b"]] = cells[pair["b"], pair["a"]] = cell
    n_parts = max(1, math.ceil(len(raters) / MATRIX_COLUMNS))
    same = MatrixCell("", 0, diagonal=True)
    return [
        MatrixPart(
            columns=columns,
            rows=[(row, [cells.get((row, column), same) for column in columns]) for row in raters],
        )
        for columns in (
            part.tolist() for part in np.array_split(np.array(raters, dtype=object), n_parts)
        )
    ]


def _cell(kappa: Mapping[str, Any]) -> MatrixCell:
    figure = shown(kappa)
    if not figure.defined:
        return MatrixCell(figure.text, 0, defined=False)
    # Steps of a fifth: 0 and below is white, above 0.8 is the darkest that black still reads on.
    shade = sum(kappa["value"] > step / SHADES for step in range(SHADES))
    return MatrixCell(figure.text, shade)
