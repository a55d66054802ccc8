"""The model beside each expert: both against the consensus of the others, and against the release.

An expert has helped to make the consensus that the model is held against, and so agrees with it
more than with any other. The fair reference is the majority of the other experts, on what this one
has rated; there the model takes the expert's place.

Shapes: n items, K classes, R raters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.comparing.comparisons import MIN_OTHERS
from models.evaluation.draws import Figure, PatientDraws, difference
from models.evaluation.figures import Method, table_figures
from models.evaluation.mask_figures import dice_figures, per_class
from models.evaluation.predicted import Predicted
from models.targets import OPEN

__all__ = ["against_each_expert", "majority_of_others"]


def majority_of_others(votes: NDArray[np.int64], rater: int) -> NDArray[np.int64]:
    """What more than half of the other raters said of each item that this one has rated, (n,).

    -1 where the rater has not rated, where fewer than two others have, and where they are split:
    the rule of the agreement report.

    Parameters
    ----------
    votes : shape (n, R)
        -1 where a rater has not rated.
    """
    others = np.delete(votes, rater, axis=1)
    n_classes = int(votes.max(initial=OPEN)) + 1
    if n_classes == 0:
        return np.full(len(votes), OPEN, dtype=np.int64)
    counts = (others[:, :, None] == np.arange(n_classes)).sum(axis=1)  # (n, K)
    n_others = counts.sum(axis=1)
    clear = 2 * counts.max(axis=1) > n_others
    settled = (votes[:, rater] != OPEN) & (n_others >= MIN_OTHERS) & clear
    return np.where(settled, counts.argmax(axis=1), OPEN)


def against_each_expert(found: Predicted, method: Method) -> dict[str, dict[str, object]]:
    """Model and expert against the same reference, each with the paired difference.

    Returns
    -------
    dict
        For each rater ``others`` (the majority of the other raters as reference) and ``consensus``
        (the release's), each with ``items``, ``patients`` and the figures of ``model``,
        ``expert`` and ``difference`` (model less expert). Of masks each has Dice of every class as
        well, and ``outlines`` holds the model against what the rater has drawn.
    """
    document: dict[str, dict[str, object]] = {}
    rated = found.rated
    for rater, handle in enumerate(rated.raters):
        own = rated.votes[:, rater]
        consensus = np.where(own != OPEN, rated.hard, OPEN)
        document[handle] = {
            "others": _beside(found, rater, majority_of_others(rated.votes, rater), method),
            "consensus": _beside(found, rater, consensus, method),
        }
        if found.called is not None and found.called.distances is not None:
            document[handle]["outlines"] = per_class(
                found.calls(own), found.called.distances, 1 + rater, method
            )
    return document


def _beside(
    found: Predicted, rater: int, reference: NDArray[np.int64], method: Method
) -> dict[str, object]:
    """Figures of model and rater on the items of which the reference says something."""
    of = found.calls(reference)
    draws = method.draws(of.targets.group)
    of_rater = of.targets.votes[:, rater]
    model = table_figures(of, of.said, method, draws)
    expert = table_figures(of, of_rater, method, draws)
    told: dict[str, object] = {
        "items": of.count(),
        "patients": draws.n_patients,
        **_compared(model, expert, draws),
    }
    if found.called is not None:
        told["dice"] = _compared(
            dice_figures(of, of.said, draws), dice_figures(of, of_rater, draws), draws
        )
    return told


def _compared(
    model: dict[str, Figure], expert: dict[str, Figure], draws: PatientDraws
) -> dict[str, object]:
    apart = {name: difference(model[name], expert[name]) for name in model}
    return {
        who: {name: one.to_dict() for name, one in draws.statistics(figures).items()}
        for who, figures in (("model", model), ("expert", expert), ("difference", apart))
    }
