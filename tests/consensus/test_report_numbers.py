"""Numbers on the report's page: never better than they are, and with their unit."""

from __future__ import annotations

import pytest

from consensus.reporting.numbers import AreaScale, length_text, number_text, percent_text, shown

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00"),
        (0.9951, ">0.99"),
        (0.994, "0.99"),
        (0.0, "0.00"),
        (-0.001, "0.00"),
        (-0.25, f"{MINUS}0.25"),
        (-0.999, f"<{MINUS}0.99"),
        (-1.0, f"{MINUS}1.00"),
    ],
)
def test_a_coefficient_never_looks_perfect_when_it_is_not(value: float, text: str) -> None:
    """Two decimals; 1.00 stands for 1 alone."""
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.0001, "<0.1 %"), (0.123456, "12.3 %"), (0.9999, ">99.9 %"), (1, "100.0 %")],
)
def test_a_share_never_looks_like_all_or_nothing_when_it_is_not(share: float, text: str) -> None:
    """One decimal; 0.0 and 100.0 stand for none and all."""
    assert percent_text(share) == text


@pytest.mark.parametrize(
    ("areas", "unit", "texts"),
    [
        ([12.4, 99_000.0], "µm²", ["12", "99,000"]),
        ([400.0, 12_246_000.0], "mm²", ["<0.001", "12.246"]),
        ([600.0, 12_246_000.0], "mm²", ["0.001", "12.246"]),
        ([0.0, 1.5e12], "mm²", ["0", "1,500,000"]),
    ],
)
def test_areas_of_a_column_share_unit_and_decimals(
    areas: list[float], unit: str, texts: list[str]
) -> None:
    """One unit a column, chosen by the largest; what is there never looks like nothing."""
    scale = AreaScale.of(areas)
    assert scale.unit == unit
    assert [scale.text(area) for area in areas] == texts


def test_lengths_change_to_millimetres() -> None:
    """Microns below one millimetre, millimetres from there on."""
    assert [length_text(um) for um in (200, 999, 1000, 12_345)] == [
        "200 µm",
        "999 µm",
        "1 mm",
        "12.3 mm",
    ]


def statistic(**changed: object) -> dict[str, object]:
    """A statistic as in the agreement document."""
    defined = {"value": 0.5, "ci_low": 0.25, "ci_high": 0.75, "ci_status": "ok", "status": "ok"}
    return {**defined, **changed}


def test_an_interval_that_rests_on_little_is_marked() -> None:
    """Few clusters and few raters have their marks; a missing interval its reason."""
    raters = {"ci_low": 0.0, "ci_high": 0.9, "ci_status": "few raters"}
    one = shown(statistic(ci_status="few clusters", with_raters=raters))
    assert (one.text, one.interval, one.with_raters) == ("0.50", "0.25 to 0.75 †", "0.00 to 0.90 ‡")
    none = shown(statistic(ci_low=None, ci_high=None, ci_status="undefined: 3 clusters"))
    assert (none.text, none.interval) == ("0.50", "undefined: 3 clusters")
    assert shown(statistic(), as_percent=True).interval == "25.0 to 75.0 %"


def test_an_undefined_figure_is_its_reason() -> None:
    """Never NaN, never a dash: the reason in words, and no interval beside it."""
    status = "undefined: single class"
    one = shown(statistic(value=None, ci_low=None, ci_high=None, ci_status=status, status=status))
    assert (one.text, one.defined, one.interval) == (status, False, "")


def test_the_median_over_slides_stands_beside_the_pooled_figure() -> None:
    """Where some slides have the figure; none where no slide has."""
    assert shown(statistic(median_over_slides={"value": 0.6, "slides": 3})).median == "0.60"
    assert shown(statistic(median_over_slides={"value": None, "slides": 0})).median == ""
