"""The simulated width is the one that theory gives, and says how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa

from annotation.errors import InputError
from annotation.protocol import parse_protocol
from consensus.planning import Assumptions, _draw, expected_widths, parse_prevalence
from tests.conftest import PROTOCOL, CommandResult

Study = Callable[..., CommandResult]


def assumed(
    kappa: float, prevalence: list[float], weights: str = "nominal", items: int = 1
) -> Assumptions:
    n = len(prevalence)
    return Assumptions(
        tuple("ABCDEF"[:n]), np.array(prevalence), np.arange(float(n)), weights, kappa, items
    )


def both(n_slides: int) -> NDArray[np.bool_]:
    return np.ones((n_slides, 2), dtype=bool)


def names(n_slides: int) -> list[str]:
    return [f"S{n}" for n in range(n_slides)]


def analytic_width(assumptions: Assumptions, n: int) -> float:
    """Of the expected table of two raters, as statsmodels has it (Fleiss, Cohen & Everitt)."""
    share = assumptions.prevalence
    table = np.diag(share) * assumptions.kappa + np.outer(share, share) * (1 - assumptions.kappa)
    weights = None if assumptions.weights == "nominal" else assumptions.weights
    found = cohens_kappa(n * table, wt=weights)
    assert found.kappa == pytest.approx(assumptions.kappa)
    return float(found.kappa_upp - found.kappa_low)


CASES = [
    (assumed(0.65, [0.25] * 4), 200),
    (assumed(0.5, [0.5, 0.3, 0.2]), 150),
    (assumed(0.8, [0.5, 0.5]), 250),
    (assumed(0.65, [0.5, 0.3, 0.2], "quadratic"), 300),
    (assumed(0.4, [0.4, 0.3, 0.3], "linear"), 300),
]


@pytest.mark.parametrize(("assumptions", "n"), CASES)
def test_the_width_for_two_raters_is_that_of_cohens_kappa(assumptions: Assumptions, n: int) -> None:
    found = expected_widths(both(n), names(n), assumptions, simulations=300, seed=1)["overall"]
    wanted = analytic_width(assumptions, n)
    # theory is of the expected table: a mean over tables lies a little beside it
    assert found["width"] == pytest.approx(wanted, abs=4 * found["width_error"] + 0.02 * wanted)
    assert found["spread"] == pytest.approx(wanted, abs=4 * found["spread_error"] + 0.02 * wanted)
    assert found["mean"] == pytest.approx(assumptions.kappa, abs=4 * found["mean_error"] + 1 / n)
    assert found["coverage"] == pytest.approx(0.95, abs=4 * found["coverage_error"] + 0.01)


def test_the_bootstrap_gives_the_same_width() -> None:
    assumptions, n = CASES[0]
    found = expected_widths(both(n), names(n), assumptions, simulations=40, bootstrap=200, seed=1)[
        "overall"
    ]
    wanted = analytic_width(assumptions, n)
    assert found["width"] == pytest.approx(wanted, abs=4 * found["width_error"] + 0.02 * wanted)


@settings(max_examples=15)
@given(
    st.floats(0, 1),
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.integers(0, 99),
)
def test_every_two_raters_agree_by_the_assumed_kappa(
    kappa: float, parts: list[int], seed: int
) -> None:
    share = np.array(parts) / sum(parts)
    n = 20_000
    rated = np.ones((n, 3), dtype=bool)
    codes = _draw(np.random.default_rng(seed), rated, assumed(kappa, share.tolist()))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        table = np.zeros((len(parts), len(parts)))
        np.add.at(table, (codes[:, a], codes[:, b]), 1)
        found = cohens_kappa(table)
        assert found.kappa == pytest.approx(kappa, abs=5 * found.std_kappa0 + 1e-3)
        np.testing.assert_allclose(table.sum(axis=1) / n, share, atol=5 / np.sqrt(n))


def test_who_does_not_read_a_slide_says_nothing_of_it() -> None:
    rated = np.array([[True, False, True], [False, True, True]])
    codes = _draw(np.random.default_rng(0), rated, assumed(0.5, [0.5, 0.5]))
    np.testing.assert_array_equal(codes >= 0, rated)


def test_more_slides_readers_and_items_tell_more() -> None:
    few, many = (
        expected_widths(both(n), names(n), CASES[0][0], simulations=60)["overall"]["width"]
        for n in (50, 200)
    )
    assert many == pytest.approx(few / 2, rel=0.05)
    three = np.ones((50, 3), dtype=bool)
    third = expected_widths(three, names(50), CASES[0][0], simulations=60)["overall"]["width"]
    assert many < third < few
    four = expected_widths(both(50), names(50), assumed(0.65, [0.25] * 4, items=4), simulations=60)
    assert four["overall"]["width"] == pytest.approx(many, rel=0.05)
    assert "4 independent items" in four["notes"][0]


def test_patients_and_not_slides_are_what_the_bootstrap_draws() -> None:
    patients = [f"K{n // 10}" for n in range(40)]  # four of them
    found = expected_widths(both(40), patients, CASES[0][0], simulations=3, bootstrap=20)
    assert found["overall"] == {
        "width": None,
        "status": "undefined: 4 clusters",
        "with_interval": 0,
    }


def test_one_reader_a_slide_has_no_interval_and_says_why() -> None:
    rated = np.eye(6, dtype=bool)
    found = expected_widths(rated, names(6), CASES[0][0], simulations=2)["overall"]
    assert found["width"] is None
    assert found["status"].startswith("undefined: ")


def test_a_seed_gives_the_same_figures_and_another_gives_others() -> None:
    one, same, other = (
        expected_widths(both(30), names(30), CASES[0][0], simulations=5, seed=seed)["overall"]
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one["width"] != other["width"]


def test_classes_are_equally_common_unless_said() -> None:
    protocol = parse_protocol(PROTOCOL, "test")
    found = Assumptions.of(protocol, 0.65)
    assert dict(zip(found.classes, found.prevalence, strict=True)) == dict.fromkeys(
        ("Benign", "Low grade", "High grade"), pytest.approx(1 / 3)
    )
    assert (found.weights, found.rank.tolist()) == ("quadratic", [0, 1, 2])
    shares = parse_prevalence(["High grade=0.1", "background=0.4", "Benign=.3", "Low grade=0.2"])
    said = Assumptions.of(protocol, 0.65, shares)
    assert said.classes == ("Benign", "Low grade", "High grade", "background")
    assert said.prevalence.tolist() == [0.3, 0.2, 0.1, 0.4]
    assert np.isnan(said.rank[-1])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["Benign"], "no NAME=SHARE"),
        (["Benign=x"], "no NAME=SHARE"),
        (["=0.5"], "no NAME=SHARE"),
        (["Benign=1.2"], "no NAME=SHARE"),
        (["Benign=nan"], "no NAME=SHARE"),
        (["Benign=0.5", "Benign=0.5"], "twice"),
        (["Cancer=1"], "lacks; its classes are Benign, Low grade"),
        (["Benign=1"], "lacks 'Low grade'"),
        (["Benign=0.5", "Low grade=0.5", "High grade=0.5"], "sums to 1.5"),
    ],
)
def test_shares_that_cannot_be_meant_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Assumptions.of(parse_protocol(PROTOCOL, "test"), 0.65, parse_prevalence(texts))


def test_numbers_that_cannot_be_simulated_are_refused() -> None:
    with pytest.raises(InputError, match=r"--expect-kappa -0\.1"):
        Assumptions.of(parse_protocol(PROTOCOL, "test"), -0.1)
    with pytest.raises(InputError, match="--simulations 1"):
        expected_widths(both(10), names(10), CASES[0][0], simulations=1)
    with pytest.raises(InputError, match="--seed -1"):
        expected_widths(both(10), names(10), CASES[0][0], simulations=2, seed=-1)


@pytest.fixture
def sized(study: Study) -> Study:
    for number in range(2, 9):
        site = "north" if number % 2 else "south"
        added = study(
            "slide", "add", f"S{number}", "--width", 100, "--height", 80, "--mpp", 0.5,
            "--patient", f"K{number}", "--site", site,
        )  # fmt: skip
        assert added.status == 0, added.err
    return study


def plan(study: Study, *more: Any) -> CommandResult:
    return study(
        "assign", "--plan", "--protocol", "prostate", "--annotators", "P1,P2,P3",
        "--raters-per-slide", 2, "--simulations", 20, *more,
    )  # fmt: skip


def test_the_command_plans_and_changes_nothing(sized: Study, tmp_path: Path) -> None:
    before = sized("audit", "verify", "--json").json
    result = plan(
        sized, "--replicates", "50%", "--washout", 14, "--start", "2026-03-02",
        "--classes-prevalence", "Benign=0.5,Low grade=0.25,High grade=0.25",
        "--expect-kappa", 0.5, "--to", tmp_path / "plan.csv", "--json",
    )  # fmt: skip
    assert result.status == 0, result.err
    document = result.json
    assert (document["protocol"], document["slides"]) == ("prostate@1", 8)
    assert [entry["slides"] for entry in document["annotators"]] in (
        [5, 5, 6],
        [5, 6, 5],
        [6, 5, 5],
    )
    assert (document["pairs"]["min"], document["pairs"]["max"]) == (2, 3)
    sites = [entry["sites"] for entry in document["annotators"]]
    assert {name for of in sites for name in of} == {"north", "south", "no site"}
    assert document["interval"]["expect_kappa"] == 0.5
    assert document["interval"]["prevalence"]["Benign"] == 0.5
    assert document["interval"]["overall"]["width"] > 0
    assert {read["not_before"] for read in document["reads"]} == {None, "2026-03-16"}
    assert len((tmp_path / "plan.csv").read_text().splitlines()) == 1 + len(document["reads"])
    assert sized("audit", "verify", "--json").json == before
    assert plan(sized, "--to", tmp_path / "plan.csv").status == 1


def test_a_person_sees_the_pairs_the_width_and_its_errors(sized: Study) -> None:
    result = plan(sized, "--replicates", 1, "--washout", 14, "--start", "2026-03-02")
    assert result.status == 0, result.err
    assert "two raters share 2 to 3 slides" in result.out
    assert "not before 2026-03-16" in result.out
    assert "±" in result.out
    assert "keep the plan with --to" in result.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--slides", "S1,nowhere"), "no slide 'nowhere'"),
        (("--classes-prevalence", "Benign=1"), "lacks 'Low grade'"),
        (("--expect-kappa", 2), "--expect-kappa 2"),
        (("--replicates", 9, "--washout", 1), "too many"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    sized: Study, more: tuple[object, ...], message: str
) -> None:
    result = plan(sized, *more)
    assert (result.status, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert message in result.err
