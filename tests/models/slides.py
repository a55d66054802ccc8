"""Slides for tests of the reader and of tiling, written as tiled JPEG TIFFs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

__all__ = ["texture", "write_jpeg_tiff"]

Pixels = NDArray[np.uint8]


def texture(width_px: int, height_px: int, seed: int = 0, grain_px: int = 6) -> Pixels:
    """Clouds of all colours with fine detail, so that any shift or other decoding shows."""
    rng = np.random.default_rng(seed)
    size = (height_px // grain_px + 2, width_px // grain_px + 2, 3)
    clouds = Image.fromarray(rng.integers(0, 256, size, np.uint8))
    return np.asarray(clouds.resize((width_px, height_px), Image.Resampling.BICUBIC))


def write_jpeg_tiff(
    path: Path,
    pixels: Pixels,
    *,
    mpp: float = 0.25,
    tile_px: int = 128,
    overviews: tuple[int, ...] = (2, 4),
    photometric: str = "YCBCR",
    quality: int = 85,
    only: tuple[int, int, int, int] | None = None,
    **options: str,
) -> Path:
    """Write a slide by GDAL; `only` (x, y, width, height) leaves all other tiles out of the file."""
    height, width = pixels.shape[:2]
    jpeg = {"COMPRESS": "JPEG", "PHOTOMETRIC": photometric, "INTERLEAVE": "PIXEL"}
    levels = {f"{key}_OVERVIEW": value for key, value in jpeg.items()}
    with (
        warnings.catch_warnings(),
        rasterio.Env(**levels, JPEG_QUALITY_OVERVIEW=str(quality), GDAL_TIFF_OVR_BLOCKSIZE=str(tile_px)),
    ):  # fmt: skip
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
            tiled=True, blockxsize=tile_px, blockysize=tile_px, jpeg_quality=quality,
            SPARSE_OK="FALSE" if only is None else "TRUE", **jpeg, **options,
        ) as tiff:  # fmt: skip
            planes = np.moveaxis(pixels, 2, 0)
            if only is None:
                tiff.write(planes)
            else:
                x, y, w, h = only
                tiff.write(planes[:, y : y + h, x : x + w], window=Window(x, y, w, h))
            tiff.update_tags(
                TIFFTAG_XRESOLUTION=f"{1e4 / mpp:.10g}",
                TIFFTAG_YRESOLUTION=f"{1e4 / mpp:.10g}",
                TIFFTAG_RESOLUTIONUNIT="3",
            )
            if overviews:
                tiff.build_overviews(list(overviews), Resampling.average)
    return path
