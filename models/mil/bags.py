"""Bags of different sizes as one tensor.

Shapes: B bags, N tiles of the largest, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import TileError

__all__ = ["padded"]


def padded(
    bags: Sequence[NDArray[Any]], names: Sequence[str] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Bags (B, N, F) and their mask (B, N), which is None where all are of one size.

    Parameters
    ----------
    bags : each of shape (n, F)
    names
        Of the bags, for messages; absent: their place.

    Raises
    ------
    TileError
        A bag without a tile, or of another number of features than the first.
    """
    sizes = np.array([len(bag) for bag in bags])
    for place, bag in enumerate(bags):
        name = str(place + 1) if names is None else names[place]
        if not len(bag):
            raise TileError(
                f"bag {name} has no tile; loosen the tissue settings, or leave it out", bag=name
            )
        if bag.shape[1:] != bags[0].shape[1:]:
            raise TileError(
                f"bag {name} has {bag.shape[1]} features a tile, and the first one "
                f"{bags[0].shape[1]}; encode all slides with one encoder",
                bag=name,
            )
    if (sizes == sizes[0]).all():
        return torch.from_numpy(np.stack(bags)), None
    together = np.zeros((len(bags), sizes.max(), bags[0].shape[1]), dtype=bags[0].dtype)
    for row, bag in zip(together, bags, strict=True):
        row[: len(bag)] = bag
    mask = np.arange(sizes.max()) < sizes[:, None]
    return torch.from_numpy(together), torch.from_numpy(mask)
