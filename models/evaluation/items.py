"""What a model of features is judged on: a release's slides or tiles, and their probabilities.

Shapes: n items, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from annotation.paths import file_name, inside
from models.datasets.bags import BagDataset, bag_dataset
from models.datasets.releases import TrainingRelease
from models.datasets.tiles import TileDataset, feature_tiles
from models.errors import ModelFileError, TileError
from models.features import FeaturesOrigin, changed_setting, read_coordinates, read_origin
from models.mil.networks import BagClassifier
from models.mil.training import predict
from models.model_file import ModelDescription, TrainedModel
from models.targets import Targets
from models.training.feature_learning import KeptBags

__all__ = ["JudgedItems", "Place", "judged_items", "require_fit", "require_same_items"]

_TILES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class JudgedItems:
    """The items of a release that have features.

    Attributes
    ----------
    targets
        In the parts of the release's split.
    slide_of : length n
        The slide that each item lies on.
    kind
        What an item is: ``slide`` or ``tile``.
    origin
        How the features came about.
    skipped
        Slides that were left out, with the reason.
    """

    targets: Targets
    slide_of: Sequence[str]
    kind: str
    origin: FeaturesOrigin
    skipped: tuple[tuple[str, str], ...]
    _folder: Path
    _data: BagDataset | TileDataset

    def predict(self, model: TrainedModel, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Class probabilities of items at temperature 1, (n, K).

        Raises
        ------
        ModelFileError
            The model does not classify bags or tiles of features.
        """
        network = model.network
        if not isinstance(network, BagClassifier):
            raise ModelFileError(
                f"a model of architecture {model.description.architecture!r} does not classify "
                "features; evaluate one that `train --features` made"
            )
        if not len(items):
            return np.zeros((0, len(self.targets.classes)))
        if isinstance(self._data, BagDataset):
            return predict(network, KeptBags(self._data), items, names=self.targets.names)
        found = []
        for start in range(0, len(items), _TILES_AT_ONCE):
            block = self._data.load(items[start : start + _TILES_AT_ONCE]).numpy()
            # A tile is a bag of one: [n, F] -> [n, 1, F]
            found.append(predict(network, block[:, None], np.arange(len(block)), batch=len(block)))
        return np.concatenate(found)

    def places(self, items: NDArray[np.int64]) -> list[Place]:
        """Where items lie, in the order of the numbers."""
        if isinstance(self._data, BagDataset):
            return [Place(self.slide_of[number]) for number in items.tolist()]
        corners: dict[str, tuple[FeaturesOrigin, NDArray[np.float64]]] = {}
        found = []
        for number in items.tolist():
            slide = self.slide_of[number]
            if slide not in corners:
                corners[slide] = read_coordinates(inside(self._folder, file_name(slide, ".h5")))
            origin, coordinates = corners[slide]
            x_px, y_px = coordinates[self._data.row[number]].tolist()
            found.append(Place(slide, x_px, y_px, origin.side_px))
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item lies: its slide, and of a tile the upper left corner and side in level-0 px."""

    slide: str
    x_px: float | None = None
    y_px: float | None = None
    side_px: float | None = None


def judged_items(release: TrainingRelease, folder: Path, *, allow_missing: bool) -> JudgedItems:
    """The items of a release of slides or regions, with their features.

    Parameters
    ----------
    folder, allow_missing
        See :func:`models.datasets.feature_files.feature_files`.

    Raises
    ------
    InputError
        The release is of objects.
    TileError, RefusedError
        Features are missing, corrupt, of different settings or of another file.
    """
    if release.task == "slides":
        bags = bag_dataset(release, folder, allow_missing=allow_missing)
        origin = bags.files.files[0].origin
        names = bags.targets.names
        return JudgedItems(bags.targets, names, "slide", origin, bags.files.skipped, folder, bags)
    if release.task == "regions":
        tiles = feature_tiles(release, folder, allow_missing=allow_missing)
        origin = read_origin(inside(folder, file_name(tiles.slides[0].name, ".h5")))
        slide_of = [tiles.slides[number].name for number in tiles.slide.tolist()]
        return JudgedItems(tiles.targets, slide_of, "tile", origin, tiles.skipped, folder, tiles)
    raise InputError(
        f"release {release.name!r} is of {release.task}, and features are of slides or tiles; "
        "evaluate on a release of slides or regions",
        release=release.name,
    )


def require_same_items(ours: JudgedItems, theirs: JudgedItems, folder: Path) -> None:
    """Refuse features of other slides or tiles, of which no item could be paired.

    Raises
    ------
    TileError
        With their folder.
    """
    everything = np.arange(len(ours.slide_of))
    if list(ours.slide_of) != list(theirs.slide_of) or (
        ours.places(everything) != theirs.places(everything)
    ):
        raise TileError(
            f"the features in {folder} are of other {ours.kind}s than those the model is judged on; "
            "encode the same slides with the same tiles",
            path=folder,
        )


def require_fit(described: ModelDescription, items: JudgedItems, model: str) -> None:
    """Refuse a model that was made for other classes or other features.

    Raises
    ------
    ModelFileError
        Saying which.
    """
    if tuple(described.classes) != items.targets.classes:
        raise ModelFileError(
            f"model {model!r} tells the classes {', '.join(described.classes)} apart, and the "
            f"release {', '.join(items.targets.classes)}; train on a release of these classes",
            model=model,
        )
    wanted, origin = described.input, items.origin
    setting = changed_setting(wanted.get("tiling", {}), origin.settings)
    for what, key, found in (
        ("another encoder", "encoder_sha256", origin.encoder_sha256),
        (f"other settings of tiles ({setting})", "tiling_sha256", origin.settings_sha256),
    ):
        if wanted.get(key) != found:
            raise ModelFileError(
                f"model {model!r} takes features of {what} than those given; encode the slides "
                "as for its training",
                model=model,
            )
