"""Dawid-Skene on a million items beside crowd-kit, and STAPLE on a raster beside SimpleITK."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

N_ITEMS = 1_000_000
N_RATERS = 5
N_CLASSES = 5
SIDE_PX = 2000

# Times are those of the work itself: neither imports nor reading the input count, on either side.
MEASURE = """
import json, resource, sys, time
import numpy as np
def now():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])
def report(start, end, **more):
    print(json.dumps({"wall_s": end[0] - start[0], "cpu_s": end[1] - start[1], **more}))
"""

WRITE_TABLE = """
import sys
import numpy as np
path, n_items, n_raters, n_classes = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(7)
truth = rng.choice(n_classes, n_items, p=rng.dirichlet(np.full(n_classes, 4.0)))
said = np.empty((n_items, n_raters), dtype=np.int64)
for rater in range(n_raters):
    skill = 1 + 3 * rng.random()
    rows = [rng.dirichlet(np.full(n_classes, 0.4) + skill * one) for one in np.eye(n_classes)]
    chance = np.stack(rows)[truth].cumsum(axis=1)
    said[:, rater] = np.minimum((chance < rng.random((n_items, 1))).sum(axis=1), n_classes - 1)
np.savez(path, item=np.repeat(np.arange(n_items), n_raters),
         rater=np.tile(np.arange(n_raters), n_items), label=said.reshape(-1))
"""

CROWD_KIT = (
    MEASURE
    + """
import warnings
warnings.simplefilter("ignore")
import pandas as pd
from crowdkit.aggregation import DawidSkene
table = dict(np.load(sys.argv[1]))
start = now()
frame = pd.DataFrame({"task": table["item"], "worker": table["rater"], "label": table["label"]})
fit = DawidSkene(n_iter=100)
labels = fit.fit_predict(frame)
end = now()
np.save(sys.argv[2], labels.sort_index().to_numpy())
report(start, end, iterations=len(fit.loss_history_))
"""
)

OURS = (
    MEASURE
    + """
import scipy.sparse
from consensus.fusion import dawid_skene
from consensus.ratings import Ratings
table = dict(np.load(sys.argv[1]))
start = now()
ratings = Ratings.from_table(table["item"], table["rater"], table["label"])
between = now()
fused = dawid_skene(ratings)
end = now()
items = np.array(fused.items, dtype=np.int64)
labels = np.array(fused.classes, dtype=np.int64)[fused.labels]
np.save(sys.argv[2], labels[np.argsort(items)])
report(between if sys.argv[3] == "ratings" else start, end, iterations=fused.iterations)
"""
)

COMPARE = """
import sys
import numpy as np
first, second = np.load(sys.argv[1]), np.load(sys.argv[2])
print(int((first != second).sum()))
"""

WRITE_RASTER = """
import sys
import numpy as np
path, side, n_raters = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(5)
images = np.zeros((n_raters, side, side), dtype=np.uint8)
y, x = np.ogrid[:side, :side]
for blob in range(60):
    cx, cy, radius = rng.uniform((0, 0, side / 60), (side, side, side / 15))
    for image in images:
        if rng.random() < 0.92:
            dx, dy, wider = rng.normal(0, side / 250, 3)
            low, high = int(max(cy - 2 * radius, 0)), int(cy + 2 * radius)
            inside = (x - cx - dx) ** 2 + (y[low:high] - cy - dy) ** 2 < (radius + wider) ** 2
            image[low:high][inside] = 1 + (blob + (rng.random() < 0.1)) % 2
np.save(path, images)
"""

ITK = (
    MEASURE
    + """
import SimpleITK as sitk
images = [sitk.GetImageFromArray(image) for image in np.load(sys.argv[1])]
start = now()
figures, iterations = [], []
for code in range(3):
    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(code)
    staple.Execute(images)
    figures.append([staple.GetSensitivity(), staple.GetSpecificity()])
    iterations.append(staple.GetElapsedIterations())
report(start, now(), figures=figures, iterations=iterations)
"""
)

ITK_MULTI = (
    MEASURE
    + """
import SimpleITK as sitk
images = [sitk.GetImageFromArray(image) for image in np.load(sys.argv[1])]
start = now()
sitk.MultiLabelSTAPLEImageFilter().Execute(images)
report(start, now())
"""
)

RASTER = (
    MEASURE
    + """
import scipy.sparse
from consensus.fusion import staple, staple_of_class
from consensus.ratings import Ratings
from consensus.statistics.patterns import compress
images = np.load(sys.argv[1])
start = now()
patterns = compress(images.reshape(len(images), -1).T.astype(np.int32), 3)
pixels = patterns.totals(np.ones(len(patterns.of_item)))
n_patterns, n_raters = patterns.codes.shape
ratings = Ratings.from_table(
    np.repeat(np.arange(n_patterns), n_raters), np.tile(np.arange(n_raters), n_patterns),
    patterns.codes.reshape(-1), weight=np.repeat(pixels, n_raters))
if sys.argv[2] == "multi":
    fit = staple(ratings)
    labels = fit.labels[patterns.of_item]
    report(start, now(), patterns=n_patterns)
else:
    fits = [staple_of_class(ratings, name, tolerance=1e-14, max_iterations=5000)
            for name in ratings.classes]
    posterior = [fit.posterior[patterns.of_item] for fit in fits]
    report(start, now(), patterns=n_patterns, iterations=[fit.iterations for fit in fits],
           figures=[[fit.sensitivity.tolist(), fit.specificity.tolist()] for fit in fits])
"""
)


def run(
    folder: Path, n_items: int = N_ITEMS, n_raters: int = N_RATERS, side_px: int = SIDE_PX
) -> None:
    """Measure and print."""
    _dawid_skene(folder, n_items, n_raters)
    _staple(folder, side_px, n_raters)


def _dawid_skene(folder: Path, n_items: int, n_raters: int) -> None:
    table = str(folder / "table.npz")
    cost_of(WRITE_TABLE, table, str(n_items), str(n_raters), str(N_CLASSES))
    names = [str(folder / f"{name}.npy") for name in ("crowd-kit", "table", "ratings")]
    theirs, told = _work(CROWD_KIT, table, names[0])
    from_table, ours = _work(OURS, table, names[1], "table")
    from_ratings, _ = _work(OURS, table, names[2], "ratings")
    if ours["iterations"] != told["iterations"]:
        raise SystemExit(f"{ours['iterations']} iterations, crowd-kit {told['iterations']}")
    apart = int(cost_of(COMPARE, names[0], names[1]).printed)
    if apart:
        raise SystemExit(f"{apart} labels differ from crowd-kit's")
    print_table(
        f"Dawid-Skene of {n_items:,} items, {n_raters} raters, {N_CLASSES} classes; "
        f"{ours['iterations']} iterations each, all labels equal",
        [
            (f"baseline: crowd-kit {version('crowd-kit')}, from the table", theirs, ""),
            ("ours, from the table", from_table, _ratio(theirs, from_table, 5)),
            ("ours, from Ratings", from_ratings, _ratio(theirs, from_ratings, 5)),
        ],
    )


def _staple(folder: Path, side_px: int, n_raters: int) -> None:
    raster = str(folder / "raster.npy")
    cost_of(WRITE_RASTER, raster, str(side_px), str(n_raters))
    theirs, told = _work(ITK, raster)
    ours, found = _work(RASTER, raster, "binary")
    their_labels, _ = _work(ITK_MULTI, raster)
    our_labels, _ = _work(RASTER, raster, "multi")
    apart = max(
        abs(a - b)
        for mine, yours in zip(found["figures"], told["figures"], strict=True)
        for kind in (0, 1)
        for a, b in zip(mine[kind], yours[kind], strict=True)
    )
    if apart > 1e-4:
        raise SystemExit(f"sensitivities or specificities differ from SimpleITK's by {apart:.1e}")
    itk = version("simpleitk")
    print_table(
        f"STAPLE on a raster of {side_px:,} x {side_px:,} px, {n_raters} raters, 3 classes "
        f"({found['patterns']} patterns); figures differ by {apart:.0e} at most",
        [
            (f"baseline: SimpleITK {itk}, each class", theirs, ""),
            ("ours, each class, from the pixels", ours, _ratio(theirs, ours)),
            (f"baseline: SimpleITK {itk}, multi-label", their_labels, ""),
            ("ours, multi-label, from the pixels", our_labels, _ratio(their_labels, our_labels)),
        ],
    )


def _work(code: str, *arguments: str) -> tuple[Cost, dict[str, Any]]:
    cost = cost_of(code, *arguments)
    told = json.loads(cost.printed)
    return replace(cost, wall_s=told["wall_s"], cpu_s=told["cpu_s"]), told


def _ratio(baseline: Cost, ours: Cost, goal: int | None = None) -> str:
    wall, cpu = baseline.wall_s / ours.wall_s, baseline.cpu_s / ours.cpu_s
    wanted = "" if goal is None else f" (goal: {goal} times)"
    return f"{wall:.1f} times as fast, {cpu:.1f} by CPU{wanted}"
