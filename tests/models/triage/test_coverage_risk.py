"""Coverage against risk beside the loop that defines it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.draws import PatientDraws
from models.triage.coverage_risk import area_under, coverage_risk, risk_curve

units = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 7)), min_size=1, max_size=40
)


def by_definition(uncertainty: list[float], wrong: list[bool], weight: list[int]) -> float:
    """Mean over all units of the risk at the coverage that takes in those as sure as it."""
    repeated = [
        (u, e) for u, e, w in zip(uncertainty, wrong, weight, strict=True) for _ in range(w)
    ]
    if not repeated:
        return float("nan")
    risks = []
    for u, _ in repeated:
        taken = [e for other, e in repeated if other <= u]
        risks.append(sum(taken) / len(taken))
    return sum(risks) / len(risks)


@given(units, st.integers(0, 3))
def test_the_area_is_its_definition_however_often_a_patient_counts(
    rows: list[tuple[int, bool, int]], seed: int
) -> None:
    uncertainty = np.array([row[0] for row in rows], dtype=np.float64)
    wrong = np.array([row[1] for row in rows])
    draws = PatientDraws.of(np.array([row[2] for row in rows]), replicates=0, seed=0)
    often = np.random.default_rng(seed).integers(0, 3, size=(4, draws.n_patients)).astype(float)
    found = area_under(uncertainty, wrong, draws).evaluate(often)
    for one, times in zip(found, often, strict=True):
        weight = times[draws.patient].astype(int).tolist()
        expected = by_definition(uncertainty.tolist(), wrong.tolist(), weight)
        assert one == pytest.approx(expected, nan_ok=True)


@given(units)
def test_the_curve_ends_at_the_models_error(rows: list[tuple[int, bool, int]]) -> None:
    """Coverage rises to 1, where the risk is the share of errors in all, whatever the measure."""
    wrong = np.array([row[1] for row in rows])
    curve = risk_curve(np.array([row[0] for row in rows], dtype=np.float64), wrong)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(wrong.mean())
    assert (np.diff(curve.coverage) > 0).all()


def test_a_measure_that_knows_is_better_than_one_that_does_not() -> None:
    """Chance is the error rate; a perfect order has the area of the formula; intervals are paired."""
    rng = np.random.default_rng(0)
    wrong = rng.random(400) < 0.25
    group = np.arange(400) // 2
    document = coverage_risk(
        {"knows": wrong + 0.5 * rng.random(400), "guesses": rng.random(400)},
        wrong, group, bootstrap=200, seed=1,
    )  # fmt: skip
    knows, guesses, random = document["measures"]
    error = wrong.mean()
    assert random["aurc"]["value"] == pytest.approx(error)
    assert knows["aurc"]["value"] == pytest.approx(
        error + (1 - error) * np.log(1 - error), abs=0.005
    )
    assert knows["difference"] is None
    assert guesses["difference"]["ci_high"] < 0
    assert guesses["aurc"]["ci_low"] < error < guesses["aurc"]["ci_high"]
    assert (document["units"], document["patients"], document["errors"]) == (400, 200, wrong.sum())
    assert len(knows["curve"]["coverage"]) <= 200
