"""`agreement` and `compare` from the command line: references, own reads, arms and weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.errors import TableFileError
from consensus.long_table import read_table
from consensus.weights_file import read_weights
from tests.conftest import PROTOCOL, CommandResult, feature, square
from tests.consensus.test_long_table import ROWS, write_table

Study = Callable[..., CommandResult]
UM2 = 0.25  # of a pixel at 0.5 um/px
SQUARE_UM2 = 10_000 * UM2
SLIDE_UM2 = 1000 * 800 * UM2


@pytest.fixture
def pull(study: Study, write_export: Callable[..., Path]) -> Callable[..., int]:
    """Pulls squares of these classes, side by side, for one annotator; gives the read."""

    def bring(handle: str, *classes: str, more: tuple[object, ...] = (), slide: str = "S1") -> int:
        drawn = [feature(square(150 * x, 0), name) for x, name in enumerate(classes)]
        path = write_export(drawn, handle, slide)
        accepted = ("--accept-copy", "--accept-removals", "--json")
        result = study(
            "pull", path, "--annotator", handle, "--protocol", "prostate", *accepted, *more
        )
        assert result.status == 0, result.err
        read = result.json["reads"][0]["read"]
        assert isinstance(read, int)
        return read

    return bring


def document(study: Study, *arguments: object) -> dict[str, Any]:
    result = study(*arguments, "--json")
    assert result.status == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def refused(study: Study, *arguments: object) -> str:
    result = study(*arguments, "--json")
    assert (result.status, result.out) == (1, ""), result.out
    assert len(result.err.splitlines()) == 1
    return result.err


def by_rater(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["rater"]: one for one in part["raters"]}


def test_raters_are_held_against_what_was_adjudicated(
    study: Study, pull: Callable[..., int]
) -> None:
    """Two agree on one square; the other is decided for the class that P1 gave it."""
    pull("P1", "Benign", "High grade")
    pull("P2", "Benign", "Low grade")
    document(study, "consensus", "run", "--protocol", "prostate", "--method", "majority")
    before = document(study, "agreement", "--reference", "adjudicated", "--bootstrap", "0")
    assert before["reference"]["states"]["disputed"] == {"items": 1, "weight": SQUARE_UM2}
    whole = sum(amount["weight"] for amount in before["reference"]["states"].values())
    assert whole == pytest.approx(SLIDE_UM2)
    split = by_rater(before["reference"])["P1"]
    assert split["without_reference"] == {"items": 1, "weight": SQUARE_UM2}
    assert split["kappa"]["value"] == 1
    decide = ("adjudicate", "decide", 1, "--class", "High grade", "--by", "L", "--reason", "seen")
    assert study(*decide).status == 0
    after = document(study, "agreement", "--reference", "adjudicated", "--bootstrap", "0")
    reference = after["reference"]
    assert (reference["kind"], reference["run"]) == ("consensus run", 1)
    assert reference["states"]["adjudicated"] == {"items": 1, "weight": SQUARE_UM2}
    found = by_rater(reference)
    assert found["P1"]["kappa"]["value"] == 1
    assert found["P1"]["weight"] == pytest.approx(SLIDE_UM2)
    assert found["P2"]["per_class"]["High grade"]["sensitivity"]["value"] == 0
    assert found["P2"]["per_class"]["Benign"]["sensitivity"]["value"] == 1
    told = found["P1"]["per_class"]["Low grade"]["sensitivity"]["status"]
    assert told == "undefined: class not used"
    shown = study("agreement", "--reference", "adjudicated", "--run", 1)
    assert "Against consensus run 1" in shown.out


CELLS = """
name = "cells"
version = "1"
task = "objects"
[[classes]]
name = "mitosis"
[[classes]]
name = "apoptosis"
"""


def test_objects_of_a_run_are_a_reference_with_misses_and_without_specificity(
    study: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """Of six objects P3 misses one and calls one otherwise; the majority of three holds."""
    (tmp_path / "cells.toml").write_text(CELLS, encoding="utf-8")
    assert study("protocol", "add", tmp_path / "cells.toml").status == 0
    truth = ["mitosis"] * 3 + ["apoptosis"] * 3
    said = {"P1": truth, "P2": truth, "P3": [None, *truth[1:5], "mitosis"]}
    for handle, names in said.items():
        drawn = [feature(square(150 * x, 0), name) for x, name in enumerate(names) if name]
        path = write_export(drawn, handle)
        arguments = ("--annotator", handle, "--protocol", "cells", "--accept-copy")
        assert study("pull", path, *arguments).status == 0
    made = ("consensus", "run", "--protocol", "cells", "--method", "majority")
    assert study(*made).status == 0
    found = document(study, "agreement", "--protocol", "cells", "--reference", "adjudicated")
    third = by_rater(found["reference"])["P3"]
    assert (third["items"], third["f1"]["value"]) == (6, pytest.approx(10 / 11))
    assert third["per_class"]["mitosis"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert third["per_class"]["apoptosis"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    for figures in third["per_class"].values():
        assert figures["specificity"]["status"] == "undefined: no joint negatives"
    assert third["kappa"]["value"] == pytest.approx(1 - (1 / 5) / (13 / 25))
    assert by_rater(found["others"])["P3"]["kappa"]["value"] == third["kappa"]["value"]


def test_a_reference_that_is_not_there_is_refused(study: Study, pull: Callable[..., int]) -> None:
    pull("P1", "Benign")
    pull("P2", "Low grade")
    no_run = refused(study, "agreement", "--reference", "adjudicated")
    assert "no consensus run under prostate@1 yet" in no_run
    document(study, "consensus", "run", "--protocol", "prostate", "--method", "majority")
    assert "no rater 'P9'" in refused(study, "agreement", "--reference", "P9")
    assert "no consensus run 7" in refused(
        study, "agreement", "--reference", "adjudicated", "--run", 7
    )
    told = refused(study, "agreement", "--reference", "adjudicated", "--as-of", 1)
    assert "leave --as-of" in told
    assert "--run belongs to" in refused(study, "agreement", "--reference", "P1", "--run", 1)


def test_reads_of_one_annotator_are_compared_on_one_overlay(
    study: Study, pull: Callable[..., int]
) -> None:
    """Replicates are no raters; within P1 the changed square is the disagreement."""
    pull("P1", "Benign", "Low grade")
    pull("P1", "Benign", "High grade", more=("--replicate", 2))
    pull("P2", "Benign", "Low grade")
    found = document(study, "agreement", "--weights", "nominal")
    assert found["raters"] == ["P1", "P2"]
    assert found["pairs"][0]["kappa"]["value"] == 1
    (own,) = found["intra_rater"]["raters"]
    assert (own["rater"], own["reads"]) == ("P1", ["replicate 1", "replicate 2"])
    assert own["weight"] == pytest.approx(SLIDE_UM2)
    share = SQUARE_UM2 / SLIDE_UM2
    rest = 1 - 2 * share
    expected = 1 - share / (1 - (share**2 + rest**2))
    assert own["kappa"]["value"] == pytest.approx(expected)
    assert own["per_class"]["Benign"]["kappa"]["value"] == 1
    assert own["per_class"]["Low grade"]["dice"]["value"] == 0
    assert own["kappa"]["ci_status"] == "undefined: 1 clusters"
    assert "Each against their own reads" in study("agreement").out


def test_a_read_made_from_another_one_is_no_second_reading(
    study: Study, pull: Callable[..., int]
) -> None:
    """Not of one's own read, nor of the same draft: both are told with their reason."""
    draft = pull("P3", "Benign")
    first = pull("P1", "Benign", more=("--based-on", draft))
    pull("P1", "Low grade", more=("--replicate", 2, "--based-on", first))
    pull("P1", "High grade", more=("--replicate", 3, "--based-on", draft))
    pull("P2", "Low grade")
    found = document(study, "agreement")["intra_rater"]
    assert found["raters"] == []
    assert [read["reason"] for read in found["excluded"]] == [
        "replicate 2 goes back to the same read as 1",
        "replicate 3 goes back to the same read as 1",
    ]
    assert "No second reading: read" in study("agreement").out


def test_two_replicates_are_two_arms(study: Study, pull: Callable[..., int]) -> None:
    """As reading without and with a suggestion: agreement rises where both follow it."""
    pull("P1", "Benign", "Low grade")
    pull("P2", "Benign", "High grade")
    for handle in ("P1", "P2"):
        pull(handle, "Benign", "Low grade", more=("--replicate", 2))
    arguments = ("compare", "--with-replicate", 2, "--bootstrap", 20)
    found = document(study, *arguments)
    assert [one["name"] for one in found["arms"]] == [
        "prostate@1 replicate 1",
        "prostate@1 replicate 2",
    ]
    difference = found["difference"]["coefficients"]["conger"]
    assert difference["value"] == pytest.approx(
        1 - found["arms"][0]["coefficients"]["conger"]["value"]
    )
    assert difference["ci_status"] == "undefined: 1 clusters"
    assert found["shared_clusters"] == 1
    assert "less prostate@1 replicate 1" in study(*arguments).out
    assert "both arms are the same reads" in refused(study, "compare", "--protocol", "prostate")


def test_two_versions_of_a_protocol_are_two_arms_and_other_classes_are_told(
    study: Study, pull: Callable[..., int], tmp_path: Path
) -> None:
    pull("P1", "Benign", "Low grade")
    pull("P2", "Benign", "High grade")
    second = PROTOCOL.replace('version = "1"', 'version = "2"').replace("Low grade", "Lowest grade")
    (tmp_path / "2.toml").write_text(second, encoding="utf-8")
    assert study("protocol", "add", tmp_path / "2.toml").status == 0
    pull("P1", "Benign", "High grade", more=("--protocol", "prostate@2"))
    pull("P2", "Benign", "High grade", more=("--protocol", "prostate@2"))
    found = document(study, "compare", "--protocol", "prostate@1", "--with", "prostate@2")
    assert "only one arm has Low grade, Lowest grade" in found["notes"][0]
    assert set(found["difference"]["per_class"]) == {"Benign", "High grade", "background"}
    assert found["difference"]["coefficients"]["conger"]["value"] > 0


def test_replicates_in_a_table_are_compared_within_their_rater(
    pathquorum: Study, tmp_path: Path
) -> None:
    """The first readings are compared among raters; the second count within A only."""
    table = write_table(tmp_path / "t.csv", ROWS, "replicate")
    found = document(pathquorum, "agreement", "--table", table)
    assert found["raters"] == ["A", "B"]
    assert found["pairs"][0]["kappa"]["value"] == 1
    (own,) = found["intra_rater"]["raters"]
    assert (own["rater"], own["items"]) == ("A", 8)
    assert own["kappa"]["value"] == pytest.approx(0.5)
    assert any("8 ratings of replicate 2 or later" in note for note in found["notes"])
    assert read_table(table).items == tuple(map(str, range(8)))


WEIGHTS = "class,c,a,b\nc,0,4,2\na,4,0,2\nb,2,2,0\n"


def test_weights_of_ones_own_come_from_a_square_table(pathquorum: Study, tmp_path: Path) -> None:
    """By name, not by place, on any scale; a, b, c in steps of 2 are linear weights."""
    rows = [(i, r, "abc"[(i * k + i // 3) % 3]) for i in range(12) for k, r in ((1, "A"), (2, "B"))]
    table = write_table(tmp_path / "t.csv", rows)
    (tmp_path / "w.csv").write_text(WEIGHTS)
    own = document(pathquorum, "agreement", "--table", table, "--weights-file", tmp_path / "w.csv")
    linear = document(
        pathquorum, "agreement", "--table", table, "--weights", "linear", "--classes", "a,b,c"
    )
    assert own["weights"] == "custom"
    assert own["classes"] == ["c", "a", "b"]
    for name, statistic in linear["coefficients"].items():
        assert own["coefficients"][name]["value"] == pytest.approx(statistic["value"]), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name two or more different classes"),
        ("x,a,a\na,0,1\na,1,0\n", "two or more different classes"),
        ("x,a,b\nb,0,1\na,1,0\n", "in its first column too"),
        ("x,a,b\na,0,1\nb,1\n", "has 1 numbers for 'b'; give 2"),
        ("x,a,b\na,1,0\nb,0,1\n", "has '1' between 'a' and 'a'; give 0: weights are disagreem"),
        ("x,a,b\na,0,zero\nb,1,0\n", "has 'zero' between 'a' and 'b'; give a number above 0"),
        ("x,a,b\na,0,nan\nb,1,0\n", "has 'nan' between 'a' and 'b'"),
        ("x,a,b\na,0,1\nb,2,0\n", "sets 'a' and 'b' apart by 1 and by 2; make it symmetric"),
    ],
)
def test_a_table_that_is_no_weights_is_refused_by_its_cell(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(TableFileError, match=message):
        read_weights(tmp_path / "w.csv")


def test_weights_name_every_class_and_no_other(
    pathquorum: Study, study: Study, pull: Callable[..., int], tmp_path: Path
) -> None:
    pull("P1", "Benign")
    pull("P2", "Low grade")
    (tmp_path / "w.csv").write_text(WEIGHTS)
    told = refused(study, "agreement", "--weights-file", tmp_path / "w.csv")
    assert "lacks class 'Benign'" in told
    rows = [(1, "A", "a"), (1, "B", "b")]
    table = write_table(tmp_path / "t.csv", rows)
    arguments = ("agreement", "--table", table, "--weights-file", tmp_path / "w.csv")
    assert "has class 'c', which is none of" in refused(study, *arguments, "--classes", "a,b")
    assert "give one of them" in refused(study, *arguments, "--weights", "linear")
    missing = refused(study, "agreement", "--table", table, "--weights-file", tmp_path / "no.csv")
    assert "can't be read" in missing


def test_two_tables_are_two_arms(pathquorum: Study, tmp_path: Path) -> None:
    """Without a store; a figure of equal tables differs by 0, from 0 to 0."""
    firsts = [row[:3] for row in ROWS if row[3] == 1]
    seconds = [(i, r, "a" if (i % 2) ^ (r == "B" and i < 3) else "b") for i, r, _ in firsts]
    before, after = (
        write_table(tmp_path / f"{n}.csv", rows) for n, rows in (("x", firsts), ("y", seconds))
    )
    found = document(pathquorum, "compare", before, after, "--bootstrap", 100)
    difference = found["difference"]["coefficients"]["conger"]
    assert difference["value"] < 0
    assert difference["ci_low"] <= difference["value"] <= difference["ci_high"] <= 0
    same = document(pathquorum, "compare", before, before, "--bootstrap", 100)
    for statistic in same["difference"]["coefficients"].values():
        assert (statistic["value"], statistic["ci_low"], statistic["ci_high"]) == (0, 0, 0)
    shown = pathquorum("compare", before, after)
    assert "y.csv less x.csv, on 8 clusters (item) that both hold" in shown.out
    assert "name a second table" in refused(pathquorum, "compare", before)
    told = refused(pathquorum, "compare", before, after, "--protocol", "p")
    assert "leave the options of its arms out" in told


def test_the_matrix_holds_the_kappas_of_the_pairs(pathquorum: Study, tmp_path: Path) -> None:
    rows = [
        (i, r, "abc"[(i * k + i // 3) % 3])
        for i in range(12)
        for k, r in ((1, "A"), (2, "B"), (4, "C"))
    ]
    table = write_table(tmp_path / "t.csv", rows)
    found = document(pathquorum, "agreement", "--table", table)
    matrix = found["matrix"]
    assert matrix["raters"] == ["A", "B", "C"]
    for pair in found["pairs"]:
        a, b = (matrix["raters"].index(pair[side]) for side in ("a", "b"))
        assert matrix["kappa"][a][b] == matrix["kappa"][b][a] == pair["kappa"]["value"]
    assert [matrix["kappa"][a][a] for a in range(3)] == [None] * 3
    assert "Kappa, rater by rater" in pathquorum("agreement", "--table", table).out
