"""From a vector to the log-probability of each class: with an order of the classes, or without.

Both heads give log-probabilities, so that every loss and every noise-robust method works with
either; those of a nominal head are its logits but for a constant a row.

Shapes: F features, K classes; leading axes are kept.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from annotation.errors import InputError
from models.mil.precision import wide

__all__ = ["Head", "NominalHead", "OrdinalHead", "class_head"]

Head = Literal["nominal", "ordinal"]


class NominalHead(nn.Module):
    """A linear layer and a softmax."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (..., K) of vectors (..., F)."""
        return functional.log_softmax(wide(self.linear(vector)), dim=-1)


class OrdinalHead(nn.Module):
    """Grades as steps: output k is the chance of going beyond grade k, once it is reached.

    The likelihood of a grade is then that of the steps which lead to it, so that cross-entropy on
    these log-probabilities is the loss of CORN, summed over its conditional tasks. No order of the
    thresholds has to be enforced, and probabilities never contradict each other.

    References
    ----------
    Shi, Cao & Raschka (2023), doi:10.1007/s10044-023-01181-9 (CORN). Also known as the
    continuation-ratio model: Fienberg & Mason (1979), doi:10.2307/270764.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes - 1)

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (..., K) of vectors (..., F)."""
        steps = wide(self.linear(vector))  # (..., K - 1)
        beyond = functional.logsigmoid(steps)
        stays = functional.logsigmoid(-steps)
        reached = functional.pad(beyond.cumsum(dim=-1), (1, 0))  # (..., K), 0 at the lowest grade
        return reached + functional.pad(stays, (0, 1))


def class_head(kind: str, features: int, classes: int) -> nn.Module:
    """The head of this name.

    Raises
    ------
    InputError
        An unknown name, or fewer than two classes.
    """
    if classes < 2:
        raise InputError(
            f"a classifier needs two classes or more, not {classes}; a release of one class has "
            "nothing to learn",
            classes=classes,
        )
    if kind == "nominal":
        return NominalHead(features, classes)
    if kind == "ordinal":
        return OrdinalHead(features, classes)
    raise InputError(f"head {kind!r} is unknown; take nominal or ordinal", head=kind)
