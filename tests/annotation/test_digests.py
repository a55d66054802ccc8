"""Digests: what makes two outlines, and two objects, the same."""

from __future__ import annotations

import math
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.digests import content_digests, derive_uuid, geometry_digests
from annotation.records import PathObject

UUID = "26b06e11-096e-4cc2-b7dc-8441bcf74cb1"

# A coarse lattice brings about what trips normal forms: repeated vertices, spikes, bow-ties.
lattice = st.tuples(st.integers(0, 3), st.integers(0, 3))
rings = st.lists(lattice, min_size=3, max_size=9)
polygons = st.builds(lambda shell, holes: (shell, holes), rings, st.lists(rings, max_size=3))
quick = settings(max_examples=150, deadline=None)

Ring = list[tuple[int, int]]


def digest(geometry: Any) -> bytes:
    return geometry_digests(np.array([geometry], dtype=object))[0]


def turn(ring: Ring, data: st.DataObject) -> Ring:
    """The same ring from another vertex, and perhaps the other way round."""
    start = data.draw(st.integers(0, len(ring) - 1))
    turned = ring[start:] + ring[:start]
    return turned[::-1] if data.draw(st.booleans()) else turned


def least_cycle(ring: Ring) -> tuple[tuple[int, int], ...]:
    """The definition, by trying everything: no repeats, all rotations, both directions."""
    cycle = [one for one, after in zip(ring, ring[1:] + ring[:1], strict=True) if one != after]
    cycle = cycle or ring[:1]
    turns = [
        tuple(directed[i:] + directed[:i])
        for directed in (cycle, cycle[::-1])
        for i in range(len(cycle))
    ]
    return min(turns)


@given(polygons, st.data())
@quick
def test_a_polygon_is_its_rings_however_they_are_written(
    polygon: tuple[Ring, list[Ring]], data: st.DataObject
) -> None:
    """First vertex, direction and order of the holes are no part of an outline."""
    shell, holes = polygon
    again = data.draw(st.permutations([turn(hole, data) for hole in holes]))
    assert digest(shapely.Polygon(shell, holes)) == digest(
        shapely.Polygon(turn(shell, data), again)
    )


@given(rings, rings)
@quick
def test_rings_are_equal_just_where_their_cycles_are(one: Ring, other: Ring) -> None:
    """Two rings have one digest if and only if the definition calls them the same."""
    same = least_cycle(one) == least_cycle(other)
    assert (digest(shapely.Polygon(one)) == digest(shapely.Polygon(other))) is same


@given(st.lists(rings, min_size=1, max_size=4), st.data())
@quick
def test_parts_have_no_order(parts: list[Ring], data: st.DataObject) -> None:
    """The order of a multipolygon's parts is no part of it; one part alone is a polygon."""
    multi = shapely.MultiPolygon([shapely.Polygon(part) for part in parts])
    again = shapely.MultiPolygon([shapely.Polygon(p) for p in data.draw(st.permutations(parts))])
    assert digest(multi) == digest(again)
    assert digest(shapely.MultiPolygon([shapely.Polygon(parts[0])])) == digest(
        shapely.Polygon(parts[0])
    )


@given(st.lists(lattice, min_size=2, max_size=8).filter(lambda line: len(set(line)) > 1))
@quick
def test_a_line_has_no_direction(line: Ring) -> None:
    """A line and its reverse are the same; a line that misses its last vertex is another."""
    assert digest(shapely.LineString(line)) == digest(shapely.LineString(line[::-1]))
    longer = [*line, (line[-1][0] + 5, line[-1][1])]
    assert digest(shapely.LineString(longer)) != digest(shapely.LineString(line))


def test_the_digest_does_not_depend_on_the_company() -> None:
    """A geometry has the same digest alone and among others of all types, empty ones too."""
    texts = [
        "POINT (1 2)",
        "MULTIPOINT (3 4, 1 2)",
        "POLYGON ((0 0, 9 0, 9 9, 0 0), (5 3, 6 3, 6 4, 5 3))",
        "POLYGON EMPTY",
        "LINESTRING (0 0, 5 5)",
        "MULTIPOLYGON (((0 0, 9 0, 9 9, 0 0)), ((20 0, 29 0, 29 9, 20 0)))",
        "GEOMETRYCOLLECTION (POINT (1 2), MULTIPOLYGON (((0 0, 9 0, 9 9, 0 0))))",
        "MULTILINESTRING ((0 0, 5 5), (7 7, 8 9))",
        "GEOMETRYCOLLECTION EMPTY",
        "POLYGON ((0 0, 0 0, 0 0, 0 0))",
        "MULTIPOLYGON EMPTY",
    ]
    geometries = shapely.from_wkt(np.array(texts, dtype=object))
    together = geometry_digests(geometries)
    assert together == [digest(geometry) for geometry in geometries]
    assert all(len(one) == 16 for one in together)
    assert geometry_digests([]) == []
    assert len(set(together)) == len(texts) - 2  # the three empty ones are alike


def test_a_hole_is_not_a_part() -> None:
    """The same two rings as shell and hole, and as two parts, are different outlines."""
    shell, hole = [(0, 0), (9, 0), (9, 9)], [(5, 3), (6, 3), (6, 4)]
    holed = shapely.Polygon(shell, [hole])
    parted = shapely.MultiPolygon([shapely.Polygon(shell), shapely.Polygon(hole)])
    assert len({digest(holed), digest(parted), digest(shapely.Polygon(hole, [shell]))}) == 3


@given(
    st.lists(
        st.tuples(st.integers(0, 20_000_000), st.integers(0, 20_000_000)), min_size=3, max_size=8
    )
)
@quick
def test_float32_vertices_and_their_export_are_the_same(hundredths: Ring) -> None:
    """A project's float32 vertices and QuPath's export of them, rounded to 0.01, agree."""
    kept = (np.array(hundredths) / 100 + 0.00123).astype(np.float32).astype(float)
    exported = np.floor(kept * 100 + 0.5) / 100
    written = np.array([[f"{number:.2f}" for number in pair] for pair in exported]).astype(float)
    assert digest(shapely.Polygon(kept)) == digest(shapely.Polygon(written))


def test_a_shift_by_the_grid_is_another_outline() -> None:
    """0.01 px is a difference, 0.001 px is not."""
    square = shapely.box(10, 10, 20, 20)
    moved = [shapely.transform(square, lambda xy, by=by: xy + by) for by in (0.001, 0.01)]
    assert digest(moved[0]) == digest(square)
    assert digest(moved[1]) != digest(square)


def test_a_large_ring_that_meets_its_smallest_vertex_twice() -> None:
    """The slow way to a ring's normal form is linear too, and finds the same from any start."""
    angle = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    ring = 50_000 + 30_000 * np.column_stack([np.cos(angle), np.sin(angle)])
    ring = np.vstack([ring[:1000], [[0, 0]], ring[1000:150_000], [[0, 0]], ring[150_000:]])
    assert digest(shapely.Polygon(ring)) == digest(
        shapely.Polygon(np.roll(ring, 777, axis=0)[::-1])
    )


def an_object(**changes: Any) -> PathObject:
    thing = PathObject(
        uuid=UUID,
        object_type="cell",
        path_class="Tumor",
        name="n",
        locked=False,
        geometry=shapely.box(0, 0, 10, 10),
        nucleus=shapely.box(2, 2, 5, 5),
        z=1,
        t=2,
        c=None,
        measurements={"a": 1.5, "b": math.nan},
        extra={"metadata": {"k": "v", "l": "w"}, "color": [1, 2, 3]},
    )
    return replace(thing, **changes)


def content(thing: PathObject) -> bytes:
    return content_digests([thing], [digest(thing.geometry)])[0]


CHANGES: list[dict[str, Any]] = [
    {"object_type": "detection"},
    {"path_class": "Stroma"},
    {"path_class": None},
    {"path_class": "tumor"},
    {"name": None},
    {"name": ""},
    {"locked": True},
    {"geometry": shapely.box(0, 0, 10, 10.01)},
    {"nucleus": None},
    {"nucleus": shapely.box(2, 2, 5, 6)},
    {"geometry": shapely.box(2, 2, 5, 5), "nucleus": shapely.box(0, 0, 10, 10)},
    {"z": 0},
    {"t": 1},
    {"c": 0},
    {"measurements": {"a": 1.5}},
    {"measurements": {"a": 1.5, "b": 0.0}},
    {"measurements": {"a": 1.5, "b": math.inf}},
    {"measurements": {"a": 1.5, "b": -math.inf}},
    {"measurements": {"a": 1.5000000000000002, "b": math.nan}},
    {"measurements": {"a": math.nan, "b": 1.5}},
    {"extra": {"metadata": {"k": "v"}}},
    {"extra": {"metadata": {"k": "v", "l": "x"}}},
    {"extra": {}},
]


def test_every_change_that_counts_changes_the_content() -> None:
    """Each field of the contract, changed alone, gives a digest of its own."""
    digests = [content(an_object(**change)) for change in CHANGES]
    assert len({content(an_object()), *digests}) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "change",
    [
        {"uuid": None},
        {"parent": UUID},
        {"geometry": shapely.Polygon([(10, 10), (10, 0), (0, 0), (0, 10)])},
        {"measurements": {"b": math.nan, "a": 1.5}},
        {"measurements": {"a": 1.5, "b": None}},
        {"extra": {"metadata": {"l": "w", "k": "v"}, "color": [9, 9, 9], "class_color": [1, 1, 1]}},
    ],
    ids=["uuid", "parent", "direction", "order", "null", "colour"],
)
def test_what_does_not_count_leaves_the_content(change: dict[str, Any]) -> None:
    """Identity, parent, ring direction, order, colour, and how a missing value is spelled."""
    assert content(an_object(**change)) == content(an_object())


def test_text_can_not_pass_for_another_field() -> None:
    """Quotes and separators in names don't shift the boundaries between fields."""
    pairs = [('a","b', None), ("a", 'b"'), ('a"', "b"), ("a\\", '"b'), ("a", "b")]
    digests = {content(an_object(path_class=one, name=other)) for one, other in pairs}
    assert len(digests) == len(pairs)


def test_many_objects_have_the_digests_they_have_alone() -> None:
    """Objects with and without nucleus are not mixed up."""
    things = [an_object(), an_object(nucleus=None), an_object(nucleus=shapely.box(1, 1, 2, 2))]
    outlines = geometry_digests([thing.geometry for thing in things])
    assert content_digests(things, outlines) == [content(thing) for thing in things]


def test_a_derived_uuid_depends_on_place_content_and_ordinal() -> None:
    """Objects without identity get one that stays, and twins get different ones."""
    made = {
        derive_uuid(place, one, ordinal)
        for place in ("A", "B")
        for one in (b"x" * 16, b"y" * 16)
        for ordinal in (0, 1)
    }
    assert len(made) == 8
    assert derive_uuid("A", b"x" * 16, 0) in made
    assert derive_uuid("A", b"x" * 16, 0) == "8ae7a9ec-b104-5336-a075-6bc792a41a1a"
    place = uuid.uuid5(uuid.NAMESPACE_URL, "pathquorum:B")
    for ordinal in range(100):
        expected = str(uuid.uuid5(place, f"{b'y'.hex() * 16}:{ordinal}"))
        assert derive_uuid("B", b"y" * 16, ordinal) == expected
