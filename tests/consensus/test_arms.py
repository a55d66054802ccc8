"""Two arms and their difference, on what both hold."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.agreement import agreement
from consensus.comparing.arms import Arm, compare, with_common_classes
from consensus.errors import RatingsError
from consensus.ratings import Ratings
from consensus.statistics.paired import paired_replicates
from consensus.statistics.resampling import times_drawn
from consensus.statistics.weights import disagreement_weights
from tests.consensus.builders import from_matrix

CLASSES = ["a", "b", "c", "background"]


def read(
    right: float, seed: int, *, n_items: int = 160, per_patient: int = 4, hard: bool = True
) -> list[list[str]]:
    """Three raters of the same items; half of the patients are hard for everyone in each arm."""
    truth = np.random.default_rng(7).integers(0, 4, n_items)
    rng = np.random.default_rng(seed)
    difficulty = np.where(np.arange(n_items) // per_patient % 2, 0.5, 1.0) if hard else 1.0
    keep = rng.random((n_items, 3)) < right * np.broadcast_to(difficulty, n_items)[:, None]
    said = np.where(keep, truth[:, None], rng.integers(0, 4, (n_items, 3)))
    return np.array(CLASSES)[said].tolist()


def patients(n_items: int, per_patient: int = 4) -> list[str]:
    return [f"p{item // per_patient}" for item in range(n_items)]


def arm(name: str, right: float, seed: int) -> Arm:
    rows = read(right, seed)
    return Arm(name, from_matrix(rows, classes=CLASSES, cluster=patients(len(rows))), "nominal")


def test_equal_arms_differ_by_exactly_nothing() -> None:
    """Drawn together, no replicate can tell them apart: 0, from 0 to 0."""
    one = arm("before", 0.7, 1)
    found = compare(one, Arm("after", one.ratings, "nominal"), bootstrap=200)
    every = [*found.coefficients.values()]
    every += [figure for figures in found.per_class.values() for figure in figures.values()]
    every.append(found.f1)
    for statistic in every:
        assert (statistic.value, statistic.ci_low, statistic.ci_high) == (0, 0, 0)


def test_the_difference_is_the_second_arm_less_the_first_and_has_its_sign() -> None:
    first, second = arm("before", 0.6, 1), arm("after", 0.9, 2)
    found = compare(first, second, bootstrap=500)
    kappas = [
        agreement(one.ratings, weights="nominal").coefficients["conger"].value
        for one in (first, second)
    ]
    conger = found.coefficients["conger"]
    assert conger.value == pytest.approx(kappas[1] - kappas[0])
    assert 0 < conger.ci_low < conger.value < conger.ci_high
    back = compare(second, first, bootstrap=500).coefficients["conger"]
    assert (back.value, back.ci_low, back.ci_high) == pytest.approx(
        (-conger.value, -conger.ci_high, -conger.ci_low)
    )


def test_each_replicate_is_the_figures_of_the_clusters_drawn_in_both_arms() -> None:
    """Against ratings in which the drawn patients really stand as often as they were drawn."""
    arms = arm("before", 0.6, 1), arm("after", 0.9, 2)
    names = sorted(set(patients(160)))
    weights = disagreement_weights("nominal", CLASSES, arms[0].ratings.rank)
    found = paired_replicates([(one.ratings, weights) for one in arms], names, 5, seed=11)
    rng = np.random.default_rng(11)
    ones = np.ones(len(names), dtype=np.int64)
    often = times_drawn(rng, np.full(5, len(names)), ones)
    for replicate in range(5):
        times = dict(zip(names, often[replicate].astype(int), strict=True))
        for side, (right, seed) in enumerate(((0.6, 1), (0.9, 2))):
            rows = read(right, seed)
            drawn = [
                row
                for row, patient in zip(rows, patients(len(rows)), strict=True)
                for _ in range(times[patient])
            ]
            expected = agreement(from_matrix(drawn, classes=CLASSES), weights="nominal")
            for name in ("conger", "fleiss", "gwet", "cohen_pooled"):
                value = found.figures[side][name][replicate]
                assert value == pytest.approx(expected.coefficients[name].value), name
            kappas = [expected.per_class[name]["kappa"].value for name in CLASSES]
            assert found.figures[side]["kappa"][replicate].tolist() == pytest.approx(kappas)


def test_items_alike_in_both_arms_are_drawn_as_what_they_are() -> None:
    """Without clusters items are drawn; counting like ones together changes no distribution."""
    rows = [read(0.6, 1, hard=False), read(0.9, 2, hard=False)]
    alone = [Arm("x", from_matrix(one, classes=CLASSES), "nominal") for one in rows]
    named = [
        Arm(
            "x", from_matrix(one, classes=CLASSES, cluster=[f"i{i}" for i in range(160)]), "nominal"
        )
        for one in rows
    ]
    left = compare(*alone, bootstrap=2000).coefficients["fleiss"]
    right = compare(*named, bootstrap=2000, seed=5).coefficients["fleiss"]
    assert left.value == pytest.approx(right.value)
    assert left.se == pytest.approx(right.se, rel=0.08)
    assert (left.ci_low, left.ci_high) == pytest.approx((right.ci_low, right.ci_high), abs=0.02)


@pytest.mark.parametrize("with_patients", [True, False])
def test_the_order_of_raters_and_rows_changes_no_limit(with_patients: bool) -> None:
    rng = np.random.default_rng(3)
    found = []
    for shuffled in (False, True):
        arms = []
        for name, right, seed in (("before", 0.6, 1), ("after", 0.9, 2)):
            rows, cluster = read(right, seed), patients(160)
            if not with_patients:
                cluster = [f"i{item}" for item in range(160)]
            raters, order = ["A", "B", "C"], np.arange(160)
            if shuffled:
                raters, order = ["C", "A", "B"], rng.permutation(160)
                rows = [[row[2], row[0], row[1]] for row in rows]
            ratings = from_matrix(
                [rows[item] for item in order],
                raters,
                CLASSES,
                cluster=[cluster[item] for item in order],
            )
            arms.append(Arm(name, ratings, "nominal"))
        found.append(compare(*arms, bootstrap=100, seed=4))
    for name, statistic in found[0].coefficients.items():
        other = found[1].coefficients[name]
        ours = statistic.value, statistic.se, statistic.ci_low, statistic.ci_high
        assert ours == pytest.approx((other.value, other.se, other.ci_low, other.ci_high)), name


def test_pairing_takes_what_patients_share_out_of_the_interval() -> None:
    """Patients are as hard in both arms, so that drawn apart the difference would vary more."""
    first, second = arm("before", 0.8, 1), arm("after", 0.9, 2)
    paired = compare(first, second, bootstrap=1000).coefficients["fleiss"].se
    apart = [
        agreement(one.ratings, weights="nominal", bootstrap=1000).coefficients["fleiss"].se
        for one in (first, second)
    ]
    assert paired < 0.9 * np.hypot(*apart)


def test_what_arms_do_not_share_is_counted_and_left_out() -> None:
    rows = read(0.7, 1)
    cluster = patients(len(rows))
    first = from_matrix(rows[:120], ["A", "B", "C"], CLASSES, cluster=cluster[:120])
    second = from_matrix(rows[40:], ["B", "C", "D"], CLASSES, cluster=cluster[40:])
    found = compare(Arm("before", first, "nominal"), Arm("after", second, "nominal"), bootstrap=50)
    document = found.to_dict()
    assert document["shared_clusters"] == 20
    assert [one["clusters_not_shared"] for one in document["arms"]] == [10, 10]
    assert [one["items"] for one in document["arms"]] == [80, 80]
    assert document["raters"] == {"both": ["B", "C"], "first_only": ["A"], "second_only": ["D"]}
    assert found.coefficients["fleiss"].value == 0  # the shared items are the same


def test_arms_that_share_nothing_or_are_of_two_kinds_are_refused() -> None:
    rows = read(0.7, 1)[:8]
    one = Arm("x", from_matrix(rows, cluster=["p"] * 8), "nominal")
    other = Arm("y", from_matrix(rows, cluster=["q"] * 8), "nominal")
    with pytest.raises(RatingsError, match="x and y share no cluster"):
        compare(one, other, bootstrap=10)
    items = Arm("z", from_matrix(rows), "nominal")
    with pytest.raises(RatingsError, match="cluster unit 'cluster' and z 'item'"):
        compare(one, items, bootstrap=10)


def test_few_shared_clusters_have_a_difference_and_no_interval() -> None:
    rows = read(0.7, 1)[:16]
    first = from_matrix(rows, classes=CLASSES, cluster=patients(16))
    second = from_matrix(rows[::-1], classes=CLASSES, cluster=patients(16))
    found = compare(Arm("x", first, "nominal"), Arm("y", second, "nominal"), bootstrap=50)
    fleiss = found.coefficients["fleiss"]
    assert (fleiss.status, fleiss.ci_status) == ("ok", "undefined: 4 clusters")


def test_a_figure_that_one_arm_lacks_has_no_difference() -> None:
    first = from_matrix([["a", "a"]] * 12, classes=["a", "b"])
    second = from_matrix([["a", "a"]] * 11 + [["b", "b"]], classes=["a", "b"])
    found = compare(Arm("x", first, "nominal"), Arm("y", second, "nominal"), bootstrap=10)
    assert found.coefficients["conger"].status == "undefined: x: single class"
    assert found.per_class["b"]["kappa"].status == "undefined: x: class not used"


def test_tables_without_declared_classes_are_given_those_of_both() -> None:
    """Numbers stay in their order, and the number of classes in AC1 is the same for both."""
    first = from_matrix([["1", "2"], ["2", "2"]])
    second = from_matrix([["2", "10"], ["10", "10"]])
    ours, theirs = with_common_classes(first, second)
    assert ours.classes == theirs.classes == ("1", "2", "10")
    assert ours.codes.tolist() == [[0, 1], [1, 1]]
    assert theirs.codes.tolist() == [[1, 2], [2, 2]]
    assert ours.rank.tolist() == [0, 1, 2]


def test_kappas_of_two_arms_are_about_the_same_even_if_one_lacks_joint_negatives() -> None:
    placed = [["a", "a"], ["b", "a"], ["b", "b"], ["a", "background"]] * 3
    with_negatives: Ratings = from_matrix([*placed, ["background", "background"]] * 1)
    without = from_matrix([*placed, ["a", "b"]])
    found = compare(Arm("x", with_negatives, "nominal"), Arm("y", without, "nominal"), bootstrap=10)
    assert [one["kappa_on"] for one in found.to_dict()["arms"]] == ["placed by both"] * 2
    assert any("x: the other arm has no joint negatives" in note for note in found.notes)
