"""A long table of ratings in a CSV file: columns item, rater, label and perhaps others.

``weight`` and ``cluster`` are about the row's item. ``replicate`` counts a rater's readings from 1
on: the first ones are compared among raters, all of them within each rater.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from consensus.errors import TableFileError
from consensus.ratings import NOT_RATED, Ratings

__all__ = ["LongTable", "read_long_table", "read_table", "split_classes"]

REQUIRED = ("item", "rater", "label")
OPTIONAL = ("weight", "cluster", "replicate")

MAX_BYTES = 2_000_000_000
"""Larger files would not fit into memory as ratings."""


def split_classes(text: str | None) -> list[str] | None:
    """Classes from ``A,B,C``; a name that holds a comma is put in double quotes."""
    if text is None:
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [""])]


@dataclass(frozen=True)
class LongTable:
    """What a table holds.

    Parameters
    ----------
    ratings
        The first reading of each rater.
    replicates
        Of each rater who read something again: the ratings of their readings, a column each.
    """

    ratings: Ratings
    replicates: dict[str, Ratings]


def read_table(path: Path | str, classes: Sequence[str] | None = None) -> Ratings:
    """The first reading of each rater; see :func:`read_long_table`."""
    return read_long_table(path, classes).ratings


def read_long_table(path: Path | str, classes: Sequence[str] | None = None) -> LongTable:
    """Ratings from a CSV file in UTF-8, with or without a byte order mark.

    An empty label means not rated. Further columns are left alone and named in the notes.

    Parameters
    ----------
    classes
        All classes, in their order; see :meth:`consensus.ratings.Ratings.from_table`.

    Raises
    ------
    TableFileError
        Nothing there, not UTF-8, no such column, or a row that can't be used; it names the
        row as a text editor counts it.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TableFileError(
                f"{path} has more than {MAX_BYTES // 10**9} GB; split it", path=str(path)
            )
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _read(path, csv.reader(lines, strict=True), classes)
    except OSError as error:
        raise TableFileError(
            f"{path} can't be read ({error.strerror}); name a CSV file of ratings", path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise TableFileError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as CSV UTF-8", path=str(path)
        ) from error


def _read(path: Path, reader: Iterator[list[str]], classes: Sequence[str] | None) -> LongTable:
    rows = _rows(path, reader)
    header = [name.strip().lower() for name in next(rows, (0, []))[1]]
    columns = _columns(path, header)
    cells: dict[str, list[str]] = {name: [] for name in columns}
    places = [(cells[name], index) for name, index in columns.items()]
    for line, row in rows:
        if len(row) != len(header):
            raise TableFileError(
                f"{path} line {line} has {len(row)} cells, the header {len(header)}; correct it",
                path=str(path),
                row=line,
            )
        for column, index in places:
            column.append(row[index].strip())
        for name in ("item", "rater"):
            if not cells[name][-1]:
                raise TableFileError(
                    f"{path} line {line} has no {name}; name one", path=str(path), row=line
                )
        if "weight" in cells and not _is_number(cells["weight"][-1]):
            raise TableFileError(
                f"{path} line {line} has weight {cells['weight'][-1]!r}; give a number",
                path=str(path),
                row=line,
            )
        if "replicate" in cells and not _counts(cells["replicate"][-1]):
            raise TableFileError(
                f"{path} line {line} has replicate {cells['replicate'][-1]!r}; count a rater's "
                "readings from 1 on",
                path=str(path),
                row=line,
            )
    if not cells["item"]:
        raise TableFileError(f"{path} has no ratings; give a row for each", path=str(path))
    further = [name for name in header if name not in columns]
    readers = cells["rater"]
    readings = [int(text or 1) for text in cells.get("replicate", [])] or [1] * len(readers)
    reader_of = {
        _reading_name(rater, number): (rater, number)
        for rater, number in zip(readers, readings, strict=True)
    }
    if len(reader_of) < len(set(zip(readers, readings, strict=True))):
        raise TableFileError(
            f"{path} has a rater whose name is that of another one's replicate; rename the rater",
            path=str(path),
        )
    ratings = Ratings.from_table(
        cells["item"],
        [_reading_name(*key) for key in zip(readers, readings, strict=True)],
        cells["label"],
        classes=classes,
        weight=[float(text) for text in cells["weight"]] if "weight" in cells else None,
        cluster=cells.get("cluster"),
        notes=(f"columns not used: {', '.join(further)}",) if further else (),
    )
    if all(number == 1 for _, number in reader_of.values()):
        return LongTable(ratings, {})
    return _by_reading(path, ratings, [reader_of[name] for name in ratings.raters])


def _reading_name(rater: str, number: int) -> str:
    return rater if number == 1 else f"{rater} (replicate {number})"


def _by_reading(path: Path, ratings: Ratings, readings: list[tuple[str, int]]) -> LongTable:
    """Part the columns of a table, one for each reading, into first readings and replicates."""
    first = [column for column, (_, number) in enumerate(readings) if number == 1]
    if not first:
        raise TableFileError(
            f"{path} has no row of replicate 1; count each rater's readings from 1 on",
            path=str(path),
        )
    later = int((ratings.codes != NOT_RATED).sum() - (ratings.codes[:, first] != NOT_RATED).sum())
    note = f"{later} ratings of replicate 2 or later count for agreement within a rater only"
    replicates = {}
    for rater in sorted({rater for rater, _ in readings}):
        own = sorted((number, c) for c, (name, number) in enumerate(readings) if name == rater)
        if len(own) > 1:
            names = tuple(f"replicate {number}" for number, _ in own)
            columns = [column for _, column in own]
            replicates[rater] = replace(ratings, raters=names, codes=ratings.codes[:, columns])
    rated = (ratings.codes[:, first] != NOT_RATED).any(axis=1)
    among_raters = replace(
        ratings,
        items=tuple(item for item, used in zip(ratings.items, rated, strict=True) if used),
        raters=tuple(readings[column][0] for column in first),
        codes=ratings.codes[rated][:, first],
        weight=ratings.weight[rated],
        cluster=ratings.cluster[rated],
        joint_negatives=None,  # found out anew: later readings have no say in it
        notes=(*ratings.notes, note),
    )
    return LongTable(among_raters, replicates)


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, and the line that each ends on."""
    try:
        for row in reader:
            if row:
                yield reader.line_num, row  # type: ignore[attr-defined]  # csv's own counter
    except csv.Error as error:
        line = reader.line_num  # type: ignore[attr-defined]
        raise TableFileError(
            f"{path} line {line} is no CSV ({error}); correct it", path=str(path), row=line
        ) from error


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    for name in REQUIRED:
        if name not in header:
            found = ", ".join(repr(column) for column in header) or "nothing"
            raise TableFileError(
                f"{path} has no column {name!r} (found {found}); the header must name "
                f"{', '.join(REQUIRED)}, and may name {', '.join(OPTIONAL)}",
                path=str(path),
                column=name,
            )
    for name in header:
        near = get_close_matches(name, OPTIONAL, n=1, cutoff=0.8)
        if header.count(name) > 1 and name in REQUIRED + OPTIONAL:
            raise TableFileError(
                f"{path} has column {name!r} twice; keep one", path=str(path), column=name
            )
        if near and name not in OPTIONAL and near[0] not in header:
            raise TableFileError(
                f"{path} has a column {name!r}; did you mean {near[0]!r}? rename it",
                path=str(path),
                column=name,
            )
    return {name: header.index(name) for name in REQUIRED + OPTIONAL if name in header}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _counts(text: str) -> bool:
    """Whether a cell is empty, or a whole number from 1 on."""
    return not text or (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1)
