"""A small encoder that learns from one's own tiles, without labels and without a download.

By VICReg (Bardes, Ponce & LeCun 2022, arXiv:2105.04906), with the weights of its loss: two views of
a tile shall have the same embedding, each dimension shall vary over a batch, and dimensions shall
not repeat one another. Its second term keeps embeddings from collapsing in batches as small as fit
a laptop, without negatives, a second network or large batches.

Shapes: B tiles of a batch, D features, E dimensions of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.encoders.network import build_network
from models.encoders.spec import EncoderSpec
from models.encoders.views import random_views
from models.errors import TrainingError
from models.training.loop import Progress, fit
from models.training.settings import TrainingSettings

__all__ = ["Spread", "require_spread", "spread_of", "train_encoder", "vicreg_loss"]

Batch = tuple[torch.Tensor, torch.Tensor]

_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
_EMBEDDING = 512
_BATCH = 128
_FEWEST_TILES = 64
_EPOCHS, _FEWEST_STEPS = 8, 100
_SMALLEST_RELATIVE_STD, _SMALLEST_RANK = 0.05, 3.0
_MEASURED_TILES = 1024


@dataclass(frozen=True)
class Spread:
    """How far embeddings differ.

    Attributes
    ----------
    relative_std
        Their standard deviation over tiles by their root mean square: 0 where all are the same.
    rank
        How many dimensions they use: the exponential of the entropy of their singular values
        (Garrido et al. 2023, arXiv:2210.02885), about their mean.
    """

    relative_std: float
    rank: float


class _Siamese(nn.Module):
    """The encoder, and the expander behind it that is thrown away."""

    def __init__(self, network: nn.Module, depth: int) -> None:
        super().__init__()
        self.network = network
        layers: list[nn.Module] = []
        for size in (depth, _EMBEDDING):
            layers += [nn.Linear(size, _EMBEDDING), nn.BatchNorm1d(_EMBEDDING), nn.ReLU()]
        self.expander = nn.Sequential(*layers, nn.Linear(_EMBEDDING, _EMBEDDING, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.expander(self.network(x))
        return embedding


class _ViewTask:
    """Pairs of views of tiles that are held in memory."""

    def __init__(self, model: _Siamese, tiles: NDArray[np.uint8], spec: EncoderSpec) -> None:
        self.model: nn.Module = model
        self._tiles = tiles
        self._mean, self._std = (
            torch.tensor(channels).view(1, 3, 1, 1) for channels in (spec.mean, spec.std)
        )

    def __len__(self) -> int:
        # Whole batches alone: a few tiles that are left over have no variance to speak of.
        return max(len(self._tiles) // _BATCH, 1) * min(_BATCH, len(self._tiles))

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        tiles = self._tiles[indices]
        # Convolutions on a CPU take two thirds of the time where channels lie together.
        first, second = (
            ((random_views(tiles, rng) - self._mean) / self._std).contiguous(
                memory_format=torch.channels_last
            )
            for _ in range(2)
        )
        return first, second

    def loss(self, batch: Batch) -> torch.Tensor:
        device = next(self.model.parameters()).device
        # One pass over both: normalisation sees the same statistics.
        first, second = self.model(torch.cat(batch).to(device)).chunk(2)
        return vicreg_loss(first.float(), second.float())

    def validate(self) -> Mapping[str, float]:
        return {}


def train_encoder(
    tiles: NDArray[np.uint8],
    spec: EncoderSpec,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[nn.Module, dict[str, float | int]]:
    """Train a network on tiles.

    Parameters
    ----------
    tiles : shape (n_tiles, S, S, 3)
    spec
        Of the network, which pools.

    Returns
    -------
    The network, and what its training is described by.

    Raises
    ------
    TrainingError
        Too few tiles, or the network has collapsed: it gives nearly the same for all of them.
    """
    if len(tiles) < _FEWEST_TILES:
        raise TrainingError(
            f"{len(tiles)} tiles are too few to train an encoder on ({_FEWEST_TILES} at least); add "
            "slides, or take a pretrained encoder"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(spec)
        with torch.no_grad():
            depth = network(torch.zeros(1, 3, spec.input_px, spec.input_px)).shape[1]
        model = _Siamese(network, depth).to(device, memory_format=torch.channels_last)
    batch = min(_BATCH, len(tiles))
    task = _ViewTask(model, tiles, spec)
    settings = TrainingSettings(
        epochs=max(_EPOCHS, math.ceil(_FEWEST_STEPS * batch / len(task))),
        batch=batch,
        learning_rate=1e-3,
        weight_decay=1e-4,
        warmup=0.1,
        seed=seed,
    )
    history = fit(task, settings, progress=progress)
    spread = spread_of(_embedded(network, tiles, spec, device))
    require_spread(spread)
    return network.cpu(), {
        "tiles": len(tiles),
        "epochs": settings.epochs,
        "seed": seed,
        "loss": history.epochs[-1].loss,
        "relative_std": spread.relative_std,
        "rank": spread.rank,
    }


def vicreg_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The loss of two views' embeddings, each of shape (B, E).

    References
    ----------
    Bardes, Ponce & LeCun (2022), arXiv:2105.04906, equations 1 to 6.
    """
    invariance = nn.functional.mse_loss(first, second)
    variance = first.new_zeros(())
    covariance = first.new_zeros(())
    for embedding in (first, second):
        centred = embedding - embedding.mean(dim=0)
        std = torch.sqrt(centred.var(dim=0) + 1e-4)
        variance = variance + torch.relu(1 - std).mean()
        matrix = centred.T @ centred / (len(embedding) - 1)  # [E, E]
        off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
        covariance = covariance + off_diagonal / embedding.shape[1]
    return _INVARIANCE * invariance + _VARIANCE * variance + _COVARIANCE * covariance


def spread_of(embeddings: NDArray[np.float32]) -> Spread:
    """Measure how far embeddings, shape (n_tiles, D), differ."""
    values = embeddings.astype(np.float64)
    centred = values - values.mean(axis=0)
    size = np.sqrt((values**2).mean())
    singular = np.linalg.svd(centred, compute_uv=False)
    shares = singular / singular.sum() if singular.sum() > 0 else singular
    shares = shares[shares > 0]
    return Spread(
        relative_std=float(np.sqrt((centred**2).mean()) / size) if size > 0 else 0.0,
        rank=float(np.exp(-(shares * np.log(shares)).sum())) if shares.size else 0.0,
    )


def require_spread(spread: Spread) -> None:
    """Refuse embeddings that have collapsed to a point or a line."""
    if spread.relative_std < _SMALLEST_RELATIVE_STD or spread.rank < _SMALLEST_RANK:
        raise TrainingError(
            f"the encoder has collapsed: its embeddings vary by {spread.relative_std:.3f} of their "
            f"size in {spread.rank:.1f} dimensions; train on more and more varied tiles, or take a "
            "pretrained encoder",
            spread=spread,
        )


def _embedded(
    network: nn.Module, tiles: NDArray[np.uint8], spec: EncoderSpec, device: str
) -> NDArray[np.float32]:
    from models.encoders.encoder import normalised

    chosen = tiles[:: max(1, len(tiles) // _MEASURED_TILES)]
    network.eval()
    with torch.inference_mode():
        parts = [
            network(normalised(torch.from_numpy(chosen[at : at + _BATCH]).to(device), spec)).cpu()
            for at in range(0, len(chosen), _BATCH)
        ]
    made: NDArray[np.float32] = torch.cat(parts).numpy()
    return made
