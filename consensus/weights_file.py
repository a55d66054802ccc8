"""Disagreement weights between classes in a CSV file: a square table, classes in its margins."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consensus.errors import TableFileError

__all__ = ["ClassWeights", "read_weights"]


@dataclass(frozen=True)
class ClassWeights:
    """How far apart every two classes are.

    Parameters
    ----------
    disagreement : shape (n_classes, n_classes)
        0 on the diagonal, positive elsewhere, symmetric; any scale.
    """

    path: Path
    classes: tuple[str, ...]
    disagreement: NDArray[np.float64]

    def of(self, classes: Sequence[str]) -> NDArray[np.float64]:
        """The weights in the order of these classes, which must be those of the file.

        Raises
        ------
        TableFileError
            The file lacks a class, or has one too many.
        """
        for name in classes:
            if name not in self.classes:
                raise _fault(self.path, f"lacks class {name!r}; give it a row and a column")
        for name in self.classes:
            if name not in classes:
                raise _fault(
                    self.path,
                    f"has class {name!r}, which is none of {', '.join(classes)}; leave it out",
                )
        order = [self.classes.index(name) for name in classes]
        return self.disagreement[np.ix_(order, order)]


def read_weights(path: Path) -> ClassWeights:
    """Read a file whose first row and first column name the classes.

    Raises
    ------
    TableFileError
        It can't be read, is not square, or holds no disagreements; the message names the cell.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [
                [cell.strip() for cell in row] for row in csv.reader(lines, strict=True) if any(row)
            ]
    except OSError as error:
        raise _fault(path, f"can't be read ({error.strerror}); name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _fault(path, f"is no CSV in UTF-8 ({error}); save it as CSV UTF-8") from error
    header, *body = rows or [[]]
    classes = tuple(header[1:])
    if len(classes) < 2 or not all(classes) or len(set(classes)) < len(classes):
        raise _fault(path, "must name two or more different classes in its first row")
    if [row[0] for row in body] != list(classes):
        raise _fault(path, f"must name {', '.join(classes)} in its first column too, in that order")
    matrix = np.zeros((len(classes), len(classes)))
    for name, row, line in zip(classes, body, matrix, strict=True):
        if len(row) != len(header):
            raise _fault(path, f"has {len(row) - 1} numbers for {name!r}; give {len(classes)}")
        line[:] = [
            _number(path, name, other, cell) for other, cell in zip(classes, row[1:], strict=True)
        ]
    for i, j in np.argwhere(matrix != matrix.T):
        raise _fault(
            path,
            f"sets {classes[i]!r} and {classes[j]!r} apart by {matrix[i, j]:g} and by "
            f"{matrix[j, i]:g}; make it symmetric",
        )
    return ClassWeights(path, classes, matrix)


def _number(path: Path, name: str, other: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = float("nan")
    if isfinite(number) and (number == 0 if name == other else number > 0):
        return number
    wanted = "0: weights are disagreements" if name == other else "a number above 0"
    raise _fault(path, f"has {cell!r} between {name!r} and {other!r}; give {wanted}")


def _fault(path: Path, what: str) -> TableFileError:
    return TableFileError(f"{path} {what}", path=str(path))
