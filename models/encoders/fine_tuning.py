"""Fine-tuning of an encoder on labelled tiles, end to end: its last blocks, or by LoRA.

The targets are those of every other model: the posterior of the consensus, by its weight. What is
saved is an encoder as `encode` reads it; the classifier behind it is thrown away.

Shapes: B tiles of a batch, S side of a tile, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from annotation.errors import InputError
from models.encoders.adapters import add_adapters, merge_adapters, unfreeze_last
from models.encoders.encoder import FINE_TUNED, Encoder, normalised, resized, save_encoder
from models.encoders.network import features_of
from models.encoders.spec import EncoderSpec
from models.encoders.views import turned
from models.errors import TrainingError
from models.targets import Targets

__all__ = ["FineTuning", "FineTuningTask", "LabelledTiles", "save_fine_tuned"]

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Augmentation = Callable[[NDArray[np.uint8], int, np.random.Generator], NDArray[np.uint8]]


class LabelledTiles(Protocol):
    """Tiles and their targets, such as `models.datasets.tiles.pixel_tiles` gives."""

    targets: Targets

    def load(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Pixels of tiles, (B, 3, S, S) from 0 to 255."""
        ...


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """What is trained.

    Attributes
    ----------
    how
        `blocks`: the last so many blocks; `lora`: adapters on attention.
    blocks
        How many of the last blocks.
    rank, alpha
        Of the adapters: their rank, and by how much of it what they add is scaled.
    """

    how: Literal["blocks", "lora"] = "blocks"
    blocks: int = 1
    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < float("inf"):
            raise InputError(
                f"adapters of rank {self.rank} and alpha {self.alpha:g} can't be; take a rank of 1 or "
                "more and an alpha above 0"
            )


class FineTuningTask:
    """Trains an encoder and a linear classifier behind it, for `models.training.loop.fit`.

    Parameters
    ----------
    encoder
        Its network is changed in place.
    train, validation
        Numbers of tiles; those that weigh nothing are left out.
    seed
        Of the classifier's and the adapters' first weights.
    augment
        Changes the colours of a tile, given with its number; turns and reflections are drawn anyway.

    Raises
    ------
    TrainingError
        No tile bears a target, or the encoder has not what shall be trained.
    """

    def __init__(
        self,
        encoder: Encoder,
        tiles: LabelledTiles,
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        tuning: FineTuning,
        *,
        seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        self._augment = augment
        self._spec = encoder.spec
        self._tiles = tiles
        self._device = encoder.device
        self._train, self._validation = (
            _labelled(tiles.targets, each) for each in (train, validation)
        )
        if not self._train.size:
            raise TrainingError("no tile of the training part bears a target to fine-tune on")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if tuning.how == "lora":
                add_adapters(encoder.network, rank=tuning.rank, alpha=tuning.alpha)
            else:
                unfreeze_last(encoder.network, tuning.blocks)
            depth = encoder.features(_blank(encoder.spec)).shape[1]
            head = nn.Linear(depth, len(tiles.targets.classes)).to(encoder.device)
        self.model: nn.Module = _Tuned(encoder.network, head, encoder.spec)

    def __len__(self) -> int:
        return len(self._train)

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """A batch of tiles, restained if so wished, turned and mirrored at random."""
        return self._batch(self._train[indices], rng)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy against the posterior, by the tiles' weights."""
        tiles, posterior, weight = (part.to(self._device) for part in batch)
        logits = self.model(tiles).float()  # [B, K]
        entropy = -(posterior * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (entropy * weight).sum() / weight.sum()

    def validate(self) -> Mapping[str, float]:
        """The same loss, and balanced accuracy, on tiles that are not trained on."""
        if not self._validation.size:
            return {}
        losses, weights, predicted = 0.0, 0.0, []
        for at in range(0, len(self._validation), _VALIDATED):
            tiles, posterior, weight = (
                part.to(self._device)
                for part in self._batch(self._validation[at : at + _VALIDATED], None)
            )
            log_p = torch.log_softmax(self.model(tiles).float(), dim=1)
            losses -= float(((posterior * log_p).sum(dim=1) * weight).sum())
            weights += float(weight.sum())
            predicted.append(log_p.argmax(dim=1).cpu().numpy())
        hard = self._tiles.targets.hard[self._validation]
        right = np.concatenate(predicted) == hard
        recalls = [float(right[hard == code].mean()) for code in np.unique(hard[hard >= 0])]
        figures = {"loss": losses / weights}
        return {**figures, "balanced_accuracy": float(np.mean(recalls))} if recalls else figures

    def _batch(self, chosen: NDArray[np.int64], rng: np.random.Generator | None) -> Batch:
        pixels = self._tiles.load(chosen).permute(0, 2, 3, 1).numpy()  # [B, S, S, 3]
        if rng is not None:
            if self._augment is not None:
                numbered = zip(pixels, chosen.tolist(), strict=True)
                pixels = np.stack([self._augment(tile, item, rng) for tile, item in numbered])
            pixels = turned(pixels, rng)
        size, by = self._spec.input_px, self._spec.interpolation
        prepared = np.stack([resized(np.ascontiguousarray(tile), size, by) for tile in pixels])
        targets = self._tiles.targets
        return (
            torch.from_numpy(prepared),
            torch.from_numpy(targets.posterior[chosen]),
            torch.from_numpy(targets.weight[chosen]),
        )


def save_fine_tuned(
    folder: Path, task: FineTuningTask, tuning: FineTuning, made_by: Mapping[str, Any]
) -> None:
    """Merge adapters and save the encoder as a folder that `encode --encoder` reads.

    Parameters
    ----------
    made_by
        The training: its settings, release and figures.
    """
    tuned: Any = task.model
    merge_adapters(tuned.network)
    facts = {**made_by, "tuning": vars(tuning), "from": tuned.spec.name}
    save_encoder(folder, tuned.spec, tuned.network, weights=FINE_TUNED, made_by=facts)


_VALIDATED = 64


class _Tuned(nn.Module):
    """The encoder, and the classifier behind it.

    What is frozen stays in evaluation mode: statistics of normalisation would drift otherwise.
    """

    def __init__(self, network: nn.Module, head: nn.Linear, spec: EncoderSpec) -> None:
        super().__init__()
        self.network, self.head, self.spec = network, head, spec

    def train(self, mode: bool = True) -> _Tuned:
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, K) of tiles of shape (B, S, S, 3)."""
        features = features_of(self.network, self.spec, normalised(tiles, self.spec))
        logits: torch.Tensor = self.head(features)
        return logits


def _labelled(targets: Targets, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    bears = (targets.weight[indices] > 0) & (targets.posterior[indices].sum(axis=1) > 0)
    found: NDArray[np.int64] = indices[bears]
    return found


def _blank(spec: EncoderSpec) -> NDArray[np.uint8]:
    return np.zeros((1, spec.input_px, spec.input_px, 3), np.uint8)
