"""`make bench`: prints every benchmark with the machine and the versions it ran on."""

from __future__ import annotations

import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import pulling
from tests.benchmarks.measure import cost_of, print_table


def help_page() -> None:
    """`pathquorum --help` beside an empty interpreter, each the best of five."""
    empty = min((cost_of("pass") for _ in range(5)), key=lambda cost: cost.wall_s)
    ours = min(
        (cost_of("from annotation.cli import run; run(['--help'])") for _ in range(5)),
        key=lambda cost: cost.wall_s,
    )
    print_table(
        "pathquorum --help", [("baseline: python -c pass", empty, ""), ("ours", ours, "0.3 s")]
    )


def main() -> None:
    """Run them all."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "shapely", "sqlalchemy"))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(packages)
    help_page()
    with tempfile.TemporaryDirectory() as folder:
        pulling.run(Path(folder))


if __name__ == "__main__":
    main()
