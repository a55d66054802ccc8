"""Overlay of raters' polygons into atomic faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Geometry, MultiPolygon, Point, Polygon, box

from annotation.errors import InputError
from consensus.overlay import NOT_RATED, Faces, Layer, overlay

SIDE = 12
BACKGROUND = 3
RULES = ("declared", "union", "slide")


def layer(rater: str, *drawn: tuple[Geometry, int], domain: Geometry | None = None) -> Layer:
    geometries = np.empty(len(drawn), dtype=object)
    geometries[:] = [shape for shape, _ in drawn]
    codes = np.array([code for _, code in drawn], dtype=np.int32)
    return Layer(rater, geometries, codes, domain)


def areas(faces: Faces) -> dict[tuple[int, ...], float]:
    """Area of each pattern; patterns smaller than rounding are left out."""
    pairs = zip(faces.patterns.tolist(), faces.pattern_area_px2.tolist(), strict=True)
    return {tuple(pattern): area for pattern, area in pairs if area > 1e-3}


def painted(one: Layer, overlap: str = "innermost") -> dict[int, Geometry]:
    """What each class covers after the overlap rule, by painting one shape over the other."""
    size = shapely.area(one.geometries) if overlap == "innermost" else np.zeros(len(one.codes))
    order = sorted(range(len(one.codes)), key=lambda i: (round(size[i], 6), one.codes[i]))
    covered: Geometry = Polygon()
    classes: dict[int, Geometry] = {}
    for i in order:
        code = int(one.codes[i])
        rest = shapely.difference(one.geometries[i], covered)
        classes[code] = shapely.union(classes.get(code, Polygon()), rest)
        covered = shapely.union(covered, one.geometries[i])
    return classes


@st.composite
def shapes(draw: st.DrawFn, shift: float, scale: float) -> Geometry:
    """Polygons on a coarse lattice, so that borders, corners and whole outlines coincide."""
    corner = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE))
    if draw(st.booleans()):
        ring = draw(st.lists(corner, min_size=3, max_size=7, unique=True))
        shape = shapely.make_valid(Polygon(ring))
        parts = [p for p in shapely.get_parts(shape) if p.area > 0]
        shape = MultiPolygon([q for p in parts for q in shapely.get_parts(p)])
    else:
        x, y = draw(corner)
        shape = box(x, y, x + draw(st.integers(1, 8)), y + draw(st.integers(1, 8)))
        if draw(st.booleans()):
            shape = shape.difference(box(x + 1, y + 1, x + 2, y + 3))
    shape = shape.intersection(box(0, 0, SIDE, SIDE))
    shape = MultiPolygon(
        [p for p in shapely.get_parts(shape) if p.area > 0 and p.geom_type == "Polygon"]
    )

    def place(coords: np.ndarray) -> np.ndarray:
        placed = coords * scale + shift
        return placed.astype(np.float32).astype(float) if shift else placed

    return shapely.make_valid(shapely.transform(shape, place))


@st.composite
def slides(draw: st.DrawFn) -> tuple[list[Layer], Geometry]:
    """A few layers, and the extent of the slide."""
    shift = draw(st.sampled_from([0.0, 100_000.0]))
    scale = draw(st.sampled_from([1.0, 0.37, 1 / 3, 7.77]))
    extent = box(shift, shift, shift + SIDE * scale, shift + SIDE * scale)
    shape = (
        shapes(shift, scale)
        .filter(lambda s: s.geom_type in ("Polygon", "MultiPolygon") and not s.is_empty)
        .map(lambda s: s.intersection(extent))
        .filter(lambda s: s.geom_type in ("Polygon", "MultiPolygon") and s.area > 0 and s.is_valid)
    )
    drawn = st.lists(st.tuples(shape, st.integers(0, 2)), max_size=4)
    layers = [
        replace(
            layer(f"r{i}", *draw(drawn), domain=draw(st.none() | shape)),
            by_place=draw(st.booleans()),
        )
        for i in range(draw(st.integers(1, 3)))
    ]
    return layers, extent


def domains(layers: list[Layer], extent: Geometry, rule: str) -> list[Geometry]:
    own = [extent if one.domain is None else one.domain.intersection(extent) for one in layers]
    if rule == "declared":
        return own
    whole = extent
    if rule == "union":
        drawn = [shape for one in layers for shape in one.geometries]
        whole = shapely.union_all(drawn).intersection(extent)
    return [
        areal(area.intersection(whole)) if one.by_place else whole
        for one, area in zip(layers, own, strict=True)
    ]


def areal(shape: Geometry) -> Geometry:
    """What of a shape has an area: neighbours that touch meet in lines as well."""
    return shapely.union_all([part for part in shapely.get_parts(shape) if part.area > 0])


@settings(max_examples=150, deadline=None)
@given(slides(), st.sampled_from(RULES), st.sampled_from(["innermost", "priority"]))
def test_areas_equal_those_of_painting(
    slide: tuple[list[Layer], Geometry], rule: str, overlap: str
) -> None:
    """All faces add up to the union of the domains, each rater's to the rater's own areas."""
    layers, extent = slide
    faces = overlay(layers, extent=extent, background=BACKGROUND, rule=rule, overlap=overlap)
    rated = domains(layers, extent, rule)
    tolerance = 1e-4 * max(1.0, extent.area)
    assert faces.area_px2.sum() == pytest.approx(shapely.union_all(rated).area, abs=tolerance)
    for column, (one, domain) in enumerate(zip(layers, rated, strict=True)):
        says = faces.patterns[faces.pattern_of_face, column]
        classes = painted(one, overlap)
        for code in range(3):
            expected = classes.get(code, Polygon()).intersection(domain).area
            assert faces.area_px2[says == code].sum() == pytest.approx(expected, abs=tolerance)
        drawn = shapely.union_all(list(classes.values()))
        background = domain.difference(drawn).area
        assert faces.area_px2[says == BACKGROUND].sum() == pytest.approx(background, abs=tolerance)
        outside = drawn.difference(domain).area
        assert faces.outside_domain_px2[column] == pytest.approx(outside, abs=tolerance)


@settings(max_examples=60, deadline=None)
@given(slides(), st.sampled_from(RULES))
def test_faces_equal_a_raster_within_its_error(
    slide: tuple[list[Layer], Geometry], rule: str
) -> None:
    """Every pattern covers the pixel centres that it should, but for those on an outline."""
    layers, extent = slide
    faces = overlay(layers, extent=extent, background=BACKGROUND, rule=rule)
    x_min, y_min, x_max, _ = extent.bounds
    n = 60
    step = (x_max - x_min) / n
    x, y = np.meshgrid(x_min + step * (np.arange(n) + 0.5), y_min + step * (np.arange(n) + 0.5))
    says = np.full((n, n, len(layers)), NOT_RATED)
    for column, (one, domain) in enumerate(zip(layers, domains(layers, extent, rule), strict=True)):
        says[..., column][shapely.intersects_xy(domain, x, y)] = BACKGROUND
        for code, area in painted(one).items():
            says[..., column][shapely.intersects_xy(area.intersection(domain), x, y)] = code
    outlines = [shape.boundary for one in layers for shape in one.geometries]
    outlines += [one.domain.boundary for one in layers if one.domain is not None]
    error_px2 = step * 2 * (shapely.length(shapely.union_all(outlines)) + 8 * step) + 1e-9
    patterns, count = np.unique(says.reshape(-1, len(layers)), axis=0, return_counts=True)
    found = areas(faces)
    for pattern, n_pixels in zip(patterns.tolist(), count.tolist(), strict=True):
        if max(pattern) > NOT_RATED:
            assert abs(found.pop(tuple(pattern), 0.0) - n_pixels * step**2) <= error_px2
    assert all(area <= error_px2 for area in found.values())


@settings(max_examples=60, deadline=None)
@given(slides(), st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_permuting_raters_permutes_columns_only(
    slide: tuple[list[Layer], Geometry], rule: str, random: object
) -> None:
    """The order of raters has no say in faces and labels."""
    layers, extent = slide
    order = list(range(len(layers)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = areas(overlay(layers, extent=extent, background=BACKGROUND, rule=rule))
    other = areas(
        overlay([layers[i] for i in order], extent=extent, background=BACKGROUND, rule=rule)
    )
    permuted = {tuple(pattern[i] for i in order): area for pattern, area in one.items()}
    assert permuted.keys() == other.keys()
    for pattern, area in permuted.items():
        assert other[pattern] == pytest.approx(area, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(slides(), st.sampled_from(RULES), st.sampled_from([1, 3, 10]))
def test_stripes_and_threads_change_nothing(
    slide: tuple[list[Layer], Geometry], rule: str, stripe_edges: int
) -> None:
    """However the work is cut: the same patterns, areas and regions, to the last digit."""
    layers, extent = slide
    whole = overlay(layers, extent=extent, background=BACKGROUND, rule=rule, threads=1)
    for threads in (1, 2):
        cut = overlay(
            layers,
            extent=extent,
            background=BACKGROUND,
            rule=rule,
            threads=threads,
            stripe_edges=stripe_edges,
        )
        assert cut.patterns.tolist() == whole.patterns.tolist()
        assert cut.pattern_area_px2.tolist() == whole.pattern_area_px2.tolist()
        assert shapely.equals_identical(cut.regions(), whole.regions()).all()
        assert cut.outside_domain_px2.tolist() == whole.outside_domain_px2.tolist()
        assert cut.conflicts.tolist() == whole.conflicts.tolist()


def test_two_rectangles_have_four_patterns() -> None:
    """Both, either and neither, with areas that can be checked by hand."""
    faces = overlay(
        [layer("ann", (box(0, 0, 4, 4), 0)), layer("bob", (box(2, 0, 6, 4), 0))],
        extent=(10, 10),
        background=1,
    )
    assert faces.raters == ("ann", "bob")
    assert areas(faces) == {(0, 0): 8.0, (0, 1): 8.0, (1, 0): 8.0, (1, 1): 76.0}
    assert shapely.area(faces.geometries) == pytest.approx(faces.area_px2)


def test_not_annotated_is_not_background_outside_the_domain() -> None:
    """A rater says nothing outside the declared domain, whatever is drawn there."""
    faces = overlay(
        [
            layer("ann", (box(0, 0, 4, 4), 0), domain=box(0, 0, 5, 5)),
            layer("bob", (box(0, 0, 8, 4), 0), domain=box(0, 0, 6, 5)),
        ],
        extent=(10, 10),
        background=1,
    )
    assert areas(faces) == {(0, 0): 16.0, (1, 0): 4.0, (1, 1): 5.0, (-1, 0): 4.0, (-1, 1): 1.0}
    assert faces.outside_domain_px2.tolist() == [0.0, 8.0]


def test_union_rates_what_anybody_annotated() -> None:
    """Under ``union`` what one rater drew is background to the others, and the rest is unrated."""
    faces = overlay(
        [layer("ann", (box(0, 0, 4, 4), 0)), layer("bob", (box(2, 0, 6, 4), 0)), layer("cy")],
        extent=(10, 10),
        background=1,
        rule="union",
    )
    assert areas(faces) == {(0, 0, 1): 8.0, (0, 1, 1): 8.0, (1, 0, 1): 8.0}


def test_innermost_is_the_smaller_annotation_as_a_whole() -> None:
    """A far-away second part makes an annotation the larger one, also where it seems smaller."""
    scattered = MultiPolygon([box(0, 0, 2, 2), box(20, 0, 30, 10)])
    one = layer("ann", (scattered, 0), (box(0, 0, 4, 4), 1))
    faces = overlay([one], extent=(30, 10), background=2)
    assert areas(faces) == {(1,): 16.0, (0,): 100.0, (2,): 184.0}
    by_class = overlay([one], extent=(30, 10), background=2, overlap="priority")
    assert areas(by_class) == {(0,): 104.0, (1,): 12.0, (2,): 184.0}


def test_equally_large_annotations_are_counted_as_conflicts() -> None:
    """The lower code wins, also against an outline that starts at another vertex."""
    square = box(0.1, 0.1, 3.3, 3.7)
    turned = Polygon(np.roll(np.array(square.exterior.coords)[:-1], 1, axis=0)[::-1])
    one = layer("ann", (square, 1), (turned, 0), (square, 1))
    faces = overlay([one, layer("bob", (square, 1))], extent=(4, 4), background=2)
    assert areas(faces).keys() == {(0, 1), (2, 2)}
    assert faces.conflicts.tolist() == [2, 0]


def test_no_layers_and_empty_layers() -> None:
    """Without raters there is no face; a rater who drew nothing said background everywhere."""
    nobody = overlay([], extent=(10, 10), background=1)
    assert len(nobody.geometries) == 0
    assert nobody.patterns.shape == (0, 0)
    empty = overlay([layer("ann"), layer("bob")], extent=(10, 10), background=1)
    assert areas(empty) == {(1, 1): 100.0}
    assert areas(overlay([layer("ann")], extent=(9, 9), background=1, rule="union")) == {}


def test_shared_border_with_a_vertex_more_leaves_no_sliver() -> None:
    """A vertex that lies on a neighbour's edge up to rounding opens no third pattern."""
    along = (1 / 3, 0.1 + 1 / 3 * 0.7)
    left = Polygon([(0, 0.1), (1, 0.8), (0, 2)])
    right = Polygon([(0, 0.1), along, (1, 0.8), (2, 0)])
    faces = overlay(
        [layer("ann", (left, 0)), layer("bob", (right, 0))], extent=(2, 2), background=1
    )
    assert len(faces.patterns) == 3
    assert (faces.patterns.sum(axis=1) > 0).all()


def test_touching_corners_stay_two_faces() -> None:
    """Squares that meet in a corner are two faces, and so is the space between them."""
    squares = MultiPolygon([box(0, 0, 2, 2), box(2, 2, 4, 4)])
    faces = overlay([layer("ann", (squares, 0))], extent=(4, 4), background=1)
    assert sorted(faces.area_px2.tolist()) == [4.0, 4.0, 4.0, 4.0]


def test_a_rings_hole_is_no_part_of_it() -> None:
    """Inside a hole the rater said background, and another polygon in it counts."""
    ring = box(0, 0, 9, 9).difference(box(2, 2, 7, 7))
    faces = overlay([layer("ann", (ring, 0), (box(3, 3, 4, 4), 1))], extent=(9, 9), background=2)
    assert areas(faces) == {(0,): 56.0, (1,): 1.0, (2,): 24.0}


def test_overhang_is_reported_as_outside() -> None:
    """What reaches beyond the slide isn't rated, and its area is told."""
    faces = overlay([layer("ann", (box(-2, 0, 3, 4), 0))], extent=(10, 4), background=1)
    assert areas(faces) == {(0,): 12.0, (1,): 28.0}
    assert faces.outside_domain_px2.tolist() == [8.0]


def test_a_polygon_of_many_vertices_keeps_its_area() -> None:
    """An outline of 200,000 vertices comes out with its own area."""
    angle = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    radius = 30_000 + 5_000 * np.sin(40 * angle)
    disc = Polygon(np.stack([40_000 + radius * np.cos(angle), 40_000 + radius * np.sin(angle)], 1))
    faces = overlay([layer("ann", (disc, 0))], extent=(80_000, 80_000), background=1)
    assert areas(faces)[(0,)] == pytest.approx(disc.area, rel=1e-9)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda: layer("ann", (Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), 0)),
            "geometry 0 of rater 'ann' is no valid polygon",
        ),
        (
            lambda: layer("ann", (box(0, 0, 1, 1), 0), (Point(1, 1), 0)),
            "geometry 1 of rater 'ann' is no valid polygon",
        ),
        (lambda: layer("ann", (box(0, 0, 1, 1), -1)), "negative class code"),
        (
            lambda: layer("ann", domain=shapely.LineString([(0, 0), (1, 1)])),
            "domain 0 of rater 'ann'",
        ),
        (
            lambda: Layer("ann", np.array([box(0, 0, 1, 1)]), np.empty(0, np.int32)),
            "1 geometries and 0 class codes",
        ),
    ],
)
def test_layers_that_cannot_be_overlaid_are_refused(broken: object, message: str) -> None:
    """A layer that would come out as wrong areas is refused by name."""
    with pytest.raises(InputError, match=message):
        overlay([broken()], extent=(10, 10), background=1)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"extent": (0, 10)}, "has no area"),
        ({"extent": (float("nan"), 10)}, "has no area"),
        ({"extent": Point(1, 1)}, "extent is no polygon"),
        ({"stripe_edges": 0}, "stripes of 0 edges"),
        ({"extent": (1 << 40, 10)}, "beyond the 16,777,216 px"),
        ({"threads": 0}, "0 threads"),
        ({"rule": "all"}, "domain rule 'all'"),
        ({"overlap": "outermost"}, "overlap rule 'outermost'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    """Each argument is checked, and the message says what to give instead."""
    with pytest.raises(InputError, match=message):
        overlay([layer("ann")], **{"extent": (10, 10), "background": 1, **arguments})  # type: ignore[arg-type]
