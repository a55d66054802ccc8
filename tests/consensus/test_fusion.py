"""Majority, Dawid-Skene and STAPLE: what they answer, leave open and refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.errors import RatingsError, TooFewRatersError
from consensus.fused import Fused
from consensus.fusion import dawid_skene, fuse, majority, staple, staple_of_class
from consensus.ratings import Ratings
from tests.consensus.builders import from_matrix

METHODS = ("majority", "dawid-skene", "staple")


def names(fused: Fused) -> list[str | None]:
    return [None if label < 0 else fused.classes[label] for label in fused.labels]


def crowd(
    seed: int, n_items: int = 300, n_raters: int = 5, n_classes: int = 4, missing: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Truth and answers of raters who each have a confusion matrix of their own; -1 missing."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(n_classes, n_items, p=rng.dirichlet(np.full(n_classes, 3.0)))
    said = np.empty((n_items, n_raters), dtype=np.int64)
    for rater in range(n_raters):
        skill = 1 + 6 * rng.random()
        confusion = np.stack(
            [rng.dirichlet(np.full(n_classes, 0.5) + skill * one) for one in np.eye(n_classes)]
        )
        said[:, rater] = (confusion[truth].cumsum(axis=1) > rng.random((n_items, 1))).argmax(axis=1)
    return truth, np.where(rng.random(said.shape) < missing, -1, said)


def as_ratings(said: NDArray[np.int64], **options: Any) -> Ratings:
    rows = [[None if code < 0 else f"c{code}" for code in row] for row in said]
    return from_matrix(rows, **options)


def test_a_majority_needs_more_than_the_quorum() -> None:
    rows = [["a", "a", "b"], ["a", "b", None], ["a", "b", "c"], ["b", None, None], [None] * 3]
    fused = majority(from_matrix(rows))
    assert names(fused) == ["a", None, None, "b", None]
    assert fused.posterior.tolist()[:2] == [pytest.approx([2 / 3, 1 / 3, 0]), [0.5, 0.5, 0]]
    assert fused.posterior[4] == pytest.approx([1 / 3] * 3)
    assert names(majority(from_matrix(rows), quorum=0.7))[:2] == [None, None]
    assert names(majority(from_matrix(rows), quorum=2 / 3))[0] is None
    assert names(majority(from_matrix(rows), quorum=0))[:3] == ["a", None, None]
    assert names(majority(from_matrix(rows), min_raters=2)) == ["a", None, None, None, None]


def test_a_majority_tells_how_raters_answered_where_it_decided() -> None:
    rows = [["a", "a", "b"], ["b", "b", "b"], ["a", "a", "a"], ["a", "b", None]]
    fused = majority(from_matrix(rows, "XYZ", weight=[2.0, 1, 1, 5]))
    assert fused.sensitivity(2) == {"a": pytest.approx(1 / 3), "b": 1}
    assert fused.specificity(2) == {"a": 1, "b": pytest.approx(1 / 3)}
    assert fused.quality.rated.tolist() == [4, 4, 4]
    only = majority(from_matrix([["a", "a"]] * 3, classes=["a", "b"]))
    assert only.sensitivity(0) == {"a": 1, "b": None}
    assert only.specificity(0) == {"a": None, "b": 1}


@pytest.mark.parametrize("method", ["dawid-skene", "staple"])
def test_two_raters_are_refused_with_what_to_do_instead(method: str) -> None:
    pairs = [["a", "a", None], ["a", None, "b"], [None, "b", "b"]] * 5
    for rows in ([row[:2] for row in pairs], pairs):
        with pytest.raises(TooFewRatersError) as caught:
            fuse(from_matrix(rows), method)
        message = str(caught.value)
        assert "three raters who overlap on items" in message
        assert "majority" in message
        assert "adjudicate" in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the oracle's own, about pandas
@pytest.mark.parametrize("seed", range(10))
def test_dawid_skene_gives_the_labels_of_crowd_kit(seed: int) -> None:
    _, said = crowd(seed, n_raters=3 + seed % 4, n_classes=2 + seed % 3)
    item, rater = np.nonzero(said >= 0)
    table = {"task": item, "worker": rater, "label": said[item, rater]}
    theirs = DawidSkene(n_iter=100)
    labels = theirs.fit_predict(pd.DataFrame(table))
    fused = dawid_skene(Ratings.from_table(item, rater, said[item, rater]))
    items = [int(name) for name in fused.items]
    ours = np.array([int(fused.classes[label]) for label in fused.labels])
    assert (fused.labels >= 0).all()
    assert (ours == labels.loc[items].to_numpy()).all()
    assert fused.iterations == len(theirs.loss_history_)
    expected = theirs.probas_.loc[items, [int(name) for name in fused.classes]].to_numpy()
    assert fused.posterior == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the oracle's own, about pandas
@pytest.mark.parametrize("seed", range(100, 105))
def test_dawid_skene_is_crowd_kits_on_larger_tables_of_every_shape(seed: int) -> None:
    """Many raters who each saw few items, many classes, rare classes: labels, steps and figures."""
    rng = np.random.default_rng(seed)
    n_raters, n_classes = int(rng.integers(3, 25)), int(rng.integers(2, 9))
    _, said = crowd(seed, 1500, n_raters, n_classes, missing=float(rng.uniform(0, 0.8)))
    item, rater = np.nonzero(said >= 0)
    table = {"task": item, "worker": rater, "label": said[item, rater]}
    theirs = DawidSkene(n_iter=100)
    labels = theirs.fit_predict(pd.DataFrame(table))
    fused = dawid_skene(Ratings.from_table(item, rater, said[item, rater]))
    items, classes = [int(name) for name in fused.items], [int(name) for name in fused.classes]
    decided = fused.labels >= 0
    assert (np.array(classes)[fused.labels] == labels.loc[items].to_numpy())[decided].all()
    assert decided.mean() > 0.99
    assert fused.iterations == len(theirs.loss_history_)
    assert fused.posterior == pytest.approx(theirs.probas_.loc[items, classes].to_numpy(), abs=1e-6)
    assert theirs.errors_ is not None
    confusion = fused.quality.confusion / fused.quality.confusion.sum(axis=2, keepdims=True)
    for (worker, code), row in theirs.errors_.iterrows():
        place = fused.raters.index(str(worker)), slice(None), classes.index(int(code))
        assert confusion[place] == pytest.approx(row[classes].to_numpy(), abs=1e-5)


def test_a_fit_that_crowd_kit_ends_early_says_so_and_can_go_on() -> None:
    for seed in range(40):
        ratings = as_ratings(crowd(seed, n_raters=3)[1])
        early = dawid_skene(ratings)
        if not early.converged:
            break
    else:
        pytest.fail("no seed ends early")
    assert "while the likelihood still rose" in early.notes[0]
    late = dawid_skene(ratings, stopping="likelihood", tolerance=1e-9, max_iterations=5000)
    assert late.converged
    assert late.log_likelihood > early.log_likelihood


@pytest.mark.parametrize("method", ["dawid-skene", "staple"])
def test_estimation_beats_the_majority_where_raters_differ_in_skill(method: str) -> None:
    truth, said = crowd(4, n_items=2000, missing=0)
    expected = np.array([f"c{code}" for code in truth])

    def right(fused: Fused) -> float:
        return float((np.array(names(fused), dtype=object) == expected).mean())

    ratings = as_ratings(said)
    assert right(fuse(ratings, method)) > right(majority(ratings)) + 0.02


def test_a_rater_who_swaps_classes_is_understood() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    said = np.stack([truth] * 3 + [1 - truth], axis=1)
    said = np.where(rng.random(said.shape) < 0.1, 1 - said, said)
    fused = dawid_skene(as_ratings(said))
    assert fused.sensitivity(3)["c0"] < 0.25
    assert fused.sensitivity(0)["c0"] > 0.8
    assert fused.quality.confusion[3].sum() == pytest.approx(200)


def naive_staple(
    said: NDArray[np.int64], weight: NDArray[np.float64], iterations: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Binary STAPLE as Warfield 2004 writes it, item by item."""
    prior = (weight @ said.mean(axis=1)) / weight.sum()
    p, q = np.full(said.shape[1], 0.99999), np.full(said.shape[1], 0.99999)
    posterior = np.zeros(len(said))
    for _ in range(iterations):
        for i, row in enumerate(said):
            yes = prior * np.prod(np.where(row == 1, p, 1 - p))
            no = (1 - prior) * np.prod(np.where(row == 0, q, 1 - q))
            posterior[i] = yes / (yes + no)
        p = ((weight * posterior) @ said) / (weight @ posterior)
        q = ((weight * (1 - posterior)) @ (1 - said)) / (weight @ (1 - posterior))
    return posterior, p, q


def test_binary_staple_is_warfields_and_says_how_well_raters_tell() -> None:
    _, said = crowd(1, n_items=80, n_classes=2, missing=0)
    weight = np.random.default_rng(1).random(80) * 50
    fit = staple_of_class(as_ratings(said, weight=weight), "c1")
    posterior, p, q = naive_staple(said, weight, fit.iterations)
    assert fit.converged
    assert fit.posterior == pytest.approx(posterior, abs=1e-6)
    assert fit.sensitivity == pytest.approx(p, abs=1e-5)
    assert fit.specificity == pytest.approx(q, abs=1e-5)


def test_staple_holds_class_frequencies_at_the_votes() -> None:
    _, said = crowd(2, missing=0)
    ratings = as_ratings(said)
    fused = staple(ratings, tolerance=1e-12, max_iterations=3000)
    confusion = fused.quality.confusion
    probability = confusion / confusion.sum(axis=2, keepdims=True)
    votes = np.stack([(ratings.codes == c).mean(axis=1) for c in range(4)], axis=1).mean(axis=0)
    joint = np.log(votes) + sum(
        np.log(np.maximum(probability[rater][:, ratings.codes[:, rater]].T, 1e-12))
        for rater in range(5)
    )
    expected = np.exp(joint - joint.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert fused.posterior == pytest.approx(expected, abs=1e-4)
    assert fused.posterior.sum(axis=1) == pytest.approx(np.ones(300))


@pytest.mark.parametrize("method", METHODS)
def test_ties_are_open_and_never_depend_on_the_order_of_raters(method: str) -> None:
    rows = [["a", "a", "b", "b"], ["b", "b", "a", "a"], ["a", "b", "a", "b"], ["b", "a", "b", "a"]]
    rows += [["a", "b", "b", "a"], ["b", "a", "a", "b"]]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        columns = [[row[index] for index in order] for row in rows]
        fused = fuse(from_matrix(columns, [f"R{index}" for index in order]), method)
        assert names(fused) == [None] * 6
        assert fused.posterior == pytest.approx(np.full((6, 2), 0.5))


TABLE = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=4, max_size=4),
    min_size=3,
    max_size=12,
).filter(lambda rows: any(sum(cell is not None for cell in row) >= 3 for row in rows))


@settings(deadline=None, max_examples=60)
@given(TABLE, st.randoms(use_true_random=False), st.sampled_from(METHODS))
def test_the_order_of_raters_and_items_changes_no_label(rows, random, method: str) -> None:
    raters, places = ["R0", "R1", "R2", "R3"], list(range(len(rows)))
    one = fuse(from_matrix(rows, raters, classes=["a", "b", "c"]), method)
    order = random.sample(range(4), 4)
    random.shuffle(places)
    shuffled = [[rows[place][column] for column in order] for place in places]
    two = fuse(from_matrix(shuffled, [raters[i] for i in order], classes=["a", "b", "c"]), method)
    assert two.labels.tolist() == one.labels[places].tolist()
    assert two.posterior == pytest.approx(one.posterior[places])
    for index, rater in enumerate(order):
        assert two.sensitivity(index) == pytest.approx(one.sensitivity(rater))


@settings(deadline=None, max_examples=40)
@given(TABLE, st.sampled_from(METHODS), st.integers(1, 5), st.floats(0.1, 1e6))
def test_splitting_faces_and_the_unit_of_area_change_nothing(
    rows, method: str, parts: int, unit: float
) -> None:
    weight = [1.0 + index for index in range(len(rows))]
    whole = fuse(from_matrix(rows, classes=["a", "b", "c"], weight=weight), method)
    pieces = [row for row in rows for _ in range(parts)]
    areas = [w * unit / parts for w in weight for _ in range(parts)]
    split = fuse(from_matrix(pieces, classes=["a", "b", "c"], weight=areas), method)
    assert split.posterior[::parts] == pytest.approx(whole.posterior, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_unanimous_raters_are_believed(method: str) -> None:
    rows = [[name] * 3 for name in "aabbbcc"]
    fused = fuse(from_matrix(rows), method)
    assert names(fused) == list("aabbbcc")
    assert fused.posterior.max(axis=1) == pytest.approx(np.ones(7), abs=1e-6)
    for rater in range(3):
        assert fused.sensitivity(rater) == pytest.approx({"a": 1, "b": 1, "c": 1})
        assert fused.specificity(rater) == pytest.approx({"a": 1, "b": 1, "c": 1})


@pytest.mark.parametrize("method", METHODS)
def test_what_nobody_rated_stays_open_and_unused_classes_get_nothing(method: str) -> None:
    rows = [["a", "a", "b"], ["b", "b", "b"], ["a", "a", "a"], [None] * 3]
    fused = fuse(from_matrix(rows, classes=["a", "b", "c"]), method)
    assert names(fused)[3] is None
    assert fused.posterior[:3, 2].tolist() == [0, 0, 0]
    assert fused.posterior.sum(axis=1) == pytest.approx(np.ones(4))
    assert fused.sensitivity(0)["c"] is None


def test_items_with_too_few_raters_stay_open_in_every_method() -> None:
    rows = [["a", "a", "b"], ["b", "b", "b"], ["a", "a", "a"], ["a", None, None]]
    for method in METHODS:
        assert names(fuse(from_matrix(rows), method))[3] == "a"
        assert names(fuse(from_matrix(rows), method, min_raters=2))[3] is None


def test_a_prior_counts_items_and_draws_towards_itself() -> None:
    _, said = crowd(3, n_items=60)
    ratings = as_ratings(said)
    believer = dawid_skene(ratings, prior=1e6 * np.eye(4) + 1)
    plain = majority(ratings, quorum=0)
    decided = plain.labels >= 0
    assert (believer.labels[decided] == plain.labels[decided]).all()
    tiny = dawid_skene(ratings, prior=1e-9)
    assert tiny.posterior == pytest.approx(dawid_skene(ratings).posterior, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: fuse(r, "vote"), "method 'vote' is unknown; use one of majority"),
        (lambda r: majority(r, quorum=1), "quorum 1 is no share"),
        (lambda r: majority(r, min_raters=0), "min_raters 0 is below 1"),
        (lambda r: dawid_skene(r, prior=-1), "a prior counts items"),
        (lambda r: dawid_skene(r, prior=np.ones((3, 2))), "fits no 2 classes"),
        (lambda r: dawid_skene(r, tolerance=-1), "tolerance -1"),
        (lambda r: staple(r, max_iterations=0), "max_iterations 0"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(from_matrix([["a", "a", "b"]] * 3))


def test_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(RatingsError, match="no class 'x'; use one of a, b"):
        staple_of_class(from_matrix([["a", "a", "b"]] * 3), "x")
