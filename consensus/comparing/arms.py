"""Two arms of a study, and by how much they differ: before and after, without and with a help.

Both arms are taken on the clusters (patients) that both hold. Raters may differ between arms, and
then a difference is theirs too; who is in which arm is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.agreement import Agreement, check_resampling
from consensus.columns import class_order, negative_class
from consensus.comparing.comparisons import Method
from consensus.errors import RatingsError
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.bootstrap_limits import interval_name
from consensus.statistics.clusters import few_clusters
from consensus.statistics.findings import AMONG_RATERS
from consensus.statistics.intervals import Drawn, Resampled
from consensus.statistics.paired import PairedReplicates, paired_replicates, rated_clusters
from consensus.statistics.resampling import Figures
from consensus.statistics.statistic import Interval, Statistic
from consensus.statistics.weights import disagreement_weights

__all__ = ["Arm", "ArmComparison", "compare", "on_one_footing", "with_common_classes"]


@dataclass(frozen=True)
class Arm:
    """One arm: what it is called, and who gave what which class."""

    name: str
    ratings: Ratings
    weights: str | NDArray[np.float64]

    def on(self, clusters: set[str]) -> Arm:
        """The same arm on these clusters alone."""
        kept = np.array([name in clusters for name in self.ratings.cluster_names], dtype=bool)
        used = kept[self.ratings.cluster]
        slide = self.ratings.slide
        ratings = replace(
            self.ratings,
            items=tuple(item for item, use in zip(self.ratings.items, used, strict=True) if use),
            codes=self.ratings.codes[used],
            weight=self.ratings.weight[used],
            cluster=self.ratings.cluster[used],
            slide=None if slide is None else slide[used],
            domain_um2=None
            if self.ratings.domain_um2 is None
            else float(self.ratings.weight[used].sum()),
        )
        return replace(self, ratings=ratings)


@dataclass(frozen=True)
class ArmComparison:
    """Both arms on what they share, and the second less the first."""

    names: tuple[str, str]
    arms: tuple[Agreement, Agreement]
    shared_clusters: int
    only_in_one: tuple[int, int]
    coefficients: dict[str, Statistic]
    per_class: dict[str, dict[str, Statistic]]
    f1: Statistic
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document, of plain numbers and text."""
        first, second = (set(arm.raters) for arm in self.arms)
        return {
            "arms": [
                {"name": name, "clusters_not_shared": alone, **arm.to_dict()}
                for name, alone, arm in zip(self.names, self.only_in_one, self.arms, strict=True)
            ],
            "cluster_unit": self.arms[0].cluster_unit,
            "shared_clusters": self.shared_clusters,
            "raters": {
                "both": sorted(first & second),
                "first_only": sorted(first - second),
                "second_only": sorted(second - first),
            },
            "bootstrap": self.arms[0].bootstrap,
            "seed": self.arms[0].seed,
            "interval": self.arms[0].interval,
            "difference": {
                "coefficients": {name: one.to_dict() for name, one in self.coefficients.items()},
                "per_class": {
                    name: {kind: one.to_dict() for kind, one in figures.items()}
                    for name, figures in self.per_class.items()
                },
                "detection": {"f1": self.f1.to_dict()},
            },
            "notes": list(self.notes),
        }


def compare(
    first: Arm, second: Arm, *, bootstrap: int, seed: int = 0, interval: str = "expanded"
) -> ArmComparison:
    """The figures of two arms on the clusters that both hold, and their paired difference.

    Parameters
    ----------
    bootstrap
        Replicates; each draws the same clusters in both arms.
    interval
        Which interval from replicates stands as the limits.

    Raises
    ------
    RatingsError
        The arms are about different things (areas and counts, patients and items), or share no
        cluster.
    """
    check_resampling(bootstrap, seed)
    whole = first.ratings, second.ratings
    for what in ("weight_unit", "cluster_unit"):
        one, other = (getattr(ratings, what) for ratings in whole)
        if one != other:
            raise RatingsError(
                f"{first.name} has {what.replace('_', ' ')} {one!r} and {second.name} {other!r}; "
                "give both arms the same columns"
            )
    held = rated_clusters(whole[0]), rated_clusters(whole[1])
    shared = held[0] & held[1]
    unit = whole[0].cluster_unit
    if not shared:
        raise RatingsError(
            f"{first.name} and {second.name} share no {unit}; a paired difference needs the same "
            f"{unit}s in both"
        )
    first, second = on_one_footing(first, second)
    arms = first.on(shared), second.on(shared)
    found = [Method(arm.weights, bootstrap, seed, interval).agreement(arm.ratings) for arm in arms]
    difference = _Difference(
        (first.name, second.name), (found[0], found[1]), arms, bootstrap, seed, interval
    )
    return ArmComparison(
        names=(first.name, second.name),
        arms=(found[0], found[1]),
        shared_clusters=len(shared),
        only_in_one=(len(held[0] - shared), len(held[1] - shared)),
        coefficients=difference.coefficients(),
        per_class=difference.per_class(),
        f1=difference.f1(),
        notes=tuple(_notes(first, second)),
    )


def with_common_classes(first: Ratings, second: Ratings) -> tuple[Ratings, Ratings]:
    """Two tables whose classes were observed, each with the classes of both."""
    names = tuple(dict.fromkeys(first.classes + second.classes))
    classes, rank, of_name = class_order(names, None)
    place = dict(zip(names, of_name, strict=True))
    recoded = []
    for ratings in (first, second):
        to = np.array([*(place[name] for name in ratings.classes), NOT_RATED], dtype=np.int32)
        recoded.append(
            replace(
                ratings,
                classes=classes,
                rank=rank,
                negative=negative_class(classes),
                codes=to[ratings.codes],
                joint_negatives=None,
            )
        )
    return recoded[0], recoded[1]


def on_one_footing(first: Arm, second: Arm) -> tuple[Arm, Arm]:
    """Both arms with joint negatives, or neither: else their kappas would be about two things."""
    if first.ratings.joint_negatives == second.ratings.joint_negatives:
        return first, second
    note = "the other arm has no joint negatives, so kappa is about what both placed here too"
    one, other = (
        replace(
            arm,
            ratings=replace(
                arm.ratings,
                joint_negatives=False,
                notes=arm.ratings.notes + ((note,) if arm.ratings.joint_negatives else ()),
            ),
        )
        for arm in (first, second)
    )
    return one, other


def _notes(first: Arm, second: Arm) -> list[str]:
    notes = [f"{arm.name}: {note}" for arm in (first, second) for note in arm.ratings.notes]
    ours, theirs = first.ratings.classes, second.ratings.classes
    if ours != theirs:
        lone = [name for name in (*ours, *theirs) if (name in ours) != (name in theirs)]
        told = f"only one arm has {', '.join(lone)}" if lone else "their order is another"
        notes.append(
            f"the classes of the arms differ ({told}): coefficients over all classes compare two "
            "scales"
        )
    return notes


class _Difference:
    """Statistics of the second arm less the first."""

    def __init__(
        self,
        names: tuple[str, str],
        found: tuple[Agreement, Agreement],
        arms: tuple[Arm, Arm],
        bootstrap: int,
        seed: int,
        interval: str,
    ) -> None:
        self._names = names
        self._found = found
        self._classes = tuple(arm.ratings.classes for arm in arms)
        self._clusters = found[0].clusters
        self._unit = found[0].cluster_unit
        self._resampled = Resampled(self._unit, 2, bootstrap > 0, interval_name(interval))
        self._replicates: PairedReplicates | None = None
        if bootstrap:
            weighted = [
                (a.ratings, disagreement_weights(a.weights, a.ratings.classes, a.ratings.rank))
                for a in arms
            ]
            shared = sorted(rated_clusters(arms[0].ratings))
            self._replicates = paired_replicates(weighted, shared, bootstrap, seed)

    def coefficients(self) -> dict[str, Statistic]:
        """Of each coefficient."""
        first, second = (one.coefficients for one in self._found)
        return {
            name: self._statistic(first[name], second[name], name, (None, None)) for name in first
        }

    def per_class(self) -> dict[str, dict[str, Statistic]]:
        """Of each class that both arms have."""
        first, second = (one.per_class for one in self._found)
        return {
            name: {
                kind: self._statistic(
                    first[name][kind],
                    second[name][kind],
                    figure,
                    (self._classes[0].index(name), self._classes[1].index(name)),
                )
                for kind, figure in AMONG_RATERS.items()
            }
            for name in first
            if name in second
        }

    def f1(self) -> Statistic:
        """Of finding anything."""
        return self._statistic(self._found[0].f1, self._found[1].f1, "f1", (None, None))

    def _statistic(
        self,
        first: Statistic,
        second: Statistic,
        figure: str,
        index: tuple[int | None, int | None],
    ) -> Statistic:
        values = []
        for name, one in zip(self._names, (first, second), strict=True):
            if one.value is None:
                return Statistic.undefined(f"{name}: {one.status.removeprefix('undefined: ')}")
            values.append(one.value)
        value = values[1] - values[0]
        if self._replicates is not None and self._replicates.equal:
            return Statistic.of(value, self._of_equals())
        interval, beside = self._resampled.interval(
            self._drawn(value, figure, index), self._clusters
        )
        return Statistic.of(value, interval, **beside)

    def _of_equals(self) -> Interval:
        """Arms that hold the same do not differ, whichever clusters are drawn."""
        status = few_clusters(self._clusters)
        if status.startswith("undefined"):
            return Interval(status)
        return Interval(status, 0.0, 0.0, 0.0, f"equal arms, cluster by cluster ({self._unit})")

    def _drawn(
        self, value: float, figure: str, index: tuple[int | None, int | None]
    ) -> Drawn | None:
        made = self._replicates
        if made is None:
            return None

        def difference(arms: list[Figures]) -> NDArray[np.float64]:
            before, after = (
                figures[figure] if at is None else figures[figure][:, at]
                for figures, at in zip(arms, index, strict=True)
            )
            return after - before

        return Drawn(value, difference(made.figures), difference(made.left_out), made.times, None)
