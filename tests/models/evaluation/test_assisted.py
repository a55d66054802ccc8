"""What a model is not judged on: slides that its own predictions helped to label."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely

from annotation.digests import geometry_digests
from annotation.lookup import find_slide
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.tables import PushedObject
from consensus.consensus_items import Consensus
from consensus.runs import find_run
from consensus.tables import ConsensusRun, Model, PredictionRun
from models.datasets.releases import open_training_release
from models.evaluation.assisted import assisted_slides
from models.evaluation.review_list import review_origin
from models.model_file import read_description
from tests.conftest import CommandResult, feature, square
from tests.models.evaluation.study import put_on_record, released_slides, saved_model
from tests.models.recorded_models import add_model
from tests.models.triage.study import WEIGHTS, Study, made_study

Pathquorum = Callable[..., CommandResult]
OTHER = "f" * 64


def decision(number: int, slide: str, triage: int) -> dict[str, Any]:
    """An entry of what a run counts."""
    return {
        "decision": number, "run": triage, "slide": slide, "annotator": "P3", "class": "Benign",
    }  # fmt: skip


def test_evaluate_leaves_out_and_names_what_the_model_helped_to_label(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """Of its own triage, not of another model's; not for the temperature either."""
    own, others = [f"S{n:02}" for n in range(24)], [f"S{n:02}" for n in range(24, 40)]
    counted = [decision(n, slide, 2) for n, slide in enumerate(own)]
    counted += [decision(100 + n, slide, 3) for n, slide in enumerate(others)]
    released_slides(store, pathquorum, tmp_path / "features", counted)
    folder = saved_model(store, tmp_path / "m")
    put_on_record(store, "m", folder)
    described = read_description(folder)
    with store.writing() as session:
        for weights in (described.weights_sha256, OTHER):
            session.add(triage_of(session.get_one(ConsensusRun, 1), weights))
            session.flush()

    def evaluated() -> dict[str, Any]:
        done = pathquorum(
            "evaluate", "--model", "m", "--release", "v1", "--features", tmp_path / "features",
            "--to", tmp_path / "out", "--bootstrap", 20, "--device", "cpu", "--json",
        )  # fmt: skip
        assert done.status == 0, done.err
        assert isinstance(done.json, dict)
        return done.json

    document = evaluated()
    test = set(described.split["test"])
    assert document["slides"] == len(test - set(own)) < len(test)
    assert [one["slide"] for one in document["ai_assisted"]] == own
    (note,) = [note for note in document["notes"] if "left out" in note]
    assert note.startswith("24 slides left out of the evaluation of m")
    assert "S00: decision 0 on triage 2" in note
    calibration = set(described.split["calibration"])
    assert document["calibration"]["fitted"]["patients"] == len(calibration - set(own))
    # A decision is no vote of an expert's: P3 has read none of these slides.
    assert len(test - set(own) - set(others)) == document["experts"]["P3"]["consensus"]["items"]


def triage_of(run: ConsensusRun, weights: str) -> ConsensusRun:
    return ConsensusRun(
        at=run.at, protocol_id=run.protocol_id, method="triage", classes=run.classes,
        parameters={"weights_sha256": [weights]}, input_digest="0" * 64, summary={},
        software_version=SOFTWARE_VERSION,
    )  # fmt: skip


@pytest.fixture
def study(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Study:
    return made_study(store, pathquorum, tmp_path, n_slides=6)


def test_a_read_that_saw_the_models_push_is_no_test_of_it(study: Study) -> None:
    """Of a prediction run of its weights, of its list of doubted labels, or of nobody knows what."""
    add_model(study.store, "other", OTHER)
    with study.store.writing() as session:
        for number, weights in enumerate((WEIGHTS, OTHER)):
            model = session.query(Model).filter(Model.weights_sha256 == weights).one()
            session.add(
                PredictionRun(
                    name=f"run {number}", at=now(), model_id=model.id, settings={}, folder="x",
                    members=[{"model": model.name, "weights_sha256": weights}],
                    settings_sha256="0" * 64, software_version=SOFTWARE_VERSION,
                )
            )  # fmt: skip
    saw = {
        "R000": "predictions/run 0", "R001": "predictions/run 1", "R002": "predictions/gone",
        "R003": review_origin(WEIGHTS, "0" * 64, "test"), "R004": review_origin(OTHER, "0" * 64, "test"),
    }  # fmt: skip
    for slide, origin in saw.items():
        pull_beside(study, slide, origin)
    assert (
        study.pathquorum("consensus", "run", "--protocol", "grades", "--bootstrap", 0).status == 0
    )
    with study.store.reading() as session:
        consensus = Consensus(session, find_run(session))
        own = assisted_slides(session, consensus, [WEIGHTS])
        of_other = assisted_slides(session, consensus, [OTHER])
        before = Consensus(session, find_run(session, 1))
        assert assisted_slides(session, before, [WEIGHTS]) == {}
    assert set(own) == {"R000", "R002", "R003"}
    assert set(of_other) == {"R001", "R002", "R004"}
    assert own["R000"].endswith("saw predictions/run 0")


def pull_beside(study: Study, slide: str, origin: str) -> None:
    """Pull P1's read of a slide again, from an export in which something that we pushed stands."""
    ours = feature(square(0, 0), "Review")
    polygon = shapely.box(0, 0, 100, 100)
    with study.store.writing() as session:
        session.add(
            PushedObject(
                uuid=ours["id"], origin=origin, slide_id=find_slide(session, slide).id, target="x",
                path_class="Review", geometry=shapely.to_wkb(polygon),
                geometry_digest=geometry_digests([polygon])[0], file_sha256="0" * 64,
                reverted_at=None,
            )
        )  # fmt: skip
    path = study.folder / "again" / f"{slide}.geojson"
    path.parent.mkdir(exist_ok=True)
    document = {"type": "FeatureCollection", "features": [ours], "metadata": {"grade": "Tumor"}}
    path.write_text(json.dumps(document), encoding="utf-8")
    pulled = study.pathquorum(
        "pull", path, "--annotator", "P1", "--protocol", "grades", "--accept-copy", "--json"
    )
    assert pulled.status == 0, pulled.err
    assert pulled.json["reads"][0]["ours"] == 1


def test_a_decision_is_no_vote_where_figures_are_of_raters(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """A release that is opened for that has one vote less on the slide; for training it stays."""
    released_slides(store, pathquorum, tmp_path / "features", [decision(1, "S01", 2)])
    with store.reading() as session:
        for reads_alone, raters in ((False, {"P1", "P2", "P3"}), (True, {"P1", "P2"})):
            release = open_training_release(session, "v1", reads_alone=reads_alone)
            of = {slide.name: release.items(slide) for slide in release.slides}
            assert of["S01"][0].pattern.keys() == raters
            assert of["S02"][0].pattern.keys() == {"P1", "P2", "P3"}
            assert of["S01"][0].label is not None
