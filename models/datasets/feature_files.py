"""The feature files of a release's slides: which there are, and whether they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.errors import RefusedError
from annotation.paths import file_name, inside
from models.datasets.releases import ReleasedSlide
from models.errors import TileError
from models.features import FeaturesOrigin, changed_setting, read_coordinates

__all__ = ["FeatureFile", "FeatureFiles", "feature_files"]

_NAMED = 5


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """The features of one slide, on disk.

    ``coordinates`` (N, 2) are the tiles' upper left corners in level-0 pixels.
    """

    slide: ReleasedSlide
    path: Path
    origin: FeaturesOrigin
    coordinates: NDArray[np.float64]


@dataclass(frozen=True)
class FeatureFiles:
    """The files that can be used, and why others can't: name and reason of each slide left out."""

    files: tuple[FeatureFile, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def slides(self) -> tuple[ReleasedSlide, ...]:
        """The slides that have features."""
        return tuple(file.slide for file in self.files)


def feature_files(
    slides: Sequence[ReleasedSlide], folder: Path, *, allow_missing: bool = False
) -> FeatureFiles:
    """Find the feature file of each slide, and hold all against the release and each other.

    Parameters
    ----------
    folder
        Holds a file for each slide, named after it.
    allow_missing
        Leave out slides whose file is absent or corrupt, instead of refusing.

    Raises
    ------
    TileError
        Files are absent or corrupt, all named; or not made by the same encoder and settings.
    RefusedError
        Features of another file than the slide that was released.
    """
    files: list[FeatureFile] = []
    skipped: list[tuple[str, str]] = []
    for slide in slides:
        path = inside(folder, file_name(slide.name, ".h5"))
        if not path.is_file():
            skipped.append((slide.name, f"there is no {path.name}"))
            continue
        try:
            origin, coordinates = read_coordinates(path)
        except TileError as error:
            if not allow_missing:
                raise
            skipped.append((slide.name, error.message))
            continue
        _require_of_slide(slide, origin, path)
        if files:
            _require_alike(files[0], origin, path)
        files.append(FeatureFile(slide, path, origin, coordinates))
    if skipped and not allow_missing:
        named = ", ".join(repr(name) for name, _ in skipped[:_NAMED])
        more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        raise TileError(
            f"{len(skipped)} of {len(slides)} slides have no features in {folder}: {named}{more}; "
            "run `pathquorum encode`, or leave them out with --allow-missing",
            slides=tuple(name for name, _ in skipped),
        )
    if not files:
        raise TileError(
            f"no slide of the release has features in {folder}; run `pathquorum encode`"
        )
    return FeatureFiles(tuple(files), tuple(skipped))


def _require_of_slide(slide: ReleasedSlide, origin: FeaturesOrigin, path: Path) -> None:
    if slide.fingerprint is not None and origin.fingerprint != slide.fingerprint:
        raise RefusedError(
            f"feature file {path.name!r} was made from another file than slide {slide.name!r} of "
            "the release: the fingerprints differ; encode the slide that was released",
            slide=slide.name,
            path=path,
        )


def _require_alike(first: FeatureFile, origin: FeaturesOrigin, path: Path) -> None:
    setting = changed_setting(first.origin.settings, origin.settings)
    for what, one, other in (
        ("encoder", first.origin.encoder_sha256, origin.encoder_sha256),
        (
            f"settings of the tiles ({setting})",
            first.origin.settings_sha256,
            origin.settings_sha256,
        ),
        ("precision", first.origin.precision, origin.precision),
    ):
        if one != other:
            raise TileError(
                f"feature files {first.path.name!r} and {path.name!r} differ in the {what}; encode "
                "all slides in one way",
                path=path,
            )
