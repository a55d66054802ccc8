"""Slides as bags of features, with the label of the slide.

Shapes: N tiles of a bag, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from models.datasets.feature_files import FeatureFiles, feature_files
from models.datasets.releases import TrainingRelease, targets_of
from models.datasets.tile_targets import require_task
from models.features import read_features
from models.labels.coverage import distributions
from models.labels.items import OpenItems, item_labels
from models.labels.slide_labels import SlideLabeller, SlideLabelRule
from models.targets import OPEN, Targets

__all__ = ["Bag", "BagDataset", "bag_dataset"]


@dataclass(frozen=True, eq=False)
class Bag:
    """The tiles of one slide: ``features`` (N, D) as stored, ``coordinates`` (N, 2) in level-0 px."""

    index: int
    features: torch.Tensor
    coordinates: torch.Tensor


class BagDataset(Dataset[Bag]):
    """Bags of different lengths; each is read when it is asked for, and not kept.

    Attributes
    ----------
    targets
        Of the bags, in their order, by the slides' names.
    files
        Where the features come from, and which slides were left out.
    """

    def __init__(self, targets: Targets, files: FeatureFiles) -> None:
        self.targets, self.files = targets, files

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Bag:
        features = read_features(self.files.files[index].path)
        return Bag(
            index, torch.from_numpy(features.features), torch.from_numpy(features.coordinates)
        )

    @property
    def lengths(self) -> list[int]:
        """Tiles of each bag."""
        return [len(file.coordinates) for file in self.files.files]

    @property
    def fingerprints(self) -> list[str | None]:
        """The fingerprint of each bag's slide."""
        return [slide.fingerprint for slide in self.files.slides]


def bag_dataset(
    release: TrainingRelease,
    folder: Path,
    *,
    open_items: OpenItems = "masked",
    allow_missing: bool = False,
    slide_label: SlideLabelRule | None = None,
) -> BagDataset:
    """The slides of a release that labels slides, or whose regions give each a label, as bags.

    Parameters
    ----------
    folder, allow_missing
        See `feature_files`.
    open_items
        See `item_labels`: bags that bear no class weigh nothing, unless they are soft.
    slide_label
        How the regions of a slide give it a label; None where the release labels slides.

    Raises
    ------
    InputError
        The release is of another kind.
    """
    if slide_label is not None:
        require_task(release, "regions")
        return _from_regions(release, folder, slide_label, allow_missing=allow_missing)
    require_task(release, "slides")
    items = {slide.name: release.items(slide) for slide in release.slides}
    labelled = [slide for slide in release.slides if items[slide.name]]
    files = feature_files(labelled, folder, allow_missing=allow_missing)
    labels = item_labels(
        [items[slide.name][0] for slide in files.slides],
        release.classes,
        release.raters,
        open_items=open_items,
    )
    targets = targets_of(
        release,
        files.slides,
        np.arange(len(files.slides)),
        posterior=distributions(labels.posterior * labels.teaches[:, None]),
        hard=labels.hard,
        votes=labels.votes,
        weight=labels.teaches.astype(np.float32),
        decided=labels.decided,
        names=tuple(slide.name for slide in files.slides),
    )
    return BagDataset(targets, files)


def _from_regions(
    release: TrainingRelease, folder: Path, rule: SlideLabelRule, *, allow_missing: bool
) -> BagDataset:
    """Bags whose label comes from regions; one that what is open could change weighs nothing."""
    labeller = SlideLabeller(rule, release.classes, release.raters, release.ranks, release.negative)
    items = {slide.name: release.items(slide) for slide in release.slides}
    rated = [slide for slide in release.slides if items[slide.name]]
    files = feature_files(rated, folder, allow_missing=allow_missing)
    labels = [labeller.label(items[slide.name]) for slide in files.slides]
    hard = np.array([label.hard for label in labels], dtype=np.int64)
    known = hard != OPEN
    posterior = np.stack([label.posterior for label in labels]) * known[:, None]
    targets = targets_of(
        release,
        files.slides,
        np.arange(len(files.slides)),
        posterior=posterior.astype(np.float32),
        hard=hard,
        votes=np.stack([label.votes for label in labels]),
        weight=known.astype(np.float32),
        decided=np.array([label.decided for label in labels]),
        names=tuple(slide.name for slide in files.slides),
    )
    return BagDataset(targets, files)
