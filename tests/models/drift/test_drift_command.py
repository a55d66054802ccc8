"""`drift`, from prediction runs in a store to its table, document and page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event, PullRead, Read, Slide
from models.drift.written import DRIFT_CHECKED
from tests.conftest import CommandResult
from tests.models.drift.runs import Drawn, Pathquorum, predict, released
from tests.models.recorded_models import add_model

Drift = Callable[..., CommandResult]

NEW = [Drawn(f"N{number:02}", f"n{number:02}") for number in range(20)]


def refused(result: CommandResult) -> str:
    """The one line of a refusal."""
    assert (result.status, result.out) == (1, "")
    assert result.err.count("\n") == 1
    return result.err.removeprefix("Error: ").strip()


@pytest.fixture
def reference(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> list[str]:
    """A released study whose slides that were not trained on are predicted in run ``base``."""
    names = released(store, pathquorum)
    predict(store, tmp_path / "base", [Drawn(name) for name in names])
    return names


@pytest.fixture
def drift(pathquorum: Pathquorum, tmp_path: Path) -> Drift:
    """Runs `drift --json` with a seed."""

    def call(predictions: str, *more: object) -> CommandResult:
        return pathquorum(
            "drift", "--predictions", predictions, "--to", tmp_path / "out", "--json", *more
        )

    return call


def indicators(result: CommandResult) -> dict:
    return {one["key"]: one for one in result.json["indicators"]}


def events(store: Store) -> Sequence[Event]:
    with store.reading() as session:
        return session.scalars(select(Event).where(Event.action == DRIFT_CHECKED)).all()


def test_slides_like_the_reference_are_no_alarm(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """Other slides from the same distribution: status 0, everything measured, nothing alarms."""
    predict(store, tmp_path / "new", NEW, seed=1)
    result = drift("new")
    assert result.status == 0, result.err
    told = result.json
    assert (told["alarm"], told["alarms"], told["status"]) == (False, [], "ok")
    assert (told["predictions"], told["reference"], told["model"]) == ("new", "base", "m")
    assert told["slides"] == {"reference": len(reference), "current": 20}
    assert told["patients"] == told["slides"]
    found = indicators(result)
    tested = {key for key, one in found.items() if one["status"] == "ok"}
    assert tested == {
        "brightness", "saturation", "focus", "mpp", "tissue_share", "scanner",
        "strength_hematoxylin", "stain_hematoxylin:red", "stain_hematoxylin:green", "stain_hematoxylin:blue",
        "strength_eosin", "stain_eosin:red", "stain_eosin:green", "stain_eosin:blue", "no_stain", "max_probability", "entropy",
        "mutual_information", "share:Benign", "share:=Tumor", "predicted", "feature_means",
        "feature_tiles",
    }  # fmt: skip
    assert told["tested"] == len(tested)
    assert found["escalated"]["status"] == "undefined: not both runs went through triage"
    assert found["overturned"]["status"] == "undefined: nothing on record"
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["alarms"] == []
    (event,) = events(store)
    assert event.new is not None
    assert (event.new["predictions"], event.new["alarms"]) == ("new", [])


def test_a_stain_shift_is_an_alarm_that_a_scheduler_sees(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """More haematoxylin: status 1, and the document, the page and the picture are there all the same."""
    rng = np.random.default_rng(4)
    stained = [
        replace(one, input={"strength_hematoxylin": float(rng.normal(2.3, 0.2))}) for one in NEW
    ]
    predict(store, tmp_path / "new", stained, seed=1)
    result = drift("new")
    assert result.status == 1
    told = result.json
    assert (told["alarm"], told["alarms"]) == (True, ["strength_hematoxylin"])
    found = indicators(result)["strength_hematoxylin"]
    assert found["superiority"] > 0.95
    assert found["p_value"] <= found["p_adjusted"] <= 0.01
    assert found["psi"]["psi"] > 0.25
    assert "19 of 20 cases: Haematoxylin: strength" in result.err
    page = (tmp_path / "out" / "drift.html").read_text(encoding="utf-8")
    assert "ALARM: Haematoxylin: strength changed against the reference" in page
    assert "<script" not in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert told["files"] == ["drift.json", "drift.html", "indicators.svg"]
    assert (tmp_path / "out" / "indicators.svg").read_bytes().startswith(b"<?xml")
    assert [event.new["alarms"] for event in events(store) if event.new] == [told["alarms"]]


def test_a_new_scanner_and_other_features_are_alarms(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """A scanner that the reference doesn't know, and features a little apart, alarm each by name."""
    changed = [replace(one, scanner="<b>P1000</b>", shift=0.8) for one in NEW]
    predict(store, tmp_path / "new", changed, seed=1)
    result = drift("new")
    assert set(result.json["alarms"]) == {"scanner", "feature_means", "feature_tiles"}
    assert indicators(result)["scanner"]["new"] == ["<b>P1000</b>"]
    assert "Note: Scanner: <b>P1000</b> not in the reference." in result.err
    assert "<b>P1000</b>" not in (tmp_path / "out" / "drift.html").read_text(encoding="utf-8")


def test_few_patients_are_said_and_are_no_alarm(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    """Ten slides of three patients, however odd, test nothing: status 0, and no all-clear."""
    few = [Drawn(f"N{number}", f"n{number % 3}", input={"brightness": 0.1}) for number in range(10)]
    predict(store, tmp_path / "new", few)
    result = drift("new")
    assert result.status == 0, result.err
    assert result.json["status"] == "undefined: 3 patients now"
    assert result.json["tested"] == 0
    shown = pathquorum("drift", "--predictions", "new", "--to", tmp_path / "out")
    assert "Nothing could be tested (undefined: 3 patients now): no alarm, and no all-clear." in (
        shown.out
    )


def test_many_slides_of_one_patient_count_once(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """Forty dark slides of one patient among six don't alarm; as many patients would."""
    dark = {"brightness": 0.1}
    slides = [Drawn(f"D{number}", "dark", input=dark) for number in range(40)]
    predict(store, tmp_path / "new", [*slides, *NEW[:5]], seed=1)
    result = drift("new")
    assert result.json["slides"]["current"] == 45
    assert result.json["patients"]["current"] == 6
    assert not indicators(result)["brightness"]["alarm"]
    predict(store, tmp_path / "all", [replace(one, input=dark) for one in NEW], seed=1)
    assert indicators(drift("all"))["brightness"]["alarm"]


def test_patients_of_the_training_and_of_the_reference_are_left_out(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    """Slides of trained patients, of reference patients, and what is not done are named, not used."""
    trained = sorted({f"R{number:02}" for number in range(40)} - set(reference))
    odd = [
        Drawn(trained[0]),
        Drawn("again", f"p-{trained[1]}"),
        Drawn("other", f"p-{reference[0]}"),
        Drawn("lost", "lost", state="failed"),
    ]
    predict(store, tmp_path / "new", [*NEW, *odd], seed=1)
    result = drift("new")
    assert result.json["slides"]["current"] == 20
    assert set(result.json["notes"]) >= {
        "2 slides left out: of patients whom the model was trained on",
        "1 slide left out: of patients who are in the reference",
        "1 slide left out: failed, not done",
    }


def test_the_newer_slides_of_a_run_are_held_against_its_older_ones(
    store: Store, pathquorum: Pathquorum, drift: Drift, tmp_path: Path
) -> None:
    """Without a run over the release `--since` divides the run itself, by when slides came in."""
    released(store, pathquorum)
    day = datetime(2026, 3, 1, tzinfo=UTC)
    rng = np.random.default_rng(0)
    slides = [replace(one, added_at=day + timedelta(days=number)) for number, one in enumerate(NEW)]
    slides = [
        replace(one, input={"focus": float(rng.uniform(5, 10))}) if number >= 10 else one
        for number, one in enumerate(slides)
    ]
    predict(store, tmp_path / "new", slides)
    told = refused(drift("new"))
    assert told.startswith("no run of this model covers the parts of its release")
    result = drift("new", "--since", "2026-03-11", "--until", "2026-03-18")
    assert (result.json["reference"], result.json["alarms"]) == ("new", ["focus"])
    assert result.json["slides"] == {"reference": 10, "current": 8}
    assert drift("new", "--since", "2026-03-06", "--until", "2026-03-10").status == 0


def test_runs_are_known_and_of_one_model(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """A run of another model is refused as reference, and so is one that nobody knows."""
    predict(store, tmp_path / "new", NEW, seed=1)
    add_model(store, "other", "c" * 64)
    predict(store, tmp_path / "theirs", NEW, weights_sha256="c" * 64)
    assert refused(drift("theirs", "--reference", "base")).startswith(
        "prediction runs 'theirs' and 'base' are of different models"
    )
    assert refused(drift("theirs")).startswith("no run of this model covers")
    assert refused(drift("nwe")) == (
        "no prediction run 'nwe' (near: new); make one with `pathquorum predict`"
    )
    assert refused(drift("99")).startswith("no prediction run '99'")
    assert events(store) == []


def test_faults_are_one_line_and_leave_no_trace(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """Files changed, cut or absent, days in disorder, nothing left: refused, unwritten, unrecorded."""
    predict(store, tmp_path / "new", NEW, seed=1)
    assert refused(drift("new", "--permutations", 50)).startswith("50 permutations can't show")
    assert refused(drift("new", "--since", "2026-02-01", "--until", "2026-01-01")) == (
        "--until 2026-01-01 is before --since 2026-02-01; exchange them"
    )
    assert refused(drift("new", "--since", "2099-01-01")).startswith(
        "no slide of prediction run 'new' is left as a current one (20 came into the store on other"
    )
    path = tmp_path / "new" / "slides" / "N03.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    told = refused(drift("new"))
    assert "N03.h5' is not the one on record for slide 'N03' of run 'new'" in told
    path.unlink()
    assert "N03.h5'" in refused(drift("new"))
    path.write_bytes(whole)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("mine")
    assert "is a file; give a folder to write into" in refused(drift("new"))
    assert events(store) == []


def test_the_seed_alone_decides(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """A run by name and by number gives the same, another seed other p-values of the same distances."""
    predict(store, tmp_path / "new", NEW, seed=1)
    first, again, other = drift("new"), drift("2"), drift("new", "--seed", 1)
    assert first.json == again.json
    p = [[one["p_value"] for one in result.json["indicators"]] for result in (first, other)]
    assert p[0] != p[1]
    assert indicators(first)["focus"]["statistic"] == indicators(other)["focus"]["statistic"]


def test_uncertainty_of_two_kinds_is_not_compared(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path
) -> None:
    """Entropy over passes and of a single pass are two things; a model of pixels has no features."""
    single = [replace(one, result={"uncertainty": "none"}) for one in NEW]
    predict(store, tmp_path / "new", single, seed=1, features=False)
    found = indicators(drift("new"))
    assert found["entropy"]["status"].startswith(
        "undefined: computed in different ways: mc-dropout"
    )
    assert found["max_probability"]["status"] == "ok"
    assert found["feature_means"]["status"] == "undefined: 0 patients now"


def test_reads_with_predictions_in_sight_are_watched(
    reference: list[str], drift: Drift, store: Store, tmp_path: Path, study_reads: Callable
) -> None:
    """Where more of the reads have seen predictions than before, that is an alarm of people's."""
    predict(store, tmp_path / "new", NEW, seed=1)
    study_reads(dict.fromkeys(reference, False) | {one.name: True for one in NEW})
    result = drift("new")
    assert result.json["alarms"] == ["ai_assisted"]
    found = indicators(result)["ai_assisted"]
    assert (found["reference"]["median"], found["current"]["median"]) == (0, 1)


@pytest.fixture
def study_reads(store: Store) -> Callable[[dict[str, bool]], None]:
    """Adds a read to slides, with or without predictions in sight, as a pull would record it."""

    def add(assisted: dict[str, bool]) -> None:
        from annotation.lookup import find_annotator, find_protocol
        from annotation.store import SOFTWARE_VERSION, now
        from annotation.tables import Pull, SourceFile

        with store.writing() as session:
            protocol, reader = find_protocol(session, None), find_annotator(session, "P1")
            pull = Pull(at=now(), source="x", software_version=SOFTWARE_VERSION)
            session.add_all([pull, SourceFile(sha256="d" * 64, size_bytes=0, chunks=0)])
            session.flush()
            for name, is_assisted in assisted.items():
                slide = session.scalars(select(Slide).where(Slide.name == name)).one()
                read = Read(
                    slide_id=slide.id, annotator_id=reader.id, protocol_id=protocol.id,
                    replicate=1, based_on_id=None,
                )  # fmt: skip
                session.add(read)
                session.flush()
                session.add(
                    PullRead(
                        pull_id=pull.id, read_id=read.id, source_sha256="d" * 64,
                        read_date=now().date(), read_date_source="given", counts={},
                        rejections=[], copied=[], excluded="not for this test",
                        circumstances={"ai_assisted": is_assisted},
                    )
                )  # fmt: skip

    return add
