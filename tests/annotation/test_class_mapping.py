"""From the class that a person wrote to the class of the protocol."""

from __future__ import annotations

import pytest

from annotation.class_mapping import ClassMapper, ClassMapping, matches_pattern
from annotation.protocol import parse_protocol

MAPPER = ClassMapper(
    {
        "Tumor": "Tumor",
        "Tumour": "Tumor",
        "Tumor: Positive": "Tumor: Positive",
        "Stroma": "Stroma",
        "CD3 pos": "Lymphocyte",
        "Lymphocyte": "Lymphocyte",
        "Immune: T cell": "Lymphocyte",
        "Positive": "Positive",
        "pos": "Positive",
    },
    domain=("Region*", "ROI"),
    ignore=("Ignore*", "Other", "*: Negative", "[x]", "Q?"),
)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Tumor", "Tumor"),
        ("Tumour", "Tumor"),
        ("  Tumor ", "Tumor"),
        ("Tumor: Positive", "Tumor: Positive"),
        ("Tumor:Positive", "Tumor: Positive"),
        ("Immune: T cell", "Lymphocyte"),
        ("Tumour: Positive", "Tumor: Positive"),
        ("Tumour: pos", "Tumor: Positive"),
        ("Tumor: 3+", "Tumor"),
        ("Tumour: 3+", "Tumor"),
        ("Tumor: pos: 3+", "Tumor: Positive"),
        ("Immune: T cell: CD4", "Lymphocyte"),
        ("Stroma: Positive", "Stroma"),
        ("Tumor: Ignore*", "Tumor"),
    ],
)
def test_a_class_maps_as_a_whole_then_level_by_level_then_by_its_beginning(
    written: str, name: str
) -> None:
    assert MAPPER(written) == ClassMapping("class", name)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (None, "unclassified"),
        ("", "unclassified"),
        (" : ", "unclassified"),
        ("Region*", "domain"),
        ("Region", "domain"),
        ("Region 2", "domain"),
        ("Region 2: sure", "domain"),
        ("ROI", "domain"),
        ("ROI: sure", "domain"),
        ("Ignore*", "ignored"),
        ("Ignore", "ignored"),
        ("Ignored by me", "ignored"),
        ("Other", "ignored"),
        ("Other: Positive", "ignored"),
        ("Tumor: Negative", "ignored"),
        ("[x]", "ignored"),
        ("Q?", "ignored"),
        ("Q1", "ignored"),
        ("ROI 2", "unmapped"),
        ("x", "unmapped"),
        ("Q12", "unmapped"),
        ("My Region", "unmapped"),
        ("tumor", "unmapped"),
    ],
)
def test_what_is_no_class_is_not_rated_for_a_reason(written: str | None, kind: str) -> None:
    assert MAPPER(written).kind == kind
    assert MAPPER(written).name is None


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("tumor", "Tumor"), ("TUMOUR", "Tumor"), ("Strom", "Stroma"), ("cd3 posi", "Lymphocyte")],
)
def test_an_unmapped_class_comes_with_the_nearest_known_one(written: str, nearest: str) -> None:
    assert MAPPER(written) == ClassMapping("unmapped", nearest=nearest)


def test_a_class_like_none_of_the_protocols_still_names_one() -> None:
    assert MAPPER("%%%").nearest in {"Tumor", "Stroma", "Lymphocyte", "Positive", "Tumor: Positive"}


def test_a_class_name_of_a_megabyte_is_compared_quickly() -> None:
    """The search for the nearest class is quadratic in length; only the beginning enters it."""
    assert MAPPER("tumo" + "r" * 1_000_000).kind == "unmapped"


def test_each_class_is_mapped_once() -> None:
    assert MAPPER("Tumour: unheard of") is MAPPER("Tumour: unheard of")


@pytest.mark.parametrize(
    ("pattern", "path_class", "matches"),
    [
        ("Region*", "Region*", True),
        ("Region*", "Region", True),
        ("Region*", "region", False),
        ("Region*", "ARegion", False),
        ("*a**b*", "xxayybzz", True),
        ("a.c", "abc", False),
        ("a?c", "abc", True),
        ("a?c", "a?c", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("*", "two\nlines", True),
    ],
)
def test_a_pattern_matches_literally_and_by_wildcards(
    pattern: str, path_class: str, matches: bool
) -> None:
    assert matches_pattern(pattern, path_class) is matches


def test_a_protocol_maps_by_its_own_names() -> None:
    protocol = parse_protocol(
        "name='p'\nversion='1'\ntask='regions'\n[[classes]]\nname='T:1'\naliases=['Tumor 1']", "p"
    )
    assert protocol.map_class("T: 1") == ClassMapping("class", "T:1")
    assert protocol.map_class("Tumor 1: weak") == ClassMapping("class", "T:1")
    assert protocol.map_class("Region*").kind == "domain"
    assert protocol.map_class("Ignore*").kind == "ignored"
    assert protocol.map_class(None).kind == "unclassified"
