"""CLAM with a single branch of attention: tiles that attention picks are judged as well.

Shapes: B bags, N tiles, F features, H hidden features, K classes, S picked tiles.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.mil.networks import CHUNK_TILES, BagLoss, GatedAttentionNetwork

__all__ = ["ClamNetwork", "smooth_svm"]


class ClamNetwork(GatedAttentionNetwork):
    """Gated attention, and for each class a classifier of the tiles with most and least attention.

    Of a bag of class c the tiles with most attention are examples of c and those with least of its
    absence; for the classes that exclude c, those with most attention are examples of absence. Where
    a bag's class is uncertain, both count by its probability, which for a certain one is CLAM.

    Parameters
    ----------
    picked
        How many tiles with most, and with least, attention are judged.
    bag_weight
        Of the bag's loss; the tiles' has the rest.

    References
    ----------
    Lu et al. (2021), doi:10.1038/s41551-020-00682-w. Defaults are those published. Which tiles are
    judged as what is checked against torchmil.
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hidden: int = 512,
        attention: int = 256,
        dropout: float = 0.25,
        head: str = "nominal",
        picked: int = 8,
        bag_weight: float = 0.7,
        chunk_tiles: int = CHUNK_TILES,
    ) -> None:
        super().__init__(
            features=features,
            classes=classes,
            hidden=hidden,
            attention=attention,
            dropout=dropout,
            head=head,
            chunk_tiles=chunk_tiles,
        )
        self.picked = picked
        self.bag_weight = bag_weight
        self.judges = nn.ModuleList([nn.Linear(hidden, 2) for _ in range(classes)])

    def loss(
        self,
        bags: torch.Tensor,
        mask: torch.Tensor | None,
        bag_loss: BagLoss,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """The bag's loss, and that of the tiles which its attention picked."""
        state = self.pool(bags, mask)
        of_tiles = torch.stack(
            [self.tile_loss(*each) for each in zip(bags, state.scores, labels, strict=True)]
        ).mean()
        return self.bag_weight * bag_loss(self.classify(state)) + (1 - self.bag_weight) * of_tiles

    def tile_loss(
        self, tiles: torch.Tensor, scores: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        """Loss of one bag's picked tiles, the mean over classes.

        Parameters
        ----------
        tiles : shape (N, F)
        scores : shape (N,)
            -inf where there is no tile.
        label : shape (K,)
            Probability of each class.
        """
        present = int(torch.isfinite(scores).sum())
        picked = min(self.picked, present)
        most = scores.topk(picked).indices
        least = torch.where(torch.isfinite(scores), -scores, -torch.inf).topk(picked).indices
        # Embedded again: a bag in chunks has kept none of its tiles.
        hidden = self.embed(tiles[torch.cat([most, least])])  # (2 S, H)
        is_most = torch.arange(2 * picked, device=tiles.device) < picked
        losses = []
        for judge, probability in zip(self.judges, label, strict=True):
            logits = judge(hidden)  # (2 S, 2)
            of_class = smooth_svm(logits, is_most.long())
            of_another = smooth_svm(logits[:picked], torch.zeros_like(most))
            losses.append(probability * of_class + (1 - probability) * of_another)
        return torch.stack(losses).mean()


def smooth_svm(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean smooth top-1 SVM loss, of margin 1 and temperature 1.

    Parameters
    ----------
    logits : shape (n, C)
    labels : shape (n,)

    References
    ----------
    Berrada, Zisserman & Kumar (2018), arXiv:1802.07595: cross-entropy once every wrong class has
    gained the margin.
    """
    wrong = 1.0 - functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return functional.cross_entropy(logits + wrong, labels)
