"""Agreement under the versions of a protocol: side by side where classes are comparable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.reporting.numbers import number_text
from tests.conftest import PROTOCOL, CommandResult, feature, square
from tests.consensus.report_page import Page

Study = Callable[..., CommandResult]
Read = Callable[..., None]

VERSIONS = ("agreement", "--protocol", "prostate", "--versions", "--bootstrap", 100)

# Low grade has another name, and one class more stands in the scale.
RENAMED = PROTOCOL.replace('version = "1"', 'version = "2"').replace(
    'name = "Low grade"', 'name = "Grade 1"\naliases = ["Low grade"]'
)
SPLIT = RENAMED + '[[classes]]\nname = "Highest grade"\norder = 3\n'
MERGED = RENAMED.replace(
    'aliases = ["Low grade"]', 'aliases = ["Low grade", "High grade"]'
).replace('[[classes]]\nname = "High grade"\norder = 2\ncolor = "#C00000"\n', "")


@pytest.fixture
def read(study: Study, write_export: Callable[..., Path]) -> Read:
    """Each of three raters reads slides of several patients under a version.

    ``erring`` are the slides on which the third calls the second square another class.
    """
    for number in range(1, 11):  # more slides than some tests read
        size = ("--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", f"N{number}")
        assert study("slide", "add", f"N{number}", *size).status == 0

    def read(version: str, low: str, erring: range, slides: range = range(1, 7)) -> None:
        for shift, handle in enumerate(("P1", "P2", "P3")):
            for number in slides:
                wrong = handle == "P3" and number in erring
                drawn = [
                    feature(square(2 * shift, 0, 150), "Benign"),
                    feature(square(200, 2 * shift, 150), "High grade" if wrong else low),
                    feature(square(400, 2 * shift, 100 + 10 * number), "High grade"),
                ]
                export = write_export(drawn, f"{handle}-{version}", f"N{number}")
            told = ("--annotator", handle, "--protocol", f"prostate@{version}", "--accept-copy")
            result = study("pull", export.parent, *told)
            assert result.status == 0, result.err

    return read


def add(study: Study, folder: Path, text: str) -> None:
    (folder / "next.toml").write_text(text, encoding="utf-8")
    result = study("protocol", "add", folder / "next.toml")
    assert result.status == 0, result.err


def document(study: Study, *more: object) -> dict[str, Any]:
    result = study(*VERSIONS, *more, "--json")
    assert result.status == 0, result.err
    return dict(result.json)


def agreement_of(study: Study, version: str, *more: object) -> dict[str, Any]:
    command = ("agreement", "--protocol", f"prostate@{version}", "--bootstrap", 100, *more)
    result = study(*command, "--json")
    assert result.status == 0, result.err
    return dict(result.json)


def test_a_class_with_another_name_stands_beside_what_it_was(
    study: Study, read: Read, tmp_path: Path
) -> None:
    """Figures are those of each version asked alone; their difference is on all patients here."""
    read("1", "Low grade", range(1, 5))
    add(study, tmp_path, RENAMED)
    read("2", "Grade 1", range(1, 2))
    told = document(study)
    assert [(v["version"], v["slides"], len(v["raters"])) for v in told["versions"]] == [
        ("1", 6, 3),
        ("2", 6, 3),
    ]
    assert "class 'Low grade' is called 'Grade 1' now" in [
        change["text"] for change in told["versions"][1]["changes"]
    ]
    (pair,) = told["pairs"]
    assert (pair["status"], pair["weights"], pair["shared_clusters"]) == ("ok", "quadratic", 6)
    names = [(row["first"], row["second"]) for row in pair["classes"]]
    assert names == [
        ("Benign", "Benign"),
        ("Low grade", "Grade 1"),
        ("High grade", "High grade"),
        ("background", "background"),
    ]
    alone = agreement_of(study, "1"), agreement_of(study, "2")
    for row in pair["classes"]:
        kappa = row["figures"]["kappa"]
        for side, one in zip(("first", "second"), alone, strict=True):
            assert kappa[side] == one["per_class"][row[side]]["kappa"]
        assert kappa["difference"]["value"] == pytest.approx(
            kappa["second"]["value"] - kappa["first"]["value"]
        )
    conger = pair["coefficients"]["conger"]
    assert conger["first"] == alone[0]["coefficients"]["conger"]
    assert conger["second"]["value"] > conger["first"]["value"]
    shown = study(*VERSIONS).out
    (line,) = [line for line in shown.splitlines() if line.lstrip().startswith("Grade 1 ")]
    kappa = pair["classes"][1]["figures"]["kappa"]
    assert line.split()[2:5] == [
        f"{kappa['first']['value']:.3f}",
        f"{kappa['second']['value']:.3f}",
        f"{kappa['difference']['value']:+.3f}",
    ]
    assert "class 'Low grade' is called 'Grade 1' now" in shown


def test_two_arms_of_one_protocol_are_held_against_each_other_likewise(
    study: Study, read: Read, tmp_path: Path
) -> None:
    """`compare` finds the same pairs of classes and the same difference."""
    read("1", "Low grade", range(1, 5))
    add(study, tmp_path, RENAMED)
    read("2", "Grade 1", range(1, 2))
    arms = ("--protocol", "prostate@1", "--with", "prostate@2", "--bootstrap", 100)
    compared = study("compare", *arms, "--json").json
    (pair,) = document(study)["pairs"]
    by_class = {row["second"]: row["figures"]["kappa"] for row in pair["classes"]}
    difference = compared["difference"]["per_class"]
    assert list(difference) == list(by_class)
    for name, figures in difference.items():
        assert figures["kappa"] == by_class[name]["difference"]


def test_another_scale_is_told_and_weighed_nominally(
    study: Study, read: Read, tmp_path: Path
) -> None:
    """Classes that are the same stand side by side, the new one says why it does not."""
    read("1", "Low grade", range(1, 5))
    add(study, tmp_path, SPLIT)
    read("2", "Grade 1", range(1, 2))
    (pair,) = document(study)["pairs"]
    assert pair["weights"] == "nominal"
    assert pair["notes"] == [
        "nominal weights: the scales of the ordered classes differ",
        "what was of one class may be of another: the classes differ",
    ]
    assert pair["classes"][-1] == {
        "first": None,
        "second": "Highest grade",
        "status": "not comparable: version 1 has no such class",
        "figures": {},
    }
    assert pair["coefficients"] == {}
    nominal = agreement_of(study, "1", "--weights", "nominal")
    row = pair["classes"][1]
    assert row["figures"]["kappa"]["first"] == nominal["per_class"]["Low grade"]["kappa"]
    assert "not comparable: version 1 has no such class" in " ".join(study(*VERSIONS).out.split())


def test_merged_classes_are_not_compared(study: Study, read: Read, tmp_path: Path) -> None:
    """Neither under a new name nor where one of them kept its own."""
    read("1", "Low grade", range(1, 5))
    add(study, tmp_path, MERGED)
    read("2", "Grade 1", range(1, 2))
    (pair,) = document(study)["pairs"]
    assert [(row["first"], row["second"], row["status"]) for row in pair["classes"]] == [
        ("Benign", "Benign", "ok"),
        ("background", "background", "ok"),
        ("Low grade", None, "not comparable: version 2 reads it as 'Grade 1'"),
        ("High grade", None, "not comparable: version 2 reads it as 'Grade 1'"),
        (None, "Grade 1", "not comparable: version 1 read it as 'High grade', 'Low grade'"),
    ]
    kept = MERGED.replace('version = "2"', 'version = "3"').replace("Grade 1", "Low grade")
    add(study, tmp_path, kept.replace('["Low grade", "High grade"]', '["High grade"]'))
    read("3", "Low grade", range(1, 2))
    arms = ("--protocol", "prostate@1", "--with", "prostate@3", "--bootstrap", 100, "--json")
    compared = study("compare", *arms).json
    assert list(compared["difference"]["per_class"]) == ["Benign", "background"]
    assert "Low grade (version 1)" in compared["arms"][0]["classes"]


def test_without_a_common_patient_there_are_figures_and_no_difference(
    study: Study, read: Read, tmp_path: Path
) -> None:
    read("1", "Low grade", range(1, 5), range(1, 6))
    add(study, tmp_path, RENAMED)
    read("2", "Grade 1", range(7, 8), range(6, 11))
    (pair,) = document(study)["pairs"]
    assert pair["shared_clusters"] == 0
    for row in pair["classes"]:
        kappa = row["figures"]["kappa"]
        assert kappa["first"]["value"] is not None
        assert kappa["second"]["value"] is not None
        assert kappa["difference"]["status"] == "undefined: no patient was read under both"


def test_a_version_that_rates_something_else_or_that_nobody_read_says_so(
    study: Study, read: Read, tmp_path: Path
) -> None:
    read("1", "Low grade", range(1, 2))
    add(study, tmp_path, RENAMED)
    told = document(study)
    assert [v["status"] for v in told["versions"]] == ["ok", "undefined: no read counts"]
    assert told["pairs"] == []
    assert "no two versions with reads that count" in study(*VERSIONS).out
    objects = PROTOCOL.replace('version = "1"', 'version = "3"').replace("regions", "objects")
    add(study, tmp_path, objects)
    read("3", "Low grade", range(1, 2))
    (pair,) = document(study)["pairs"]
    assert (pair["first"], pair["second"]) == ("1", "3")
    expected = "not comparable: version 1 rates regions and version 3 objects"
    assert pair["status"] == expected
    assert expected in " ".join(study(*VERSIONS).out.split())


@pytest.mark.parametrize(
    "option",
    [("--weights", "nominal"), ("--reference", "P1"), ("--thresholds",), ("--tolerance-um", 3)],
)
def test_what_says_otherwise_than_the_versions_is_refused(
    study: Study, option: tuple[object, ...]
) -> None:
    refused = study(*VERSIONS, *option)
    assert (refused.status, refused.out) == (1, "")
    assert "--versions holds the versions of a protocol against each other" in refused.err


def test_the_report_holds_versions_against_each_other(
    study: Study, read: Read, tmp_path: Path
) -> None:
    """What each changed, and the figures of `agreement --versions`; of one version it says nothing."""
    read("1", "Low grade", range(1, 5))
    assert study("consensus", "run", "--protocol", "prostate@1").status == 0
    path = tmp_path / "r.html"
    assert study("report", "--to", path).status == 0
    assert "versions-caption" not in path.read_text(encoding="utf-8")

    add(study, tmp_path, SPLIT)
    assert study("report", "--to", path).status == 0
    page = Page(path.read_text(encoding="utf-8"))
    first, second = page.rows("versions")
    assert (first[0], first[1:4]) == ("1 (of this run)", ["3", "6", "the first version"])
    assert second[1:3] == ["0", "0"]
    assert "class 'Low grade' is called 'Grade 1' now" in second[3]
    assert "Reads count under one version only" in page.text

    read("2", "Grade 1", range(1, 2))
    assert study("consensus", "run", "--protocol", "prostate@2").status == 0
    assert study("report", "--to", path).status == 0
    page = Page(path.read_text(encoding="utf-8"))
    (pair,) = document(study, "--bootstrap", 1000)["pairs"]
    rows = page.rows("version-pair", number=1)
    assert [row[0] for row in rows] == [
        "Benign",
        "Grade 1 (was Low grade)",
        "High grade",
        "background",
        "Highest grade",
    ]
    assert rows[-1][1:] == ["not comparable: version 1 has no such class"]
    kappa = pair["classes"][1]["figures"]["kappa"]
    assert rows[1][1] == number_text(kappa["first"]["value"])
    assert rows[1][3] == number_text(kappa["second"]["value"])
    assert rows[1][5] == f"+{number_text(kappa['difference']['value'])}"
    assert rows[1][6].startswith(
        f"{number_text(kappa['difference']['ci_low'])} to {number_text(kappa['difference']['ci_high'])}"
    )
    assert "nominal weights: the scales of the ordered classes differ" in page.text
