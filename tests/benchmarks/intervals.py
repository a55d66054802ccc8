"""All agreement figures with bootstrap intervals, of 500 slides x 5 raters x 6 classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from consensus.ratings import Ratings
from tests.benchmarks.measure import Cost, cost_of, print_table

__all__ = ["run"]

N_RATERS, N_CLASSES = 5, 6

OURS = """
import json, sys, time
from consensus.agreement import agreement
from tests.benchmarks.intervals import study
ratings = study(int(sys.argv[1]), int(sys.argv[2]), areas=sys.argv[3] == "areas")
wall, cpu = time.perf_counter(), time.process_time()
found = agreement(ratings, weights="nominal", bootstrap=int(sys.argv[4]))
cost = time.perf_counter() - wall, time.process_time() - cpu
mean = found.coefficients["cohen_mean"]
print(json.dumps([*cost, mean.value, mean.se]))
"""

# What a script does: draw slides, put their rows together, one kappa for each pair of raters.
BASELINE = """
import json, sys, time
from itertools import combinations
import numpy as np
from sklearn.metrics import cohen_kappa_score
from tests.benchmarks.intervals import study
ratings = study(int(sys.argv[1]), int(sys.argv[2]), areas=False)
wall, cpu = time.perf_counter(), time.process_time()
rng = np.random.default_rng(0)
rows = [np.flatnonzero(ratings.cluster == slide) for slide in range(len(ratings.cluster_names))]
means = []
for _ in range(int(sys.argv[4])):
    picked = rng.integers(0, len(rows), len(rows))
    codes = ratings.codes[np.concatenate([rows[slide] for slide in picked])]
    kappas = [cohen_kappa_score(codes[:, a], codes[:, b])
              for a, b in combinations(range(codes.shape[1]), 2)]
    means.append(np.mean(kappas))
cost = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([*cost, float(np.mean(means)), float(np.std(means, ddof=1))]))
"""


def study(n_slides: int, n_items: int, *, areas: bool) -> Ratings:
    """Slides of so many items each, every one of another patient, and read by all raters."""
    rng = np.random.default_rng(1)
    n = n_slides * n_items
    mix = rng.dirichlet(np.full(N_CLASSES, 2.0), size=n_slides).repeat(n_items, axis=0)
    truth = (rng.random((n, 1)) > np.cumsum(mix, axis=1)[:, :-1]).sum(axis=1)
    shape = (n, N_RATERS)
    right = rng.random(shape) < rng.uniform(0.6, 0.9, n_slides).repeat(n_items)[:, None]
    said = np.where(right, truth[:, None], rng.integers(0, N_CLASSES, shape))
    slides = tuple(f"slide {number:05}" for number in range(n_slides))
    of_item = np.repeat(np.arange(n_slides), n_items)
    return Ratings(
        items=tuple(f"{number}" for number in range(n)),
        raters=tuple("PQRST"),
        classes=("G1", "G2", "G3", "G4", "G5", "background"),
        codes=said.astype(np.int32),
        weight=rng.exponential(1000, n) if areas else np.ones(n),
        cluster=of_item,
        cluster_names=slides,
        rank=np.array([0, 1, 2, 3, 4, np.nan]),
        negative=5,
        weight_unit="um2" if areas else "count",
        cluster_unit="patient",
        slide=of_item,
        slide_names=slides,
    )


def _inside(whole: Cost) -> Cost:
    """What the work itself took of a process that also starts, imports and makes its data."""
    wall_s, cpu_s, *_ = json.loads(whole.printed)
    return Cost(wall_s, cpu_s, whole.peak_mb, whole.printed)


def run(folder: Path) -> None:
    """Measure and print."""
    few, many = 30, 10_000
    rows: list[tuple[str, Cost, str]] = []

    def measure(name: str, code: str, *arguments: object, goal: str = "") -> Cost:
        cost = _inside(cost_of(code, *map(str, arguments)))
        rows.append((name, cost, goal))
        return cost

    loop = measure(
        f"baseline: loop, scikit-learn; {few} replicates measured", BASELINE, 500, 200, "", few
    )
    ours = measure(
        "agreement, all figures, both bootstraps", OURS, 500, 200, "counts", many, goal="2 s"
    )
    measure("the same, items are areas", OURS, 500, 200, "areas", many, goal="2 s")
    measure("four times the items", OURS, 500, 800, "counts", many)
    measure("four times the slides", OURS, 2000, 200, "counts", many)
    print_table(
        f"{many:,} replicates of 500 slides (200 items each) x 5 raters x 6 classes, without start "
        "and imports",
        rows,
    )
    (_, _, value, error), (*_, mean, spread) = json.loads(ours.printed), json.loads(loop.printed)
    print(f"  mean of pairs: ours {value:.4f}, s.e. {error:.4f}; loop {mean:.4f}, {spread:.4f}")
