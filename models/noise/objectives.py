"""What is minimised: losses on log-probabilities, with the targets that they hold.

An objective may have parameters of its own, which are learnt with the network and left behind.

Shapes: n items, B items of a batch, K classes, R raters.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from annotation.errors import InputError
from models.targets import OPEN

__all__ = ["AnnotatorLayer", "CrossEntropy", "GeneralisedCrossEntropy", "Objective", "one_hot"]


class Objective(nn.Module):
    """A loss over numbered items.

    Parameters
    ----------
    labels : shape (n, K)
        What is held to be true of each item, as probabilities.
    weight : shape (n,)
        How much each item counts; only ratios matter.
    """

    labels: torch.Tensor
    weight: torch.Tensor

    def __init__(self, labels: NDArray[np.floating], weight: NDArray[np.floating]) -> None:
        super().__init__()
        counted = weight[weight > 0]
        scale = float(counted.mean()) if len(counted) else 1.0
        for name, values in (("labels", labels), ("weight", weight / scale)):
            tensor = torch.from_numpy(np.asarray(values, dtype=np.float32))
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Mean over a batch of the weighted losses.

        Parameters
        ----------
        log_probabilities : shape (B, K)
        items : shape (B,)
        """
        return (self.weight[items] * self.losses(log_probabilities, items)).mean()

    def losses(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Loss of each item, (B,)."""
        raise NotImplementedError


class CrossEntropy(Objective):
    """Cross-entropy on labels that may be uncertain."""

    def losses(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Loss of each item, (B,)."""
        return -(self.labels[items] * log_probabilities).sum(dim=1)


class GeneralisedCrossEntropy(Objective):
    """``(1 - p^q) / q`` of the label's probability p: an error costs at most ``1 / q``.

    Towards q = 0 it is cross-entropy, at q = 1 half the absolute error.

    References
    ----------
    Zhang & Sabuncu (2018), arXiv:1805.07836, equation 6; their experiments have q = 0.7.
    """

    def __init__(
        self, labels: NDArray[np.floating], weight: NDArray[np.floating], *, q: float
    ) -> None:
        if not 0 < q <= 1:
            raise InputError(f"q is {q:g}; give a number above 0 and up to 1", q=q)
        super().__init__(labels, weight)
        self.q = q

    def losses(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Loss of each item, (B,)."""
        # expm1 keeps the digits that 1 - p^q loses where q log p is near 0.
        each = -torch.expm1(self.q * log_probabilities) / self.q  # (B, K)
        return (self.labels[items] * each).sum(dim=1)


class AnnotatorLayer(Objective):
    """Likelihood of each rater's own labels, through a confusion matrix that is learnt as well.

    Parameters
    ----------
    votes : shape (n, R)
        What each rater said; -1 where they were not asked.
    decided : shape (n,)
        Items whose label is certain: they add its cross-entropy.
    start : shape (R, K, K)
        Confusions to begin with, by true class and class said; rows sum to 1, all above 0.
    trace_weight
        What the mean diagonal of the matrices costs: among all that explain the votes, the least
        reliable raters are sought, which makes the network the surest.

    References
    ----------
    Rodrigues & Pereira (2018), arXiv:1709.01779, on the layer; Tanno et al. (2019),
    arXiv:1902.03680, on probabilities and the trace.
    """

    votes: torch.Tensor
    decided: torch.Tensor

    def __init__(
        self,
        labels: NDArray[np.floating],
        weight: NDArray[np.floating],
        *,
        votes: NDArray[np.int64],
        decided: NDArray[np.bool_],
        start: NDArray[np.float64],
        trace_weight: float,
    ) -> None:
        super().__init__(labels, weight)
        self.register_buffer("votes", torch.from_numpy(votes), persistent=False)
        self.register_buffer("decided", torch.from_numpy(decided), persistent=False)
        self.logits = nn.Parameter(torch.from_numpy(np.log(start).astype(np.float32)))
        self.trace_weight = trace_weight

    @property
    def confusion(self) -> torch.Tensor:
        """Matrices (R, K, K) by true class and class said."""
        return torch.softmax(self.logits, dim=-1)

    def forward(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Mean over a batch, and the trace."""
        trace = self.confusion.diagonal(dim1=-2, dim2=-1).sum()
        return super().forward(log_probabilities, items) + self.trace_weight * trace

    def losses(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Loss of each item, the sum over its raters, (B,)."""
        votes = self.votes[items]  # (B, R)
        said = votes.clamp(min=0)
        logs = torch.log_softmax(self.logits, dim=-1)  # (R, K true, K said)
        raters = torch.arange(len(logs), device=votes.device).expand_as(votes)
        of_vote = logs[raters, :, said]  # (B, R, K true)
        likelihood = torch.logsumexp(log_probabilities.unsqueeze(1) + of_vote, dim=-1)  # (B, R)
        certain = (self.labels[items] * log_probabilities).sum(dim=1) * self.decided[items]
        return -(likelihood * (votes != OPEN)).sum(dim=1) - certain


def one_hot(codes: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Certain labels (n, K); a row of zeros where the code is -1."""
    certain: NDArray[np.float32] = (codes[:, None] == np.arange(classes)).astype(np.float32)
    return certain
