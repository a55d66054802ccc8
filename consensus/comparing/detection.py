"""Did raters find the same objects, and did they name them the same? Two questions, kept apart.

F1 and specific agreement say how far two raters found the same, kappa how far they named alike
what both found; all of it pooled over pairs of raters, on matches that keep to the threshold
(``consensus.comparing.found_by_both``). A ladder of thresholds says how much of it hangs on the threshold.

Shapes: T thresholds, C clusters, P pairs of raters, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.units import length_px
from consensus.comparing.found_by_both import found_by_both
from consensus.matching import Candidates
from consensus.statistics.coefficients import quotient
from consensus.statistics.intervals import mean_interval
from consensus.statistics.reasons import NO_JOINT_NEGATIVES, NOT_PLACED, NOT_USED, NOTHING_FOUND
from consensus.statistics.standard_errors import ratio_error
from consensus.statistics.statistic import Interval, Statistic

__all__ = ["Detection", "SlideDetection", "Threshold", "ladder"]

IOU_LADDER = tuple(round(0.1 * step, 1) for step in range(1, 10))
DISTANCE_LADDER = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""As shares of the protocol's distance; candidates are looked up to twice that."""

METHOD = "analytic (ratio over clusters)"
NO_INTERVAL = Interval("undefined: no interval at a threshold")


@dataclass(frozen=True)
class Threshold:
    """Least intersection over union, and largest distance where an object has no area."""

    iou: float
    distance_um: float
    varied: str | None = None
    """``iou`` or ``distance_um`` on a rung of the ladder, None for the protocol's thresholds."""


def ladder(iou: float, distance_um: float) -> tuple[Threshold, ...]:
    """Thresholds around the protocol's: of overlap, then of distance, each with the other fixed."""
    shares = sorted({*IOU_LADDER, iou})
    distances = sorted({share * distance_um for share in DISTANCE_LADDER})
    return (
        *(Threshold(share, distance_um, "iou") for share in shares),
        *(Threshold(iou, distance, "distance_um") for distance in distances),
    )


@dataclass(frozen=True)
class SlideDetection:
    """What two raters of a slide both found, at each threshold.

    ``raters`` of the slide; ``said`` (R, R, K) what the first drew where the second has looked;
    ``tables`` (T, R, R, K, K) classes of what both found, upper triangle; ``areal`` and
    ``placed``: whether there are objects with area, and without.
    """

    raters: tuple[str, ...]
    said: NDArray[np.int64]
    tables: NDArray[np.int32]
    areal: bool
    placed: bool

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        codes: NDArray[np.int64],
        n_classes: int,
        thresholds: Sequence[Threshold],
        mpp: float,
        inside: NDArray[np.bool_] | None,
    ) -> SlideDetection:
        """Match at every threshold.

        Parameters
        ----------
        codes : shape (n_objects,)
            Class of each of the candidates.
        mpp
            Microns per pixel of the slide.
        inside : shape (n_objects, R)
            Whether an object lies where a rater has looked; None: everywhere.
        """
        rater, n_raters = candidates.rater, len(candidates.raters)
        said = np.zeros((n_raters, n_raters, n_classes), dtype=np.int64)
        for second in range(n_raters):
            seen = np.ones(len(rater), dtype=bool)
            if inside is not None:
                seen = inside[:, second] & inside[np.arange(len(rater)), rater]
            key = rater[seen] * n_classes + codes[seen]
            counts = np.bincount(key, minlength=n_raters * n_classes)
            said[:, second] = counts.reshape(n_raters, n_classes)
        shape = (len(thresholds), n_raters, n_raters, n_classes, n_classes)
        tables = np.zeros(shape, dtype=np.int32)  # kept for every slide
        areal = shapely.area(candidates.geometries) > 0
        without = {"iou": not areal.any(), "distance_um": bool(areal.all())}
        for t, threshold in enumerate(thresholds):
            if without.get(threshold.varied or ""):  # what is varied decides of no pair here
                tables[t] = tables[0]
                continue
            found = found_by_both(
                candidates,
                iou=threshold.iou,
                distance_px=length_px(threshold.distance_um, mpp),
                inside=inside,
            )
            one, other = found.one, found.other
            cell = (rater[one] * n_raters + rater[other]) * n_classes + codes[one]
            cell = cell * n_classes + codes[other]
            tables[t] = np.bincount(cell, minlength=tables[0].size).reshape(tables.shape[1:])
        return cls(candidates.raters, said, tables, not without["iou"], not without["distance_um"])


@dataclass(frozen=True)
class Detection:
    """What every two raters of a study both found.

    ``thresholds``: the protocol's, then the ladder's rungs, if it was asked for. ``tables``
    (T, P, K, K): classes of what both found, by what the first and the second called it.
    ``said`` (P, 2, K): what either drew where both have looked. ``both`` (T, C, P) and ``drawn``
    (C, P): objects found by both, and drawn by either, in each cluster.
    """

    raters: tuple[str, ...]
    classes: tuple[str, ...]
    thresholds: tuple[Threshold, ...]
    tables: NDArray[np.int64]
    said: NDArray[np.int64]
    both: NDArray[np.int64]
    drawn: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        raters: tuple[str, ...],
        classes: tuple[str, ...],
        thresholds: Sequence[Threshold],
        slides: Sequence[SlideDetection],
        cluster: Sequence[int],
    ) -> Detection:
        """Add up slides.

        Parameters
        ----------
        raters, classes
            Of the study; classes without ``absent``.
        cluster
            Number of each slide's cluster.
        """
        n_pairs, n_classes = len(raters) * (len(raters) - 1) // 2, len(classes)
        number = {name: index for index, name in enumerate(raters)}
        pair_of = np.zeros((len(raters), len(raters)), dtype=np.int64)
        pair_of[np.triu_indices(len(raters), 1)] = np.arange(n_pairs)
        tables = np.zeros((len(thresholds), n_pairs, n_classes, n_classes), dtype=np.int64)
        said = np.zeros((n_pairs, 2, n_classes), dtype=np.int64)
        n_clusters = max(cluster, default=-1) + 1
        both = np.zeros((len(thresholds), n_clusters, n_pairs), dtype=np.int64)
        drawn = np.zeros((n_clusters, n_pairs), dtype=np.int64)
        for slide, c in zip(slides, cluster, strict=True):
            for a, b in zip(*np.triu_indices(len(slide.raters), 1), strict=True):
                first, second = number[slide.raters[a]], number[slide.raters[b]]
                table, of_either = slide.tables[:, a, b], (slide.said[a, b], slide.said[b, a])
                if first > second:
                    first, second = second, first
                    table, of_either = table.transpose(0, 2, 1), of_either[::-1]
                pair = pair_of[first, second]
                tables[:, pair] += table
                said[pair] += np.stack(of_either)
                both[:, c, pair] += table.sum(axis=(1, 2))
                drawn[c, pair] += sum(int(counts.sum()) for counts in of_either)
        varied = {
            name
            for name, there in (
                (None, True),
                ("iou", any(slide.areal for slide in slides)),
                ("distance_um", any(slide.placed for slide in slides)),
            )
            if there
        }
        used = [t for t, threshold in enumerate(thresholds) if threshold.varied in varied]
        chosen = tuple(thresholds[t] for t in used)
        return cls(raters, classes, chosen, tables[used], said, both[used], drawn)

    def to_dict(self, disagreement: NDArray[np.float64]) -> dict[str, object]:
        """The part of the agreement document; see CONTRACT.md for statistics.

        ``f1_strict`` is F1 of matches at the protocol's threshold, ``specific`` the specific
        agreement on each class: of the objects that one of two raters drew and called so, the
        share that the other found and called so too; ``kappa_found`` is about what both found.

        Parameters
        ----------
        disagreement : shape (K or more, K or more)
            Disagreement weights of the classes, ``absent`` last if it is there.
        """
        k = len(self.classes)
        weights = disagreement[:k, :k]
        first = self.thresholds[0]
        document: dict[str, object] = {
            "iou": first.iou,
            "distance_um": first.distance_um,
            "f1_strict": self._f1(0).to_dict(),
            "found_by_both": int(self.tables[0].sum()),
            "kappa_found": self._kappa(0, weights).to_dict(),
            "specific": {
                name: self._specific(0, c).to_dict() for c, name in enumerate(self.classes)
            },
        }
        if len(self.thresholds) > 1:
            document["thresholds"] = [
                {
                    "varied": threshold.varied,
                    "iou": threshold.iou,
                    "distance_um": threshold.distance_um,
                    "found_by_both": int(self.tables[t].sum()),
                    "f1": self._f1(t).to_dict(),
                    "kappa": self._kappa(t, weights).to_dict(),
                    "specific": {
                        name: self._specific(t, c).to_dict() for c, name in enumerate(self.classes)
                    },
                }
                for t, threshold in enumerate(self.thresholds)
                if threshold.varied is not None
            ]
        return document

    def of_pairs(self) -> dict[tuple[str, str], Statistic]:
        """F1 of every two raters at the protocol's threshold, by their names in order."""
        firsts, seconds = np.triu_indices(len(self.raters), 1)
        return {
            (self.raters[a], self.raters[b]): self._ratio(
                2 * self.both[0, :, pair], self.drawn[:, pair], NOTHING_FOUND
            )
            for pair, (a, b) in enumerate(zip(firsts, seconds, strict=True))
        }

    def _f1(self, t: int) -> Statistic:
        return self._ratio(2 * self.both[t].sum(axis=1), self.drawn.sum(axis=1), NOTHING_FOUND)

    def _ratio(self, above: NDArray[np.int64], below: NDArray[np.int64], reason: str) -> Statistic:
        """A ratio of sums over clusters, of which those count that have a part in it."""
        used = below > 0
        if not used.any():
            return Statistic.undefined(reason)
        n_clusters = int(used.sum())
        value = float(above.sum() / below.sum())
        terms = above[used, None].astype(np.float64), below[used, None].astype(np.float64)
        error, _ = ratio_error(*terms, np.ones(n_clusters))
        if n_clusters == 1:
            return Statistic.of(value, Interval("undefined: 1 clusters"))
        # The terms' squares add up to n - 1 times their variance.
        se = float(error[0]) * float(np.sqrt(n_clusters / (n_clusters - 1)))
        interval = mean_interval(value, se, n_clusters, METHOD, n_clusters)
        if interval.low is not None:
            interval = replace(interval, low=max(interval.low, 0.0))
        return Statistic.of(value, interval)

    def _specific(self, t: int, c: int) -> Statistic:
        said = int(self.said[:, :, c].sum())
        if said == 0:
            return Statistic.undefined(NOT_USED)
        return Statistic.of(2 * int(self.tables[t, :, c, c].sum()) / said, NO_INTERVAL)

    def _kappa(self, t: int, weights: NDArray[np.float64]) -> Statistic:
        """Cohen's kappa of what both found, numerators and denominators added up over pairs."""
        table = self.tables[t].astype(np.float64)
        n = table.sum(axis=(1, 2))
        if not n.any():
            return Statistic.undefined(NOT_PLACED)
        apart = np.einsum("pk,kl,pl->p", table.sum(axis=2), weights, table.sum(axis=1))
        expected = float(np.nansum(quotient(apart, n)))
        if expected == 0:
            return Statistic.undefined(NO_JOINT_NEGATIVES)
        return Statistic.of(1 - float((table * weights).sum()) / expected, NO_INTERVAL)
