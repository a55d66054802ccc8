"""`python -m tests.benchmarks noise`: methods against noise, on the frozen benchmark.

With `PATHQUORUM_NOISE_RESULTS=FILE` the raw results are kept there as JSON lines, and a run that was
cut off goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.noise import frozen
from tests.benchmarks.noise.cells import RATER_NAMES, Cell
from tests.benchmarks.noise.running import cells_of, code_digest

__all__ = ["gate_outcome", "paired_interval", "run"]

RESULTS = "PATHQUORUM_NOISE_RESULTS"


def run(folder: Path) -> None:
    """Train whatever is missing, and print."""
    results = Path(os.environ.get(RESULTS, folder / "noise.jsonl"))
    cells = cells_of(results)
    by_regime = {
        regime: [cell for cell in cells if cell.regime == regime] for regime in frozen.REGIMES
    }
    print("\nLearning from noisy labels: balanced accuracy on test bags, mean (s.e.) over seeds")
    print(
        f"  {len(frozen.SEEDS)} seeds, {frozen.TRAINING_BAGS} training and {frozen.TEST_BAGS} test bags"
    )
    print(f"  frozen.py {frozen.sha256()}")
    print(f"  code      {code_digest()}")
    print(f"  {'':44}" + "".join(f"{regime:>16}" for regime in by_regime))
    kappas = {regime: _over_seeds(c.kappa for c in cells) for regime, cells in by_regime.items()}
    _row("pairwise quadratic kappa of training labels", list(kappas.values()))
    for name in ("majority", "Dawid-Skene", "em-net"):
        shares = [
            _over_seeds(cell.label_accuracy[name] for cell in cells) for cells in by_regime.values()
        ]
        _row(f"right labels in training, {name}", shares)
    print()
    names = list(by_regime["biased"][0].accuracy)
    for name in names:
        _row(name, [_accuracies(cells, name) for cells in by_regime.values()])
    for rater, rater_name in enumerate(RATER_NAMES):
        _row(
            f"rater {rater_name}",
            [_over_seeds(cell.raters[rater] for cell in cells) for cells in by_regime.values()],
        )
    print(
        "  Trained on true labels (an upper line, no method): cross-entropy in the regime clean,\n"
        "  where every label is right; the bags are the same in all regimes."
    )
    print("\nGates: paired bootstrap over seeds, 95 %; over these seeds, not over new data")
    for gate in frozen.GATES:
        print("  " + gate_outcome(gate, by_regime[gate.regime]))
    cpu_s = sum(cell.cpu_s for cell in cells)
    print(f"  {cpu_s / 60:.0f} min of CPU time")


def paired_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences (n_seeds,)."""
    rng = np.random.default_rng(frozen.BOOTSTRAP_SEED)
    drawn = rng.integers(0, len(differences), (frozen.BOOTSTRAP_DRAWS, len(differences)))
    low, high = np.percentile(differences[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def gate_outcome(gate: frozen.Gate, cells: list[Cell]) -> str:
    """What a gate asks, what was found, and whether it holds."""
    differences = _accuracies(cells, gate.of) - _accuracies(cells, gate.over)
    low, high = paired_interval(differences)
    if gate.above is not None:
        asked, holds = f"lower bound above {gate.above:+.2f}", low > gate.above
    else:
        assert gate.within is not None
        asked = f"whole interval within {gate.within:.2f}"
        holds = -gate.within <= low <= high <= gate.within
    return (
        f"{'holds ' if holds else 'FAILED'}  {gate.of} minus {gate.over}, {gate.regime}: "
        f"{differences.mean():+.4f} ({low:+.4f} to {high:+.4f}); {asked}"
    )


def _accuracies(cells: list[Cell], name: str) -> NDArray[np.float64]:
    return np.array([cell.accuracy[name] for cell in cells if name in cell.accuracy])


def _over_seeds(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array(list(values))


def _row(name: str, columns: list[NDArray[np.float64]]) -> None:
    print(f"  {name:44}" + "".join(f"{_cell(values):>16}" for values in columns))


def _cell(values: NDArray[np.float64]) -> str:
    if not len(values):
        return "-"
    return f"{values.mean():.3f} ({values.std(ddof=1) / np.sqrt(len(values)):.3f})"
