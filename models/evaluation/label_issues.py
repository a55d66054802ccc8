"""Labels worth another look: items whose class a model that has not seen them is confident to doubt.

Each class has a threshold of its own, the mean probability of it among the items that bear it, by their
weight. An item is doubted where the most probable class beyond its threshold is another one, and its own is not the most
probable of all; that one is suggested.

Shapes: n items, K classes.

References
----------
Northcutt, Jiang & Chuang (2021), doi:10.1613/jair.1.12125 (confident learning).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.figures import Scored

__all__ = ["LabelIssue", "label_issues"]


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """An item whose label is doubted.

    Attributes
    ----------
    rank
        From 1 on, the most doubtful first.
    item
        Its number among the scored items.
    given, suggested
        The consensus class, and the one that the model holds to be right.
    p_given, p_suggested
        The model's probability of either.
    """

    rank: int
    item: int
    given: str
    suggested: str
    p_given: float
    p_suggested: float

    @property
    def reason(self) -> str:
        """Why it is worth a look, in a sentence."""
        return (
            f"the consensus says {self.given}; the model, which has not seen the patient, holds "
            f"{self.suggested} to be right ({100 * self.p_suggested:.0f} % against "
            f"{100 * self.p_given:.0f} %)"
        )


def label_issues(of: Scored, bearing: Scored | None = None) -> list[LabelIssue]:
    """The doubted items, by how much more probable the suggested class is than the given one.

    Parameters
    ----------
    of
        Out-of-sample probabilities: of items that the model was not trained on.
    bearing
        The items by which the thresholds go; None: the same.
    """
    probabilities, given = of.probabilities, of.reference
    n = len(probabilities)
    threshold = _thresholds(of if bearing is None else bearing)
    confident = probabilities >= threshold
    beyond = np.where(confident, probabilities, -1.0).argmax(axis=1)
    suggested = of.said
    doubted = confident.any(axis=1) & (beyond != given) & (suggested != given)
    p_given = probabilities[np.arange(n), given]
    p_suggested = probabilities[np.arange(n), suggested]
    chosen = np.flatnonzero(doubted)
    order = chosen[np.argsort((p_given - p_suggested)[chosen], kind="stable")]
    classes = of.targets.classes
    return [
        LabelIssue(
            rank=rank,
            item=item,
            given=classes[given[item]],
            suggested=classes[suggested[item]],
            p_given=float(p_given[item]),
            p_suggested=float(p_suggested[item]),
        )
        for rank, item in enumerate(order.tolist(), start=1)
    ]


def _thresholds(of: Scored) -> NDArray[np.float64]:
    """Mean probability of each class where it is borne, (K,); what nobody bears raises no doubt."""
    n_classes = of.probabilities.shape[1]
    bears = (of.reference[:, None] == np.arange(n_classes)) * of.weight[:, None]
    amount = bears.sum(axis=0)
    threshold = np.full(n_classes, np.inf)
    held = amount > 0
    threshold[held] = (of.probabilities * bears).sum(axis=0)[held] / amount[held]
    return threshold
