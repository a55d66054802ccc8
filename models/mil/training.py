"""Bags for the training loop, and a trainer for the noise-robust methods.

Shapes: n bags, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.mil.bags import padded
from models.mil.networks import BagClassifier
from models.noise.objectives import Objective
from models.training.history import History
from models.training.loop import Progress, fit
from models.training.settings import TrainingSettings

if TYPE_CHECKING:
    from models.training.checkpoints import Checkpoints

__all__ = ["BagBatch", "BagSource", "BagTask", "BagTrainer", "predict"]


class BagSource(Protocol):
    """Bags by number, from memory or from feature files."""

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Features of a bag's tiles, shape (tiles, features), float32 or float16."""
        ...


@dataclass(frozen=True)
class BagBatch:
    """What one step takes.

    Attributes
    ----------
    bags : shape (B, N, F)
    mask : shape (B, N)
        None where all bags are of one size.
    items : shape (B,)
        Numbers among the objective's items.
    """

    bags: torch.Tensor
    mask: torch.Tensor | None
    items: torch.Tensor

    @classmethod
    def of(cls, source: BagSource, items: NDArray[np.int64], names: Sequence[str]) -> BagBatch:
        """Load bags by number; ``names`` are of all bags, or empty."""
        told = [names[item] if names else str(item) for item in items.tolist()]
        bags, mask = padded([source[item] for item in items.tolist()], told)
        return cls(bags, mask, torch.from_numpy(items.copy()))

    def to(self, device: torch.device) -> BagBatch:
        """The same on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return BagBatch(self.bags.to(device), mask, self.items.to(device))


class BagTask:
    """A network that learns some of the bags, for :func:`models.training.loop.fit`.

    Parameters
    ----------
    network, objective
        Both are trained; what the objective learns stays in ``model``.
    source, names
        All bags, and what they are called in messages (or nothing).
    items : shape (n,)
        Those to learn.
    validation
        Figures after each epoch.
    """

    def __init__(
        self,
        network: BagClassifier,
        objective: Objective,
        source: BagSource,
        items: NDArray[np.int64],
        *,
        names: Sequence[str] = (),
        validation: Callable[[BagClassifier], Mapping[str, float]] | None = None,
    ) -> None:
        self.model: torch.nn.Module = torch.nn.ModuleList([network, objective])
        self._network, self._objective = network, objective
        self._source, self._items, self._names = source, items, names
        self._validation = validation

    def __len__(self) -> int:
        return len(self._items)

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> BagBatch:
        """The bags of a batch, padded to the largest; nothing is drawn."""
        del rng
        return BagBatch.of(self._source, self._items[indices], self._names)

    def loss(self, batch: BagBatch) -> torch.Tensor:
        """The objective's loss, with what the network adds to it."""
        batch = batch.to(next(self.model.parameters()).device)
        return self._network.loss(
            batch.bags,
            batch.mask,
            lambda log_probabilities: self._objective(log_probabilities, batch.items),
            self._objective.labels[batch.items],
        )

    def validate(self) -> Mapping[str, float]:
        """What ``validation`` says of the network."""
        return {} if self._validation is None else self._validation(self._network)


@dataclass(frozen=True)
class BagTrainer:
    """Trains networks on bags; see :class:`models.noise.trainer.Trainer`.

    Attributes
    ----------
    source, names
        All bags, numbered as the targets are, and what they are called in messages.
    make
        A network with fresh weights. All stages start from the same, drawn by the settings' seed.
    settings
        Of the loop.
    device
        Where to compute.
    checkpoints
        Of a stage, by its name; None trains in memory.
    validation
        Figures of each network in training, after every epoch.
    progress
        Of a stage, by its name: told after each batch.
    finished
        Told of each stage and how it went.
    """

    source: BagSource
    make: Callable[[], BagClassifier]
    settings: TrainingSettings
    names: Sequence[str] = ()
    device: str = "cpu"
    checkpoints: Callable[[str], Checkpoints] | None = None
    validation: Callable[[BagClassifier], Mapping[str, float]] | None = None
    progress: Callable[[str], Progress] | None = None
    finished: Callable[[str, History], None] | None = None

    def fit(self, stage: str, objective: Objective, items: NDArray[np.int64]) -> BagClassifier:
        """A network trained from the start on these items."""
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            network = self.make()
        task = BagTask(
            network,
            copy.deepcopy(objective),  # what it learns belongs to this stage
            self.source,
            items,
            names=self.names,
            validation=self.validation,
        )
        task.model.to(self.device)
        checkpoints = None if self.checkpoints is None else self.checkpoints(stage)
        progress = None if self.progress is None else self.progress(stage)
        history = fit(task, self.settings, checkpoints=checkpoints, progress=progress)
        if self.finished is not None:
            self.finished(stage, history)
        return network

    def predict(self, model: BagClassifier, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Class probabilities of items, (n, K)."""
        return predict(model, self.source, items, batch=self.settings.batch, names=self.names)


@torch.no_grad()
def predict(
    network: BagClassifier,
    source: BagSource,
    items: NDArray[np.int64],
    *,
    batch: int = 1,
    names: Sequence[str] = (),
) -> NDArray[np.float64]:
    """Class probabilities of bags, (n, K).

    Parameters
    ----------
    items : shape (n,)
        Numbers of bags.
    batch
        Bags at once; they are padded to the largest.
    """
    device = next(network.parameters()).device
    network.eval()
    found = [
        network(loaded.bags, loaded.mask).exp().cpu().numpy()
        for start in range(0, len(items), batch)
        for loaded in [BagBatch.of(source, items[start : start + batch], names).to(device)]
    ]
    probabilities = np.concatenate(found).astype(np.float64)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))
