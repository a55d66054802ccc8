"""The demo's generated slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from annotation.demo.painting import paint
from annotation.demo.slides import GRADES, INFLAMMATION, demo_slides, write_slide
from annotation.slides import read_slide, thumbnail

SLIDES = demo_slides(0)


def test_twelve_slides_of_twelve_patients_at_two_sites_show_every_class() -> None:
    assert len(SLIDES) == len({slide.name for slide in SLIDES}) == 12
    assert len({slide.patient for slide in SLIDES}) == 12
    assert {slide.site for slide in SLIDES} == {"North", "South"}
    shown = [region.class_name for slide in SLIDES for region in slide.regions]
    for name in (*GRADES, INFLAMMATION):
        assert shown.count(name) >= 5, name


def test_a_seed_decides_the_slides() -> None:
    again = demo_slides(0)
    assert again == SLIDES
    assert demo_slides(0, 3) == SLIDES[:3]
    assert demo_slides(1)[0].regions[0].polygon != SLIDES[0].regions[0].polygon
    assert np.array_equal(paint(again[0]), paint(SLIDES[0]))


def test_true_regions_lie_in_the_slide_apart_or_in_one_another() -> None:
    nested = 0
    for slide in SLIDES:
        frame = shapely.box(0, 0, slide.width_px, slide.height_px)
        assert frame.covers(slide.tissue)
        for number, region in enumerate(slide.regions):
            assert region.polygon.is_valid
            assert frame.covers(region.polygon)
            for inner in slide.regions[number + 1 :]:
                contained = region.polygon.contains(inner.polygon)
                nested += contained
                assert contained or not region.polygon.intersects(inner.polygon)
    assert nested == 3


def test_a_region_is_of_the_grade_that_its_place_on_the_scale_rounds_to() -> None:
    for slide in SLIDES:
        for region in slide.regions:
            if region.grade is None:
                assert region.class_name == INFLAMMATION
            else:
                assert abs(region.grade - GRADES.index(region.class_name)) <= 0.5


@pytest.mark.parametrize("index", [0, 1], ids=["North", "South"])
def test_a_written_slide_opens_as_any_slide_does(tmp_path: Path, index: int) -> None:
    slide = SLIDES[index]
    path = write_slide(slide, tmp_path)
    record = read_slide(path)
    assert record.name == slide.name
    assert (record.width_px, record.height_px) == (slide.width_px, slide.height_px)
    assert (record.mpp, record.mpp_source) == (slide.mpp, "file")
    assert record.levels[1] == (slide.width_px // 4, slide.height_px // 4)
    assert path.stat().st_size < 4_000_000
    shown = np.asarray(thumbnail(path, 512)).astype(int)
    painted = paint(slide)[:: slide.width_px // 512, :: slide.width_px // 512].astype(int)
    assert np.abs(shown.mean((0, 1)) - painted.mean((0, 1))).max() < 3
    (tmp_path / "again").mkdir()
    assert read_slide(write_slide(slide, tmp_path / "again")).fingerprint == record.fingerprint


def test_what_is_painted_looks_like_what_is_true() -> None:
    """Glass is white, stroma pink, and each class has its own share of dark nuclei and of holes."""
    from PIL import Image, ImageDraw

    dark: dict[str, list[float]] = {name: [] for name in (*GRADES, INFLAMMATION, "stroma")}
    holes: dict[str, list[float]] = {name: [] for name in dark}
    for slide in (SLIDES[0], SLIDES[1]):
        pixels = paint(slide)
        assert pixels.shape == (slide.height_px, slide.width_px, 3)
        numbers = Image.new("L", (slide.width_px, slide.height_px), 255)
        draw = ImageDraw.Draw(numbers)
        draw.polygon([tuple(p) for p in slide.tissue.exterior.coords], fill=254)
        for number, region in enumerate(slide.regions):
            draw.polygon([tuple(p) for p in region.polygon.exterior.coords], fill=number)
        place = np.asarray(numbers)
        assert pixels[place == 255].mean() > 240
        red, green, blue = pixels[place == 254].mean(0)
        assert red > blue > green + 20
        names = [region.class_name for region in slide.regions]
        for number, name in [*enumerate(names), (254, "stroma")]:
            inside = pixels[place == number]
            dark[name].append(float((inside[:, 0] < 130).mean()))
            holes[name].append(float((inside[:, 1] > 225).mean()))
    darkness = {name: np.mean(shares) for name, shares in dark.items()}
    assert darkness["stroma"] < darkness["Benign"] < darkness["Low grade"]
    assert darkness["Low grade"] + 0.1 < min(darkness["High grade"], darkness[INFLAMMATION])
    assert np.mean(holes["Benign"]) > 1.5 * np.mean(holes["High grade"])
    assert np.mean(holes["High grade"]) > 2 * np.mean(holes[INFLAMMATION])
