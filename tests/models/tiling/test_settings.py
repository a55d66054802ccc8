"""Settings of tiles: what they refuse, and how a change is noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from annotation.errors import InputError
from models.errors import TileError
from models.tiling.settings import TileSettings, TissueSettings, check_settings

SETTINGS = TileSettings(mpp=0.5, size_px=256, overlap_px=32, edge="shift", tissue=TissueSettings(min_share=0.5))  # fmt: skip


def test_settings_survive_json_and_keep_their_hash() -> None:
    again = TileSettings.from_dict(json.loads(json.dumps(SETTINGS.to_dict())))
    assert again == SETTINGS
    assert again.sha256 == SETTINGS.sha256
    assert len(SETTINGS.sha256) == 64


def test_a_whole_number_is_the_same_setting_with_a_point_or_without() -> None:
    one = TileSettings(mpp=1, size_px=64, tissue=TissueSettings(mpp=8, min_share=1))
    assert (
        one.sha256 == TileSettings(mpp=1.0, size_px=64, tissue=TissueSettings(min_share=1.0)).sha256
    )


OTHERS: list[tuple[str, TileSettings]] = [
    ("mpp 0.5, not 0.25", replace(SETTINGS, mpp=0.25)),
    ("size_px 256, not 224", replace(SETTINGS, size_px=224)),
    ("overlap_px 32, not 0", replace(SETTINGS, overlap_px=0)),
    ("edge 'shift', not 'pad'", replace(SETTINGS, edge="pad")),
    ("tissue.min_share 0.5, not 0.25", replace(SETTINGS, tissue=TissueSettings())),
    ("tissue.model None, not 'a:b'", replace(SETTINGS, tissue=TissueSettings(min_share=0.5, model="a:b"))),
]  # fmt: skip


@pytest.mark.parametrize(("says", "other"), OTHERS)
def test_a_changed_setting_is_named_and_changes_the_hash(says: str, other: TileSettings) -> None:
    assert other.sha256 != SETTINGS.sha256
    with pytest.raises(TileError) as caught:
        check_settings("A12.h5", SETTINGS, other)
    assert f"'A12.h5' was made with {says}; remove it" in str(caught.value)
    check_settings("A12.h5", SETTINGS, TileSettings.from_dict(SETTINGS.to_dict()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mpp": 0.0}, "mpp 0.0 can't be used; choose 0.05 to 64"),
        ({"mpp": float("nan")}, "mpp nan can't be used"),
        ({"mpp": "0.5"}, "mpp '0.5' can't be used"),
        ({"size_px": 8}, "size_px 8 can't be used; choose 16 to 4096"),
        ({"size_px": 256.5}, "size_px 256.5 can't be used"),
        ({"overlap_px": 256}, "overlap_px 256 can't be used; choose 0 to 255"),
        ({"edge": "wrap"}, "edge 'wrap' is unknown; choose from pad, drop, shift"),
        ({"magnification": 40}, "unknown tile setting 'magnification'; there are mpp, size_px"),
        ({"tissue": {"min_share": 1.5}}, "tissue.min_share 1.5 can't be used; choose 0 to 1"),
        ({"tissue": {"otsu": True}}, "unknown tile setting 'tissue.otsu'"),
        ({"tissue": {"pens": "no"}}, "tissue.pens 'no' is neither true nor false"),
        ({"tissue": {"model": 3}}, "tissue.model 3 is no function; name it as module:function"),
        ({"tissue": 5}, "tissue is no table of settings"),
    ],
)
def test_what_cant_be_used_is_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        TileSettings.from_dict({**SETTINGS.to_dict(), **changes})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resolution_and_size_have_no_default() -> None:
    with pytest.raises(InputError, match="size_px"):
        TileSettings.from_dict({"mpp": 0.5})
