"""How often the 95 % intervals hold the true value, over simulated studies of 5 to 100 patients.

Patients differ in what their 20 items show and in how hard they are to read, so that items of
one patient are alike. Four raters of their own skill and leaning read them all; the true value
is that of these raters on a population of 100,000 patients. For the interval with raters every
study has five raters drawn anew, and the true value is that of 6,000 of them.

Shapes: N patients, M items of a patient, R raters, K classes.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import Ratings
from consensus.statistics.bootstrap_limits import INTERVALS
from consensus.statistics.clusters import Clusters, clusters_of
from consensus.statistics.figures import figures_of
from consensus.statistics.intervals import Drawn, Resampled
from consensus.statistics.patterns import compress
from consensus.statistics.resampling import Figures, bootstrap
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

__all__ = ["run"]

STUDIES = 900
REPLICATES = 1000
REPLICATES_WITH_RATERS = 200  # for a standard error
PATIENTS = (5, 10, 20, 100)
ITEMS = 20
MIX = np.array([0.55, 0.30, 0.12, 0.03])
"""How common each class is over all patients; one patient's mix is drawn around it."""
SKILL, LEANING = np.array([1.9, 1.5, 1.2, 1.0]), np.array([0.3, 0.5, 0.5, 0.75])
N_CLASSES, COMMON, RARE = len(MIX), 0, 3
FIGURES = ("Conger's kappa", "kappa of a common class", "kappa of a rare class")


def read(
    rng: np.random.Generator,
    n_patients: int,
    skill: NDArray[np.float64],
    leaning: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Classes that raters gave, shape (N, M, R).

    Parameters
    ----------
    skill, leaning : shape (R,)
        Log odds of naming the true class of an item of middling difficulty, and the part of
        errors that go one class up instead of down.
    """
    mix = rng.dirichlet(6 * MIX, size=n_patients)
    threshold = np.cumsum(mix, axis=1)[:, None, :-1]
    truth = (rng.random((n_patients, ITEMS, 1)) > threshold).sum(axis=2)[..., None]
    ease = rng.normal(0, 0.6, (n_patients, 1)) + rng.normal(0, 0.6, (n_patients, ITEMS))
    shape = (n_patients, ITEMS, len(skill))
    right = rng.random(shape) < 1 / (1 + np.exp(-(skill + ease[..., None])))
    wrong = truth + np.where(rng.random(shape) < leaning, 1, -1)
    wrong = np.where(wrong < 0, 1, np.where(wrong == N_CLASSES, N_CLASSES - 2, wrong))
    return np.where(right, truth, wrong).astype(np.int32)


def any_raters(
    rng: np.random.Generator, n_raters: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Skill and leaning of raters drawn from a population of them."""
    return rng.normal(1.4, 0.5, n_raters), rng.beta(3, 3, n_raters)


def _summed(codes: NDArray[np.int32]) -> tuple[Scheme, Clusters, NDArray[np.float64]]:
    """Clusters of simulated reads, and their sums (1, width)."""
    n_patients, _, n_raters = codes.shape
    names = tuple(f"{number:06}" for number in range(n_patients * ITEMS))
    ratings = Ratings(
        items=names,
        raters=names[:n_raters],
        classes=("a", "b", "c", "d"),
        codes=codes.reshape(-1, n_raters),
        weight=np.ones(n_patients * ITEMS),
        cluster=np.repeat(np.arange(n_patients), ITEMS),
        cluster_names=names[:n_patients],
        rank=np.arange(4.0),
        cluster_unit="patient",
    )
    scheme = Scheme.of(ratings, 1 - np.eye(N_CLASSES))
    patterns = compress(ratings.codes, N_CLASSES)
    features = item_features(scheme, rater_counts(patterns.codes, N_CLASSES))
    clusters = clusters_of(ratings, patterns)
    totals = group_totals(scheme, clusters.weighted, features)
    return scheme, clusters, totals.sum(axis=0, keepdims=True)


def _columns(figures: Figures) -> list[NDArray[np.float64]]:
    return [figures["conger"], figures["kappa"][:, COMMON], figures["kappa"][:, RARE]]


def true_values(rng: np.random.Generator) -> list[float]:
    """Of the four raters, over 100,000 patients."""
    parts = [_summed(read(rng, 5000, SKILL, LEANING)) for _ in range(20)]
    totals = Totals(parts[0][0], sum(part[2] for part in parts))
    return [float(column[0]) for column in _columns(figures_of(totals))]


def true_values_of_any_raters(rng: np.random.Generator) -> list[float]:
    """Over 6,000 raters, from the definitions: 20 groups who read 1,000 patients each."""
    sums = np.zeros((3, N_CLASSES))  # said; said by both, in the same item and by chance
    for _ in range(20):
        codes = read(rng, 1000, *any_raters(rng, 300)).reshape(-1, 300)
        counts = np.stack([(codes == c).sum(axis=1) for c in range(N_CLASSES)], axis=1)
        margins = np.stack([(codes == c).mean(axis=0) for c in range(N_CLASSES)], axis=1)
        by_chance = margins.sum(axis=0) ** 2 - (margins**2).sum(axis=0)
        sums += (
            margins.mean(axis=0),
            (counts * (counts - 1)).mean(axis=0) / 89_700,
            by_chance / 89_700,
        )
    said, together, by_chance = sums / 20
    conger = 1 - (1 - together.sum()) / (1 - by_chance.sum())
    kappa = 1 - (said - together) / (said - by_chance)
    return [float(conger), float(kappa[COMMON]), float(kappa[RARE])]


class _Count:
    """How many intervals held the true value, lay above or below it, and how many there were."""

    def __init__(self) -> None:
        self.made, self.held, self.above, self.below = 0, 0, 0, 0
        self.width = 0.0

    def add(self, low: float | None, high: float | None, true: float) -> None:
        if low is None or high is None:
            return
        self.made += 1
        self.held += low <= true <= high
        self.above += low > true
        self.below += high < true
        self.width += high - low

    def __str__(self) -> str:
        if self.made < STUDIES / 10:
            return f"{'-':>26}"
        part = 100 / self.made
        error = 1.96 * (self.held * (self.made - self.held) / self.made) ** 0.5 * part
        missed = f"({self.above * part:.1f}, {self.below * part:.1f})"
        return f"{self.held * part:5.1f} ±{error:3.1f} {missed:>12} {self.width / self.made:4.2f}"


def _counted(
    rng: np.random.Generator, n_patients: int, true: list[float], *, same_raters: bool
) -> list[dict[str, _Count]]:
    """Simulate studies and count, figure by figure."""

    def evaluate(totals: Totals, times: NDArray[np.float64] | None) -> Figures:
        """Leaves out what isn't looked at."""
        return {} if same_raters and times is not None else figures_of(totals, times)

    kinds = [*INTERVALS, "with raters"]
    counts = [{kind: _Count() for kind in kinds} for _ in FIGURES]
    for study in range(STUDIES):
        skill, leaning = (SKILL, LEANING) if same_raters else any_raters(rng, 5)
        scheme, clusters, totals = _summed(read(rng, n_patients, skill, leaning))
        n_replicates = REPLICATES if same_raters else REPLICATES_WITH_RATERS
        made = bootstrap(scheme, clusters, evaluate, n_replicates, study)
        naming = clusters.naming(N_CLASSES)
        rests_on = n_patients, int(naming[COMMON]), int(naming[RARE])
        of_all, left_out, drawn = (
            _columns(figures)
            for figures in (figures_of(Totals(scheme, totals)), made.left_out, made.figures)
        )
        with_raters = _columns(made.with_raters) if made.with_raters else []
        resampled = Resampled("patient", scheme.n_raters, True, "expanded")
        for figure, count in enumerate(counts):
            one = Drawn(
                float(of_all[figure][0]),
                drawn[figure],
                left_out[figure],
                made.times,
                with_raters[figure] if with_raters else None,
            )
            k = rests_on[figure]
            told = dict(resampled.interval(one, k)[1].get("intervals", {}))
            told["with raters"] = resampled.with_raters(one, k, proportion=False)
            for kind, limits in told.items():
                count[kind].add(limits["ci_low"], limits["ci_high"], true[figure])
    return counts


def _print(title: str, kinds: list[str], true: list[float], *, same_raters: bool) -> None:
    rng = np.random.default_rng(3)
    print(f"\n{title}")
    print(f"  {'':>8} {'':24}{'true':>6} {'no':>6}" + "".join(f"  {kind:>26}" for kind in kinds))
    for n_patients in PATIENTS:
        counts = _counted(rng, n_patients, true, same_raters=same_raters)
        for name, value, count in zip(FIGURES, true, counts, strict=True):
            none = 100 * (1 - count[kinds[0]].made / STUDIES)
            told = "".join(f"  {count[kind]}" for kind in kinds)
            print(f"  {n_patients:8} {name:24}{value:6.3f} {none:5.1f}%{told}", flush=True)


def run(folder: Path) -> None:
    """Simulate and print."""
    start = time.process_time()
    rng = np.random.default_rng(2)
    print(
        f"\nCoverage of 95 % intervals in % of {STUDIES:,} simulated studies ± its own error (those "
        "that lay above\nthe true value, below it) and mean width; 'no': no interval, for too few "
        "patients with the class"
    )
    _print(
        f"4 raters, the same in every study; {REPLICATES:,} replicates",
        ["percentile", "bca", "expanded"],
        true_values(rng),
        same_raters=True,
    )
    _print(
        f"5 raters, others in every study; {REPLICATES_WITH_RATERS} replicates",
        ["expanded", "with raters"],
        true_values_of_any_raters(rng),
        same_raters=False,
    )
    print(f"  {time.process_time() - start:.0f} s of CPU time")
