"""A trained model on disk: a folder with ``model.safetensors`` and ``model.json``.

The JSON says how to build the network, what goes in and comes out, and where the model came from;
the weights' digest stands in it, so that the two cannot be mixed up. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as _load_weights
from safetensors.torch import save_model as _save_weights

from annotation.errors import InputError
from annotation.paths import replacing
from annotation.stores.schema import SOFTWARE_VERSION
from models.architectures import build
from models.errors import ModelFileError

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "ModelDescription",
    "TrainedModel",
    "describe",
    "load_model",
    "read_description",
    "save_model",
]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"

_LARGEST_BYTES = 16 * 1024**2
"""Of the JSON, whose longest part is the split: a name a slide."""


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``model.json`` says.

    Attributes
    ----------
    architecture, arguments
        A name of :mod:`models.architectures` and what it takes.
    classes, ordered
        What the outputs mean, in their order; whether they are grades.
    input
        What goes in: ``{"kind": "features", "encoder", "encoder_sha256", "tiling"}`` or
        ``{"kind": "tiles", "mpp", "size_px"}``.
    release, manifest_sha256
        The training set.
    split
        The slides of each part that the training saw or held back.
    method, found, training
        The noise-robust method, its parameters and what it found of the raters, and the settings of
        the loop.
    temperature
        By which logits are divided before they become probabilities; 1 where nobody fitted it.
    metrics
        Figures of the training's own validation.
    notes
        What a reader of the model's card must know.
    weights_sha256
        Of ``model.safetensors``; empty until it is saved.
    out_of_fold_sha256
        Of ``out-of-fold.safetensors``, see :mod:`models.training.out_of_fold`; None where there is
        none.
    """

    architecture: str
    arguments: dict[str, Any]
    classes: list[str]
    ordered: bool
    input: dict[str, Any]
    release: str
    manifest_sha256: str
    split: dict[str, list[str]]
    method: str
    training: dict[str, Any]
    found: dict[str, Any] = msgspec.field(default_factory=dict)
    temperature: float = 1.0
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)
    code_version: str = SOFTWARE_VERSION
    weights_sha256: str = ""
    out_of_fold_sha256: str | None = None
    format: Literal["pathquorum-model/1"] = "pathquorum-model/1"


@dataclass(frozen=True)
class TrainedModel:
    """A model ready to predict, and what is known of it."""

    network: torch.nn.Module
    description: ModelDescription


def save_model(
    folder: Path, network: torch.nn.Module, description: ModelDescription
) -> ModelDescription:
    """Write a model, and return its description with the digest of the weights.

    The description is written last: a model whose writing was cut off is refused, not half read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as temporary:
        _save_weights(network, str(temporary))
        digest = _sha256(temporary)
    described = msgspec.structs.replace(description, weights_sha256=digest)
    describe(folder, described)
    return described


def describe(folder: Path, description: ModelDescription) -> None:
    """Write the description of a model whose weights are there: a fitted temperature, a note."""
    with replacing(folder / DESCRIPTION) as temporary:
        encoded = msgspec.json.encode(description)
        temporary.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")


def read_description(folder: Path) -> ModelDescription:
    """What ``model.json`` says.

    Raises
    ------
    ModelFileError
        Absent, too long, not JSON, or not of this format.
    """
    path = folder / DESCRIPTION
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ModelFileError(
            f"{folder} holds no model: {DESCRIPTION} can't be read ({error.strerror}); give the "
            "folder that `train` wrote",
            path=path,
        ) from error
    if len(content) > _LARGEST_BYTES:
        raise ModelFileError(
            f"{path} is longer than {_LARGEST_BYTES // 1024**2} MiB; it is no description of a model",
            path=path,
        )
    try:
        return msgspec.json.decode(content, type=ModelDescription)
    except msgspec.DecodeError as error:
        raise ModelFileError(
            f"{path} does not describe a model of this version: {error}", path=path
        ) from error


def load_model(folder: Path, *, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a model and its description; the network is in evaluation mode.

    Raises
    ------
    ModelFileError
        Something is absent, not ours, or does not belong together.
    """
    description = read_description(folder)
    path = folder / WEIGHTS
    try:
        found = _sha256(path)
    except OSError as error:
        raise ModelFileError(
            f"the weights {path} can't be read ({error.strerror}); copy the whole folder again",
            path=path,
        ) from error
    if found != description.weights_sha256:
        raise ModelFileError(
            f"{path} is not the file that {DESCRIPTION} beside it describes; copy both again",
            path=path,
        )
    try:
        network = build(description.architecture, description.arguments)
    except InputError as error:
        raise ModelFileError(f"{folder / DESCRIPTION}: {error}", path=folder) from error
    try:
        _load_weights(network, str(path))
    except (SafetensorError, RuntimeError) as error:
        raise ModelFileError(
            f"{path} does not fit the architecture {description.architecture!r}: {error}",
            path=path,
        ) from error
    return TrainedModel(network.to(device).eval(), description)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
