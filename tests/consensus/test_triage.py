"""What a model escalates, as disputes; decisions there as ratings, which never stand alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from sqlalchemy import func, select

from annotation.lookup import find_protocol, find_slide
from annotation.store import Store
from consensus.consensus_items import Consensus
from consensus.queue.triage import Escalated, Triaged, find_triage, record_triage
from consensus.runs import find_run
from consensus.tables import ConsensusRun, Dispute
from tests.conftest import PROTOCOL, CommandResult, feature, square

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]
Rate = Callable[..., None]
GRADES = ("Benign", "Low grade", "High grade")
UNSURE = (0.2, 0.3, 0.5)


@pytest.fixture
def grades(study: Study, tmp_path: Path) -> Study:
    """The study with a protocol that labels slides, a second lead and two more slides."""
    text = PROTOCOL.replace('task = "regions"', 'task = "slides"').replace("prostate", "grades")
    (tmp_path / "grades.toml").write_text(text.replace('[domain]\nrule = "slide"\n', ""))
    for arguments in (
        ("protocol", "add", tmp_path / "grades.toml"),
        ("annotator", "add", "L2", "--role", "lead"),
        *(
            (
                "slide",
                "add",
                name,
                "--width",
                1000,
                "--height",
                800,
                "--mpp",
                0.5,
                "--patient",
                name,
            )
            for name in ("S2", "S3")
        ),
    ):
        assert study(*arguments).status == 0
    return study


@pytest.fixture
def rate(grades: Study, write_export: Callable[..., Path]) -> Rate:
    """Pulls the label that each person gives to a slide."""

    def pull(slide: str, *more: object, **labels: str) -> None:
        for handle, label in labels.items():
            path = write_export([], handle, slide)
            document = {"type": "FeatureCollection", "features": [], "metadata": {"grade": label}}
            path.write_text(json.dumps(document))
            pulled = grades("pull", path, "--annotator", handle, "--protocol", "grades", *more)
            assert pulled.status == 0, pulled.err

    return pull


@pytest.fixture
def escalate(store: Store) -> Callable[..., int]:
    """Records a triage of slides, or of places on S1, and gives its number."""

    def record(
        *slides: str,
        protocol: str = "grades",
        predictions: int = 1,
        places: tuple[shapely.Geometry, ...] = (),
    ) -> int:
        with store.writing() as session:
            found = [Escalated(find_slide(session, s), None, 1.0, UNSURE) for s in slides]
            slide = find_slide(session, "S1")
            found += [
                Escalated(slide, place, place.area * 0.25, (*UNSURE, 0.0)) for place in places
            ]
            classes = (*GRADES, "background") if places else GRADES
            row = find_protocol(session, protocol)
            return record_triage(session, triaged(row, classes, found, predictions)).id

    return record


def triaged(row: Any, classes: tuple[str, ...], places: list[Escalated], number: int) -> Triaged:
    fitted = {
        "threshold": 0.1, "automatic_share": 0.7,
        "sensitivity": {"patients": 20, "caught": 20, "lower": 0.86, "positives": 25,
                        "positives_caught": 25},
        "automatic": {"patients": 9, "caught": 9, "positives": 9, "positives_caught": 9},
    }  # fmt: skip
    statistic = {"value": 0.1, "status": "ok", "ci_low": 0.05, "ci_high": 0.2, "ci_status": "ok"}
    curve = {"coverage": [0.5, 1.0], "risk": [0.0, 0.2]}
    figures = {
        "predictions": f"night {number}", "model": "m <1>", "unit": "slides", "measure": "entropy",
        "positive": ["High grade"], "target": {"sensitivity": 0.8, "confidence": 0.95},
        "calibration": fitted, "triaged": {"units": 9, "automatic": 7},
        "coverage_risk": {
            "units": 40,
            "measures": [
                {"measure": name, "aurc": statistic, "difference": other, "curve": curve}
                for name, other in (("entropy", None), ("random", statistic))
            ],
        },
    }  # fmt: skip
    parameters = {"prediction_run": number, "weights_sha256": ["a" * 64], "measure": "entropy",
                  "threshold": 0.1}  # fmt: skip
    return Triaged(row, classes, places, parameters, f"{number}" * 64, figures)


def run(study: Study, *more: object, protocol: str = "grades") -> dict[str, Any]:
    made = study("consensus", "run", "--protocol", protocol, "--json", *more)
    assert made.status == 0, made.err
    assert isinstance(made.json, dict)
    return made.json


def decide(study: Study, dispute: int, label: str = "High grade", by: str = "L") -> None:
    decided = study(
        "adjudicate", "decide", dispute, "--class", label, "--by", by, "--reason", "seen"
    )
    assert decided.status == 0, decided.err


def states(store: Store, number: int) -> dict[str, str | None]:
    """What became of each slide of a run: its label, or why there is none."""
    with store.reading() as session:
        consensus = Consensus(session, find_run(session, number))
        return {
            slide.name: item.label or item.state
            for slide in consensus.slides
            for item in consensus.items(slide)
        }


def refused(result: CommandResult) -> str:
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    return result.err.removeprefix("Error: ")


def test_a_decision_counts_as_one_rating_and_never_alone(
    grades: Study, store: Store, rate: Rate, escalate: Callable[..., int]
) -> None:
    """With nobody's read it is too few raters, also where one rater suffices; with one it counts."""
    rate("S1", P1="Benign", P2="Benign")
    triage = escalate("S2", "S3")
    decide(grades, 1)
    for more in ((), ("--min-raters", 1)):
        made = run(grades, *more)
        assert states(store, made["run"]) == {"S1": "Benign", "S2": "too few raters"}
        assert made["ai_assisted"] == [
            {"decision": 1, "run": triage, "slide": "S2", "annotator": "L", "class": "High grade"}
        ]
    rate("S2", P1="High grade")
    assert states(store, run(grades)["run"])["S2"] == "High grade"


def test_no_figure_of_raters_knows_of_such_a_decision(
    grades: Study, rate: Rate, escalate: Callable[..., int]
) -> None:
    """Agreement, raters' quality and the comparison with the consensus are about reads alone."""
    for slide in ("S1", "S2", "S3"):
        rate(slide, P1="Benign", P2="Low grade" if slide == "S3" else "Benign")
    before, quality = grades("agreement", "--protocol", "grades", "--json").json, run(grades)
    escalate("S1", "S2", "S3")
    for entry in grades("adjudicate", "list", "--json").json["disputes"]:
        decide(grades, entry["dispute"], "Benign")
    made = run(grades)
    assert made["raters"] == ["L", "P1", "P2"]
    assert made["raters_quality"].keys() == {"P1", "P2"}
    assert made["raters_quality"]["P1"]["domain_weight"] == 3
    assert quality["raters_quality"]["P2"]["confusion"]["Benign"]["Low grade"] == 0
    # S3 is decided two to one now, and P2's read of it counts as wrong.
    assert made["raters_quality"]["P2"]["confusion"]["Benign"]["Low grade"] == 1
    assert grades("agreement", "--protocol", "grades", "--json").json == before
    told = grades("agreement", "--protocol", "grades", "--reference", "adjudicated", "--json").json
    held = {one["rater"]: one["items"] for one in told["reference"]["raters"]}
    assert held.get("L", 0) == 0
    assert held["P1"] == 3
    votes = run(grades, "--votes", "agreement")["parameters"]["vote_weights"]
    assert votes["L"] == 1  # shares nothing with anybody, as far as reads go


def test_whoever_has_read_a_slide_has_said_there_what_they_see(
    grades: Study, store: Store, rate: Rate, escalate: Callable[..., int]
) -> None:
    """A decision of theirs is no second rating, and a dispute that they are in is somebody else's."""
    rate("S1", P1="Benign", L="Benign")
    rate("S2", P1="Benign")
    escalate("S1", "S2")
    decide(grades, 1)
    decide(grades, 2)
    made = run(grades)
    assert states(store, made["run"]) == {"S1": "Benign", "S2": "disputed"}
    assert [one["slide"] for one in made["ai_assisted"]] == ["S2"]
    (entry,) = grades("adjudicate", "list", "--json").json["disputes"]
    assert (sorted(entry["labels"].values()), entry["ai_assisted"]) == (
        ["Benign", "High grade"],
        False,
    )
    arguments = ("adjudicate", "decide", entry["dispute"], "--class", "Benign", "--reason", "x")
    assert "one of the raters" in refused(grades(*arguments, "--by", "L"))
    assert grades(*arguments, "--by", "L2").status == 0


def test_a_lone_read_with_predictions_in_sight_is_too_few(
    grades: Study, store: Store, rate: Rate, escalate: Callable[..., int]
) -> None:
    """One rater may suffice, but not with a prediction in sight; two such people do."""
    rate("S1", P1="Benign")
    rate("S2", "--ai-assisted", P1="Benign")
    rate("S3", "--ai-assisted", P1="High grade")
    escalate("S3")
    decide(grades, 1)
    made = run(grades, "--min-raters", 1)
    assert states(store, made["run"]) == {
        "S1": "Benign", "S2": "too few raters", "S3": "High grade"
    }  # fmt: skip


def test_the_input_digest_follows_the_decisions(
    grades: Study, rate: Rate, escalate: Callable[..., int]
) -> None:
    """A decision, and taking it back, make the last run outdated; without any it stays as it was."""
    rate("S1", P1="Benign", P2="Benign")
    first = run(grades)["input_digest"]

    def blocked() -> list[str]:
        (entry,) = [
            p for p in grades("status", "--json").json["protocols"] if p["name"] == "grades"
        ]
        return [one["what"] for one in entry["blocked"] if one["kind"] == "outdated"]

    escalate("S2")
    assert (run(grades)["input_digest"], blocked()) == (first, [])
    decide(grades, 1)
    assert blocked() == ["consensus run 3"]
    with_decision = run(grades)
    assert with_decision["input_digest"] != first
    assert blocked() == []
    assert grades("adjudicate", "reopen", 1).status == 0
    again = run(grades)
    assert (again["input_digest"], again["ai_assisted"]) == (first, [])


def test_a_later_triage_inherits_and_counts_no_answer_twice(
    grades: Study, rate: Rate, escalate: Callable[..., int]
) -> None:
    """What was decided holds in the next triage; opened again in either, it counts in none."""
    rate("S1", P1="Benign", P2="Benign")
    first = escalate("S2")
    decide(grades, 1)
    second = escalate("S2", "S3", predictions=2)
    listed = {d["slide"]: d for d in grades("adjudicate", "list", "--json").json["disputes"]}
    assert (listed["S2"]["state"], listed["S2"]["run"]) == ("decided", second)
    assert listed["S3"]["state"] == "open"
    assert [(one["decision"], one["run"]) for one in run(grades)["ai_assisted"]] == [(1, first)]
    assert grades("adjudicate", "reopen", listed["S2"]["dispute"]).status == 0
    assert run(grades)["ai_assisted"] == []
    decide(grades, listed["S2"]["dispute"], by="L2")
    assert [one["annotator"] for one in run(grades)["ai_assisted"]] == ["L2"]


def test_a_run_of_raters_inherits_nothing_from_a_triage(
    grades: Study, rate: Rate, escalate: Callable[..., int]
) -> None:
    """Neither the answer nor a word of reopening: it was another question."""
    rate("S1", P1="Benign", P2="High grade", P3="Low grade")
    escalate("S1")
    assert grades("adjudicate", "decide", 1, "--exclude", "--by", "L", "--reason", "x").status == 0
    run(grades)
    (entry,) = grades("adjudicate", "list", "--json").json["disputes"]
    assert (entry["state"], entry["reopened_because"]) == ("open", None)


def test_the_queue_of_a_triage_is_worked_like_any_other(
    grades: Study, rate: Rate, escalate: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """List, show, decide, reopen, status, trace and the slide's page say that it is AI-assisted."""
    monkeypatch.setenv("COLUMNS", "200")
    rate("S1", P1="Benign", P2="Benign")
    run(grades)
    triage = escalate("S2", "S3")
    document = grades("adjudicate", "list", "--json").json
    assert [(d["labels"], d["ai_assisted"]) for d in document["disputes"]] == [({}, True)] * 2
    assert document["disputes"][0]["predicted"] == dict(zip(GRADES, UNSURE, strict=True))
    assert document["disputes"][0]["gain"] > 0
    assert "model: High grade 0.50" in grades("adjudicate", "list").out
    decide(grades, 1)
    assert "(AI-assisted)" in grades("adjudicate", "show", 1).out
    assert "High grade (AI-assisted)" in grades("adjudicate", "list").out
    (decision,) = grades("trace", f"run:{triage}", "--json").json["decisions"]
    assert decision["ai_assisted"] is True
    page = grades("slide", "show", "S2", "--json").json
    assert [d["ai_assisted"] for d in page["disputes"]] == [True]
    assert "L (AI-assisted)" in grades("slide", "show", "S2").out
    assert grades("trace", f"run:{run(grades)['run']}").out.count("AI-assisted") == 1
    entry = next(p for p in grades("status", "--json").json["protocols"] if p["name"] == "grades")
    assert (entry["triage"]["run"], entry["triage"]["open"], entry["triage"]["decided"]) == (
        triage,
        1,
        1,
    )
    assert entry["queue"]["run"] == 3
    assert f"Queue of triage {triage}: 1 open, 1 decided" in grades("status").out
    metrics = grades("status", "--prometheus").out
    assert 'triage_disputes{protocol="grades",version="1",state="open"} 1' in metrics
    for arguments in (("consensus", "show", triage), ("consensus", "list")):
        assert grades(*arguments).status == 0
    assert grades("audit", "verify").status == 0


def test_what_nobody_rated_is_no_consensus(
    grades: Study, store: Store, rate: Rate, escalate: Callable[..., int], tmp_path: Path
) -> None:
    """No release, report, push or reference of a triage; each refusal names the next step."""
    rate("S1", P1="Benign", P2="Benign")
    triage = escalate("S2")
    decide(grades, 1)
    told = refused(grades("release", "create", "v1", "--run", triage))
    assert "triage" in told
    assert "consensus run" in told
    assert "triage" in refused(grades("report", "--run", triage, "--to", tmp_path / "r.html"))
    assert "triage" in refused(grades("push", "--run", triage, "--to", tmp_path / "out"))
    told = grades(
        "agreement", "--protocol", "grades", "--reference", "adjudicated", "--run", triage
    )
    assert "triage" in refused(told)
    made = run(grades)["run"]
    escalate("S3", predictions=2)
    written = grades("report", "--to", tmp_path / "r.html", "--json")
    assert written.status == 0, written.err
    assert written.json["run"] == made  # not the triage, which is later
    released = grades("release", "create", "v1", "--run", made)
    assert released.status == 0, released.err
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Dispute)) == 2


def test_the_report_tells_of_triages(
    grades: Study, rate: Rate, escalate: Callable[..., int], tmp_path: Path
) -> None:
    """Figures, curves as a picture with words beside it, who decided; and the digest still holds."""
    rate("S1", P1="Benign", P2="Benign")
    escalate("S2", "S3")
    decide(grades, 1)
    run(grades)
    written = grades("report", "--to", tmp_path / "r.html", "--json")
    assert written.status == 0, written.err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "m &lt;1&gt;" in page
    assert "20 of 20 patients with a positive" in page
    assert "1 dispute (AI-assisted); 1 still open" in page
    assert "data:image/svg+xml;base64," in page
    assert "Areas under the curves: entropy 0.100, random 0.100" in page
    assert not any("digest" in note for note in written.json["notes"])


def test_the_same_triage_is_found_again(
    grades: Study, store: Store, escalate: Callable[..., int]
) -> None:
    """By its input and its parameters; another threshold is another triage."""
    number = escalate("S2")
    with store.reading() as session:
        row = find_protocol(session, "grades")
        same = triaged(row, GRADES, [], 1)
        found = find_triage(session, same)
        assert found is not None
        assert found.id == number
        other = Triaged(row, GRADES, [], {**same.parameters, "threshold": 0.2}, "1" * 64, {})
        assert find_triage(session, other) is None


@pytest.mark.parametrize("rule", ["slide", "union", "declared"])
def test_a_decision_on_a_region_holds_in_its_outline_alone(
    study: Study,
    store: Store,
    write_export: Callable[..., Path],
    escalate: Callable[..., int],
    tmp_path: Path,
    rule: str,
) -> None:
    """Whatever the domain's rule, the rest of the slide is not background to whoever decided."""
    text = PROTOCOL.replace('rule = "slide"', f'rule = "{rule}"').replace('"prostate"', '"areas"')
    (tmp_path / "areas.toml").write_text(text)
    assert study("protocol", "add", tmp_path / "areas.toml").status == 0
    for handle, label in (("P1", "Benign"), ("P2", "Low grade")):
        drawn = [feature(square(0, 0, 200), label)]
        if rule == "declared":
            drawn.append(feature(square(0, 0, 400), "Region*"))
        path = write_export(drawn, handle)
        accepted = ("--annotator", handle, "--protocol", "areas", "--accept-copy")
        assert study("pull", path, *accepted).status == 0
    before = run(study, protocol="areas")
    assert before["disputes"] == 1
    # The left half of what P1 and P2 dispute, and its lower half, said later, as another class.
    escalate(protocol="areas", places=(shapely.box(0, 0, 100, 200), shapely.box(0, 100, 100, 200)))
    of = {
        d["bounds_px"][1]: d["dispute"]
        for d in study("adjudicate", "list", "--json").json["disputes"]
    }
    decide(study, of[0], "Benign")
    decide(study, of[100], "Low grade")
    made = run(study, protocol="areas")
    um2 = 0.25
    assert made["classes"]["Benign"]["weight"] == pytest.approx(100 * 100 * um2)
    assert made["classes"]["Low grade"]["weight"] == pytest.approx(100 * 100 * um2)
    assert made["disputed_weight"] == pytest.approx(100 * 200 * um2)
    assert made["classes"]["background"] == before["classes"]["background"]
    assert made["raters_quality"].keys() == {"P1", "P2"}
    with store.reading() as session:
        consensus = Consensus(session, find_run(session, made["run"]))
        by_l = [i for i in consensus.items(find_slide(session, "S1")) if "L" in i.pattern]
        assert sum(item.weight for item in by_l) == pytest.approx(100 * 200 * um2)


def test_a_triage_that_escalates_nothing_is_on_record(
    store: Store, grades: Study, escalate: Callable[..., int]
) -> None:
    """It has a run and no dispute."""
    number = escalate()
    with store.reading() as session:
        assert session.get_one(ConsensusRun, number).summary["disputes"] == 0
    assert grades("adjudicate", "list", "--json").json["disputes"] == []
