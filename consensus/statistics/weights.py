"""How far apart two classes are: the disagreement weights of weighted coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.errors import UnorderedClassesError

__all__ = ["WeightName", "disagreement_weights"]

WeightName = Literal["nominal", "linear", "quadratic"]


def disagreement_weights(
    weights: str | NDArray[np.float64], classes: Sequence[str], rank: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Disagreement between every two classes, 0 on the diagonal and at most 1.

    Ordered classes differ by the number of steps between them, as a share of the whole
    order (squared for ``quadratic``). An ordered class and one without a place in the
    order, as the background, differ by 1.

    Parameters
    ----------
    weights
        A name, or a matrix of disagreements of shape (n_classes, n_classes).
    classes
        Names, for messages.
    rank : shape (n_classes,)
        Any increasing numbers for ordered classes, NaN for the others.

    Returns
    -------
    shape (n_classes, n_classes)
        One minus these are the agreement weights that irrCAC prints.

    Raises
    ------
    UnorderedClassesError
        ``linear`` or ``quadratic`` where no class has a rank.
    """
    if not isinstance(weights, str):
        return _custom(np.asarray(weights, dtype=np.float64), len(classes))
    if weights not in get_args(WeightName):
        raise InputError(f"weights {weights!r} are unknown; use {', '.join(get_args(WeightName))}")
    nominal = 1.0 - np.eye(len(classes))
    if weights == "nominal":
        return nominal
    ordered = np.flatnonzero(~np.isnan(rank))
    if not len(ordered):
        raise UnorderedClassesError(
            f"{weights} weights need an order, and the classes {', '.join(classes)} have none; name "
            "all classes in their order with --classes, or use --weights nominal"
        )
    place = np.argsort(np.argsort(rank[ordered])).astype(np.float64)
    steps = np.abs(place[:, None] - place[None, :]) / max(len(ordered) - 1, 1)
    nominal[np.ix_(ordered, ordered)] = steps if weights == "linear" else steps**2
    return nominal


def _custom(matrix: NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    if matrix.shape != (n_classes, n_classes):
        raise InputError(
            f"custom weights have shape {matrix.shape}; give one row and column for each of the "
            f"{n_classes} classes"
        )
    off_diagonal = matrix[~np.eye(n_classes, dtype=bool)]
    if not np.isfinite(matrix).all() or np.diagonal(matrix).any() or (off_diagonal <= 0).any():
        raise InputError(
            "custom weights are disagreements: 0 on the diagonal, positive numbers elsewhere"
        )
    if not np.array_equal(matrix, matrix.T):
        raise InputError("custom weights differ between the two raters; make the matrix symmetric")
    return matrix / off_diagonal.max() if n_classes > 1 else matrix
