"""Prediction files: what a model says of a slide's tiles, in HDF5, with what it was made by.

Shapes: N tiles, K classes, F features of a tile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from annotation.paths import replacing
from models.extras import needs
from models.hdf5_files import OpenedHdf5

__all__ = ["FORMAT", "Kind", "SlidePrediction", "read_slide_prediction", "write_slide_prediction"]

FORMAT = "pathquorum-predictions/1"

Kind = Literal["bags", "tiles", "masks"]
"""What the model learnt from, see :data:`models.training.request.NETWORKS`."""

_MOST_CLASSES = 1_000
_MOST_FEATURES = 65_536
_MOST_SAMPLED = 256
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, eq=False)
class SlidePrediction:
    """What a model says of a slide, tile by tile.

    Attributes
    ----------
    slide, fingerprint, width_px, height_px, mpp
        The slide, as in :class:`models.features.FeaturesOrigin`.
    side_px
        Level-0 pixels that a tile covers.
    kind
        What the model learnt from.
    classes : length K
        In the order of the columns.
    weights_sha256
        Of each member of the ensemble; one where there is none.
    settings_sha256
        Of the run's settings.
    coordinates : float64, shape (N, 2)
        x and y of each tile's upper left corner, in level-0 pixels.
    probability, variance : float32, shape (N, K)
        Mean over the passes or members, and variance between them.
    entropy, mutual_information : float32, shape (N,)
        Of the mean, and what of it the passes disagree on; in nats.
    attention : float32, shape (N,)
        Each tile's share in the slide's score, adding up to 1; None but for bags.
    feature_mean : float32, shape (F,)
        Mean over the tiles; None where the model sees pixels.
    feature_sample : float32, shape (m, F)
        Of up to 256 tiles, drawn by the slide's fingerprint; None where the model sees pixels.
    """

    slide: str
    fingerprint: str
    width_px: int
    height_px: int
    mpp: float
    side_px: float
    kind: Kind
    classes: tuple[str, ...]
    weights_sha256: tuple[str, ...]
    settings_sha256: str
    coordinates: NDArray[np.float64]
    probability: NDArray[np.float32]
    variance: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None
    feature_mean: NDArray[np.float32] | None = None
    feature_sample: NDArray[np.float32] | None = None


_TEXTS = ("slide", "fingerprint", "kind", "settings_sha256")
_NUMBERS = ("width_px", "height_px", "mpp", "side_px")
_LISTS = ("classes", "weights_sha256")
_TABLES = ("probability", "variance")
_COLUMNS = ("entropy", "mutual_information")
_OPTIONAL = ("attention", "feature_mean", "feature_sample")


def write_slide_prediction(path: Path, prediction: SlidePrediction) -> None:
    """Write a prediction file; it appears whole, or not at all.

    The same prediction gives the same bytes.
    """
    h5py = needs("h5py", "models")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        for name in (*_TEXTS, *_NUMBERS):
            file.attrs[name] = getattr(prediction, name)
        for name in _LISTS:
            file.attrs[name] = msgspec.json.encode(getattr(prediction, name)).decode()
        file.create_dataset("coordinates", data=prediction.coordinates, fletcher32=True)
        for name in (*_TABLES, *_COLUMNS, *_OPTIONAL):
            values = getattr(prediction, name)
            if values is not None:
                file.create_dataset(name, data=np.asarray(values, np.float32), fletcher32=True)


def read_slide_prediction(path: Path) -> SlidePrediction:
    """Read a prediction file.

    Raises
    ------
    TileError
        It is absent, corrupt or none of ours; the message names it.
    """
    with _Opened(path) as opened:
        if opened.text("format") != FORMAT:
            opened.refuse(f"it is no file of the format {FORMAT}")
        facts: dict[str, Any] = {name: opened.text(name) for name in _TEXTS}
        facts |= {name: opened.list(name) for name in _LISTS}
        facts |= {name: int(opened.attributes[name]) for name in ("width_px", "height_px")}
        facts |= {name: float(opened.attributes[name]) for name in ("mpp", "side_px")}
        arrays = {"coordinates": opened.table("coordinates", (np.float64,), 2)[:]}
        for name in _TABLES:
            arrays[name] = opened.table(name, (np.float32,), _MOST_CLASSES)[:]
        for name in _COLUMNS:
            arrays[name] = opened.column(name, (np.float32,))[:]
        for name in ("attention", "feature_mean"):
            if opened.holds(name):
                arrays[name] = opened.column(name, (np.float32,))[:]
        if opened.holds("feature_sample"):
            arrays["feature_sample"] = opened.table(
                "feature_sample", (np.float32,), _MOST_FEATURES
            )[:]
        prediction = SlidePrediction(**facts, **arrays)
        _check(opened, prediction)
    return prediction


def _check(opened: _Opened, prediction: SlidePrediction) -> None:
    """Refuse what does not fit together."""
    if prediction.kind not in get_args(Kind):
        opened.refuse(f"no model is of the kind {prediction.kind!r}")
    sizes = (prediction.width_px, prediction.height_px, prediction.mpp, prediction.side_px)
    if not all(0 < size < np.inf for size in sizes):
        opened.refuse("its slide or its tiles have no size")
    hashes = (prediction.settings_sha256, *prediction.weights_sha256)
    if not prediction.weights_sha256 or not all(_SHA256.fullmatch(one) for one in hashes):
        opened.refuse("it doesn't say which weights and settings made it")
    tiles, classes = len(prediction.coordinates), len(prediction.classes)
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(_TABLES, (tiles, classes))
    expected |= dict.fromkeys((*_COLUMNS, "attention"), (tiles,))
    for name in ("coordinates", *_TABLES, *_COLUMNS, *_OPTIONAL):
        values = getattr(prediction, name)
        if values is None:
            continue
        if name in expected and values.shape != expected[name]:
            opened.refuse(f"its {name} are not those of {tiles} tiles and {classes} classes")
        if not np.isfinite(values).all():
            opened.refuse("it holds values that are not finite")
    mean, sample = prediction.feature_mean, prediction.feature_sample
    if (mean is None) != (sample is None) or (
        mean is not None
        and sample is not None
        and (sample.shape[1] != len(mean) or len(sample) > _MOST_SAMPLED)
    ):
        opened.refuse("its features don't fit together")


class _Opened(OpenedHdf5):
    """A prediction file while it is read."""

    kind = "prediction file"
    command = "pathquorum predict"

    def list(self, name: str) -> tuple[str, ...]:
        """An attribute that is a list of texts."""
        try:
            return msgspec.json.decode(self.text(name), type=tuple[str, ...])
        except msgspec.DecodeError:
            self.refuse(f"its {name} are no list of texts")
