"""What a rater's vote weighs, and what a weighted majority makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotation.errors import InputError
from consensus.errors import NoVotesError
from consensus.fused import Fused
from consensus.fusing.voting import Votes, agreement_votes, equal_votes, role_votes
from consensus.fusion import FusionOptions, fuse, majority
from consensus.ratings import Ratings
from tests.consensus.builders import from_matrix
from tests.consensus.test_fusion import TABLE, as_ratings, crowd, names


def weighing(**weight: float) -> Votes:
    return Votes("role", weight)


def fused(rows: list[list[Any]], votes: Votes, **options: Any) -> Fused:
    return majority(from_matrix(rows, list(votes.weight)), votes=votes, **options)


def test_the_quorum_is_a_share_of_what_the_votes_weigh() -> None:
    rows = [["a", "b", "b"], ["b", "a", "a"], ["a", "b", None], [None, "b", "c"]]
    votes = weighing(S=3, P=1, T=1)
    assert names(fused(rows, votes)) == ["a", "b", "a", None]
    assert names(fused(rows, votes, quorum=0.6)) == [None, None, "a", None]
    assert fused(rows, votes).posterior[0] == pytest.approx([0.6, 0.4, 0])
    assert fused(rows, votes).parameters["vote_weights"] == {"S": 3, "P": 1, "T": 1}


def test_min_raters_counts_people_not_what_they_weigh() -> None:
    rows = [["a", None, None], ["a", "a", None], ["a", "b", "b"]]
    assert names(fused(rows, weighing(S=5, P=1, T=1), min_raters=2)) == [None, "a", "a"]


def test_votes_that_weigh_nothing_decide_nothing() -> None:
    rows = [["a", "b", "b"], [None, "b", "b"], ["a", "b", None]]
    found = fused(rows, weighing(S=1, P=0, T=0))
    assert names(found) == ["a", None, "a"]
    assert found.posterior[1] == pytest.approx([0.5, 0.5])


def test_a_tie_of_weights_is_open_however_the_sums_round() -> None:
    """0.1 + 0.2 is not 0.3 in floating point, and is a tie all the same."""
    for order in (["a", "a", "b"], ["b", "b", "a"]):
        assert names(fused([order], weighing(P=0.1, Q=0.2, S=0.3), quorum=0)) == [None]
        assert names(fused([order], weighing(P=0.1, Q=0.2, S=0.3))) == [None]


def test_unanimous_raters_pass_every_quorum() -> None:
    assert names(fused([["a", "a"]], weighing(P=0.1, Q=0.7), quorum=1 - 1e-12)) == ["a"]


@settings(deadline=None, max_examples=60)
@given(TABLE, st.randoms(use_true_random=False), st.lists(st.floats(0, 3), min_size=4, max_size=4))
def test_weighted_votes_never_depend_on_the_order_of_raters(rows, random, weights) -> None:
    raters = ["R0", "R1", "R2", "R3"]
    votes = weighing(**dict(zip(raters, weights, strict=True)))
    order = random.sample(range(4), 4)
    shuffled = [[row[column] for column in order] for row in rows]
    one = majority(from_matrix(rows, raters, classes=["a", "b", "c"]), votes=votes)
    two = majority(
        from_matrix(shuffled, [raters[i] for i in order], classes=["a", "b", "c"]), votes=votes
    )
    assert two.labels.tolist() == one.labels.tolist()
    assert (two.posterior == one.posterior).all()
    assert two.quality.confusion == pytest.approx(one.quality.confusion[order])


@settings(deadline=None, max_examples=40)
@given(TABLE, st.floats(0.01, 100))
def test_votes_that_weigh_the_same_are_a_plain_majority(rows, weight: float) -> None:
    ratings = from_matrix(rows, classes=["a", "b", "c"])
    plain = majority(ratings)
    same = majority(ratings, votes=Votes("role", dict.fromkeys(ratings.raters, weight)))
    assert same.labels.tolist() == plain.labels.tolist()
    assert majority(ratings, votes=equal_votes(ratings)).parameters == plain.parameters


def test_with_two_raters_both_votes_are_cohens_kappa() -> None:
    """scikit-learn is the oracle; a third rater is drawn from the others of the item."""
    _, said = crowd(3, n_raters=2, missing=0)
    votes = agreement_votes(as_ratings(said)).weight
    expected = cohen_kappa_score(said[:, 0], said[:, 1])
    assert list(votes.values()) == pytest.approx([expected, expected])


def test_the_agreement_of_a_rater_is_cohens_kappa_with_a_rater_drawn_from_the_others() -> None:
    """Three raters: a table in which each of the others stands once for half an item."""
    _, said = crowd(5, n_raters=3, missing=0)
    votes = agreement_votes(as_ratings(said)).weight
    for rater in range(3):
        others = [said[:, other] for other in range(3) if other != rater]
        expected = cohen_kappa_score(np.tile(said[:, rater], 2), np.concatenate(others))
        assert votes[f"R{rater}"] == pytest.approx(expected)


def test_who_contradicts_the_others_has_no_vote() -> None:
    rows = [["a", "a", "a", "b"], ["b", "b", "b", "a"]] * 4
    votes = agreement_votes(from_matrix(rows))
    assert votes.weight == pytest.approx({"R0": 1 / 3, "R1": 1 / 3, "R2": 1 / 3, "R3": 0})
    assert votes.weight["R3"] == 0
    with pytest.raises(NoVotesError, match="no rater agrees with the others beyond chance"):
        agreement_votes(from_matrix([["a", "b"], ["b", "a"]] * 3))


def test_a_vote_whose_agreement_is_undefined_counts_one_and_says_so() -> None:
    rows = [["a", "a", None], ["b", "b", None], ["a", "b", None], [None, None, "b"]]
    votes = agreement_votes(from_matrix(rows, "XYZ"))
    assert votes.weight["Z"] == 1
    assert len(votes.notes) == 1
    assert "agreement of Z with the others is undefined" in votes.notes[0]
    assert names(majority(from_matrix(rows, "XYZ"), votes=votes))[3] == "b"
    single = agreement_votes(from_matrix([["a", "a", "a"]] * 3, classes=["a", "b"]))
    assert set(single.weight.values()) == {1.0}


def test_without_joint_negatives_the_vote_is_kappas_limit_for_ever_more_of_them() -> None:
    """Objects: what nobody marked is no item. Kappa as it stands would call these raters useless."""
    rows = [["x", "x"]] * 8 + [["x", "absent"], ["absent", "x"]]
    votes = agreement_votes(from_matrix(rows)).weight
    assert votes == pytest.approx(dict.fromkeys(["R0", "R1"], 1 - 2 / 18))  # Dice 16 / 18
    many = from_matrix(rows + [["absent", "absent"]] * 200_000)
    assert agreement_votes(many).weight == pytest.approx(votes, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(TABLE, st.integers(1, 4), st.floats(0.1, 1e6))
def test_agreement_votes_depend_neither_on_order_nor_on_how_faces_are_cut(
    rows, parts: int, unit: float
) -> None:
    weight = [1.0 + index for index in range(len(rows))]

    def votes(rows: list[Any], weight: list[float], raters: list[str]) -> Any:
        ratings = from_matrix(rows, raters, classes=["a", "b", "c"], weight=weight)
        try:
            return agreement_votes(ratings).weight
        except NoVotesError:
            return dict.fromkeys(raters, 0.0)

    whole = votes(rows, weight, ["R0", "R1", "R2", "R3"])
    pieces = [row[::-1] for row in rows for _ in range(parts)]
    areas = [w * unit / parts for w in weight for _ in range(parts)]
    assert votes(pieces, areas, ["R3", "R2", "R1", "R0"]) == pytest.approx(whole, abs=1e-9)


def ratings_of(*raters: str) -> Ratings:
    return from_matrix([["a"] * len(raters)] * 3, list(raters))


def test_role_votes_follow_the_protocol() -> None:
    roles = {"P1": "pathologist", "S1": "senior", "T1": "trainee"}
    weights = {"pathologist": 1.0, "senior": 2.0, "trainee": 0.0}
    votes = role_votes(ratings_of("S1", "P1", "T1"), roles, weights, "p@1")
    assert votes.weight == {"S1": 2, "P1": 1, "T1": 0}


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (None, "protocol p@1 states no [consensus.role_weights]; add a version that does"),
        ({"senior": 2.0}, "no weight for the role 'trainee' of rater 'T1'; list it"),
        ({"senior": 2.0, "trainee": 0.0}, "gives the role of no rater a vote"),
    ],
)
def test_roles_without_weight_are_refused(weights: dict[str, float] | None, says: str) -> None:
    with pytest.raises(NoVotesError) as caught:
        role_votes(ratings_of("T1"), {"T1": "trainee"}, weights, "p@1")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("staple", {"votes": equal_votes}, "--votes belongs to --method majority"),
        ("majority", {"prior": 0.0}, "--prior belongs to --method dawid-skene; leave it out"),
        ("majority", {"starts": 2}, "--starts belongs to --method dawid-skene or staple"),
        ("staple", {"stopping": "likelihood"}, "--stopping belongs to --method dawid-skene"),
        ("dawid-skene", {"per_class": True}, "--per-class belongs to --method staple"),
    ],
)
def test_an_option_of_another_method_is_refused(method: str, options: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fuse(ratings_of("A", "B", "C"), method, options=FusionOptions(**options))
