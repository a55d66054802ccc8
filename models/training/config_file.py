"""A file that says how to train: settings of the loop, arguments of the network, tiles, stains."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.errors import InputError

__all__ = ["TrainingFile", "read_training_file"]

TABLES = ("training", "model", "tiles", "stain_augmentation")
_LARGEST_BYTES = 65_536


@dataclass(frozen=True)
class TrainingFile:
    """Its tables, as they stand in it.

    Attributes
    ----------
    training
        See :class:`models.training.settings.TrainingSettings`.
    model
        Arguments of the architecture.
    tiles
        See :class:`models.tiling.settings.TileSettings`; for models that learn from pixels.
    stain_augmentation
        See :class:`models.stain.augmentation.StainAugmentation`; for models that learn from pixels.
        None where there is no such table: then tiles are learnt in the colours that they have.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    tiles: Mapping[str, Any] = field(default_factory=dict)
    stain_augmentation: Mapping[str, Any] | None = None


def read_training_file(path: Path, *, tables: Sequence[str] = TABLES) -> TrainingFile:
    """Read a file with any of the tables of :class:`TrainingFile`.

    Parameters
    ----------
    tables
        Those that may stand in it.

    Raises
    ------
    InputError
        It can't be read, is no TOML, or holds anything else.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{path} can't be read: {error.strerror}; name a readable file", path=path
        ) from error
    if len(content) > _LARGEST_BYTES:
        raise InputError(f"{path} is longer than 64 KiB; it says no more than how to train")
    try:
        found = tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {error}; correct it there", path=path) from error
    for name, table in found.items():
        if name not in tables or not isinstance(table, dict):
            raise InputError(
                f"{path}: there is no table [{name}]; write into "
                f"{', '.join(f'[{known}]' for known in tables)}",
                path=path,
            )
    return TrainingFile(**found)
