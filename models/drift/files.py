"""The files of the slides compared, read one after the other: features, and what was overturned.

Shapes: F features, m sampled tiles of a slide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.paths import file_name, inside
from models.drift.people import Adjudicated, overturned_share
from models.drift.selection import ComparedSlide
from models.errors import TileError
from models.prediction.slide_file import SlidePrediction, read_slide_prediction

__all__ = ["FromFiles", "read_files", "slide_file"]

SLIDES = "slides"


@dataclass(frozen=True, eq=False)
class FromFiles:
    """What the files hold of each slide.

    Attributes
    ----------
    means : list of shape (F,)
        Of each slide, None where the model sees pixels.
    samples : list of shape (m, F)
        A few tiles of each slide.
    overturned : shape (n_slides,)
        See :class:`models.drift.people.PeopleOfSlides`.
    """

    means: list[NDArray[np.float32] | None]
    samples: list[NDArray[np.float32] | None]
    overturned: NDArray[np.float64]


def read_files(
    slides: Sequence[ComparedSlide], places: Mapping[int, Sequence[Adjudicated]], most_tiles: int
) -> FromFiles:
    """Read each slide's file once; what is kept of it is small.

    Parameters
    ----------
    places
        What adjudicators decided, by slide.
    most_tiles
        Tiles that are kept of a slide, the first of the sample, which was drawn at random.

    Raises
    ------
    TileError
        A file is absent, damaged or not the one on record; the message names it.
    """
    found = FromFiles([], [], np.full(len(slides), np.nan))
    for number, one in enumerate(slides):
        prediction = slide_file(one)
        sample = prediction.feature_sample
        found.means.append(prediction.feature_mean)
        found.samples.append(None if sample is None else sample[:most_tiles].copy())
        found.overturned[number] = overturned_share(
            places.get(one.slide.id, ()), one.result, prediction
        )
    return found


def slide_file(one: ComparedSlide) -> SlidePrediction:
    """The file of a slide, which must be the one on record.

    Raises
    ------
    TileError
        It is not, or can't be read.
    """
    path = inside(Path(one.run.folder) / SLIDES, file_name(one.slide.name, ".h5"))
    if path.is_file():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != one.predicted.output_sha256:
            raise TileError(
                f"prediction file {str(path)!r} is not the one on record for slide "
                f"{one.slide.name!r} of run {one.run.name!r}; bring it back, or predict into a new run",
                path=path,
            )
    return read_slide_prediction(path)
