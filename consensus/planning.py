"""How wide kappa's interval will be, before anyone has read a slide: by simulation.

Studies with the planned numbers are drawn, and each is put through the same statistics as a real
one. An item has a class that everybody could see, drawn by prevalence. Each rater sees it with the
probability ``sqrt(kappa)``, independently of the others, and else guesses by prevalence. Two raters
then agree as if they guessed unless both see it, so that the expected kappa of every pair, over all
classes and for each, weighted or not, is the one that was assumed.

Shapes: S simulations, N slides, M items, R raters, K classes.

References
----------
Fleiss, Cohen & Everitt (1969), doi:10.1037/h0028106: the analytic error that this is checked
against for two raters. Morris, White & Crowther (2019), doi:10.1002/sim.8086, on Monte Carlo errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from annotation.protocol import Protocol
from consensus.agreement import agreement, check_resampling
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.statistic import Statistic

__all__ = ["Assumptions", "expected_widths", "parse_prevalence"]

OVERALL: Final = "overall"
_Z: Final = 1.959963984540054


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted about a study that has not been made.

    Parameters
    ----------
    prevalence : shape (K,)
        Of each class; they sum to 1.
    rank : shape (K,)
        Place of each class in the order; NaN where it has none.
    kappa
        Of every two raters, from 0 to 1.
    items_per_slide
        Independent items on each slide.
    """

    classes: tuple[str, ...]
    prevalence: NDArray[np.float64]
    rank: NDArray[np.float64]
    weights: str
    kappa: float
    items_per_slide: int = 1

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        kappa: float,
        shares: Mapping[str, float] | None = None,
        items_per_slide: int = 1,
    ) -> Assumptions:
        """What a protocol says, with each class as common as the others unless ``shares`` says it.

        Raises
        ------
        InputError
            A share of a class that the protocol lacks, a class without one, or a kappa that
            cannot be assumed.
        """
        if not 0 <= kappa <= 1:
            raise InputError(f"--expect-kappa {kappa:g} can't be simulated; give 0 to 1")
        if shares is None:
            shares = {entry.name: 1 / len(protocol.classes) for entry in protocol.classes}
        _check_shares(protocol, shares)
        names = [name for name in protocol.class_names if name in shares]
        return cls(
            classes=tuple(names),
            prevalence=np.array([shares[name] for name in names]),
            rank=np.array([protocol.ranks[protocol.codes[name]] for name in names]),
            weights=protocol.weights,
            kappa=kappa,
            items_per_slide=items_per_slide,
        )


def parse_prevalence(texts: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=SHARE``, once for each class."""
    shares: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not name or not 0 <= share <= 1:
            raise InputError(f"{text!r} in --classes-prevalence is no NAME=SHARE; write Benign=0.5")
        if name in shares:
            raise InputError(f"--classes-prevalence names {name!r} twice; name each class once")
        shares[name] = share
    return shares


def _check_shares(protocol: Protocol, shares: Mapping[str, float]) -> None:
    for name in shares:
        if name not in protocol.codes:
            raise InputError(
                f"--classes-prevalence names {name!r}, which protocol {protocol.name!r} lacks; its "
                f"classes are {', '.join(protocol.class_names)}"
            )
    for entry in protocol.classes:
        if entry.name not in shares:
            raise InputError(
                f"--classes-prevalence lacks {entry.name!r}; give every class of protocol "
                f"{protocol.name!r} its share"
            )
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise InputError(
            f"--classes-prevalence sums to {sum(shares.values()):g}; shares must sum to 1"
        )


def expected_widths(
    rated: NDArray[np.bool_],
    patients: Sequence[str],
    assumed: Assumptions,
    *,
    simulations: int,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Expected width of the 95 % intervals of kappa, over all classes and of each.

    Parameters
    ----------
    rated : shape (N, R)
        Who is to read which slide.
    patients
        Of each slide, what the bootstrap resamples as a whole.
    bootstrap
        Replicates in each simulated study; 0 takes the analytic interval.

    Returns
    -------
    The document: of each figure the mean width with its Monte Carlo error, how far the simulated
    kappas themselves spread (2 x 1.96 standard deviations), and in which share of the simulated
    studies the interval held the assumed kappa.
    """
    check_resampling(bootstrap, seed)
    if simulations < 2:
        raise InputError(
            f"--simulations {simulations} tells nothing about a spread; give 2 or more"
        )
    rng = np.random.default_rng([seed, 0x6B])
    clusters = sorted(set(patients))
    cluster = np.repeat([clusters.index(name) for name in patients], assumed.items_per_slide)
    found: dict[str, list[Statistic]] = {name: [] for name in (OVERALL, *assumed.classes)}
    for number in range(simulations):
        codes = _draw(rng, np.repeat(rated, assumed.items_per_slide, axis=0), assumed)
        drawn = agreement(
            _ratings(codes, cluster, len(clusters), assumed, by_patient=bootstrap > 0),
            weights=assumed.weights,
            bootstrap=bootstrap,
            seed=seed + number,
        )
        found[OVERALL].append(drawn.coefficients["cohen_pooled"])
        for name in assumed.classes:
            found[name].append(drawn.per_class[name]["kappa"])
    kappa = {name: _summary(statistics, assumed.kappa) for name, statistics in found.items()}
    return {
        "expect_kappa": assumed.kappa,
        "prevalence": dict(zip(assumed.classes, assumed.prevalence.tolist(), strict=True)),
        "weights": assumed.weights,
        "items_per_slide": assumed.items_per_slide,
        "simulations": simulations,
        "bootstrap": bootstrap,
        "seed": seed,
        OVERALL: kappa.pop(OVERALL),
        "per_class": kappa,
        "notes": _notes(assumed, bootstrap),
    }


def _notes(assumed: Assumptions, bootstrap: int) -> list[str]:
    several = f"{assumed.items_per_slide} independent items" if assumed.items_per_slide > 1 else ""
    notes = [
        f"every slide counts as {several or 'one item'}; items of a slide that are alike say less"
    ]
    if not bootstrap:
        notes.append("analytic intervals take slides as independent, also those of one patient")
    return notes


def _draw(
    rng: np.random.Generator, rated: NDArray[np.bool_], assumed: Assumptions
) -> NDArray[np.int32]:
    """Codes of one simulated study, shape (M, R)."""
    n_classes = len(assumed.classes)
    truth = rng.choice(n_classes, size=(len(rated), 1), p=assumed.prevalence)
    guess = rng.choice(n_classes, size=rated.shape, p=assumed.prevalence)
    sees = rng.random(rated.shape) < np.sqrt(assumed.kappa)
    return np.where(rated, np.where(sees, truth, guess), NOT_RATED).astype(np.int32)


def _ratings(
    codes: NDArray[np.int32],
    cluster: NDArray[np.int64],
    n_clusters: int,
    assumed: Assumptions,
    *,
    by_patient: bool,
) -> Ratings:
    items = tuple(map(str, range(len(codes))))
    return Ratings(
        items=items,
        raters=tuple(map(str, range(codes.shape[1]))),
        classes=assumed.classes,
        codes=codes,
        weight=np.ones(len(codes)),
        cluster=cluster if by_patient else np.arange(len(codes)),
        cluster_names=tuple(map(str, range(n_clusters))) if by_patient else items,
        rank=assumed.rank,
        cluster_unit="patient" if by_patient else "item",
    )


def _summary(statistics: Sequence[Statistic], kappa: float) -> dict[str, Any]:
    """Mean width, spread and coverage over the simulated studies that have an interval."""
    values = np.array([one.value for one in statistics if one.value is not None])
    limits = np.array(
        [
            (s.ci_low, s.ci_high)
            for s in statistics
            if s.ci_low is not None and s.ci_high is not None
        ]
    ).reshape(-1, 2)
    n, n_values = len(limits), len(values)
    if n < 2:
        reasons = sorted({one.ci_status for one in statistics})
        return {"width": None, "status": "; ".join(reasons), "with_interval": n}
    width = limits[:, 1] - limits[:, 0]
    spread = 2 * _Z * float(values.std(ddof=1))
    covered = float(np.mean((limits[:, 0] <= kappa) & (kappa <= limits[:, 1])))
    return {
        "width": float(width.mean()),
        "width_error": float(width.std(ddof=1) / np.sqrt(n)),
        "mean": float(values.mean()),
        "mean_error": float(values.std(ddof=1) / np.sqrt(n_values)),
        "spread": spread,
        "spread_error": spread / float(np.sqrt(2 * (n_values - 1))),
        "coverage": covered,
        "coverage_error": float(np.sqrt(covered * (1 - covered) / n)),
        "with_interval": n,
        "status": "ok",
    }
