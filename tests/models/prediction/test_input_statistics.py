"""What a slide looks like to a model: figures that follow what is done to its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from models.encoding import SlideImage, open_image, tiles_of
from models.prediction.input_statistics import InputStatistics, input_statistics
from models.reader import open_reader
from models.stain.density import intensities, optical_density
from models.tiling.settings import TileSettings, TissueSettings
from tests.models.slides import write_jpeg_tiff

Pixels = NDArray[np.uint8]
TILES = TileSettings(mpp=2.0, size_px=64, tissue=TissueSettings(min_sharpness=0))


@pytest.fixture(scope="module")
def painted() -> Pixels:
    (slide,) = demo_slides(count=1)
    return paint(slide)[: slide.height_px // 2, : slide.width_px // 2]


@pytest.fixture
def look(tmp_path: Path, painted: Pixels) -> Callable[..., InputStatistics]:
    """The figures of the slide after something was done to its pixels."""

    def call(
        change: Callable[[Pixels], Pixels] = lambda pixels: pixels,
        *,
        mpp: float = 0.5,
        seed: int = 0,
    ) -> InputStatistics:
        path = write_jpeg_tiff(tmp_path / "a.tiff", change(painted), mpp=mpp, quality=95)
        with open_image(SlideImage("a", str(path))) as reader:
            return input_statistics(reader, tiles_of("a", reader, TILES, threads=1), seed=seed)

    return call


def test_figures_are_those_of_the_tissue(look: Callable[..., InputStatistics]) -> None:
    found = look()
    assert (found.mpp, found.vendor) == (0.5, "generic-tiff")
    assert (found.scanner, found.objective) == (None, None)
    assert 0.5 < found.tissue_share < 0.8
    assert found.n_tiles > 10
    assert 0.4 < found.brightness < 0.85
    assert 0.1 < found.saturation < 0.6
    assert found.focus is not None
    assert found.focus > 60
    assert found.stain_reason is None
    assert found.stain_hematoxylin is not None
    assert np.linalg.norm(found.stain_hematoxylin) == pytest.approx(1)
    assert look() == found


def test_each_figure_moves_with_what_it_measures(look: Callable[..., InputStatistics]) -> None:
    before = look()
    blurred = look(lambda pixels: ndimage.gaussian_filter(pixels, (6, 6, 0)))
    assert blurred.focus is not None
    assert before.focus is not None
    assert blurred.focus < before.focus / 4
    assert blurred.brightness == pytest.approx(before.brightness, abs=0.05)
    darker = look(lambda pixels: intensities(optical_density(pixels) * 1.3))
    assert darker.brightness < before.brightness - 0.03
    assert darker.strength_hematoxylin is not None
    assert before.strength_hematoxylin is not None
    assert darker.strength_hematoxylin / before.strength_hematoxylin == pytest.approx(1.3, abs=0.1)
    np.testing.assert_allclose(darker.stain_hematoxylin, before.stain_hematoxylin, atol=0.05)
    coarser = look(mpp=0.6)
    assert coarser.mpp == pytest.approx(0.6)


def test_stains_that_cannot_be_told_apart_are_none_with_a_reason(
    look: Callable[..., InputStatistics],
) -> None:
    def single(pixels: Pixels) -> Pixels:
        """All that there is absorbs green alone."""
        return intensities(optical_density(pixels).mean(axis=2, keepdims=True) * [0, 1.5, 0])

    found = look(single)
    assert (found.stain_hematoxylin, found.stain_eosin) == (None, None)
    assert (found.strength_hematoxylin, found.strength_eosin) == (None, None)
    assert found.stain_reason is not None
    assert "'a'" in found.stain_reason


def test_a_scanner_is_known_where_the_file_says_it(tmp_path: Path, shared_data: Path) -> None:
    path = tmp_path / "named.tiff"
    tifffile.imwrite(
        path,
        np.full((256, 256, 3), 255, np.uint8),
        photometric="rgb",
        tile=(128, 128),
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        extratags=[(272, 2, None, "NanoZoomer  S60 ", True)],
    )
    for given, scanner in (
        (path, "NanoZoomer S60"),
        (shared_data / "wsi" / "CMU-1-Small-Region.svs", "CPAPERIOCS"),
    ):
        with open_reader(given) as reader:
            assert reader.scanner == scanner
