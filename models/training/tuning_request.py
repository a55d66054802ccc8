"""What somebody asks an encoder to be fine-tuned on, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.errors import InputError
from models.encoders.fine_tuning import FineTuning
from models.stain.augmentation import StainAugmentation
from models.training.figures import DIRECTIONS
from models.training.settings import TrainingSettings

__all__ = ["TuningRequest"]

_DEFAULTS: Mapping[str, Any] = {"epochs": 10, "learning_rate": 1e-4}
"""Where they differ from those of the settings: what is tuned has learnt already."""


@dataclass(frozen=True, kw_only=True)
class TuningRequest:
    """An encoder to be fine-tuned.

    Attributes
    ----------
    release
        Its name.
    encoder, weights
        As for `encode`.
    tuning
        What of the encoder is trained.
    folder, resume
        Where everything goes, and whether to go on with what lies there.
    slides_root
        Where the images lie now; None: where they lay.
    training, tiles, stain_augmentation
        Settings of the loop and of the tiles, and how these are restained at random: those given.
        Without any tiles have the encoder's microns per pixel and size.
    site
        To be held out; None keeps the release's split.
    allow_missing
        Whether slides without image or tissue are left out, instead of refused.
    device
        Where to compute, as torch calls it.
    threads
        How many read slides while tissue is sought.
    """

    release: str
    encoder: str | None
    weights: Path | None
    tuning: FineTuning
    folder: Path
    resume: bool = False
    slides_root: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    tiles: Mapping[str, Any] = field(default_factory=dict)
    stain_augmentation: Mapping[str, Any] | None = None
    site: str | None = None
    allow_missing: bool = False
    device: str = "cpu"
    threads: int = 2

    def __post_init__(self) -> None:
        _ = self.settings, self.augmentation  # refused here, before anything is opened
        sources = {self.weights, None if self.encoder is None else Path(self.encoder)} - {None}
        if any(path.resolve() == self.folder.resolve() for path in sources if path is not None):
            raise InputError(
                f"{self.folder} is the encoder that shall be tuned, and stays as it is; choose "
                "another --to",
                folder=self.folder,
            )

    @property
    def settings(self) -> TrainingSettings:
        """Of the loop."""
        given = {**_DEFAULTS, **self.training}
        given.setdefault("direction", DIRECTIONS.get(given.get("metric", ""), "max"))
        return TrainingSettings.from_dict(given)

    @property
    def augmentation(self) -> StainAugmentation | None:
        """How tiles are restained at random."""
        given = self.stain_augmentation
        return None if given is None else StainAugmentation.from_dict(given)
