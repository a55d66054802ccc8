"""Disagreement between classes, by their order and beside it."""

from __future__ import annotations

import numpy as np
import pytest

from annotation.errors import InputError
from consensus.errors import UnorderedClassesError
from consensus.statistics.weights import disagreement_weights

NAN = float("nan")


def test_ordered_classes_differ_by_their_steps() -> None:
    linear = disagreement_weights("linear", "abc", np.array([0.0, 1, 2]))
    assert linear.tolist() == [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]
    quadratic = disagreement_weights("quadratic", "abc", np.array([0.0, 1, 2]))
    assert quadratic.tolist() == [[0, 0.25, 1], [0.25, 0, 0.25], [1, 0.25, 0]]


def test_only_the_order_of_ranks_counts() -> None:
    plain = disagreement_weights("linear", "abc", np.array([0.0, 1, 2]))
    assert (disagreement_weights("linear", "abc", np.array([-5.0, 7, 100])) == plain).all()


def test_between_an_ordered_class_and_another_disagreement_is_one() -> None:
    found = disagreement_weights("quadratic", "abcd", np.array([NAN, 2, NAN, 1]))
    assert found.tolist() == [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    found = disagreement_weights("linear", "abcd", np.array([NAN, 0, 1, 2]))
    assert found[0].tolist() == [0, 1, 1, 1]
    assert found[1].tolist() == [1, 0, 0.5, 1]


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_without_any_order_the_error_names_classes(weights: str) -> None:
    with pytest.raises(UnorderedClassesError, match="--classes"):
        disagreement_weights(weights, ["mild", "severe"], np.array([NAN, NAN]))


def test_custom_disagreements_are_scaled_and_checked() -> None:
    custom = np.array([[0.0, 2], [2, 0]])
    assert disagreement_weights(custom, "ab", np.zeros(2)).tolist() == [[0, 1], [1, 0]]
    for bad, message in [
        (np.eye(2), "0 on the diagonal"),
        (np.zeros((2, 2)), "positive numbers elsewhere"),
        (np.array([[0.0, 1], [2, 0]]), "symmetric"),
        (np.zeros((3, 3)), r"shape \(3, 3\)"),
    ]:
        with pytest.raises(InputError, match=message):
            disagreement_weights(bad, "ab", np.zeros(2))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'cubic' are unknown; use nominal, linear, quadratic"):
        disagreement_weights("cubic", "ab", np.zeros(2))
