"""The demo's simulated pathologists."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from annotation.demo.protocol import DEMO_PROTOCOL
from annotation.demo.readers import (
    ADJUDICATOR,
    DEMO_READERS,
    DOMAIN_CLASS,
    adjudicator_answer,
    read_demo_slide,
)
from annotation.demo.slides import GRADES, DemoSlide, demo_slides
from annotation.protocol import parse_protocol
from annotation.records import PathObject

PROTOCOL = parse_protocol(DEMO_PROTOCOL, "demo protocol")
SLIDES = demo_slides(0)
READS = {
    reader.handle: [read_demo_slide(slide, reader) for slide in SLIDES] for reader in DEMO_READERS
}
OVER, UNDER, SHIFTS, PARTIAL = (reader.handle for reader in DEMO_READERS)


def lesions(handle: str) -> Iterator[tuple[DemoSlide, PathObject]]:
    """All objects of a reader but the domains."""
    for slide, read in zip(SLIDES, READS[handle], strict=True):
        yield from ((slide, drawn) for drawn in read[1:])


def seen(handle: str) -> Iterator[tuple[DemoSlide, BaseGeometry, int, PathObject]]:
    """The true graded regions with what a reader drew there, one to one."""
    for slide, read in zip(SLIDES, READS[handle], strict=True):
        for region in slide.regions:
            if region.class_name not in GRADES:
                continue
            alike = [
                drawn for drawn in read[1:]
                if drawn.geometry.intersection(region.polygon).area
                > 0.6 * drawn.geometry.union(region.polygon).area
            ]  # fmt: skip
            for drawn in alike:
                yield slide, region.polygon, GRADES.index(region.class_name), drawn


def mean_upgrade(handle: str) -> float:
    """How many grades too high a reader calls on average."""
    called = [
        (PROTOCOL.map_class(drawn.path_class).name, true) for _, _, true, drawn in seen(handle)
    ]
    return float(np.mean([GRADES.index(name) - true for name, true in called if name in GRADES]))


def growth_um(handle: str) -> float:
    """By how much a reader's outlines lie outside of the true ones on average."""
    return float(
        np.mean([(d.geometry.area - t.area) / t.length * s.mpp for s, t, _, d in seen(handle)])
    )


def shift_um(handle: str) -> float:
    """How far a reader's outlines lie off on average."""
    return float(
        np.mean([d.geometry.centroid.distance(t.centroid) * s.mpp for s, t, _, d in seen(handle)])
    )


def test_a_read_is_the_same_every_time() -> None:
    assert read_demo_slide(SLIDES[3], DEMO_READERS[2]) == READS[SHIFTS][3]
    assert read_demo_slide(demo_slides(1)[3], DEMO_READERS[2]) != READS[SHIFTS][3]


def test_every_read_is_what_qupath_could_hold() -> None:
    """A locked domain first, then valid polygons with float32 vertices; no UUID stands twice."""
    uuids = []
    for reads in READS.values():
        for read in reads:
            assert (read[0].path_class, read[0].locked) == (DOMAIN_CLASS, True)
            for drawn in read:
                uuids.append(uuid.UUID(drawn.uuid))
                assert drawn.geometry.geom_type == "Polygon"
                assert drawn.geometry.is_valid
                vertices = shapely.get_coordinates(drawn.geometry)
                assert np.array_equal(vertices, vertices.astype(np.float32))
            for drawn in read[1:]:
                assert not drawn.locked
                assert 20 <= len(drawn.geometry.exterior.coords) <= 400
    assert len(set(uuids)) == len(uuids)
    assert {identity.version for identity in uuids} == {4}


def test_readers_agree_with_the_truth_up_to_their_habits() -> None:
    assert mean_upgrade(OVER) > 0.15
    assert mean_upgrade(UNDER) < -0.12
    assert abs(mean_upgrade(SHIFTS)) < 0.1
    assert growth_um(OVER) > 3.0
    assert growth_um(UNDER) < -0.8
    assert abs(growth_um(PARTIAL)) < 0.8
    assert 4.0 < shift_um(SHIFTS) < 10.0
    assert shift_um(PARTIAL) < 2.0


def test_one_reader_leaves_a_part_of_some_slides_out() -> None:
    for slide, partial, whole in zip(SLIDES, READS[PARTIAL], READS[OVER], strict=True):
        share = partial[0].geometry.area / whole[0].geometry.area
        assert (share < 0.7) == (slide.index in DEMO_READERS[3].half_read)
        assert all(drawn.geometry.intersects(partial[0].geometry) for drawn in partial[1:])
    assert len(list(lesions(PARTIAL))) < len(list(lesions(OVER))) - 8


def test_reads_have_the_blemishes_of_real_ones_and_few_of_them() -> None:
    """One object without a class, an alias, a misspelt class, one object over the slide's edge."""
    kinds: Counter[str] = Counter()
    over_the_edge = 0
    spelt = set()
    for handle in READS:
        for slide, drawn in lesions(handle):
            mapping = PROTOCOL.map_class(drawn.path_class)
            kinds[mapping.kind] += 1
            spelt.add(drawn.path_class)
            if mapping.kind == "unmapped":
                assert (drawn.path_class, mapping.nearest) == ("Hihg grade", "High grade")
            frame = shapely.box(0, 0, slide.width_px, slide.height_px)
            over_the_edge += not frame.covers(drawn.geometry)
    assert kinds["unclassified"] == 1
    assert 1 <= kinds["unmapped"] <= 4
    assert "Low-grade" in spelt
    assert over_the_edge == 1
    assert kinds["class"] > 200


def test_the_protocol_is_ordinal_and_declares_its_domain() -> None:
    assert PROTOCOL.class_names == (*GRADES, "Inflammation", "background")
    assert PROTOCOL.ranks[:3] == (0.0, 1.0, 2.0)
    assert (PROTOCOL.weights, PROTOCOL.domain.rule) == ("quadratic", "declared")
    assert PROTOCOL.map_class(DOMAIN_CLASS).kind == "domain"
    assert ADJUDICATOR not in READS


@pytest.mark.parametrize("seed", [0, 1])
def test_a_study_has_enough_disputes_to_show_and_few_enough_to_decide(seed: int) -> None:
    """Slivers between two hands mostly stay below the protocol's smallest area."""
    disputes = [d for slide in demo_slides(seed) for d in disputed_regions(slide)]
    assert 10 <= len(disputes) <= 60
    answers = Counter(adjudicator_answer(slide, region) for slide, region in disputes)
    assert set(answers) <= {*PROTOCOL.class_names, "indeterminate"}
    assert 0 < answers["indeterminate"] < len(disputes) / 2


def disputed_regions(slide: DemoSlide) -> list[tuple[DemoSlide, BaseGeometry]]:
    """Connected places on which no class has more than the quorum of those who read them."""
    maps = [label_map(read_demo_slide(slide, reader)) for reader in DEMO_READERS]
    whole = shapely.union_all([part for labels in maps for part in labels.values()])
    faces: dict[tuple[str | None, ...], BaseGeometry] = {(): whole}
    for labels in maps:
        read = shapely.union_all(list(labels.values()))
        faces = {
            (*pattern, name): part
            for pattern, face in faces.items()
            for name, area in [*labels.items(), (None, whole.difference(read))]
            if (part := face.intersection(area)).area > 0
        }
    found = []
    for pattern, face in faces.items():
        votes = Counter(name for name in pattern if name is not None)
        if votes.total() < PROTOCOL.consensus.min_raters:
            continue
        if max(votes.values()) <= PROTOCOL.consensus.quorum * votes.total():
            parts = shapely.get_parts(face)
            large = PROTOCOL.dispute.min_area_um2 / slide.mpp**2
            found += [(slide, part) for part in parts if part.area >= large]
    return found


def label_map(read: tuple[PathObject, ...]) -> dict[str, BaseGeometry]:
    """What one reader said, by class; the smaller of overlapping objects holds."""
    rest = read[0].geometry
    labels: dict[str, list[BaseGeometry]] = defaultdict(list)
    for drawn in sorted(read[1:], key=lambda drawn: drawn.geometry.area):
        name = PROTOCOL.map_class(drawn.path_class).name
        if name is not None:
            labels[name].append(drawn.geometry.intersection(rest))
            rest = rest.difference(drawn.geometry)
    return {name: shapely.union_all(parts) for name, parts in labels.items()} | {"background": rest}


def test_the_adjudicator_says_what_is_true() -> None:
    """The inner region before the outer, background outside, and nothing where she can't say."""
    slide = SLIDES[1]
    outer = slide.regions[0]
    inner = next(r for r in slide.regions[1:] if outer.polygon.contains(r.polygon))
    clear = [r for r in slide.regions if r.grade and abs(r.grade % 1.0 - 0.5) > 0.1]
    assert len(clear) >= 3
    for region in clear:
        within = region.polygon.difference(inner.polygon) if region is outer else region.polygon
        assert adjudicator_answer(slide, within) == region.class_name
    corner = shapely.box(0, 0, 40, 40)
    assert adjudicator_answer(slide, corner) == "background"
    x, y = clear[-1].polygon.exterior.coords[0]
    assert adjudicator_answer(slide, shapely.Point(x, y).buffer(10)) == "indeterminate"


def test_a_lesion_on_the_border_of_two_grades_is_indeterminate() -> None:
    doubtful = [
        (slide, region.polygon)
        for slide in SLIDES
        for region in slide.regions
        if region.grade is not None
        and abs(region.grade - GRADES.index(region.class_name)) > 0.43
        and not any(region.polygon.contains(r.polygon) for r in slide.regions if r is not region)
    ]
    assert doubtful
    assert {adjudicator_answer(slide, polygon) for slide, polygon in doubtful} == {"indeterminate"}
