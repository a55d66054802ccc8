"""Labels of 99,856 tiles of a slide under 4,901 faces, and soft masks of tiles, by exact area."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.consensus_items import ResolvedItem
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

SIDE_PX = 80_000
TILES = 316
"""In a row and in a column."""
TILE_PX = SIDE_PX / TILES
REGIONS = 70
"""In a row and in a column; what lies around them is one face more, with all their vertices."""
VERTICES = 300
CLASSES, RATERS = ("a", "b", "background"), ("P1", "P2", "P3")

LABELS = """
import json, sys, time
from tests.benchmarks.labelling import CLASSES, RATERS, Grid, drawn
from models.labels.tiles import tile_labels
items = drawn()
wall_s, cpu_s = time.perf_counter(), time.process_time()
labels = tile_labels(items, Grid(), CLASSES, RATERS)
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{(labels.hard >= 0).sum():,} labelled, "
                  f"{labels.labelled.sum() * Grid().side_px**2:.4e} px2"]))
"""

# What a script does: candidates from a tree, then an intersection of each pair.
INTERSECTIONS = """
import json, sys, time
import numpy as np, shapely
from tests.benchmarks.labelling import Grid, drawn
faces = np.array([item.geometry for item in drawn()], dtype=object)
grid, part = Grid(), int(sys.argv[1])
x, y = grid.x_px[::part], grid.y_px[::part]
wall_s, cpu_s = time.perf_counter(), time.process_time()
boxes = shapely.box(x, y, x + grid.side_px, y + grid.side_px)
tile, face = shapely.STRtree(faces).query(boxes, predicate="intersects")
shared = shapely.area(shapely.intersection(boxes[tile], faces[face]))
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{len(boxes):,} tiles, {shared.sum() * part:.4e} px2 if all were"]))
"""

MASKS = """
import json, sys, time
from tests.benchmarks.labelling import CLASSES, RATERS, Grid, drawn
from models.labels.masks import SlideMasks
masks, grid = SlideMasks(drawn(), CLASSES, RATERS), Grid()
wall_s, cpu_s = time.perf_counter(), time.process_time()
for number in range(0, len(grid.x_px), len(grid.x_px) // 200):
    masks.tile(grid.x_px[number], grid.y_px[number], grid.side_px, 256)
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s, "200 tiles of 256 px"]))
"""


class Grid:
    """Tiles without overlap over the whole slide."""

    side_px = TILE_PX

    def __init__(self) -> None:
        x, y = np.meshgrid(np.arange(TILES) * TILE_PX, np.arange(TILES) * TILE_PX)
        self.x_px: NDArray[np.float64] = x.ravel()
        self.y_px: NDArray[np.float64] = y.ravel()


def drawn() -> list[ResolvedItem]:
    """Regions in rows, each with its own outline, and the background around them."""
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = SIDE_PX / REGIONS * 0.4 * (1 + 0.15 * np.sin(9 * turn))
    outline = np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    middle = (np.arange(REGIONS) + 0.5) * SIDE_PX / REGIONS
    regions = [shapely.Polygon(outline + np.array([x, y])) for y in middle for x in middle]
    around = shapely.Polygon(
        shapely.box(0, 0, SIDE_PX, SIDE_PX).exterior.coords, [r.exterior.coords for r in regions]
    )
    return [
        ResolvedItem(
            item=str(n),
            name=str(n),
            weight=1.0,
            pattern=dict.fromkeys(RATERS, CLASSES[n % 2] if shape is not around else CLASSES[2]),
            state="agreed",
            label=CLASSES[n % 2] if shape is not around else CLASSES[2],
            posterior=(0.5, 0.25, 0.25),
            geometry=shape,
        )
        for n, shape in enumerate([*regions, around])
    ]


def _inner(code: str, *arguments: str) -> Cost:
    """The cost of the work itself, as the code prints it."""
    cost = cost_of(code, *arguments)
    wall_s, cpu_s, found = json.loads(cost.printed)
    return Cost(wall_s, cpu_s, cost.peak_mb, found)


def run(_folder: Path) -> None:
    """Print the tables."""
    vertices = REGIONS**2 * VERTICES * 2
    rows = [
        ("baseline: tree and intersections, 1 in 1,000 tiles", _inner(INTERSECTIONS, "1000")),
        ("ours: labels and votes of all tiles", _inner(LABELS)),
        ("soft masks and votes, tile by tile", _inner(MASKS)),
    ]
    print_table(
        f"Tiles under {REGIONS**2 + 1:,} faces of {vertices:,} vertices",
        [(f"{name} ({cost.printed})", cost, "") for name, cost in rows],
    )
