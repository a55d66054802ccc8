"""What happened in a training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    Attributes
    ----------
    epoch
        From 0.
    loss
        The mean over its items, each in the state of the model when its batch came.
    learning_rate
        At its last step.
    metrics
        What ``Task.validate`` gave after it.
    """

    epoch: int
    loss: float
    learning_rate: float
    metrics: dict[str, float]


@dataclass
class History:
    """All epochs, and which one's weights the model has now.

    Attributes
    ----------
    best
        The number of the epoch whose weights were kept: the best by the metric, else the last.
    ended
        Why it ended: ``epochs`` (all were done) or ``patience``; empty while it goes on.
    halved
        Whether memory ran out and each batch was computed in two halves from then on.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best: int = -1
    ended: str = ""
    halved: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The history as it stands in a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> History:
        """The history out of a checkpoint."""
        return cls(
            epochs=[Epoch(**epoch) for epoch in given["epochs"]],
            best=given["best"],
            ended=given["ended"],
            halved=given["halved"],
        )
