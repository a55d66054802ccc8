"""irrCAC: what its vignettes print, and its Python port as an oracle on random tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from irrCAC.raw import CAC

from consensus.agreement import agreement
from consensus.statistics.statistic import Statistic
from tests.consensus.builders import (
    counts_csv,
    from_contingency,
    from_distribution,
    from_matrix,
    from_raw_csv,
)

# value, standard error, lower and upper limit as vignette_output_overview.txt and
# vignette_output_weighting.txt print them
RAW_4_RATERS = {
    "nominal": {
        "percent": (0.8181818, 0.12561, 0.542, 1),
        "gwet": (0.77544, 0.14295, 0.461, 1),
        "fleiss": (0.76117, 0.15302, 0.424, 1),
        "krippendorff": (0.74342, 0.14557, 0.419, 1),
        "conger": (0.76282, 0.14917, 0.435, 1),
        "brennan_prediger": (0.77273, 0.14472, 0.454, 1),
    },
    "quadratic": {
        "percent": (0.9753788, 0.09062, 0.776, 1),
        "gwet": (0.914, 0.10396, 0.685, 1),
        "fleiss": (0.86494, 0.14603, 0.544, 1),
        "krippendorff": (0.84911, 0.12913, 0.561, 1),
        "conger": (0.85771, 0.14367, 0.541, 1),
        "brennan_prediger": (0.90152, 0.11089, 0.657, 1),
    },
}
CONTINGENCY = {
    "nominal": {
        "cohen_mean": 0.7964094,
        "fleiss": 0.7962397,
        "gwet": 0.8493305,
        "brennan_prediger": 0.835,
        "krippendorff": 0.7972585,
        "percent": 0.89,
    },
    "quadratic": {
        "cohen_mean": 0.8921569,
        "fleiss": 0.8921093,
        "gwet": 0.9402369,
        "brennan_prediger": 0.9175,
        "krippendorff": 0.8926487,
        "percent": 0.9725,
    },
}
DISTRIBUTION = {
    "nominal": {
        "gwet": (0.4448007, 0.08418757, 0.264, 0.625),
        "fleiss": (0.4139265, 0.08119291, 0.240, 0.588),
        "brennan_prediger": (0.4388889, 0.08312142, 0.261, 0.617),
        "krippendorff": (0.4204384, None, None, None),  # another formula for its error
        "percent": (0.5511111, None, None, None),
    },
    "quadratic": {
        "gwet": (0.4837438, 0.1058227, 0.257, 0.711),
        "fleiss": (0.2511909, 0.1457381, -0.061, 0.564),
        "brennan_prediger": (0.4177778, 0.1067493, 0.189, 0.647),
        "krippendorff": (0.259511, None, None, None),
        "percent": (0.8544444, None, None, None),
    },
}


def assert_printed(
    found: Statistic, value: float, se: float | None, low: float | None, high: float | None
) -> None:
    assert found.value == pytest.approx(value, abs=5e-6)
    if se is not None:
        assert found.se == pytest.approx(se, abs=5e-6)
        assert found.ci_low == pytest.approx(low, abs=5.01e-4)
        assert found.ci_high == pytest.approx(high, abs=5.01e-4)


@pytest.mark.parametrize("weights", ["nominal", "quadratic"])
def test_raw_ratings_with_gaps_print_as_in_the_vignettes(shared_data: Path, weights: str) -> None:
    found = agreement(
        from_raw_csv(shared_data / "raters" / "irrCAC" / "cac.raw4raters.csv"), weights=weights
    )
    for name, printed in RAW_4_RATERS[weights].items():
        assert_printed(found.coefficients[name], *printed)


@pytest.mark.parametrize("weights", ["nominal", "quadratic"])
def test_contingency_table_has_the_values_of_the_vignettes(shared_data: Path, weights: str) -> None:
    header, counts = counts_csv(shared_data / "raters" / "irrCAC" / "cont3x3abstractors.csv")
    found = agreement(from_contingency(counts, header), weights=weights)
    for name, printed in CONTINGENCY[weights].items():
        assert found.coefficients[name].value == pytest.approx(printed, abs=5e-8)


@pytest.mark.parametrize(
    ("weights", "printed"),
    [
        ("nominal", (0.7964094, 0.05891072, 0.680, 0.913)),
        ("quadratic", (0.8921569, 0.03535151, 0.822, 0.962)),
    ],
)
def test_cohen_of_two_raters_has_the_printed_error_and_interval(
    shared_data: Path, weights: str, printed: tuple[float, float, float, float]
) -> None:
    header, counts = counts_csv(shared_data / "raters" / "irrCAC" / "cont3x3abstractors.csv")
    found = agreement(from_contingency(counts, header), weights=weights)
    for statistic in (found.coefficients["cohen_mean"], found.pairs[0].kappa):
        assert_printed(statistic, *printed)


@pytest.mark.parametrize("weights", ["nominal", "quadratic"])
def test_distribution_of_raters_prints_as_in_the_vignettes(shared_data: Path, weights: str) -> None:
    header, counts = counts_csv(shared_data / "raters" / "irrCAC" / "distrib.6raters.csv")
    found = agreement(from_distribution(counts, header), weights=weights)
    for name, printed in DISTRIBUTION[weights].items():
        assert_printed(found.coefficients[name], *printed)


def test_distribution_of_four_raters_has_the_printed_ac1(shared_data: Path) -> None:
    header, counts = counts_csv(
        shared_data / "raters" / "irrCAC" / "cac.dist4cat.csv", first_column=1
    )
    found = agreement(from_distribution(counts, header), weights="nominal")
    assert found.coefficients["gwet"].value == pytest.approx(0.3518903, abs=5e-8)


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
