"""The items of one slide as arrays: what the consensus and each rater said, and what may teach.

Shapes: F items, K classes, R raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.consensus_items import ADJUDICATED, EXCLUDED, INDETERMINATE, ResolvedItem
from models.targets import OPEN

__all__ = ["ItemLabels", "OpenItems", "item_labels"]

OpenItems = Literal["masked", "soft"]


@dataclass(frozen=True, eq=False)
class ItemLabels:
    """Items of one slide.

    Attributes
    ----------
    posterior : shape (F, K), float64
    hard : shape (F,), int64
        The class, or -1 where the item is open.
    votes : shape (F, R), int64
        What each rater said, or -1.
    teaches : shape (F,), bool
        Whether the posterior counts: the item bears a class, or it is open and open items are soft.
    decided : shape (F,), bool
        Whether an adjudicator gave the class.
    rated : shape (F,), bool
        Whether it belongs to the rated domain; what was excluded doesn't.
    """

    posterior: NDArray[np.float64]
    hard: NDArray[np.int64]
    votes: NDArray[np.int64]
    teaches: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    rated: NDArray[np.bool_]
    classes: tuple[str, ...]
    raters: tuple[str, ...]

    @property
    def votes_one_hot(self) -> NDArray[np.float64]:
        """1 where a rater said a class, (F, R * K), the classes of each rater side by side."""
        columns = len(self.raters) * len(self.classes)
        said = np.equal(self.votes[:, :, None], np.arange(len(self.classes)))
        return said.reshape(len(self.votes), columns).astype(np.float64)

    @property
    def hard_one_hot(self) -> NDArray[np.float64]:
        """1 for the class of the consensus, (F, K)."""
        return np.equal(self.hard[:, None], np.arange(len(self.classes))).astype(np.float64)


def item_labels(
    items: Sequence[ResolvedItem],
    classes: Sequence[str],
    raters: Sequence[str],
    *,
    open_items: OpenItems = "masked",
) -> ItemLabels:
    """The labels of items.

    Parameters
    ----------
    open_items
        ``masked``: what bears no class teaches nothing. ``soft``: the posterior of what nobody has
        decided yet counts like any other. What an adjudicator called indeterminate or excluded
        never counts; of what was excluded the votes don't either.
    """
    if open_items not in ("masked", "soft"):
        raise InputError(f"open items can be 'masked' or 'soft', not {open_items!r}")
    code = {name: number for number, name in enumerate(classes)}
    n, k = len(items), len(classes)
    hard = np.array([code.get(item.label or "", OPEN) for item in items], dtype=np.int64)
    state = np.array([item.state for item in items], dtype=np.str_)
    rated = state != EXCLUDED
    votes = np.full((n, len(raters)), OPEN, dtype=np.int64)
    for row, item in enumerate(items):
        if rated[row]:
            votes[row] = [code.get(item.pattern.get(rater, ""), OPEN) for rater in raters]
    undecided = rated & (state != INDETERMINATE)
    return ItemLabels(
        posterior=np.array([item.posterior for item in items], dtype=np.float64).reshape(n, k),
        hard=hard,
        votes=votes,
        teaches=undecided if open_items == "soft" else hard != OPEN,
        decided=state == ADJUDICATED,
        rated=rated,
        classes=tuple(classes),
        raters=tuple(raters),
    )
