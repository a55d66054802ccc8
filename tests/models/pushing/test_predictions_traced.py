"""From a pushed prediction back to the reads that its model learnt from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.store import Store
from tests.conftest import CommandResult, feature, square
from tests.models.prediction.written_run import SETTINGS, WEIGHTS, write_run

Study = Callable[..., CommandResult]


@pytest.fixture
def predicted(
    study: Study, store: Store, write_export: Callable[..., Path], tmp_path: Path
) -> Study:
    """Two raters, their release R1, a model of it, and its run p1: S1 is done, S2 failed."""
    for handle in ("P1", "P2"):
        export = write_export([feature(square(0, 0, 200), "Benign")], handle)
        arguments = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        assert study("pull", export, *arguments).status == 0
    for command in (
        "consensus run --protocol prostate",
        "release create R1 --run 1",
        "slide add S2 --width 1000 --height 800 --mpp 0.5",
    ):
        assert study(*command.split()).status == 0
    write_run(store, tmp_path / "p1", ("S1",), failed=("S2",), release="R1")
    to = ("--to", tmp_path / "out", "--allow-missing")
    assert study("push", "--predictions", "p1", *to).status == 0
    return study


def test_a_pushed_prediction_leads_back_to_the_reads(predicted: Study, tmp_path: Path) -> None:
    written = json.loads((tmp_path / "out" / "S1.geojson").read_bytes())["features"]
    for one in written:
        found = predicted("trace", one["id"], "--json").json
        assert found["object"]["class"] == one["properties"]["classification"]["name"]
        assert found["predictions"]["name"] == "p1"
        assert found["predictions"]["settings_sha256"] == SETTINGS
        (slide,) = found["predictions"]["slides"]
        assert (slide["slide"], slide["predicted"]) == ("S1", "=Tumor")
        assert found["model"]["weights_sha256"] == WEIGHTS
        assert found["release"]["release"] == "R1"
        assert found["run"]["run"] == 1
        assert {read["annotator"] for read in found["reads"]} == {"P1", "P2"}
    told = predicted("trace", written[0]["id"]).out
    assert "Predictions p1" in told
    assert "trained on release R1" in told


@pytest.mark.parametrize("identifier", ["predictions:p1", "predictions:1"])
def test_a_prediction_run_is_traced_by_name_and_number(predicted: Study, identifier: str) -> None:
    found = predicted("trace", identifier, "--json").json
    assert found["kind"] == "prediction run"
    states = {slide["slide"]: slide["state"] for slide in found["predictions"]["slides"]}
    assert states == {"S1": "done", "S2": "failed"}
    assert len(found["reads"]) == 2
    assert "slides: 1 done, 1 failed" in predicted("trace", identifier).out


def test_a_run_that_is_not_on_record_is_one_line(predicted: Study) -> None:
    refused = predicted("trace", "predictions:p2")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "no prediction run 'p2'" in refused.err


def test_a_slides_page_lists_what_was_predicted_of_it(predicted: Study) -> None:
    page = predicted("slide", "show", "S1", "--json").json
    (run,) = page["prediction_runs"]
    assert (run["predictions"], run["model"], run["predicted"]) == ("p1", "m", "=Tumor")
    (push,) = page["predictions"]
    assert (push["origin"], push["objects"]) == ("predictions/p1", 2)
    assert "Predictions p1, model m: =Tumor (0.70)" in predicted("slide", "show", "S1").out
    assert "Predictions p1, model m: failed, no tissue" in predicted("slide", "show", "S2").out


def test_status_counts_runs_and_their_slides(predicted: Study) -> None:
    assert predicted("status", "--json").json["predictions"] == {
        "runs": 1,
        "done": 1,
        "failed": 1,
        "waiting": 0,
    }
    assert "1 prediction run, slides: 1 done, 1 failed, 0 waiting." in predicted("status").out
