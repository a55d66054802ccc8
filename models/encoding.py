"""A slide into a feature file: tissue, tiles, features; kept where nothing that decides it changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import SlideError
from annotation.paths import file_name, inside
from annotation.slide_images import image_of, unchanged_image
from annotation.slides import fingerprint
from models.encoders.encoder import Encoder
from models.encoding_settings import encoding_settings
from models.errors import TileError
from models.features import FeaturesOrigin, around_objects, read_features, write_features
from models.reader import Reader, open_reader
from models.reading.ahead import iterate
from models.reading.plan import plan_reading
from models.slide_image import SlideImage
from models.stain.restaining import Restaining, StainNormalisation
from models.tiling.grid import TileGrid, lay_around, lay_grid
from models.tiling.mask import TissueMask
from models.tiling.picture import SlidePicture
from models.tiling.preview import write_preview
from models.tiling.settings import TileSettings
from models.tiling.tissue import find_tissue

__all__ = [
    "EncodedSlide",
    "Encoding",
    "Progress",
    "SlideImage",
    "TissueTiles",
    "encode_slide",
    "open_image",
    "tiles_of",
]

Progress = Callable[[int, int], None]
"""Told how many tiles of a slide are done, and how many there are."""


@dataclass(frozen=True, eq=False)
class TissueTiles:
    """The tiles of a slide's tissue, and the picture that the tissue was found on."""

    grid: TileGrid
    mask: TissueMask
    picture: SlidePicture


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How slides are encoded.

    Attributes
    ----------
    stain
        What is done to the colours of tiles; None leaves them as they are.
    to, preview
        Folders for feature files, and for pictures of tissue and tiles where they are wanted.
    batch
        Tiles that go through the network at a time.
    threads
        How many read tiles.
    allow_missing
        Leave out tiles that can't be read, instead of the slide.
    """

    tiles: TileSettings
    to: Path
    stain: StainNormalisation | None = None
    preview: Path | None = None
    batch: int = 64
    threads: int = 2
    allow_missing: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a slide's features beside the encoder, as it stands in their files."""
        return encoding_settings(self.tiles, self.stain)


@dataclass(frozen=True)
class EncodedSlide:
    """What became of a slide.

    Attributes
    ----------
    state
        `encoded`; `kept`, what was there; or `redone`, for the `reason`.
    missing
        Tiles that could not be read and were left out.
    """

    slide: str
    file: Path
    state: Literal["encoded", "kept", "redone"]
    tiles: int
    missing: int
    elapsed_s: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the command's document."""
        return {**vars(self), "file": str(self.file), "elapsed_s": round(self.elapsed_s, 3)}


def encode_slide(
    slide: SlideImage, encoder: Encoder, encoding: Encoding, progress: Progress | None = None
) -> EncodedSlide:
    """Write a slide's feature file, unless the one that is there is what would be written.

    Raises
    ------
    SlideError, RefusedError
        The slide has no image, or not the one that was added.
    TileError
        It has no tissue, or tiles that can't be read.
    StainError
        Its colours shall be changed, and can't be estimated.
    """
    begin_s = time.monotonic()
    path = inside(encoding.to, file_name(slide.name, ".h5"))
    with open_image(slide, verify=not path.is_file()) as reader:
        origin = _origin(slide, reader, encoder, encoding)
        around = None
        if slide.centres is not None:
            around = replace(
                lay_around(reader.slide, encoding.tiles, slide.centres), slide=slide.name
            )
        found, reason = _present(path, origin, around, allow_missing=encoding.allow_missing)
        if found is not None:
            elapsed_s = time.monotonic() - begin_s
            tiles, missing = found
            return EncodedSlide(slide.name, path, "kept", tiles, missing, elapsed_s)
        if reason:
            unchanged_image(slide)  # what is there was made before; the image may have changed
        unreadable: list[int] = []
        grid = (
            around
            or tiles_of(
                slide.name,
                reader,
                encoding.tiles,
                threads=encoding.threads,
                preview=encoding.preview,
                allow_missing=encoding.allow_missing,
            ).grid
        )
        restained = None
        if encoding.stain is not None:
            restained = encoding.stain.of_slide(reader, grid, allow_missing=encoding.allow_missing)
            origin = replace(origin, stain=restained.found.to_dict())
        blocks = _features(reader, grid, encoder, encoding, restained, unreadable, progress)
        coordinates = np.column_stack([grid.x_px, grid.y_px])
        if encoding.allow_missing:
            # Which tiles there are is known when all of them have been read.
            blocks = iter(list(blocks))
            coordinates = np.delete(coordinates, unreadable, axis=0)
            origin = replace(origin, missing=len(unreadable))
        write_features(path, origin, coordinates, blocks)
    return EncodedSlide(
        slide.name,
        path,
        "redone" if reason else "encoded",
        len(coordinates),
        len(unreadable),
        time.monotonic() - begin_s,
        reason,
    )


def open_image(slide: SlideImage, *, verify: bool = True) -> Reader:
    """Open a slide's image.

    Parameters
    ----------
    verify
        Hold it against the fingerprint that the store has of it.
    """
    path = unchanged_image(slide) if verify else image_of(slide)
    try:
        return open_reader(path, mpp=slide.mpp)
    except SlideError as error:
        # Here --mpp is what tiles shall have.
        raise SlideError(str(error).replace("--mpp", "--slide-mpp"), path=path) from None


def tiles_of(
    name: str,
    reader: Reader,
    settings: TileSettings,
    *,
    threads: int,
    preview: Path | None = None,
    allow_missing: bool = False,
) -> TissueTiles:
    """Find a slide's tissue and lay tiles over it.

    Raises
    ------
    TileError
        No tile holds tissue, or a part of the slide can't be read.
    """
    mask, picture = find_tissue(
        reader,
        settings.tissue,
        threads=threads,
        missing=(lambda _: None) if allow_missing else None,
    )
    grid = replace(lay_grid(reader.slide, settings, mask), slide=name)
    if preview is not None:
        write_preview(preview, picture, mask, grid)
    if not len(grid):
        raise TileError(
            f"slide {name!r} has no tile with {settings.tissue.min_share:.0%} of tissue among "
            f"{grid.n_candidates:,}; look at it with --preview, or change what counts as tissue with "
            "--tissue",
            slide=name,
        )
    return TissueTiles(grid, mask, picture)


def _origin(
    slide: SlideImage, reader: Reader, encoder: Encoder, encoding: Encoding
) -> FeaturesOrigin:
    record, settings = reader.slide, encoding.tiles
    return FeaturesOrigin(
        slide=slide.name,
        fingerprint=slide.fingerprint or fingerprint(record.path),
        width_px=record.width_px,
        height_px=record.height_px,
        mpp=record.mpp,
        side_px=plan_reading(record, mpp=settings.mpp, size_px=settings.size_px).side_px,
        settings=(
            encoding.settings if slide.centres is None else around_objects(encoding.settings)
        ),
        encoder=encoder.spec.name,
        encoder_sha256=encoder.sha256,
        weights=encoder.weights,
        precision=encoder.precision,
    )


def _present(
    path: Path, origin: FeaturesOrigin, around: TileGrid | None, *, allow_missing: bool
) -> tuple[tuple[int, int] | None, str]:
    """Tiles and missing tiles of a file that can be kept; else why what is there can't be."""
    if not path.is_file():
        return None, ""
    try:
        there = read_features(path)
    except TileError:
        return None, "the file is damaged"
    changed = there.origin.differs_from(origin)
    if changed is not None:
        return None, f"{changed} changed"
    if around is not None:
        wanted = np.column_stack([around.x_px, around.y_px])
        if not np.array_equal(there.coordinates, wanted):
            return None, "the objects changed"
    if there.origin.missing and not allow_missing:
        return None, f"{there.origin.missing} tiles were left out"
    return (len(there.features), there.origin.missing), ""


def _features(
    reader: Reader,
    grid: TileGrid,
    encoder: Encoder,
    encoding: Encoding,
    restained: Restaining | None,
    unreadable: list[int],
    progress: Progress | None,
) -> Iterator[NDArray[np.float32] | NDArray[np.float16]]:
    """Features batch by batch; the numbers of tiles that can't be read are put into a list."""

    def missing(index: int, _: TileError) -> None:
        unreadable.append(index)

    waiting: list[NDArray[np.uint8]] = []
    for index, tile in iterate(
        reader,
        grid.x_px,
        grid.y_px,
        mpp=grid.settings.mpp,
        size_px=grid.settings.size_px,
        threads=encoding.threads,
        ahead=2 * encoding.batch,
        missing=missing if encoding.allow_missing else None,
    ):
        waiting.append(encoder.prepared(tile if restained is None else restained(tile)))
        if len(waiting) == encoding.batch:
            yield encoder.features(np.stack(waiting))
            waiting.clear()
            if progress is not None:
                progress(index + 1, len(grid))
    if waiting:
        yield encoder.features(np.stack(waiting))
