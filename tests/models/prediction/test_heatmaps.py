"""Heatmaps show each tile where it lies, in a colour that can be read off the scale."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.encoders.encoder import Encoder
from models.encoding import SlideImage
from models.prediction.heatmaps import (
    Heatmap,
    draw_heatmap,
    draw_regions,
    heatmaps_of,
    write_heatmaps,
)
from models.prediction.predictor import Predicted, Predictor
from models.prediction.settings import PredictionSettings
from tests.models.prediction.conftest import CLASSES, MakeModel

OPACITY = 0.6


@pytest.fixture(scope="module")
def of_bag(make_model: MakeModel, encoder: Encoder, image: SlideImage) -> Predicted:
    model = make_model("abmil", hidden=16, dropout=0.3)
    settings = PredictionSettings(passes=3)
    return Predictor.open([model], encoder=encoder, settings=settings).predict(image)


@pytest.fixture(scope="module")
def of_masks(make_model: MakeModel, image: SlideImage) -> Predicted:
    settings = PredictionSettings(method="none", min_region_um2=100.0)
    model = make_model("unet", width=8, depth=1)
    return Predictor.open([model], encoder=None, settings=settings).predict(image)


def white(predicted: Predicted) -> Predicted:
    """The same on a slide that is white all over."""
    tissue = predicted.tissue
    picture = replace(tissue.picture, pixels=np.full_like(tissue.picture.pixels, 255))
    return replace(predicted, tissue=replace(tissue, picture=picture))


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def how_many(pixels: NDArray[np.uint8], value: float) -> int:
    colour = np.array(matplotlib.colormaps["viridis"](value)[:3])
    wanted = np.rint(255 * (OPACITY * colour + 1 - OPACITY))
    return int((np.abs(pixels - wanted).max(axis=2) <= 2).sum())


def test_tiles_have_the_scales_colour_and_what_is_no_tile_shows_the_slide(
    of_bag: Predicted,
) -> None:
    values = np.full(len(of_bag.slide.coordinates), 0.25)
    values[3] = 0.75
    pixels = pixels_of(draw_heatmap(white(of_bag), Heatmap("a", "A", values, 0.0, 1.0)))
    low, high = how_many(pixels, 0.25), how_many(pixels, 0.75)
    assert high > 100
    slide = of_bag.slide
    extent = np.array([slide.width_px, slide.height_px])
    end = np.minimum(slide.coordinates + slide.side_px, extent)
    area = (end - slide.coordinates).prod(axis=1)
    assert low / high == pytest.approx(area.sum() / area[3] - 1, rel=0.05)
    beyond = pixels_of(draw_heatmap(white(of_bag), Heatmap("a", "A", values + 5, 0.0, 1.0)))
    assert how_many(beyond, 1.0) == pytest.approx(low + high, rel=0.02)


def test_a_slide_has_a_map_of_attention_of_each_class_and_of_how_sure_it_is(
    of_bag: Predicted, of_masks: Predicted
) -> None:
    names = [one.name for one in heatmaps_of(of_bag)]
    assert names == [
        "attention", *(f"class {name}" for name in CLASSES), "entropy", "mutual information",
    ]  # fmt: skip
    attention = heatmaps_of(of_bag)[0]
    assert attention.values.mean() == pytest.approx(1, abs=1e-5)
    assert [one.name for one in heatmaps_of(of_masks)] == [
        *(f"class {name}" for name in CLASSES), "entropy",
    ]  # fmt: skip


def test_regions_are_outlined_in_the_colours_of_their_classes(of_masks: Predicted) -> None:
    empty = white(replace(of_masks, regions=[]))
    colours = {
        name: np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)])
        for name, code in zip(CLASSES, ("#D55E00", "#0072B2", "#009E73", "#CC79A7"), strict=True)
    }

    def drawn(predicted: Predicted, name: str) -> int:
        pixels = pixels_of(draw_regions(predicted)).astype(int)
        return int((np.abs(pixels - colours[name]).max(axis=2) < 30).sum())

    outlined = {region.class_name for region in of_masks.regions}
    assert outlined
    for name in CLASSES:
        assert (drawn(white(of_masks), name) > 50) == (name in outlined)
        assert drawn(empty, name) == 0


def test_files_are_named_after_what_they_show_and_stay_in_the_slides_folder(
    of_masks: Predicted, tmp_path: Path
) -> None:
    slide = replace(
        of_masks.slide, slide="../a/b", classes=("background", "../up", "$x_", "entropy")
    )
    renamed = replace(of_masks, slide=slide)
    paths = write_heatmaps(tmp_path, renamed)
    assert len({path.name for path in paths}) == 6
    assert {path.parent.parent for path in paths} == {tmp_path}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    again = draw_heatmap(renamed, heatmaps_of(renamed)[0])
    assert again == paths[0].read_bytes()
