"""The folder of a training: its models, its curves, and, until it is done, its checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from annotation.errors import ConflictError
from annotation.paths import file_name, inside, replacing
from models.errors import ModelFileError, TrainingStoppedError
from models.model_file import DESCRIPTION
from models.training.checkpoints import Checkpoints, configuration, refuse_other
from models.training.history import History
from models.training.loop import Progress
from models.training.settings import TrainingSettings
from models.training.stopping import Stop

__all__ = ["RunFolder", "Stages"]

CHECKPOINTS = "checkpoints"
BASELINE = "baseline"
CONFIGURATION = "configuration.json"
_LARGEST_BYTES = 16 * 1024**2


@dataclass
class Stages:
    """The stages of one method: where each goes on from, whom it tells, and how it went.

    Attributes
    ----------
    folder
        Of the checkpoints; each stage has a folder of its own in it.
    settings, frozen
        See :class:`models.training.checkpoints.Checkpoints`.
    watch
        Makes what is told after each batch of a stage, by the stage's name.
    stop
        Whether a signal came between two stages.
    histories
        Of the stages that are done, in their order.
    """

    folder: Path
    settings: TrainingSettings
    frozen: Mapping[str, Any]
    watch: Callable[[str], Progress]
    stop: Stop
    histories: dict[str, History] = field(default_factory=dict)

    def checkpoints(self, stage: str) -> Checkpoints:
        """Those of a stage that is about to begin.

        Raises
        ------
        TrainingStoppedError
            A signal came.
        """
        if self.stop:
            raise TrainingStoppedError(
                f"{self.stop.signal} came before the stage {stage!r}; the training stands in "
                f"{self.folder} and goes on there with --resume",
                signal=self.stop.signal,
                folder=self.folder,
            )
        folder = inside(self.folder, file_name(stage, ""))
        return Checkpoints(folder, self.settings, {**self.frozen, "stage": stage})

    def finished(self, stage: str, history: History) -> None:
        """Note how a stage went."""
        self.histories[stage] = history


class RunFolder:
    """A training's folder, which holds one training and no other.

    Parameters
    ----------
    folder
        Made where it is absent.
    resume
        Go on with the training that it holds, if any.
    result
        The file that a finished training leaves in it.

    Raises
    ------
    ConflictError
        It holds a training, and nobody asked to go on with it.
    """

    def __init__(self, folder: Path, *, resume: bool, result: str = DESCRIPTION) -> None:
        self.folder = folder
        held = next((name for name in (CHECKPOINTS, result) if (folder / name).exists()), None)
        if held is not None and not resume:
            raise ConflictError(
                f"{folder} holds a training already ({held}); go on with it by --resume, or choose "
                "another --to",
                folder=folder,
            )
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def baseline(self) -> Path:
        """Where the model lies that learnt the majority's labels."""
        return self.folder / BASELINE

    def checkpoints_of(self, method: str) -> Path:
        """Where the checkpoints of a method's stages lie."""
        return self.folder / CHECKPOINTS / method

    def begin(self, settings: TrainingSettings, frozen: Mapping[str, Any]) -> None:
        """Note the configuration of the training, or hold it against the one that is noted.

        Raises
        ------
        ModelFileError
            They differ, or what is noted can't be read.
        """
        path = self.folder / CHECKPOINTS / CONFIGURATION
        ours = configuration(settings, frozen)
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(msgspec.json.encode(ours))
            return
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
        try:
            theirs = msgspec.json.decode(content[:_LARGEST_BYTES], type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ModelFileError(
                f"{path} is not what pathquorum wrote ({error}); choose another --to", path=path
            ) from error
        refuse_other(path, theirs, ours)

    def done(self) -> None:
        """Remove the checkpoints: the models are there, and nothing is left to go on with."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
