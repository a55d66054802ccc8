"""The bootstrap: replicates are agreement of drawn clusters, and never of a rater with itself."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.statistics import resampling
from consensus.statistics.clusters import clusters_of
from consensus.statistics.figures import figures_of
from consensus.statistics.patterns import compress
from consensus.statistics.rater_draws import RaterSums, draw_raters
from consensus.statistics.resampling import bootstrap
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts
from consensus.statistics.weights import disagreement_weights
from tests.consensus.builders import from_matrix

CLASSES = ["1", "2", "3", "background"]


def clustered(
    n_clusters: int, n_raters: int = 4, seed: int = 0, missing: float = 0.15
) -> tuple[list[list[str | None]], list[str]]:
    """Three items a cluster, and the clusters' names."""
    rng = np.random.default_rng(seed)
    n = 3 * n_clusters
    truth = np.repeat(rng.integers(0, 4, n_clusters), 3)
    said = np.where(
        rng.random((n, n_raters)) < 0.6, truth[:, None], rng.integers(0, 4, (n, n_raters))
    )
    gone = rng.random((n, n_raters)) < missing
    rows = [
        [None if gap else CLASSES[code] for code, gap in zip(*row, strict=True)]
        for row in zip(said, gone, strict=True)
    ]
    rows[0] = ["background"] * n_raters  # kappas are about all that is rated
    return rows, [f"p{index // 3:03}" for index in range(n)]


def rated(n_clusters: int = 25, **options: Any) -> Ratings:
    rows, names = clustered(n_clusters, **options)
    return from_matrix(rows, classes=CLASSES, cluster=names)


def totals_by_cluster(ratings: Ratings, scheme: Scheme) -> NDArray[np.float64]:
    patterns = compress(ratings.codes, scheme.n_classes)
    features = item_features(scheme, rater_counts(patterns.codes, scheme.n_classes))
    return group_totals(scheme, clusters_of(ratings, patterns).weighted, features)


def test_a_replicate_is_the_agreement_of_the_clusters_drawn() -> None:
    rows, names = clustered(6)
    ratings = from_matrix(rows, classes=CLASSES, cluster=names)
    disagreement = disagreement_weights("linear", ratings.classes, ratings.rank)
    scheme = Scheme.of(ratings, disagreement)
    often = np.array([2, 0, 1, 0, 3, 0])
    drawn = figures_of(Totals(scheme, (often @ totals_by_cluster(ratings, scheme))[None]))
    again = [
        row for row, name in zip(rows, names, strict=True) for _ in range(often[int(name[1:])])
    ]
    expected = agreement(from_matrix(again, classes=CLASSES), weights="linear")
    for name, statistic in expected.coefficients.items():
        assert drawn[name][0] == pytest.approx(statistic.value), name
    for c, label in enumerate(CLASSES):
        for kind, statistic in expected.per_class[label].items():
            value = drawn["fleiss_class" if kind == "fleiss" else kind][0, c]
            wanted = np.nan if statistic.value is None else statistic.value
            assert value == pytest.approx(wanted, nan_ok=True), (label, kind)
    assert drawn["f1"][0] == pytest.approx(expected.f1.value)


def brute_force(
    said: NDArray[np.int32], origin: NDArray[np.int64], disagreement: NDArray[np.float64]
) -> dict[str, float]:
    """Figures by their definitions, looping over items and pairs of different raters."""
    n_classes = len(disagreement)
    within, per_item, shares, paired_counts = [], [], [], np.zeros(n_classes)
    both, either = np.zeros(n_classes), np.zeros(n_classes)
    for row in said:
        codes, who = row[row >= 0], origin[row >= 0]
        if not len(codes):
            continue
        counts = np.bincount(codes, minlength=n_classes)
        shares.append(counts / counts.sum())
        pairs = [
            (codes[i], codes[j]) for i, j in combinations(range(len(codes)), 2) if who[i] != who[j]
        ]
        for a, b in pairs:
            both[a] += 2 * (a == b)
            either[a] += 1
            either[b] += 1
        if pairs:
            within.append(np.mean([disagreement[a, b] for a, b in pairs]))
            per_item.append(len(codes))
            paired_counts += counts
    share = np.mean(shares, axis=0)
    found = {"percent": 1 - np.mean(within)}
    found["fleiss"] = 1 - np.mean(within) / (share @ disagreement @ share)
    alpha_share = paired_counts / paired_counts.sum()
    alpha = np.average(within, weights=per_item) * (1 - 1 / paired_counts.sum())
    found["krippendorff"] = 1 - alpha / (alpha_share @ disagreement @ alpha_share)
    kappas, margins_apart, observed, expected = [], [], 0.0, 0.0
    for i, j in combinations(range(len(origin)), 2):
        if origin[i] == origin[j]:
            continue
        left, right = said[:, i], said[:, j]
        margins = [
            np.bincount(c[c >= 0], minlength=n_classes) / (c >= 0).sum() for c in (left, right)
        ]
        margins_apart.append(margins[0] @ disagreement @ margins[1])
        use = (left >= 0) & (right >= 0)
        table = np.zeros((n_classes, n_classes))
        np.add.at(table, (left[use], right[use]), 1)
        chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        kappas.append(1 - (disagreement * table).sum() / (disagreement * chance).sum())
        observed += (disagreement * table).sum()
        expected += (disagreement * chance).sum()
    found["cohen_mean"], found["cohen_pooled"] = np.mean(kappas), 1 - observed / expected
    found["conger"] = 1 - np.mean(within) / np.mean(margins_apart)
    return found | {f"dice {c}": both[c] / either[c] for c in range(n_classes)}


@pytest.mark.parametrize("times", [[1, 1, 1, 1], [2, 0, 1, 1], [3, 1, 0, 0], [0, 2, 2, 0]])
def test_a_rater_drawn_twice_weighs_twice_and_is_never_paired_with_its_copy(
    times: list[int],
) -> None:
    ratings = rated(12, seed=3)
    disagreement = disagreement_weights("quadratic", ratings.classes, ratings.rank)
    scheme = Scheme.of(ratings, disagreement)
    multiplicity = np.array(times, dtype=float)
    patterns = compress(ratings.codes, scheme.n_classes)
    features = item_features(scheme, rater_counts(patterns.codes, scheme.n_classes))
    clusters = clusters_of(ratings, patterns)
    rows = group_totals(scheme, clusters.weighted, features).sum(axis=0)[None]
    raters = RaterSums(scheme, patterns.codes)
    sums = patterns.totals(ratings.weight) @ raters.of_patterns()
    raters.resample(rows, sums[:, None], multiplicity[None])
    found = figures_of(Totals(scheme, rows), multiplicity[None])
    origin = np.repeat(np.arange(4), times)
    expected = brute_force(ratings.codes[:, origin], origin, disagreement)
    for name in ("percent", "fleiss", "krippendorff", "cohen_mean", "cohen_pooled", "conger"):
        assert found[name][0] == pytest.approx(expected[name]), name
    for c in range(4):
        assert found["dice"][0, c] == pytest.approx(expected[f"dice {c}"])


def test_raters_are_drawn_until_two_differ() -> None:
    times = draw_raters(np.random.default_rng(0), 2000, 3)
    assert (times.sum(axis=1) == 3).all()
    assert times.max() == 2
    shares = times.mean(axis=0) / 3
    assert shares == pytest.approx(np.full(3, 1 / 3), abs=0.02)


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    rows, names = clustered(25)
    back = from_matrix(rows[::-1], classes=CLASSES, cluster=names[::-1])
    first, again, reversed_, other = (
        agreement(ratings, weights="nominal", bootstrap=200, seed=seed).coefficients["gwet"]
        for ratings, seed in ((rated(), 1), (rated(), 1), (back, 1), (rated(), 2))
    )
    assert first == again
    assert (first.ci_low, first.ci_high) == pytest.approx((reversed_.ci_low, reversed_.ci_high))
    assert first.ci_low != other.ci_low


@pytest.mark.parametrize(
    ("n_clusters", "status"),
    [(4, "undefined: 4 clusters"), (5, "few clusters"), (19, "few clusters"), (20, "ok")],
)
def test_intervals_need_clusters(n_clusters: int, status: str) -> None:
    for replicates in (0, 100):
        found = agreement(rated(n_clusters), weights="nominal", bootstrap=replicates)
        fleiss = found.coefficients["fleiss"]
        assert (found.clusters, found.cluster_unit) == (n_clusters, "cluster")
        assert fleiss.ci_status == status
        assert (fleiss.ci_low is None) == (n_clusters < 5)
        assert fleiss.value is not None


def test_a_pair_needs_clusters_that_both_rated() -> None:
    rows, names = clustered(25, n_raters=3, missing=0)
    for row in rows[9:]:
        row[2] = None  # the third rater saw three patients only
    found = agreement(
        from_matrix(rows, classes=CLASSES, cluster=names), weights="nominal", bootstrap=100
    )
    assert [pair.kappa.ci_status for pair in found.pairs] == [
        "ok",
        "undefined: 3 clusters",
        "undefined: 3 clusters",
    ]


def test_the_interval_with_raters_is_labelled_and_wider() -> None:
    found = agreement(rated(40), weights="nominal", bootstrap=500).coefficients["fleiss"]
    other = found.extra["with_raters"]
    assert isinstance(other, dict)
    assert "and raters" in other["se_method"]
    assert other["ci_status"] == "few raters"
    assert other["ci_high"] - other["ci_low"] > found.ci_high - found.ci_low


def test_two_raters_cannot_be_resampled() -> None:
    found = agreement(rated(25, n_raters=2), weights="nominal", bootstrap=50)
    other = found.coefficients["fleiss"].extra["with_raters"]
    assert isinstance(other, dict)
    assert (other["ci_status"], other["ci_low"]) == ("undefined: 2 raters", None)


def test_replicates_without_a_value_are_counted_and_not_passed_over() -> None:
    rows = [["1", "1", "1"]] * 24 + [["2", "2", "1"]]  # one class only without the last
    names = [f"p{number:02}" for number in range(25)]
    found = agreement(
        from_matrix(rows, classes=["1", "2"], cluster=names), weights="nominal", bootstrap=400
    )
    kappa = found.coefficients["fleiss"]
    assert kappa.value is not None
    assert kappa.extra["replicates"] == 400
    undefined = kappa.extra["replicates_undefined"]
    assert isinstance(undefined, int)
    assert 90 < undefined < 200  # the last is absent from a third of the draws
    assert kappa.ci_status == f"undefined: no value in {undefined} of 400 replicates"
    assert kappa.ci_low is None
    assert found.coefficients["percent"].extra["replicates_undefined"] == 0


def test_over_independent_items_bootstrap_and_analytic_errors_agree() -> None:
    rows, _ = clustered(100, seed=5)
    ratings = from_matrix(rows, classes=CLASSES)
    analytic = agreement(ratings, weights="linear")
    drawn = agreement(ratings, weights="linear", bootstrap=2000)
    for name, statistic in analytic.coefficients.items():
        assert drawn.coefficients[name].se == pytest.approx(statistic.se, rel=0.12), name
    for label, entry in analytic.per_class.items():
        for kind, statistic in entry.items():
            expected = drawn.per_class[label][kind].se
            assert statistic.se == pytest.approx(expected, rel=0.15), (label, kind)
    assert drawn.f1.se == pytest.approx(analytic.f1.se, rel=0.12)
    for ours, theirs in zip(drawn.pairs, analytic.pairs, strict=True):
        assert ours.kappa.se == pytest.approx(theirs.kappa.se, rel=0.15)


def test_memory_is_bounded_without_changing_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a few clusters at a time the distribution stays the same."""
    ratings = rated(40)
    whole = agreement(ratings, weights="nominal", bootstrap=1000).coefficients["fleiss"]
    monkeypatch.setattr(resampling, "_CELLS", 1000)
    pieces = agreement(ratings, weights="nominal", bootstrap=1000).coefficients["fleiss"]
    assert pieces.se == pytest.approx(whole.se, rel=0.1)
    assert (pieces.ci_low, pieces.ci_high) == pytest.approx((whole.ci_low, whole.ci_high), abs=0.03)
    held = pieces.extra["with_raters"], whole.extra["with_raters"]
    assert held[0]["se"] == pytest.approx(held[1]["se"], rel=0.1)


def test_items_that_are_alike_are_drawn_as_one_row_and_weigh_as_many() -> None:
    ratings = from_matrix([["a", "b"]] * 6 + [["b", "b"]] * 4)
    clusters = clusters_of(ratings, compress(ratings.codes, 2))
    assert (sorted(clusters.times.tolist()), clusters.n_clusters) == ([4, 6], 10)
    areas = from_matrix([["a", "b"]] * 6 + [["b", "b"]] * 4, weight=[1, 1, 2, 2, 2, 3, 1, 1, 1, 1])
    clusters = clusters_of(areas, compress(areas.codes, 2))
    assert (sorted(clusters.times.tolist()), clusters.n_clusters) == ([1, 2, 3, 4], 10)


def test_each_replicate_draws_as_many_clusters_as_there_are() -> None:
    ratings = rated(8, missing=0)
    disagreement = disagreement_weights("nominal", ratings.classes, ratings.rank)
    scheme = Scheme.of(ratings, disagreement)
    clusters = clusters_of(ratings, compress(ratings.codes, scheme.n_classes))

    def keep(totals: Totals, multiplicity: NDArray[np.float64] | None) -> dict[str, Any]:
        return {"items": totals["items_rated"]}

    drawn = bootstrap(scheme, clusters, keep, 50, 0)
    sizes = totals_by_cluster(ratings, scheme)[:, scheme.slices["items_rated"].start]
    assert (sizes == 3).all()
    assert (drawn.figures["items"] == 24).all()
    assert (drawn.left_out["items"] == 21).all()
