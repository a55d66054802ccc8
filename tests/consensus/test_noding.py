"""Windows over a slide, and the faces in one of them."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon, box

from consensus.faces import noding
from consensus.faces.noding import GRID_PX, WindowGrid, window_faces, windows_of_column


@given(
    st.floats(-1e5, 1e5),
    st.floats(0.5, 1e5),
    st.floats(1, 1e4),
)
def test_lines_cover_the_slide_and_lie_on_the_grid(low: float, side: float, window: float) -> None:
    """Windows are no larger than asked for, rise, and end where the slide ends."""
    lines = WindowGrid.over((low, 0, low + side, 10), max(window, side / 200)).x_px
    assert (np.diff(lines) > 0).all()
    assert (np.diff(lines) <= max(window, side / 200) + 2 * GRID_PX).all()
    assert (lines / GRID_PX == np.round(lines / GRID_PX)).all()
    assert [lines[0], lines[-1]] == pytest.approx([low, low + side], abs=GRID_PX)


def test_more_vertices_take_smaller_windows() -> None:
    """The side falls with the density of vertices, between its limits."""
    slide = (0.0, 0.0, 100_000.0, 80_000.0)
    sides = [WindowGrid.side_px(slide, n) for n in (0, 1_000_000, 10_000_000, 10**12)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == noding.MOST_WINDOW_PX
    assert sides[-1] == noding.LEAST_WINDOW_PX


def test_pieces_of_a_polygon_tile_it_and_touching_is_no_piece() -> None:
    """Cutting loses no area, and a polygon that only touches a window isn't in it."""
    shapes = np.array([Polygon([(0, 0), (9, 2), (4, 9)]), box(3, 3, 6, 6)], dtype=object)
    grid = WindowGrid.over((0, 0, 9, 9), 3)
    area_px2 = np.zeros(2)
    for column in range(grid.n_columns):
        for bounds, pieces, source in windows_of_column(shapes, grid, column):
            assert shapely.within(pieces, box(*bounds).buffer(1e-9)).all()
            if bounds != (3, 3, 6, 6):
                assert 1 not in source
            np.add.at(area_px2, source, shapely.area(pieces))
    assert area_px2 == pytest.approx(shapely.area(shapes))


def test_an_empty_window_is_one_face() -> None:
    """Where nothing is drawn the window itself is the face, and nothing covers it."""
    faces, piece, face = window_faces(np.empty(0, dtype=object), (0, 0, 5, 5))
    assert [f.area for f in faces] == [25]
    assert piece.size == face.size == 0


def test_a_face_no_wider_than_the_grid_goes_with_its_longest_neighbour() -> None:
    """It gets that neighbour's pieces instead of a pattern that nobody drew."""
    thin = box(4, 0, 4 + GRID_PX, 8)
    faces = np.array([box(0, 0, 4, 8), thin, box(4 + GRID_PX, 0, 8, 2)], dtype=object)
    piece, face = np.array([5, 7, 8]), np.array([0, 1, 2])
    _, piece, face = noding._without_threads(faces, piece, face)
    assert sorted(zip(face.tolist(), piece.tolist(), strict=True)) == [(0, 5), (1, 5), (2, 8)]
