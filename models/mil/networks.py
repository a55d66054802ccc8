"""Networks that classify bags of tiles, and single tiles.

Shapes: B bags, N tiles, F features, H hidden features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from annotation.errors import InputError
from models.mil.heads import class_head
from models.mil.pooling import GatedAttentionPooling, MaxPooling, MeanPooling, Pooling

__all__ = [
    "CHUNK_TILES",
    "BagClassifier",
    "BagLoss",
    "GatedAttentionNetwork",
    "MaxNetwork",
    "MeanNetwork",
    "PoolingNetwork",
    "TileEmbedding",
    "TileNetwork",
]

CHUNK_TILES = 8192
"""Tiles of a bag that are computed at once; a bag of more goes through in chunks."""

BagLoss = Callable[[torch.Tensor], torch.Tensor]
"""The loss of log-probabilities (B, K), a scalar."""


class BagClassifier(nn.Module):
    """Log-probabilities (B, K) of bags (B, N, F) with a mask (B, N)."""

    def forward(self, bags: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities (B, K); where the mask is False there is no tile."""
        raise NotImplementedError

    def loss(
        self,
        bags: torch.Tensor,
        mask: torch.Tensor | None,
        bag_loss: BagLoss,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """What is minimised in training.

        Parameters
        ----------
        labels : shape (B, K)
            What is held to be true of each bag, for networks that also judge single tiles.
        """
        del labels
        return bag_loss(self(bags, mask))


class TileEmbedding(nn.Module):
    """A layer of rectified features; tiles may be of half precision."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Hidden features (..., H) of tiles (..., F)."""
        hidden: torch.Tensor = self.dropout(
            torch.relu(self.linear(tiles.to(self.linear.weight.dtype)))
        )
        return hidden


class PoolingNetwork(BagClassifier):
    """Tiles are embedded, pooled into one vector, and that is classified.

    Bags of more than ``chunk_tiles`` go through in chunks. In training a chunk's activations are
    computed again for its gradient rather than kept, so that memory depends on the chunk and not on
    the bag; the result is that of the whole bag at once.

    Parameters
    ----------
    features, hidden, classes
        F, H, K.
    dropout
        Part of the hidden features that are dropped in training.
    head
        ``nominal``, or ``ordinal`` for grades.
    """

    pooling: Pooling

    def __init__(
        self,
        *,
        pooling: Pooling,
        features: int,
        classes: int,
        hidden: int,
        dropout: float,
        head: str,
        chunk_tiles: int,
    ) -> None:
        super().__init__()
        if chunk_tiles < 1:
            raise InputError(
                f"chunk_tiles is {chunk_tiles}; compute at least one tile at once",
                chunk_tiles=chunk_tiles,
            )
        self.embed = TileEmbedding(features, hidden, dropout)
        self.pooling = pooling
        self.head = class_head(head, hidden, classes)
        self.chunk_tiles = chunk_tiles

    def forward(self, bags: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities (B, K)."""
        return self.classify(self.pool(bags, mask))

    def classify(self, state: Any) -> torch.Tensor:
        """Log-probabilities (B, K) of a pooling's state."""
        log_probabilities: torch.Tensor = self.head(self.pooling.finish(state))
        return log_probabilities

    def pool(self, bags: torch.Tensor, mask: torch.Tensor | None) -> Any:
        """The pooling's state over all tiles."""
        tiles = bags.shape[1]
        if tiles <= self.chunk_tiles:
            return self._part(bags, mask)
        state = None
        for start in range(0, tiles, self.chunk_tiles):
            chunk = bags[:, start : start + self.chunk_tiles]
            here = None if mask is None else mask[:, start : start + self.chunk_tiles]
            if torch.is_grad_enabled():
                part = checkpoint(self._part, chunk, here, use_reentrant=False)
            else:
                part = self._part(chunk, here)
            state = part if state is None else self.pooling.merge(state, part)
        return state

    def _part(self, tiles: torch.Tensor, mask: torch.Tensor | None) -> Any:
        return self.pooling.part(self.embed(tiles), mask)


class GatedAttentionNetwork(PoolingNetwork):
    """Gated attention ("ABMIL").

    References
    ----------
    Ilse, Tomczak & Welling (2018), arXiv:1802.04712. Checked against torchmil.
    """

    pooling: GatedAttentionPooling

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hidden: int = 512,
        attention: int = 128,
        dropout: float = 0.0,
        head: str = "nominal",
        chunk_tiles: int = CHUNK_TILES,
    ) -> None:
        super().__init__(
            pooling=GatedAttentionPooling(hidden, attention),
            features=features,
            classes=classes,
            hidden=hidden,
            dropout=dropout,
            head=head,
            chunk_tiles=chunk_tiles,
        )

    @torch.no_grad()
    def attention(self, bags: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """What each tile weighs in its bag, (B, N); rows sum to 1."""
        return torch.softmax(self.pool(bags, mask).scores, dim=1)


class MeanNetwork(PoolingNetwork):
    """The mean of the embedded tiles."""

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hidden: int = 512,
        dropout: float = 0.0,
        head: str = "nominal",
        chunk_tiles: int = CHUNK_TILES,
    ) -> None:
        super().__init__(
            pooling=MeanPooling(),
            features=features,
            classes=classes,
            hidden=hidden,
            dropout=dropout,
            head=head,
            chunk_tiles=chunk_tiles,
        )


class MaxNetwork(PoolingNetwork):
    """The largest value of each embedded feature."""

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hidden: int = 512,
        dropout: float = 0.0,
        head: str = "nominal",
        chunk_tiles: int = CHUNK_TILES,
    ) -> None:
        super().__init__(
            pooling=MaxPooling(),
            features=features,
            classes=classes,
            hidden=hidden,
            dropout=dropout,
            head=head,
            chunk_tiles=chunk_tiles,
        )


class TileNetwork(BagClassifier):
    """Tiles by themselves: a bag is one tile, (B, 1, F)."""

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hidden: int = 512,
        dropout: float = 0.0,
        head: str = "nominal",
    ) -> None:
        super().__init__()
        self.embed = TileEmbedding(features, hidden, dropout)
        self.head = class_head(head, hidden, classes)

    def forward(self, bags: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities (B, K) of bags of one tile."""
        if bags.shape[1] != 1:
            raise InputError(
                f"tile-mlp classifies tiles by themselves, and a bag holds {bags.shape[1]}; give "
                "one tile an item, or take abmil, clam-sb, mean or max",
                tiles=bags.shape[1],
            )
        log_probabilities: torch.Tensor = self.head(self.embed(bags[:, 0]))
        return log_probabilities
