"""Tile files: read as written, refused where broken, foreign or of other settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from models.errors import TileError
from models.reader import Reader
from models.tiling.grid import TileGrid, lay_grid
from models.tiling.preview import write_preview
from models.tiling.settings import TileSettings
from models.tiling.tile_file import read_tiles, write_tiles
from models.tiling.tissue import find_tissue

SETTINGS = TileSettings(mpp=1.0, size_px=64)


@pytest.fixture
def grid(marked: Reader) -> TileGrid:
    mask, _ = find_tissue(marked, SETTINGS.tissue)
    return replace(lay_grid(marked.slide, SETTINGS, mask), fingerprint="a" * 64)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(TileError) as caught:
        read_tiles(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_read_as_written(grid: TileGrid, tmp_path: Path) -> None:
    path = tmp_path / "M.h5"
    write_tiles(path, grid)
    again = read_tiles(path, settings=SETTINGS, fingerprint="a" * 64)
    for each in fields(TileGrid):
        assert np.array_equal(getattr(again, each.name), getattr(grid, each.name)), each.name
    assert len(again) > 50
    assert [file.name for file in tmp_path.iterdir()] == ["M.h5"]


def test_other_settings_and_another_slide_are_refused(grid: TileGrid, tmp_path: Path) -> None:
    path = tmp_path / "M.h5"
    write_tiles(path, grid)
    assert "was made with size_px 64, not 128" in refusal(
        path, settings=replace(SETTINGS, size_px=128)
    )
    assert "was made from another state of slide 'M'" in refusal(path, fingerprint="b" * 64)


def edit_settings(file: h5py.File) -> None:
    file.attrs["settings"] = file.attrs["settings"].replace("64", "128")


def link_elsewhere(file: h5py.File) -> None:
    del file["coordinates"]
    file["coordinates"] = h5py.ExternalLink("/etc/other.h5", "coordinates")


def claim_many(file: h5py.File) -> None:
    del file["tissue_share"]
    file.create_dataset("tissue_share", (1 << 40,), np.float32, chunks=(1024,), compression="gzip")


def shorten(file: h5py.File) -> None:
    share = file["tissue_share"][1:]
    del file["tissue_share"]
    file["tissue_share"] = share


def lose(file: h5py.File) -> None:
    file["coordinates"][3, 0] = np.nan


def other_format(file: h5py.File) -> None:
    file.attrs["format"] = "pathquorum-features/1"


def long_text(file: h5py.File) -> None:
    file.attrs["slide"] = np.bytes_(b"x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edit_settings, "its settings are not those that were written"),
        (link_elsewhere, "its coordinates lie elsewhere"),
        (claim_many, "its tissue_share have shape (1099511627776,)"),
        (shorten, "coordinates of shape"),
        (lose, "coordinates or shares that are no such numbers"),
        (other_format, "its format is 'pathquorum-features/1'"),
        (long_text, "its slide is no text"),
    ],
)
def test_a_changed_file_is_refused(
    grid: TileGrid, tmp_path: Path, change: Callable[[h5py.File], None], says: str
) -> None:
    path = tmp_path / "M.h5"
    write_tiles(path, grid)
    with h5py.File(path, "a") as file:
        change(file)
    message = refusal(path)
    assert says in message
    assert "remove it and make it again" in message


def test_files_that_are_none_are_refused(grid: TileGrid, tmp_path: Path) -> None:
    path = tmp_path / "M.h5"
    assert "there is no tile file" in refusal(path)
    path.write_text("no HDF5")
    assert "is no tile file, or broken" in refusal(path)
    write_tiles(path, grid)
    path.write_bytes(path.read_bytes()[:-300])
    assert "is no tile file, or broken" in refusal(path)


def test_a_preview_shows_tissue_and_tiles_and_stays_in_its_folder(
    marked: Reader, tmp_path: Path
) -> None:
    mask, picture = find_tissue(marked, SETTINGS.tissue)
    grid = replace(lay_grid(marked.slide, SETTINGS, mask), slide="../../up/M")
    path = write_preview(tmp_path / "preview", picture, mask, grid)
    assert path.parent == tmp_path / "preview"
    shown = np.asarray(Image.open(path))
    assert shown.shape == picture.pixels.shape
    tile = (grid.x_px / picture.cell_px).astype(int), (grid.y_px / picture.cell_px).astype(int)
    assert (shown[tile[1], tile[0]] == (30, 80, 200)).all(axis=1).mean() > 0.9
    pens = mask.pen & ~np.roll(mask.pen, 1, axis=0)  # its upper edge
    assert (shown[pens] == (230, 90, 0)).all(axis=1).mean() > 0.8
