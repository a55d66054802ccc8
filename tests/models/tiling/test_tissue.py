"""Tissue without pen marks and blur, on a painted slide whose parts are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.filters
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from annotation.errors import InputError
from models.errors import TileError
from models.reader import Reader, open_reader
from models.tiling.mask import TissueMask
from models.tiling.pens import pen_marks
from models.tiling.settings import TissueSettings
from models.tiling.sharpness import laplacian_variance
from models.tiling.tissue import find_tissue, otsu_threshold, saturation
from tests.models.slides import texture, write_jpeg_tiff
from tests.models.tiling.conftest import INKS, MarkedSlide

Mask = NDArray[np.bool_]


def at_level_0(mask: Mask, found: TissueMask, like: Mask) -> Mask:
    """A mask of `found` in level-0 pixels."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) / found.cell_px).astype(int), mask.shape[axis] - 1)
        for axis, n in enumerate(like.shape)
    )
    return mask[np.ix_(rows, columns)]


def away_from_edge(mask: Mask, px: int = 60) -> Mask:
    """The part of a mask that is not near its edge."""
    return np.asarray(ndimage.distance_transform_cdt(mask) > px)


def near(mask: Mask, px: int = 140) -> Mask:
    return ~away_from_edge(~mask, px)


def test_tissue_is_found_and_pens_and_blur_are_not(
    marked: Reader, marked_slide: MarkedSlide
) -> None:
    found, _ = find_tissue(marked, TissueSettings())
    tissue = at_level_0(found.tissue, found, marked_slide.tissue)
    strokes = np.logical_or.reduce(list(marked_slide.strokes.values()))
    good = marked_slide.tissue & ~near(strokes) & ~near(marked_slide.blurred)
    assert tissue[away_from_edge(good)].mean() > 0.995
    assert tissue[away_from_edge(~marked_slide.tissue)].mean() == 0
    pen = at_level_0(found.pen, found, marked_slide.tissue)
    for ink, stroke in marked_slide.strokes.items():
        assert pen[stroke].mean() > 0.99, ink
        assert tissue[stroke].mean() < 0.01, ink
    assert pen[~near(strokes)].mean() == 0
    blurred = at_level_0(found.blurred, found, marked_slide.tissue)
    # Squares of 128 um don't end where the patch does.
    assert blurred[away_from_edge(marked_slide.blurred & ~strokes, 256)].all()
    assert tissue[away_from_edge(marked_slide.blurred, 256)].mean() == 0
    assert blurred[~near(marked_slide.blurred, 260)].mean() < 0.01
    assert not (found.tissue & (found.pen | found.blurred)).any()


def test_pens_and_blur_can_be_kept(marked: Reader, marked_slide: MarkedSlide) -> None:
    found, _ = find_tissue(marked, TissueSettings(min_sharpness=0))
    assert not found.blurred.any()
    tissue = at_level_0(found.tissue, found, marked_slide.tissue)
    assert tissue[marked_slide.blurred & marked_slide.tissue].mean() > 0.99
    found, _ = find_tissue(marked, TissueSettings(pens=False))
    assert not found.pen.any()
    tissue = at_level_0(found.tissue, found, marked_slide.tissue)
    assert tissue[marked_slide.strokes["blue"]].mean() > 0.9


def test_the_same_is_found_by_several_threads(marked: Reader) -> None:
    one, _ = find_tissue(marked, TissueSettings())
    several, _ = find_tissue(marked, TissueSettings(), threads=3)
    assert np.array_equal(one.tissue, several.tissue)
    assert np.array_equal(one.blurred, several.blurred)


def test_a_real_slide_is_tissue_without_ink_and_blur(shared_data: Path) -> None:
    """Its section fills two fifths of it; the share was read off an outline drawn by hand."""
    with open_reader(shared_data / "wsi" / "CMU-1-Small-Region.svs") as reader:
        found, picture = find_tissue(reader, TissueSettings())
    assert not found.pen.any()
    assert not found.blurred.any()
    assert 0.3 < found.tissue.mean() < 0.45
    assert saturation(picture.pixels)[found.tissue].mean() > 0.2
    assert saturation(picture.pixels)[~found.tissue].mean() < 0.05


@pytest.mark.parametrize("index", [0, 1])
def test_tissue_without_marks_has_none(tmp_path: Path, index: int) -> None:
    slide = demo_slides(count=2)[index]
    path = write_jpeg_tiff(tmp_path / "S.tiff", paint(slide), mpp=slide.mpp, overviews=(4,))
    with open_reader(path) as reader:
        found, _ = find_tissue(reader, TissueSettings())
    assert not found.pen.any()
    assert not found.blurred.any()
    area_um2 = found.tissue.sum() * (found.cell_px * slide.mpp) ** 2
    assert area_um2 == pytest.approx(slide.tissue.area * slide.mpp**2, rel=0.03)


def test_empty_glass_has_no_tissue(tmp_path: Path) -> None:
    """Otsu's threshold always parts something: here noise, which `min_saturation` stops."""
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(243, 3, (1500, 2000, 3)), 0, 255).astype(np.uint8)
    path = write_jpeg_tiff(tmp_path / "empty.tiff", glass, mpp=0.5, overviews=())
    with open_reader(path) as reader:
        found, _ = find_tissue(reader, TissueSettings())
    assert not found.tissue.any()
    assert not found.pen.any()


def test_dirt_is_dropped_and_small_holes_are_filled(tmp_path: Path) -> None:
    pixels = np.full((2000, 2000, 3), 245, np.uint8)
    pixels[400:1600, 400:1600] = (200, 120, 170)
    pixels[600:660, 600:660] = 245  # a hole of 900 um2
    pixels[900:1400, 900:1400] = 245  # one of 62,500 um2
    pixels[100:200, 100:200] = (200, 120, 170)  # dirt of 2,500 um2
    path = write_jpeg_tiff(tmp_path / "S.tiff", pixels, mpp=0.5, overviews=(), quality=95)
    settings = TissueSettings(smallest_um2=5_000, largest_hole_um2=10_000, min_sharpness=0, mpp=4.0)
    with open_reader(path) as reader:
        found, _ = find_tissue(reader, settings)
    cells = found.tissue
    assert cells.shape == (250, 250)
    assert cells[75:82, 75:82].all()
    assert not cells[115:172, 115:172].any()
    assert not cells[:40, :40].any()
    assert cells.sum() * 16 == pytest.approx(360_000 - 62_500, rel=0.03)


@given(
    arrays.arrays(
        np.float32, st.integers(1, 400), elements=st.floats(0, 1, width=32), fill=st.nothing()
    )
)
def test_otsu_is_scikit_images(values: NDArray[np.float32]) -> None:
    """Where two thresholds part the values equally well, both may be taken."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    centers = (edges[:-1] + edges[1:]) / 2
    threshold = otsu_threshold(values)
    if np.count_nonzero(counts) == 1:
        return  # scikit-image parts no single value; ours only mustn't fail
    expected = skimage.filters.threshold_otsu(hist=(counts, centers))
    assert parting(counts, centers, threshold) == pytest.approx(
        parting(counts, centers, expected), rel=1e-9, abs=1e-12
    )


def parting(counts: NDArray[np.int64], centers: NDArray[np.float64], threshold: float) -> float:
    """The variance between what is up to a threshold and what is above."""
    below = centers <= threshold
    if not counts[below].sum() or not counts[~below].sum():
        return 0.0
    low = np.average(centers[below], weights=counts[below])
    high = np.average(centers[~below], weights=counts[~below])
    return float(counts[below].sum() * counts[~below].sum() * (low - high) ** 2)


def test_saturation_is_that_of_hsv() -> None:
    pixels = texture(50, 40).copy()
    pixels[0, 0] = 0
    expected = skimage.color.rgb2hsv(pixels)[..., 1]
    assert np.allclose(saturation(pixels), expected, atol=1e-6)


@pytest.mark.parametrize("colour", INKS.values(), ids=INKS)
def test_ink_is_a_stroke_not_a_speck(colour: tuple[int, int, int]) -> None:
    pixels = np.full((200, 200, 3), 245, np.uint8)
    pixels[20:32, 20:180] = colour
    pixels[100:106, 100:106] = colour
    marks = pen_marks(pixels, 8.0)
    assert marks[20:32, 20:180].all()
    assert not marks[90:].any()


@pytest.mark.parametrize(
    "colour",
    [(190, 110, 160), (120, 80, 150), (95, 60, 130), (215, 120, 140), (200, 70, 90), (140, 90, 50),
     (150, 170, 205), (245, 244, 246), (120, 120, 120)],
    ids=["eosin", "haematoxylin", "crowded nuclei", "muscle", "red cells", "DAB", "counterstain", "glass", "shadow"],
)  # fmt: skip
def test_stains_are_no_ink(colour: tuple[int, int, int]) -> None:
    pixels = np.full((100, 100, 3), 245, np.uint8)
    pixels[20:80, 20:80] = colour
    assert not pen_marks(pixels, 8.0).any()


def test_sharpness_counts_tissue_alone() -> None:
    """Glass beside the tissue neither dulls it nor sharpens it."""
    pixels = texture(64, 64)
    whole = laplacian_variance(pixels, np.ones((64, 64), np.bool_), 32)
    half = np.zeros((64, 64), np.bool_)
    half[:, :20] = True
    glass = pixels.copy()
    glass[:, 24:] = 245
    only = laplacian_variance(glass, half, 32)
    assert only[:, 0] == pytest.approx(laplacian_variance(pixels, half, 32)[:, 0])
    assert np.isinf(only[:, 1]).all()
    brightness = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian = ndimage.laplace(brightness, mode="nearest")
    assert whole[1, 1] == pytest.approx(laplacian[32:, 32:].var(), rel=1e-4)


def left_half(picture: NDArray[np.uint8], mpp: float) -> Mask:
    """A tissue model that tests name; 64 um/px is what they ask for."""
    assert mpp == 16.0
    mask = np.zeros(picture.shape[:2], np.bool_)
    mask[:, : mask.shape[1] // 2] = True
    return mask


def wrong_shape(picture: NDArray[np.uint8], mpp: float) -> Mask:
    return np.zeros((3, 3), np.bool_)


def test_a_model_of_ones_own_finds_the_tissue(marked: Reader) -> None:
    settings = TissueSettings(mpp=16.0, model=f"{__name__}:left_half", pens=False, min_sharpness=0)
    found, _ = find_tissue(marked, settings)
    half = found.tissue.shape[1] // 2
    assert found.tissue[:, :half].all()
    assert not found.tissue[:, half:].any()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("left_half", "is no function; name it as module:function"),
        ("nowhere_at_all:find", "can't be imported (No module named 'nowhere_at_all')"),
        (f"{__name__}:nothing", "can't be imported (module"),
        (f"{__name__}:INKS", "is no function; name one that takes a picture"),
        (f"{__name__}:wrong_shape", "gave a mask of shape (3, 3) for a picture of (128, 144)"),
    ],
)
def test_a_model_that_is_none_is_one_line(marked: Reader, name: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        find_tissue(marked, TissueSettings(mpp=8.0, model=name))
    assert f"tissue model {name!r} " in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cant_be_read_is_told_and_counts_as_glass(
    marked_slide: MarkedSlide, tmp_path: Path
) -> None:
    import tifffile

    with tifffile.TiffFile(marked_slide.path) as tiff:
        page = tiff.pages[0]  # 9 columns of tiles; one in the tissue, away from all marks
        begin, count = page.dataoffsets[2 * 9 + 6], page.databytecounts[2 * 9 + 6]
    data = bytearray(marked_slide.path.read_bytes())
    data[begin : begin + count] = bytes(count)
    path = tmp_path / "B.tiff"
    path.write_bytes(data)
    settings = TissueSettings()
    told: list[TileError] = []
    with open_reader(path) as reader:
        # The broken tile stands in the level that sharpness is read from, not in the picture's.
        with pytest.raises(TileError, match="level 0, tile column 6, row 2"):
            find_tissue(reader, TissueSettings(blur_mpp=1.0))
        found, _ = find_tissue(reader, TissueSettings(blur_mpp=1.0), missing=told.append)
        whole, _ = find_tissue(reader, settings)
    assert told
    assert {(error.column, error.row) for error in told} == {(6, 2)}
    place = slice(int(2 * 256 / found.cell_px), int(3 * 256 / found.cell_px)), slice(int(6 * 256 / found.cell_px), int(7 * 256 / found.cell_px))  # fmt: skip
    assert not found.tissue[place].any()
    assert whole.tissue[place].mean() > 0.9


def test_a_picture_too_large_is_refused(marked: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.tiling.picture._LARGEST_PICTURE_PX", 1000)
    with pytest.raises(
        InputError, match=r"has 18,432 pixels at 8 microns each.*larger tissue\.mpp"
    ):
        find_tissue(marked, TissueSettings())
