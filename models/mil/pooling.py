"""From the tiles of a bag to one vector, chunk by chunk, and exactly.

A pooling reduces a chunk of tiles to a small state; two states merge into that of both chunks. Over
all chunks this gives what the whole bag would at once, whatever the size of the chunks: the softmax
of attention is carried along with its largest score and its normaliser.

Shapes: B bags, N tiles, H hidden features, A attention features. Where a mask is False there is no
tile; every bag has at least one.

References
----------
Milakov & Gimelshein (2018), arXiv:1805.02867, on the softmax in one pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from models.mil.precision import wide

__all__ = ["AttentionState", "GatedAttentionPooling", "MaxPooling", "MeanPooling", "Pooling"]


class Pooling(Protocol):
    """What reduces tiles to a vector."""

    def part(self, tiles: torch.Tensor, mask: torch.Tensor | None) -> Any:
        """State of a chunk of tiles (B, N, H), mask (B, N)."""
        ...

    def merge(self, first: Any, second: Any) -> Any:
        """State of two chunks together; the first precedes the second."""
        ...

    def finish(self, state: Any) -> torch.Tensor:
        """Vectors (B, H) of a state."""
        ...

    @property
    def floats_per_tile(self) -> int:
        """Numbers held for each tile in training, beyond its embedding."""
        ...


class AttentionState(NamedTuple):
    """Attention over the tiles so far.

    Attributes
    ----------
    peak : shape (B, 1)
        The largest score.
    total : shape (B, 1)
        Sum of ``exp(score - peak)``.
    summed : shape (B, H)
        Tiles weighed by that.
    scores : shape (B, N)
        Without gradient; -inf where there is no tile.
    """

    peak: torch.Tensor
    total: torch.Tensor
    summed: torch.Tensor
    scores: torch.Tensor


class GatedAttentionPooling(nn.Module):
    """A weighted mean, with weights from a gated layer of attention.

    References
    ----------
    Ilse, Tomczak & Welling (2018), arXiv:1802.04712, equation 9.
    """

    def __init__(self, hidden: int, attention: int) -> None:
        super().__init__()
        self.content = nn.Linear(hidden, attention)
        self.gate = nn.Linear(hidden, attention)
        self.score = nn.Linear(attention, 1, bias=False)

    def part(self, tiles: torch.Tensor, mask: torch.Tensor | None) -> AttentionState:
        """Scores of a chunk, and their sums."""
        gated = torch.tanh(self.content(tiles)) * torch.sigmoid(self.gate(tiles))  # (B, N, A)
        scores = wide(self.score(gated).squeeze(-1))  # (B, N)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        # The largest score cancels out of the result, hence out of the gradient. A chunk without a
        # tile has none; it may not make -inf - -inf.
        peak = scores.detach().amax(dim=1, keepdim=True)  # (B, 1)
        weights = torch.exp(scores - peak.clamp(min=_LOWEST))
        summed = torch.bmm(weights.unsqueeze(1), wide(tiles)).squeeze(1)  # (B, H)
        return AttentionState(peak, weights.sum(dim=1, keepdim=True), summed, scores.detach())

    def merge(self, first: AttentionState, second: AttentionState) -> AttentionState:
        """Both on the scale of the larger peak."""
        peak = torch.maximum(first.peak, second.peak)
        floor = peak.clamp(min=_LOWEST)
        old, new = torch.exp(first.peak - floor), torch.exp(second.peak - floor)
        return AttentionState(
            peak,
            old * first.total + new * second.total,
            old * first.summed + new * second.summed,
            torch.cat([first.scores, second.scores], dim=1),
        )

    def finish(self, state: AttentionState) -> torch.Tensor:
        """The weighted mean."""
        return state.summed / state.total

    @property
    def floats_per_tile(self) -> int:
        """Two activations, their product and two gradients; the score and its weight."""
        return 5 * self.content.out_features + 2


class MeanPooling(nn.Module):
    """The mean of all tiles."""

    def part(
        self, tiles: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Number (B, 1) and sum (B, H) of a chunk."""
        tiles = wide(tiles)
        if mask is None:
            count = tiles.new_full((len(tiles), 1), tiles.shape[1])
            return count, tiles.sum(dim=1)
        present = mask.unsqueeze(-1)
        return present.sum(dim=1).to(tiles.dtype), tiles.masked_fill(~present, 0.0).sum(dim=1)

    def merge(
        self, first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both sums."""
        return first[0] + second[0], first[1] + second[1]

    def finish(self, state: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Sum by number."""
        return state[1] / state[0]

    @property
    def floats_per_tile(self) -> int:
        """None: a sum keeps nothing."""
        return 0


class MaxPooling(nn.Module):
    """The largest value of each feature."""

    def part(self, tiles: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Largest values (B, H) of a chunk."""
        tiles = wide(tiles)
        if mask is not None:
            tiles = tiles.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        return tiles.amax(dim=1)

    def merge(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The larger."""
        return torch.maximum(first, second)

    def finish(self, state: torch.Tensor) -> torch.Tensor:
        """As it is."""
        return state

    @property
    def floats_per_tile(self) -> int:
        """None: the largest value is found again by comparing."""
        return 0


_LOWEST = torch.finfo(torch.float32).min
