"""An encoder that is ready: a network with its weights, what goes in, and what comes out.

Shapes: B batch, T side of a tile as read, S side of what the network takes, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from annotation.paths import replacing
from models.encoders.network import build_network, classifier_of, features_of
from models.encoders.spec import SPEC_FILE, EncoderSpec, Interpolation, Precision, read_spec
from models.encoders.weights import (
    Weights,
    digest_of,
    fetch_weights,
    find_weights,
    read_weights,
)
from models.errors import ModelFileError, TrainingError

__all__ = [
    "FINE_TUNED",
    "FROM_FOLDER",
    "FROM_HUB",
    "ORIGINS",
    "RANDOM",
    "SELF_TRAINED",
    "Encoder",
    "chosen_device",
    "load_encoder",
    "made_by",
    "normalised",
    "note_on",
    "save_encoder",
    "spec_beside",
    "with_random_weights",
]

FROM_FOLDER, FROM_HUB, RANDOM = "folder", "hub", "random"
SELF_TRAINED, FINE_TUNED = "self-supervised", "fine-tuned"
ORIGINS = (FROM_FOLDER, FROM_HUB, RANDOM, SELF_TRAINED, FINE_TUNED)

_WEIGHTS_FILE = "model.safetensors"
_FORMAT = "pathquorum-encoder/1"
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass
class Encoder:
    """Turns tiles into features.

    Attributes
    ----------
    weights
        Where they come from, one of `ORIGINS`.
    sha256
        Over the weights and all of the spec that changes features.
    precision
        What is computed in; parameters stay float32.
    notes
        What a reader of its features or of a model's card must know.
    told
        Told in words when memory ran out and batches were halved.
    """

    spec: EncoderSpec
    network: nn.Module
    weights: str
    sha256: str
    device: torch.device
    precision: Precision
    notes: tuple[str, ...]
    told: Callable[[str], None] | None = None
    _largest_batch: int | None = None

    def prepared(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a tile of shape (T, T, 3) at the network's size, (S, S, 3)."""
        return resized(tile, self.spec.input_px, self.spec.interpolation)

    def features(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32] | NDArray[np.float16]:
        """Return the features of prepared tiles.

        Parameters
        ----------
        tiles : shape (B, S, S, 3)

        Returns
        -------
        shape (B, D), float16 where that is the precision, else float32

        Raises
        ------
        TrainingError
            Half of the batch doesn't fit into memory either.
        """
        batch = min(len(tiles), self._largest_batch or len(tiles))
        try:
            parts = [self._forward(tiles[at : at + batch]) for at in range(0, len(tiles), batch)]
        except torch.OutOfMemoryError:
            if self._largest_batch is not None or batch == 1:
                raise TrainingError(
                    f"encoder {self.spec.name!r} runs out of memory with {batch} tiles; lower --batch"
                ) from None
            self._largest_batch = batch // 2
            torch.cuda.empty_cache()
            if self.told is not None:
                self.told(f"out of memory: going on with {self._largest_batch} tiles at a time")
            return self.features(tiles)
        made: NDArray[np.float32] = np.concatenate(parts)
        return made

    def _forward(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32] | NDArray[np.float16]:
        kind = torch.float16 if self.precision == "float16" else torch.bfloat16
        x = normalised(torch.from_numpy(tiles).to(self.device), self.spec)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, kind, enabled=self.precision != "float32"),
        ):
            features = features_of(self.network, self.spec, x)
        stored = torch.float16 if self.precision == "float16" else torch.float32
        made: NDArray[np.float32] = features.to(stored).cpu().numpy()
        return made


def resized(
    tile: NDArray[np.uint8], size_px: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Return a square tile at another size, by Pillow, as the encoders' own preprocessing does."""
    if tile.shape[0] == size_px:
        return tile
    picture = Image.fromarray(tile).resize((size_px, size_px), _RESAMPLING[interpolation])
    return np.asarray(picture)


def normalised(tiles: torch.Tensor, spec: EncoderSpec) -> torch.Tensor:
    """Return what a network takes, (B, 3, S, S) in float32, of tiles (B, S, S, 3) from 0 to 255."""
    x = tiles.permute(0, 3, 1, 2).to(torch.float32).div(255)
    mean, std = (
        torch.tensor(channels, device=x.device).view(1, 3, 1, 1)
        for channels in (spec.mean, spec.std)
    )
    return x.sub(mean).div(std)


def load_encoder(
    spec: EncoderSpec,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: Precision | None = None,
) -> Encoder:
    """Make an encoder ready.

    Parameters
    ----------
    weights
        A folder or file; None fetches them from the spec's page.
    device
        `auto` takes a GPU where there is one.
    precision
        None takes the spec's on a GPU, and float32 elsewhere.

    Raises
    ------
    MissingWeightsError
        No weights, or no access to them; says where to accept the licence.
    ModelFileError
        They are not weights, or not those of this architecture.
    """
    found = read_weights(fetch_weights(spec) if weights is None else find_weights(weights))
    network = build_network(spec)
    _load_into(network, spec, found)
    origin = FROM_HUB if weights is None else found.metadata.get("weights", FROM_FOLDER)
    return _ready(spec, network, origin if origin in ORIGINS else FROM_FOLDER, device, precision)


def with_random_weights(
    spec: EncoderSpec, *, seed: int = 0, device: str = "auto", precision: Precision | None = None
) -> Encoder:
    """Make an encoder whose weights are drawn: for tests, and as the least that others must beat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(spec)
    return _ready(spec, network, RANDOM, device, precision)


def save_encoder(
    folder: Path, spec: EncoderSpec, network: nn.Module, *, weights: str, made_by: dict[str, Any]
) -> None:
    """Write an encoder as a folder that `load_encoder` reads: its weights beside its spec.

    Parameters
    ----------
    weights
        How they came about: `SELF_TRAINED` or `FINE_TUNED`.
    made_by
        Settings and figures of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": _FORMAT,
        "weights": weights,
        "made_by": msgspec.json.encode(made_by, order="sorted").decode(),
    }
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with replacing(folder / _WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, metadata)
    with replacing(folder / SPEC_FILE) as temporary:
        temporary.write_text(spec.to_toml(), encoding="utf-8")


def spec_beside(weights: Path) -> EncoderSpec | None:
    """The spec in a folder of weights that this package wrote; None where there is none."""
    path = (weights if weights.is_dir() else weights.parent) / SPEC_FILE
    return read_spec(path) if path.is_file() else None


def made_by(folder: Path) -> dict[str, Any]:
    """Settings and figures of the training that wrote an encoder's folder; empty where none did.

    Raises
    ------
    ModelFileError
        Its weights can't be read.
    """
    path = find_weights(folder)
    told = read_weights(path).metadata.get("made_by", "{}")
    try:
        return msgspec.json.decode(told, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ModelFileError(
            f"{str(path)!r} doesn't say how it was made; remove the folder, or name another",
            path=path,
        ) from None


def chosen_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` stands for.

    Raises
    ------
    ModelFileError
        A GPU is asked for, and torch finds none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cuda" and not available:
        raise ModelFileError("there is no GPU that torch can use; pass --device cpu")
    return torch.device(name)


def note_on(weights: str) -> str | None:
    """What must be said of features by weights of this origin."""
    return {
        RANDOM: "the encoder's weights are random: its features tell little, and no result by them "
        "is one of the encoder's",
        SELF_TRAINED: "the encoder was trained on these slides alone, without labels; compare it "
        "with a pretrained one (such as uni or virchow2) before its results are relied on",
        FINE_TUNED: "the encoder was fine-tuned with labels; only slides that it wasn't trained on "
        "show what it is worth",
    }.get(weights)


def _load_into(network: nn.Module, spec: EncoderSpec, weights: Weights) -> None:
    own = network.state_dict()
    classifiers = tuple(f"{name}." for name in classifier_of(network))
    given = {
        name: tensor
        for name, tensor in weights.tensors.items()
        if name in own or not (classifiers and name.startswith(classifiers))
    }
    for names, what in (
        (own.keys() - given.keys(), "lacks"),
        (given.keys() - own.keys(), "has, which the network doesn't,"),
        (
            {name for name in own.keys() & given.keys() if own[name].shape != given[name].shape},
            "has of another shape",
        ),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise ModelFileError(
                f"{str(weights.path)!r} are not the weights of encoder {spec.name!r} "
                f"({spec.architecture}): it {what} {shown}; take the weights of this encoder",
                path=weights.path,
                encoder=spec.name,
            )
    for name, tensor in given.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelFileError(
                f"{str(weights.path)!r} holds numbers that are not finite ({name}); fetch it again",
                path=weights.path,
            )
    network.load_state_dict(given)


def _ready(
    spec: EncoderSpec, network: nn.Module, weights: str, device: str, precision: Precision | None
) -> Encoder:
    chosen = chosen_device(device)
    if precision is None:
        precision = spec.precision if chosen.type == "cuda" else "float32"
    facts = msgspec.json.encode(spec.decides_features(), order="sorted")
    sha256 = hashlib.sha256(facts + digest_of(network.state_dict()).encode()).hexdigest()
    note = note_on(weights)
    network = network.requires_grad_(False).eval().to(chosen)
    encoder = Encoder(
        spec, network, weights, sha256, chosen, precision, () if note is None else (note,)
    )
    blank = np.zeros((1, spec.input_px, spec.input_px, 3), np.uint8)
    try:
        encoder.features(blank)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"encoder {spec.name!r} doesn't take tiles of {spec.input_px} px "
            f"({' '.join(str(error).split())[:200]}); correct input_px or [arguments]",
            encoder=spec.name,
        ) from None
    return encoder
