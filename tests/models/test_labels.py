"""Labels of tiles and pixels follow from exact areas; what is open or outside teaches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import Polygon, box

from annotation.errors import InputError
from consensus.consensus_items import ResolvedItem
from consensus.releases.masks import UNLABELLED, MaskGrid, mask_tiles
from models.labels.coverage import cell_areas, edges_of, tile_areas
from models.labels.masks import SlideMasks
from models.labels.objects import object_tiles
from models.labels.tiles import tile_labels

CLASSES = ("low", "high", "background")
RATERS = ("P1", "P2", "P3")


@dataclass
class Places:
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    side_px: float

    @property
    def boxes(self) -> NDArray[np.object_]:
        return shapely.box(self.x_px, self.y_px, self.x_px + self.side_px, self.y_px + self.side_px)


def grid(columns: int, rows: int, side: float, step: float | None = None) -> Places:
    x, y = np.meshgrid(np.arange(columns) * (step or side), np.arange(rows) * (step or side))
    return Places(x.ravel().astype(float), y.ravel().astype(float), side)


def face(
    geometry: shapely.Geometry,
    posterior: Sequence[float],
    label: str | None = None,
    state: str = "agreed",
    pattern: dict[str, str] | None = None,
) -> ResolvedItem:
    return ResolvedItem(
        item="i", name="i", weight=1.0, pattern=pattern or {}, state=state, label=label,
        posterior=tuple(posterior), geometry=geometry,
    )  # fmt: skip


coordinate = st.one_of(st.integers(-3, 13).map(float), st.floats(-3, 13, width=32))


@st.composite
def valid_polygons(draw: st.DrawFn) -> shapely.Geometry:
    """Polygons with holes and multipolygons, many of whose vertices lie on the borders of tiles."""
    points = draw(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9))
    made = shapely.make_valid(Polygon(points))
    hole = draw(st.none() | st.tuples(coordinate, coordinate))
    if hole is not None:
        made = shapely.difference(made, box(hole[0], hole[1], hole[0] + 2, hole[1] + 1.5))
    parts = [part for part in shapely.get_parts(made) if part.geom_type == "Polygon"]
    return shapely.multipolygons(parts) if parts else shapely.MultiPolygon()


@given(
    st.lists(valid_polygons(), min_size=1, max_size=4),
    st.sampled_from([1.0, 2.5, 3.3]),
    st.sampled_from([1.0, 2.5]),
)
def test_the_area_in_each_tile_is_that_of_the_intersection(
    polygons: list[shapely.Geometry], side: float, step: float
) -> None:
    tiles = grid(5, 4, side, step)
    shapes = np.array(polygons, dtype=object)
    found = tile_areas(edges_of(shapes), len(shapes), tiles.x_px, tiles.y_px, side).toarray()
    expected = shapely.area(shapely.intersection(tiles.boxes[:, None], shapes[None, :]))
    np.testing.assert_allclose(found, expected, atol=1e-7)


@given(valid_polygons())
def test_cells_of_any_grid_take_up_the_whole_polygon(polygon: shapely.Geometry) -> None:
    x_cuts, y_cuts = np.array([-4.0, -1.5, 0.25, 7, 14]), np.array([-4.0, 2, 2.5, 14])
    shapes = np.array([polygon], dtype=object)
    found = cell_areas(edges_of(shapes), 1, x_cuts, y_cuts)
    assert found.sum() == pytest.approx(polygon.area, abs=1e-9)


def test_a_large_outline_is_not_looked_at_once_for_each_tile() -> None:
    """40,000 tiles and an outline of 200,000 vertices with a hole in it, against their boxes."""
    angle = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    radius = 45_000 + 1_000 * np.sin(40 * angle)
    ring = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + 50_000
    wheel = Polygon(ring, holes=[box(30_000, 30_000, 40_100, 40_100).exterior.coords])
    tiles = grid(200, 200, 500.0)
    found = tile_areas(
        edges_of(np.array([wheel], dtype=object)), 1, tiles.x_px, tiles.y_px, 500.0
    ).toarray()[:, 0]
    assert found.sum() == pytest.approx(wheel.area, rel=1e-12)
    some = np.random.default_rng(0).choice(len(found), 25, replace=False)
    expected = shapely.area(shapely.intersection(tiles.boxes[some], wheel))
    np.testing.assert_allclose(found[some], expected, atol=1e-5)


@st.composite
def coverages(draw: st.DrawFn) -> list[ResolvedItem]:
    """Faces that tile a part of 10 x 10 px, each with a posterior."""
    cuts = sorted(draw(st.sets(st.floats(0.125, 9.875, width=32), min_size=1, max_size=4)))
    tilt = draw(st.floats(-0.09, 0.09))
    edges = [0.0, *cuts]
    faces = []
    for left, right in pairwise(edges):
        outline = Polygon([(left, 0), (right, 0), (right + tilt, 10), (left + tilt, 10)])
        raw = np.array(draw(st.lists(st.integers(1, 9), min_size=3, max_size=3)), dtype=float)
        posterior = raw / raw.sum()
        state = draw(st.sampled_from(["agreed", "adjudicated", "disputed", "excluded"]))
        label = CLASSES[int(posterior.argmax())] if state in ("agreed", "adjudicated") else None
        said = {
            rater: draw(st.sampled_from(CLASSES)) for rater in RATERS[: draw(st.integers(0, 3))]
        }
        faces.append(face(outline, posterior.tolist(), label, state, said))
    return faces


@given(coverages(), st.sampled_from(["masked", "soft"]))
def test_a_posterior_is_the_mean_of_its_faces_by_area(
    faces: list[ResolvedItem], open_items: str
) -> None:
    tiles = grid(4, 3, 3.0, 2.5)
    labels = tile_labels(faces, tiles, CLASSES, RATERS, open_items=open_items)  # type: ignore[arg-type]
    teaching = [
        f for f in faces
        if f.label is not None or (open_items == "soft" and f.state == "disputed")
    ]  # fmt: skip
    for number, tile in enumerate(tiles.boxes):
        area = np.array([shapely.area(shapely.intersection(tile, f.geometry)) for f in teaching])
        rated = sum(
            shapely.area(shapely.intersection(tile, f.geometry))
            for f in faces
            if f.state != "excluded"
        )
        assert labels.in_domain[number] == pytest.approx(rated / 9, abs=1e-6)
        assert labels.labelled[number] == pytest.approx(area.sum() / 9, abs=1e-6)
        total = labels.posterior[number].sum()
        if area.sum() <= 1e-6:
            continue
        assert total == pytest.approx(1, abs=1e-6)
        mean = area @ np.array([f.posterior for f in teaching]) / area.sum()
        np.testing.assert_allclose(labels.posterior[number], mean, atol=1e-6)


def quarters() -> list[ResolvedItem]:
    """A square of 20 px in four: agreed, decided, open, excluded; right of it nobody read."""
    said = dict.fromkeys(RATERS, "low")
    return [
        face(box(0, 0, 10, 10), (0.75, 0.25, 0), "low", pattern={**said, "P3": "high"}),
        face(box(10, 0, 20, 10), (0, 1, 0), "high", "adjudicated", {"P1": "low", "P2": "high"}),
        face(box(0, 10, 10, 20), (0.5, 0.5, 0), None, "disputed", {"P1": "low", "P2": "high"}),
        face(box(10, 10, 20, 20), (0, 0, 1), None, "excluded", dict.fromkeys(RATERS, "background")),
    ]


def test_what_is_open_outside_or_excluded_has_no_label_and_is_no_negative() -> None:
    labels = tile_labels(quarters(), grid(3, 2, 10.0), CLASSES, RATERS)
    np.testing.assert_allclose(
        labels.posterior,
        [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
    )
    assert labels.hard.tolist() == [0, 1, -1, -1, -1, -1]
    assert labels.votes.tolist() == [
        [0, 0, 1], [0, 1, -1], [-1, -1, -1], [0, 1, -1], [-1, -1, -1], [-1, -1, -1],
    ]  # fmt: skip
    assert labels.in_domain.tolist() == [1, 1, 0, 1, 0, 0]
    assert labels.labelled.tolist() == [1, 1, 0, 0, 0, 0]
    assert labels.decided.tolist() == [False, True, False, False, False, False]
    soft = tile_labels(quarters(), grid(3, 2, 10.0), CLASSES, RATERS, open_items="soft")
    np.testing.assert_allclose(soft.posterior[3], [0.5, 0.5, 0])
    np.testing.assert_allclose(soft.posterior[4], 0)
    undecidable = [face(box(0, 0, 10, 10), (0.5, 0.5, 0), None, "indeterminate", {"P1": "low"})]
    asked = tile_labels(undecidable, grid(1, 1, 10.0), CLASSES, RATERS, open_items="soft")
    assert (asked.labelled.tolist(), asked.in_domain.tolist()) == ([0], [1])
    assert asked.votes.tolist() == [[0, -1, -1]]
    assert soft.hard.tolist() == labels.hard.tolist()


@pytest.mark.parametrize(("min_share", "hard"), [(0.5, -1), (0.2, 0), (0.25, -1)])
def test_a_class_needs_more_than_the_least_share_of_the_tile(min_share: float, hard: int) -> None:
    """Low and high cover a quarter each: of equals the first, where a quarter is enough."""
    whole = Places(np.array([0.0]), np.array([0.0]), 20.0)
    labels = tile_labels(quarters(), whole, CLASSES, RATERS, min_share=min_share)
    assert labels.hard.tolist() == [hard]
    with pytest.raises(InputError, match="a least share of 1 can't be"):
        tile_labels(quarters(), whole, CLASSES, RATERS, min_share=1.0)


def test_no_faces_and_no_tiles_give_no_labels() -> None:
    empty = tile_labels([], grid(2, 1, 5.0), CLASSES, RATERS)
    assert empty.hard.tolist() == [-1, -1]
    assert empty.posterior.shape == (2, 3)
    assert not empty.posterior.any()
    assert len(tile_labels(quarters(), grid(0, 0, 5.0), CLASSES, RATERS)) == 0


@given(coverages(), st.sampled_from([(0.0, 0.0, 12.0, 24), (2.5, 1.25, 5.0, 7)]))
def test_soft_masks_sum_to_one_where_something_teaches_and_hold_the_area_of_the_faces(
    faces: list[ResolvedItem], where: tuple[float, float, float, int]
) -> None:
    x_px, y_px, side_px, size_px = where
    mask = SlideMasks(faces, CLASSES, RATERS).tile(x_px, y_px, side_px, size_px)
    assert mask.posterior.shape == (3, size_px, size_px)
    assert mask.votes.shape == (3, size_px, size_px)
    total = mask.posterior.sum(axis=0)
    np.testing.assert_allclose(total[mask.labelled > 0], 1, atol=1e-5)
    assert not total[mask.labelled == 0].any() or total[mask.labelled == 0].max() < 1 + 1e-5
    tile = box(x_px, y_px, x_px + side_px, y_px + side_px)
    pixel_px2 = (side_px / size_px) ** 2
    for number in range(len(CLASSES)):
        expected = sum(
            f.posterior[number] * shapely.area(shapely.intersection(tile, f.geometry))
            for f in faces
            if f.label is not None
        )
        found = (mask.posterior[number] * mask.labelled).sum() * pixel_px2
        assert found == pytest.approx(expected, abs=1e-3)
    rated = sum(
        shapely.area(shapely.intersection(tile, f.geometry)) for f in faces if f.state != "excluded"
    )
    assert mask.in_domain.sum() * pixel_px2 == pytest.approx(rated, abs=1e-3)


def test_masks_of_tiles_agree_with_the_exported_masks_where_one_face_fills_a_pixel() -> None:
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, 1_000, (12, 2))
    cells = shapely.voronoi_polygons(shapely.multipoints(centres), extend_to=box(0, 0, 1024, 1024))
    pieces = [shapely.intersection(c, box(0, 0, 1000, 900)) for c in shapely.get_parts(cells)]
    faces = [
        face(piece, np.eye(3)[i % 3].tolist(), CLASSES[i % 3] if i % 4 else None,
             "agreed" if i % 4 else "disputed", {"P1": CLASSES[i % 2]})
        for i, piece in enumerate(pieces)
    ]  # fmt: skip
    masks = SlideMasks(faces, CLASSES, RATERS)
    compared = 0
    exported = MaskGrid(1000, 900, 0.5, 1.0, 128)
    for column, row, pixels in mask_tiles(faces, CLASSES, exported):
        side = exported.tile_side_px
        mask = masks.tile(column * side, row * side, side, 128)
        whole = mask.in_domain == 1
        assert (mask.in_domain[pixels == 255] < 1).all()
        labelled = (mask.labelled == 1) & (mask.posterior.max(axis=0) == 1)
        np.testing.assert_array_equal(mask.hard[labelled], pixels[labelled])
        assert (pixels[whole & (mask.labelled == 0)] == UNLABELLED).all()
        compared += int(labelled.sum())
        assert (mask.votes[0][whole] >= 0).all()
        assert (mask.votes[2] == -1).all()
    assert compared > 100_000


def test_objects_become_tiles_around_their_centres() -> None:
    items = [
        face(box(100, 200, 120, 220), (1, 0, 0), "low", pattern=dict.fromkeys(RATERS, "low")),
        face(shapely.Point(50, 60), (0.5, 0.5, 0), None, "disputed", {"P1": "low", "P2": "high"}),
    ]
    tiles = object_tiles(items, CLASSES, RATERS, 64.0)
    np.testing.assert_allclose(tiles.x_px, [78, 18])
    np.testing.assert_allclose(tiles.y_px, [178, 28])
    assert tiles.labels.hard.tolist() == [0, -1]
    np.testing.assert_allclose(tiles.labels.posterior, [[1, 0, 0], [0, 0, 0]])
    assert tiles.labels.votes.tolist() == [[0, 0, 0], [0, 1, -1]]
    soft = object_tiles(items, CLASSES, RATERS, 64.0, open_items="soft")
    np.testing.assert_allclose(soft.labels.posterior[1], [0.5, 0.5, 0])
