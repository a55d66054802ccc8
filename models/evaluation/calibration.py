"""Whether probabilities mean what they say: calibration error, reliability, and a temperature.

Shapes: n items, K classes, M bins, B replicates.

References
----------
Guo, Pleiss, Sun & Weinberger (2017), arXiv:1706.04599, on the error and on temperatures. Nixon et
al. (2019), arXiv:1904.01685, on bins of equal mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import RefusedError
from consensus.statistics.coefficients import quotient
from consensus.statistics.statistic import Statistic
from models.evaluation.draws import Evaluate, Figure, PatientDraws
from models.evaluation.figures import NO_ITEMS, Method, Scored, scored
from models.evaluation.sums import weighted_mean
from models.targets import Targets

__all__ = [
    "CALIBRATION",
    "Bin",
    "Reliability",
    "Temperature",
    "fit_temperature",
    "reliability",
    "tempered",
]

CALIBRATION = "calibration"
"""The only part of a split that a temperature may be fitted on."""

N_BINS = 15
_ITEMS_IN_BIN = 10
"""At least so many in a bin of equal mass; fewer say nothing about what share is right."""

LOWEST, HIGHEST = 0.05, 20.0
_SMALLEST = float(np.finfo(np.float64).tiny)

Bins = Literal["equal mass", "equal width"]


@dataclass(frozen=True)
class Bin:
    """Items of like confidence: their number, mean confidence, and how many are right."""

    low: float
    high: float
    items: int
    weight: float
    confidence: float
    right: Statistic


@dataclass(frozen=True)
class Reliability:
    """How confidence and being right go together.

    ``equal_mass`` and ``equal_width`` are the expected calibration error over bins of either kind;
    ``bins`` are those of equal mass.
    """

    equal_mass: Statistic
    equal_width: Statistic
    bins: list[Bin]

    def to_dict(self) -> dict[str, object]:
        """Plain numbers and text, as in the JSON document."""
        return {
            "ece_equal_mass": self.equal_mass.to_dict(),
            "ece_equal_width": self.equal_width.to_dict(),
            "bins": [{**vars(one), "right": one.right.to_dict()} for one in self.bins],
        }


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and the mean log-loss on its own items before and after.

    ``note`` says what is wrong with it, or is None.
    """

    value: float
    items: int
    patients: int
    nll_before: float
    nll_after: float
    note: str | None = None


def reliability(of: Scored, method: Method) -> Reliability:
    """Calibration of the most probable class.

    The error is biased upwards where bins hold few items; its interval doesn't take that off.
    """
    draws = method.draws(of.targets.group)
    confidence = of.probabilities.max(axis=1, initial=0.0)
    right = (of.said == of.reference).astype(np.float64)
    errors = {}
    for kind in ("equal mass", "equal width"):
        edges = _edges(confidence, of.weight, kind)
        places = _place(confidence, edges)
        evaluate = _error(places, len(edges) - 1, confidence, right, of.weight, draws)
        errors[kind] = draws.statistic(Figure(evaluate, NO_ITEMS))
    edges = _edges(confidence, of.weight, "equal mass")
    place = _place(confidence, edges)
    bins = []
    for number in np.unique(place).tolist():
        own = np.flatnonzero(place == number)
        part = method.draws(of.targets.group[own])
        weight = of.weight[own]
        mean = Figure(weighted_mean(right[own], weight, part), NO_ITEMS)
        bins.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                items=len(own),
                weight=float(weight.sum()),
                confidence=float(np.average(confidence[own], weights=weight)),
                right=part.statistic(mean),
            )
        )
    return Reliability(errors["equal mass"], errors["equal width"], bins)


def fit_temperature(probabilities: NDArray[np.float64], targets: Targets) -> Temperature:
    """The temperature that makes the log-loss of these items least.

    Parameters
    ----------
    probabilities : shape (n, K)
        At temperature 1.
    targets
        Of the same items, all from the calibration part of the split.

    Raises
    ------
    RefusedError
        An item is of another part, or none has a class.
    """
    from scipy.optimize import minimize_scalar

    others = sorted(set(targets.part.tolist()) - {CALIBRATION})
    if others:
        raise RefusedError(
            f"a temperature fitted on the part {others[0]!r} would flatter the model there; fit it "
            f"on the part {CALIBRATION!r}",
            part=others[0],
        )
    of = scored(probabilities, targets)
    if not len(of.reference):
        raise RefusedError(
            f"no item of the part {CALIBRATION!r} has a class, so there is no temperature to fit; "
            "release a run with more decided items, or evaluate without --calibrate"
        )

    def loss(log_temperature: float) -> float:
        cooled = of.predicted_by(tempered(of.probabilities, float(np.exp(log_temperature))))
        return float(np.average(cooled.log_loss, weights=of.weight))

    low, high = np.log(LOWEST), np.log(HIGHEST)
    inside = float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
    found = min((low, high, inside), key=loss)
    note = None
    if found != inside:
        note = (
            f"the temperature stands at its bound of {np.exp(found):.3g}: on "
            f"{len(of.reference)} items the model is always right, or knows nothing"
        )
    return Temperature(
        value=float(np.exp(found)),
        items=len(of.reference),
        patients=len(np.unique(of.targets.group)),
        nll_before=loss(0.0),
        nll_after=loss(found),
        note=note,
    )


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, K) whose logits are divided by a temperature."""
    logs = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    logs -= logs.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(logs)
    share: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return share


def _edges(
    confidence: NDArray[np.float64], weight: NDArray[np.float64], kind: Bins
) -> NDArray[np.float64]:
    """Edges of the bins, shape (M + 1,); of equal mass fewer than 15 where items are few or alike."""
    if kind == "equal width" or not len(confidence):
        return np.linspace(0, 1, N_BINS + 1)
    n_bins = int(np.clip(weight.sum() // _ITEMS_IN_BIN, 1, N_BINS))
    order = np.argsort(confidence, kind="stable")
    reached = np.cumsum(weight[order])
    wanted = np.linspace(0, reached[-1], n_bins + 1)[1:-1]
    inner = confidence[order][np.searchsorted(reached, wanted)]
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def _place(confidence: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each item; a bin holds its upper edge and not its lower one."""
    place = np.searchsorted(edges, confidence, side="left") - 1
    return np.clip(place, 0, len(edges) - 2).astype(np.int64)


def _error(
    place: NDArray[np.int64],
    n_bins: int,
    confidence: NDArray[np.float64],
    right: NDArray[np.float64],
    weight: NDArray[np.float64],
    draws: PatientDraws,
) -> Evaluate:
    """Mean over bins of how far being right is from the confidence, by their weight."""
    cell = draws.patient * n_bins + place
    apart = np.bincount(
        cell, weights=weight * (right - confidence), minlength=draws.n_patients * n_bins
    ).reshape(draws.n_patients, n_bins)
    amount = draws.sums(weight)

    def evaluate(often: NDArray[np.float64]) -> NDArray[np.float64]:
        return quotient(np.abs(often @ apart).sum(axis=1), often @ amount)

    return evaluate
