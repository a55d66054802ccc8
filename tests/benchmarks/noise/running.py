"""All cells, in two processes; what was finished before under the same code is not done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks.noise import frozen
from tests.benchmarks.noise.cells import Cell, run_cell

__all__ = ["cells_of", "code_digest"]

PROCESSES = 2
_SOURCES = ("models/mil", "models/noise", "models/training", "consensus/statistics")


def code_digest() -> str:
    """SHA-256 of the frozen file and of all code that has a part in the result."""
    root = Path(__file__).resolve().parents[3]
    files = [path for folder in _SOURCES for path in sorted((root / folder).glob("*.py"))]
    digest = hashlib.sha256(frozen.sha256().encode())
    for path in [*files, Path(__file__).with_name("cells.py")]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cells_of(results: Path) -> list[Cell]:
    """Every regime and seed, by way of a file of JSON lines."""
    digest = code_digest()
    done = {(cell.regime, cell.seed): cell for cell in _finished(results, digest)}
    missing = [
        (regime, seed)
        for seed in frozen.SEEDS
        for regime in frozen.REGIMES
        if (regime, seed) not in done
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool,
        results.open("a", encoding="utf-8") as lines,
    ):
        for future in as_completed([pool.submit(run_cell, *place) for place in missing]):
            cell = future.result()
            done[cell.regime, cell.seed] = cell
            lines.write(json.dumps({"code": digest, **cell.to_dict()}) + "\n")
            lines.flush()
    return [done[regime, seed] for regime in frozen.REGIMES for seed in frozen.SEEDS]


def _finished(results: Path, digest: str) -> Iterator[Cell]:
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if found.pop("code") == digest:
                yield Cell(**found)
