"""How a model is trained: a frozen record that stands in every checkpoint and beside every model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import msgspec

from annotation.errors import InputError

__all__ = ["Direction", "Optimizer", "Precision", "Schedule", "TrainingSettings"]

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["float32", "bfloat16", "float16"]
Direction = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the loop does.

    Attributes
    ----------
    epochs
        At most so many passes over the data.
    batch
        Items a step; the last batch of an epoch holds what is left.
    learning_rate, weight_decay
        Of the optimiser; the learning rate is the highest that the schedule reaches.
    optimizer
        ``adamw``, or ``sgd`` with Nesterov momentum 0.9.
    schedule
        After the warm-up: ``cosine`` down to 0 at the last step, or ``constant``.
    warmup
        The part of all steps in which the learning rate rises in a line, 0 to 1.
    precision
        Of the arithmetic in the forward pass; parameters stay float32. ``float16`` scales the loss,
        and needs a GPU.
    clip_norm
        The longest gradient; None does not clip.
    metric, direction
        The figure of ``Task.validate`` whose best epoch's weights are kept. None keeps the last.
    patience
        So many epochs without a better figure end the training; None waits for the last epoch.
    seed
        Of the order of items, the draws of ``Task.load``, and dropout.
    ahead
        Batches that are loaded while the model computes; 0 loads in turn, which is faster for small
        data in memory. The result is the same.
    deterministic
        Only algorithms that give the same result twice. Without them a run is not repeatable.
    checkpoint_minutes
        Time between checkpoints; 0 writes one after every batch.
    """

    epochs: int = 40
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    precision: Precision = "float32"
    clip_norm: float | None = None
    metric: str | None = None
    direction: Direction = "max"
    patience: int | None = None
    seed: int = 0
    ahead: int = 2
    deterministic: bool = True
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            _need(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "ahead", "weight_decay", "checkpoint_minutes"):
            _need(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        _need("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _need("warmup", self.warmup, 0 <= self.warmup < 1, "at least 0 and below 1")
        if self.clip_norm is not None:
            _need("clip_norm", self.clip_norm, self.clip_norm > 0, "above 0, or absent")
        if self.patience is not None:
            _need("patience", self.patience, self.patience >= 1, "at least 1, or absent")
            _need("patience", self.patience, self.metric is not None, "absent without a metric")
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            _need(name, value, value in get_args(kind), f"one of {', '.join(get_args(kind))}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as they stand in files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> TrainingSettings:
        """Settings out of a file; what is absent has its default.

        Raises
        ------
        InputError
            An unknown key, or a value of the wrong type or out of range; names the key.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise InputError(
                    f"there is no training setting {name!r}; take one of {', '.join(known)}",
                    setting=name,
                )
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            raise InputError(f"training settings: {error}") from error


_CHOICES: dict[str, Any] = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "direction": Direction,
}


def _need(name: str, value: object, holds: bool, rule: str) -> None:
    finite = not isinstance(value, float) or math.isfinite(value)
    if not (holds and finite):
        raise InputError(
            f"training setting {name} is {value!r}; it must be {rule}", setting=name, value=value
        )
