"""Slides by what an encoder makes of their tiles: bags, and tiles by themselves.

Tiles go through in batches, and each pass keeps only its pooling's state: memory holds a batch and
a few numbers a tile, however large the slide is.

A bag's network also says something of each tile: what it would of a slide that consisted of this
tile alone. That is where it sees which class, not an outline of it.

Shapes: T passes, n tiles of a batch, N of all, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ModelFileError
from models.mil.networks import BagClassifier, PoolingNetwork
from models.prediction.ensemble import Pass
from models.prediction.scores import FeaturesSeen, SinglePass, SlideScores, tempered_classes
from models.prediction.tile_features import TileFeatures
from models.prediction.uncertainty import Spread, spread_of

__all__ = ["PredictedFeatures", "predict_features"]

Floats = NDArray[np.float64]

SAMPLED = 256
"""So many tiles' features are kept of a slide."""


@dataclass(frozen=True, eq=False)
class PredictedFeatures:
    """A slide's scores, those of its tiles, each tile's attention, and what was seen."""

    slide: SlideScores
    tiles: Spread
    attention: Floats | None
    features: FeaturesSeen


def predict_features(
    batches: Iterator[TileFeatures],
    passes: Sequence[Pass],
    plain: Pass,
    *,
    n_tiles: int,
    sample_seed: int,
) -> PredictedFeatures:
    """What passes say of a slide.

    Parameters
    ----------
    batches
        Of `n_tiles` tiles together.
    plain
        The pass without dropout; where `passes` begins with it, it is not made twice.
    sample_seed
        Which tiles' features are kept.
    """
    heads = [_Head(one) for one in passes]
    alone = heads[0] if passes[0] is plain else _Head(plain)
    spreads: list[Spread] = []
    seen = _Seen(n_tiles, sample_seed)
    for batch in batches:
        seen.add(batch.plain)
        if alone is not heads[0]:
            alone.add(batch.plain)
        said = [head.add(batch.of_pass(head.of.seed)) for head in heads]
        spreads.append(spread_of(np.stack(said)))
    tiles_spread = Spread(
        *(
            np.concatenate([getattr(one, name) for one in spreads])
            for name in ("mean", "variance", "entropy", "mutual_information")
        )
    )
    scores = np.stack([head.slide() for head in heads])
    if heads[0].is_bag:
        slide = SlideScores.of_class(scores, alone.slide())
    else:
        slide = SlideScores(
            scores,
            float(tiles_spread.entropy.mean()),
            float(tiles_spread.mutual_information.mean()),
            float(tiles_spread.mean.max(axis=1).mean()),
            SinglePass.of(np.concatenate(alone.tiles)),
        )
    attentions = [one for head in heads if (one := head.attention()) is not None]
    attention = np.mean(attentions, axis=0) if attentions else None
    return PredictedFeatures(slide, tiles_spread, attention, seen.found())


class _Head:
    """One pass of a classifier over a slide, batch by batch."""

    def __init__(self, of: Pass) -> None:
        self.of = of
        network = of.model.network
        if not isinstance(network, BagClassifier):
            raise ModelFileError(
                f"a model of architecture {of.model.description.architecture!r} does not classify "
                "features"
            )
        self._network = network
        self._device = next(network.parameters()).device
        self._state: Any = None
        self.is_bag = isinstance(network, PoolingNetwork)
        self.tiles: list[Floats] = []

    @torch.no_grad()
    def add(self, features: NDArray[Any]) -> Floats:
        """Take features (n, F); what it says of these tiles, (n, K)."""
        tiles = torch.from_numpy(features).to(self._device)
        with self.of.network("tiles"):
            if isinstance(self._network, PoolingNetwork):
                part = self._network.pool(tiles[None], None)
                merge = self._network.pooling.merge
                self._state = part if self._state is None else merge(self._state, part)
            # A tile is a bag of one: [n, F] -> [n, 1, F]
            found = tempered_classes(self._network(tiles[:, None]), self.of.temperature)
        if not self.is_bag:
            self.tiles.append(found)
        return found

    @torch.no_grad()
    def slide(self) -> Floats:
        """The slide's score, (K,): its class, or the mean over its tiles."""
        if not isinstance(self._network, PoolingNetwork):
            return np.asarray(np.concatenate(self.tiles).mean(axis=0))
        with self.of.network("tiles"):
            found = tempered_classes(self._network.classify(self._state), self.of.temperature)
        return np.asarray(found[0])

    def attention(self) -> Floats | None:
        """Each tile's share in the slide's score, (N,); None without attention."""
        scores = getattr(self._state, "scores", None)
        if scores is None:
            return None
        shares: Floats = torch.softmax(scores[0].double(), dim=0).cpu().numpy()
        return shares


class _Seen:
    """The mean of all features, and a sample of them."""

    def __init__(self, n_tiles: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._chosen = np.sort(rng.choice(n_tiles, min(SAMPLED, n_tiles), replace=False))
        self._sample: list[NDArray[np.float32]] = []
        self._total: Floats | float = 0.0
        self._n = 0

    def add(self, features: NDArray[Any]) -> None:
        """Take features (n, F)."""
        mine = (self._chosen >= self._n) & (self._chosen < self._n + len(features))
        self._sample.append(features[self._chosen[mine] - self._n].astype(np.float32))
        self._total = self._total + features.sum(axis=0, dtype=np.float64)
        self._n += len(features)

    def found(self) -> FeaturesSeen:
        """What was seen."""
        mean = np.asarray(self._total) / self._n
        return FeaturesSeen(mean.astype(np.float32), np.concatenate(self._sample))
