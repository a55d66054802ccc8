"""Regions under triage: what catches a positive area, and from region files to a queue of outlines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from annotation.lookup import find_slide
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import add_slide_without_image
from consensus.release import find_release
from consensus.tables import Dispute, Model, PredictedSlide, PredictionRun
from models.prediction.regions import PredictedRegion
from models.prediction.regions_file import RegionsOrigin, write_regions
from models.prediction.slide_file import SlidePrediction, write_slide_prediction
from models.triage.regions import reached_at
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, NOTHING, Item, build_run
from tests.models.triage.study import WEIGHTS, file_of

Triage = Callable[..., CommandResult]

CLASSES = ("Benign", "=Tumor", "background")
ALL_TUMOR = dict.fromkeys(("P1", "P2", "P3"), "=Tumor")
LEFT, MIDDLE, RIGHT = (shapely.box(x, 0, x + 200, 400) for x in (0, 300, 600))
N_SLIDES = 60
NEW = ("N0", "N1")


def region(polygon: shapely.Polygon, label: str, unsure: float) -> PredictedRegion:
    return PredictedRegion(polygon, label, 1 - unsure, unsure + 0.1, unsure, polygon.area * 0.25)


def predicted(number: int) -> list[PredictedRegion]:
    """The model finds the tumour on the left; on every fourth slide it calls half of it benign.

    It is unsure of that half, and sure of all else.
    """
    if number % 4:
        return [region(LEFT, "=Tumor", 0.1), region(MIDDLE, "Benign", 0.05)]
    upper, lower = shapely.box(0, 0, 200, 250), shapely.box(0, 250, 200, 400)
    return [
        region(upper, "Benign", 0.5 + number / 1000),
        region(lower, "=Tumor", 0.1),
        region(MIDDLE, "Benign", 0.05),
    ]


@pytest.fixture
def study(store: Store, pathquorum: Callable[..., CommandResult], tmp_path: Path) -> Triage:
    """Sixty slides with a tumour each, nearly all in the calibration part, and two new ones."""
    names = [f"A{number:02}" for number in range(N_SLIDES)]
    rest = shapely.difference(shapely.box(0, 0, 1000, 800), shapely.union_all([LEFT, MIDDLE]))
    items = [
        item
        for name in names
        for item in (
            Item(name, LEFT, ALL_TUMOR, "=Tumor"),
            Item(name, MIDDLE, ALL_BENIGN, "Benign"),
            Item(name, rest, NOTHING, "background"),
        )
    ]
    number = build_run(store, items, slides={name: {"patient": f"p{name}"} for name in names})
    split = "train=0.1,calibration=0.8,test=0.1"
    made = pathquorum("release", "create", "v1", "--run", number, "--split", split)
    assert made.status == 0, made.err
    with store.writing() as session:
        release = find_release(session, "v1")
        model = Model(
            name="m", at=now(), release_id=release.id, manifest_sha256=release.manifest_sha256,
            method="soft", config={}, metrics={}, baseline_id=None, folder="m",
            weights_sha256=WEIGHTS, software_version=SOFTWARE_VERSION,
        )  # fmt: skip
        session.add(model)
        session.flush()
        run = PredictionRun(
            name="night", at=now(), model_id=model.id, settings={}, folder=str(tmp_path / "night"),
            members=[{"model": "m", "weights_sha256": WEIGHTS}], settings_sha256="b" * 64,
            software_version=SOFTWARE_VERSION,
        )  # fmt: skip
        session.add(run)
        session.flush()
        for name in NEW:
            add_slide_without_image(
                session, name, width_px=1000, height_px=800, mpp=0.5, patient=name
            )
        for place, name in enumerate((*names, *NEW)):
            session.add(written(session, run, name, predicted(place), tmp_path / "night"))

    def triage(*more: object) -> CommandResult:
        return pathquorum(
            "triage", "--predictions", "night", "--positive", "=Tumor", "--target",
            "sensitivity=0.8", "--confidence", 0.9, "--bootstrap", 20, "--json", *more,
        )  # fmt: skip

    return triage


def written(
    session: Any, run: PredictionRun, name: str, regions: list[PredictedRegion], folder: Path
) -> PredictedSlide:
    """A slide of the run with both of its files."""
    x, y = np.meshgrid(np.arange(10) * 100.0, np.arange(8) * 100.0)
    left = np.column_stack([x.ravel(), y.ravel()])
    p = np.where(left[:, :1] < 200, [[0.5, 0.4, 0.1]], [[0.9, 0.05, 0.05]]).astype(np.float32)
    tiles = SlidePrediction(
        slide=name, fingerprint="", width_px=1000, height_px=800, mpp=0.5, side_px=100.0,
        kind="tiles", classes=CLASSES, weights_sha256=(WEIGHTS,), settings_sha256="b" * 64,
        coordinates=left, probability=p, variance=p * 0, entropy=p[:, 0], mutual_information=p[:, 0],
    )  # fmt: skip
    tiles_file, regions_file = (
        file_of(folder, "slides", name, ".h5"), file_of(folder, "regions", name, ".geojson.gz"),
    )  # fmt: skip
    write_slide_prediction(tiles_file, tiles)
    write_regions(regions_file, regions, RegionsOrigin.of(tiles))
    return PredictedSlide(
        run_id=run.id, slide_id=find_slide(session, name).id, state="done", attempts=1,
        result={"kind": "tiles"},
        output_sha256=hashlib.sha256(tiles_file.read_bytes()).hexdigest(),
        regions_sha256=hashlib.sha256(regions_file.read_bytes()).hexdigest(),
    )  # fmt: skip


def test_unsure_regions_become_disputes_with_their_outline(
    study: Triage, store: Store, pathquorum: Callable[..., CommandResult]
) -> None:
    """The half that the model calls benign is escalated, and nothing else of 2 slides and 5 regions."""
    done = study()
    assert done.status == 0, done.err
    document = done.json
    assert document["unit"] == "regions"
    assert document["triaged"]["units"] == 5
    assert [one["slide"] for one in document["slides"] if one["state"] == "escalated"] == ["N0"]
    bound = document["calibration"]["sensitivity"]
    assert bound["patients"] == bound["caught"] == bound["positives"] == 24
    # Of tumours that are not escalated, the model calls each one so.
    assert document["calibration"]["automatic"]["value"] == 1.0
    # On a fourth of the slides one region of three, on the others none of two.
    assert document["calibration"]["automatic_share"] == pytest.approx(1 - 1 / 9, abs=0.05)
    with store.reading() as session:
        (dispute,) = session.query(Dispute)
        assert shapely.from_wkb(dispute.geometry).equals(shapely.box(0, 0, 200, 250))
        assert dispute.weight == 200 * 250 * 0.25
    (entry,) = pathquorum("adjudicate", "list", "--json").json["disputes"]
    assert entry["predicted"] == pytest.approx(
        {"Benign": 0.5, "=Tumor": 0.4, "background": 0.1}, abs=1e-6
    )
    again = study().json
    assert (again["triage"], again["added"]) == (document["triage"], 0)
    curves = document["coverage_risk"]
    assert [one["measure"] for one in curves["measures"]] == [
        "mutual-information", "max-probability", "entropy", "random"
    ]  # fmt: skip
    # Every error is a region of which the model is unsure, so that all else comes before.
    assert curves["measures"][0]["aurc"]["value"] < 0.02 < curves["measures"][-1]["aurc"]["value"]


def test_a_file_that_is_not_the_one_on_record_is_refused(study: Triage, tmp_path: Path) -> None:
    """A region file that was changed, and one that is gone; a measure that regions lack."""
    path = file_of(tmp_path / "night", "regions", "N1", ".geojson.gz")
    kept = path.read_bytes()
    for damage, told in (
        (lambda: path.write_bytes(kept[:-1]), "on record"),
        (path.unlink, "not there"),
    ):
        damage()
        result = study()
        assert (result.status, result.out) == (1, "")
        assert told in result.err
        assert "N1" in result.err
    path.write_bytes(kept)
    result = study("--measure", "max-softmax")
    assert "regions have no measure" in result.err
    assert study("--measure", "entropy").status == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=12), st.integers(1, 40))
def test_the_highest_threshold_that_still_covers_enough(
    regions: list[tuple[int, int]], enough: int
) -> None:
    """By trying every threshold there is."""
    values = np.array([float(value) for value, _ in regions])
    area = np.array([float(size) for _, size in regions])
    covering = [t for t in set(values.tolist()) if area[values >= t].sum() >= enough]
    assert reached_at(values, area, enough) == max(covering, default=-np.inf)
