"""What the report says of a protocol's versions: what each changed, and agreement under each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consensus.reporting.numbers import (
    ShownStatistic,
    count_text,
    marks_of,
    shown,
    signed,
)

__all__ = ["VersionsSection", "versions_section"]


@dataclass(frozen=True)
class VersionRow:
    """One version; ``changes`` are None of the first, which changed nothing."""

    version: str
    of_run: bool
    sha256: str
    raters: str
    slides: str
    against: str | None
    changes: list[str]


@dataclass(frozen=True)
class FigureRow:
    """One figure under both versions; ``former`` is what the first calls a class, if otherwise."""

    title: str
    former: str | None
    first: ShownStatistic
    second: ShownStatistic
    difference: ShownStatistic


@dataclass(frozen=True)
class PairSection:
    """Two versions side by side; ``refused`` says why they can't stand so."""

    first: str
    second: str
    refused: str | None
    weights: str = ""
    shared: str = ""
    classes: tuple[FigureRow, ...] = ()
    lone: tuple[tuple[str, str], ...] = ()
    coefficients: tuple[FigureRow, ...] = ()
    notes: tuple[str, ...] = ()
    cluster_unit: str = ""

    @property
    def marks(self) -> dict[str, str]:
        """What the marks behind intervals stand for."""
        rows = (*self.classes, *self.coefficients)
        return marks_of(one for row in rows for one in (row.first, row.second, row.difference))


@dataclass(frozen=True)
class VersionsSection:
    """The versions in the order in which they were added, and every two that follow each other."""

    versions: list[VersionRow]
    pairs: list[PairSection]


def versions_section(
    document: Mapping[str, Any], of_run: str, coefficients: Mapping[str, str]
) -> VersionsSection:
    """The document of all versions as rows of tables.

    Parameters
    ----------
    document
        What :func:`consensus.comparing.versions.compare_versions` gives.
    of_run
        The version under which the run was made.
    coefficients
        Titles of the coefficients that stand on the page, by name.
    """
    versions = [
        VersionRow(
            version=one["version"],
            of_run=one["version"] == of_run,
            sha256=one["sha256"],
            raters=count_text(len(one["raters"])),
            slides=count_text(one["slides"]),
            against=one["against"],
            changes=[change["text"] for change in one["changes"]],
        )
        for one in document["versions"]
    ]
    return VersionsSection(versions, [_pair(pair, coefficients) for pair in document["pairs"]])


def _pair(pair: Mapping[str, Any], coefficients: Mapping[str, str]) -> PairSection:
    if pair["status"] != "ok":
        return PairSection(pair["first"], pair["second"], pair["status"])
    unit = pair["cluster_unit"]
    count = pair["shared_clusters"]
    return PairSection(
        first=pair["first"],
        second=pair["second"],
        refused=None,
        weights=pair["weights"],
        shared=f"{count_text(count)} {unit}{'' if count == 1 else 's'}",
        classes=tuple(
            _row(
                row["second"],
                row["first"] if row["first"] != row["second"] else None,
                row["figures"]["kappa"],
            )
            for row in pair["classes"]
            if row["status"] == "ok"
        ),
        lone=tuple(
            (row["first"] or row["second"], row["status"])
            for row in pair["classes"]
            if row["status"] != "ok"
        ),
        coefficients=tuple(
            _row(title, None, pair["coefficients"][name])
            for name, title in coefficients.items()
            if name in pair["coefficients"]
        ),
        notes=tuple(pair["notes"]),
        cluster_unit=unit,
    )


def _row(title: str, former: str | None, figures: Mapping[str, Any]) -> FigureRow:
    return FigureRow(
        title,
        former,
        shown(figures["first"]),
        shown(figures["second"]),
        signed(figures["difference"]),
    )
