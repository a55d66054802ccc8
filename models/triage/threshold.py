"""The threshold of a triage: chosen on one half of the patients, and held to account on the other.

A positive is caught where the model calls it positive, or where it is escalated: where the model is
at least as unsure of it as the threshold. Patients are counted, not slides: one is caught where all
of their positives are, so that slides which fail together count once.

Shapes: n positives, m units, C patients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import RefusedError
from annotation.terminal import counted
from models.triage.bounds import chance_to_pass, lower_bound, most_misses, patients_needed

__all__ = ["Aim", "Caught", "Fitted", "Labelled", "fit_threshold", "halves"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ENOUGH = 0.9
"""How probable it should be that the other half shows the target. More leaves the model less."""

EVERYTHING, NOTHING = -np.inf, np.inf
"""Thresholds at which all is escalated, or nothing."""


@dataclass(frozen=True)
class Aim:
    """What is wanted: a sensitivity, and how sure one wants to be of it."""

    sensitivity: float
    confidence: float
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is known of the labelled patients, by a measure of uncertainty.

    Attributes
    ----------
    patients : length C
        Names.
    positive_of : shape (n,)
        The patient of each positive.
    caught_at : float64, shape (n,)
        The highest threshold at which a positive is caught: infinite where the model calls it
        positive, minus infinite where nothing there can be escalated.
    escalated_at : float64, shape (n,)
        The highest threshold at which it is escalated.
    called : shape (n,)
        Whether the model calls it positive.
    unit_of : shape (m,)
        The patient of each unit that is escalated or not: a slide, or a predicted region.
    uncertainty : float64, shape (m,)
    """

    patients: tuple[str, ...]
    positive_of: NDArray[np.int64]
    caught_at: Floats
    escalated_at: Floats
    called: Flags
    unit_of: NDArray[np.int64]
    uncertainty: Floats

    @property
    def with_positives(self) -> Flags:
        """Whether each patient has a positive, (C,)."""
        found: Flags = np.bincount(self.positive_of, minlength=len(self.patients)) > 0
        return found

    def of_patients(self, values: Floats) -> Floats:
        """The least of each patient's values over their positives, (C,); infinite without any."""
        least = np.full(len(self.patients), np.inf)
        np.minimum.at(least, self.positive_of, values)
        return least


@dataclass(frozen=True)
class Caught:
    """How many patients are caught, of those who have a positive, and what that shows.

    ``value`` is None where there is no such patient; ``lower`` is the one-sided lower bound.
    ``positives`` and ``positives_caught`` count slides or regions.
    """

    patients: int
    caught: int
    value: float | None
    lower: float
    positives: int
    positives_caught: int

    @classmethod
    def of(cls, labelled: Labelled, counts: Flags, is_caught: Flags, confidence: float) -> Caught:
        """Count the positives that ``counts`` marks, (n,)."""
        patients = np.unique(labelled.positive_of[counts])
        missed = np.unique(labelled.positive_of[counts & ~is_caught])
        n_caught = len(patients) - len(missed)
        return cls(
            patients=len(patients),
            caught=n_caught,
            value=n_caught / len(patients) if len(patients) else None,
            lower=lower_bound(n_caught, len(patients), confidence),
            positives=int(counts.sum()),
            positives_caught=int((counts & is_caught).sum()),
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry in a document."""
        return vars(self).copy()


@dataclass(frozen=True)
class Fitted:
    """A threshold, and what the half of the patients shows on which it was not chosen.

    Attributes
    ----------
    threshold
        Escalated is what the model is at least as unsure of; infinite where that is nothing.
    chance
        How probable it was, by the half that chose, that the other half would show the target.
    choosing, bounding
        Patients of each half, and those of them who have a positive.
    sensitivity
        Positives escalated or called positive, over all.
    automatic
        Of those not escalated, the ones that were called positive.
    automatic_share
        Share of the units that are not escalated.
    """

    threshold: float
    chance: float
    choosing: tuple[int, int]
    bounding: tuple[int, int]
    sensitivity: Caught
    automatic: Caught
    automatic_share: float

    def to_dict(self) -> dict[str, Any]:
        """The entry in a document."""
        return {
            "threshold": None if self.threshold == NOTHING else self.threshold,
            "chance": self.chance,
            "choosing": dict(zip(("patients", "with_positives"), self.choosing, strict=True)),
            "bounding": dict(zip(("patients", "with_positives"), self.bounding, strict=True)),
            "sensitivity": self.sensitivity.to_dict(),
            "automatic": self.automatic.to_dict(),
            "automatic_share": self.automatic_share,
        }


def halves(patients: Sequence[str], has_positive: Flags, seed: int) -> Flags:
    """Which patients choose the threshold, (C,); the others give the bound.

    Those with positives and those without are split by themselves, each by a draw that depends on
    the seed and the patient's name; where their number is odd, the half that gives the bound has one
    more.
    """
    chooses = np.zeros(len(patients), dtype=bool)
    for kind in (True, False):
        members = np.flatnonzero(has_positive == kind).tolist()
        members.sort(key=lambda number: _draw(seed, patients[number]))
        chooses[members[: len(members) // 2]] = True
    return chooses


def fit_threshold(labelled: Labelled, aim: Aim) -> Fitted:
    """Choose a threshold on one half of the patients, and show on the other what it does.

    Of the thresholds that pass there with a probability of 0.9, the one that leaves most to the
    model; where none is so safe, the safest.

    Raises
    ------
    RefusedError
        There are too few patients, the other half does not show the target, or nothing would be
        left to the model.
    """
    positive = labelled.with_positives
    chooses = halves(labelled.patients, positive, aim.seed)
    _require_patients(int(positive.sum()), int((positive & ~chooses).sum()), aim)
    caught_at = labelled.of_patients(labelled.caught_at)
    bounding = int((positive & ~chooses).sum())
    own_units = labelled.uncertainty[chooses[labelled.unit_of]]
    threshold, chance = _choose(caught_at[positive & chooses], own_units, bounding, aim)
    counts = ~chooses[labelled.positive_of]
    is_automatic = counts & (labelled.escalated_at < threshold)
    units = labelled.uncertainty[~chooses[labelled.unit_of]]
    fitted = Fitted(
        threshold=threshold,
        chance=chance,
        choosing=(int(chooses.sum()), int((positive & chooses).sum())),
        bounding=(int((~chooses).sum()), bounding),
        sensitivity=Caught.of(labelled, counts, labelled.caught_at >= threshold, aim.confidence),
        automatic=Caught.of(labelled, is_automatic, labelled.called, aim.confidence),
        automatic_share=float((units < threshold).mean()) if len(units) else 0.0,
    )
    _require_target(fitted, aim)
    return fitted


def _choose(caught_at: Floats, uncertainty: Floats, others: int, aim: Aim) -> tuple[float, float]:
    """The threshold, and the chance that the other half's patients pass.

    Parameters
    ----------
    caught_at
        Of the patients with a positive.
    uncertainty
        Of all units; a threshold that escalates all of them is none.
    """
    allowed = most_misses(others, aim.sensitivity, aim.confidence)
    ordered = np.sort(caught_at)
    best = (EVERYTHING, 0.0)
    for threshold in np.unique(ordered).tolist():
        if not (uncertainty < threshold).any():
            continue
        missed = int((ordered < threshold).sum())
        chance = chance_to_pass(missed, len(ordered), others, allowed)
        if chance >= ENOUGH or chance > best[1]:
            best = (threshold, chance)
    return best


def _require_patients(with_positives: int, bounding: int, aim: Aim) -> None:
    needed = patients_needed(aim.sensitivity, aim.confidence)
    if bounding >= needed and with_positives > bounding:
        return
    in_all = max(2, 2 * needed - 1)
    raise RefusedError(
        f"the calibration part has {counted(with_positives, 'patient')} with a positive, {bounding} of "
        f"them in the half that gives the bound; a sensitivity of {aim.sensitivity:g} at "
        f"{aim.confidence:.0%} needs {needed} there without a miss, {in_all} in all: release "
        "with a larger calibration part, or ask for less with --target or --confidence",
        patients=with_positives,
        needed=in_all,
    )


def _require_target(fitted: Fitted, aim: Aim) -> None:
    """Refuse what the other half does not show, and what leaves nothing to the model."""
    found = fitted.sensitivity
    if fitted.automatic_share == 0:
        raise RefusedError(
            f"a sensitivity of {aim.sensitivity:g} is reached by escalating everything, which needs no "
            "model; take another --measure, or ask for less with --target",
            lower=found.lower,
            threshold=fitted.threshold,
        )
    if found.lower < aim.sensitivity:
        raise RefusedError(
            f"{found.caught} of {found.patients} patients in the half that gives the bound are "
            f"caught, which shows {found.lower:.4f} at {aim.confidence:.0%} and not the target of "
            f"{aim.sensitivity:g}; release with a larger calibration part, or ask for less with "
            "--target",
            lower=found.lower,
            threshold=fitted.threshold,
        )


def _draw(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"triage\0{seed}\0{patient}".encode()).digest()
