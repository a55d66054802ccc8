"""`triage`: from predictions to a queue; what is refused; and a second release that learns from it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from annotation.cli import run
from annotation.store import Store, create_or_upgrade
from annotation.tables import Event
from consensus.consensus_items import Consensus
from consensus.release import find_release, open_release
from consensus.runs import find_run
from consensus.tables import ConsensusRun, Dispute
from models.evaluation.assisted import assisted_slides
from tests.conftest import CommandResult
from tests.models.recorded_models import add_model
from tests.models.triage.study import (
    CLASSES,
    WEIGHTS,
    Study,
    drawn_result,
    made_study,
    predict,
    truth_of,
)

NEW = [f"N{number:03}" for number in range(100, 130)]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with the study and a run `night`, made once, and the parts of its release.

    The run is over the calibration part and thirty new slides, the first of them of patients of the
    test part, the others of new patients.
    """
    folder = tmp_path_factory.mktemp("triage")
    url = f"sqlite:///{folder / 'store.db'}"
    store, _ = create_or_upgrade(url)
    made = made_study(store, lambda *a: quietly(*a, "--store", url), folder)
    known = [f"p-{name}" for name in made.of_part("test")]
    patients = {
        name: known[n] if n < len(known) // 2 else f"new-{name}" for n, name in enumerate(NEW)
    }
    predict(store, folder / "night", [*made.of_part("calibration"), *NEW], patients=patients)
    store.close()
    return folder / "store.db", dict(made.parts)


def quietly(*arguments: object) -> CommandResult:
    """Run a command line outside of a test."""
    return CommandResult(run([str(argument) for argument in arguments]), "", "")


@pytest.fixture
def study(
    begun: tuple[Path, dict[str, str]],
    replace_store: Callable[[Path], None],
    store: Store,
    pathquorum: Callable[..., CommandResult],
    tmp_path: Path,
) -> Study:
    """A copy of the study."""
    path, parts = begun
    replace_store(path)
    return Study(pathquorum, store, tmp_path, parts)


def refused(result: CommandResult) -> str:
    assert (result.status, result.out) == (1, "")
    return result.err.splitlines()[-1].removeprefix("Error: ")


def state(store: Store) -> tuple[int, ...]:
    """How much stands in the store that a triage could add to."""
    with store.reading() as session:
        return tuple(
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (ConsensusRun, Dispute, Event)
        )


def unsure(value: float) -> list[str]:
    """The new slides of which the model is at least as unsure."""
    return [name for name in NEW if drawn_result(name)["mutual_information"] >= value]


def test_what_the_model_is_not_sure_of_becomes_disputes(study: Study, tmp_path: Path) -> None:
    """The document, the queue and the files say the same; the same again adds nothing."""
    done = study.triage("--to", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    document = done.json
    threshold = document["threshold"]
    assert 0.2 < threshold <= 0.6  # between what it is sure of and what it errs on
    escalated = [one["slide"] for one in document["slides"] if one["state"] == "escalated"]
    assert escalated == unsure(threshold)
    assert 0 < len(escalated) < len(NEW)
    triaged, fitted = document["triaged"], document["calibration"]
    assert (triaged["units"], triaged["escalated"]) == (len(NEW), len(escalated))
    assert triaged["automatic_share"] == pytest.approx(1 - len(escalated) / len(NEW))
    assert fitted["sensitivity"]["lower"] >= 0.8
    positives = sum(truth_of(name) == "Tumor" for name in study.of_part("calibration"))
    halves = (fitted["choosing"]["with_positives"], fitted["bounding"]["with_positives"])
    assert halves == (positives // 2, positives - positives // 2)
    assert 0 < fitted["automatic_share"] < 1
    queue = study.pathquorum("adjudicate", "list", "--json").json["disputes"]
    assert sorted(d["slide"] for d in queue) == sorted(escalated)
    assert {d["run"] for d in queue} == {document["triage"]}
    one = next(d for d in queue if d["slide"] == escalated[0])
    assert one["predicted"] == pytest.approx(drawn_result(escalated[0])["probability"])
    with study.store.reading() as session:
        made = find_run(session, document["triage"])
        assert made.parameters["weights_sha256"] == [WEIGHTS]
        assert (made.parameters["measure"], made.parameters["threshold"]) == (
            "mutual-information",
            threshold,
        )
        assert made.parameters["target"] == {"sensitivity": 0.8, "confidence": 0.9}
        last = session.scalars(select(Event).order_by(Event.id.desc()).limit(1)).one()
        assert (last.action, last.subject) == ("triage", f"run:{made.id}")
    check_files(tmp_path / "out", document)
    before = state(study.store)
    again = study.triage("--json").json
    assert (again["triage"], again["added"]) == (document["triage"], 0)
    assert state(study.store) == before
    assert "nothing was added" in study.triage().out


def check_files(folder: Path, document: dict[str, Any]) -> None:
    kept = json.loads((folder / "triage.json").read_text(encoding="utf-8"))
    assert kept["threshold"] == document["threshold"]
    with (folder / "triage.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["state"] for row in rows] == [one["state"] for one in document["slides"]]
    with (folder / "coverage_risk.csv").open(encoding="utf-8", newline="") as lines:
        measures = {row["measure"] for row in csv.DictReader(lines)}
    assert measures == {"mutual-information", "max-softmax", "plain-entropy", "random"}
    assert (folder / "coverage_risk.svg").read_bytes().startswith(b"<?xml")
    assert (folder / "coverage_risk.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_stores_nothing(study: Study) -> None:
    """It says what would be escalated, as the real one does then."""
    before = state(study.store)
    dry = study.triage("--dry-run", "--json").json
    assert (dry["triage"], state(study.store)) == (None, before)
    assert "nothing was stored" in study.triage("--dry-run").out
    real = study.triage("--json").json
    assert real["slides"] == dry["slides"]
    assert real["calibration"] == dry["calibration"]


def test_so_many_are_escalated_and_nothing_is_shown(study: Study, tmp_path: Path) -> None:
    """It asks for no patients at all, and says that it claims nothing."""
    found = study.triage("--most", 3, "--to", tmp_path / "list", "--json").json
    assert found["calibration"] is None
    assert found["target"] == {"most": 3}
    assert found["triaged"]["escalated"] == found["added"] == 3
    by_state = {
        state: [one["value"] for one in found["slides"] if one["state"] == state]
        for state in ("escalated", "automatic")
    }
    assert min(by_state["escalated"]) >= max(by_state["automatic"])
    assert "is not known" in study.triage("--most", 3).out
    study.pathquorum("consensus", "run", "--protocol", "grades")
    report = tmp_path / "report.html"
    done = study.pathquorum("report", "--run", 1, "--to", report)
    assert done.status == 0, done.err
    assert "the 3 slides least sure" in report.read_text(encoding="utf-8")


def test_the_chosen_measure_is_better_than_chance_here(study: Study) -> None:
    """The drawn model errs where its passes disagree; the curves tell, with intervals over patients."""
    curves = study.triage("--dry-run", "--json").json["coverage_risk"]
    by_name = {one["measure"]: one for one in curves["measures"]}
    wrong = sum(drawn_result(n)["predicted"] != truth_of(n) for n in study.of_part("calibration"))
    assert curves["errors"] == wrong
    assert by_name["random"]["aurc"]["value"] == pytest.approx(wrong / curves["units"])
    assert by_name["random"]["difference"]["ci_high"] < 0
    assert by_name["mutual-information"]["aurc"]["value"] < by_name["max-softmax"]["aurc"]["value"]


REFUSALS = {
    "near: night": ("--predictions", "nigth"),
    "no prediction run": ("--calibrate-on", 99),
    "near: Tumor": ("--positive", "Tumour"),
    "all of them": ("--positive", "Benign,Tumor"),
    "names no class": ("--positive", " , "),
    "write sensitivity=0.98": ("--target", "specificity=0.9"),
    "--target sensitivity 1 can't be shown": ("--target", "sensitivity=1"),
    "--target sensitivity nan can't be shown": ("--target", "sensitivity=nan"),
    "--confidence 0 can't be shown": ("--confidence", 0),
    "leave out --unit": ("--unit", "regions"),
    "needs 114 there without a miss, 227 in all": ("--target", "sensitivity=0.98"),
    "is a file": ("--to", "FILE"),
}


def test_what_cannot_be_is_refused_in_one_line(study: Study, tmp_path: Path) -> None:
    """And the store stays as it was."""
    (tmp_path / "FILE").touch()
    before = state(study.store)
    for told, arguments in REFUSALS.items():
        given = [tmp_path / "FILE" if one == "FILE" else one for one in arguments]
        assert told in refused(study.triage(*given))
    assert state(study.store) == before


def test_predictions_of_another_kind_are_refused(study: Study, tmp_path: Path) -> None:
    """Other weights, other settings, slides still to come, no calibration part, nothing new."""
    calibration = study.of_part("calibration")
    add_model(study.store, "other", "c" * 64)
    predict(study.store, tmp_path / "weights", calibration, weights="c" * 64)
    predict(study.store, tmp_path / "settings", calibration, settings_sha256="d" * 64)
    predict(study.store, tmp_path / "waits", [*calibration, NEW[0]], states={NEW[0]: "claimed"})
    predict(study.store, tmp_path / "new", NEW)
    predict(study.store, tmp_path / "old", calibration)
    assert "other weights" in refused(study.triage("--calibrate-on", "weights"))
    assert "other settings" in refused(study.triage("--calibrate-on", "settings"))
    assert "still to be predicted" in refused(study.triage(predictions="waits"))
    assert "--calibrate-on" in refused(study.triage(predictions="new"))
    assert "predict new slides" in refused(study.triage(predictions="old"))
    assert study.triage("--calibrate-on", "old", predictions="new").status == 0


def test_what_could_not_be_predicted_or_lacks_the_measure_is_told(
    study: Study, tmp_path: Path
) -> None:
    """A failed slide is a note and a number; a result without the measure is refused by name."""
    calibration = study.of_part("calibration")
    predict(study.store, tmp_path / "failed", [*calibration, *NEW], states={NEW[3]: "failed"})
    done = study.triage("--json", predictions="failed")
    assert done.status == 0, done.err
    assert "1 slide could not be predicted" in done.err
    assert "48 slides of the run are in release v1" in done.err
    assert NEW[3] not in {one["slide"] for one in done.json["slides"]}
    broken = {NEW[5]: {"mutual_information": None}}
    predict(study.store, tmp_path / "broken", [*calibration, *NEW], changed=broken)
    assert repr(NEW[5]) in refused(study.triage(predictions="broken"))


def test_the_second_release_learns_from_decisions_and_keeps_its_test_patients(
    study: Study, tmp_path: Path
) -> None:
    """Two releases with a triage in between.

    A decision labels a slide only beside somebody's read of it; no patient of the test part comes into
    training, with whatever new slide; and the model is not judged on what it had a hand in.
    """
    document = study.triage("--json").json
    queue = study.pathquorum("adjudicate", "list", "--json").json["disputes"]
    of_slide = {d["slide"]: d["dispute"] for d in queue}
    for slide, dispute in of_slide.items():
        decided = study.pathquorum(
            "adjudicate", "decide", dispute, "--class", truth_of(slide), "--by", "L", "--reason", "seen"
        )  # fmt: skip
        assert decided.status == 0, decided.err
    alone, *read = sorted(of_slide)
    study.pull({slide: truth_of(slide) for slide in read}, "P1")
    automatic = [name for name in NEW if name not in of_slide]
    study.pull({slide: truth_of(slide) for slide in automatic[:8]}, "P1", "P2")
    assert (
        study.pathquorum("consensus", "run", "--protocol", "grades", "--bootstrap", 0).status == 0
    )
    number = document["triage"] + 1
    made = study.pathquorum("release", "create", "v2", "--run", number, "--json")
    assert made.status == 0, made.err
    with study.store.reading() as session:
        manifests = {
            name: msgspec.json.decode(find_release(session, name).manifest) for name in ("v1", "v2")
        }
        consensus = Consensus(session, find_run(session, number))
        label = {s.name: i.label for s in consensus.slides for i in consensus.items(s)}
        assert open_release(session, "v2").difference is None
        left_out = assisted_slides(session, consensus, [WEIGHTS])
        assert assisted_slides(session, consensus, ["e" * 64]) == {}
    assert label[alone] is None
    assert {slide: label[slide] for slide in read} == {slide: truth_of(slide) for slide in read}
    assert {one["slide"] for one in manifests["v2"]["ai_assisted"]} == set(of_slide)
    assert set(left_out) == set(of_slide)
    part = {
        name: {(slide["patient"], slide["part"]) for slide in manifest["slides"]}
        for name, manifest in manifests.items()
    }
    assert part["v1"] <= part["v2"]
    assert len({patient for patient, _ in part["v2"]}) == len(part["v2"])  # one part each
    new_of_test = [s for s in manifests["v2"]["slides"] if s["name"] in NEW and s["part"] == "test"]
    assert any(slide["name"] in of_slide for slide in new_of_test)
    assert any(s["name"] in read and s["part"] == "train" for s in manifests["v2"]["slides"])
    report = study.pathquorum("report", "--to", tmp_path / "report.html")
    assert report.status == 0, report.err
    assert 'id="triage"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert set(CLASSES) <= set(label.values())
