"""Two views of each tile that show the same tissue: what a network learns to see through.

Shapes: B tiles, S side of a tile.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["random_views", "turned"]

_SMALLEST_CROP = 0.5  # of a tile's side
# In optical density, where a stain's strength is a factor (Ruifrok & Johnston 2001): as far as
# slides of one laboratory differ, for what colour tells of tissue shall be learnt.
_STRENGTH, _HUE, _OFFSET = 0.2, 0.08, 0.03


def random_views(tiles: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Return one random view of each tile, float32 of shape (B, 3, S, S), from 0 to 1.

    A square part of the tile, turned by quarters and mirrored, for tissue has no upright; stained
    stronger or weaker in each channel.

    Parameters
    ----------
    tiles : shape (B, S, S, 3)
    """
    x = torch.from_numpy(tiles).permute(0, 3, 1, 2).to(torch.float32) / 255  # [B, 3, S, S]
    grid = torch.nn.functional.affine_grid(
        _crops(len(tiles), rng), list(x.shape), align_corners=False
    )
    x = torch.nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return _stained(x, rng)


def turned(tiles: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return each tile turned by quarters and mirrored at random; all pixels stay."""
    quarters, mirrored = rng.integers(0, 4, len(tiles)), rng.random(len(tiles)) < 0.5
    return np.stack(
        [
            np.rot90(tile[:, ::-1] if mirror else tile, quarter)
            for tile, quarter, mirror in zip(tiles, quarters, mirrored, strict=True)
        ]
    )


def _crops(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Affine maps, shape (count, 2, 3), of the view's square into the tile's."""
    side = rng.uniform(_SMALLEST_CROP, 1.0, count)
    angle = rng.integers(0, 4, count) * (math.pi / 2)
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    room = 1 - side
    maps = np.zeros((count, 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 0, 1] = side * np.cos(angle) * mirror, -side * np.sin(angle)
    maps[:, 1, 0], maps[:, 1, 1] = side * np.sin(angle) * mirror, side * np.cos(angle)
    maps[:, :, 2] = rng.uniform(-1.0, 1.0, (count, 2)) * room[:, None]
    return torch.from_numpy(maps)


def _stained(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    count = len(x)
    strength = rng.uniform(1 - _STRENGTH, 1 + _STRENGTH, (count, 1))
    factor = strength * rng.uniform(1 - _HUE, 1 + _HUE, (count, 3))
    offset = rng.uniform(-_OFFSET, _OFFSET, (count, 3))

    def spread(values: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32))[:, :, None, None]

    density = -torch.log((x * 255 + 1) / 256)
    return torch.exp(-(density * spread(factor) + spread(offset))).clamp(0, 1)
