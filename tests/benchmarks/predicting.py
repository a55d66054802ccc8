"""Predicting many slides: tiles as fast as they can be had, memory, and what killed workers cost."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from models.encoders.encoder import Encoder, with_random_weights
from models.encoders.spec import EncoderSpec
from models.reader import open_reader
from models.reading.ahead import iterate
from tests.benchmarks.measure import cost_of
from tests.benchmarks.reading import MPP, SIDE_PX, WRITE
from tests.soak.flat_memory import at_slide, memory_curve
from tests.soak.killing_workers import killed_workers

__all__ = ["run"]

TILE_PX = 256
FACTOR = 2
"""From 40x to 20x."""
TILES = 1_200
"""Of each slide."""
WORKERS = 2
SLIDES, KILLS, CURVE = 60, 20, 300
_SPEC = EncoderSpec(
    name="none",
    architecture="small",
    input_px=TILE_PX,
    mpp=MPP * FACTOR,
    feature="pooled",
    interpolation="bilinear",
    arguments={"width": 4},
)


def _places() -> list[tuple[int, int]]:
    side = TILE_PX * FACTOR
    columns = SIDE_PX // side
    return [(n % columns * side, n // columns * side) for n in range(TILES)]


def plain(path: str) -> tuple[float, float]:
    """Read and prepare each tile by `read_region`, one after the other; wall and CPU seconds."""
    import openslide

    encoder, side = _encoder(), TILE_PX * FACTOR
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    with openslide.OpenSlide(path) as slide:
        for place in _places():
            tile = slide.read_region(place, 0, (side, side)).convert("RGB")
            encoder.prepared(np.asarray(tile.resize((TILE_PX, TILE_PX), Image.Resampling.BOX)))
    return time.perf_counter() - begin_s, time.process_time() - cpu_s


def ours(path: str) -> tuple[float, float]:
    """The same as a worker of `predict` does it; wall and CPU seconds."""
    encoder = _encoder()
    x, y = np.array(_places(), float).T
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    with open_reader(path, mpp=MPP) as reader:
        for _, tile in iterate(reader, x, y, mpp=MPP * FACTOR, size_px=TILE_PX, threads=2):
            encoder.prepared(tile)
    return time.perf_counter() - begin_s, time.process_time() - cpu_s


def _encoder() -> Encoder:
    return with_random_weights(_SPEC, device="cpu")


def run(folder: Path) -> None:
    """Measure and print."""
    path = folder / "slide.tiff"
    cost_of(WRITE, str(path))
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawned) as pool:
        list(pool.map(_encoder_is_there, range(WORKERS)))
        plain_s, plain_cpu_s = pool.submit(plain, str(path)).result()
        each = list(pool.map(ours, [str(path)] * WORKERS))
    ours_s, ours_cpu_s = max(wall for wall, _ in each), sum(cpu for _, cpu in each) / WORKERS
    baseline, per_s = TILES / plain_s, WORKERS * TILES / ours_s
    print(f"\nTiles of {TILE_PX} px from 40x to 20x, read and prepared for an encoder")
    print(f"  baseline: read_region, one process, one slide   {baseline:8,.0f} tiles/s")
    print(
        f"  {WORKERS} workers, a slide each, 2 threads each          {per_s:8,.0f} tiles/s "
        f"{per_s / baseline:5.1f}x  goal: 4 times"
    )
    print(
        f"  CPU time a tile: {1000 * plain_cpu_s / TILES:.2f} ms and "
        f"{1000 * ours_cpu_s / TILES:.2f} ms, {plain_cpu_s / ours_cpu_s:.1f}x"
    )
    (folder / "curve").mkdir()
    curve = memory_curve(folder / "curve", CURVE)
    print(f"\nResident memory of one worker over {CURVE} slides")
    for slide in (1, 10, 30, 100, 200, max(curve)):
        print(f"  {slide:4} slides {at_slide(curve, slide) / 1e6:8,.0f} MB")
    growth = curve[max(curve)] / at_slide(curve, 30) - 1
    print(f"  from slide 30 on {growth:+.1%}  goal: within 5 %")
    (folder / "kills").mkdir()
    found = killed_workers(folder / "kills", slides=SLIDES, kills=KILLS, seed=1)
    if not found.same:
        raise SystemExit("killed workers gave other output")
    lost_s = found.killed_s - found.alone_s
    print(f"\n{found.slides} slides by 2 workers; files and results are the same")
    print(f"  left alone              {found.alone_s:8.1f} s")
    print(
        f"  with {found.kills} workers killed  {found.killed_s:8.1f} s, "
        f"{lost_s / max(1, found.kills):.2f} s a kill"
    )


def _encoder_is_there(_: int) -> None:
    """Import and build everything before the clock runs."""
    _encoder()
