"""How good each rater was: what the figures were taken over, and how far they vary with patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.fused import Fused
from consensus.fusing import rater_quality
from consensus.fusing.rater_quality import quality_basis, quality_document, staple_document
from consensus.fusion import fuse, majority
from consensus.ratings import Ratings
from consensus.statistics.clusters import clusters_of
from consensus.statistics.patterns import compress
from tests.consensus.builders import from_matrix
from tests.consensus.test_fusion import METHODS, TABLE, as_ratings, crowd


def patients(
    seed: int = 0, n_patients: int = 30, each: int = 6, n_raters: int = 4
) -> tuple[NDArray[np.int64], list[str]]:
    """Answers, and the patient of each item."""
    _, said = crowd(seed, n_items=n_patients * each, n_raters=n_raters, n_classes=3)
    return said, [f"p{index // each:03}" for index in range(len(said))]


def clustered(**options: Any) -> Ratings:
    said, names = patients(**options)
    return as_ratings(said, cluster=names)


@settings(deadline=None, max_examples=30)
@given(TABLE, st.sampled_from(METHODS))
def test_the_confusion_gives_the_figures_and_what_they_were_taken_over(rows, method: str) -> None:
    weight = [1.0 + index for index in range(len(rows))]
    ratings = from_matrix(rows, classes=["a", "b", "c"], weight=weight)
    document = quality_document(ratings, fuse(ratings, method), bootstrap=0)
    for rater, told in document.items():
        column = ratings.raters.index(rater)
        assert told["domain_weight"] == pytest.approx(
            ratings.weight[ratings.codes[:, column] >= 0].sum()
        )
        whole = sum(sum(row.values()) for row in told["confusion"].values())
        assert whole <= told["domain_weight"] * (1 + 1e-6)
        for name in ratings.classes:
            row = told["confusion"][name]
            others = [told["confusion"][other] for other in ratings.classes if other != name]
            assert told["sensitivity_over"][name] == pytest.approx(sum(row.values()))
            assert told["specificity_over"][name] == pytest.approx(
                sum(sum(other.values()) for other in others)
            )
            if told["sensitivity"][name] is not None:
                expected = row[name] / sum(row.values())
                assert told["sensitivity"][name] == pytest.approx(expected)
            if told["specificity"][name] is not None:
                false = sum(other[name] for other in others)
                expected = 1 - false / told["specificity_over"][name]
                assert told["specificity"][name] == pytest.approx(expected)


def test_a_replicate_is_the_quality_on_the_patients_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consensus is held: labels are those of all patients, weights those of the drawn ones.

    So it is where one patient is left out, for the acceleration of BCa.
    """
    said, names = patients(n_patients=8)
    ratings = as_ratings(said, cluster=names)
    fused = majority(ratings)
    often = np.array([2, 0, 1, 0, 3, 1, 0, 1])

    class Rigged:
        def multinomial(self, n: int, chances: Any, size: int) -> NDArray[np.int64]:
            assert (n, size) == (8, 1)
            return often[None]

    patterns = compress(ratings.codes, 3)
    clusters = clusters_of(ratings, patterns)
    truth = np.zeros((len(patterns.codes), 3))
    truth[patterns.of_item] = fused.truth
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Rigged())
    drawn = rater_quality._draw(clusters, truth, 1, 0)
    monkeypatch.undo()
    times = often[[int(name[1:]) for name in names]]
    kept = [name != "p003" for name in names]
    _check_replicate(ratings, fused, times, drawn.figures, 0)
    _check_replicate(ratings, fused, np.array(kept), drawn.left_out, 3)


def _check_replicate(
    ratings: Ratings, fused: Fused, times: NDArray[Any], figures: Any, row: int
) -> None:
    """Figures of a row are those of items taken so many times."""
    for rater in range(4):
        use = (ratings.codes[:, rater] >= 0) & (fused.labels >= 0)
        for k in range(3):
            is_k, says_k = fused.labels == k, ratings.codes[:, rater] == k
            hit = times[use & is_k & says_k].sum() / times[use & is_k].sum()
            false = times[use & ~is_k & says_k].sum() / times[use & ~is_k].sum()
            assert figures["sensitivity"][rater, row, k] == pytest.approx(hit)
            assert figures["specificity"][rater, row, k] == pytest.approx(1 - false)


@pytest.mark.parametrize("method", METHODS)
def test_intervals_are_as_wide_as_a_mean_over_patients_varies(method: str) -> None:
    """Patients of equal size and one answer each: the interval is that of a binomial share."""
    rng = np.random.default_rng(1)
    rows = [["a" if rng.random() < 0.7 else "b", "a", "a", "a"] for _ in range(200)]
    rows += [["b"] * 4] * 100
    ratings = from_matrix(rows, cluster=[f"p{index}" for index in range(300)])
    told = quality_document(ratings, fuse(ratings, method), bootstrap=4000)["R0"]
    p, interval = told["sensitivity"]["a"], told["sensitivity_ci"]["a"]
    error = np.sqrt(p * (1 - p) / 200)
    assert interval["se"] == pytest.approx(error, rel=0.08)
    assert interval["ci_low"] == pytest.approx(p - 1.96 * error, abs=0.02)
    assert interval["ci_high"] == pytest.approx(p + 1.96 * error, abs=0.02)
    assert interval["ci_status"] == "ok"
    assert interval["se_method"].endswith("the consensus held fixed")


def test_patients_vary_together_not_item_by_item() -> None:
    """A rater who errs on whole patients is known less well than one who errs anywhere."""
    rows, names = [], []
    for patient in range(40):
        for item in range(10):
            rows.append(["b" if patient % 4 == 0 else "a", "b" if item == 0 else "a", *"aaa"])
            names.append(f"p{patient}")
    rows += [["b"] * 5] * 40
    names += [f"p{patient}" for patient in range(40)]
    told = quality_document(
        from_matrix(rows, cluster=names), majority(from_matrix(rows, cluster=names))
    )
    errors = [told[rater]["sensitivity_ci"]["a"]["se"] for rater in ("R0", "R1")]
    assert errors[0] > 0.05
    assert errors[1] == pytest.approx(0, abs=1e-9)
    assert told["R1"]["sensitivity_ci"]["a"]["ci_status"] == "undefined: all replicates are alike"


@pytest.mark.parametrize(
    ("n_patients", "status"), [(4, "undefined: 4 clusters"), (12, "few clusters"), (30, "ok")]
)
def test_few_patients_give_a_remark_or_no_interval(n_patients: int, status: str) -> None:
    ratings = clustered(n_patients=n_patients, each=20)
    told = quality_document(ratings, majority(ratings))["R0"]
    assert {one["ci_status"] for one in told["sensitivity_ci"].values()} == {status}
    undefined = status.startswith("undefined")
    assert all((one["ci_low"] is None) == undefined for one in told["sensitivity_ci"].values())


def test_what_counts_are_the_patients_who_have_the_class() -> None:
    """Thirty patients, of whom three have class b: its sensitivity rests on three."""
    rows = [["a", "a", "a"], ["a", "a", "b"]] * 30 + [["b", "b", "a"]] * 3
    names = [f"p{index // 2}" for index in range(60)] + ["p0", "p1", "p2"]
    ratings = from_matrix(rows, cluster=names)
    told = quality_document(ratings, majority(ratings))["R2"]
    assert told["sensitivity_ci"]["b"]["ci_status"] == "undefined: 3 clusters"
    assert told["sensitivity_ci"]["a"]["ci_status"].startswith(
        "undefined: all replicates are alike"
    )
    assert told["specificity"]["a"] == 0
    assert told["specificity_ci"]["a"]["ci_status"] == "undefined: 3 clusters"


def test_intervals_depend_on_the_seed_and_on_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    said, names = patients()
    ratings = as_ratings(said, cluster=names)
    order, places = [2, 0, 3, 1], np.random.default_rng(3).permutation(len(said))
    turned = from_matrix(
        [[None if said[i, r] < 0 else f"c{said[i, r]}" for r in order] for i in places],
        [f"R{r}" for r in order],
        cluster=[names[i] for i in places],
    )

    def intervals(of: Ratings, seed: int = 7) -> Any:
        told = quality_document(of, majority(of), bootstrap=300, seed=seed)
        return {
            (rater, name): (one["ci_low"], one["ci_high"])
            for rater, of_rater in sorted(told.items())
            for name, one in of_rater["sensitivity_ci"].items()
        }

    first = intervals(ratings)
    same = {key: pytest.approx(value) for key, value in first.items()}
    assert intervals(turned) == same
    assert intervals(ratings, seed=8) != same
    monkeypatch.setattr(rater_quality, "_CELLS", 2000)  # in parts
    assert intervals(ratings) == same


def test_what_cannot_be_told_says_why() -> None:
    rows = [["a", "a", "a"]] * 12
    ratings = from_matrix(rows, classes=["a", "b"], cluster=[f"p{i}" for i in range(12)])
    told = quality_document(ratings, majority(ratings))["R0"]
    assert told["sensitivity"]["b"] is None
    assert told["sensitivity_ci"]["b"]["ci_status"] == (
        "undefined: the consensus holds nothing of the kind"
    )
    none = quality_document(ratings, majority(ratings), bootstrap=0)["R0"]
    assert none["sensitivity_ci"]["a"]["ci_status"] == "undefined: no replicates were asked for"
    with pytest.raises(InputError, match="-1 replicates"):
        quality_document(ratings, majority(ratings), bootstrap=-1)


def test_the_basis_says_what_raters_are_held_against_and_where() -> None:
    ratings = clustered()
    basis = quality_basis(ratings, majority(ratings), bootstrap=10, seed=0)
    assert (basis["against"], basis["domain"]) == ("labels that are not open", "all that was rated")
    assert quality_basis(ratings, fuse(ratings, "staple"), bootstrap=0, seed=0)["against"] == (
        "posterior"
    )
    objects = from_matrix([["x", "absent", "x"], ["x", "x", "x"]])
    basis = quality_basis(objects, majority(objects), bootstrap=0, seed=0)
    assert basis["domain"] == "what somebody marked"


def test_staple_of_every_class_tells_the_weight_of_each_figure() -> None:
    _, said = crowd(2, n_classes=3)
    weight = np.random.default_rng(0).random(len(said)) * 9
    ratings = as_ratings(said, weight=weight)
    told = staple_document(ratings)
    assert list(told) == list(ratings.classes)
    for found in told.values():
        for rater, one in found["raters"].items():
            rated = ratings.weight[ratings.codes[:, ratings.raters.index(rater)] >= 0].sum()
            assert one["sensitivity_over"] + one["specificity_over"] == pytest.approx(rated)
    unused = from_matrix([["a", "a", "b"], ["b", "b", "b"]] * 3, classes=["a", "b", "c"])
    assert staple_document(unused)["c"]["raters"]["R0"] == {
        "sensitivity": None,
        "sensitivity_over": 0,
        "specificity": 1,
        "specificity_over": 6,
    }
