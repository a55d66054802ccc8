"""irrCAC: what its vignettes print, and its Python port as an oracle on random tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from irrCAC.raw import CAC

from consensus.agreement import Agreement, agreement
from consensus.statistics.weights import disagreement_weights
from tests.consensus.builders import (
    counts_csv,
    from_contingency,
    from_distribution,
    from_matrix,
    from_raw_csv,
)
from tests.consensus.vignettes import Printed, digits, printed_coefficients, printed_weights

OVERVIEW, WEIGHTING = "vignette_output_overview.txt", "vignette_output_weighting.txt"
COEFFICIENTS = {
    "table": {"cohen_mean", "fleiss", "gwet", "brennan_prediger", "krippendorff", "percent"},
    "dist": {"gwet", "fleiss", "krippendorff", "brennan_prediger"},
    "raw": {"percent", "gwet", "fleiss", "krippendorff", "conger", "brennan_prediger"},
}
DATA = {"table": "cont3x3abstractors", "dist": "distrib.6raters", "raw": "cac.raw4raters"}


@pytest.fixture(scope="module")
def irrcac(shared_data: Path) -> Path:
    return shared_data / "raters" / "irrCAC"


@pytest.fixture(scope="module")
def found(irrcac: Path) -> dict[tuple[str, str], Agreement]:
    """Our figures of the three tables that the vignettes use, by form and weights."""
    tables = {
        "table": from_contingency(*reversed(counts_csv(irrcac / f"{DATA['table']}.csv"))),
        "dist": from_distribution(*reversed(counts_csv(irrcac / f"{DATA['dist']}.csv"))),
        "raw": from_raw_csv(irrcac / f"{DATA['raw']}.csv"),
    }
    return {
        (form, weights): agreement(ratings, weights=weights)
        for form, ratings in tables.items()
        for weights in ("nominal", "quadratic")
    }


@pytest.fixture(scope="module")
def printed(irrcac: Path) -> list[Printed]:
    """Every coefficient that stands in the vignettes with its output."""
    return [one for name in (OVERVIEW, WEIGHTING) for one in printed_coefficients(irrcac / name)]


def test_every_table_coefficient_and_weighting_that_is_printed_is_read(
    irrcac: Path, printed: list[Printed]
) -> None:
    """None is overlooked: as many calls as stand in the text, and each kind of them."""
    calls = [
        line
        for name in (OVERVIEW, WEIGHTING)
        for line in (irrcac / name).read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*[a-z0-9.]+\.(table|dist|raw)\(", line)
    ]
    assert len(printed) == len(calls)
    assert {one.key for one in printed} == {
        (form, DATA[form], weights, name)
        for form, names in COEFFICIENTS.items()
        for weights in ("nominal", "quadratic")
        for name in names
    }


def test_every_printed_value_comes_out_to_its_last_digit(
    printed: list[Printed], found: dict[tuple[str, str], Agreement]
) -> None:
    """Contingency tables, distributions and raw ratings, nominal and quadratic."""
    for one in printed:
        ours = found[one.form, one.weights].coefficients
        assert ours[one.name].value == pytest.approx(float(one.value), abs=digits(one.value)), one
        if one.pa is not None and one.name != "krippendorff":  # alpha's has a small-sample term
            assert ours["percent"].value == pytest.approx(one.pa, abs=5e-8), one


def test_standard_errors_and_intervals_of_raw_ratings_are_the_printed_ones(
    printed: list[Printed], found: dict[tuple[str, str], Agreement]
) -> None:
    raw = [one for one in printed if one.form == "raw"]
    assert raw
    for one in raw:
        ours = found[one.form, one.weights].coefficients[one.name]
        assert ours.se == pytest.approx(float(one.se), abs=digits(one.se)), one
        assert ours.ci_low == pytest.approx(one.low, abs=5.01e-4), one
        assert ours.ci_high == pytest.approx(one.high, abs=5.01e-4), one


def test_errors_of_contingency_tables_differ_from_irrcacs_by_its_divisor_alone(
    printed: list[Printed], found: dict[tuple[str, str], Agreement]
) -> None:
    """irrCAC divides the same sum by n * n in its functions for tables, by n (n - 1) in those for
    raw ratings. Here a table is its raw ratings, so that one study has one answer however it is
    written down. Cohen's kappa is Fleiss, Cohen & Everitt's in both, which divides by n * n."""
    tables = [one for one in printed if one.form == "table"]
    assert tables
    for one in tables:
        ours = found[one.form, one.weights].coefficients[one.name]
        n = found[one.form, one.weights].items
        divisor = 1.0 if one.name == "cohen_mean" else np.sqrt((n - 1) / n)
        assert ours.se * divisor == pytest.approx(float(one.se), abs=digits(one.se)), one


def test_errors_of_distributions_are_the_printed_ones_but_for_alpha(
    printed: list[Printed], found: dict[tuple[str, str], Agreement]
) -> None:
    """For distributions irrCAC has another formula of alpha's error than for raw ratings: 0.0824
    where its raw ratings give 0.0812 for the same table. We keep that of raw ratings for both."""
    for one in (one for one in printed if one.form == "dist"):
        ours = found[one.form, one.weights].coefficients[one.name]
        if one.name == "krippendorff":
            assert abs(ours.se - float(one.se)) > digits(one.se)
            continue
        assert ours.se == pytest.approx(float(one.se), abs=digits(one.se)), one
        assert ours.ci_low == pytest.approx(one.low, abs=5.01e-4), one
        assert ours.ci_high == pytest.approx(one.high, abs=5.01e-4), one


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the oracle's own, about pandas
def test_alpha_of_a_distribution_has_the_error_of_its_raw_ratings(irrcac: Path) -> None:
    """The distribution written out as raw ratings, through irrCAC's own function for these."""
    header, counts = counts_csv(irrcac / "distrib.6raters.csv")
    ratings = from_distribution(counts, header)
    frame = pd.DataFrame(ratings.codes + 1, dtype=float)
    expected = CAC(frame, weights="identity", digits=12).krippendorff()["est"]
    ours = agreement(ratings, weights="nominal").coefficients["krippendorff"]
    assert ours.se == pytest.approx(expected["se"], abs=1e-9)


def test_distribution_of_four_raters_has_the_printed_ac1(irrcac: Path) -> None:
    """In the text of the overview, of columns 2 to 4 of the table."""
    header, counts = counts_csv(irrcac / "cac.dist4cat.csv", first_column=1)
    text = (irrcac / OVERVIEW).read_text(encoding="utf-8")
    (ac1,) = re.findall(r"AC\}_1=(0\.35\d+)", text)
    found = agreement(from_distribution(counts, header), weights="nominal")
    assert found.coefficients["gwet"].value == pytest.approx(float(ac1), abs=digits(ac1))


def test_the_benchmarking_vignette_starts_from_the_same_ac1(
    irrcac: Path, found: dict[tuple[str, str], Agreement]
) -> None:
    """Its scales of adjectives ("substantial") are a matter of taste and not computed here."""
    text = (irrcac / "vignette_output_benchmarking.txt").read_text(encoding="utf-8")
    ((value, se),) = re.findall(r"#> +ac1\.coeff\.val +ac1\.coeff\.se\n#> 1 +(\S+) +(\S+)", text)
    ours = found["raw", "nominal"].coefficients["gwet"]
    assert ours.value == pytest.approx(float(value), abs=digits(value))
    assert ours.se == pytest.approx(float(se), abs=digits(se))


def test_printed_weights_are_ours_or_can_be_given_as_ones_own(irrcac: Path) -> None:
    """Ours are disagreements, one minus what irrCAC prints."""
    printed = printed_weights(irrcac / WEIGHTING)
    assert set(printed) == {
        "identity", "radical", "linear", "ordinal", "quadratic", "circular", "bipolar",
    }  # fmt: skip
    ranks = np.arange(3.0)
    for theirs, ours in (("identity", "nominal"), ("linear", "linear"), ("quadratic", "quadratic")):
        assert disagreement_weights(ours, "123", ranks).tolist() == (1 - printed[theirs]).tolist()
    for matrix in printed.values():
        own = disagreement_weights(1 - matrix, "123", ranks)
        assert own == pytest.approx(1 - matrix, abs=1e-15)


PORT = {
    "gwet": "gwet",
    "fleiss": "fleiss",
    "krippendorff": "krippendorff",
    "conger": "conger",
    "brennan_prediger": "bp",
}


def random_table(seed: int) -> list[list[int | None]]:
    """Grades 1 to 4 by 2 to 5 raters, some missing, no item without any."""
    rng = np.random.default_rng(seed)
    n_items, n_raters = int(rng.integers(12, 60)), int(rng.integers(2, 6))
    truth = rng.integers(1, 5, n_items)
    noise = rng.integers(1, 5, (n_items, n_raters))
    said = np.where(rng.random(noise.shape) < 0.6, truth[:, None], noise)
    missing = rng.random(noise.shape) < rng.choice([0, 0.25])
    missing[np.arange(n_items), rng.integers(0, n_raters, n_items)] = False
    said[:4, 0], missing[:4, 0] = [1, 2, 3, 4], False  # every grade is used
    return [
        [None if gap else int(grade) for grade, gap in zip(*row, strict=True)]
        for row in zip(said, missing, strict=True)
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the oracle's own, about pandas
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_random_raw_ratings_give_what_the_python_port_gives(seed: int, weights: str) -> None:
    table = random_table(seed)
    frame = pd.DataFrame(table, dtype=float)
    oracle = CAC(frame, weights="identity" if weights == "nominal" else weights, digits=12)
    found = agreement(from_matrix(table), weights=weights)
    for name, theirs in PORT.items():
        expected = getattr(oracle, theirs)()["est"]
        ours = found.coefficients[name]
        assert ours.value == pytest.approx(expected["coefficient_value"], abs=1e-9), name
        assert ours.se == pytest.approx(expected["se"], abs=1e-9), name
        limits = (ours.ci_low, ours.ci_high)
        assert limits == pytest.approx(expected["confidence_interval"], abs=1e-9), name
