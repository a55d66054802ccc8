"""Small slides whose pixels tell where they lie: red grows with x, green with y."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from sqlalchemy import select

from annotation.slides import fingerprint
from annotation.store import Store
from annotation.tables import Slide

LEVEL_STEPS = (1, 2, 4)


def gradient(x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stands at level-0 places, (..., 3)."""
    x_px, y_px = np.broadcast_arrays(x_px, y_px)
    return np.stack([x_px / 4, y_px / 4, np.full(x_px.shape, 77.0)], axis=-1)


def write_gradient(path: Path, width_px: int, height_px: int, mpp: float) -> Path:
    """A tiled, lossless TIFF with three levels; up to 1,020 px either way."""
    with tifffile.TiffWriter(path) as tiff:
        for step in LEVEL_STEPS:
            x = (np.arange(width_px // step) + 0.5) * step
            y = (np.arange(height_px // step) + 0.5) * step
            tiff.write(
                np.round(gradient(x[None, :], y[:, None])).astype(np.uint8),
                tile=(128, 128),
                photometric="rgb",
                compression="zlib",
                subfiletype=min(step - 1, 1),
                resolution=(1e4 / mpp / step, 1e4 / mpp / step),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def give_images(store: Store, folder: Path) -> dict[str, Path]:
    """An image for each slide of a store that has none, by the slide's name."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    alike: dict[tuple[int, int, float], bytes] = {}
    with store.writing() as session:
        for slide in session.scalars(select(Slide).where(Slide.path.is_(None)).order_by(Slide.id)):
            path = folder / f"{slide.id}.tiff"
            size = slide.width_px, slide.height_px, slide.mpp
            if size not in alike:
                alike[size] = write_gradient(path, *size).read_bytes()
            path.write_bytes(alike[size] + str(slide.id).encode())  # each a file of its own
            slide.path, slide.fingerprint = str(path), fingerprint(path)
            made[slide.name] = path
    return made
