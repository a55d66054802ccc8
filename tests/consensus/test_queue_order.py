"""What the queue is ordered by: entropy of the posterior, weight and severity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.fusion import dawid_skene, majority
from consensus.queue.queue_order import drawn_place, expected_gain, label_entropy, queue_posterior
from consensus.ratings import Ratings
from tests.benchmarks.reviewing import ORDERS, REGIMES, SHARES, Regime, accuracies, simulate


def ratings(answers: dict[str, str], classes: str = "ABC") -> Ratings:
    """Ratings from each rater's answers, a letter an item and a dot where none was given."""
    rows = [
        (str(item), rater, label)
        for rater, said in answers.items()
        for item, label in enumerate(said)
        if label != "."
    ]
    item, rater, label = zip(*rows, strict=True)
    return Ratings.from_table(item, rater, label, classes=list(classes))


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9))
def test_entropy_lies_between_0_and_1(shares: list[list[float]]) -> None:
    """Whatever the probabilities; relabelling the classes changes nothing."""
    posterior = np.array(shares) + 1e-9
    posterior /= posterior.sum(axis=1, keepdims=True)
    entropy = label_entropy(posterior)
    assert ((entropy >= 0) & (entropy <= 1)).all()
    assert entropy == pytest.approx(label_entropy(posterior[:, ::-1]))


def test_entropy_at_its_ends() -> None:
    """Certain is 0, nothing known is 1, half and half of four classes a half; one class is 0."""
    rows = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert label_entropy(rows) == pytest.approx([0, 1, 0.5])
    assert label_entropy(np.ones((2, 1))).tolist() == [0, 0]


def test_gain_is_the_product() -> None:
    """Nothing is gained where one of the three is nothing."""
    assert expected_gain(0.5, 300.0, 0.25) == 37.5
    assert expected_gain(0.0, 300.0, 1.0) == expected_gain(1.0, 300.0, 0.0) == 0


def test_equal_votes_of_unequal_raters_are_told_apart() -> None:
    """Two against two: the votes are as split on both items, the estimated raters are not."""
    good, poor = "AABBAABBAABBAABB", "ABABBABAABBABAAB"
    answers = {"p": good + "A.", "q": good + "AB", "r": poor + "BA", "s": poor[::-1] + "B."}
    rated = ratings(answers, "AB")
    votes = label_entropy(majority(rated).posterior)
    estimated = label_entropy(queue_posterior(rated))
    place = {item: rated.items.index(item) for item in ("16", "17")}
    assert votes[place["16"]] == votes[place["17"]] == pytest.approx(1)
    assert estimated[place["16"]] < estimated[place["17"]]


def test_few_items_leave_the_posterior_in_doubt() -> None:
    """Without the answers given before, expectation-maximisation is sure of a few items."""
    rated = ratings({"p": "AABBCA", "q": "AABBCB", "r": "AABCCC"})
    sure = label_entropy(dawid_skene(rated).posterior)
    doubtful = label_entropy(queue_posterior(rated))
    split = [rated.items.index(item) for item in ("3", "5")]
    assert (doubtful[split] > sure[split]).all()


def test_with_two_raters_votes_are_all_there_is() -> None:
    """Nobody can tell who errs: the entropy is that of the votes, for every split item the same."""
    rated = ratings({"p": "AABB", "q": "ABBC"})
    assert queue_posterior(rated).tolist() == majority(rated).posterior.tolist()


def test_a_random_place_depends_on_seed_and_number_alone() -> None:
    """The same for the same seed; another seed draws another order."""
    orders = [sorted(range(50), key=lambda n: drawn_place(n, seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(range(25), key=lambda n: drawn_place(n, 1)) == [n for n in orders[0] if n < 25]


@given(st.integers(0, 200), st.integers(3, 12))
def test_a_study_of_few_items_does_not_fall_into_one_class(seed: int, n_items: int) -> None:
    """What all raters agree on stays the most probable class, however little else there is."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(list("ABC"), n_items)
    answers = {
        rater: "".join(np.where(rng.random(n_items) < 0.7, truth, rng.choice(list("ABC"), n_items)))
        for rater in "pqrs"
    }
    rated = ratings(answers)
    posterior = queue_posterior(rated)
    agreed = (rated.codes == rated.codes[:, :1]).all(axis=1)
    assert posterior[agreed].argmax(axis=1).tolist() == rated.codes[agreed, 0].tolist()


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("areas", [False, True])
@pytest.mark.parametrize(("n_items", "n_studies"), [(60, 60), (1000, 12)])
def test_posterior_entropy_finds_more_errors_than_disagreement(
    regime: Regime, areas: bool, n_items: int, n_studies: int
) -> None:
    """Few items or many, errors correlated or not, by count or by area, at 10 and 20 % reviewed."""
    found = [accuracies(simulate(regime, s, n_items, areas=areas)) for s in range(n_studies)]
    entropy, disagreement, _, chance = (
        np.mean([study[name] for study in found], axis=0) for name in list(ORDERS)[:4]
    )
    assert SHARES[2:] == (0.1, 0.2)
    assert (entropy[2:] > disagreement[2:]).all()
    assert (disagreement[1:] > chance[1:]).all()


def test_a_large_region_does_not_vouch_for_itself() -> None:
    """The entropy of an item depends on the raters' other answers, not on its own area."""
    study = simulate("biased", 3, 200, areas=True)
    weight = study.ratings.weight.copy()
    split = int(study.severity.argmax())
    weight[split] *= 1000
    swollen = replace(study.ratings, weight=weight)
    assert (queue_posterior(swollen) == queue_posterior(study.ratings)).all()
    own = [label_entropy(dawid_skene(r).posterior)[split] for r in (study.ratings, swollen)]
    assert own[1] < own[0]
