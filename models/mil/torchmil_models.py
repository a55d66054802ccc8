"""torchmil's models in the place of ours, for two classes.

They give one logit a bag; more than two classes they do not know. Taken are those that need the
tiles' features alone and learn by the bag's loss alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from annotation.errors import InputError
from models.errors import TrainingError
from models.mil.networks import BagClassifier

__all__ = ["TORCHMIL_MODELS", "TorchmilNetwork"]

TORCHMIL_MODELS = ("ABMIL", "TransMIL", "TransformerABMIL")


class TorchmilNetwork(BagClassifier):
    """A model of torchmil.

    Parameters
    ----------
    model
        Its name there: one of ``TORCHMIL_MODELS``.
    features, classes
        Of the tiles; two classes.
    arguments
        Whatever else its constructor takes.

    Raises
    ------
    TrainingError
        torchmil is not installed.
    InputError
        A model that is not taken, or more classes than two.

    References
    ----------
    Castro-Macías et al. (2025), torchmil, https://torchmil.readthedocs.io
    """

    def __init__(
        self, *, model: str, features: int, classes: int, arguments: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        if model not in TORCHMIL_MODELS:
            raise InputError(
                f"torchmil model {model!r} is not taken; take one of {', '.join(TORCHMIL_MODELS)}",
                model=model,
            )
        if classes != 2:
            raise InputError(
                f"torchmil's models tell two classes apart, not {classes}; take abmil or clam-sb",
                classes=classes,
            )
        try:
            from torchmil import models
        except ImportError as error:
            raise TrainingError(
                f"torchmil's {model} needs torchmil; run pip install torchmil"
            ) from error
        self.wrapped: torch.nn.Module = getattr(models, model)(
            in_shape=(features,), **(arguments or {})
        )

    def forward(self, bags: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Log-probabilities (B, 2)."""
        bags = bags.float()
        if mask is None:
            logit = self.wrapped(bags).float()  # (B,)
        else:  # not all of them heed a mask, so each bag goes by itself
            each = [
                self.wrapped(tiles[present].unsqueeze(0))
                for tiles, present in zip(bags, mask, strict=True)
            ]
            logit = torch.cat([one.reshape(1) for one in each]).float()
        return torch.stack([functional.logsigmoid(-logit), functional.logsigmoid(logit)], dim=1)
