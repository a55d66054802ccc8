"""Reading tiles: straight from the TIFF, beside a plain `read_region` loop and the decode limit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from tests.benchmarks.measure import cost_of

__all__ = ["run"]

SIDE_PX = 20_480
MPP = 0.25
TILES = 1_500
REAL = Path(__file__).parents[3] / "shared" / "data" / "wsi" / "CMU-1-Small-Region.svs"

# In a process of its own: a child's peak memory begins at that of the parent it was forked from.
WRITE = """
import sys
from pathlib import Path
from tests.benchmarks.reading import write_slide
write_slide(Path(sys.argv[1]))
"""

# Each way reads the same places, one after the other, and prints wall and CPU time a tile.
LOOP = """
import json, sys, time
import numpy as np
path, mpp, factor, size_px, offset_px, count = sys.argv[1], *map(float, sys.argv[2:7])
factor, size_px, offset_px, count = map(int, (factor, size_px, offset_px, count))
side = size_px * factor
import openslide
with openslide.OpenSlide(path) as slide:
    columns = (slide.dimensions[0] - offset_px) // side
    rows = (slide.dimensions[1] - offset_px) // side
count = min(count, columns * rows)
first = rows // 4 if columns * (rows - rows // 4) >= count else 0
places = [(n % columns * side + offset_px, (n // columns + first) * side + offset_px) for n in range(count)]
def measure(read):
    wall, cpu = time.perf_counter(), time.process_time()
    total = read()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps([count / wall, 1000 * cpu / count, total]))
"""

PLAIN = (
    LOOP
    + """
def read():
    total = 0
    with openslide.OpenSlide(path) as slide:
        for place in places:
            tile = slide.read_region(place, 0, (side, side)).convert("RGB")
            total += int(np.asarray(tile.reduce(factor) if factor > 1 else tile)[::16, ::16].sum())
    return total
measure(read)
"""
)

READER = (
    LOOP
    + """
from models.reader import open_reader
from models.reading.ahead import iterate
threads = int(sys.argv[7])
def one_by_one(reader):
    return (reader.read(*place, mpp=mpp * factor, size_px=size_px) for place in places)
def ahead(reader):
    x, y = np.array(places, float).T
    return (tile for _, tile in iterate(reader, x, y, mpp=mpp * factor, size_px=size_px, threads=threads))
with open_reader(path, mpp=mpp) as reader:
    way = reader.way(0)
    assert way.name == "tiff", way
    tiles = ahead if threads else one_by_one
    measure(lambda: sum(int(tile[::16, ::16].sum()) for tile in tiles(reader)))
"""
)

# Nothing is read, cut, averaged or joined: as fast as this decoder can be.
DECODING = (
    LOOP
    + """
from pathlib import Path
import simplejpeg
from models.reading.tiff_index import tiff_levels
level = max(tiff_levels(Path(path)).values(), key=lambda level: level.width_px)
with open(path, "rb") as file:
    def data(column, row):
        file.seek(int(level.offsets[row, column]))
        return level.head + file.read(int(level.byte_counts[row, column]))[2:]
    width, height = level.tile_width_px, level.tile_height_px
    needed = [
        data(x // width + dx, y // height + dy)
        for x, y in places for dx in range(side // width) for dy in range(side // height)
    ]
measure(lambda: sum(int(simplejpeg.decode_jpeg(each, "RGB")[0, 0, 0]) for each in needed))
"""
)

OPENING = """
import json, resource, sys
import numpy as np
from models.reader import open_reader
from models.reading.ahead import iterate
x, y = (each.ravel().astype(float) for each in np.meshgrid(np.arange(16) * 256, np.arange(16) * 256))
peaks = []
for n in range(1, int(sys.argv[2]) + 1):
    with open_reader(sys.argv[1], mpp=0.25) as reader:
        for _ in iterate(reader, x + 100, y + 5000, mpp=0.25, size_px=256, threads=4):
            pass
    if n in (1, 10, 100, 200, 300):
        peaks.append([n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024])
print(json.dumps(peaks))
"""


def write_slide(path: Path) -> None:
    """A section of 5 x 5 mm, patched together from the demo's slides; glass between them."""
    patch_px = 2_048  # whole tiles, none of which is then written twice
    patches = [paint(slide)[:patch_px, :patch_px] for slide in demo_slides(count=6)]
    with (
        warnings.catch_warnings(),
        rasterio.open(
            path, "w", driver="GTiff", width=SIDE_PX, height=SIDE_PX, count=3, dtype="uint8",
            tiled=True, blockxsize=256, blockysize=256, compress="JPEG", photometric="YCBCR",
            interleave="pixel", jpeg_quality=80,
        ) as tiff,
    ):  # fmt: skip
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for row in range(SIDE_PX // patch_px):
            chosen = [patches[(row * 7 + column) % 6] for column in range(SIDE_PX // patch_px)]
            window = Window(0, row * patch_px, SIDE_PX, patch_px)
            tiff.write(np.moveaxis(np.concatenate(chosen, axis=1), 2, 0), window=window)


def run(folder: Path) -> None:
    """Measure and print."""
    path = folder / "slide.tiff"
    cost_of(WRITE, str(path))
    size_mb = path.stat().st_size / 1e6
    drawn = f"a drawn slide of {SIDE_PX:,} x {SIDE_PX:,} px ({size_mb:.0f} MB)"
    _compare(f"Aligned tiles of 256 px, {drawn}", path, MPP, 1, 256, 0, "4 times")
    _compare("Its tiles of 256 px from 40x to 20x", path, MPP, 2, 256, 0, "5 times")
    _compare("Its tiles of 256 px across the file's tiles", path, MPP, 1, 256, 100, "")
    if REAL.is_file():
        _compare(f"Aligned tiles of 240 px, {REAL.name}", REAL, 0.499, 1, 240, 0, "4 times")
        _compare("Its tiles of 240 px at half the resolution", REAL, 0.499, 2, 240, 0, "5 times")
    peaks = json.loads(cost_of(OPENING, str(path), "300").printed)
    print(
        "\nPeak memory while a slide is opened again and again, and 256 tiles of it read by 4 threads"
    )
    for count, peak_mb in peaks:
        print(f"  {count:4} slides {peak_mb:8,} MB")


def _compare(
    title: str, path: Path, mpp: float, factor: int, size_px: int, offset_px: int, goal: str
) -> None:
    place = [str(each) for each in (path, mpp, factor, size_px, offset_px, TILES)]
    ways = [
        ("baseline: a loop over read_region", PLAIN, []),
        ("reader", READER, ["0"]),
        ("reader, ahead by two threads", READER, ["2"]),
        *([("decode limit: the same JPEGs, in memory", DECODING, [])] if not offset_px else []),
    ]
    print(f"\n{title}")
    print(f"  {'':44} {'tiles/s':>8} {'CPU ms/tile':>12} {'per core':>9}  goal")
    baseline_ms, sums = 0.0, []
    for name, code, more in ways:
        per_s, cpu_ms, total = json.loads(cost_of(code, *place, *more).printed)
        baseline_ms = baseline_ms or cpu_ms
        aim = goal if name == "reader" else ""
        print(f"  {name:44} {per_s:8,.0f} {cpu_ms:12.3f} {baseline_ms / cpu_ms:8.1f}x  {aim}")
        if code is not DECODING:
            sums.append(total)
    if len(set(sums)) != 1:
        raise SystemExit(f"the ways read different pixels: {sums}")
