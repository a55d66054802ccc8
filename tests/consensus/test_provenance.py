"""A slide's page, the way back from what was made, and what a correction changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import PushedObject
from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]


@pytest.fixture
def decided(study: Study, write_export: Callable[..., Path], tmp_path: Path) -> Study:
    """Two raters, one dispute, decided by L, released and pushed."""
    commands: list[tuple[object, ...]] = [
        ("study", "describe", "--ethics", "EK 12/2026", "--intended-use", "research"),
        ("slide", "describe", "S1", "--scanner", "P1000", "--stain", "HE"),
    ]
    for handle, label in (("P1", "Benign"), ("P2", "High grade")):
        export = [feature(square(0, 0, 200), label), feature(square(400, 0, 200), "Benign")]
        commands.append(
            ("pull", write_export(export, handle), "--annotator", handle, "--protocol", "prostate")
        )
    commands += [
        ("consensus", "run", "--protocol", "prostate"),
        ("adjudicate", "decide", 1, "--class", "Benign", "--by", "L", "--reason", "glands"),
        ("release", "create", "R1", "--run", 1),
        ("push", "--run", 1, "--to", tmp_path / "pushed"),
    ]
    for arguments in commands:
        result = study(*arguments)
        assert result.status == 0, (arguments, result.err)
    return study


def test_a_slides_page_holds_all_that_happened_to_it(decided: Study) -> None:
    page = decided("slide", "show", "S1", "--json").json
    assert page["slide"]["scanner"] == "P1000"
    assert page["study"] == {"ethics": "EK 12/2026", "intended_use": "research"}
    assert [read["annotator"] for read in page["reads"]] == ["P1", "P2"]
    assert all(read["pulls"][0]["source_sha256"] for read in page["reads"])
    (run,) = page["runs"]
    assert sum(run["items"].values()) == 3
    (dispute,) = page["disputes"]
    assert [(d["by"], d["class"], d["reason"]) for d in dispute["decisions"]] == [
        ("L", "Benign", "glands")
    ]
    (release,) = page["releases"]
    assert release["release"] == "R1"
    assert sum(push["objects"] for push in page["pushes"]) >= 1
    assert page["predictions"] == []
    text = decided("slide", "show", "S1").out
    assert "EK 12/2026" in text
    assert "fingerprint: missing" in text


def test_from_a_pushed_object_back_to_reads_and_decisions(decided: Study, store: Store) -> None:
    with store.reading() as session:
        rows = session.scalars(select(PushedObject)).all()
        by_left = {row.uuid: row for row in rows}
    seen = set()
    for uuid in by_left:
        found = decided("trace", uuid, "--json").json
        assert found["kind"] == "pushed object"
        assert {read["annotator"] for read in found["reads"]} == {"P1", "P2"}
        assert all(read["event"] is not None for read in found["reads"])
        assert found["releases"][0]["release"] == "R1"
        seen.add(len(found["decisions"]))
    assert 1 in seen  # the object over the dispute names its decision


@pytest.mark.parametrize(
    ("identifier", "kind", "reads"),
    [("R1", "release", 2), ("run:1", "run", 2), ("dispute:1", "dispute", 2), ("read:1", "read", 1)],
)
def test_what_was_made_is_traced_by_its_name(
    decided: Study, identifier: str, kind: str, reads: int
) -> None:
    found = decided("trace", identifier, "--json").json
    assert (found["kind"], len(found["reads"])) == (kind, reads)
    assert decided("trace", identifier).status == 0


def test_a_drawn_object_is_traced_to_its_revisions(decided: Study) -> None:
    history = decided("history", "--slide", "S1", "--annotator", "P1", "--json").json
    uuid = history["revisions"][0]["id"]
    found = decided("trace", uuid, "--json").json
    assert found["kind"] == "drawn object"
    assert found["revisions"][0]["state"] == "added"


@pytest.mark.parametrize(
    "identifier", ["nothing", "run:99", "read:0", "run:x", "00000000-0000-4000-8000-000000000000"]
)
def test_what_is_not_on_record_is_one_line(decided: Study, identifier: str) -> None:
    refused = decided("trace", identifier)
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "nothing on record" in refused.err


def test_a_correction_says_how_much_it_changed_and_is_no_second_rater(
    study: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """A pathologist keeps one outline, moves one, renames one, drops one and draws one."""
    draft: list[dict[str, Any]] = [
        feature(square(x, 0), "Benign", id=f"00000000-0000-4000-8000-00000000000{n}")
        for n, x in enumerate((0, 200, 400, 600), start=1)
    ]
    assert study("pull", write_export(draft, "P1"), "--annotator", "P1", "--protocol", "prostate").status == 0  # fmt: skip
    corrected = [
        draft[0],
        feature(square(210, 0), "Benign", id=draft[1]["id"]),
        feature(square(400, 0), "High grade", id=draft[2]["id"]),
        feature(square(0, 400), "Benign"),
    ]
    result = study(
        "pull", write_export(corrected, "P2"), "--annotator", "P2", "--protocol", "prostate",
        "--based-on", 1, "--json",
    )  # fmt: skip
    assert result.status == 0, result.err
    page = study("slide", "show", "S1", "--json").json
    changes = page["reads"][1]["based_on"]
    assert changes == {
        "based_on": 1, "kept": 1, "moved": 1, "reclassified": 1, "added": 1, "removed": 1,
        "changed_px2": pytest.approx(2 * 10 * 100),
    }  # fmt: skip
    third = write_export([feature(square(0, 0), "Benign")], "P3")
    assert study("pull", third, "--annotator", "P3", "--protocol", "prostate").status == 0
    counted = study("agreement", "--protocol", "prostate", "--json").json
    assert counted["raters"] == ["P2", "P3"]
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    assert study("report", "--run", 1, "--to", tmp_path / "r.html").status == 0
    page_text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "corrects read 1: 1 object kept, 1 with another outline" in page_text


def test_the_study_says_what_is_missing(study: Study) -> None:
    assert study("study", "show", "--json").json == {"ethics": None, "intended_use": None}
    refused = study("study", "describe")
    assert (refused.status, "nothing to say" in refused.err) == (1, True)
    assert study("study", "describe", "--ethics", "A").status == 0
    assert study("study", "describe", "--ethics", "B", "--json").json["ethics"] == "B"
