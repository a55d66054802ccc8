"""`make bench`: prints every benchmark with the machine and the versions it ran on.

`python -m tests.benchmarks overlaying fusing` prints only these; `noise` and
`stain_ablation` take long and are printed only where they are named.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import (
    coverage,
    drifting,
    fusing,
    geojson,
    growing,
    intervals,
    labelling,
    matching,
    mil_bags,
    overlaying,
    predicting,
    pulling,
    pushing,
    qupath_objects,
    reading,
    reviewing,
    segmentation,
    stain_ablation,
    staining,
    triage,
)
from tests.benchmarks.measure import cost_of, print_table
from tests.benchmarks.noise import report as noise

PACKAGES = (
    "numpy",
    "scipy",
    "shapely",
    "sqlalchemy",
    "geopandas",
    "simpleitk",
    "crowd-kit",
    "scikit-learn",
    "openslide-bin",
    "simplejpeg",
    "torch",
)


def help_page(_folder: Path) -> None:
    """`pathquorum --help` beside an empty interpreter, each the best of five."""
    empty = min((cost_of("pass") for _ in range(5)), key=lambda cost: cost.wall_s)
    ours = min(
        (cost_of("from annotation.cli import run; run(['--help'])") for _ in range(5)),
        key=lambda cost: cost.wall_s,
    )
    print_table(
        "pathquorum --help", [("baseline: python -c pass", empty, ""), ("ours", ours, "0.3 s")]
    )


BENCHMARKS: dict[str, Callable[[Path], None]] = {
    "help": help_page,
    "pulling": pulling.run,
    "overlaying": overlaying.run,
    "matching": matching.run,
    "intervals": intervals.run,
    "fusing": fusing.run,
    "reviewing": reviewing.run,
    "coverage": coverage.run,
    "qupath": qupath_objects.run,
    "pushing": pushing.run,
    "geojson": geojson.run,
    "reading": reading.run,
    "predicting": predicting.run,
    "growing": growing.run,
    "staining": staining.run,
    "stain_ablation": stain_ablation.run,
    "labelling": labelling.run,
    "mil": mil_bags.run,
    "noise": noise.run,
    "segmentation": segmentation.run,
    "triage": triage.run,
    "drift": drifting.run,
}

LONG = ("noise", "stain_ablation")
"""An hour on two cores, and some ten minutes; run where they are named."""


def main(names: list[str]) -> None:
    """Run those named, or all."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    for name in names or [name for name in BENCHMARKS if name not in LONG]:
        with tempfile.TemporaryDirectory() as folder:
            BENCHMARKS[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
