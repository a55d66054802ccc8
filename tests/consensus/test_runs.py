"""From reads to a consensus: what is agreed, what is disputed, and what later runs inherit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from tests.conftest import PROTOCOL, CommandResult, feature, square

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]
Reads = Callable[..., None]
UM2 = 0.25  # of a pixel at 0.5 um/px


@pytest.fixture
def reads(study: Study, write_export: Callable[..., Path]) -> Reads:
    """Pulls what each rater drew on S1."""

    def pull(*more: str, **drawn: list[dict[str, Any]]) -> None:
        for handle, objects in drawn.items():
            path = write_export(objects, handle)
            accepted = ("--accept-copy", "--accept-removals")
            arguments = ("--annotator", handle, "--protocol", "prostate", *accepted, *more)
            result = study("pull", path, *arguments)
            assert result.status == 0, result.err

    return pull


def benign(x: float = 0) -> dict[str, Any]:
    return feature(square(x, 0), "Benign")


def low(x: float = 0) -> dict[str, Any]:
    return feature(square(x, 0), "Low grade")


def high(x: float = 0) -> dict[str, Any]:
    return feature(square(x, 0), "High grade")


def run(study: Study, *more: str) -> dict[str, Any]:
    result = study("consensus", "run", "--protocol", "prostate", "--json", *more)
    assert result.status == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def disputes(study: Study, *more: object) -> list[dict[str, Any]]:
    found = study("adjudicate", "list", "--json", *more).json["disputes"]
    assert isinstance(found, list)
    return found


def test_two_of_three_agree_and_their_area_is_the_classs_weight(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[benign()], P3=[high()])
    made = run(study)
    assert made["disputes"] == 0
    assert made["classes"]["Benign"] == {"items": 1, "weight": pytest.approx(10_000 * UM2)}
    whole = sum(entry["weight"] for entry in made["classes"].values())
    assert whole == pytest.approx(1000 * 800 * UM2)
    assert set(made["classes"]) == {"Benign", "Low grade", "High grade", "background"}
    assert made["raters_quality"]["P3"]["sensitivity"]["Benign"] == 0
    assert made["raters_quality"]["P3"]["domain_um2"] == pytest.approx(1000 * 800 * UM2)


def test_a_tie_is_disputed_and_counts_in_no_class(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    made = run(study)
    assert made["disputes"] == 1
    assert made["classes"]["Benign"]["items"] == made["classes"]["High grade"]["items"] == 0
    (entry,) = disputes(study)
    assert entry["area_um2"] == pytest.approx(10_000 * UM2)
    assert entry["severity"] == 1.0
    assert sorted(entry["labels"].values()) == ["Benign", "High grade"]
    assert not {"P1", "P2"} & set(entry["labels"])
    assert entry["state"] == "open"


def test_severity_follows_the_protocols_weights(study: Study, reads: Reads) -> None:
    reads(P1=[benign(), benign(300)], P2=[low(), high(300)])
    assert [entry["severity"] for entry in (run(study), *disputes(study))[1:]] == [1.0, 0.25]


def test_too_few_raters_leave_an_item_open_but_are_no_dispute(study: Study, reads: Reads) -> None:
    reads(P1=[benign()])
    made = run(study)
    assert made["disputes"] == 0
    assert made["open"]["too few raters"]["weight"] == pytest.approx(1000 * 800 * UM2)
    assert run(study, "--min-raters", "1")["classes"]["Benign"]["items"] == 1


def test_specks_below_the_protocols_area_are_open_and_counted(
    study: Study, reads: Reads, tmp_path: Path
) -> None:
    text = PROTOCOL.replace('name = "prostate"', 'name = "coarse"').replace(
        "min_area_um2 = 0", "min_area_um2 = 3000"
    )
    (tmp_path / "coarse.toml").write_text(text)
    study("protocol", "add", tmp_path / "coarse.toml")
    study("annotator", "add", "P4", "--role", "pathologist")
    folder = tmp_path / "coarse"
    folder.mkdir()
    for handle, drawn in (("P1", [benign()]), ("P2", [high()])):
        path = folder / "S1.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}))
        study("pull", path, "--annotator", handle, "--protocol", "coarse")
    made = study("consensus", "run", "--protocol", "coarse", "--json").json
    assert made["disputes"] == 0
    assert made["open"]["below the dispute's area"]["weight"] == pytest.approx(2500)


def test_em_with_two_raters_is_refused_and_names_the_way_out(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    for method in ("dawid-skene", "staple"):
        result = study("consensus", "run", "--protocol", "prostate", "--method", method)
        assert result.status == 1
        assert "majority" in result.err
        assert "adjudic" in result.err
    assert study("consensus", "list", "--json").json["runs"] == []


@pytest.mark.parametrize("method", ["majority", "dawid-skene", "staple"])
def test_every_method_gives_the_documents_keys(study: Study, reads: Reads, method: str) -> None:
    reads(P1=[benign(), low(300)], P2=[benign(), low(300)], P3=[low(), low(300)])
    made = run(study, "--method", method)
    assert made["method"] == method
    assert {"run", "slides", "items", "raters", "classes", "disputes"} <= set(made)
    assert study("consensus", "show", made["run"], "--json").json["items"] == made["items"]


def decide(study: Study, number: int, *answer: str, by: str = "L") -> CommandResult:
    return study("adjudicate", "decide", number, *answer, "--by", by, "--reason", "seen", "--json")


def test_a_later_run_inherits_what_is_unchanged(study: Study, reads: Reads) -> None:
    reads(P1=[benign(), low(300)], P2=[high(), high(300)])
    run(study)
    first, second = (entry["dispute"] for entry in disputes(study))
    assert decide(study, first, "--class", "High grade").status == 0
    assert decide(study, second, "--indeterminate").status == 0
    again = run(study)
    assert (again["inherited"], again["decided"]) == (2, 2)
    assert again["classes"]["High grade"]["weight"] == pytest.approx(2500)
    assert again["open"] == {"indeterminate": {"items": 1, "weight": pytest.approx(2500)}}
    everything = [*again["classes"].values(), *again["open"].values()]
    assert sum(entry["weight"] for entry in everything) == pytest.approx(1000 * 800 * UM2)
    assert {entry["state"] for entry in disputes(study)} == {"decided"}


def test_changed_labels_reopen_and_say_why(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    run(study)
    decide(study, disputes(study)[0]["dispute"], "--class", "High grade")
    reads(P1=[low()])
    run(study)
    (entry,) = disputes(study)
    assert entry["state"] == "open"
    assert "another answer of 1 rater since decision 1" in entry["reopened_because"]


def test_a_changed_region_reopens_and_says_why(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    run(study)
    decide(study, disputes(study)[0]["dispute"], "--class", "High grade")
    reads(P1=[feature(square(0, 0, 80), "Benign")])
    run(study)
    reopened = [e for e in disputes(study) if e["reopened_because"]]
    assert "region changed" in reopened[0]["reopened_because"]


def test_a_new_rater_reopens_and_says_why(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    run(study)
    decide(study, disputes(study)[0]["dispute"], "--class", "High grade")
    reads(P3=[low()])
    run(study)
    (entry,) = disputes(study)
    assert "1 rater more" in entry["reopened_because"]


def test_a_reopened_decision_is_not_inherited_from_an_older_run(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[high()])
    run(study)
    decide(study, disputes(study)[0]["dispute"], "--class", "High grade")
    run(study)
    assert study("adjudicate", "reopen", disputes(study)[0]["dispute"], "--by", "L").status == 0
    assert run(study)["inherited"] == 0
    assert disputes(study)[0]["state"] == "open"


def test_only_the_entitled_and_uninvolved_decide(study: Study, reads: Reads) -> None:
    study("annotator", "add", "R", "--role", "senior")
    reads(P1=[benign()], P2=[high()])
    reads(R=[low()])
    run(study)
    number = disputes(study)[0]["dispute"]
    assert "lets senior or lead decide" in decide(study, number, "--exclude", by="P3").err
    assert "one of the raters in dispute" in decide(study, number, "--exclude", by="R").err
    assert "no annotator 'X'" in decide(study, number, "--exclude", by="X").err
    assert disputes(study)[0]["state"] == "open"
    assert decide(study, number, "--exclude").status == 0


def test_a_decision_must_be_one_answer_of_a_known_class_to_an_open_dispute(
    study: Study, reads: Reads
) -> None:
    reads(P1=[benign()], P2=[high()])
    run(study)
    number = disputes(study)[0]["dispute"]
    assert "exactly one" in decide(study, number).err
    assert "exactly one" in decide(study, number, "--exclude", "--indeterminate").err
    assert "(near: Benign)" in decide(study, number, "--class", "Bening").err
    assert "no dispute 99" in decide(study, 99, "--exclude").err
    assert "is open already" in study("adjudicate", "reopen", number).err
    empty = study("adjudicate", "decide", number, "--exclude", "--by", "L", "--reason", " ")
    assert "needs a reason" in empty.err
    assert decide(study, number, "--class", "background").status == 0
    assert "decided already" in decide(study, number, "--exclude").err


def test_a_dispute_shows_where_it_lies(study: Study, reads: Reads) -> None:
    reads(P1=[benign(200)], P2=[high(200)])
    run(study)
    (entry,) = disputes(study)
    (shown,) = study("adjudicate", "show", entry["dispute"], "--json").json["disputes"]
    region = shapely.from_geojson(json.dumps(shown["geometry"]))
    assert region.equals(shapely.box(200, 0, 300, 100))
    assert "x 200 to 300" in study("adjudicate", "show", entry["dispute"]).out


def test_agreement_of_the_store_counts_the_background_inside_the_domain(
    study: Study, reads: Reads
) -> None:
    reads(P1=[benign()], P2=[benign()])
    document = study("agreement", "--protocol", "prostate", "--json").json
    assert document["coefficients"]["percent"]["value"] == pytest.approx(1)
    assert document["per_class"]["Benign"]["kappa"]["value"] == pytest.approx(1)
    assert document["classes"][-1] == "background"
    assert document["domain_um2"] == pytest.approx(1000 * 800 * UM2)
    assert document["cluster_unit"] == "patient"
    assert document["per_class"]["Benign"]["kappa"]["ci_status"] == "undefined: 1 clusters"


def test_agreement_as_of_an_earlier_pull_is_what_it_was_then(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[benign()])
    reads(P2=[high()])
    then = study("agreement", "--as-of", "2", "--json").json
    now = study("agreement", "--json").json
    assert then["per_class"]["Benign"]["kappa"]["value"] == pytest.approx(1)
    assert now["per_class"]["Benign"]["kappa"]["value"] < 0.1


def test_a_replicate_and_a_corrected_read_are_no_raters(study: Study, reads: Reads) -> None:
    reads(P1=[benign()], P2=[benign()])
    reads("--replicate", "2", P1=[high()])
    reads("--based-on", "2", P3=[benign()])
    document = study("agreement", "--json").json
    assert document["raters"] == ["P1", "P3"]
    reasons = {read["annotator"]: read["reason"] for read in document["excluded"]}
    assert reasons["P1"].startswith("replicate 2")
    assert reasons["P2"] == "corrected by read 4, which is based on it"


def test_a_correction_that_does_not_count_leaves_the_corrected_read_in_force(
    study: Study, reads: Reads, tmp_path: Path
) -> None:
    text = PROTOCOL.replace('name = "prostate"', 'name = "gated"', 1)
    (tmp_path / "gated.toml").write_text(text + '\n[require]\ncredentials = ["board"]\n')
    study("protocol", "add", tmp_path / "gated.toml")
    for handle in ("P1", "P2"):
        study("annotator", "add", handle, "--role", "pathologist", "--credential", "board:X:1")
    document = {"type": "FeatureCollection", "features": [benign()]}
    (tmp_path / "S1.geojson").write_text(json.dumps(document))
    for handle, more in (("P1", ()), ("P2", ()), ("P3", ("--based-on", "2"))):
        arguments = ("--annotator", handle, "--protocol", "gated", "--accept-copy", *more)
        assert study("pull", tmp_path / "S1.geojson", *arguments).status == 0
    found = study("agreement", "--protocol", "gated", "--json").json
    assert found["raters"] == ["P1", "P2"]
    assert [read["annotator"] for read in found["excluded"]] == ["P3"]


def test_slides_are_rated_by_their_label(
    study: Study, tmp_path: Path, write_export: Callable[..., Path]
) -> None:
    text = PROTOCOL.replace('task = "regions"', 'task = "slides"').replace("prostate", "grades")
    (tmp_path / "grades.toml").write_text(text.replace('[domain]\nrule = "slide"\n', ""))
    assert study("protocol", "add", tmp_path / "grades.toml").status == 0
    for handle, label in (("P1", "Benign"), ("P2", "Normal"), ("P3", "High grade")):
        path = write_export([], handle)
        document = {"type": "FeatureCollection", "features": [], "metadata": {"grade": label}}
        path.write_text(json.dumps(document))
        result = study("pull", path, "--annotator", handle, "--protocol", "grades", "--json")
        assert result.json["reads"][0]["added"] == 1, result.err
    made = study("consensus", "run", "--protocol", "grades", "--json").json
    assert made["classes"]["Benign"] == {"items": 1, "weight": 1}
    assert "background" not in made["classes"]


def test_status_says_who_read_what_and_what_is_blocked(study: Study, reads: Reads) -> None:
    study("slide", "add", "S9", "--width", 10, "--height", 10, "--mpp", 0.5)
    reads(P1=[benign()])
    document = study("status", "--json").json
    (entry,) = document["protocols"]
    assert document["unread_slides"] == ["S9"]
    assert entry["reads"][0]["objects"] == 1
    assert {
        "kind": "raters",
        "what": "slide S1",
        "why": "1 of 2 reads",
        "next": "it needs another read",
    } in entry["blocked"]
    reads(P2=[high()])
    run(study)
    reads(P1=[low()])
    blocked = study("status", "--json").json["protocols"][0]["blocked"]
    assert any("reads have changed" in item["why"] for item in blocked)
    assert "1 open" in study("status").out


def test_the_order_of_pulls_changes_no_item(study: Study, reads: Reads, pathquorum: Study) -> None:
    reads(P3=[benign(), high(300)], P1=[low(), high(300)], P2=[benign(), low(300)])
    first = run(study)
    reads(P1=[low(), high(300)])
    second = run(study)
    for key in ("classes", "items", "disputes", "input_digest"):
        assert first[key] == second[key]
