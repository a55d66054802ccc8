"""Tiles of one's own slides to train a small encoder on, and the folder in which it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotation.errors import PathquorumError
from models.encoders.built_in import SELF_SUPERVISED
from models.encoders.encoder import (
    SELF_TRAINED,
    chosen_device,
    made_by,
    save_encoder,
    spec_beside,
)
from models.encoders.self_supervised import train_encoder
from models.encoding import SlideImage, open_image, tiles_of
from models.reading.ahead import iterate
from models.stain.restaining import StainNormalisation
from models.tiling.settings import TileSettings
from models.training.loop import Progress

__all__ = ["own_encoder", "sample_tiles"]

_MOST_TILES = 20_000


def own_encoder(
    folder: Path,
    slides: Sequence[SlideImage],
    settings: TileSettings,
    stain: StainNormalisation | None = None,
    *,
    seed: int,
    device: str,
    threads: int,
    told: Callable[[str], None],
    progress: Progress | None = None,
) -> Path:
    """Train an encoder on slides and keep it in a folder, unless it is there for such tiles already.

    Parameters
    ----------
    slides
        Of a release those of its training part, so that the others stay unseen.
    stain
        What is done to the tiles' colours.
    told
        Told what is done and why.

    Raises
    ------
    TrainingError
        Too few tiles, or the encoder has collapsed.
    """
    spec = replace(SELF_SUPERVISED, input_px=settings.size_px, mpp=settings.mpp)
    there = spec_beside(folder) if folder.is_dir() else None
    wanted = None if stain is None else stain.to_dict()
    if there == spec and made_by(folder).get("stain") == wanted:
        told(f"The encoder in {folder} is taken as it is; remove it to train another.")
        return folder
    if there is not None:
        told(f"The encoder in {folder} is of other tiles; it is trained again.")
    tiles = sample_tiles(slides, settings, stain, seed=seed, threads=threads, told=told)
    told(f"Training a small encoder on {len(tiles):,} tiles of {len(slides)} slides.")
    network, trained = train_encoder(
        tiles, spec, seed=seed, device=chosen_device(device), progress=progress
    )
    facts = {
        **trained,
        "settings_sha256": settings.sha256,
        "stain": wanted,
        "slides": [s.name for s in slides],
    }
    save_encoder(folder, spec, network, weights=SELF_TRAINED, made_by=facts)
    return folder


def sample_tiles(
    slides: Sequence[SlideImage],
    settings: TileSettings,
    stain: StainNormalisation | None = None,
    *,
    seed: int,
    threads: int,
    told: Callable[[str], None],
    most: int = _MOST_TILES,
) -> NDArray[np.uint8]:
    """Read tiles of all slides, of each about as many, in memory; shape (n_tiles, S, S, 3).

    A slide that can't be read is told and left out; encoding names it again.
    """
    of_slide = max(1, most // max(1, len(slides)))
    taken: list[NDArray[np.uint8]] = []
    for number, slide in enumerate(slides):
        rng = np.random.default_rng([seed, number])
        try:
            with open_image(slide) as reader:
                grid = tiles_of(slide.name, reader, settings, threads=threads).grid
                chosen = np.sort(rng.permutation(len(grid))[:of_slide])
                restained = None if stain is None else stain.of_slide(reader, grid)
                taken += [
                    tile if restained is None else restained(tile)
                    for _, tile in iterate(
                        reader,
                        grid.x_px[chosen],
                        grid.y_px[chosen],
                        mpp=settings.mpp,
                        size_px=settings.size_px,
                        threads=threads,
                    )
                ]
        except PathquorumError as error:
            told(f"Not trained on slide {slide.name!r}: {error}")
    size = settings.size_px
    return np.stack(taken) if taken else np.empty((0, size, size, 3), np.uint8)
