"""All that a training is, between two batches: what a checkpoint holds and puts back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from models.errors import TrainingError
from models.training.history import Epoch, History
from models.training.repeatable import generators, put_back
from models.training.settings import Direction, TrainingSettings

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """Model, optimiser, loss scaler, place, and the best so far.

    Attributes
    ----------
    epoch, batch
        The next batch.
    step
        How many are done in all epochs.
    loss_sum
        Of the epoch's items so far.
    parts
        1, or 2 since memory ran out.
    best_weights
        Of the epoch ``history.best``, where a metric chooses; else empty.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    parts: int = 1
    history: History = field(default_factory=History)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device

    def require_finite(self) -> None:
        """Refuse to go on with weights that are no longer numbers.

        Raises
        ------
        TrainingError
            One of them is infinite or not a number.
        """
        for name, weights in self.model.state_dict().items():
            if not torch.isfinite(weights).all():
                raise TrainingError(
                    f"{name!r} of the model is no longer finite in epoch {self.epoch + 1}, batch "
                    f"{self.batch}; lower the learning rate, or clip the gradient",
                    epoch=self.epoch,
                    batch=self.batch,
                )

    @classmethod
    def begin(cls, model: torch.nn.Module, settings: TrainingSettings) -> TrainingState:
        """The state before the first batch."""
        parameters = [weights for weights in model.parameters() if weights.requires_grad]
        kind = parameters[0].device.type
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            optimizer = torch.optim.AdamW(
                parameters,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                fused=kind in ("cpu", "cuda"),
            )
        else:
            optimizer = torch.optim.SGD(
                parameters,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                momentum=0.9,
                nesterov=True,
            )
        scaler = torch.amp.GradScaler(kind, enabled=settings.precision == "float16")
        return cls(model, optimizer, scaler)

    def end_epoch(self, epoch: Epoch, settings: TrainingSettings) -> None:
        """Record an epoch, keep its weights if they are the best, and say whether it was the last."""
        self.history.epochs.append(epoch)
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0
        if settings.metric is None:
            self.history.best = epoch.epoch
        elif self._better(settings.metric, settings.direction):
            self.history.best = epoch.epoch
            self.best_weights = {
                name: weights.detach().clone() for name, weights in self.model.state_dict().items()
            }
        if self.epoch == settings.epochs:
            self.history.ended = "epochs"
        elif settings.patience is not None and epoch.epoch - self.history.best >= settings.patience:
            self.history.ended = "patience"

    def _better(self, metric: str, direction: Direction) -> bool:
        """Whether the last epoch's metric beats that of the best; not a number beats nothing."""
        figure = self.history.epochs[-1].metrics[metric]
        if self.history.best < 0:
            return True
        held = self.history.epochs[self.history.best].metrics[metric]
        if math.isnan(held):
            return not math.isnan(figure)
        return figure > held if direction == "max" else figure < held

    def settle(self) -> None:
        """Give the model the weights of the best epoch."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)

    def to_dict(self) -> dict[str, Any]:
        """The state in tensors, lists, texts and numbers alone."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "place": {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "loss_sum": self.loss_sum,
                "parts": self.parts,
            },
            "history": self.history.to_dict(),
            "best_weights": self.best_weights,
            "generators": generators(),
        }

    def put_back(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`to_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        place = state["place"]
        self.epoch, self.batch, self.step = place["epoch"], place["batch"], place["step"]
        self.loss_sum, self.parts = place["loss_sum"], place["parts"]
        self.history = History.from_dict(state["history"])
        self.best_weights = dict(state["best_weights"])
        put_back(state["generators"])
