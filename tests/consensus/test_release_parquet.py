"""Parquet exports, as pyarrow and pandas read them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import shapely

from annotation.store import Store
from consensus.adjudication import decide
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MPP, Item, build_run, region_items

Pathquorum = Callable[..., CommandResult]

SLIDES = {"A": {"patient": "=one", "site": "North"}, "B": {"patient": "two"}}


def export(pathquorum: Pathquorum, folder: Path) -> CommandResult:
    return pathquorum("release", "export", "v1", "--format", "parquet", "--to", folder, "--json")


@pytest.fixture
def released(store: Store, pathquorum: Pathquorum) -> Pathquorum:
    items = [item for slide in SLIDES for item in region_items(slide)]
    run = build_run(store, items, slides=SLIDES)
    with store.writing() as session:
        decide(session, 1, by="L", reason="+ clear", answer="class", path_class="=Tumor")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.5,test=0.5")
    assert made.status == 0, made.err
    return pathquorum


def test_a_row_is_an_item_with_all_that_is_known_of_it(
    released: Pathquorum, tmp_path: Path
) -> None:
    result = export(released, tmp_path / "out")
    assert result.status == 0, result.err
    table = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert len(table) == 14
    assert table.groupby("slide")["part"].nunique().tolist() == [1, 1]
    assert set(table["part"]) == {"train", "test"}
    rows = table.set_index("item")
    tumor = rows.loc["A/2"]
    assert (tumor["label"], tumor["patient"], tumor["site"], tumor["rater P3"]) == (
        "=Tumor", "=one", "North", "Benign",
    )  # fmt: skip
    assert tumor["posterior =Tumor"] == pytest.approx(2 / 3)
    assert shapely.from_wkb(tumor["geometry"]).equals(region_items()[1].geometry)
    assert tumor["weight"] == pytest.approx(region_items()[1].geometry.area * MPP**2)
    assert rows.loc["B/2"]["site"] is None
    assert rows.loc["A/4"]["rater P2"] is None
    decided = rows.loc["A/3.1"]
    assert (decided["state"], decided["decided_by"], decided["reason"], decided["decision"]) == (
        "adjudicated", "L", "+ clear", 1,
    )  # fmt: skip
    assert rows.loc["A/3.2"]["label"] is None
    shares = table[["posterior Benign", "posterior =Tumor", "posterior background"]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert table["weight"].sum() == pytest.approx(2 * 900 * 800 * MPP**2)


def test_the_schema_says_which_release_it_is(released: Pathquorum, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    result = export(released, tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out" / "items.parquet")
    about = json.loads(file.schema_arrow.metadata[b"pathquorum"])
    assert about["manifest_sha256"] == result.json["manifest_sha256"]
    assert (about["classes"], about["raters"], about["weight_unit"]) == (
        ["Benign", "=Tumor", "background"], ["P1", "P2", "P3"], "um2",
    )  # fmt: skip
    assert json.loads(file.schema_arrow.metadata[b"geo"])["primary_column"] == "geometry"
    assert file.num_row_groups == 2


def test_slides_have_no_geometry_and_empty_ones_no_rows(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    items = [
        Item("A", None, ALL_BENIGN, "Benign"),
        Item("B", None, {"P1": "Benign"}, None, "too few raters"),
    ]
    run = build_run(store, items, slides=SLIDES, task="slides")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", "train=1").status == 0
    assert export(pathquorum, tmp_path / "out").status == 0
    table = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert table["geometry"].isna().all()
    assert table["label"].tolist() == ["Benign", None]


def test_where_pyarrow_is_absent_one_line_says_what_brings_it(
    released: Pathquorum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = export(released, tmp_path / "out")
    assert (refused.status, refused.out) == (1, "")
    assert "pip install 'pathquorum[parquet]'" in refused.err
    assert not (tmp_path / "out").exists()
