"""Coverage against risk: how often the model errs on what it is left, the surest first.

Each measure of uncertainty orders the same units; where several are equally sure they are left to
the model together. The area under the curve is the mean risk over all coverages: that of an order
at random is the model's error on everything.

Shapes: m units, C patients, B replicates.

References
----------
Geifman, Uziel & El-Yaniv (2019), arXiv:1805.08206, on the area under the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.draws import Figure, PatientDraws, difference

__all__ = ["RANDOM", "Curve", "area_under", "coverage_risk", "risk_curve"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RANDOM = "random"

_CELLS = 1 << 22
"""Numbers in one temporary matrix: 32 MB."""
_MOST_POINTS = 200


@dataclass(frozen=True, eq=False)
class Curve:
    """Share of the units that are left to the model, and its share of errors among them."""

    coverage: Floats
    risk: Floats

    def thinned(self) -> Curve:
        """The same curve with few points, its ends among them."""
        if len(self.coverage) <= _MOST_POINTS:
            return self
        kept = np.unique(np.linspace(0, len(self.coverage) - 1, _MOST_POINTS).round().astype(int))
        return Curve(self.coverage[kept], self.risk[kept])

    def to_dict(self) -> dict[str, list[float]]:
        """The entry in a document."""
        return {
            "coverage": np.round(self.coverage, 6).tolist(),
            "risk": np.round(self.risk, 6).tolist(),
        }


def risk_curve(uncertainty: Floats, wrong: Flags) -> Curve:
    """The curve of m units, a point for each threshold that tells some of them apart."""
    order = np.argsort(uncertainty, kind="stable")
    ends = np.flatnonzero(np.diff(uncertainty[order], append=np.inf) > 0)
    left = np.arange(1, len(order) + 1)
    errors = np.cumsum(wrong[order])
    return Curve(left[ends] / len(order), errors[ends] / left[ends])


def area_under(uncertainty: Floats, wrong: Flags, draws: PatientDraws) -> Figure:
    """The mean risk over all coverages, with intervals over patients."""
    order = np.argsort(uncertainty, kind="stable")
    ordered = uncertainty[order]
    end_of = np.searchsorted(ordered, ordered, side="right") - 1
    patient, errs = draws.patient[order], wrong[order].astype(np.float64)

    def evaluate(often: Floats) -> Floats:
        found = np.empty(len(often))
        step = max(1, _CELLS // max(1, len(order)))
        for start in range(0, len(often), step):
            weight = often[start : start + step][:, patient]  # [B, C] -> [B, m]
            left = np.cumsum(weight, axis=1)[:, end_of]
            errors = np.cumsum(weight * errs, axis=1)[:, end_of]
            risk = np.divide(errors, left, out=np.zeros_like(errors), where=left > 0)
            total = weight.sum(axis=1)
            found[start : start + step] = np.divide(
                (weight * risk).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
            )
        return found

    return Figure(evaluate, "no unit is labelled")


def coverage_risk(
    measures: Mapping[str, Floats],
    wrong: Flags,
    group: NDArray[np.int64],
    *,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """The document: the curve of each measure and the area under it, the first against the others.

    Parameters
    ----------
    measures : each of shape (m,)
        The one that decides, first; an order at random stands beside them.
    wrong : shape (m,)
        Whether the model's class is not the label.
    group : shape (m,)
        The patient of each unit.
    """
    draws = PatientDraws.of(group, replicates=bootstrap, seed=seed)
    ordered = {**measures, RANDOM: np.zeros(len(wrong))}
    areas = {name: area_under(values, wrong, draws) for name, values in ordered.items()}
    first = next(iter(ordered))
    rows = []
    for name, values in ordered.items():
        apart = None
        if name != first:
            apart = draws.statistic(difference(areas[first], areas[name])).to_dict()
        rows.append(
            {
                "measure": name,
                "aurc": draws.statistic(areas[name]).to_dict(),
                "difference": apart,
                "curve": risk_curve(values, wrong).thinned().to_dict(),
            }
        )
    return {
        "units": len(wrong),
        "patients": draws.n_patients,
        "errors": int(wrong.sum()),
        "cluster_unit": "patient",
        "bootstrap": bootstrap,
        "seed": seed,
        "measures": rows,
    }
