"""Paints the demo's slides: glands, nuclei and fibres in haematoxylin and eosin.

Two pictures are drawn, one per stain, and turned to colour by the law of Beer and Lambert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.random import Generator
from numpy.typing import NDArray
from shapely import Polygon

from annotation.demo.slides import GRADES, DemoSlide, blob

if TYPE_CHECKING:
    from PIL import ImageDraw

__all__ = ["paint"]

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.12, 0.84, 0.40])
_STAINS = {"North": (1.9, 0.85), "South": (1.6, 1.05)}
_GLASS = np.array([245.0, 244.0, 246.0])
_CORNERS = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)


def paint(slide: DemoSlide) -> Bytes:
    """Return the slide's level 0, shape (height_px, width_px, 3)."""
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(slide.seed)
    angle = float(rng.uniform(0.0, np.pi))
    mask = Image.new("L", (slide.width_px, slide.height_px))
    canvas = _Canvas(mask, mask, 1.0 / slide.mpp)
    canvas.draw_both([_points(slide.tissue)], 255, 255)
    fibres = _fibres(rng, slide, angle)
    inside = np.asarray(mask) > 0
    haematoxylin = Image.fromarray(np.where(inside, 12 + fibres // 12, 0).astype(np.uint8))
    eosin = Image.fromarray(np.where(inside, fibres, 0).astype(np.uint8))
    canvas = _Canvas(haematoxylin, eosin, 1.0 / slide.mpp)
    _paint_stroma(canvas, rng, slide.tissue, angle)
    for number, region in enumerate(slide.regions):
        within = [other.polygon for other in slide.regions[number + 1 :]]
        outline = region.polygon.difference(shapely.union_all(within))
        _PAINTERS.get(region.class_name, _paint_inflammation)(canvas, rng, outline)
    blur = ImageFilter.BoxBlur(0.35 / slide.mpp)
    return _coloured(
        np.asarray(haematoxylin.filter(blur)), np.asarray(eosin.filter(blur)), rng, slide.site
    )


class _Canvas:
    """Draws shapes in both stains at once; lengths are in um where they say so."""

    def __init__(self, haematoxylin: object, eosin: object, px_per_um: float) -> None:
        from PIL import ImageDraw

        self._haematoxylin: ImageDraw.ImageDraw = ImageDraw.Draw(haematoxylin)  # type: ignore[arg-type]
        self._eosin: ImageDraw.ImageDraw = ImageDraw.Draw(eosin)  # type: ignore[arg-type]
        self.px_per_um = px_per_um

    def draw_both(self, outlines: list[list[float]], haematoxylin: int, eosin: int) -> None:
        for outline in outlines:
            self._haematoxylin.polygon(outline, fill=haematoxylin)
            self._eosin.polygon(outline, fill=eosin)

    def nuclei(
        self,
        rng: Generator,
        centers: Floats,
        radius_um: float,
        *,
        stretch: float = 1.25,
        angles: Floats | None = None,
        haematoxylin: int = 190,
    ) -> None:
        """Draw ellipses; without `angles` they lie anyhow."""
        count = len(centers)
        if angles is None:
            angles = rng.uniform(0.0, np.pi, count)
        size = radius_um * self.px_per_um * rng.uniform(0.8, 1.25, count)
        long = (size * stretch)[:, None] * np.cos(_CORNERS)
        short = (size / stretch)[:, None] * np.sin(_CORNERS)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        x = centers[:, :1] + long * cos - short * sin
        y = centers[:, 1:] + long * sin + short * cos
        outlines = np.stack([x, y], axis=2).reshape(count, -1).tolist()
        depth = np.clip(rng.normal(haematoxylin, 18, count), 60, 255).astype(int).tolist()
        for outline, value in zip(outlines, depth, strict=True):
            self._haematoxylin.polygon(outline, fill=value)
            self._eosin.polygon(outline, fill=70)

    def scatter(self, rng: Generator, polygon: Polygon, spacing_um: float, jitter: float) -> Floats:
        """Return points of a shaken honeycomb within `polygon`, shape (n, 2)."""
        step = spacing_um * self.px_per_um
        left, top, right, bottom = polygon.bounds
        rows = np.arange(top, bottom + step, step * 0.87)
        columns = np.arange(left - step, right + step, step)
        x, y = np.meshgrid(columns, rows)
        x[1::2] += step / 2
        points = np.column_stack([x.ravel(), y.ravel()])
        points += rng.uniform(-jitter, jitter, points.shape) * step
        inside: NDArray[np.bool_] = shapely.contains_xy(polygon, points)
        return points[inside]


def _points(polygon: Polygon) -> list[float]:
    return shapely.get_coordinates(polygon.exterior).ravel().tolist()  # type: ignore[no-any-return]


def _along(polygon: Polygon, spacing_px: float) -> tuple[Floats, Floats]:
    """Return points along an outline, and the direction of the outline there."""
    ring = polygon.exterior
    count = max(6, int(ring.length / spacing_px))
    at = np.arange(count) / count
    here = shapely.get_coordinates(shapely.line_interpolate_point(ring, at, normalized=True))
    ahead = np.roll(here, -1, axis=0) - here
    return here, np.arctan2(ahead[:, 1], ahead[:, 0])


def _fibres(rng: Generator, slide: DemoSlide, angle: float) -> NDArray[np.uint8]:
    """Return the eosin of stroma: wavy bundles along `angle`, with clefts between some."""
    from PIL import Image

    half = (slide.width_px // 2, slide.height_px // 2)

    def clouds(cells: int) -> NDArray[np.float32]:
        small = rng.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
        return np.asarray(Image.fromarray(small).resize(half, Image.Resampling.BICUBIC))

    y, x = np.mgrid[: half[1], : half[0]].astype(np.float32) * np.float32(2 * slide.mpp)
    across = x * np.float32(-np.sin(angle)) + y * np.float32(np.cos(angle))
    across += 26 * clouds(7) + 5 * clouds(30) + 1.2 * clouds(140)
    bundles = np.sin(across * np.float32(2 * np.pi / 19)) + np.sin(
        across * np.float32(2 * np.pi / 7.3)
    )
    shade = 128 + 17 * bundles + 15 * clouds(12) + 7 * clouds(220)
    shade[(bundles < -1.62) & (clouds(9) > 0.35)] = 14
    picture = Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8))
    return np.asarray(picture.resize((slide.width_px, slide.height_px), Image.Resampling.BILINEAR))


def _paint_stroma(canvas: _Canvas, rng: Generator, tissue: Polygon, angle: float) -> None:
    centers = canvas.scatter(rng, tissue.buffer(-6 * canvas.px_per_um), 24.0, 0.5)
    angles = rng.normal(angle, 0.35, len(centers))
    canvas.nuclei(rng, centers, 2.6, stretch=2.1, angles=angles, haematoxylin=165)


def _paint_benign(canvas: _Canvas, rng: Generator, region: Polygon) -> None:
    """Large glands with wide folded lumens and two regular rows of nuclei."""
    scale = canvas.px_per_um
    for x, y in canvas.scatter(rng, region.buffer(-22 * scale), 61.0, 0.08):
        radius = float(rng.uniform(25, 32)) * scale
        gland = blob(rng, (x, y), (radius, radius * float(rng.uniform(0.85, 1.15))), 0.08)
        canvas.draw_both([_points(gland)], 48, 78)
        lumen = blob(rng, (x, y), (radius * 0.56, radius * 0.56), 0.14)
        canvas.draw_both([_points(lumen)], 3, 6)
        if rng.random() < 0.35:
            secretion = blob(rng, (x, y), (radius * 0.25, radius * 0.2), 0.1)
            canvas.draw_both([_points(secretion)], 6, 95)
        for inset_um, spacing_um in ((3.2, 6.0), (9.0, 7.5)):
            row, angles = _along(gland.buffer(-inset_um * scale), spacing_um * scale)
            canvas.nuclei(rng, row, 2.7, angles=angles + np.pi / 2, haematoxylin=165)


def _paint_low_grade(canvas: _Canvas, rng: Generator, region: Polygon) -> None:
    """Small round glands that stand apart, each with one row of nuclei."""
    scale = canvas.px_per_um
    for x, y in canvas.scatter(rng, region.buffer(-9 * scale), 33.0, 0.16):
        radius = float(rng.uniform(11.5, 15.5)) * scale
        gland = blob(rng, (x, y), (radius, radius), 0.06)
        canvas.draw_both([_points(gland)], 72, 88)
        lumen = blob(rng, (x, y), (radius * 0.36, radius * 0.36), 0.1)
        canvas.draw_both([_points(lumen)], 3, 8)
        row, angles = _along(gland.buffer(-3.4 * scale), 5.8 * scale)
        canvas.nuclei(rng, row, 2.9, angles=angles, haematoxylin=195)


def _paint_high_grade(canvas: _Canvas, rng: Generator, region: Polygon) -> None:
    """Fused sheets of crowded, uneven nuclei with punched-out holes."""
    scale = canvas.px_per_um
    for x, y in canvas.scatter(rng, region.buffer(-16 * scale), 27.0, 0.3):
        nest = blob(rng, (x, y), (21 * scale, 19 * scale), 0.09)
        canvas.draw_both([_points(nest)], 84, 92)
    nuclei = canvas.scatter(rng, region, 9.2, 0.33)
    canvas.nuclei(rng, nuclei[::2], 3.1, stretch=1.15, haematoxylin=215)
    canvas.nuclei(rng, nuclei[1::2], 3.9, stretch=1.3, haematoxylin=190)
    for x, y in canvas.scatter(rng, region.buffer(-14 * scale), 30.0, 0.3):
        radius = float(rng.uniform(3.5, 6.5)) * scale
        canvas.draw_both([_points(blob(rng, (x, y), (radius, radius), 0.05))], 4, 10)


def _paint_inflammation(canvas: _Canvas, rng: Generator, region: Polygon) -> None:
    """Small dark round nuclei, packed, with little between."""
    centers = canvas.scatter(rng, region, 7.0, 0.4)
    canvas.nuclei(rng, centers, 2.5, stretch=1.05, haematoxylin=235)


_PAINTERS = dict(zip(GRADES, (_paint_benign, _paint_low_grade, _paint_high_grade), strict=True))


def _coloured(haematoxylin: Bytes, eosin: Bytes, rng: Generator, site: str) -> Bytes:
    """Return the colours of both stains together, with the grain of a camera."""
    strength_h, strength_e = _STAINS[site]
    depth = np.arange(256) / 255.0
    density = (
        strength_h * depth[:, None, None] * _HAEMATOXYLIN
        + strength_e * depth[None, :, None] * _EOSIN
    )  # haematoxylin, eosin, colour
    colours = (_GLASS * np.exp(-density)).astype(np.uint8).reshape(-1, 3)
    height, width = eosin.shape
    # 255 * 257 is the largest product that 16 bits hold.
    tile = np.clip(rng.normal(234.0, 16.0, (256, 256)), 180, 257).astype(np.uint16)
    grain = np.tile(tile, (height // 256 + 1, width // 256 + 1))[:height, :width]
    stains = (haematoxylin * grain) & 0xFF00 | eosin
    pixels: Bytes = colours.take(stains, axis=0)
    return pixels
