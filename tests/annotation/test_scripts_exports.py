"""What the export script says about an export is what `pull` goes by."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from annotation.sources import open_sources
from tests.conftest import CommandResult, feature, square

EXPORTED, SAVED = "2026-05-04T08:00:00.123456Z", "2026-03-02T10:30:00Z"


@pytest.mark.parametrize(
    ("told", "at"),
    [
        ({"exported_at": EXPORTED, "saved_at": SAVED}, SAVED),
        ({"exported_at": EXPORTED}, EXPORTED),
        ({"exported_at": EXPORTED, "saved_at": None}, EXPORTED),
        ({"exported_at": EXPORTED, "saved_at": "yesterday"}, EXPORTED),
        ({"exported_at": EXPORTED, "saved_at": "2026-03-02T10:30:00"}, EXPORTED),  # of which zone?
        ({"saved_at": SAVED}, SAVED),
    ],
)
def test_an_export_is_of_when_its_image_was_saved(
    tmp_path: Path, told: dict[str, Any], at: str
) -> None:
    path = tmp_path / "S1.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [], "pathquorum": told}))
    (source,) = open_sources(path)
    assert source.modified == datetime.fromisoformat(at)


def test_pull_infers_the_read_date_from_when_the_image_was_saved(
    study: Callable[..., CommandResult], tmp_path: Path
) -> None:
    content = {
        "type": "FeatureCollection",
        "features": [feature(square(10, 10), "Benign")],
        "pathquorum": {"exported_at": EXPORTED, "saved_at": SAVED},
    }
    (tmp_path / "S1.geojson").write_text(json.dumps(content))
    arguments = ("--annotator", "P1", "--protocol", "prostate", "--json")
    pulled = study("pull", tmp_path / "S1.geojson", *arguments)
    assert pulled.status == 0, pulled.err
    (read,) = pulled.json["reads"]
    assert read["read_date"] == datetime(2026, 3, 2, tzinfo=UTC).date().isoformat()
    assert read["read_date_source"] == "inferred"
