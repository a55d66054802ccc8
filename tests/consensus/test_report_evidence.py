"""What the report says of plans, decisions and guidelines, and what it calls missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from consensus.queue.adjudication_queue import QueueEntry
from consensus.reporting.adjudicated import adjudicated_section
from consensus.reporting.crosswalk import Facts, crosswalk
from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]

NOTHING = Facts(**dict.fromkeys((field.name for field in fields(Facts)), False))


def entry(
    answer: str | None, path_class: str | None, *labels: str, weight: float = 1
) -> QueueEntry:
    return QueueEntry(
        dispute=1, region=1, run=1, slide="S", weight=weight, weight_unit="um2", severity=1.0,
        entropy=0.5, labels={f"rater {n}": label for n, label in enumerate(labels)},
        state="open" if answer is None else "decided", answer=answer, path_class=path_class,
        decided_by=None, reason=None, reopened_because=None, geometry=None,
    )  # fmt: skip


def test_decisions_are_held_against_what_most_raters_said() -> None:
    entries = [
        entry("class", "A", "A", "A", "B", weight=5),
        entry("class", "B", "A", "A", "B"),
        entry("class", "A", "A", "B"),
        entry("class", "C", "A", "A", "B"),
        entry("exclude", None, "A", "B"),
        entry(None, None, "A", "B"),
    ]
    section = adjudicated_section(entries, 100.0)
    assert (section.disputes, section.decided, section.rate) == (6, 5, "10.0 %")
    assert [(what.split(",")[0], count) for what, count, _ in section.rows] == [
        ("the class that most raters had said", "1"),
        ("another rater’s class", "1"),
        ("the class of some", "1"),
        ("a class that no rater had said (overturned)", "1"),
        ("no class: indeterminate or excluded", "1"),
    ]
    assert sum(int(count) for _, count, _ in section.rows) == section.decided


def test_of_no_dispute_the_rate_is_none() -> None:
    assert adjudicated_section([], 0.0).rate == "0.0 %"


def test_every_item_is_either_answered_or_called_missing() -> None:
    rows = crosswalk(NOTHING)
    assert [row.item for row in rows if row.guideline == "GRRAS"] == [str(n) for n in range(1, 16)]
    everything = Facts(**dict.fromkeys((field.name for field in fields(Facts)), True))
    for before, after in zip(rows, crosswalk(everything), strict=True):
        assert before.missing == before.answer.startswith("missing: ")
        assert len(before.answer) > len("missing: ") or not before.missing
        assert not after.missing or before.missing


@pytest.mark.parametrize("name", [field.name for field in fields(Facts) if field.name not in ("all_decided", "replicates", "credentials", "sites_known")])  # fmt: skip
def test_each_fact_answers_something(name: str) -> None:
    missing = sum(row.missing for row in crosswalk(NOTHING))
    assert sum(row.missing for row in crosswalk(replace(NOTHING, **{name: True}))) < missing


def test_the_page_says_what_is_missing_and_no_longer_once_it_is_there(
    study: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    for handle, label in (("P1", "Benign"), ("P2", "High grade")):
        export = write_export([feature(square(0, 0, 200), label)], handle)
        assert study("pull", export, "--annotator", handle, "--protocol", "prostate").status == 0
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    page = tmp_path / "r.html"
    assert study("report", "--run", 1, "--to", page).status == 0
    before = page.read_text(encoding="utf-8")
    assert "<dt>Ethics approval</dt><dd><strong>missing</strong></dd>" in before
    assert "No reads were planned" in before
    assert "Crosswalk to reporting guidelines" in before
    assert study("study", "describe", "--ethics", "EK <b>12</b>", "--intended-use", "x").status == 0
    assert study("report", "--run", 1, "--to", page).status == 0
    after = page.read_text(encoding="utf-8")
    assert "EK &lt;b&gt;12&lt;/b&gt;" in after
    assert after.count("missing: ") < before.count("missing: ")
    for anchor in ("study", "reads", "agreement", "consensus", "disputes", "made"):
        assert f'id="{anchor}"' in after
