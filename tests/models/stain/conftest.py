"""Synthetic tissue of two stains whose vectors are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.stain.density import intensities

H = np.array([0.65, 0.70, 0.29])
E = np.array([0.2159, 0.8012, 0.5581])
VECTORS = np.column_stack([H / np.linalg.norm(H), E / np.linalg.norm(E)])
"""Haematoxylin after Ruifrok and Johnston (2001), eosin after Macenko (2009)."""

Tissue = Callable[..., NDArray[np.uint8]]


def drawn_tissue(
    n: int = 20_000, seed: int = 0, vectors: NDArray[np.float64] = VECTORS, noise: float = 0.01,
    strength: tuple[float, float] = (1.4, 1.0), glass: float = 0.1,
) -> NDArray[np.uint8]:  # fmt: skip
    """Pixels (n, 3): nuclei, stroma, what holds both, and glass; with a little noise of density."""
    rng = np.random.default_rng(seed)
    amount = rng.gamma(4.0, 0.25, (n, 2)) * strength * rng.choice([0.02, 1.0], (n, 2))
    amount[rng.random(n) < glass] = 0
    return intensities(amount @ vectors.T + rng.normal(0, noise, (n, 3)))


@pytest.fixture
def tissue() -> Tissue:
    """Draws tissue."""
    return drawn_tissue


def degrees_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle between the columns of two matrices of unit vectors."""
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=0), -1, 1)))
