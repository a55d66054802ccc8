"""Columns of a long table of ratings (one row a label) turned into codes and names.

Nothing here knows :class:`consensus.ratings.Ratings`; it is what ``Ratings.from_table``
is made of. Whole columns are handled at once, because a table has a row per rating.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.errors import RatingsError

__all__ = ["NEGATIVE_NAMES", "class_order", "factorise", "negative_class", "value_name"]

NEGATIVE_NAMES = ("background", "absent")
"""Classes that mean "looked, and found nothing"; never part of an order."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SPARSE = 4  # a table of whole numbers may be as many times as long as the column
_EXACT_INTEGERS = 2.0**53  # beyond it, two different integers may be one float


def value_name(value: object) -> str | None:
    """Name under which a value of a table is known, or None where nothing was given.

    Integral floats lose their ``.0``: a column of integers becomes floats as soon as one
    cell of it is empty, and must not become another set of classes by it.
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # pandas' missing
        return None
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        if float(value).is_integer() and abs(float(value)) < _EXACT_INTEGERS:
            return str(int(value))
        return repr(float(value))
    return str(value)


def factorise(values: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes and names of a column, in order of first appearance.

    Parameters
    ----------
    values
        Any sequence of names or numbers; None, empty text and NaN are missing.

    Returns
    -------
    codes : shape (n_rows,)
        Index into the names, -1 where missing.
    names
        Distinct names.
    """
    column = values if isinstance(values, list) else np.asarray(values)
    if isinstance(column, list) and column and isinstance(column[0], int | float):
        as_array = np.asarray(column)
        column = as_array if as_array.dtype.kind in "iuf" else column
    if isinstance(column, np.ndarray) and column.ndim != 1:
        raise RatingsError(
            f"a column of ratings has {column.ndim} dimensions; pass one value a row"
        )
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        distinct, codes = _by_appearance(column)
        raw = distinct.tolist()
        if column.dtype.kind in "iu":  # each has a name, and each another
            return codes, tuple(map(str, raw))
    else:
        seen: dict[Any, int] = {}
        cells = column.tolist() if isinstance(column, np.ndarray) else column
        codes = np.fromiter(
            (seen.setdefault(cell, len(seen)) for cell in cells), dtype=np.int64, count=len(cells)
        )
        raw = list(seen)
    names: dict[str, int] = {}
    of_raw = np.empty(len(raw), dtype=np.int64)
    for index, value in enumerate(raw):
        name = value_name(value)
        of_raw[index] = -1 if name is None else names.setdefault(name, len(names))
    return (of_raw[codes] if len(raw) else codes.astype(np.int64)), tuple(names)


def _by_appearance(column: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct numbers in the order in which they first appear, and which of them each row holds.

    Whole numbers that lie close together, as counters do, are looked up in a table, not sorted.
    """
    n_rows, whole = len(column), column.dtype.kind in "iu"
    span = int(column.max()) - int(column.min()) + 1 if whole and n_rows else 0
    if 0 < span <= _SPARSE * n_rows:
        low = column.min()
        place = (
            column - low if column.dtype.kind == "u" else column.astype(np.int64) - int(low)
        ).astype(np.int64)
        first = np.full(span, n_rows)
        first[place[::-1]] = np.arange(n_rows)[::-1]  # of equal places the last one written stays
        present = np.flatnonzero(first < n_rows)
        rank = np.empty(span, dtype=np.int64)
        rank[present] = np.arange(len(present))
        first, codes = first[present], rank[place]
    else:
        _, first, codes = np.unique(column, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    return column[first[order]], position[codes.reshape(-1)]


def negative_class(classes: Sequence[str]) -> int | None:
    """Index of the class that means "nothing there", or None."""
    found = [index for index, name in enumerate(classes) if name in NEGATIVE_NAMES]
    if len(found) > 1:
        raise RatingsError(
            "classes hold both 'background' and 'absent'; a table is about regions or about "
            "objects: rename one of them"
        )
    return found[0] if found else None


def class_order(
    names: Sequence[str], declared: Sequence[object] | None
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.int64]]:
    """Classes, their ranks, and where each name of a column went.

    Order comes from ``declared``, else from the numbers that the names are, and never from
    the alphabet. Distances are by position in that order, so declaring 1 to 5 and using
    1, 2 and 5 differs from declaring nothing: grades that nobody used count only if declared.

    Parameters
    ----------
    names
        Distinct labels of a column.
    declared
        Classes in their order, or None.

    Returns
    -------
    classes
        All declared classes, else the observed (numbers by value, text by code point).
    rank : shape (n_classes,)
        Position in the order; NaN for unordered text and for ``background`` and ``absent``.
    of_name : shape (n_names,)
        Class index of each name.
    """
    if declared is not None:
        return _declared_order(names, declared)
    places = [name for name in names if name not in NEGATIVE_NAMES]
    numbers = {name: float(name.strip()) for name in places if _NUMBER.fullmatch(name.strip())}
    numeric = bool(places) and len(numbers) == len(places)
    if numeric:  # "1" and "1.0" are one grade
        merged = {name: value_name(number) or name for name, number in numbers.items()}
        value_of = {merged[name]: numbers[name] for name in places}
        ordered = sorted(value_of, key=lambda name: value_of[name])
    else:
        merged = {name: name for name in places}
        ordered = sorted(places)
    classes = tuple(ordered) + tuple(name for name in NEGATIVE_NAMES if name in names)
    rank = np.full(len(classes), np.nan)
    if numeric:
        rank[: len(ordered)] = np.arange(len(ordered))
    index = {name: position for position, name in enumerate(classes)}
    of_name = np.array([index[merged.get(name, name)] for name in names], dtype=np.int64)
    return classes, rank, of_name


def _declared_order(
    names: Sequence[str], declared: Sequence[object]
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.int64]]:
    if isinstance(declared, str):
        raise RatingsError(f"classes is the text {declared!r}; pass a list of classes")
    given = [value_name(value) for value in declared]
    classes = tuple(name for name in given if name is not None)
    if not classes or len(classes) < len(given):
        raise RatingsError("the list of classes is empty or holds an empty name; name each class")
    twice = next((name for i, name in enumerate(classes) if name in classes[:i]), None)
    if twice is not None:
        raise RatingsError(f"class {twice!r} is declared twice; name each class once", label=twice)
    index = {name: position for position, name in enumerate(classes)}
    by_number = {
        float(name.strip()): position
        for name, position in index.items()
        if _NUMBER.fullmatch(name.strip())
    }
    of_name = np.empty(len(names), dtype=np.int64)
    for row, name in enumerate(names):
        position = index.get(name)
        if position is None and _NUMBER.fullmatch(name.strip()):
            position = by_number.get(float(name.strip()))
        if position is None:
            near = get_close_matches(name, classes, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise RatingsError(
                f"label {name!r} is not among the classes {', '.join(classes)}{hint}; "
                "add it to --classes or correct it",
                label=name,
            )
        of_name[row] = position
    ordered = np.array([name not in NEGATIVE_NAMES for name in classes])
    rank = np.full(len(classes), np.nan)
    rank[ordered] = np.arange(int(ordered.sum()))
    return classes, rank, of_name


def first_where(mask: NDArray[np.bool_]) -> int | None:
    """Index of the first true element, or None."""
    return next(compress(range(len(mask)), mask), None) if mask.any() else None
