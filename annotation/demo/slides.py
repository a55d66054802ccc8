"""The demo's slides: small generated sections whose true regions are known.

Nothing else in the package knows these slides: they are written as pyramidal TIFFs and come in
through the same doors as real ones.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Polygon

__all__ = [
    "GRADES",
    "INFLAMMATION",
    "DemoRegion",
    "DemoSlide",
    "blob",
    "demo_slides",
    "write_slide",
]

GRADES = ("Benign", "Low grade", "High grade")
INFLAMMATION = "Inflammation"

_SITES = (("North", 0.5, 2304, 2048), ("South", 0.4, 2688, 2560))
_EDGE_SLIDE = 4
_NESTED = (1, 5, 9)
_GAP_UM = 24.0
_TRIES = 60


@dataclass(frozen=True, slots=True)
class DemoRegion:
    """A true region.

    Attributes
    ----------
    class_name
        What it is.
    grade
        Where it stands on the continuous scale behind `GRADES`: 0.4 is Benign, and nearly Low
        grade. None for inflammation.
    polygon
        Its outline, in level-0 pixels.
    """

    class_name: str
    grade: float | None
    polygon: Polygon


@dataclass(frozen=True, slots=True)
class DemoSlide:
    """A generated slide; where true regions lie in one another, the inner one holds."""

    index: int
    name: str
    patient: str
    site: str
    width_px: int
    height_px: int
    mpp: float
    seed: int
    tissue: Polygon
    regions: tuple[DemoRegion, ...]


def demo_slides(seed: int = 0, count: int = 12) -> tuple[DemoSlide, ...]:
    """Return `count` slides of as many patients, by turns of two sites."""
    return tuple(_slide(seed, index) for index in range(count))


def blob(
    rng: Generator, center: tuple[float, float], radius: tuple[float, float], roughness: float
) -> Polygon:
    """Return a smooth closed outline around `center`, off an ellipse by about `roughness`."""
    angle = np.linspace(0.0, 2.0 * np.pi, 80, endpoint=False)
    waves = np.arange(2, 8)
    amplitude = rng.normal(0.0, roughness, waves.size) / np.sqrt(waves)
    phase = rng.uniform(0.0, 2.0 * np.pi, waves.size)
    swell = 1.0 + (amplitude[:, None] * np.cos(waves[:, None] * angle + phase[:, None])).sum(0)
    swell = np.maximum(swell, 0.4)
    x = center[0] + radius[0] * swell * np.cos(angle)
    y = center[1] + radius[1] * swell * np.sin(angle)
    return Polygon(np.column_stack([x, y]))


def _slide(seed: int, index: int) -> DemoSlide:
    rng = np.random.default_rng([seed, index])
    site, mpp, width_px, height_px = _SITES[index % len(_SITES)]
    frame = shapely.box(0.0, 0.0, width_px, height_px)
    at_edge = index == _EDGE_SLIDE
    center = (width_px * (0.36 if at_edge else 0.5), height_px * 0.5)
    margin = 0.0 if at_edge else 30.0
    tissue = blob(rng, center, (width_px * 0.45, height_px * 0.45), 0.05)
    tissue = tissue.intersection(shapely.box(margin, margin, width_px - margin, height_px - margin))
    regions: list[DemoRegion] = []
    if at_edge:
        lesion = blob(rng, (60.0 / mpp, height_px * 0.45), (110.0 / mpp, 130.0 / mpp), 0.06)
        regions.append(_graded(rng, 1, lesion.intersection(frame)))
    for radius_um, grade in _composition(rng, index):
        outline = _place(rng, tissue, regions, radius_um / mpp, _GAP_UM / mpp)
        if outline is None:
            continue
        if grade is None:
            regions.append(DemoRegion(INFLAMMATION, None, outline))
            continue
        regions.append(_graded(rng, grade, outline))
        if index in _NESTED and radius_um > 150.0:
            inner = shapely.affinity.scale(outline, 0.45, 0.45, origin=outline.centroid)
            regions.append(_graded(rng, 2, inner))
    return DemoSlide(
        index=index,
        name=f"DEMO-{index + 1:02d}",
        patient=f"P{index + 1:02d}",
        site=site,
        width_px=width_px,
        height_px=height_px,
        mpp=mpp,
        seed=seed * 1000 + index,
        tissue=tissue,
        regions=tuple(regions),
    )


def _composition(rng: Generator, index: int) -> list[tuple[float, int | None]]:
    """Return radius in um and grade (None for inflammation) of the regions to place."""
    severity = (0.15, 0.5, 0.85)[index % 3]
    wanted: list[tuple[float, int | None]] = []
    if index in _NESTED:
        wanted.append((165.0, 1))
    for radius_um in (140.0, 120.0, 110.0, 100.0, 90.0, 80.0):
        grade = int(rng.binomial(2, severity))
        wanted.append((radius_um * float(rng.uniform(0.9, 1.1)), grade))
    if index % 2 == 0:
        wanted.append((70.0, None))
    return wanted


def _graded(rng: Generator, grade: int, outline: Polygon) -> DemoRegion:
    return DemoRegion(GRADES[grade], grade + float(rng.uniform(-0.5, 0.5)), outline)


def _place(
    rng: Generator, tissue: Polygon, placed: list[DemoRegion], radius_px: float, gap_px: float
) -> Polygon | None:
    """Return an outline within the tissue and apart from the others, None where none fits."""
    inside = tissue.buffer(-gap_px)
    shapely.prepare(inside)
    left, top, right, bottom = inside.bounds
    others = shapely.union_all([region.polygon.buffer(gap_px) for region in placed])
    for _ in range(_TRIES):
        center = float(rng.uniform(left, right)), float(rng.uniform(top, bottom))
        stretch = float(rng.uniform(0.8, 1.25))
        outline = blob(rng, center, (radius_px * stretch, radius_px / stretch), 0.07)
        if inside.contains(outline) and not outline.intersects(others):
            return outline
    return None


def write_slide(slide: DemoSlide, folder: str | Path) -> Path:
    """Paint a slide and write it as a tiled, JPEG-compressed TIFF with levels 1x and 4x."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import NotGeoreferencedWarning

    from annotation.demo.painting import paint

    pixels = paint(slide)
    path = Path(folder) / f"{slide.name}.tiff"
    pixels_per_cm = f"{1e4 / slide.mpp:.10g}"
    jpeg = {"COMPRESS": "JPEG", "PHOTOMETRIC": "YCBCR", "INTERLEAVE": "PIXEL"}
    overview = {f"{key}_OVERVIEW": value for key, value in jpeg.items()}
    with (
        warnings.catch_warnings(),
        rasterio.Env(**overview, JPEG_QUALITY_OVERVIEW="85", GDAL_TIFF_OVR_BLOCKSIZE="256"),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=slide.width_px,
            height=slide.height_px,
            count=3,
            dtype="uint8",
            tiled=True,
            blockxsize=256,
            blockysize=256,
            jpeg_quality=85,
            **jpeg,
        ) as tiff:
            tiff.write(np.moveaxis(pixels, 2, 0))
            tiff.update_tags(
                TIFFTAG_XRESOLUTION=pixels_per_cm,
                TIFFTAG_YRESOLUTION=pixels_per_cm,
                TIFFTAG_RESOLUTIONUNIT="3",  # pixels per centimetre
            )
            tiff.build_overviews([4], Resampling.average)
    return path
