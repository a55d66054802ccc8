"""Tiles straight from the TIFF are those of OpenSlide, bit for bit, or OpenSlide's are taken."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from annotation.errors import InputError, SlideError
from models.errors import TileError
from models.reader import Reader, open_reader
from tests.models.slides import texture, write_jpeg_tiff

Floats = NDArray[np.float64]
REAL = Path("wsi") / "CMU-1-Small-Region.svs"


def by_openslide_alone(path: Path, x: int, y: int, level: int, side: int) -> NDArray[np.uint8]:
    """What a plain loop over `read_region` gives, white beyond the edge."""
    with openslide.OpenSlide(path) as slide:
        picture = slide.read_region((x, y), level, (side, side))
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return np.asarray(white.convert("RGB"))


@given(
    x=st.integers(-300, 900),
    y=st.integers(-300, 700),
    level=st.sampled_from([0, 1, 2]),
    size_px=st.integers(1, 300),
)
def test_unresampled_tiles_are_read_region_bit_for_bit(
    slide_path: Path, x: int, y: int, level: int, size_px: int
) -> None:
    downsample = 2**level
    with open_reader(slide_path, way="tiff") as reader:
        assert reader.plan(mpp=0.25 * downsample, size_px=size_px).level == level
        tile = reader.read(x * downsample, y * downsample, mpp=0.25 * downsample, size_px=size_px)
    expected = by_openslide_alone(slide_path, x * downsample, y * downsample, level, size_px)
    assert np.array_equal(tile, expected)


@given(
    x=st.floats(-300, 900),
    y=st.floats(-300, 700),
    mpp=st.one_of(st.floats(0.13, 6.0), st.sampled_from([0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0])),
    size_px=st.integers(1, 200),
)
def test_both_ways_give_the_same_bits_at_any_place_size_and_resolution(
    slide_path: Path, x: float, y: float, mpp: float, size_px: int
) -> None:
    with (
        open_reader(slide_path, way="tiff") as tiff,
        open_reader(slide_path, way="openslide") as openslide_,
    ):
        first = tiff.read(x, y, mpp=mpp, size_px=size_px)
        second = openslide_.read(x, y, mpp=mpp, size_px=size_px)
    assert first.shape == (size_px, size_px, 3)
    assert first.flags.writeable
    assert second.flags.writeable
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "RGB"},
        {"BIGTIFF": "YES"},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG", "photometric": "RGB"},
        {"tile_px": 256, "quality": 40},
        {"tile_px": 64, "overviews": ()},
    ],
    ids=str,
)
def test_every_kind_of_index_and_colour_is_read_from_the_tiff(
    tmp_path: Path, options: dict[str, object]
) -> None:
    path = write_jpeg_tiff(tmp_path / "S.tiff", texture(600, 400, seed=3), **options)  # type: ignore[arg-type]
    with open_reader(path, way="tiff") as tiff, open_reader(path, way="openslide") as plain:
        for x, y, mpp in ((0, 0, 0.25), (511, 333, 0.25), (100, -50, 0.5), (37.3, 81.7, 0.6)):
            assert np.array_equal(
                tiff.read(x, y, mpp=mpp, size_px=150), plain.read(x, y, mpp=mpp, size_px=150)
            )
        assert tiff.way(0).name == "tiff"


def test_a_real_slide_is_read_from_the_tiff_as_openslide_shows_it(shared_data: Path) -> None:
    rng = np.random.default_rng(0)
    with (
        open_reader(shared_data / REAL) as tiff,
        open_reader(shared_data / REAL, way="openslide") as plain,
    ):
        for _ in range(40):
            x, y = rng.uniform(-200, 2200), rng.uniform(-200, 2960)
            mpp = float(rng.choice([0.499, 0.998, 0.5, 0.7, 4.0]))
            assert np.array_equal(
                tiff.read(x, y, mpp=mpp, size_px=224), plain.read(x, y, mpp=mpp, size_px=224)
            )
        assert tiff.way(0).name == "tiff"
        assert plain.way(0).name == "openslide"


def test_whole_factors_are_the_mean_of_what_openslide_reads(slide_path: Path) -> None:
    """40x to 20x where there is only 40x: the mean of 2 x 2 px, rounded half up."""
    single = write_jpeg_tiff(slide_path.parent / "single.tiff", texture(700, 520), overviews=())
    with open_reader(single, way="tiff") as reader:
        tile = reader.read(512, 256, mpp=0.5, size_px=128)
    region = by_openslide_alone(single, 512, 256, 0, 256).astype(int)
    sums = region.reshape(128, 2, 128, 2, 3).sum(axis=(1, 3))
    assert np.array_equal(tile, (sums + 2) // 4)


def triangle_weights(begin: float, scale: float, size: int, extent: int) -> Floats:
    """The weight of each of `extent` pixels in each of `size` resampled ones, shape (size, extent)."""
    reach = max(1.0, scale)
    centers = begin + (np.arange(size) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(extent) + 0.5 - centers[:, None]) / reach)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("mpp", [0.2, 0.3, 0.45, 0.77])
def test_other_factors_are_the_antialiased_bilinear_of_the_level(
    slide_path: Path, mpp: float
) -> None:
    """Held against weights of the whole level, so that a seam or a shift at a tile's edge would
    show; whole numbers are rounded once for each direction."""
    single = write_jpeg_tiff(slide_path.parent / "level.tiff", texture(700, 520), overviews=())
    level = by_openslide_alone(single, 0, 0, 0, 700)[:520].astype(float)
    with open_reader(single) as reader:
        for x, y in ((130.4, 80.9), (256.0, 128.0)):
            tile = reader.read(x, y, mpp=mpp, size_px=96)
            rows = triangle_weights(y, mpp / 0.25, 96, 520)
            columns = triangle_weights(x, mpp / 0.25, 96, 700)
            expected = np.einsum("ij,jkc,lk->ilc", rows, level, columns, optimize=True)
            assert np.abs(tile - expected).max() <= 1.001


def test_neighbouring_resampled_tiles_join_without_a_seam(slide_path: Path) -> None:
    with open_reader(slide_path) as reader:
        side = reader.plan(mpp=0.33, size_px=64).side_px
        wide = reader.read(50, 50, mpp=0.33, size_px=128)
        right = reader.read(50 + side, 50, mpp=0.33, size_px=64)
    assert np.abs(wide[:64, 64:].astype(int) - right).max() <= 1


def test_missing_tiles_are_what_openslide_makes_of_them(tmp_path: Path) -> None:
    path = write_jpeg_tiff(
        tmp_path / "S.tiff", texture(700, 520), overviews=(), only=(128, 128, 256, 128)
    )
    with open_reader(path, way="tiff") as reader:
        for x, y in ((0, 0), (100, 100), (300, 200), (600, 500)):
            tile = reader.read(x, y, mpp=0.25, size_px=128)
            assert np.array_equal(tile, by_openslide_alone(path, x, y, 0, 128))
        assert (reader.read(500, 400, mpp=0.25, size_px=64) == 255).all()


def aside(path: Path, level: int = 0, mpp: float | None = None) -> str:
    """Why a level is left to OpenSlide, whose pixels are then read."""
    with open_reader(path, mpp=mpp) as reader, open_reader(path, mpp=mpp, way="openslide") as plain:
        wanted = reader.slide.mpp * reader.slide.width_px / reader.slide.levels[level][0]
        places = [(-5, 7), (40, 30)]
        for x, y in places:
            assert np.array_equal(
                reader.read(x, y, mpp=wanted, size_px=20), plain.read(x, y, mpp=wanted, size_px=20)
            )
        way = reader.way(level)
    assert way.name == "openslide"
    with open_reader(path, mpp=mpp, way="tiff") as reader, pytest.raises(SlideError) as caught:
        reader.read(0, 0, mpp=wanted, size_px=20)
    assert way.reason in str(caught.value)
    assert "\n" not in str(caught.value)
    return way.reason


def test_a_level_that_openslide_interpolates_is_left_to_it(tmp_path: Path) -> None:
    path = write_jpeg_tiff(tmp_path / "S.tiff", texture(701, 521), overviews=(4,))
    assert "its pixels are 3.98" in aside(path, level=1)
    with open_reader(path) as reader:
        assert reader.way(0).name == "tiff"


def test_other_compressions_and_files_are_left_to_openslide(
    shared_data: Path, tmp_path: Path
) -> None:
    boxes = shared_data / "wsi" / "openslide_fixtures" / "boxes.tiff"
    assert "ADOBE_DEFLATE" in aside(boxes, mpp=0.25)


def test_pixels_that_differ_from_openslides_are_noticed(
    slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that interpolates colours otherwise differs by a few levels, and only in places."""
    import simplejpeg

    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        "simplejpeg.decode_jpeg",
        lambda data, colours, **options: decode(data, colours, fastdct=False, fastupsample=True),
    )
    assert "OpenSlide shows other pixels in tile column" in aside(slide_path)


def broken(
    source: Path, to: Path, tile: int, change: Callable[[bytearray, int, int], None]
) -> Path:
    """A copy of a slide with one tile of level 0 changed."""
    with tifffile.TiffFile(source) as tiff:
        begin, count = tiff.pages[0].dataoffsets[tile], tiff.pages[0].databytecounts[tile]
    data = bytearray(source.read_bytes())
    change(data, begin, count)
    to.write_bytes(data)
    return to


def cleared(data: bytearray, begin: int, count: int) -> None:
    data[begin : begin + count] = bytes(count)


def cut(data: bytearray, begin: int, count: int) -> None:
    data[begin + count // 2 : begin + count] = bytes(count - count // 2)


def garbled(data: bytearray, begin: int, count: int) -> None:
    data[begin + count // 2 : begin + count // 2 + 8] = b"\x55" * 8


def huge(data: bytearray, begin: int, count: int) -> None:
    """The tile's own header says 65,000 x 65,000 px."""
    at = data.index(b"\xff\xc0", begin, begin + count)
    data[at + 5 : at + 9] = b"\xfd\xe8\xfd\xe8"


@pytest.mark.parametrize("change", [cleared, cut, huge])
def test_a_corrupt_tile_is_named_and_the_others_are_read(
    slide_path: Path, tmp_path: Path, change: Callable[[bytearray, int, int], None]
) -> None:
    path = broken(slide_path, tmp_path / "B.tiff", 8, change)  # 6 columns: column 2, row 1
    with open_reader(path) as reader:
        for _ in range(2):
            with pytest.raises(TileError) as caught:
                reader.read(200, 100, mpp=0.25, size_px=128)
            assert "slide 'B' is broken at level 0, tile column 2, row 1 (" in str(caught.value)
            assert "--allow-missing" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert (caught.value.slide, caught.value.level) == ("B", 0)
            assert (caught.value.column, caught.value.row) == (2, 1)
            # After a fault OpenSlide refuses all that is asked of the same handle.
            tile = reader.read(400, 300, mpp=0.25, size_px=128)
            assert np.array_equal(tile, by_openslide_alone(slide_path, 400, 300, 0, 128))
        assert reader.way(0).name == "tiff"
    with open_reader(path, way="openslide") as reader, pytest.raises(TileError) as caught:
        reader.read(200, 100, mpp=0.25, size_px=128)
    assert "level 0, the 128 x 128 px from column 200, row 100 (" in str(caught.value)


def test_a_tile_over_which_the_decoders_may_differ_is_openslides(
    slide_path: Path, tmp_path: Path
) -> None:
    """It reads past garbled bytes with a warning; so do we, and the pixels are the same."""
    path = broken(slide_path, tmp_path / "G.tiff", 8, garbled)
    with open_reader(path, way="tiff") as reader:
        tile = reader.read(256, 128, mpp=0.25, size_px=128)
    assert np.array_equal(tile, by_openslide_alone(path, 256, 128, 0, 128))


@given(data=st.data())
def test_a_damaged_index_is_one_line_or_gives_openslides_pixels(
    slide_path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = slide_path.read_bytes()
    with tifffile.TiffFile(slide_path) as tiff:
        page = data.draw(st.sampled_from(list(tiff.pages)))
        begin = page.offset
        end = begin + 2 + 12 * len(page.tags) + 4
    changed = bytearray(source)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(begin, end - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "D.tiff"
    path.write_bytes(changed)
    try:
        with (
            open_reader(path, mpp=0.25) as reader,
            open_reader(path, mpp=0.25, way="openslide") as plain,
        ):
            for x, y, mpp in ((0, 0, 0.25), (300, 200, 0.25), (100, 100, 1.0)):
                first = reader.read(x, y, mpp=mpp, size_px=100)
                assert np.array_equal(first, plain.read(x, y, mpp=mpp, size_px=100))
    except (SlideError, TileError) as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused


def test_a_slide_without_microns_per_pixel_waits_for_them(tmp_path: Path) -> None:
    path = tmp_path / "none.tiff"
    tifffile.imwrite(path, texture(300, 200), tile=(64, 64), photometric="rgb", metadata=None)
    with pytest.raises(SlideError, match="has no microns per pixel; pass --mpp"):
        open_reader(path)
    with open_reader(path, mpp=0.5) as reader:
        assert reader.slide.mpp == 0.5


@pytest.mark.parametrize(("x", "y"), [(float("nan"), 0.0), (0.0, float("inf")), (1e12, 0.0)])
def test_places_that_are_none_are_refused(slide_path: Path, x: float, y: float) -> None:
    with open_reader(slide_path) as reader, pytest.raises(InputError, match="has no tile at"):
        reader.read(x, y, mpp=0.25, size_px=64)


def test_a_slide_that_went_away_is_one_line(slide_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.tiff"
    path.write_bytes(slide_path.read_bytes())
    with open_reader(path) as reader:
        path.unlink()
        with pytest.raises(SlideError, match="can't be opened again"):
            reader.read(0, 0, mpp=0.25, size_px=64)


def read_in_child(reader: Reader, connection: object) -> None:
    try:
        reader.read(0, 0, mpp=0.25, size_px=64)
    except InputError as error:
        connection.send(str(error))  # type: ignore[attr-defined]
    else:
        connection.send("read")  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_reader_is_not_used_across_a_fork(slide_path: Path) -> None:
    forked = multiprocessing.get_context("fork")
    mine, theirs = forked.Pipe()
    with open_reader(slide_path) as reader:
        child = forked.Process(target=read_in_child, args=(reader, theirs))
        child.start()
        assert "was opened before this process was forked" in mine.recv()
        child.join()
