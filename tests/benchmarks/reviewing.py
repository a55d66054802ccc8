"""What an expert's review is worth: accuracy of labels after looking at the first of a queue.

Five simulated raters give each item one of four ordered classes. In the *mild* regime they err
each by themselves, on neighbouring classes first, and are right on 65 to 85 % of the items. In the
*biased* regime they are right on 70 to 90 %, but three of them share a school: on a fifth of the
items each of the three is likely to read the class above. Labels are those of Dawid and Skene; an
item that is reviewed gets the true class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from consensus.fusion import dawid_skene
from consensus.queue.queue_order import label_entropy, queue_posterior
from consensus.ratings import Ratings

__all__ = ["ORDERS", "REGIMES", "SHARES", "Regime", "Study", "accuracies", "run", "simulate"]

Regime = Literal["mild", "biased"]
REGIMES: tuple[Regime, ...] = ("mild", "biased")
SHARES = (0.0, 0.05, 0.1, 0.2)
"""Parts of the items that are reviewed."""

N_RATERS, N_CLASSES = 5, 4
PREVALENCE = (0.4, 0.25, 0.2, 0.15)


@dataclass(frozen=True, eq=False)
class Study:
    """Ratings of which the truth is known; ``chance`` (n_items,) breaks ties, at random."""

    ratings: Ratings
    truth: NDArray[np.int64]
    chance: NDArray[np.float64]

    @property
    def severity(self) -> NDArray[np.float64]:
        """Part of each item's pairs of raters who said different classes."""
        codes = self.ratings.codes
        first, second = np.triu_indices(codes.shape[1], 1)
        return np.asarray((codes[:, first] != codes[:, second]).mean(axis=1))


def simulate(regime: Regime, seed: int, n_items: int, *, areas: bool = False) -> Study:
    """One study; with ``areas`` items weigh differently, most little and a few much."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(N_CLASSES, n_items, p=PREVALENCE)
    low, high = (0.65, 0.85) if regime == "mild" else (0.7, 0.9)
    codes = np.stack(
        [_answers(truth, accuracy, rng) for accuracy in rng.uniform(low, high, N_RATERS)], axis=1
    )
    if regime == "biased":
        above = np.where(truth + 1 < N_CLASSES, truth + 1, truth - 1)
        hard = rng.random(n_items) < 0.21
        for rater in range(3):
            follows = hard & (rng.random(n_items) < 0.85)
            codes[follows, rater] = above[follows]
    ratings = Ratings(
        items=tuple(str(item) for item in range(n_items)),
        raters=tuple(f"r{rater}" for rater in range(N_RATERS)),
        classes=tuple("ABCD"),
        codes=codes.astype(np.int32),
        weight=rng.lognormal(0.0, 1.0, n_items) if areas else np.ones(n_items),
        cluster=np.zeros(n_items, dtype=np.int64),
        cluster_names=("all",),
        rank=np.arange(N_CLASSES, dtype=np.float64),
        weight_unit="um2" if areas else "count",
        cluster_unit="slide",
    )
    return Study(ratings, truth, rng.random(n_items))


def _answers(
    truth: NDArray[np.int64], accuracy: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Right with this probability, else another class, rarer with the square of its distance."""
    apart = np.abs(np.subtract.outer(np.arange(N_CLASSES), np.arange(N_CLASSES))).astype(float)
    wrong = np.divide(1.0, apart**2, out=np.zeros_like(apart), where=apart > 0)
    said = (1 - accuracy) * wrong / wrong.sum(axis=1, keepdims=True)
    said += accuracy * np.eye(N_CLASSES)
    below = said.cumsum(axis=1)[truth] < rng.random(len(truth))[:, None]
    return np.minimum(below.sum(axis=1), N_CLASSES - 1)


def _entropy(study: Study) -> NDArray[np.float64]:
    return label_entropy(queue_posterior(study.ratings))


ORDERS: Mapping[str, Callable[[Study], NDArray[np.float64]]] = {
    "entropy x weight x severity (--order entropy)": lambda s: (
        _entropy(s) * s.ratings.weight * s.severity
    ),
    "disagreement (--order disagreement)": lambda s: s.severity,
    "area (--order area)": lambda s: s.ratings.weight,
    "random (--order random)": lambda s: s.chance,
    "for comparison: entropy": _entropy,
    "  disagreement x weight": lambda s: s.severity * s.ratings.weight,
    "  the first, by Dawid and Skene's posterior as it is": lambda s: (
        label_entropy(dawid_skene(s.ratings).posterior) * s.ratings.weight * s.severity
    ),
}


def accuracies(study: Study) -> dict[str, list[float]]:
    """Part of the weight that is labelled rightly, by order, after reviewing each of ``SHARES``."""
    weight = study.ratings.weight
    right = dawid_skene(study.ratings).posterior.argmax(axis=1) == study.truth
    found = {}
    for name, key in ORDERS.items():
        order = np.lexsort((study.chance, -key(study)))
        found[name] = []
        for share in SHARES:
            known = right.copy()
            known[order[: round(share * len(order))]] = True
            found[name].append(float(np.average(known, weights=weight)))
    return found


def run(folder: Path, sizes: tuple[tuple[int, int], ...] = ((60, 200), (2000, 30))) -> None:
    """Simulate and print; the folder is not used.

    Parameters
    ----------
    sizes
        Items of a study, and studies that are averaged.
    """
    del folder
    for n_items, n_studies in sizes:
        for areas in (False, True):
            for regime in REGIMES:
                studies = (
                    simulate(regime, seed, n_items, areas=areas) for seed in range(n_studies)
                )
                found = [accuracies(study) for study in studies]
                by_order = {name: np.array([each[name] for each in found]) for name in ORDERS}
                what = "area" if areas else "items"
                _print(f"{regime} regime, accuracy by {what}; {n_items:,} items", by_order)


def _print(title: str, by_order: Mapping[str, NDArray[np.float64]]) -> None:
    """Means over studies with standard errors, and the gain on disagreement study by study."""
    n_studies = len(next(iter(by_order.values())))
    print(f"\nReview: {title}, mean of {n_studies} studies (s.e.)")
    print(f"  {'':54}" + "".join(f"{f'{share:.0%} reviewed':>17}" for share in SHARES))
    for name, accuracy in by_order.items():
        print(f"  {name:54}" + _cells(accuracy))
    entropy, disagreement, *_ = by_order.values()
    beyond = "first order beyond disagreement, study by study"
    print(f"  {beyond:54}" + _cells(entropy - disagreement))


def _cells(values: NDArray[np.float64]) -> str:
    mean = values.mean(axis=0)
    se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return "".join(f"{f'{m:.4f} ({s:.4f})':>17}" for m, s in zip(mean, se, strict=True))
