"""What is minimised over masks: what the consensus, one rater, or each rater by themselves drew.

Shapes: b tiles, K classes, R raters, h x w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from annotation.errors import InputError
from models.labels.masks import TileMask
from models.segmentation.losses import soft_cross_entropy, soft_dice
from models.targets import OPEN

__all__ = [
    "AnnotatorMasks",
    "MajorityMasks",
    "MaskBatch",
    "MaskObjective",
    "PosteriorMasks",
    "RaterMasks",
]

DICE_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """What one step takes.

    Attributes
    ----------
    images : shape (b, 3, h, w)
    posterior : shape (b, K, h, w)
    labelled : shape (b, h, w)
        Share of the pixel that ``posterior`` is the mean over.
    hard : shape (b, h, w)
    votes : shape (b, R, h, w)
    """

    images: torch.Tensor
    posterior: torch.Tensor
    labelled: torch.Tensor
    hard: torch.Tensor
    votes: torch.Tensor

    @classmethod
    def of(cls, images: torch.Tensor, masks: list[TileMask]) -> MaskBatch:
        """Tiles with their masks."""

        def stacked(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([getattr(mask, name) for mask in masks]))

        return cls(
            images, stacked("posterior"), stacked("labelled"), stacked("hard"), stacked("votes")
        )

    def to(self, device: torch.device) -> MaskBatch:
        """The same on a device."""
        return MaskBatch(
            self.images.to(device),
            self.posterior.to(device),
            self.labelled.to(device),
            self.hard.to(device),
            self.votes.to(device),
        )


class MaskObjective(nn.Module):
    """A loss of logits on a batch of masks."""

    def forward(self, logits: torch.Tensor, batch: MaskBatch) -> torch.Tensor:
        """A scalar; ``logits`` are of shape (b, K, h, w)."""
        raise NotImplementedError


class PosteriorMasks(MaskObjective):
    """Cross-entropy and Dice on the posterior of the consensus, where it has a label."""

    def forward(self, logits: torch.Tensor, batch: MaskBatch) -> torch.Tensor:
        """A scalar."""
        return _both(logits, batch.posterior, batch.labelled)


class MajorityMasks(MaskObjective):
    """The same on the consensus class of each pixel: what others are held against."""

    def forward(self, logits: torch.Tensor, batch: MaskBatch) -> torch.Tensor:
        """A scalar."""
        return _on_classes(logits, batch.hard)


class RaterMasks(MaskObjective):
    """The same on what one rater drew.

    Parameters
    ----------
    rater
        Number of the rater.
    """

    def __init__(self, rater: int) -> None:
        super().__init__()
        self.rater = rater

    def forward(self, logits: torch.Tensor, batch: MaskBatch) -> torch.Tensor:
        """A scalar."""
        return _on_classes(logits, batch.votes[:, self.rater])


class AnnotatorMasks(MaskObjective):
    """Likelihood of what each rater drew, through confusions that are learnt with the network.

    Parameters
    ----------
    start : shape (R, K, K)
        Confusions to begin with, by true class and class said; rows sum to 1, all above 0.
    trace_weight
        What the mean diagonal costs: see `models.noise.objectives.AnnotatorLayer`.

    References
    ----------
    Tanno et al. (2019), arXiv:1902.03680; Zhang et al. (2020), arXiv:2007.15963, whose confusions
    differ from pixel to pixel. Here one matrix a rater holds everywhere: its start is what
    Dawid-Skene found, and few slides don't carry more.
    """

    def __init__(self, start: NDArray[np.float64], *, trace_weight: float = 0.01) -> None:
        super().__init__()
        if start.ndim != 3 or start.shape[1] != start.shape[2] or (start <= 0).any():
            raise InputError("confusions to start with must be (raters, K, K) and above 0")
        self.logits = nn.Parameter(torch.from_numpy(np.log(start).astype(np.float32)))
        self.trace_weight = trace_weight

    @property
    def confusion(self) -> torch.Tensor:
        """Matrices (R, K, K) by true class and class said."""
        return torch.softmax(self.logits, dim=-1)

    def forward(self, logits: torch.Tensor, batch: MaskBatch) -> torch.Tensor:
        """A scalar: mean over what raters rated, each pixel of each rater once."""
        probabilities = torch.softmax(logits, dim=1)
        said = torch.einsum("bkhw,rkj->brjhw", probabilities, self.confusion)
        rated = batch.votes != OPEN
        of_vote = said.gather(2, batch.votes.clamp(min=0).unsqueeze(2)).squeeze(2)  # (b, R, h, w)
        losses = -of_vote.clamp(min=_LEAST).log() * rated
        trace = self.confusion.diagonal(dim1=-2, dim2=-1).mean()
        return losses.sum() / rated.sum().clamp(min=1) + self.trace_weight * trace


def _on_classes(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Both losses on one class a pixel, (b, h, w), -1 where there is none."""
    classes = torch.arange(logits.shape[1], device=codes.device).view(1, -1, 1, 1)
    return _both(logits, (codes.unsqueeze(1) == classes).float(), (codes != OPEN).float())


def _both(logits: torch.Tensor, posterior: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    logs = torch.log_softmax(logits, dim=1)
    cross_entropy = soft_cross_entropy(logs, posterior, weight)
    return (1 - DICE_SHARE) * cross_entropy + DICE_SHARE * soft_dice(logs, posterior, weight)


_LEAST = 1e-7
