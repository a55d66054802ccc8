"""Labels worth another look: against cleanlab, and on their way to QuPath and back."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from annotation.paths import name_of_file
from annotation.pushed import is_prediction
from annotation.store import Store
from annotation.tables import PushedObject
from models.evaluation.figures import scored
from models.evaluation.label_issues import label_issues
from models.evaluation.review_list import review_table
from models.targets import Targets
from tests.conftest import CommandResult
from tests.models.evaluation.study import released_slides, saved_model
from tests.models.training.test_train_command import released as released_regions

Build = Callable[..., Targets]
Pathquorum = Callable[..., CommandResult]


@given(seed=st.integers(0, 10_000), n=st.integers(15, 80))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_issues_are_those_of_cleanlab(build_targets: Build, seed: int, n: int) -> None:
    """The doubted items and their order are cleanlab's, by confident learning."""
    module = pytest.importorskip("cleanlab.filter", reason="needs cleanlab, the authors' own code")
    rng = np.random.default_rng(seed)
    hard = np.concatenate([np.repeat(np.arange(3), 2), rng.integers(0, 3, n - 6)])
    p = rng.dirichlet([0.5] * 3, n)
    p[np.arange(n), hard] += 0.3
    p /= p.sum(axis=1, keepdims=True)
    found = [issue.item for issue in label_issues(scored(p, build_targets(hard)))]
    expected = module.find_label_issues(
        hard, p, filter_by="confident_learning", return_indices_ranked_by="normalized_margin",
        n_jobs=1, min_examples_per_class=0,
    )  # fmt: skip
    assert found == expected.tolist()


def test_a_flipped_label_comes_first(build_targets: Build) -> None:
    """Of 40 items with one flipped label that one stands first, with its reason."""
    hard = np.arange(40) % 3
    p = np.full((40, 3), 0.1)
    p[np.arange(40), hard] = 0.8
    hard[7] = 0  # was 1
    (issue,) = label_issues(scored(p, build_targets(hard)))
    assert (issue.rank, issue.item, issue.given, issue.suggested) == (1, 7, "G1", "G2")
    assert issue.reason == (
        "the consensus says G1; the model, which has not seen the patient, holds G2 to be right "
        "(80 % against 10 %)"
    )


def test_what_nobody_bears_raises_no_doubt(build_targets: Build) -> None:
    """A class without an item has no threshold to pass, however probable it is; no item, no issue."""
    hard = np.arange(20) % 2
    p = np.tile([0.05, 0.05, 0.8], (20, 1))
    p[np.arange(20), hard] = 0.15
    assert label_issues(scored(p, build_targets(hard))) == []
    assert label_issues(scored(p, build_targets(np.full(20, -1)))) == []


def test_the_table_holds_no_formula() -> None:
    """A slide or class named like a formula is quoted; what has no place is empty."""
    issue = {"rank": 1, "slide": "=cmd()", "part": "test", "predicted_by": "the model",
             "x_px": None, "y_px": None, "side_px": None, "area_um2": None,
             "given": "=Tumor", "suggested": "B", "p_given": 0.1, "p_suggested": 0.9,
             "reason": "r"}  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(review_table([issue]).decode()))
    assert (row["slide"], row["given"], row["x_px"]) == ("'=cmd()", "'=Tumor", "")


def test_doubted_tiles_go_to_qupath_and_count_as_ours(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """Each doubted tile is a locked outline at its place; pulled back it is nobody's read, and a prediction."""
    features = released_regions(store, pathquorum, "regions", tmp_path)
    arguments = {"features": 5, "classes": 3, "hidden": 8}
    model = saved_model(store, tmp_path / "m", architecture="tile-mlp", arguments=arguments)
    call = ("evaluate", "--model", model, "--release", "v1", "--features", features, "--to",
            tmp_path / "out", "--bootstrap", 20, "--review", tmp_path / "review", "--json")  # fmt: skip
    told = pathquorum(*call).json
    issues = told["label_issues"]
    assert len(issues) > 5
    assert told["reviewed"]["pushed"] == len(issues)
    assert [issue["rank"] for issue in issues] == list(range(1, len(issues) + 1))
    with (tmp_path / "out" / "review.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["reason"] for row in rows] == [issue["reason"] for issue in issues]
    drawn = {}
    for path in map(Path, told["reviewed"]["targets"]):
        for one in json.loads(path.read_bytes())["features"]:
            ring = np.array(one["geometry"]["coordinates"][0])
            assert one["properties"]["isLocked"]
            assert one["properties"]["classification"]["name"] == "Review"
            rank = int(re.match(r"\d+", one["properties"]["name"])[0])  # type: ignore[index]
            drawn[rank] = (*ring.min(axis=0), np.ptp(ring, axis=0).tolist())
    assert drawn == {
        issue["rank"]: (issue["x_px"], issue["y_px"], [issue["side_px"]] * 2) for issue in issues
    }
    again = pathquorum(*call).json["reviewed"]
    assert (again["pushed"], again["skipped"]) == (0, len(issues))
    path = Path(told["reviewed"]["targets"][0])
    pulled = pathquorum("pull", path, "--annotator", "P1", "--protocol", "prostate", "--json",
                        "--slide", name_of_file(path.stem), "--read-date", "2026-01-01")  # fmt: skip
    assert pulled.status == 0, pulled.err
    (read,) = pulled.json["reads"]
    assert read["ours"] == read["objects"] > 0
    with store.reading() as session:
        origins = set(session.scalars(select(PushedObject.origin)))
    assert [is_prediction(origin) for origin in origins] == [True]


def test_whole_slides_have_no_outline(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> None:
    """Of slides the list is a table; asking for outlines is refused, and nothing is written."""
    study = released_slides(store, pathquorum, tmp_path / "features")
    model = saved_model(store, tmp_path / "m", seed=3)
    call = ("evaluate", "--model", model, "--release", "v1", "--features", study.features,
            "--to", tmp_path / "out", "--bootstrap", 20, "--json")  # fmt: skip
    refused = pathquorum(*call, "--review", tmp_path / "review")
    assert (refused.status, refused.out) == (1, "")
    assert "whole slides have no outline to show in QuPath" in refused.err
    assert not (tmp_path / "out").exists()
    issues = pathquorum(*call).json["label_issues"]
    assert issues
    assert all(issue["x_px"] is None and issue["slide"] in study.truth for issue in issues)
