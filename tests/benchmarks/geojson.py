"""A million tiles as GeoJSON for QuPath, gzipped, each with seven measurements.

Ours is `push --predictions --tiles --gzip`: every object gets a UUID that is its own for ever, the file
is read back and compared, and each object is on record in the store. geopandas writes the same columns
side by side, which QuPath does not read, checks nothing and records nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

TILES = """
import sys, time
import numpy as np
n, folder = int(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
row = 1000
corners = np.stack([np.arange(n) % row * 224.5, np.arange(n) // row * 224.5], axis=1)
probability = rng.dirichlet(np.ones(4), n).astype(np.float32)
entropy, mutual = rng.random((2, n), dtype=np.float32)
attention = rng.random(n, dtype=np.float32)
attention /= attention.sum()
classes = ("Benign", "Low grade", "High grade", "background")
"""

OURS = (
    TILES
    + """
from pathlib import Path
import json
import annotation.folder_push as folder_push
import annotation.staged_files as staged_files
from annotation.push_by_slide import SlideToPush, push_by_slide
from annotation.store import create_or_upgrade
from annotation.study import add_slide_without_image
from models.prediction.slide_file import SlidePrediction
from models.pushing.predicted_objects import TileObjects
from models.pushing.predicted_run import PredictedRun
store, _ = create_or_upgrade(f"sqlite:///{folder}/store.db")
extent = int(224.5 * row) + 1, int(224.5 * (n // row + 1)) + 1
with store.writing() as session:
    slide = add_slide_without_image(session, "S", width_px=extent[0], height_px=extent[1], mpp=0.25)
prediction = SlidePrediction(
    slide="S", fingerprint="f", width_px=extent[0], height_px=extent[1], mpp=0.25, side_px=224.5,
    kind="bags", classes=classes, weights_sha256=("0" * 64,), settings_sha256="0" * 64,
    coordinates=corners, probability=probability, variance=np.zeros((n, 4), np.float32),
    entropy=entropy, mutual_information=mutual, attention=attention)
run = PredictedRun("r", "predictions/r", "m", ("0" * 64,), "0" * 64,
                   {name: [0, 0, 200] for name in classes}, [], [])
parts = {}
def timed(owner, method, part):
    plain = getattr(owner, method)
    def measured(*given, **named):
        begun = time.process_time()
        try:
            return plain(*given, **named)
        finally:
            parts[part] = round(time.process_time() - begun, 1)
    setattr(owner, method, measured)
timed(staged_files, "write_feature_collection", "made and written")
timed(staged_files, "read_back", "read back")
timed(folder_push, "_store_objects", "recorded")
pushed = push_by_slide(store, Path(folder) / "out", run.origin,
    [SlideToPush(slide.id, "S", {}, lambda: TileObjects(run, prediction, []))], compress=True)
assert (pushed.pushed, pushed.failed) == (n, []), pushed
store.close()
print(json.dumps(parts))
"""
)

GEOPANDAS = (
    TILES
    + """
import geopandas, shapely
names = [f"probability {name}" for name in classes] + ["entropy", "mutual information", "attention"]
values = np.column_stack([probability, entropy, mutual, attention])
table = geopandas.GeoDataFrame(
    {"class": np.array(classes)[probability.argmax(axis=1)], **dict(zip(names, values.T))},
    geometry=shapely.box(*corners.T, *(corners + 224.5).T))
table.to_file(f"/vsigzip/{folder}/baseline.geojson.gz", driver="GeoJSON", engine="pyogrio")
"""
)


def run(folder: Path, count: int = 1_000_000) -> None:
    """Measure and print."""
    rows: list[tuple[str, Cost, str]] = []
    for name, code, goal in (
        ("baseline: geopandas, nothing checked or recorded", GEOPANDAS, ""),
        ("ours: with UUIDs, read back, recorded", OURS, "60 s, 500 MB"),
    ):
        place = folder / f"{name[:4]}-{count}"
        place.mkdir()
        rows.append((name, cost_of(code, str(count), str(place)), goal))
    print_table(f"{count:,} tiles with 7 measurements as .geojson.gz", rows)
    parts = json.loads(rows[-1][1].printed)
    print("    ours, CPU: " + ", ".join(f"{what} {s:.1f} s" for what, s in parts.items()))
