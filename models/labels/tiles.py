"""Labels of tiles by the exact area that each face of the consensus has in them.

What lies outside the rated domain, was excluded or bears no class is left out of every sum: a tile
that holds nothing else has no label, and is never a negative.

Shapes: n tiles, F faces, K classes, R raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.consensus_items import ResolvedItem
from models.labels.coverage import clean_shares, distributions, edges_of, tile_areas
from models.labels.items import OpenItems, item_labels
from models.targets import OPEN

__all__ = ["TileLabels", "Tiles", "tile_labels"]


class Tiles(Protocol):
    """Where the tiles of one slide lie: top left corners and side, in level-0 pixels."""

    @property
    def x_px(self) -> NDArray[np.float64]: ...  # noqa: D102 - the class says it
    @property
    def y_px(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def side_px(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class TileLabels:
    """The labels of n tiles.

    Attributes
    ----------
    posterior : shape (n, K), float32
        Mean over what teaches in the tile, by area; rows sum to 1, or are 0 where nothing does.
    hard : shape (n,), int64
        The class that covers more than the least share of the tile, or -1.
    votes : shape (n, R), int64
        The same of what each rater said.
    in_domain : shape (n,), float32
        Share of the tile inside the rated domain; what was excluded lies outside it.
    labelled : shape (n,), float32
        Share of the tile that ``posterior`` is the mean over.
    decided : shape (n,), bool
        Whether an adjudicator gave the class, of more than half of what teaches; only where
        ``hard`` is a class.
    """

    posterior: NDArray[np.float32]
    hard: NDArray[np.int64]
    votes: NDArray[np.int64]
    in_domain: NDArray[np.float32]
    labelled: NDArray[np.float32]
    decided: NDArray[np.bool_]
    classes: tuple[str, ...]
    raters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hard)


def tile_labels(
    items: Sequence[ResolvedItem],
    tiles: Tiles,
    classes: Sequence[str],
    raters: Sequence[str],
    *,
    min_share: float = 0.5,
    open_items: OpenItems = "masked",
) -> TileLabels:
    """The labels of the tiles of one slide.

    Parameters
    ----------
    items
        The slide's regions.
    min_share
        A class, of the consensus or of a rater, is a tile's where it covers the largest part of
        the tile and more than this share of it.
    open_items
        See `item_labels`.
    """
    if not 0 <= min_share < 1:
        raise InputError(f"a least share of {min_share:g} can't be; give 0 or more, below 1")
    faces = [item for item in items if item.geometry is not None]
    labels = item_labels(faces, classes, raters, open_items=open_items)
    outlines = np.array([face.geometry for face in faces], dtype=object)
    covered_px2 = tile_areas(
        edges_of(outlines), len(faces), tiles.x_px, tiles.y_px, tiles.side_px
    )  # [n, F]
    share = covered_px2 / tiles.side_px**2
    n, n_classes, n_raters = len(tiles.x_px), len(labels.classes), len(labels.raters)
    mass = share @ (labels.posterior * labels.teaches[:, None])  # [n, K]
    voted = (share @ labels.votes_one_hot).reshape(n, n_raters, n_classes)
    hard = _largest(share @ labels.hard_one_hot, min_share)
    labelled = clean_shares(share @ labels.teaches.astype(np.float64))
    decided = clean_shares(share @ labels.decided.astype(np.float64))
    return TileLabels(
        posterior=distributions(mass),
        hard=hard,
        votes=_largest(voted, min_share),
        in_domain=clean_shares(share @ labels.rated.astype(np.float64)).astype(np.float32),
        labelled=labelled.astype(np.float32),
        decided=(decided > labelled / 2) & (hard != OPEN),
        classes=labels.classes,
        raters=labels.raters,
    )


def _largest(share: NDArray[np.float64], min_share: float) -> NDArray[np.int64]:
    """The class with the largest share, where that is more than the least; of equals the first."""
    if share.shape[-1] == 0:
        return np.full(share.shape[:-1], OPEN, dtype=np.int64)
    share = clean_shares(share)
    return np.where(share.max(axis=-1) > min_share, share.argmax(axis=-1), OPEN).astype(np.int64)
