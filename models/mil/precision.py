"""Sums and logarithms in float32 at least, whatever the precision of the layers before them."""

from __future__ import annotations

import torch

__all__ = ["wide"]


def wide(values: torch.Tensor) -> torch.Tensor:
    """The same in float32, or as they are where they are float64."""
    return values if values.dtype == torch.float64 else values.float()
