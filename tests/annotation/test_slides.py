"""Slides through OpenSlide."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from annotation.errors import InputError, SlideError
from annotation.slides import (
    fingerprint,
    read_region,
    read_slide,
    recognisable_content,
    thumbnail,
    tiles_of,
)
from tests.gradient_slides import gradient, write_gradient

MakeTiff = Callable[..., Path]


@pytest.fixture
def make_tiff(tmp_path: Path) -> MakeTiff:
    """A tiled TIFF of 600 x 400 px, red in its upper left quarter and blue elsewhere."""

    def make(
        name: str = "a.tiff", *, mpp: tuple[float, float] | None = (0.5, 0.5), levels: int = 2
    ) -> Path:
        pixels = np.zeros((400, 600, 3), np.uint8)
        pixels[..., 2] = 255
        pixels[:200, :300] = (255, 0, 0)
        path = tmp_path / name
        with tifffile.TiffWriter(path) as tiff:
            for level in range(levels):
                step = 4**level
                tiff.write(
                    pixels[::step, ::step],
                    tile=(64, 64),
                    photometric="rgb",
                    compression="zlib",
                    subfiletype=min(level, 1),
                    resolution=None if mpp is None else (1e4 / mpp[0], 1e4 / mpp[1]),
                    resolutionunit=None if mpp is None else "CENTIMETER",
                    metadata=None,
                )
        return path

    return make


def refusal(path: Path, **options: object) -> str:
    """The one line that refuses the slide."""
    with pytest.raises(SlideError) as caught:
        read_slide(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_a_real_slide_says_what_it_is(shared_data: Path) -> None:
    record = read_slide(shared_data / "wsi" / "CMU-1-Small-Region.svs")
    assert record.name == "CMU-1-Small-Region"
    assert (record.width_px, record.height_px) == (2220, 2967)
    assert (record.mpp, record.mpp_source) == (0.499, "file")
    assert (record.objective, record.vendor) == (20.0, "aperio")
    assert (record.bounds, record.levels) == (None, ((2220, 2967),))
    assert record.files == ("CMU-1-Small-Region.svs",)
    assert record.fingerprint is not None
    assert len(record.fingerprint) == 64


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("openslide_fixtures/unopenable.tiff", "is broken (Unsupported TIFF compression: 52479)"),
        ("openslide_fixtures/unreadable.svs", "is broken (Bogus marker length)"),
        ("pathml_smalltif.tif", "is no slide that OpenSlide reads"),
        ("eedap_mitotic/CCB010352HE.xml", "is no slide that OpenSlide reads"),
        ("openslide_fixtures/boxes.tiff", "says 352.778 microns per pixel, outside 0.05 to 4; pass --mpp"),
        ("pathml_small_HE_levels.tiff", "says 352.858 microns per pixel"),
    ],
)  # fmt: skip
def test_a_real_file_that_cant_be_a_slide_is_one_line(
    shared_data: Path, file: str, says: str
) -> None:
    assert says in refusal(shared_data / "wsi" / file)


def test_given_microns_per_pixel_stand_for_those_of_the_file(shared_data: Path) -> None:
    record = read_slide(shared_data / "wsi" / "openslide_fixtures" / "boxes.tiff", mpp=0.25)
    assert (record.mpp, record.mpp_source) == (0.25, "given")
    assert record.levels == ((300, 250), (150, 125), (75, 62), (37, 31))


def test_a_generated_slide_is_read_as_written(make_tiff: MakeTiff) -> None:
    record = read_slide(make_tiff("case 7.v2.tiff"))
    assert record.name == "case 7.v2"
    assert (record.mpp, record.mpp_source) == (pytest.approx(0.5), "file")
    assert record.levels == ((600, 400), (150, 100))
    assert record.objective is None


@pytest.mark.parametrize(
    ("mpp", "says"),
    [
        (None, "has no microns per pixel; pass --mpp"),
        ((0.5, 0.51), "has pixels that are not square (0.5 x 0.51 um); pass --mpp"),
        ((0.04, 0.04), "says 0.04 microns per pixel, outside 0.05 to 4; pass --mpp"),
        ((4.1, 4.1), "says 4.1 microns per pixel"),
    ],
)
def test_a_slide_without_usable_microns_per_pixel_waits_for_them(
    make_tiff: MakeTiff, mpp: tuple[float, float] | None, says: str
) -> None:
    path = make_tiff(mpp=mpp)
    assert says in refusal(path)
    assert read_slide(path, mpp=0.3).mpp == 0.3


def test_nearly_square_pixels_keep_their_area(make_tiff: MakeTiff) -> None:
    record = read_slide(make_tiff(mpp=(0.5, 0.504)))
    assert record.mpp**2 == pytest.approx(0.5 * 0.504, rel=1e-6)


@pytest.mark.parametrize("mpp", [0.0, -1.0, 0.0499, 4.01, math.nan, math.inf])
def test_given_microns_per_pixel_must_be_plausible(make_tiff: MakeTiff, mpp: float) -> None:
    assert "--mpp" in refusal(make_tiff(), mpp=mpp)


def test_what_is_not_there_or_is_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "there is no slide" in refusal(tmp_path / "none.svs")
    (tmp_path / "folder.svs").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.svs")
    (tmp_path / "empty.svs").touch()
    assert "is no slide" in refusal(tmp_path / "empty.svs")


def test_a_slide_cut_short_is_refused(make_tiff: MakeTiff) -> None:
    """Its header is whole, so that OpenSlide opens it; the last tiles of a level are missing."""
    path = make_tiff(levels=1)
    with tifffile.TiffFile(path) as tiff:
        last_tile = max(tiff.pages[0].dataoffsets)
    path.write_bytes(path.read_bytes()[: last_tile + 5])
    assert "is broken" in refusal(path)


def test_hashing_can_wait(make_tiff: MakeTiff) -> None:
    path = make_tiff()
    assert read_slide(path, hash_files=False).fingerprint is None
    assert read_slide(path).fingerprint == fingerprint(path)


def test_a_thumbnail_is_the_whole_slide(make_tiff: MakeTiff) -> None:
    path = make_tiff()
    for max_px, size in ((100, (100, 67)), (300, (300, 200)), (5000, (600, 400))):
        picture = thumbnail(path, max_px)
        assert (picture.size, picture.mode) == (size, "RGB")
        pixels = np.asarray(picture).astype(int)
        height, width = pixels.shape[:2]
        assert np.abs(pixels[height // 4, width // 4] - (255, 0, 0)).max() < 8
        assert np.abs(pixels[height // 4, 3 * width // 4] - (0, 0, 255)).max() < 8


def test_a_region_is_in_level_0_pixels_and_white_beyond_the_edge(make_tiff: MakeTiff) -> None:
    path = make_tiff()
    for max_px in (200, 50):
        picture = read_region(path, -100, 100, 200, 200, max_px=max_px)
        assert picture.size == (max_px, max_px)
        quarter, three = max_px // 4, 3 * max_px // 4
        assert picture.getpixel((quarter, quarter)) == (255, 255, 255)
        assert picture.getpixel((three, quarter)) == (255, 0, 0)
        assert picture.getpixel((three, three)) == (0, 0, 255)


def test_a_picture_made_of_blocks_equals_one_made_at_once(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slide has one level, so every block is reduced by itself."""
    path = shared_data / "wsi" / "CMU-1-Small-Region.svs"
    monkeypatch.setattr("annotation.slides._BLOCK_PX", 1 << 20)
    whole = np.asarray(read_region(path, 100, 200, 2000, 2400, max_px=600)).astype(int)
    monkeypatch.setattr("annotation.slides._BLOCK_PX", 256)
    blocks = np.asarray(read_region(path, 100, 200, 2000, 2400, max_px=600)).astype(int)
    assert whole.shape == blocks.shape == (600, 500, 3)
    assert np.abs(whole - blocks).max() <= 1


@pytest.mark.parametrize("size", [(0.0, 5.0), (5.0, -1.0), (math.nan, 5.0), (math.inf, 5.0)])
def test_a_region_without_extent_is_refused(make_tiff: MakeTiff, size: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="shows nothing"):
        read_region(make_tiff(), 0, 0, *size)


@pytest.mark.parametrize("max_px", [0, -1, 100_000])
def test_a_picture_of_an_unreasonable_size_is_refused(make_tiff: MakeTiff, max_px: int) -> None:
    with pytest.raises(InputError, match="ask for 16 to 8192 px"):
        thumbnail(make_tiff(), max_px)


def write_scan(path: Path, named: str) -> None:
    """A scan as Aperio's scanners write it: the slide, a thumbnail, its label and a macro."""
    pixels = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    head = "Aperio Image Library v10.0.51\r\n"
    with tifffile.TiffWriter(path) as scan:
        for picture, description, tile, kind in (
            (pixels, f"800x600|AppMag = 20|MPP = 0.5|Filename = {named}", (256, 256), 0),
            (pixels[::8, ::8], "thumbnail", None, 0),
            (pixels[:100, :100], "label 100x100", None, 1),
            (pixels[:100, :200], "macro 200x100", None, 9),
        ):
            scan.write(
                picture,
                photometric="rgb",
                tile=tile,
                subfiletype=kind,
                description=head + description,
                metadata=None,
            )


def test_the_label_and_the_name_within_a_scan_are_found(tmp_path: Path) -> None:
    scan = tmp_path / "M-1.svs"
    write_scan(scan, "SP21-7 a")
    assert recognisable_content(scan, "SP21-7 A") == (
        "label",
        "macro",
        "property aperio.Filename",
        "property openslide.comment",
        "property tiff.ImageDescription",
    )
    assert recognisable_content(scan, "SP21") == recognisable_content(scan, "SP21-7")
    assert recognisable_content(scan, "P21-7") == ("label", "macro")


def test_tiles_show_their_place_to_a_fraction_of_a_pixel(tmp_path: Path) -> None:
    """Whatever level they come from: the slide's colours are linear in x and y."""
    path = write_gradient(tmp_path / "a.tiff", 1000, 800, 0.5)
    places = [(0.0, 0.0, 64.0, 64), (100.5, 51.25, 100.0, 64), (37.0, 64.5, 300.0, 100),
              (3.3, 3.3, 700.0, 100), (500.0, 400.0, 32.0, 64)]  # fmt: skip
    with tiles_of(path) as tile:
        for x_px, y_px, side_px, size_px in places:
            picture = np.asarray(tile(x_px, y_px, side_px, size_px), dtype=float)
            assert picture.shape == (size_px, size_px, 3)
            centre = (np.arange(size_px) + 0.5) * side_px / size_px
            expected = gradient(x_px + centre[None, :], y_px + centre[:, None])
            assert np.abs(picture - expected).max() < 1.1
        beyond = np.asarray(tile(990.0, 790.0, 64.0, 64))
        assert (beyond[20:, 20:] == 255).all()
        assert abs(float(beyond[2, 2, 0]) - (990 + 2.5) / 4) < 1.1


def test_a_tile_made_of_blocks_equals_one_made_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gradient(tmp_path / "a.tiff", 1000, 800, 0.5)
    with tiles_of(path) as tile:
        whole = np.asarray(tile(10.5, 20.25, 610.0, 200))
        monkeypatch.setattr("annotation.slides._BLOCK_PX", 100)
        np.testing.assert_array_equal(np.asarray(tile(10.5, 20.25, 610.0, 200)), whole)
