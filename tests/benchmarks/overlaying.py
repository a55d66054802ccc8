"""Overlay and consensus of a whole slide, beside a windowed overlay and SimpleITK's STAPLE."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import affine_transform

from consensus.overlay import Layer
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

WIDTH_PX, HEIGHT_PX = 100_000, 80_000
CLASSES = ("Benign", "Low grade", "High grade", "Inflammation")
RATERS = 5
VERTICES = 300
LARGEST_PX = 1500.0
"""Radius of the largest of 1,000 places; where there are more they are smaller, so that outlines
cross as often per vertex."""

DRAW = """
import sys
from pathlib import Path
from tests.benchmarks.overlaying import write_slide
write_slide(Path(sys.argv[1]), int(sys.argv[2]))
"""

# The way that comes to mind: windows, in each of them clip, node, polygonise, and ask a tree which
# polygons cover a point of each face; in threads, since GEOS lets go of the interpreter's lock.
WINDOWED = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, shapely
from tests.benchmarks.overlaying import HEIGHT_PX, WIDTH_PX, read_slide
layers = read_slide(sys.argv[1])
side = int(sys.argv[2])
wall_s, cpu_s = time.perf_counter(), time.process_time()
polygons = np.concatenate([layer.geometries for layer in layers])
code = np.concatenate([layer.codes for layer in layers])
rater = np.repeat(np.arange(len(layers)), [len(layer.codes) for layer in layers])
size = shapely.area(polygons)
tree = shapely.STRtree(polygons)
def window(corner):
    x, y = corner
    frame = shapely.box(x, y, min(x + side, WIDTH_PX), min(y + side, HEIGHT_PX))
    near = tree.query(frame)
    pieces = shapely.clip_by_rect(polygons[near], *frame.bounds)
    lines = shapely.union_all(shapely.boundary(np.append(pieces, frame)))
    faces = shapely.get_parts(shapely.polygonize([lines]))
    face, piece = shapely.STRtree(pieces).query(shapely.point_on_surface(faces), predicate="within")
    says = np.full((len(faces), len(layers)), 4)
    order = np.argsort(-size[near[piece]], kind="stable")
    says[face[order], rater[near[piece[order]]]] = code[near[piece[order]]]
    return says, shapely.area(faces)
corners = [(x, y) for x in range(0, WIDTH_PX, side) for y in range(0, HEIGHT_PX, side)]
with ThreadPoolExecutor(2) as pool:
    says, area = zip(*pool.map(window, corners))
patterns, of = np.unique(np.concatenate(says), axis=0, return_inverse=True)
total = np.bincount(of.reshape(-1), np.concatenate(area))
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{len(patterns):,} patterns, {total.sum():,.1f} px2"]))
"""

OVERLAY = """
import json, sys, time
import shapely
from consensus.overlay import overlay
from tests.benchmarks.overlaying import HEIGHT_PX, WIDTH_PX, read_slide
layers = read_slide(sys.argv[1])
wall_s, cpu_s = time.perf_counter(), time.process_time()
faces = overlay(layers, extent=(WIDTH_PX, HEIGHT_PX), background=4, rule="slide")
told = f"{len(faces.patterns):,} patterns, {faces.pattern_area_px2.sum():,.1f} px2"
if sys.argv[2] == "regions":
    told += f", {shapely.get_num_geometries(faces.regions()).sum():,} faces"
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s, told]))
"""

OVERLAY_AND_STAPLE = """
import json, sys, time
import numpy as np
from consensus.fusion import staple
from consensus.overlay import overlay
from consensus.ratings import Ratings
from tests.benchmarks.overlaying import CLASSES, HEIGHT_PX, WIDTH_PX, read_slide
layers = read_slide(sys.argv[1])
wall_s, cpu_s = time.perf_counter(), time.process_time()
faces = overlay(layers, extent=(WIDTH_PX, HEIGHT_PX), background=4, rule="slide")
n = len(faces.patterns)
fused = staple(Ratings(
    items=tuple(map(str, range(n))), raters=faces.raters, classes=(*CLASSES, "background"),
    codes=faces.patterns, weight=faces.pattern_area_px2, cluster=np.zeros(n, dtype=np.int64),
    cluster_names=("slide",), rank=np.full(5, np.nan), negative=4, weight_unit="um2"))
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{fused.iterations} iterations"]))
"""

SIMPLEITK = """
import json, sys, time
import SimpleITK
from tests.benchmarks.overlaying import painted, read_slide
labels = painted(read_slide(sys.argv[1]), int(sys.argv[2]))
images = [SimpleITK.GetImageFromArray(image) for image in labels]
staple = SimpleITK.MultiLabelSTAPLEImageFilter()
staple.SetLabelForUndecidedPixels(255)
wall_s, cpu_s = time.perf_counter(), time.process_time()
staple.Execute(images)
print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s,
                  f"{images[0].GetNumberOfPixels() / 1e6:.1f} megapixels"]))
"""

FILL = """
import sys
from pathlib import Path
from tests.benchmarks.overlaying import fill_store
fill_store(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""

RUN = """
import sys
from annotation.cli import run
assert run(["consensus", "run", "--protocol", "b", "--method", "staple", "--store", sys.argv[1],
            "--json"]) == 0
"""

AGREEMENT = """
import sys
from annotation.cli import run
assert run(["agreement", "--protocol", "b", "--store", sys.argv[1], "--json"]) == 0
"""


def drawn(count: int) -> list[tuple[NDArray[np.object_], NDArray[np.int32]]]:
    """What each rater drew of ``count`` places: 95 % of them, each outline a little different."""
    rng = np.random.default_rng(0)
    largest_px = LARGEST_PX * (1000 / count) ** 0.5
    centre = rng.uniform((0, 0), (WIDTH_PX, HEIGHT_PX), (count, 2))
    radius_px = rng.uniform(largest_px / 5, largest_px, count)
    code = rng.integers(0, len(CLASSES), count)
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    waves = np.arange(2, 9)

    def shape(spread: float) -> NDArray[np.float64]:
        amplitude = rng.normal(0, spread, (count, len(waves)))
        phase = rng.uniform(0, 2 * np.pi, (count, len(waves)))
        return np.einsum(
            "cw,cwv->cv", amplitude, np.cos(waves[None, :, None] * angle + phase[:, :, None])
        )

    common = shape(0.06)
    slide = shapely.box(0, 0, WIDTH_PX, HEIGHT_PX)
    reads = []
    for _ in range(RATERS):
        seen = rng.random(count) < 0.95
        noise = rng.normal(0, 0.002, (count, VERTICES))
        reach = radius_px[:, None] * np.clip(1 + common + shape(0.015) + noise, 0.3, 2)
        ring = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1) + centre[:, None]
        outlines = shapely.polygons(ring.astype(np.float32).astype(float)[seen])
        outlines = shapely.intersection(shapely.make_valid(outlines), slide)
        named = np.where(rng.random(count) < 0.15, rng.integers(0, len(CLASSES), count), code)
        reads.append((outlines, named[seen].astype(np.int32)))
    return reads


def write_slide(path: Path, count: int) -> None:
    """The slide's outlines as WKB, so that drawing them costs nothing where they are measured."""
    reads = drawn(count)
    np.savez(
        path,
        **{f"codes{number}": codes for number, (_, codes) in enumerate(reads)},
        **{
            f"wkb{number}": np.frombuffer(
                shapely.to_wkb(shapely.geometrycollections(outlines)), dtype=np.uint8
            )
            for number, (outlines, _) in enumerate(reads)
        },
    )


def read_slide(path: str) -> list[Layer]:
    """The layers of a slide that was written."""
    layers = []
    with np.load(path) as stored:
        for number in range(RATERS):
            outlines = shapely.get_parts(shapely.from_wkb(stored[f"wkb{number}"].tobytes()))
            layers.append(Layer(f"P{number}", outlines, stored[f"codes{number}"]))
    return layers


def painted(layers: list[Layer], downsample: int) -> list[NDArray[np.uint8]]:
    """Label images, the smaller annotation over the larger one, background as 4."""
    from rasterio.features import rasterize

    shape = HEIGHT_PX // downsample, WIDTH_PX // downsample
    scale = [1 / downsample, 0, 0, 1 / downsample, 0, 0]
    images = []
    for layer in layers:
        order = np.argsort(-shapely.area(layer.geometries))
        shapes = [
            (affine_transform(layer.geometries[i], scale), int(layer.codes[i])) for i in order
        ]
        images.append(rasterize(shapes, out_shape=shape, fill=len(CLASSES), dtype="uint8"))
    return images


def fill_store(url: str, slide: Path, folder: Path) -> None:
    """Pull the slide's outlines from an export of each rater, as people do it."""
    from annotation.cli import run
    from annotation.people import add_annotator
    from annotation.protocol import parse_protocol
    from annotation.protocol_versions import add_protocol
    from annotation.store import create_or_upgrade
    from annotation.study import add_slide_without_image

    store, _ = create_or_upgrade(url)
    classes = "".join(f'[[classes]]\nname = "{name}"\n' for name in CLASSES)
    text = f'name="b"\nversion="1"\ntask="regions"\n[domain]\nrule="slide"\n{classes}'
    with store.writing() as session:
        add_protocol(session, parse_protocol(text, "benchmark"))
        add_slide_without_image(session, "S", width_px=WIDTH_PX, height_px=HEIGHT_PX, mpp=0.25)
        for number in range(RATERS):
            add_annotator(session, f"P{number}", "pathologist")
    store.close()
    rng = np.random.default_rng(2)
    for layer in read_slide(str(slide)):
        features = [
            {
                "type": "Feature",
                "id": str(uuid.UUID(bytes=rng.bytes(16), version=4)),
                "geometry": json.loads(geometry),
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": CLASSES[code]},
                },
            }
            for geometry, code in zip(
                shapely.to_geojson(layer.geometries), layer.codes, strict=True
            )
        ]
        path = folder / f"{layer.rater}.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        who = ["--annotator", layer.rater, "--protocol", "b", "--slide", "S", "--store", url]
        if run(["pull", str(path), *who, "--json"]) != 0:
            raise SystemExit("a benchmark's pull failed")


def _measured(code: str, *arguments: object) -> Cost:
    """The cost of the part that the code times itself; the peak is that of its whole process."""
    cost = cost_of(code, *map(str, arguments))
    wall_s, cpu_s, told = json.loads(cost.printed)
    return replace(cost, wall_s=wall_s, cpu_s=cpu_s, printed=told)


def _table(title: str, rows: list[tuple[str, Cost, str]]) -> None:
    print_table(title, rows)
    for name, cost, _ in rows:
        if len(cost.printed) < 80:
            print(f"    {name}: {cost.printed}")


def run(folder: Path, count: int = 1000, many: int = 7143) -> None:
    """Measure and print."""
    slides = {}
    for places in (count, 4 * count, many):
        slides[places] = folder / f"{places}.npz"
        cost_of(DRAW, str(slides[places]), str(places))
    small = slides[count]
    title = f"slide of {WIDTH_PX:,} x {HEIGHT_PX:,} px, {RATERS} raters, {count:,} places"
    windowed = {side: _measured(WINDOWED, small, side) for side in (4000, 8000)}
    ours = _measured(OVERLAY, small, "areas")
    _table(
        f"Overlay: {title} of {VERTICES} vertices",
        [
            *(
                (f"baseline: windows of {side:,} px, clip_by_rect", cost, "")
                for side, cost in windowed.items()
            ),
            ("overlay (patterns and areas)", ours, "2.3 s"),
            ("overlay and all faces as polygons", _measured(OVERLAY, small, "regions"), ""),
        ],
    )
    grown = _measured(OVERLAY, slides[4 * count], "areas")
    huge = _measured(OVERLAY, slides[many], "regions")
    _table(
        "Overlay: growth with the vertices, crossings per vertex alike",
        [
            (f"{count:,} places", ours, ""),
            (f"{4 * count:,} places", grown, "4.4 times"),
            (f"{many:,} places, all faces as polygons", huge, "2,000 MB"),
        ],
    )
    print(f"    4 times the vertices: {grown.cpu_s / ours.cpu_s:.2f} times the CPU time")
    url = f"sqlite:///{folder / 'overlay.db'}"
    cost_of(FILL, url, str(small), str(folder))
    coarse, fine = _measured(SIMPLEITK, small, 32), _measured(SIMPLEITK, small, 8)
    fused = _measured(OVERLAY_AND_STAPLE, small)
    _table(
        f"STAPLE over several classes: {title}",
        [
            ("baseline: SimpleITK, raster at 1/32", coarse, ""),
            ("baseline: SimpleITK, raster at 1/8", fine, ""),
            ("overlay and STAPLE, full resolution", fused, f"{coarse.wall_s / 2:.1f} s"),
            ("consensus run, polygons to posteriors", cost_of(RUN, url), f"{coarse.wall_s:.1f} s"),
            ("agreement, 1,000 replicates", cost_of(AGREEMENT, url), ""),
        ],
    )
    print(
        f"    SimpleITK at 1/32 takes {coarse.wall_s / fused.wall_s:.1f} times as long as overlay "
        f"and STAPLE, at 1/8 {fine.wall_s / fused.wall_s:.1f} times"
    )
