"""Pulling an export of 100,000 polygons of 50 vertices, and pulling it again in another order."""

from __future__ import annotations

import json
import math
import random
import uuid
from pathlib import Path

from tests.benchmarks.measure import cost_of, print_table

__all__ = ["run"]

# In a process of its own: a child's peak memory begins at that of the parent it was forked from.
WRITE = """
import sys
from pathlib import Path
from tests.benchmarks.pulling import write_export
write_export(Path(sys.argv[1]), int(sys.argv[2]), shuffled=sys.argv[3] == "shuffled")
"""

PREPARE = """
import sys
from annotation.people import add_annotator
from annotation.protocol import parse_protocol
from annotation.store import create_or_upgrade
from annotation.protocol_versions import add_protocol
from annotation.study import add_slide_without_image
store, _ = create_or_upgrade(sys.argv[1])
text = 'name="b"\\nversion="1"\\ntask="objects"\\n[[classes]]\\nname="Tumor"\\n[[classes]]\\nname="Stroma"'
with store.writing() as session:
    add_protocol(session, parse_protocol(text, "benchmark"))
    add_annotator(session, "P1", "pathologist")
    add_slide_without_image(session, "S", width_px=100_000, height_px=100_000, mpp=0.25)
"""

OURS = """
import sys
from annotation.cli import run
status = run(["pull", sys.argv[2], "--annotator", "P1", "--protocol", "b", "--slide", "S",
              "--store", sys.argv[1], "--json"])
assert status == 0
"""

# What a script does without us: the whole file as Python objects, shapely's shape(), one table.
BASELINE = """
import json, sqlite3, sys
from shapely.geometry import shape
store = sqlite3.connect(sys.argv[1])
store.execute("CREATE TABLE objects (uuid TEXT PRIMARY KEY, class TEXT, geometry BLOB, rest TEXT)")
with open(sys.argv[2]) as stream:
    features = json.load(stream)["features"]
rows = []
for feature in features:
    geometry = shape(feature["geometry"])
    if not geometry.is_valid:
        geometry = geometry.buffer(0)
    properties = feature["properties"]
    rows.append((feature["id"], properties["classification"]["name"], geometry.wkb,
                 json.dumps(properties)))
with store:
    store.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
"""


def write_export(path: Path, count: int, *, shuffled: bool) -> None:
    """An export of round outlines; ``shuffled`` gives the same objects otherwise laid out."""
    rng = random.Random(7)
    features = []
    for _ in range(count):
        x, y = rng.uniform(100, 99_900), rng.uniform(100, 99_900)
        ring = [
            [
                round(x + 20 * math.cos(i * math.tau / 50) + rng.uniform(-1, 1), 2),
                round(y + 20 * math.sin(i * math.tau / 50) + rng.uniform(-1, 1), 2),
            ]
            for i in range(50)
        ]
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": rng.choice(["Tumor", "Stroma"])},
                    "measurements": {"Area": round(rng.random(), 6), "Ki67": rng.random()},
                },
            }
        )
    if shuffled:
        rng.shuffle(features)
    with path.open("w", encoding="utf-8") as stream:
        document = {"type": "FeatureCollection", "features": features}
        json.dump(document, stream, separators=(",", ":") if shuffled else (", ", ": "))


def run(folder: Path, count: int = 100_000) -> None:
    """Measure and print."""
    first, again = folder / "first.geojson", folder / "again.geojson"
    cost_of(WRITE, str(first), str(count), "")
    cost_of(WRITE, str(again), str(count), "shuffled")
    url = f"sqlite:///{folder / 'bench.db'}"
    cost_of(PREPARE, url)
    pulled = cost_of(OURS, url, str(first))
    repeated = cost_of(OURS, url, str(again))
    counted = json.loads(repeated.printed)["reads"][0]
    unchanged = (counted["unchanged"], counted["added"], counted["changed"], counted["removed"])
    if unchanged != (count, 0, 0, 0):
        raise SystemExit(f"the second pull should find everything unchanged, not {unchanged}")
    baseline = cost_of(BASELINE, str(folder / "baseline.db"), str(first))
    quarter = folder / "quarter.geojson"
    cost_of(WRITE, str(quarter), str(count // 4), "")
    small_url = f"sqlite:///{folder / 'quarter.db'}"
    cost_of(PREPARE, small_url)
    small = cost_of(OURS, small_url, str(quarter))
    size_mb = first.stat().st_size / 1e6
    print_table(
        f"Pull of {count:,} polygons of 50 vertices ({size_mb:.0f} MB of GeoJSON) into SQLite",
        [
            ("baseline: json.load, shape(), executemany; no history", baseline, ""),
            ("pathquorum pull", pulled, "15 s, 1,000 MB"),
            ("pathquorum pull, other order and whitespace", repeated, "6 s"),
            ("pathquorum pull of a quarter of it: growth is linear", small, ""),
        ],
    )
