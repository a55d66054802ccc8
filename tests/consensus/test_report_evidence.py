"""What the report says of plans, decisions and guidelines, and what it calls missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from consensus.queue.adjudication_queue import QueueEntry
from consensus.reporting.adjudicated import adjudicated_section
from consensus.reporting.crosswalk import Facts, crosswalk
from consensus.reporting.numbers import AreaScale
from tests.conftest import CommandResult, feature, square
from tests.consensus.report_page import Page

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


def test_what_the_report_cannot_know_is_never_answered() -> None:
    """Eligibility, de-identification, the choice of the reference and the tool belong elsewhere."""
    everything = Facts(**dict.fromkeys((field.name for field in fields(Facts)), True))
    missing = {(row.guideline, row.item) for row in crosswalk(everything) if row.missing}
    assert missing == {
        *(("GRRAS", item) for item in ("1", "7", "14")),
        *(("CLAIM", item) for item in ("8", "12", "15", "17")),
    }


def test_of_two_reasons_the_one_that_holds_is_named() -> None:
    (variability,) = [
        row for row in crosswalk(replace(NOTHING, replicates=True)) if row.item == "18"
    ]
    assert variability.answer == "missing: some disputes are open"
    (variability,) = [
        row for row in crosswalk(replace(NOTHING, all_decided=True)) if row.item == "18"
    ]
    assert variability.answer == "missing: nobody read a slide twice"


@pytest.fixture
def evidence(study: Study, write_export: Callable[..., Path], tmp_path: Path) -> Callable[[], Page]:
    """Writes the report of a run on two patients, of which one read does not count."""
    board = ("--credential", "board:ABP:1", "--valid-from", "2020-01-01")
    assert study("annotator", "add", "P4", "--role", "pathologist", *board).status == 0
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", "B")
    assert study("slide", "add", "S2", *size).status == 0
    for slide, last in (("S1", "High grade"), ("S2", "Benign")):
        for number, handle in enumerate(("P1", "P2", "P3", "P4")):
            label = last if handle == "P4" else "Benign"
            export = write_export([feature(square(number, 0, 200), label)], handle, slide)
            told = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
            assert study("pull", export, *told).status == 0
    corrected = write_export([feature(square(9, 0, 200), "Benign")], "P3-again", "S2")
    based = ("--annotator", "P2", "--replicate", 2, "--based-on", 7)
    assert study("pull", corrected, "--protocol", "prostate", *based).status == 0
    assert study("consensus", "run", "--protocol", "prostate").status == 0

    def page() -> Page:
        path = tmp_path / "r.html"
        result = study("report", "--to", path)
        assert result.status == 0, result.err
        return Page(path.read_text(encoding="utf-8"))

    return page


def test_confusion_tables_are_those_of_the_run(study: Study, evidence: Callable[[], Page]) -> None:
    quality = study("consensus", "show", 1, "--json").json["raters_quality"]
    amounts = [
        a for one in quality.values() for row in one["confusion"].values() for a in row.values()
    ]
    scale = AreaScale.of(amounts)
    classes = ("Benign", "Low grade", "High grade", "background")
    expected = []
    for rater, one in quality.items():
        expected.append([rater])
        for name in classes:
            amounts = [one["confusion"][name][said] for said in classes]
            expected.append([name, *(scale.text(a) if a else "0" for a in amounts)])
    rows = evidence().rows("confusion", number=1)
    assert rows == expected
    assert quality["P4"]["confusion"]["Benign"]["High grade"] > 0


def test_releases_stand_with_their_parts_once_there_are_any(
    study: Study, evidence: Callable[[], Page]
) -> None:
    assert "releases-caption" not in evidence().tables
    made = study("release", "create", "v1", "--run", 1, "--json").json
    ((name, _, parts, digest),) = evidence().rows("releases")
    assert (name, digest) == ("v1", made["manifest_sha256"])
    for part, held in made["split"].items():
        assert f"{part}: {held['patients']} / {held['slides']}" in parts


def test_a_credential_stands_as_it_was_corrected(
    study: Study, evidence: Callable[[], Page]
) -> None:
    def of_p4() -> str:
        return next(row[2] for row in evidence().rows("people") if row[0] == "P4")

    assert of_p4() == "board (from 2020-01-01)"
    told = ("annotator", "correct", "P4", "--credential", "board:ABP:1")
    assert study(*told, "--valid-to", "2030-12-31", "--reason", "renewed").status == 0
    assert "to 2030-12-31" in of_p4()


def test_reads_that_do_not_count_are_summed_by_reason(evidence: Callable[[], Page]) -> None:
    page = evidence()
    rows = page.rows("excluded")
    counts = [row for row in page.rows("reads") if any(cell.startswith("no:") for cell in row)]
    assert sum(int(number) for _, number in rows) == len(counts) > 0
    assert {reason for reason, _ in rows} == {
        cell.removeprefix("no:").strip() for row in counts for cell in row if cell.startswith("no:")
    }
