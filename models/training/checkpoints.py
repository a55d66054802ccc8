"""Checkpoints: what a training goes on from when it was killed.

Each is written beside its place, synced to the disk and renamed, so that a kill at any moment leaves
the last one whole; the one before stays too. The frozen configuration stands in every checkpoint:
settings, release, split and code version. A training with another one does not go on from it.
Nothing is unpickled but tensors and plain values.
"""

from __future__ import annotations

import os
import pickle
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from annotation.logs import log
from models.errors import ModelFileError
from models.training.settings import TrainingSettings
from models.training.state import TrainingState

__all__ = ["Checkpoints", "configuration", "refuse_other"]

FORMAT = "pathquorum-checkpoint/1"
KEPT = 2
FREE = ("ahead", "checkpoint_minutes")

_NAME = re.compile(r"checkpoint-(\d{10})\.pt\Z")


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Parameters
    ----------
    folder
        Made where it is absent.
    settings
        What the training does. Those that leave its result alone may change: they say how often a
        checkpoint is written, and how many batches are loaded ahead.
    frozen
        What else must be the same for a training to go on: release, split, method, model, code
        version; texts, numbers, lists and tables.
    """

    def __init__(self, folder: Path, settings: TrainingSettings, frozen: Mapping[str, Any]) -> None:
        self.folder = folder
        self.frozen = configuration(settings, frozen)
        self.every_s = 60 * settings.checkpoint_minutes
        self._written_s = time.monotonic()

    @property
    def present(self) -> bool:
        """Whether there is one to go on from."""
        return bool(self._written())

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._written_s >= self.every_s

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, and remove all but the last two.

        A state with a weight that is not a number is not written: the last good one stays.

        Raises
        ------
        TrainingError
            A weight is not a number.
        """
        state.require_finite()
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"checkpoint-{state.step:010d}.pt"
        part = self.folder / f".{name}.part"
        content = {"format": FORMAT, "frozen": self.frozen, "state": state.to_dict()}
        with part.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self.folder / name)
        _sync_names(self.folder)
        for old in self._written()[KEPT:]:
            old.unlink()
        self._written_s = time.monotonic()

    def restore(self, state: TrainingState) -> bool:
        """Put the newest checkpoint's state back; False where there is none.

        Where the newest is damaged, the one before is taken, and said.

        Raises
        ------
        ModelFileError
            None of them is a checkpoint of ours, or it is of a training with another configuration.
        """
        found = self._written()
        for number, path in enumerate(found):
            try:
                content = _read(path)
            except ModelFileError as error:
                if number + 1 == len(found):
                    raise
                log.warning("going on from the checkpoint before", because=str(error))
                continue
            refuse_other(path, content["frozen"], self.frozen)
            _put_back(path, content["state"], state)
            return True
        return False

    def _written(self) -> list[Path]:
        """All checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (path for path in self.folder.iterdir() if _NAME.match(path.name)), reverse=True
        )


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, nothing else."""
    refusal = f"{path} is no checkpoint of pathquorum, or is damaged"
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(member.compress_type for member in archive.infolist())
        if packed:  # torch never compresses; what does could be larger than the disk
            raise ModelFileError(f"{refusal}; remove it", path=path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{refusal} ({reason}); remove it", path=path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelFileError(f"{refusal}: it is not of the format {FORMAT}; remove it", path=path)
    return content


def _put_back(path: Path, content: Mapping[str, Any], state: TrainingState) -> None:
    try:
        state.put_back(content)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"{path} does not fit this model ({str(error).splitlines()[0]}); remove it", path=path
        ) from error


def configuration(settings: TrainingSettings, frozen: Mapping[str, Any]) -> dict[str, Any]:
    """All that must be the same for a training to go on, in plain values."""
    kept = {key: value for key, value in settings.to_dict().items() if key not in FREE}
    found: dict[str, Any] = msgspec.to_builtins({**frozen, "settings": kept})
    return found


def refuse_other(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on from a file of a training with another configuration.

    Raises
    ------
    ModelFileError
        Names the first key that differs, with both values.
    """
    for key, its, now in _differences(theirs, ours):
        raise ModelFileError(
            f"{path.parent} holds a training with another {key}: {its}, now {now}; train with what "
            "it began with, or into another folder",
            path=path,
            key=key,
        )


def _differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Where two configurations differ: the key, and how either value reads."""
    for key in sorted(theirs.keys() | ours.keys()):
        its, now = theirs.get(key), ours.get(key)
        if isinstance(its, Mapping) and isinstance(now, Mapping):
            yield from _differences(its, now, f"{prefix}{key}.")
        elif its != now:
            yield f"{prefix}{key}", _short(its), _short(now)


def _short(value: Any) -> str:
    shown = "absent" if value is None else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _sync_names(folder: Path) -> None:
    """Have the renaming itself written to disk, where the system can be asked to."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
