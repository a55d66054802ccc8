"""Figures of masks that no tile has: Dice of each class, and how far outlines are apart.

Shapes: S slides, R raters, K classes. References are numbered from 0, the consensus; 1 + r is what
rater r drew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.coefficients import quotient
from models.evaluation.draws import Evaluate, Figure, PatientDraws
from models.evaluation.figures import Method, Scored
from models.evaluation.sums import ClassTables, weighted_mean

__all__ = ["MaskDistances", "dice_figures", "distance_figures", "mean_dice", "per_class"]

CONSENSUS = 0

NEITHER = "neither mask holds it"
NO_OUTLINES = "no slide on which both masks have an outline of it"

KINDS = ("surface_distance_um", "hausdorff_95_um")


@dataclass(frozen=True, eq=False)
class MaskDistances:
    """Distances of outlines, slide by slide.

    Attributes
    ----------
    um : shape (S, 1 + R, K, 2)
        Average and 95 % Hausdorff distance between the model's outline and the reference's, over
        what the reference says anything of; NaN where one of them has none.
    group, site : shape (S,)
        As in the targets.
    """

    um: NDArray[np.float64]
    group: NDArray[np.int64]
    site: NDArray[np.int64]

    def of_site(self, site: int) -> MaskDistances:
        """Those of the slides of a site."""
        own = self.site == site
        return MaskDistances(self.um[own], self.group[own], self.site[own])


def dice_figures(of: Scored, said: NDArray[np.int64], draws: PatientDraws) -> dict[str, Figure]:
    """Dice of each class between what is and what is called so, by area.

    Areas are added up before they are divided, so that a slide counts by what it holds.

    Parameters
    ----------
    said : shape (n,)
        What each item is called.
    """
    classes = of.targets.classes
    tables = ClassTables(of.reference, said, of.weight, draws, len(classes))
    return {
        name: Figure(
            _of_class(tables.f1, number),
            NEITHER,
            draws.count((of.reference == number) | (said == number)),
        )
        for number, name in enumerate(classes)
    }


def mean_dice(of: Scored, said: NDArray[np.int64], draws: PatientDraws) -> Figure:
    """Mean Dice over the classes that the reference has."""
    figures = dice_figures(of, said, draws)
    held = [figures[of.targets.classes[number]] for number in np.unique(of.reference).tolist()]

    def evaluate(often: NDArray[np.float64]) -> NDArray[np.float64]:
        if not held:
            return np.full(len(often), np.nan)
        total = np.sum([one.evaluate(often) for one in held], axis=0)
        return quotient(total, np.full(len(often), float(len(held))))

    return Figure(evaluate, NEITHER)


def distance_figures(
    distances: MaskDistances, reference: int, number: int, method: Method
) -> dict[str, object]:
    """Mean distances of a class over the slides on which both masks have an outline of it."""
    draws = method.draws(distances.group)
    um = distances.um[:, reference, number]  # [S, 2]
    both = ~np.isnan(um[:, 0])
    figures = {
        kind: Figure(
            weighted_mean(np.where(both, um[:, place], 0.0), both.astype(np.float64), draws),
            NO_OUTLINES,
            draws.count(both),
        )
        for place, kind in enumerate(KINDS)
    }
    told = {kind: one.to_dict() for kind, one in draws.statistics(figures).items()}
    return {"outlined_slides": int(both.sum()), **told}


def per_class(
    of: Scored, distances: MaskDistances, reference: int, method: Method
) -> dict[str, dict[str, object]]:
    """Dice and distances of each class against a reference that ``of`` holds the model against."""
    draws = method.draws(of.targets.group)
    dice = draws.statistics(dice_figures(of, of.said, draws))
    return {
        name: {
            "area_um2": float(of.weight[of.reference == number].sum()),
            "dice": dice[name].to_dict(),
            **distance_figures(distances, reference, number, method),
        }
        for number, name in enumerate(of.targets.classes)
    }


def _of_class(evaluate: Evaluate, number: int) -> Evaluate:
    return lambda often: evaluate(often)[:, number]
