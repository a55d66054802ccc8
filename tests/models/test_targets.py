"""Targets hold what they say, and nothing that contradicts itself comes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from annotation.errors import InputError
from models.targets import NO_SITE, Targets


def made(**changed: Any) -> Targets:
    about: dict[str, Any] = {
        "posterior": np.array([[0.75, 0.25], [0.0, 0.0], [0.0, 1.0]], dtype=np.float32),
        "hard": np.array([0, -1, 1]),
        "votes": np.array([[0, 1], [-1, -1], [1, -1]]),
        "weight": np.array([1.0, 0.0, 2.0], dtype=np.float32),
        "group": np.array([0, 0, 1]),
        "site": np.array([0, 0, NO_SITE]),
        "part": np.array(["train", "train", "test"]),
        "classes": ("low", "high"),
        "ordered": True,
        "raters": ("P1", "P2"),
        "names": ("A", "B", "C"),
        "groups": ("one", "two"),
        "sites": ("North",),
    }
    return Targets(**{**about, **changed})


def test_a_subset_keeps_every_column_in_step() -> None:
    targets = made()
    taken = targets.subset(np.array([2, 0]))
    assert taken.names == ("C", "A")
    np.testing.assert_array_equal(taken.posterior, targets.posterior[[2, 0]])
    np.testing.assert_array_equal(taken.votes, [[1, -1], [0, 1]])
    assert taken.part.tolist() == ["test", "train"]
    assert (taken.group_name(1), taken.site_name(NO_SITE), taken.site_name(0)) == (
        "two", "no site", "North",
    )  # fmt: skip
    np.testing.assert_array_equal(targets.indices_of("train"), [0, 1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {"posterior": t.posterior[:2]}, "posterior of shape"),
        (lambda t: {"votes": t.votes[:, :1]}, "votes of shape"),
        (lambda t: {"posterior": t.posterior * 2}, "item 'A' is no distribution"),
        (lambda t: {"posterior": t.posterior * np.float32(np.nan)}, "is no distribution"),
        (lambda t: {"hard": t.hard + 1}, "hard holds a class outside -1 to 1"),
        (lambda t: {"votes": t.votes - 1}, "votes holds a class outside -1 to 1"),
        (lambda t: {"weight": -t.weight}, "a weight is negative"),
        (lambda t: {"names": ("A",)}, "1 names for 3 items"),
    ],
)
def test_what_contradicts_itself_is_refused(
    change: Callable[[Targets], dict[str, Any]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        made(**change(made()))
