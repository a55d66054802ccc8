"""Limits from replicates: those of scipy from the same replicates, and reasons where there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from annotation.errors import InputError
from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.statistics.bootstrap_limits import (
    acceleration,
    bca_limits,
    bias_correction,
    percentile_limits,
    quantile,
)
from consensus.statistics.clusters import clusters_of
from consensus.statistics.figures import figures_of
from consensus.statistics.patterns import compress
from consensus.statistics.resampling import Replicates, bootstrap
from consensus.statistics.totals import Scheme
from consensus.statistics.weights import disagreement_weights
from tests.consensus.builders import from_matrix
from tests.consensus.test_resampling import CLASSES, clustered


def drawn(ratings: Ratings, n_replicates: int = 400) -> Replicates:
    scheme = Scheme.of(ratings, disagreement_weights("linear", ratings.classes, ratings.rank))
    clusters = clusters_of(ratings, compress(ratings.codes, scheme.n_classes))
    return bootstrap(scheme, clusters, figures_of, n_replicates, 3)


def subset(
    rows: list[list[str | None]], names: list[str], clusters: NDArray[np.int64]
) -> list[list[str | None]]:
    return [
        row
        for cluster in clusters
        for row, name in zip(rows, names, strict=True)
        if int(name[1:]) == cluster
    ]


@pytest.mark.parametrize("figure", ["conger", "krippendorff", "percent"])
def test_from_the_same_replicates_scipy_gives_the_same_limits(figure: str) -> None:
    """scipy resamples the numbers of the clusters; its jackknife counts the agreement anew."""
    rows, names = clustered(14, seed=4)
    ours = drawn(from_matrix(rows, classes=CLASSES, cluster=names))

    def statistic(clusters: NDArray[np.int64]) -> float:
        found = agreement(
            from_matrix(subset(rows, names, clusters), classes=CLASSES), weights="linear"
        )
        value = found.coefficients[figure].value
        assert value is not None
        return round(value, 10)  # scipy takes for ties only what is the same to the last bit

    everyone = np.arange(14)
    replicates = ours.figures[figure].round(10)
    for method, limits in (
        ("percentile", percentile_limits(replicates, quantile())),
        (
            "BCa",
            bca_limits(
                statistic(everyone), replicates, ours.left_out[figure], ours.times, quantile()
            ),
        ),
    ):
        theirs = stats.bootstrap(
            (everyone,),
            statistic,
            vectorized=False,
            n_resamples=0,
            method=method,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=replicates),
        ).confidence_interval
        assert limits == pytest.approx((theirs.low, theirs.high), abs=1e-8), method


def test_without_each_cluster_is_the_agreement_of_the_others() -> None:
    rows, names = clustered(9, seed=2)
    ours = drawn(from_matrix(rows, classes=CLASSES, cluster=names), 2)
    for left_out in range(9):
        others = np.delete(np.arange(9), left_out)
        found = agreement(
            from_matrix(subset(rows, names, others), classes=CLASSES), weights="linear"
        )
        for name, one in found.coefficients.items():
            assert ours.left_out[name][left_out] == pytest.approx(one.value), name
        for pair, one in enumerate(found.pairs):
            assert ours.left_out["pair_kappa"][left_out, pair] == pytest.approx(one.kappa.value)


def test_alike_clusters_are_left_out_once_and_count_as_many() -> None:
    rows = [["1", "1", "1"]] * 6 + [["1", "2", "2"]] * 3 + [["2", "2", "2"]] * 5
    merged = drawn(from_matrix(rows, classes=["1", "2"]))
    names = [f"p{number:02}" for number in range(len(rows))]
    apart = drawn(from_matrix([*rows], classes=["1", "2"], cluster=names))
    assert sorted(merged.times.tolist()) == [3, 5, 6]
    each = np.repeat(merged.left_out["conger"], merged.times)
    ones = np.ones(len(each), dtype=np.int64)
    assert acceleration(merged.left_out["conger"], merged.times) == pytest.approx(
        acceleration(each, ones)
    )
    assert sorted(each) == pytest.approx(sorted(np.repeat(apart.left_out["conger"], apart.times)))


def test_what_only_one_cluster_holds_is_gone_without_it() -> None:
    """Areas that don't add up exactly leave no rounding error behind that looks like a value."""
    rows = [["1", "1", "2"]] * 30 + [["2", "3", "3"]]
    areas = [0.1 + number / 7 for number in range(30)] + [1e9 / 3]
    names = [f"p{number // 3:02}" for number in range(31)]
    ours = drawn(from_matrix(rows, classes=["1", "2", "3"], weight=areas, cluster=names))
    undefined = np.isnan(ours.left_out["kappa"][:, 2])
    assert undefined.tolist() == [False] * 10 + [True]


def test_the_bias_counts_half_of_the_ties() -> None:
    replicates = np.array([0.1, 0.2, 0.5, 0.5, 0.5 + 1e-15, 0.9])
    assert bias_correction(0.5, replicates) == pytest.approx(stats.norm.ppf(3.5 / 6))


def test_the_acceleration_is_a_sixth_of_the_skewness() -> None:
    left_out = np.array([0.3, 0.35, 0.2, 0.6])
    expected = stats.skew(-left_out) / (6 * len(left_out) ** 0.5)
    assert acceleration(left_out, np.ones(4, dtype=np.int64)) == pytest.approx(expected)


def test_without_bias_and_skewness_bca_is_the_percentile_interval() -> None:
    replicates = np.concatenate([-np.arange(1, 501), np.arange(1, 501)]) / 1000
    symmetric, ones = np.array([-0.1, 0.0, 0.1]), np.ones(3, dtype=np.int64)
    assert bca_limits(0.0, replicates, symmetric, ones, 1.96) == pytest.approx(
        percentile_limits(replicates, 1.96)
    )


@pytest.mark.parametrize("n", [5, 10, 20, 100])
def test_widened_limits_of_a_mean_are_students(n: int) -> None:
    """The bootstrap's standard error of a mean divides by n, Student's interval by n - 1."""
    numbers = np.random.default_rng(n).normal(size=n)
    half = quantile(n) * numbers.std() / n**0.5
    students = stats.t.interval(0.95, n - 1, 0, stats.sem(numbers))
    assert (-half, half) == pytest.approx(students)
    assert quantile() == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize(
    ("value", "replicates", "left_out", "reason"),
    [
        (0.5, [0.5, 0.5, 0.5], [0.5, 0.5], "all replicates are alike"),
        (0.1, [0.2, 0.3, 0.4], [0.1, 0.3], "all replicates on one side of the value"),
        (0.3, [0.2, 0.3, 0.4], [0.3, np.nan], "no value without one of the clusters"),
        (0.3, [0.2, 0.3, 0.4], [0.3, 0.3], "leaving out a cluster changes nothing"),
    ],
)
def test_a_degenerate_bca_says_why(
    value: float, replicates: list[float], left_out: list[float], reason: str
) -> None:
    times = np.ones(len(left_out), dtype=np.int64)
    found = bca_limits(value, np.array(replicates), np.array(left_out), times, 1.96)
    assert found == reason


def test_an_acceleration_beyond_the_pole_is_told() -> None:
    left_out = np.array([0.0] * 400 + [1.0])  # one cluster decides
    replicates = np.append(np.linspace(-1, 0.9, 999), 2.0)
    times = np.ones(len(left_out), dtype=np.int64)
    found = bca_limits(1.5, replicates, -left_out, times, 4.0)
    assert found == "acceleration 0.17 is out of range"


def test_perfect_agreement_has_no_interval_of_no_width() -> None:
    rows = [["1", "1", "1"], ["2", "2", "2"]] * 15
    found = agreement(from_matrix(rows, classes=["1", "2"]), weights="nominal", bootstrap=100)
    kappa = found.coefficients["conger"]
    assert (kappa.value, kappa.ci_low) == (1, None)
    assert kappa.ci_status == "undefined: all replicates are alike"
    other = kappa.extra["with_raters"]
    assert isinstance(other, dict)
    assert other["ci_status"] == "undefined: all replicates are alike"


def test_the_chosen_interval_stands_as_the_limits_and_all_stand_beside_it() -> None:
    rows, names = clustered(12)
    ratings = from_matrix(rows, classes=CLASSES, cluster=names)
    found = {
        name: agreement(ratings, weights="nominal", bootstrap=300, interval=name)
        for name in ("expanded", "bca", "percentile")
    }
    for name, one in found.items():
        kappa = one.coefficients["conger"].to_dict()
        assert one.to_dict()["interval"] == name
        chosen = kappa["intervals"][name]  # type: ignore[index]
        assert {key: kappa[key] for key in chosen} == chosen
        assert kappa["intervals"] == found["bca"].coefficients["conger"].extra["intervals"]
    wide, narrow = (found[name].coefficients["conger"] for name in ("expanded", "bca"))
    assert wide.ci_low < narrow.ci_low < narrow.ci_high < wide.ci_high
    assert "expanded BCa" in str(wide.se_method)


def test_too_few_replicates_for_so_few_clusters_are_told() -> None:
    rows, names = clustered(6)
    ratings = from_matrix(rows, classes=CLASSES, cluster=names)
    few, many = (agreement(ratings, weights="nominal", bootstrap=n) for n in (100, 400))
    assert few.notes == (
        "over 6 clusters 100 replicates don't reach as far out as an expanded interval looks; "
        "give --bootstrap 206 or more",
    )
    assert many.notes == ()
    kappa = few.coefficients["conger"]
    assert kappa.ci_low is not None


def test_an_unknown_interval_is_refused() -> None:
    with pytest.raises(InputError, match="interval 'basic' is unknown; use expanded, bca"):
        agreement(from_matrix([["a", "b"]]), weights="nominal", interval="basic")


def test_a_class_rests_on_the_clusters_in_which_somebody_gave_it() -> None:
    rows = [["1", "1", "2"], ["2", "2", "2"]] * 20
    rows[0], rows[2], rows[4], rows[6] = (
        ["3", "3", "2"],
        ["3", "3", "3"],
        ["3", "1", "3"],
        ["3"] * 3,
    )
    names = [f"p{number // 2:02}" for number in range(40)]
    found = agreement(
        from_matrix(rows, classes=["1", "2", "3"], cluster=names), weights="nominal", bootstrap=200
    )
    rare = found.per_class["3"]
    for kind in ("kappa", "fleiss", "dice"):
        assert rare[kind].value is not None
        assert rare[kind].ci_status == "undefined: 4 clusters"
        assert rare[kind].extra["interval_clusters"] == 4
    assert rare["prevalence"].ci_status == "ok"
    assert found.per_class["2"]["kappa"].extra["interval_clusters"] == 20


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["expanded", "bca", "percentile"]),
    st.sampled_from(["patient", "item", "area"]),
)
def test_the_order_of_raters_and_rows_moves_no_limit(
    seed: int, interval: str, clustered_by: str
) -> None:
    rng = np.random.default_rng(seed)
    rows, names = clustered(7, n_raters=3, seed=seed)
    order, columns = rng.permutation(len(rows)), rng.permutation(3)
    raters = np.array(["x", "y", "z"])
    shuffled = [[rows[row][column] for column in columns] for row in order]
    areas = rng.integers(1, 4, len(rows)).astype(float)
    one, two = {
        "patient": ({"cluster": names}, {"cluster": [names[row] for row in order]}),
        "item": ({}, {}),
        "area": ({"weight": areas.tolist()}, {"weight": areas[order].tolist()}),
    }[clustered_by]
    ours, theirs = (
        agreement(ratings, weights="nominal", bootstrap=60, interval=interval)
        for ratings in (
            from_matrix(rows, raters.tolist(), CLASSES, **one),
            from_matrix(shuffled, raters[columns].tolist(), CLASSES, **two),
        )
    )
    for name, one in ours.coefficients.items():
        other = theirs.coefficients[name]
        assert (one.ci_low, one.ci_high) == pytest.approx((other.ci_low, other.ci_high)), name
        assert one.extra["with_raters"] == pytest.approx(other.extra["with_raters"]), name


def test_the_command_gives_the_interval_that_was_asked_for(pathquorum: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    file = tmp_path / "ratings.csv"
    with file.open("w", encoding="utf-8") as lines:
        lines.write("item,rater,label,cluster\n")
        for item in range(60):
            for rater in "xyz":
                lines.write(
                    f"{item},{rater},{'ab'[rng.random() < 0.3 + 0.4 * (item % 2)]},{item // 6}\n"
                )
    limits = {}
    for interval in ("expanded", "bca", "percentile"):
        options = ("--bootstrap", "200", "--interval", interval, "--json")
        found = pathquorum("agreement", "--table", file, *options).json
        kappa = found["coefficients"]["conger"]
        assert found["interval"] == interval
        assert kappa["ci_low"] == kappa["intervals"][interval]["ci_low"]
        limits[interval] = kappa["ci_low"], kappa["ci_high"]
    assert len(set(limits.values())) == 3
