"""Estimating a slide's stains from 200,000 pixels, and changing tiles: megapixels a second and core."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.stain.density import intensities
from models.stain.stains import REFERENCE
from tests.benchmarks.measure import cost_of

__all__ = ["run"]

TIMED = """
import json, time
import numpy as np
from models.stain.augmentation import StainAugmentation
from models.stain.macenko import macenko
from models.stain.normalisation import normalise
from models.stain.reinhard import reinhard, repaint
from models.stain.vahadane import vahadane
from tests.benchmarks.staining import tissue

pixels = tissue(200_000)
tiles = tissue(16 * 256 * 256).reshape(16, 256, 256, 3)
stains, colours, rng = macenko(pixels, "S"), reinhard(pixels, "S"), np.random.default_rng(0)
ways = {
    "fit, Macenko": (pixels, lambda p: macenko(p, "S")),
    "fit, Vahadane": (pixels, lambda p: vahadane(p, "S")),
    "fit, Reinhard": (pixels, lambda p: reinhard(p, "S")),
    "normalise, Macenko or Vahadane": (tiles, lambda p: normalise(p, stains)),
    "augment": (tiles, lambda p: StainAugmentation()(p, stains, rng)),
    "repaint, Reinhard": (tiles, lambda p: repaint(p, colours, colours)),
}
try:
    from torchstain.numpy.normalizers.macenko import NumpyMacenkoNormalizer
except ImportError:
    pass
else:
    oracle = NumpyMacenkoNormalizer()
    ways["fit, torchstain's Macenko"] = (pixels, lambda p: oracle.fit(p[None]))
    ways["fit and normalise, torchstain's Macenko"] = (
        tiles, lambda p: [oracle.normalize(tile, stains=False) for tile in p]
    )
found = {}
for name, (given, work) in ways.items():
    times = []
    for _ in range(3):
        start = time.process_time()
        work(given)
        times.append(time.process_time() - start)
    found[name] = given.size / 3e6 / min(times)
print(json.dumps(found))
"""


def tissue(n: int) -> NDArray[np.uint8]:
    """Pixels (n, 3) of two stains with some noise."""
    rng = np.random.default_rng(0)
    amount = rng.gamma(4.0, 0.25, (n, 2)) * rng.choice([0.05, 1.0], (n, 2))
    return intensities(amount @ REFERENCE.vectors.T + rng.normal(0, 0.01, (n, 3)))


def run(_folder: Path) -> None:
    """Print megapixels a second of CPU time, the best of three."""
    print("\nstains, in one process; megapixels a second of CPU time")
    for name, rate in json.loads(cost_of(TIMED).printed).items():
        print(f"  {name:52} {rate:8.1f}")
