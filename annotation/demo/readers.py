"""The demo's people: four simulated pathologists with different habits, and an adjudicator."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from annotation.demo.slides import GRADES, DemoRegion, DemoSlide, blob
from annotation.records import PathObject

__all__ = [
    "ADJUDICATOR",
    "DEMO_READERS",
    "DOMAIN_CLASS",
    "DemoReader",
    "adjudicator_answer",
    "read_demo_slide",
]

DOMAIN_CLASS = "Region*"
ADJUDICATOR = "eriksen"

_CLEAR_MAJORITY = 0.6
_BORDERLINE = 0.42


@dataclass(frozen=True, slots=True)
class DemoReader:
    """A simulated pathologist; slides are numbered from 0.

    Attributes
    ----------
    leaning, spread
        How far the scale of grades is read too high, and how unsteadily.
    grow_um, shift_um, jitter_um
        How generously outlines are drawn, how far off, and with how shaky a hand.
    invents, misses
        Chance per slide of calling plain stroma Low grade, and per lesion of leaving it out.
    tissue_outline
        Whether the domain follows the tissue, instead of being a rectangle round it.
    half_read
        Slides of which only the left part is declared and read.
    clips
        Whether outlines stop at the slide's edge.
    forgets_class_on, misspells_on, spelling
        Slides on which one object stays without a class, or on which classes are written so.
    """

    handle: str
    habit: str
    leaning: float = 0.0
    spread: float = 0.1
    grow_um: float = 0.0
    shift_um: float = 0.0
    jitter_um: float = 1.2
    invents: float = 0.0
    misses: float = 0.0
    tissue_outline: bool = False
    half_read: tuple[int, ...] = ()
    clips: bool = True
    forgets_class_on: tuple[int, ...] = ()
    misspells_on: tuple[int, ...] = ()
    spelling: Mapping[str, str] = field(default_factory=dict)


DEMO_READERS = (
    DemoReader(
        "adler", "over-calls: reads grades high, draws generously, sees lesions that aren't there",
        leaning=0.36, grow_um=4.0, invents=0.35, clips=False,
    ),
    DemoReader(
        "brandt", "under-calls: reads grades low, leaves small doubtful lesions out",
        leaning=-0.36, grow_um=-1.5, misses=0.08,
        misspells_on=(0, 1, 6), spelling={"Low grade": "Low-grade"},
    ),
    DemoReader(
        "costa", "shifts boundaries: outlines lie off by some microns, with a shaky hand",
        shift_um=9.0, jitter_um=3.0, spread=0.34, tissue_outline=True, forgets_class_on=(3,),
    ),
    DemoReader(
        "dahl", "leaves a region out: reads only a part of some slides",
        spread=0.34, misses=0.1, half_read=(2, 5, 8, 11),
        misspells_on=(10,), spelling={"High grade": "Hihg grade"},
    ),
)  # fmt: skip


def read_demo_slide(slide: DemoSlide, reader: DemoReader) -> tuple[PathObject, ...]:
    """Return what `reader` draws on `slide`: first the domain, then lesions, the outer ones first.

    The same reader draws the same on the same slide every time.
    """
    rng = np.random.default_rng([slide.seed, *reader.handle.encode()])
    domain = _domain(rng, slide, reader)
    frame = shapely.box(0.0, 0.0, slide.width_px, slide.height_px)
    drawn: list[tuple[str | None, Polygon]] = []
    for region, class_name in _calls(rng, slide, reader, domain):
        outline = _outline(rng, region, reader, slide.mpp)
        if reader.clips:
            outline = _float32(outline.intersection(frame))
        drawn.append((class_name, outline))
    if slide.index in reader.forgets_class_on and drawn:
        drawn[-1] = (None, drawn[-1][1])
    if slide.index in reader.misspells_on:
        drawn = [(reader.spelling.get(c, c) if c else c, outline) for c, outline in drawn]
    drawn.insert(0, (DOMAIN_CLASS, domain))
    return tuple(
        PathObject(
            uuid=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
            object_type="annotation",
            path_class=path_class,
            name="Read" if number == 0 else None,
            locked=number == 0,
            geometry=outline,
        )
        for number, (path_class, outline) in enumerate(drawn)
    )


def adjudicator_answer(slide: DemoSlide, dispute: BaseGeometry) -> str:
    """Return the class that truly covers most of a disputed region, or `indeterminate`.

    It is indeterminate where no class covers a clear majority of the region, or where the lesion
    stands on the border of two grades, so that even an expert can't say.
    """
    area = dispute.area
    rest = dispute
    covered: dict[str, float] = {}
    grades: dict[str, float] = {}
    for region in reversed(slide.regions):  # the inner before the outer
        part = rest.intersection(region.polygon).area
        if region.grade is not None and part > covered.get(region.class_name, 0.0):
            grades[region.class_name] = region.grade
        covered[region.class_name] = covered.get(region.class_name, 0.0) + part
        rest = rest.difference(region.polygon)
    covered["background"] = rest.area
    answer = max(covered, key=lambda name: covered[name])
    doubtful = answer in grades and abs(grades[answer] - GRADES.index(answer)) > _BORDERLINE
    return "indeterminate" if doubtful or covered[answer] <= _CLEAR_MAJORITY * area else answer


def _domain(rng: Generator, slide: DemoSlide, reader: DemoReader) -> Polygon:
    left, top, right, bottom = slide.tissue.buffer(15.0 / slide.mpp).bounds
    edges = np.array([left, top, right, bottom]) + rng.normal(0.0, 5.0 / slide.mpp, 4)
    if slide.index in reader.half_read:
        edges[2] = edges[0] + 0.62 * (edges[2] - edges[0])
    rectangle = shapely.box(*np.round(edges))
    if reader.tissue_outline:
        outline = slide.tissue.buffer(12.0 / slide.mpp).simplify(4.0 / slide.mpp)
        rectangle = outline.intersection(rectangle.buffer(30.0 / slide.mpp))
    frame = shapely.box(0.0, 0.0, slide.width_px, slide.height_px)
    return _float32(rectangle.intersection(frame))


def _calls(
    rng: Generator, slide: DemoSlide, reader: DemoReader, domain: Polygon
) -> list[tuple[Polygon, str]]:
    """Return which regions the reader sees, and what she calls them."""
    calls: list[tuple[Polygon, str]] = []
    for region in slide.regions:
        called = _grade(rng, region, reader)
        missed = rng.random() < reader.misses
        if missed or not domain.intersects(region.polygon):
            continue
        around = [name for outer, name in calls if outer.contains(region.polygon)]
        if around != [called]:
            calls.append((region.polygon, called))
    if rng.random() < reader.invents:
        drawn = shapely.union_all(
            [region.polygon.buffer(20.0 / slide.mpp) for region in slide.regions]
        )
        for _ in range(20):
            left, top, right, bottom = slide.tissue.bounds
            center = float(rng.uniform(left, right)), float(rng.uniform(top, bottom))
            phantom = blob(rng, center, (45.0 / slide.mpp, 35.0 / slide.mpp), 0.1)
            if slide.tissue.contains(phantom) and not phantom.intersects(drawn):
                calls.append((phantom, GRADES[1]))
                break
    return calls


def _grade(rng: Generator, region: DemoRegion, reader: DemoReader) -> str:
    slip = reader.leaning + rng.normal(0.0, reader.spread)
    if region.grade is None:
        return region.class_name
    return GRADES[int(np.clip(np.round(region.grade + slip), 0, len(GRADES) - 1))]


def _outline(rng: Generator, region: Polygon, reader: DemoReader, mpp: float) -> Polygon:
    """Return `region` as a hand draws it: resampled, grown, off its place and uneven."""
    ring = region.buffer(reader.grow_um / mpp).exterior
    count = int(np.clip(ring.length * mpp / 9.0, 24, 160))
    at = np.linspace(0.0, 1.0, count, endpoint=False)
    points = shapely.get_coordinates(shapely.line_interpolate_point(ring, at, normalized=True))
    waves = np.arange(2, 13)
    amplitude = rng.normal(0.0, reader.jitter_um / mpp, waves.size) / np.sqrt(waves)
    phase = rng.uniform(0.0, 2.0 * np.pi, waves.size)
    turns = 2.0 * np.pi * at
    uneven = (amplitude[:, None] * np.cos(waves[:, None] * turns + phase[:, None])).sum(0)
    ahead = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normal = np.column_stack([ahead[:, 1], -ahead[:, 0]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    direction = rng.uniform(0.0, 2.0 * np.pi)
    distance = rng.uniform(0.4, 1.0) * reader.shift_um / mpp
    offset = distance * np.array([np.cos(direction), np.sin(direction)])
    return _float32(Polygon(points + uneven[:, None] * normal + offset))


def _float32(geometry: BaseGeometry) -> Polygon:
    """Return the largest polygon of a geometry, its vertices as QuPath keeps them."""
    rounded = shapely.transform(geometry, lambda xy: xy.astype(np.float32).astype(np.float64))
    parts = shapely.get_parts(shapely.make_valid(rounded))
    polygons = [part for part in parts if isinstance(part, Polygon)]
    return max(polygons, key=lambda part: part.area)
