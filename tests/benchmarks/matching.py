"""Matching 10 raters x 100,000 objects: boxes, outlines, points and a crowd; and through the store."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from consensus.matching import ObjectLayer
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

IOU, DISTANCE_PX = 0.5, 15.0
VERTICES = 32
CASES = {
    "boxes": "boxes, apart",
    "outlines": f"outlines of {VERTICES} vertices, apart",
    "points": "points, apart",
    "crowd": f"outlines of {VERTICES} vertices that touch on all sides",
    "heap": f"outlines of {VERTICES} vertices dropped at random, 1.2 layers deep",
}

MATCH = """
import json, sys, time
from consensus.matching import match_objects
from tests.benchmarks.matching import DISTANCE_PX, IOU, drawn
layers = drawn(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
wall_s, cpu_s = time.perf_counter(), time.process_time()
found = match_objects(layers, iou=IOU, distance_px=DISTANCE_PX)
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{len(found.groups):,} groups, {found.n_exact:,} crowds exact, "
                  f"{found.n_heuristic:,} by search, gap {found.gap:.3%}"]))
"""

# What a script does: every two raters by themselves, a table of overlaps, scipy's assignment.
PAIRWISE = """
import itertools, json, sys, time
import numpy as np, shapely
from scipy.optimize import linear_sum_assignment
from tests.benchmarks.matching import IOU, drawn
layers = drawn(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
wall_s, cpu_s, found = time.perf_counter(), time.process_time(), 0
for one, other in itertools.combinations([layer.geometries for layer in layers], 2):
    a, b = shapely.STRtree(other).query(one)
    shared = shapely.area(shapely.intersection(one[a], other[b]))
    table = np.zeros((len(one), len(other)))
    table[a, b] = shared / (shapely.area(one[a]) + shapely.area(other[b]) - shared)
    table[table < IOU] = 0
    row, column = linear_sum_assignment(table, maximize=True)
    found += int((table[row, column] > 0).sum())
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{found:,} pairs, and no groups"]))
"""

# As people do it: an export of each rater into the store.
FILL = """
import sys
from pathlib import Path
from annotation.cli import run
from tests.benchmarks.matching import prepare_store, write_exports
url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
prepare_store(url, 5)
for rater, path in enumerate(write_exports(folder, count, 5)):
    assert run(["pull", str(path), "--annotator", f"P{rater}", "--protocol", "b", "--slide", "S",
                "--store", url, "--json"]) == 0
"""

AGREEMENT = """
import sys
from annotation.cli import run
assert run(["agreement", "--protocol", "b", "--store", sys.argv[1], "--json", *sys.argv[2:]]) == 0
"""

RUN = """
import sys
from annotation.cli import run
assert run(["consensus", "run", "--protocol", "b", "--store", sys.argv[1], "--json"]) == 0
"""


def drawn(case: str, count: int, raters: int) -> list[ObjectLayer]:
    """What raters drew of ``count`` nuclei: 95 % of them, each moved a little, and some of their own."""
    rng = np.random.default_rng(1)
    side = int(np.ceil(np.sqrt(count)))
    spacing_px = {"crowd": 36.0, "heap": 32.0}.get(case, 130.0)
    place = rng.uniform(0, side * spacing_px, (count, 2))
    if case == "crowd":
        grid = np.stack(np.divmod(np.arange(count), side), axis=1)
        place = (grid + 0.5) * spacing_px + rng.normal(0, 6, (count, 2))
    radius_px, phase = rng.uniform(15, 25, count), rng.uniform(0, 2 * np.pi, count)
    layers = []
    for rater in range(raters):
        n_found = int(rng.binomial(count, 0.95))
        seen = rng.permutation(count)[:n_found]
        own = rng.uniform(0, side * spacing_px, (count - n_found, 2))
        at = np.concatenate([place[seen] + rng.normal(0, 2.5, (n_found, 2)), own])
        size = np.concatenate([radius_px[seen], rng.uniform(15, 25, len(own))])
        size *= rng.normal(1, 0.08, count)
        turn = np.concatenate([phase[seen], rng.uniform(0, 2 * np.pi, len(own))])
        names = [f"{rater}-{number}" for number in range(count)]
        layers.append(ObjectLayer(f"P{rater}", names, _shapes(case, rng, at, size, turn)))
    return layers


def _shapes(
    case: str,
    rng: np.random.Generator,
    at: NDArray[np.float64],
    size: NDArray[np.float64],
    turn: NDArray[np.float64],
) -> NDArray[np.object_]:
    if case == "points":
        points: NDArray[np.object_] = shapely.points(at)
        return points
    if case == "boxes":
        boxes: NDArray[np.object_] = shapely.box(*(at - size[:, None]).T, *(at + size[:, None]).T)
        return boxes
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    wave = 1 + 0.12 * np.sin(2 * angle + turn[:, None]) + rng.normal(0, 0.03, (len(at), VERTICES))
    reach = size[:, None] * wave
    ring = np.stack([at[:, :1] + reach * np.cos(angle), at[:, 1:] + reach * np.sin(angle)], axis=2)
    outlines: NDArray[np.object_] = shapely.polygons(ring)
    return outlines


def write_exports(folder: Path, count: int, raters: int) -> list[Path]:
    """An export of outlines for each rater, of two classes."""
    rng = np.random.default_rng(2)
    paths = []
    for layer in drawn("outlines", count, raters):
        features = [
            {
                "type": "Feature",
                "id": str(uuid.UUID(bytes=rng.bytes(16), version=4)),
                "geometry": json.loads(geometry),
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": str(rng.choice(["Tumor", "Stroma"]))},
                },
            }
            for geometry in shapely.to_geojson(layer.geometries)
        ]
        path = folder / f"{layer.rater}.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        paths.append(path)
    return paths


def prepare_store(url: str, raters: int) -> None:
    """A store with a slide, a protocol of objects, and raters."""
    from annotation.people import add_annotator
    from annotation.protocol import parse_protocol
    from annotation.protocol_versions import add_protocol
    from annotation.store import create_or_upgrade
    from annotation.study import add_slide_without_image

    store, _ = create_or_upgrade(url)
    classes = "".join(f'[[classes]]\nname = "{name}"\n' for name in ("Tumor", "Stroma"))
    text = f'name = "b"\nversion = "1"\ntask = "objects"\n{classes}'
    with store.writing() as session:
        add_protocol(session, parse_protocol(text, "benchmark"))
        add_slide_without_image(session, "S", width_px=100_000, height_px=100_000, mpp=0.25)
        for rater in range(raters):
            add_annotator(session, f"P{rater}", "pathologist")
    store.close()


def _measured(code: str, case: str, count: int, raters: int) -> Cost:
    """The cost of the matching alone; the peak is that of the process, objects included."""
    cost = cost_of(code, case, str(count), str(raters))
    wall_s, cpu_s, told = json.loads(cost.printed)
    return replace(cost, wall_s=wall_s, cpu_s=cpu_s, printed=told)


def _table(title: str, rows: list[tuple[str, Cost, str]]) -> None:
    print_table(title, rows)
    for name, cost, _ in rows:
        print(f"    {name}: {cost.printed}")


def run(folder: Path, count: int = 100_000, raters: int = 10, in_store: int = 5_000) -> None:
    """Measure and print."""
    few = max(count // 100, 10)
    _table(
        f"Matching of {raters} raters x {few:,} objects ({CASES['outlines']})",
        [
            (
                "baseline: scipy's assignment of every two raters",
                _measured(PAIRWISE, "outlines", few, raters),
                "",
            ),
            ("match_objects", _measured(MATCH, "outlines", few, raters), ""),
        ],
    )
    growth: list[tuple[str, Cost, str]] = []
    for case, told in CASES.items():
        # Those that lie in a heap are no goal, and take a search: a fifth of them is enough.
        goal, size = ("", count // 5) if case == "heap" else ("30 s", count)
        row = (f"{raters} raters x {size:,}", _measured(MATCH, case, size, raters), goal)
        _table(f"match_objects: {told}", [row])
        if case == "outlines":
            growth = [row]
    fewer = _measured(MATCH, "outlines", count // 4, raters)
    _table(
        f"match_objects grows linearly: {CASES['outlines']}",
        [(f"{raters} raters x {count // 4:,}", fewer, ""), *growth],
    )
    url = f"sqlite:///{folder / 'matching.db'}"
    cost_of(FILL, url, str(folder), str(in_store))
    print_table(
        f"5 raters x {in_store:,} outlines of {VERTICES} vertices in a store",
        [
            ("pathquorum agreement", cost_of(AGREEMENT, url), ""),
            ("pathquorum agreement --thresholds", cost_of(AGREEMENT, url, "--thresholds"), ""),
            ("pathquorum consensus run", cost_of(RUN, url), ""),
        ],
    )
