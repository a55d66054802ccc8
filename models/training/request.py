"""What somebody asks to be trained, and the data that it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.errors import InputError
from models.datasets.releases import TrainingRelease
from models.labels.slide_labels import SlideLabelRule
from models.training.figures import DIRECTIONS
from models.training.learnable import Learnable
from models.training.settings import TrainingSettings

__all__ = ["BAGS", "MASKS", "NETWORKS", "TILES", "TrainingRequest"]

BAGS, TILES, MASKS = "bags", "tiles", "masks"
NETWORKS = {
    "abmil": BAGS,
    "clam-sb": BAGS,
    "mean": BAGS,
    "max": BAGS,
    "tile-mlp": TILES,
    "unet": MASKS,
    "smp": MASKS,
}
"""The architectures that `train` offers, and what each learns from."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    BAGS: {"batch": 1, "learning_rate": 2e-4},  # of CLAM, doi:10.1038/s41551-020-00682-w
    TILES: {"batch": 256},
    MASKS: {"batch": 16},
}
"""Where they differ from those of the settings."""

_TILES_OF_MASKS = {"mpp": 2.0, "size_px": 256}


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """A model to be trained.

    Attributes
    ----------
    name, release, architecture, method
        Names. The name is that of the new model.
    folder, resume
        Where everything goes, and whether to go on with what lies there.
    features
        The folder of feature files, for what learns from them.
    slides_root
        Where the images lie now, for what learns from pixels; None: where they lay.
    training, arguments, tiles
        Settings of the loop, arguments of the architecture, settings of the tiles: those given.
    site
        To be held out; None keeps the release's split.
    baseline
        Whether to train on the majority's labels as well.
    slide_label
        How bags get a label from a release of regions; None: the release labels slides.
    n_folds
        Cross-fit the model over so many folds of patients, and keep what it says of items that it
        has not seen; None: only where the method cross-fits by itself.
    allow_missing
        Whether slides without features or image are left out, instead of refused.
    device
        Where to compute, as torch calls it.

    Raises
    ------
    InputError
        The parts do not belong together.
    """

    name: str
    release: str
    architecture: str
    method: str
    folder: Path
    resume: bool = False
    features: Path | None = None
    slides_root: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tiles: Mapping[str, Any] = field(default_factory=dict)
    site: str | None = None
    baseline: bool = True
    slide_label: SlideLabelRule | None = None
    n_folds: int | None = None
    allow_missing: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.kind == MASKS:
            self._refuse(self.features is not None, "--features", "pixels: give --slides-root")
            self._refuse(
                self.n_folds is not None, "--out-of-fold", "pixels, which are too many to keep"
            )
        else:
            self._refuse(self.features is None, "no --features", "features: run `encode` first")
            self._refuse(self.slides_root is not None, "--slides-root", "features: give --features")
            self._refuse(bool(self.tiles), "a table [tiles]", "features, whose tiles are laid")
        if self.slide_label is not None and self.kind != BAGS:
            raise InputError(
                f"--slide-label is of bags, and {self.architecture} learns {self.kind}"
            )
        if self.n_folds is not None and self.n_folds < 2:
            raise InputError(
                f"--out-of-fold {self.n_folds} leaves nothing out; give 2 folds or more"
            )
        _ = self.settings  # refused here, before anything is opened
        for name in ("classes", "features"):
            if name in self.arguments:
                raise InputError(f"[model] {name} follows from the data; leave it out")

    def _refuse(self, wrong: bool, given: str, learns_from: str) -> None:
        if wrong:
            raise InputError(f"{given}, and {self.architecture} learns from {learns_from}")

    @property
    def kind(self) -> str:
        """What the architecture learns from."""
        if self.architecture not in NETWORKS:
            raise InputError(
                f"model {self.architecture!r} is unknown; take one of {', '.join(NETWORKS)}"
            )
        return NETWORKS[self.architecture]

    @property
    def settings(self) -> TrainingSettings:
        """Of the loop, with defaults for what the architecture learns from."""
        given = {**_DEFAULTS[self.kind], **self.training}
        given.setdefault("direction", DIRECTIONS.get(given.get("metric", ""), "max"))
        return TrainingSettings.from_dict(given)

    def learnable(self, release: TrainingRelease) -> Learnable:
        """The data, while the store is open."""
        if self.kind == MASKS:
            from models.tiling.settings import TileSettings
            from models.training.mask_learning import learn_masks

            return learn_masks(
                self.architecture,
                release,
                self.slides_root,
                TileSettings.from_dict({**_TILES_OF_MASKS, **self.tiles}),
                self.arguments,
                site=self.site,
                allow_missing=self.allow_missing,
            )
        from models.training.feature_learning import learn_bags, learn_tiles

        common = (self.architecture, release, Path(self.features or ""), self.arguments)
        if self.kind == TILES:
            return learn_tiles(*common, site=self.site, allow_missing=self.allow_missing)
        if release.task == "regions" and self.slide_label is None:
            raise InputError(
                f"release {release.name!r} is of regions, and {self.architecture} learns slides: say "
                "how a slide gets its label by --slide-label worst or largest"
            )
        return learn_bags(
            *common,
            site=self.site,
            allow_missing=self.allow_missing,
            slide_label=self.slide_label,
        )
