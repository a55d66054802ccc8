"""Slides in two stains for the items of `region_items`: each class has its own share of either."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from annotation.slides import fingerprint
from annotation.store import Store
from annotation.tables import Slide
from models.stain.density import intensities
from tests.models.slides import write_jpeg_tiff
from tests.models.stain.conftest import VECTORS

__all__ = ["give_stained_images", "stained_pixels"]

_BLOCK_PX = 4


@cache
def stained_pixels(seed: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Eosin where it is benign, haematoxylin where it is tumour, either elsewhere; glass at the right."""
    rng = np.random.default_rng(seed)
    height, width = height_px // _BLOCK_PX, width_px // _BLOCK_PX
    y, x = np.mgrid[:height, :width] * _BLOCK_PX
    benign, tumour = (x < 300) & (y < 400), (x >= 300) & (x < 600) & (y < 400)
    amount = np.full((height, width, 2), 0.7)
    amount[benign] = 0.25, 1.4
    amount[tumour] = 1.6, 0.4
    amount *= rng.gamma(12.0, 1 / 12, amount.shape)
    amount[x >= 900] = 0
    pixels = intensities(amount @ VECTORS.T)
    return pixels.repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)


def give_stained_images(store: Store, folder: Path) -> dict[str, Path]:
    """An image for each slide of a store that has none, by the slide's name."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    with store.writing() as session:
        for slide in session.scalars(select(Slide).where(Slide.path.is_(None)).order_by(Slide.id)):
            pixels = stained_pixels(slide.id, slide.width_px, slide.height_px)
            path = write_jpeg_tiff(folder / f"{slide.id}.tiff", pixels, mpp=slide.mpp, quality=95)
            slide.path, slide.fingerprint = str(path), fingerprint(path)
            made[slide.name] = path
    return made
