"""Labelled tiles of a training part, and which of them look most like others to an encoder.

Shapes: m examples, q tiles asked for, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.paths import file_name, inside
from models.datasets.bags import bag_dataset
from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.datasets.tiles import feature_tiles
from models.errors import TileError
from models.evaluation.doubts import Place
from models.features import read_coordinates, read_features
from models.model_file import ModelDescription
from models.targets import OPEN
from models.training.learnable import TRAIN

__all__ = ["Example", "LabelledExamples", "labelled_examples"]

MOST_EXAMPLES = 50_000
_TILES_OF_SLIDE = 200

_BY_REGION = "a tile of the training part, labelled by its own consensus"
_BY_SLIDE = "a tile of a slide of the training part; the label is the slide's"


@dataclass(frozen=True)
class Example:
    """A labelled tile, and how alike it is: the cosine between features, at most 1."""

    label: str
    place: Place
    slide: ReleasedSlide
    similarity: float


@dataclass(frozen=True, eq=False)
class LabelledExamples:
    """Labelled tiles with their features.

    Attributes
    ----------
    encoder_sha256
        Of the encoder that made the features.
    labelled_by
        What the labels are, in words.
    """

    encoder_sha256: str
    labelled_by: str
    _directions: NDArray[np.float32]
    _labels: list[str]
    _places: list[Place]
    _slides: dict[str, ReleasedSlide]

    def __len__(self) -> int:
        return len(self._labels)

    def nearest(
        self, features: NDArray[Any], *, number: int = 3, but: str | None = None
    ) -> list[list[Example]]:
        """The examples most alike to each of some features (q, F), the nearest first.

        Parameters
        ----------
        but
            A fingerprint: a slide is no example of itself.
        """
        alike = _directions(features) @ self._directions.T  # [q, m]
        own = [self._slides[place.slide].fingerprint == but for place in self._places]
        if but is not None:
            alike[:, np.array(own, dtype=bool)] = -np.inf
        order = np.argsort(-alike, axis=1, kind="stable")[:, :number]
        return [
            [
                Example(
                    self._labels[place],
                    self._places[place],
                    self._slides[self._places[place].slide],
                    float(row[place]),
                )
                for place in chosen.tolist()
                if np.isfinite(row[place])
            ]
            for row, chosen in zip(alike, order, strict=True)
        ]


def labelled_examples(
    release: TrainingRelease, folder: Path, described: ModelDescription, *, seed: int = 0
) -> LabelledExamples:
    """Tiles of the slides that a model was trained on; read while the release's session lasts.

    Of more than 50,000 tiles, or of a labelled slide's more than 200, some are drawn.

    Parameters
    ----------
    folder
        Of the feature files; slides without one are left out.
    described
        The model, whose own split counts.

    Raises
    ------
    InputError
        The release is of objects.
    TileError
        There are no such tiles, or they are of another encoder than the model's.
    """
    trained = set(described.split.get(TRAIN, []))
    rng = np.random.default_rng(seed)
    if release.task == "slides":
        found = _of_slides(release, folder, trained, rng)
    else:
        found = _of_regions(release, folder, trained, rng)
    if not len(found):
        raise TileError(
            f"release {release.name!r} has no labelled tile of a slide that the model was trained "
            f"on in {folder}; give the features that it was trained with",
            path=folder,
        )
    if found.encoder_sha256 != described.input.get("encoder_sha256"):
        raise TileError(
            f"the features in {folder} are of another encoder than the model's; give those that it "
            "was trained with",
            path=folder,
        )
    return found


def _of_regions(
    release: TrainingRelease, folder: Path, trained: set[str], rng: np.random.Generator
) -> LabelledExamples:
    tiles = feature_tiles(release, folder, allow_missing=True)
    mine = np.array([slide.name in trained for slide in tiles.slides])
    usable = np.flatnonzero((tiles.targets.hard != OPEN) & mine[tiles.slide])
    chosen = _some(usable, MOST_EXAMPLES, rng)
    places, labels = [], []
    sha256 = ""
    corners: dict[int, tuple[NDArray[np.float64], float]] = {}
    for number in chosen.tolist():
        on = int(tiles.slide[number])
        name = tiles.slides[on].name
        if on not in corners:
            origin, coordinates = read_coordinates(inside(folder, file_name(name, ".h5")))
            corners[on], sha256 = (coordinates, origin.side_px), origin.encoder_sha256
        coordinates, side_px = corners[on]
        x_px, y_px = coordinates[tiles.row[number]].tolist()
        places.append(Place(name, x_px, y_px, side_px))
        labels.append(release.classes[int(tiles.targets.hard[number])])
    features = tiles.load(chosen).numpy()
    slides = {slide.name: slide for slide in tiles.slides}
    return LabelledExamples(sha256, _BY_REGION, _directions(features), labels, places, slides)


def _of_slides(
    release: TrainingRelease, folder: Path, trained: set[str], rng: np.random.Generator
) -> LabelledExamples:
    bags = bag_dataset(release, folder, allow_missing=True)
    parts, places, labels = [], [], []
    sha256 = ""
    for file, hard in zip(bags.files.files, bags.targets.hard.tolist(), strict=True):
        if file.slide.name not in trained or hard == OPEN:
            continue
        features = read_features(file.path)
        chosen = _some(np.arange(len(features.features)), _TILES_OF_SLIDE, rng)
        parts.append(features.features[chosen])
        sha256 = file.origin.encoder_sha256
        for x_px, y_px in features.coordinates[chosen].tolist():
            places.append(Place(file.slide.name, x_px, y_px, file.origin.side_px))
            labels.append(release.classes[hard])
    features_of_all = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    slides = {slide.name: slide for slide in bags.files.slides}
    directions = _directions(features_of_all)
    return LabelledExamples(sha256, _BY_SLIDE, directions, labels, places, slides)


def _some(numbers: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if len(numbers) <= most:
        return numbers
    return np.sort(rng.choice(numbers, most, replace=False))


def _directions(features: NDArray[Any]) -> NDArray[np.float32]:
    """Features of length 1; those of nothing stay so."""
    wide = features.astype(np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0))
