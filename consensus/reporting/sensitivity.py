"""What the report says of how the consensus depends on the method, and on each rater."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from consensus.reporting.numbers import MINUS, AreaScale, percent_text

__all__ = ["MovedAmount", "SensitivitySection", "VariantRow", "VariantTable", "sensitivity_section"]

COLUMNS: Final = 6
"""Classes beside each other; more go into a further table, so that paper shows all."""

OPEN: Final = "open"

METHODS: Final = {"majority": "majority", "dawid-skene": "Dawid-Skene", "staple": "STAPLE"}


@dataclass(frozen=True)
class MovedAmount:
    """What a class has by a variant, and how far that is from the base."""

    amount: str
    moved: str


@dataclass(frozen=True)
class VariantRow:
    """One consensus of the same items; of one that is refused ``refused`` says why."""

    name: str
    rater: str | None
    converged: bool | None
    cells: list[MovedAmount]
    changed: str
    refused: str


@dataclass(frozen=True)
class VariantTable:
    """Some of the classes, for all variants."""

    columns: list[str]
    rows: list[VariantRow]


@dataclass(frozen=True)
class SensitivitySection:
    """The base and its variants; ``unit`` is one of area, or None where items are counted."""

    base: str
    unit: str | None
    tables: list[VariantTable]
    notes: list[tuple[str, str]]


def sensitivity_section(document: Mapping[str, Any]) -> SensitivitySection:
    """Lay out what :meth:`consensus.fusing.sensitivity.Sensitivity.to_dict` gives."""
    areal = document["weight_unit"] == "um2"
    scale = AreaScale.of([document["weight"]]) if areal else AreaScale("", 1.0, 0)
    columns = [*document["classes"], OPEN]
    n_tables = math.ceil(len(columns) / COLUMNS)
    length = math.ceil(len(columns) / n_tables)
    parts = [slice(start, start + length) for start in range(0, len(columns), length)]
    variants = document["variants"]
    base = _amounts(variants[0], document["classes"])
    rows = [_base_row(variants[0], base, scale)]
    rows += [_row(one, document["classes"], base, scale) for one in variants[1:]]
    return SensitivitySection(
        base=METHODS[document["base"]],
        unit=scale.unit if areal else None,
        tables=[
            VariantTable(
                columns[part],
                [replace(row, cells=row.cells[part]) for row in rows],
            )
            for part in parts
        ],
        notes=list(_notes(variants)),
    )


def _amounts(variant: Mapping[str, Any], classes: Sequence[str]) -> list[float]:
    """Weight of each class, and of what stays open."""
    return [
        *(variant["classes"][name]["weight"] for name in classes),
        variant["open"]["weight"],
    ]


def _row(
    variant: Mapping[str, Any], classes: Sequence[str], base: Sequence[float], scale: AreaScale
) -> VariantRow:
    rater = variant["left_out"]
    name = _method(variant) if rater is None else "without"
    if variant["status"] != "ok":
        # What to do about it is for whoever makes a run, not for the reader of a page.
        return VariantRow(name, rater, None, [], "", variant["status"].partition(";")[0])
    share = variant["changed"]["share"]
    return VariantRow(
        name=name,
        rater=rater,
        converged=variant["converged"],
        cells=[
            MovedAmount(scale.text(amount), _moved(amount, before))
            for amount, before in zip(_amounts(variant, classes), base, strict=True)
        ],
        changed="" if share is None else percent_text(share),
        refused="",
    )


def _base_row(variant: Mapping[str, Any], base: Sequence[float], scale: AreaScale) -> VariantRow:
    cells = [MovedAmount(scale.text(amount), "") for amount in base]
    return VariantRow(f"{_method(variant)} (base)", None, variant["converged"], cells, "", "")


def _method(variant: Mapping[str, Any]) -> str:
    method, votes = METHODS[variant["method"]], variant["votes"]
    return method if votes in (None, "equal") else f"{method} by {votes}"


def _moved(amount: float, before: float) -> str:
    """The change as a signed share of what was there before."""
    if math.isclose(amount, before, rel_tol=1e-9, abs_tol=1e-9):
        return "same"
    if before <= 0:
        return "new"
    sign = "+" if amount > before else MINUS
    return f"{sign}{percent_text(abs(amount - before) / before)}".replace(f"{sign}<", f"<{sign}")


def _notes(variants: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What has to be known of a variant, with its name."""
    for variant in variants:
        for note in variant.get("notes", []):
            yield variant["variant"], note
