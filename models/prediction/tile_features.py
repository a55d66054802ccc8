"""The features of a slide's tiles in batches: made now by an encoder, or read from `encode`'s file.

Shapes: n tiles of a batch, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError, RefusedError
from annotation.paths import file_name, inside
from models.encoders.encoder import Encoder
from models.encoding import Progress, TissueTiles
from models.errors import ModelFileError, TileError
from models.features import Features, read_features
from models.prediction.dropout import thinned
from models.prediction.settings import PredictionSettings
from models.prediction.slide_file import Kind
from models.reader import Reader
from models.reading.ahead import iterate
from models.stain.restaining import Restaining
from models.training.request import MASKS

__all__ = [
    "TileFeatures",
    "encoded_tiles",
    "kept_features",
    "kept_tiles",
    "require_features",
]


@dataclass(frozen=True, eq=False)
class TileFeatures:
    """Features of some tiles.

    Attributes
    ----------
    plain : shape (n, F)
    thinned
        From a seed to the features (n, F) by the encoder thinned; None where it has no dropout.
    """

    plain: NDArray[Any]
    thinned: Callable[[int], NDArray[Any]] | None = None

    def of_pass(self, seed: int | None) -> NDArray[Any]:
        """What a pass sees; ``seed`` is the pass's, None of one without dropout."""
        if seed is None or self.thinned is None:
            return self.plain
        return self.thinned(seed + 1)  # not the classifier's seed: what the two drop is drawn apart


def require_features(
    wanted: dict[str, Any], encoder: Encoder | None, features: Path | None, kind: Kind
) -> None:
    """Refuse what doesn't give the features that a model takes.

    Parameters
    ----------
    wanted
        The model's input.

    Raises
    ------
    InputError
        There are none where there must be, both ways at once, or any for a model of pixels.
    ModelFileError
        The encoder is not the one whose features were learnt.
    """
    if kind == MASKS:
        if encoder is not None or features is not None:
            raise InputError("the model learnt from pixels; leave --encoder and --features out")
        return
    if encoder is not None and features is not None:
        raise InputError("features are read or made; give --features or --encoder, not both")
    if features is not None:
        return
    if encoder is None:
        raise ModelFileError(
            f"the model takes features of encoder {wanted.get('encoder')!r}; give --encoder, and "
            "its weights as for `encode`, or --features that it wrote"
        )
    if encoder.sha256 != wanted.get("encoder_sha256"):
        raise ModelFileError(
            f"encoder {encoder.spec.name!r} is not the one whose features the model learnt, "
            f"{wanted.get('encoder')!r}: weights or settings differ; give that one"
        )
    if encoder.precision != wanted.get("precision"):
        raise ModelFileError(
            f"the model learnt features of precision {wanted.get('precision')}, and the encoder "
            f"computes in {encoder.precision}; pass --precision {wanted.get('precision')}"
        )


def encoded_tiles(
    reader: Reader,
    tissue: TissueTiles,
    encoder: Encoder,
    restained: Restaining | None,
    settings: PredictionSettings,
    *,
    whole_model: bool,
    progress: Progress | None,
) -> Iterator[TileFeatures]:
    """The tiles of a slide, read and encoded batch by batch.

    Parameters
    ----------
    restained
        What is done to the slide's colours; None leaves them as they are.
    whole_model
        Whether passes thin the encoder.
    """
    grid = tissue.grid
    waiting: list[NDArray[np.uint8]] = []
    for index, tile in iterate(
        reader,
        grid.x_px,
        grid.y_px,
        mpp=grid.settings.mpp,
        size_px=grid.settings.size_px,
        threads=settings.threads,
        ahead=2 * settings.batch,
    ):
        waiting.append(encoder.prepared(tile if restained is None else restained(tile)))
        if len(waiting) == settings.batch or index + 1 == len(grid):
            tiles = np.stack(waiting)
            waiting.clear()
            again = partial(_thinned, encoder, tiles) if whole_model else None
            yield TileFeatures(encoder.features(tiles), again)
            if progress is not None:
                progress(index + 1, len(grid))


def kept_features(folder: Path, slide: str, digest: str, wanted: dict[str, Any]) -> Features:
    """A slide's feature file, if it holds what a model takes.

    Parameters
    ----------
    digest
        The slide's fingerprint.
    wanted
        The model's input.

    Raises
    ------
    TileError
        The file is absent, corrupt, or of another encoder, precision or other tiles.
    RefusedError
        It was made from another image.
    """
    path = inside(folder, file_name(slide, ".h5"))
    found = read_features(path)
    origin = found.origin
    if origin.fingerprint != digest:
        raise RefusedError(
            f"feature file {path.name!r} was made from another file than slide {slide!r}: the "
            "fingerprints differ; encode the slide again",
            slide=slide,
            path=path,
        )
    for what, key, there in (
        ("encoder", "encoder_sha256", origin.encoder_sha256),
        ("precision", "precision", origin.precision),
        ("settings of tiles", "tiling_sha256", origin.settings_sha256),
    ):
        if there != wanted.get(key):
            raise TileError(
                f"feature file {path.name!r} is of another {what} than the model takes; encode the "
                "slide as for its training, or give --encoder",
                path=path,
            )
    return found


def kept_tiles(
    features: Features, settings: PredictionSettings, progress: Progress | None
) -> Iterator[TileFeatures]:
    """The tiles of a feature file, batch by batch."""
    rows = len(features.features)
    for start in range(0, rows, settings.batch):
        block = features.features[start : start + settings.batch]
        yield TileFeatures(block)
        if progress is not None:
            progress(start + len(block), rows)


def _thinned(encoder: Encoder, tiles: NDArray[np.uint8], seed: int) -> NDArray[Any]:
    with thinned(encoder.network, seed, shared="batch"):
        return encoder.features(tiles)
