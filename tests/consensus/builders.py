"""Ratings from the forms in which tables are published; for tests only."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import Ratings


def read_rows(path: Path, *, first_column: int = 0) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, blank cells stripped."""
    with path.open(encoding="utf-8", newline="") as lines:
        header, *rows = [row[first_column:] for row in csv.reader(lines)]
    return header, [[cell.strip() for cell in row] for row in rows]


def from_matrix(
    rows: Sequence[Sequence[Any]],
    raters: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    **options: Any,
) -> Ratings:
    """A row per item, a column per rater; None or blank where not rated."""
    n_raters = len(rows[0])
    raters = [f"R{number}" for number in range(n_raters)] if raters is None else raters
    item = [index for index in range(len(rows)) for _ in raters]
    label = [cell for row in rows for cell in row]
    for name in ("weight", "cluster"):
        if name in options:
            options[name] = [value for value in options[name] for _ in raters]
    return Ratings.from_table(item, list(raters) * len(rows), label, classes=classes, **options)


def from_raw_csv(
    path: Path, *, first_column: int = 0, classes: Sequence[Any] | None = None
) -> Ratings:
    """A CSV file with a column per rater."""
    header, rows = read_rows(path, first_column=first_column)
    return from_matrix(rows, header, classes)


def from_contingency(table: NDArray[np.int64], classes: Sequence[str]) -> Ratings:
    """Two raters; rows are what the first said."""
    rows = [
        (classes[a], classes[b])
        for a, b in np.ndindex(table.shape)
        for _ in range(int(table[a, b]))
    ]
    return from_matrix(rows, ("first", "second"), classes)


def from_distribution(counts: NDArray[np.int64], classes: Sequence[str]) -> Ratings:
    """Raters per class; who said what isn't known, so raters are made up."""
    widest = int(counts.sum(axis=1).max())
    rows = []
    for row in counts:
        said = [name for name, count in zip(classes, row, strict=True) for _ in range(int(count))]
        rows.append([*said, *[None] * (widest - len(said))])
    return from_matrix(rows, classes=classes)


def counts_csv(path: Path, *, first_column: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """A CSV file of counts, and its header."""
    header, rows = read_rows(path, first_column=first_column)
    return header, np.array([[int(cell) for cell in row] for row in rows])
