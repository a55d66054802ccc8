"""What a model of features is judged on: a release's slides, tiles or objects, and their probabilities.

Shapes: n items, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.paths import file_name, inside
from models.datasets.bags import BagDataset, bag_dataset
from models.datasets.releases import TrainingRelease
from models.datasets.tiles import TileDataset, feature_objects, feature_tiles
from models.errors import ModelFileError
from models.evaluation.doubts import THE_MODEL, Doubt, Place, doubts_of
from models.evaluation.figures import scored
from models.evaluation.predicted import Predicted
from models.features import FeaturesOrigin, read_origin
from models.labels.slide_labels import SlideLabelRule
from models.mil.networks import BagClassifier
from models.mil.training import predict
from models.model_file import ModelDescription, TrainedModel
from models.targets import OPEN, Targets
from models.training.feature_learning import KeptBags
from models.training.learnable import TRAIN, VALIDATION
from models.training.out_of_fold import FINAL_MODEL, KeptPredictions

__all__ = ["JudgedItems", "judged_items"]

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
        What an item is: ``slide``, ``tile`` or ``object``.
    origin
        How the features came about.
    skipped
        Slides that were left out, with the reason.
    slide_label
        How slides got their labels from regions; None where they have labels of their own.
    """

    targets: Targets
    slide_of: Sequence[str]
    kind: str
    origin: FeaturesOrigin
    skipped: tuple[tuple[str, str], ...]
    slide_label: SlideLabelRule | None
    _data: BagDataset | TileDataset

    @property
    def slides(self) -> Collection[str]:
        """Those that have items."""
        return set(self.slide_of)

    def numbers_of(self, slides: Collection[str]) -> NDArray[np.int64]:
        """Numbers of the items on some slides."""
        return np.flatnonzero(np.isin(np.array(self.slide_of), sorted(slides)))

    def predict(
        self, model: TrainedModel, slides: Collection[str], *, details: bool = False
    ) -> Predicted:
        """Class probabilities of the items on some slides.

        Raises
        ------
        ModelFileError
            The model does not classify bags or tiles of features.
        """
        numbers = self.numbers_of(slides)
        return Predicted(
            self._probabilities(model, numbers), self.targets.subset(numbers), details=numbers
        )

    def doubts(self, found: Predicted, temperature: float, part: str) -> list[Doubt]:
        """Items whose class the model is confident to doubt."""
        return doubts_of(found.at(temperature), self.places(found.details), part=part)

    def doubts_of_kept(self, kept: KeptPredictions) -> tuple[list[Doubt], int]:
        """Doubted items of the training's own parts, and how many predictions have no item here.

        Of each part thresholds are its own.
        """
        number_of = {key: number for number, key in enumerate(self._keys())}
        keys = [
            _key(kept.slides[slide], *corner)
            for slide, corner in zip(kept.slide.tolist(), kept.corner_px.tolist(), strict=True)
        ]
        numbers = np.array([number_of.get(key, OPEN) for key in keys], dtype=np.int64)
        n_folds = int(kept.fold.max(initial=FINAL_MODEL)) + 1
        doubts: list[Doubt] = []
        for part, own in (
            (TRAIN, kept.fold != FINAL_MODEL),
            (VALIDATION, kept.fold == FINAL_MODEL),
        ):
            rows = np.flatnonzero(own & (numbers != OPEN))
            by = [
                THE_MODEL if fold == FINAL_MODEL else f"model without fold {fold + 1} of {n_folds}"
                for fold in kept.fold[rows].tolist()
            ]
            probabilities = kept.probabilities[rows].astype(np.float64)
            of = scored(probabilities, self.targets.subset(numbers[rows]))
            doubts += doubts_of(of, self.places(numbers[rows]), part=part, by=by)
        return doubts, int((numbers == OPEN).sum())

    def _keys(self) -> list[tuple[str, float, float]]:
        return [
            _key(place.slide, place.x_px, place.y_px)
            for place in self.places(np.arange(len(self.targets)))
        ]

    def places(self, items: NDArray[np.int64]) -> list[Place]:
        """Where items lie, in the order of the numbers."""
        if isinstance(self._data, BagDataset):
            return [Place(self.slide_of[number]) for number in items.tolist()]
        corners, sides_px = self._data.corners(items), self._data.sides_px(items)
        return [
            Place(self.slide_of[number], x_px, y_px, side_px)
            for number, (x_px, y_px), side_px in zip(
                items.tolist(), corners.tolist(), sides_px.tolist(), strict=True
            )
        ]

    def require_fit(self, described: ModelDescription, model: str) -> None:
        """Refuse a model that was made for other classes or other features."""
        if tuple(described.classes) != self.targets.classes:
            raise ModelFileError(
                f"model {model!r} tells the classes {', '.join(described.classes)} apart, and the "
                f"release {', '.join(self.targets.classes)}; train on a release of these classes",
                model=model,
            )
        wanted, origin = described.input, self.origin
        rule = None if self.slide_label is None else self.slide_label.to_dict()
        if wanted.get("slide_label") != rule:
            raise ModelFileError(
                f"model {model!r} learnt slides by another --slide-label than the model beside it; "
                "judge them apart",
                model=model,
            )
        for what, key, found in (
            ("another encoder", "encoder_sha256", origin.encoder_sha256),
            ("other settings of tiles", "tiling_sha256", origin.settings_sha256),
        ):
            if wanted.get(key) != found:
                raise ModelFileError(
                    f"model {model!r} takes features of {what} than those given; encode the slides "
                    "as for its training",
                    model=model,
                )

    def _probabilities(self, model: TrainedModel, items: NDArray[np.int64]) -> NDArray[np.float64]:
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


def judged_items(
    release: TrainingRelease,
    folder: Path,
    *,
    slide_label: SlideLabelRule | None,
    allow_missing: bool,
) -> JudgedItems:
    """The items of a release, with their features.

    Parameters
    ----------
    folder, allow_missing
        See :func:`models.datasets.feature_files.feature_files`.
    slide_label
        How the regions of a slide give it a label, for a model of bags that learnt it so.

    Raises
    ------
    TileError, RefusedError
        Features are missing, corrupt, of different settings or of another file.
    """
    if release.task == "slides" or slide_label is not None:
        bags = bag_dataset(release, folder, slide_label=slide_label, allow_missing=allow_missing)
        origin = bags.files.files[0].origin
        names = bags.targets.names
        return JudgedItems(
            bags.targets, names, "slide", origin, bags.files.skipped, slide_label, bags
        )
    made = feature_objects if release.task == "objects" else feature_tiles
    tiles = made(release, folder, allow_missing=allow_missing)
    origin = read_origin(inside(folder, file_name(tiles.slides[0].name, ".h5")))
    slide_of = [tiles.slides[number].name for number in tiles.slide.tolist()]
    kind = "object" if release.task == "objects" else "tile"
    return JudgedItems(tiles.targets, slide_of, kind, origin, tiles.skipped, None, tiles)


def _key(slide: str, x_px: float | None, y_px: float | None) -> tuple[str, float, float]:
    """By what an item is known again: its slide, and of a tile its corner."""
    if x_px is None or y_px is None or np.isnan(x_px):
        return slide, 0.0, 0.0
    return slide, x_px, y_px
