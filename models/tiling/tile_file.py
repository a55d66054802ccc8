"""The tiles of a slide as an HDF5 file: coordinates, tissue shares, and the settings behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from annotation.paths import replacing
from models.errors import TileError
from models.tiling.grid import TileGrid
from models.tiling.settings import TileSettings, check_settings

__all__ = ["read_tiles", "write_tiles"]

FORMAT = "pathquorum-tiles/1"

_MOST_TILES = 20_000_000
_LONGEST_TEXT = 1 << 16


def write_tiles(path: Path, grid: TileGrid) -> None:
    """Write a grid; whoever opens `path` finds the old file, or the whole new one."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            {
                "format": FORMAT,
                "slide": grid.slide,
                "fingerprint": grid.fingerprint or "",
                "width_px": grid.width_px,
                "height_px": grid.height_px,
                "mpp": grid.mpp,
                "side_px": grid.side_px,
                "level": grid.level,
                "resampling": grid.resampling,
                "candidates": grid.n_candidates,
                "settings": json.dumps(grid.settings.to_dict()),
                "settings_sha256": grid.settings.sha256,
            }
        )
        file["coordinates"] = np.column_stack([grid.x_px, grid.y_px])
        file["tissue_share"] = grid.tissue_share


def read_tiles(
    path: Path, *, settings: TileSettings | None = None, fingerprint: str | None = None
) -> TileGrid:
    """Read a grid.

    Parameters
    ----------
    settings, fingerprint
        What the tiles must have been made with; None takes them whatever they were made with.

    Raises
    ------
    TileError
        The file is absent, broken or no tile file, or was made with other settings (says which)
        or from another state of the slide.
    """
    try:
        with h5py.File(path, "r") as file:
            grid = _grid(file)
    except FileNotFoundError:
        raise TileError(f"there is no tile file {str(path)!r}; check the path", path=path) from None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise TileError(
            f"{str(path)!r} is no tile file, or broken ({reason}); remove it and make it again",
            path=path,
        ) from None
    if settings is not None:
        check_settings(path, grid.settings, settings)
    if fingerprint is not None and grid.fingerprint != fingerprint:
        raise TileError(
            f"{str(path)!r} was made from another state of slide {grid.slide!r}; remove it and "
            "make it again",
            path=path,
            slide=grid.slide,
        )
    return grid


def _grid(file: h5py.File) -> TileGrid:
    if _text(file, "format") != FORMAT:
        raise ValueError(f"its format is {_text(file, 'format')[:40]!r}")
    settings = TileSettings.from_dict(json.loads(_text(file, "settings")))
    if settings.sha256 != _text(file, "settings_sha256"):
        raise ValueError("its settings are not those that were written")
    share = _array(file, "tissue_share", np.float32, 1)
    coordinates = _array(file, "coordinates", np.float64, 2)
    if coordinates.shape != (len(share), 2):
        raise ValueError(f"{len(share)} shares, but coordinates of shape {coordinates.shape}")
    if not (np.isfinite(coordinates).all() and ((share >= 0) & (share <= 1)).all()):
        raise ValueError("coordinates or shares that are no such numbers")
    number = {
        name: float(file.attrs[name])
        for name in ("width_px", "height_px", "mpp", "side_px", "level", "candidates")
    }
    if not all(np.isfinite(value) and value >= 0 for value in number.values()):
        raise ValueError("sizes that are no numbers of at least 0")
    return TileGrid(
        slide=_text(file, "slide"),
        fingerprint=_text(file, "fingerprint") or None,
        width_px=int(number["width_px"]),
        height_px=int(number["height_px"]),
        mpp=number["mpp"],
        settings=settings,
        side_px=number["side_px"],
        level=int(number["level"]),
        resampling=_text(file, "resampling"),
        x_px=coordinates[:, 0].copy(),
        y_px=coordinates[:, 1].copy(),
        tissue_share=share,
        n_candidates=int(number["candidates"]),
    )


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError(f"its {name} is no text")
    return value


def _array(file: h5py.File, name: str, dtype: type, dimensions: int) -> NDArray[Any]:
    """Read a dataset that lies in this file, after a look at its size."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"its {name} lie elsewhere")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise ValueError(f"its {name} lie elsewhere")
    if data.dtype != dtype or data.ndim != dimensions or data.shape[0] > _MOST_TILES:
        raise ValueError(f"its {name} have shape {data.shape} of {data.dtype}")
    return np.asarray(data[()])
