"""The threshold: what it catches, what it may not be, and that its bound covers the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from annotation.errors import RefusedError
from models.triage.threshold import Aim, Labelled, fit_threshold, halves
from tests.benchmarks.triage import drawn_study

AIM = Aim(0.9, 0.9)  # needs 22 in the half that gives the bound, 43 in all


def labelled(
    uncertainty: list[float], called: list[bool], patient: list[int], negatives: int = 0
) -> Labelled:
    """Positives, and as many slides that are none, of which the model is sure."""
    n_patients = max(patient, default=-1) + 1
    values, says = np.array(uncertainty), np.array(called, dtype=bool)
    extra = np.arange(n_patients, n_patients + negatives)
    return Labelled(
        patients=tuple(f"p{number}" for number in range(n_patients + negatives)),
        positive_of=np.array(patient),
        caught_at=np.where(says, np.inf, values),
        escalated_at=values,
        called=says,
        unit_of=np.concatenate([np.array(patient), extra]),
        uncertainty=np.concatenate([values, np.zeros(negatives)]),
    )


def test_all_that_is_missed_is_escalated_and_the_rest_left_to_the_model() -> None:
    """The model misses every fourth and is unsure of these alone."""
    missed = np.arange(80) % 4 == 0
    one = labelled(np.where(missed, 0.9, 0.1).tolist(), (~missed).tolist(), list(range(80)), 40)
    fitted = fit_threshold(one, AIM)
    assert fitted.threshold == 0.9
    assert (fitted.sensitivity.caught, fitted.sensitivity.patients) == (40, 40)
    assert fitted.sensitivity.lower == pytest.approx(0.1 ** (1 / 40))
    assert (fitted.automatic.value, fitted.automatic.patients) == (1.0, fitted.automatic.caught)
    assert 0.7 < fitted.automatic_share < 0.95
    assert fitted.choosing[1] + fitted.bounding[1] == 80


def test_who_is_missed_once_is_missed() -> None:
    """A patient counts by the worst of their slides, however many of them are caught."""
    n = 60
    patient = [number // 3 for number in range(3 * n)]
    called = [number % 3 != 0 for number in range(3 * n)]
    unsure = [0.5 if number % 3 == 0 else 0.9 for number in range(3 * n)]
    unsure[0::30] = [0.0] * 6  # six patients have a slide of which the model is wrongly sure
    one = labelled(unsure, called, patient, 10)
    with pytest.raises(RefusedError, match="of 30 patients"):
        fit_threshold(one, AIM)
    fitted = fit_threshold(one, Aim(0.4, 0.9))
    assert fitted.sensitivity.patients == 30
    assert fitted.sensitivity.positives == 90
    missed = 30 - fitted.sensitivity.caught
    assert fitted.sensitivity.positives_caught == 90 - missed


def test_too_few_patients_say_how_many_are_needed() -> None:
    """Counted in patients, whatever number of slides each has."""
    many_slides = labelled([0.5] * 400, [False] * 400, [number // 10 for number in range(400)])
    with pytest.raises(RefusedError) as refusal:
        fit_threshold(many_slides, Aim(0.98, 0.95))
    assert "40 patients with a positive, 20 of them" in str(refusal.value)
    assert "needs 149 there without a miss, 297 in all" in str(refusal.value)
    assert refusal.value.needed == 297
    enough = labelled(np.linspace(0.1, 0.9, 297).tolist(), [False] * 297, list(range(297)), 100)
    assert fit_threshold(enough, Aim(0.98, 0.95, seed=2)).sensitivity.patients == 149


def test_escalating_everything_is_no_answer() -> None:
    """A measure that says the same of all, while the model calls nothing positive."""
    one = labelled([0.0] * 80, [False] * 80, list(range(80)), 20)
    with pytest.raises(RefusedError, match="escalating everything"):
        fit_threshold(one, AIM)


def test_a_model_that_misses_nothing_is_left_everything() -> None:
    """Nothing need be escalated then, and the threshold is infinite."""
    one = labelled(np.linspace(0, 1, 80).tolist(), [True] * 80, list(range(80)), 20)
    fitted = fit_threshold(one, AIM)
    assert fitted.to_dict()["threshold"] is None
    assert (fitted.automatic_share, fitted.sensitivity.caught) == (1.0, 40)


def test_what_cannot_be_escalated_is_missed() -> None:
    """Where the model outlined nothing at a positive, no threshold helps, and it counts."""
    one = labelled([0.5] * 80, [False] * 80, list(range(80)), 20)
    none = replace(one, caught_at=np.full(80, -np.inf), escalated_at=np.full(80, -np.inf))
    with pytest.raises(RefusedError, match="escalating everything"):
        fit_threshold(none, AIM)
    half = np.where(np.arange(80) < 70, 0.5, -np.inf)
    some = replace(one, caught_at=half, escalated_at=half)
    with pytest.raises(RefusedError, match="of 40 patients"):
        fit_threshold(some, AIM)


def test_a_bound_below_the_target_is_refused_with_both_numbers() -> None:
    """The half that chose finds a threshold; the other has more misses than it may."""
    one = labelled(np.linspace(0.1, 0.9, 46).tolist(), [False] * 46, list(range(46)), 20)
    told = set()
    for seed in range(30):
        try:
            fit_threshold(one, Aim(0.9, 0.9, seed=seed))
        except RefusedError as error:
            told.add(str(error))
    assert told, "of 30 seeds some must draw the least certain positive into the other half"
    assert all("of 23 patients" in text and "not the target of 0.9" in text for text in told)


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 5))
def test_halves_are_even_and_follow_names_alone(positive: list[bool], seed: int) -> None:
    """Each kind is halved, the half that gives the bound has the odd one, whatever the order."""
    names = [f"p{number}" for number in range(len(positive))]
    flags = np.array(positive)
    chooses = halves(names, flags, seed)
    for kind in (True, False):
        of_kind = flags == kind
        assert (chooses & of_kind).sum() == of_kind.sum() // 2
    back = halves(names[::-1], flags[::-1], seed)
    assert np.array_equal(back[::-1], chooses)


def test_the_bound_covers_the_truth() -> None:
    """300 studies of 200 positives: at 90 % the bound is above the truth in a tenth at most.

    The true sensitivity of a threshold is known, since the patients are drawn. Refused thresholds
    count as well: their bound is in the refusal. That it is above in some says that it is no idle
    bound: one at a confidence of 99.9 % would hardly ever be.
    """
    n_studies, above = 300, 0
    for seed in range(n_studies):
        study = drawn_study(np.random.default_rng(seed), 200, 20)
        try:
            fitted = fit_threshold(study.labelled, Aim(0.8, 0.9, seed=seed))
        except RefusedError as error:
            lower, threshold = float(str(error.lower)), float(str(error.threshold))
        else:
            lower, threshold = fitted.sensitivity.lower, fitted.threshold
        above += lower > study.true_sensitivity(threshold)
    assert binom.ppf(0.001, n_studies, 0.04) <= above <= binom.ppf(0.999, n_studies, 0.1)
