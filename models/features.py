"""Feature files: what an encoder makes of a slide's tiles, in HDF5, with all that decided it.

Shapes: N tiles, D features.

A file holds the datasets ``features`` (N, D) and ``coordinates`` (N, 2), and says in its attributes
which slide, settings and encoder they come from, so that a change of any of them is seen. Chunks
bear checksums and are not compressed: gzip would make files of encoders' features a fifth to a
quarter smaller and takes ten times as long to read, which training does over and over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from annotation.paths import replacing
from models.errors import TileError
from models.extras import needs
from models.hdf5_files import OpenedHdf5
from models.tiling.settings import TileSettings

__all__ = [
    "FORMAT",
    "Features",
    "FeaturesOrigin",
    "around_objects",
    "read_coordinates",
    "read_features",
    "read_origin",
    "read_rows",
    "write_features",
]

FORMAT = "pathquorum-features/1"

_MOST_FEATURES = 65_536
_CHUNK_BYTES = 1 << 20
_AROUND, _OBJECTS = "around", "objects"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FeaturesOrigin:
    """What a file's features were made from, and how.

    Attributes
    ----------
    slide, fingerprint
        The slide's name, and the SHA-256 over its files.
    width_px, height_px, mpp
        The slide's size and microns per pixel at level 0.
    side_px
        Level-0 pixels that a tile covers.
    settings
        Of the tiles, as `TileSettings.to_dict` gives them, and what was done to their colours.
    encoder, encoder_sha256
        The encoder's name, and the hash of its weights and of what it does to a tile.
    weights
        Where the weights come from: `folder`, `hub`, `self-supervised`, `fine-tuned` or `random`.
    precision
        What was computed in: `float32`, `float16` or `bfloat16`.
    missing
        How many tiles could not be read and were left out.
    """

    slide: str
    fingerprint: str
    width_px: int
    height_px: int
    mpp: float
    side_px: float
    settings: Mapping[str, Any]
    encoder: str
    encoder_sha256: str
    weights: str
    precision: str
    missing: int = 0

    @property
    def of_objects(self) -> bool:
        """Whether each tile stands around an object, instead of on a grid."""
        return self.settings.get(_AROUND) == _OBJECTS

    @property
    def settings_sha256(self) -> str:
        """SHA-256 of the settings, in hexadecimal."""
        return hashlib.sha256(_settings_text(self.settings).encode()).hexdigest()

    def differs_from(self, other: FeaturesOrigin) -> str | None:
        """The first thing in which two files' origins differ, in a few words; None if in nothing."""
        if self.fingerprint != other.fingerprint:
            return "the slide's file"
        if changed := _changed(self.settings, other.settings):
            return f"the setting {changed}"
        if self.encoder_sha256 != other.encoder_sha256:
            return "the encoder"
        for name, what in (
            ("precision", "the precision"),
            ("mpp", "the slide's microns per pixel"),
            ("slide", "the slide's name"),
            ("width_px", "the slide's size"),
            ("height_px", "the slide's size"),
            ("side_px", "the tiles' size"),
            ("encoder", "the encoder's name"),
            ("weights", "where the weights come from"),
        ):
            if getattr(self, name) != getattr(other, name):
                return what
        return None


@dataclass(frozen=True)
class Features:
    """A slide's features.

    Attributes
    ----------
    coordinates : float64, shape (N, 2)
        x and y of each tile's upper left corner, in level-0 pixels.
    features : float32 or float16, shape (N, D)
        One row a tile.
    """

    origin: FeaturesOrigin
    coordinates: NDArray[np.float64]
    features: NDArray[np.float32] | NDArray[np.float16]


def around_objects(settings: TileSettings) -> dict[str, Any]:
    """How the settings of tiles that stand around objects are written down."""
    return {**settings.to_dict(), _AROUND: _OBJECTS}


def write_features(
    path: Path,
    origin: FeaturesOrigin,
    coordinates: NDArray[np.float64],
    blocks: Iterable[NDArray[np.float32] | NDArray[np.float16]],
) -> None:
    """Write a feature file; it appears whole, or not at all.

    The same arguments give the same bytes.

    Parameters
    ----------
    coordinates : shape (N, 2)
        In level-0 pixels.
    blocks
        Features of shape (n, D), written as they come, that add up to N rows.

    Raises
    ------
    TileError
        The features are not finite, or their rows are not as many as the coordinates.
    """
    h5py = needs("h5py", "models")
    rows = len(coordinates)
    blocks = iter(blocks)
    first = next(blocks, None)
    if first is None or rows == 0:
        raise TileError(f"slide {origin.slide!r} has no tiles to write features of")
    depth = first.shape[1]
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        for name, value in {**vars(origin), "settings_sha256": origin.settings_sha256}.items():
            file.attrs[name] = _settings_text(value) if name == "settings" else value
        file.create_dataset(
            "coordinates", data=np.asarray(coordinates, np.float64), fletcher32=True
        )
        features = file.create_dataset(
            "features",
            shape=(rows, depth),
            dtype=first.dtype,
            chunks=(_rows_of_chunk(rows, depth * first.dtype.itemsize), depth),
            fletcher32=True,
        )
        done = 0
        while first is not None:
            if not np.isfinite(first).all():
                raise TileError(
                    f"slide {origin.slide!r}: encoder {origin.encoder!r} gave features that are not "
                    f"finite near tile {done}; try --precision float32",
                    slide=origin.slide,
                )
            if done + len(first) > rows:
                raise TileError(f"slide {origin.slide!r}: more features than tiles")
            features[done : done + len(first)] = first
            done += len(first)
            first = next(blocks, None)
        if done < rows:
            raise TileError(f"slide {origin.slide!r}: {done} rows of features for {rows} tiles")


def read_features(path: Path) -> Features:
    """Read a feature file.

    Raises
    ------
    TileError
        It is absent, corrupt or none of ours; the message names it.
    """
    with _Opened(path) as opened:
        origin = opened.origin()
        coordinates = opened.table("coordinates", (np.float64,), 2)
        features = opened.table("features", (np.float32, np.float16), _MOST_FEATURES)
        if len(features) != len(coordinates):
            opened.refuse(f"it has {len(features)} rows of features for {len(coordinates)} tiles")
        placed, values = coordinates[:], features[:]
        if not np.isfinite(placed).all() or not np.isfinite(values).all():
            opened.refuse("it holds values that are not finite")
    return Features(origin, placed, values)


def read_origin(path: Path) -> FeaturesOrigin:
    """Read what a file's features were made from, and none of the features.

    Raises
    ------
    TileError
        It is absent, corrupt or none of ours; the message names it.
    """
    with _Opened(path) as opened:
        return opened.origin()


def read_coordinates(path: Path) -> tuple[FeaturesOrigin, NDArray[np.float64]]:
    """Read what a file's features were made from and where the tiles lie, and none of the features.

    Raises
    ------
    TileError
        It is absent, corrupt or none of ours; the message names it.
    """
    with _Opened(path) as opened:
        origin = opened.origin()
        placed = opened.table("coordinates", (np.float64,), 2)[:]
        if not np.isfinite(placed).all():
            opened.refuse("it holds values that are not finite")
    return origin, placed


def read_rows(path: Path, rows: NDArray[np.int64]) -> NDArray[np.float32] | NDArray[np.float16]:
    """Read the features of some tiles, (len(rows), D), in the order of the rows.

    Raises
    ------
    TileError
        The file is absent, corrupt or none of ours, or has fewer rows; the message names it.
    """
    ascending, place = np.unique(rows, return_inverse=True)
    with _Opened(path) as opened:
        features = opened.table("features", (np.float32, np.float16), _MOST_FEATURES)
        if len(rows) and not 0 <= ascending[0] <= ascending[-1] < len(features):
            opened.refuse(f"it has {len(features)} rows, and row {ascending[-1]} is asked for")
        values = features[ascending]
        if not np.isfinite(values).all():
            opened.refuse("it holds values that are not finite")
    found: NDArray[np.float32] | NDArray[np.float16] = values[place]
    return found


def _settings_text(settings: Mapping[str, Any]) -> str:
    """The settings in the one form that is hashed, which `TileSettings.sha256` hashes too."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> str | None:
    """The dotted name of the first setting that differs."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := _changed(old, new, f"{prefix}{name}."):
                return inner
        elif old != new:
            return prefix + name
    return None


def _rows_of_chunk(rows: int, row_bytes: int) -> int:
    return max(1, min(rows, _CHUNK_BYTES // row_bytes))


class _Opened(OpenedHdf5):
    """A feature file while it is read."""

    kind = "feature file"
    command = "pathquorum encode"

    def origin(self) -> FeaturesOrigin:
        if self.text("format") != FORMAT:
            self.refuse(f"it is no file of the format {FORMAT}")
        width_px, height_px = (int(self.attributes[name]) for name in ("width_px", "height_px"))
        mpp, side_px = (float(self.attributes[name]) for name in ("mpp", "side_px"))
        if not (width_px > 0 < height_px and 0 < mpp < np.inf and 0 < side_px < np.inf):
            self.refuse("its slide or its tiles have no size")
        if not _SHA256.fullmatch(self.text("encoder_sha256")):
            self.refuse("its encoder_sha256 is no SHA-256")
        try:
            settings = msgspec.json.decode(self.text("settings"), type=dict[str, Any])
        except msgspec.DecodeError:
            self.refuse("its settings are no JSON object")
        origin = FeaturesOrigin(
            slide=self.text("slide"),
            fingerprint=self.text("fingerprint"),
            width_px=width_px,
            height_px=height_px,
            mpp=mpp,
            side_px=side_px,
            settings=settings,
            encoder=self.text("encoder"),
            encoder_sha256=self.text("encoder_sha256"),
            weights=self.text("weights"),
            precision=self.text("precision"),
            missing=int(self.attributes["missing"]),
        )
        if origin.settings_sha256 != self.text("settings_sha256"):
            self.refuse("its settings are not those that their hash was made of")
        return origin
