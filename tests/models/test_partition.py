"""No patient, and no slide under two names, stands on two sides of a comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annotation.errors import InputError, RefusedError
from models.datasets.partition import (
    leave_site_out,
    parts_of,
    require_apart,
    require_two_classes,
)
from models.errors import TrainingError
from models.targets import Targets

PARTS = ("train", "val", "calibration", "test")


def targets(
    group: list[int], site: list[int], part: list[str], hard: list[int] | None = None
) -> Targets:
    n = len(group)
    labels = np.array(hard or [i % 2 for i in range(n)], dtype=np.int64)
    posterior = np.zeros((n, 2), dtype=np.float32)
    posterior[labels >= 0, labels[labels >= 0]] = 1
    return Targets(
        posterior=posterior,
        hard=labels,
        votes=labels[:, None],
        weight=(labels >= 0).astype(np.float32),
        group=np.array(group, dtype=np.int64),
        site=np.array(site, dtype=np.int64),
        part=np.array(part, dtype=np.str_),
        classes=("low", "high"),
        ordered=True,
        raters=("P1",),
        names=tuple(f"S{i}" for i in range(n)),
        groups=tuple(f"patient {i}" for i in range(8)),
        sites=("North", "South", "West"),
    )


def test_the_parts_of_a_release_are_taken_as_they_are() -> None:
    made = targets([0, 0, 1, 2], [0, 0, 1, 1], ["train", "train", "val", "test"])
    parts = parts_of(made)
    assert {name: indices.tolist() for name, indices in parts.parts.items()} == {
        "train": [0, 1], "val": [2], "test": [3],
    }  # fmt: skip
    with pytest.raises(InputError, match="no part 'calibration' to take; there are test, train"):
        parts["calibration"]


def test_a_patient_in_two_parts_is_refused_by_name() -> None:
    leaking = targets([0, 3, 3], [0, 0, 0], ["train", "train", "test"])
    with pytest.raises(RefusedError, match=r"patient 'patient 3' stands in (train|test) and in"):
        parts_of(leaking)
    ones_own = {"train": np.array([0, 1]), "held out": np.array([2])}
    with pytest.raises(RefusedError, match="'patient 3' stands in train and in held out"):
        require_apart(leaking, ones_own)
    require_apart(leaking, {"train": np.array([0]), "held out": np.array([1, 2])})


def test_a_slide_that_came_under_two_names_is_refused() -> None:
    twins = targets([0, 1, 2], [0, 0, 0], ["train", "test", "test"])
    require_apart(twins, parts_of(twins).parts, ["a", "b", None])
    with pytest.raises(RefusedError, match="the slide of item 'S1' stands in train and in test"):
        require_apart(twins, {"train": np.array([0]), "test": np.array([1, 2])}, ["a", "a", None])
    require_apart(twins, {"train": np.array([0]), "test": np.array([1, 2])}, ["a", None, None])


@pytest.mark.parametrize("index", [-1, 3])
def test_indices_that_name_no_item_are_refused(index: int) -> None:
    made = targets([0, 1, 2], [0, 0, 0], ["train", "val", "test"])
    with pytest.raises(InputError, match="part 'mine' names an item outside 0 to 2"):
        require_apart(made, {"mine": np.array([index])})


@given(st.data())
def test_a_site_is_held_out_with_all_who_were_seen_there(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 14))
    group = data.draw(st.lists(st.integers(0, 7), min_size=n, max_size=n))
    site = data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    of_group = data.draw(st.lists(st.sampled_from(PARTS), min_size=8, max_size=8))
    made = targets(group, site, [of_group[g] for g in group])
    held = made.site == 1
    trainable = (made.site != -1) & ~np.isin(made.group, made.group[held]) & (made.part != "test")
    if not (held.any() and trainable.any()):
        with pytest.raises(InputError, match="'South'"):
            leave_site_out(made, "South")
        return
    found = leave_site_out(made, "South")
    assert (made.site[found["test"]] == 1).all()
    assert (made.site == 1).sum() == len(found["test"])
    elsewhere = np.concatenate([found.parts[p] for p in found.parts if p != "test"])
    assert not np.isin(made.group[elsewhere], made.group[found["test"]]).any()
    assert not np.isin(made.site[elsewhere], [1, -1]).any()
    for part in set(found.parts) - {"test"}:
        assert (made.part[found[part]] == part).all()
    taken = len(elsewhere) + len(found["test"])
    told = sum(int(note.split()[0]) for note in found.notes)
    assert taken + told == n


def test_patients_seen_at_two_sites_are_told_of() -> None:
    made = targets([0, 0, 1, 2], [0, 1, 0, 0], ["train", "train", "train", "test"])
    found = leave_site_out(made, "South")
    assert {name: indices.tolist() for name, indices in found.parts.items()} == {
        "test": [1], "train": [2],
    }  # fmt: skip
    assert found.notes == (
        "1 items of patients who were also seen at South take no part",
        "1 items of the other sites' part test take no part",
    )


@pytest.mark.parametrize(
    ("site", "said"), [("East", "there is no site 'East'"), ("West", "'West' holds no item")]
)
def test_a_site_that_is_not_there_is_refused(site: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        leave_site_out(targets([0, 1], [0, 1], ["train", "train"]), site)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=6))
def test_one_class_only_is_refused(hard: list[int]) -> None:
    assume(len(set(hard) - {-1}) < 2)
    made = targets([0] * len(hard), [0] * len(hard), ["train"] * len(hard), hard)
    only = "only the class" if max(hard) >= 0 else "no class at all"
    with pytest.raises(TrainingError, match=only):
        require_two_classes(made, np.arange(len(hard)), "train")
    both = targets([0, 1], [0, 0], ["train", "train"], [0, 1])
    require_two_classes(both, np.arange(2), "train")
    one_counts = replace(both, weight=np.array([1, 0], dtype=np.float32))
    with pytest.raises(TrainingError, match="only the class 'low'"):
        require_two_classes(one_counts, np.arange(2), "train")
