"""What we wrote for QuPath is recognised when it comes back, and is never a person's read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]
PROTOCOL = ("--protocol", "prostate")


@pytest.fixture
def pushed(study: Study, write_export: Callable[..., Path], tmp_path: Path) -> Path:
    """A consensus of two readers, written for QuPath: one Benign region on S1."""
    for handle in ("P1", "P2"):
        path = write_export([feature(square(10.25, 10.5), "Benign")], handle)
        study("pull", path, "--annotator", handle, *PROTOCOL, "--accept-copy")
    assert study("consensus", "run", *PROTOCOL).status == 0
    assert study("push", "--run", 1, "--to", tmp_path / "qupath", "--json").json["pushed"] == 1
    return tmp_path / "qupath" / "S1.geojson"


def pull(study: Study, path: Path, document: dict[str, Any]) -> dict[str, Any]:
    back = path.parent.parent / "back" / "S1.geojson"
    back.parent.mkdir(exist_ok=True)
    back.write_text(json.dumps(document))
    result = study("pull", back, "--annotator", "P3", *PROTOCOL, "--json")
    assert result.status == 0, result.err
    read = result.json["reads"][0]
    assert isinstance(read, dict)
    return read


def test_what_comes_back_unchanged_is_ours(study: Study, pushed: Path) -> None:
    document = json.loads(pushed.read_text())
    own = feature(square(500, 500), "High grade")
    document["features"].append(own)
    read = pull(study, pushed, document)
    assert (read["objects"], read["ours"], read["added"], read["derived"]) == (2, 1, 1, 0)
    rows = study("history", "--slide", "S1", "--annotator", "P3", "--json").json["revisions"]
    assert [row["id"] for row in rows] == [own["id"]]


def test_unlocking_renaming_or_rounding_makes_it_nobodys_own(study: Study, pushed: Path) -> None:
    """QuPath keeps float32 vertices; a lock or a name says nothing about the tissue."""
    document = json.loads(pushed.read_text())
    document["features"][0]["properties"].update(isLocked=False, name="looked at")
    ring = document["features"][0]["geometry"]["coordinates"][0]
    document["features"][0]["geometry"]["coordinates"][0] = [[x + 0.004, y] for x, y in ring]
    assert pull(study, pushed, document)["ours"] == 1


@pytest.mark.parametrize("change", ["class", "outline"])
def test_what_a_person_changed_is_derived_and_counts_only_if_asked(
    study: Study, pushed: Path, change: str
) -> None:
    document = json.loads(pushed.read_text())
    if change == "class":
        document["features"][0]["properties"]["classification"]["name"] = "High grade"
    else:
        document["features"][0]["geometry"] = square(10, 10, 150)
    read = pull(study, pushed, document)
    assert (read["ours"], read["added"], read["derived"]) == (0, 1, 1)
    (row,) = study("history", "--slide", "S1", "--annotator", "P3", "--json").json["revisions"]
    assert row["derived_from"].startswith("run/1")
    left_out = study("agreement", *PROTOCOL, "--json").json
    asked_for = study("agreement", *PROTOCOL, "--include-derived", "--json").json
    dice = [d["per_class"]["Benign"]["dice"]["value"] for d in (left_out, asked_for)]
    assert dice[0] == pytest.approx(0.5)
    assert dice[1] == pytest.approx(0.5 if change == "class" else 6 / 8.5, abs=0.01)


def test_a_restored_state_pulls_as_unchanged(
    study: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """What restore writes, QuPath reads, and pulling it again changes nothing."""
    objects = [
        feature(
            square(10, 10),
            "Benign",
            properties={
                "name": "a",
                "isLocked": True,
                "measurements": [{"name": "Area", "value": 3.5}, {"name": "x", "value": None}],
                "metadata": {"ANNOTATION_DESCRIPTION": "doubtful"},
            },
        ),
        feature({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
        feature({**square(300, 10), "plane": {"c": -1, "z": 2, "t": 1}, "isEllipse": True}),
        feature({"type": "LineString", "coordinates": [[5, 5], [6, 7]]}, "Low grade: Positive"),
        feature(
            square(100, 300),
            "Benign",
            nucleusGeometry=square(120, 320, 20),
            properties={"objectType": "cell"},
        ),
    ]
    pulling = ("--annotator", "P1", *PROTOCOL, "--json")
    assert study("pull", write_export(objects), *pulling).json["reads"][0]["added"] == 5
    study("pull", write_export([]), *pulling, "--accept-removals")
    result = study("restore", 1, "--to", tmp_path / "before" / "S1.geojson", "--json")
    assert len(result.json["revisions"]) == 5
    read = study("pull", tmp_path / "before" / "S1.geojson", *pulling).json["reads"][0]
    assert (read["added"], read["rejected"]) == (5, 0)
    again = study("diff", 1, 3, "--json").json["revisions"]
    first = study("history", "--slide", "S1", "--annotator", "P1", "--as-of", "1", "--json")
    third = study("history", "--slide", "S1", "--annotator", "P1", "--as-of", "3", "--json")
    for before, after in zip(first.json["revisions"], third.json["revisions"], strict=True):
        assert {**before, "revision": 0, "pull": 0, "at": 0} == {
            **after, "revision": 0, "pull": 0, "at": 0
        }  # fmt: skip
    assert len(again) == 5


def test_diff_tells_added_changed_and_removed(
    study: Study, write_export: Callable[..., Path]
) -> None:
    one, two, three = (feature(square(x, 10), "Benign") for x in (10, 200, 400))
    pulling = ("--annotator", "P1", *PROTOCOL)
    study("pull", write_export([one, two]), *pulling)
    changed = {**two, "geometry": square(210, 10)}
    study("pull", write_export([changed, three]), *pulling)
    rows = study("diff", 1, 2, "--json").json["revisions"]
    assert {row["id"]: row["state"] for row in rows} == {
        one["id"]: "removed",
        two["id"]: "changed",
        three["id"]: "added",
    }
    back = study("diff", 2, 1, "--json").json["revisions"]
    assert {row["id"]: row["state"] for row in back} == {
        one["id"]: "added",
        two["id"]: "changed",
        three["id"]: "removed",
    }


def test_history_as_of_a_time_is_the_state_then(
    study: Study, write_export: Callable[..., Path]
) -> None:
    study("pull", write_export([feature(square(0, 0), "Benign")]), "--annotator", "P1", *PROTOCOL)
    asked = ("history", "--slide", "S1", "--annotator", "P1", "--json", "--as-of")
    assert study(*asked, "2001-01-01").json["revisions"] == []
    assert len(study(*asked, "2999-01-01T00:00:00+02:00").json["revisions"]) == 1
    assert "neither a pull's number nor a time" in study(*asked, "yesterday").err
    assert "no pull '7'" in study(*asked, "7").err


def test_logs_are_json_lines_that_name_no_password(
    study: Study, write_export: Callable[..., Path]
) -> None:
    path = write_export([feature(square(0, 0), "Benign")])
    result = study("pull", path, "--annotator", "P1", *PROTOCOL, "--log-json")
    lines = [json.loads(line) for line in result.err.splitlines()]
    assert {line["event"] for line in lines} >= {"pulled", "finished"}
    secret = "postgresql+psycopg://u:hunter2@127.0.0.1:1/x"
    failed = study("status", "--log-json", "--store", secret)
    assert failed.status == 1
    assert "hunter2" not in failed.err + failed.out
