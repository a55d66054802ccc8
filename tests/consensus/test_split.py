"""Splits: exact in number, by patient, the same again, and never changed for a patient."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from annotation.errors import InputError
from consensus.releases.split import DEFAULT_SHARES, Subject, allot, assign_parts, parse_shares


def patients(number: int, sites: int = 1) -> list[Subject]:
    return [Subject(f"patient:{i}", f"site {i % sites}") for i in range(number)]


def counts(parts: dict[str, str]) -> dict[str, int]:
    return dict(Counter(parts.values()))


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (4, {"train": 1, "val": 1, "calibration": 1, "test": 1}),
        (12, {"train": 7, "val": 2, "calibration": 1, "test": 2}),
        (20, {"train": 12, "val": 3, "calibration": 2, "test": 3}),
        (100, {"train": 60, "val": 15, "calibration": 10, "test": 15}),
        (1000, {"train": 600, "val": 150, "calibration": 100, "test": 150}),
    ],
)
def test_the_number_of_patients_in_each_part_is_the_largest_remainder(
    number: int, wanted: dict[str, int]
) -> None:
    split = assign_parts(patients(number, sites=3), DEFAULT_SHARES, 0, {})
    assert counts(split.parts) == wanted
    assert split.notes == []


def test_allotments_add_up_and_are_the_quota_rounded_up_or_down() -> None:
    random = Random(1)
    for _ in range(300):
        weights = [random.choice([0, 0.1, 1, 2.5, 7]) for _ in range(random.randint(1, 6))]
        total = random.randint(0, 40)
        allotted = allot(total, weights)
        if sum(weights) == 0:
            assert allotted == [0] * len(weights)
            continue
        assert sum(allotted) == total
        for count, weight in zip(allotted, weights, strict=True):
            assert abs(count - total * weight / sum(weights)) < 1


def test_every_site_is_split_like_the_whole() -> None:
    subjects = patients(60, sites=3)
    split = assign_parts(subjects, DEFAULT_SHARES, 5, {})
    for site in ("site 0", "site 1", "site 2"):
        of_site = counts({s.key: split.parts[s.key] for s in subjects if s.site == site})
        assert of_site == {"train": 12, "val": 3, "calibration": 2, "test": 3}


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_patients() -> None:
    subjects = patients(40, sites=2)
    shuffled = subjects.copy()
    Random(3).shuffle(shuffled)
    split = assign_parts(subjects, DEFAULT_SHARES, 7, {})
    assert assign_parts(shuffled, DEFAULT_SHARES, 7, {}).parts == split.parts
    other = assign_parts(subjects, DEFAULT_SHARES, 8, {})
    assert other.parts != split.parts
    assert counts(other.parts) == counts(split.parts)


def test_the_order_in_which_shares_are_written_does_not_matter() -> None:
    turned = dict(reversed(DEFAULT_SHARES.items()))
    subjects = patients(33)
    assert (
        assign_parts(subjects, turned, 1, {}).parts
        == assign_parts(subjects, DEFAULT_SHARES, 1, {}).parts
    )


def test_a_patient_keeps_the_part_and_new_ones_make_up_what_is_lacking() -> None:
    first = assign_parts(patients(10), DEFAULT_SHARES, 0, {})
    later = assign_parts(patients(40), DEFAULT_SHARES, 99, first.parts)
    assert {key: later.parts[key] for key in first.parts} == first.parts
    assert counts(later.parts) == {"train": 24, "val": 6, "calibration": 4, "test": 6}


def test_new_patients_go_where_too_few_are_when_an_earlier_split_was_lopsided() -> None:
    inherited = {f"patient:{i}": "train" for i in range(10)}
    split = assign_parts(patients(14), {"train": 0.5, "test": 0.5}, 0, inherited)
    assert counts(split.parts) == {"train": 10, "test": 4}


def test_no_named_part_stays_empty_while_there_are_enough_patients() -> None:
    shares = {"train": 0.97, "val": 0.01, "calibration": 0.01, "test": 0.01}
    split = assign_parts(patients(4), shares, 0, {})
    assert counts(split.parts) == dict.fromkeys(shares, 1)
    assert split.notes == []


def test_fewer_patients_than_parts_say_which_part_is_empty() -> None:
    split = assign_parts(patients(2), DEFAULT_SHARES, 0, {})
    assert sum(counts(split.parts).values()) == 2
    (note,) = split.notes
    assert "are empty: there are 2 patients for 4 parts" in note


def test_a_part_that_this_split_does_not_name_is_kept_and_told() -> None:
    split = assign_parts(patients(6), {"fit": 0.5, "test": 0.5}, 0, {"patient:0": "train"})
    assert split.parts["patient:0"] == "train"
    (note,) = split.notes
    assert "train" in note


def test_shares_are_read_in_the_order_in_which_they_stand() -> None:
    shares = parse_shares(" train=0.6, val=0.15,calibration=0.1 ,test = 0.15")
    assert list(shares.items()) == list(DEFAULT_SHARES.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train=0.6,val=0.3", "add up to 0.9, not 1"),
        ("train=0.5,train=0.5", "'train' stands twice"),
        ("train", "'train' in the split"),
        ("", "'' in the split"),
        ("train=1,", "'' in the split"),
        ("=1", "'=1' in the split"),
        ("train=nan,val=1", "'train=nan' in the split"),
        ("train=inf", "'train=inf' in the split"),
        ("train=1.2,val=-0.2", "'train=1.2' in the split"),
        ("train=1,val=0", "'val=0' in the split"),
        ("train=half,val=0.5", "'train=half' in the split"),
    ],
)
def test_a_split_that_cannot_be_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_shares(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
