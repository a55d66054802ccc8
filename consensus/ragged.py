"""Rows of different lengths in one flat array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["spread"]


def spread(lengths: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the entries of rows that stand one after the other.

    Parameters
    ----------
    lengths : shape (n_rows,)

    Returns
    -------
    row, place : shape (n_entries,)
        The row of each entry, and its place in the row, from 0.
    """
    row = np.repeat(np.arange(len(lengths)), lengths)
    begins = np.cumsum(lengths) - lengths
    return row, np.arange(len(row)) - begins[row]
