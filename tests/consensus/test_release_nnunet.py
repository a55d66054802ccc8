"""Datasets for nnU-Net v2, by the rules that its own check of a dataset applies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from annotation.store import Store
from consensus.adjudication import decide
from consensus.releases.masks import UNLABELLED, MaskGrid, mask_tiles
from tests.conftest import CommandResult
from tests.consensus.built_run import build_run, region_items
from tests.gradient_slides import give_images, gradient

Pathquorum = Callable[..., CommandResult]

SLIDES = {f"S {n}": {"patient": f"p{n // 2}"} for n in range(8)}
"""Two slides a patient."""

SIZES = ("--mpp", 1, "--tile-px", 128)


def export(pathquorum: Pathquorum, folder: Path, *options: object) -> CommandResult:
    return pathquorum(
        "release", "export", "v1", "--format", "nnunet", "--to", folder, "--json", *options
    )


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def verified(folder: Path) -> dict[str, Any]:
    """What nnU-Net holds a dataset against before it plans anything, written out anew."""
    dataset: dict[str, Any] = json.loads((folder / "dataset.json").read_bytes())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= dataset.keys()
    labels, ending = dataset["labels"], dataset["file_ending"]
    assert labels["background"] == 0
    assert sorted(labels.values()) == list(range(len(labels)))
    assert labels["ignore"] == max(labels.values())
    # nnU-Net cuts _0000.png off, and looks for the label of that name.
    images = [p.name[: -len(ending) - 5] for p in (folder / "imagesTr").glob(f"*{ending}")]
    assert len(set(images)) == len(images) == dataset["numTraining"]
    for case in images:
        of_case = re.compile(re.escape(case) + r"_\d\d\d\d" + re.escape(ending))
        channels = [p for p in (folder / "imagesTr").iterdir() if of_case.fullmatch(p.name)]
        picture, label = read(channels[0]), read(folder / "labelsTr" / f"{case}{ending}")
        assert len(channels) == 1
        assert picture.shape == (*label.shape, len(dataset["channel_names"]))
        assert set(np.unique(label)) <= set(labels.values())
        assert (label != labels["ignore"]).any()
    assert len(list((folder / "labelsTr").iterdir())) == len(images)
    return dataset


@pytest.fixture
def run(store: Store, tmp_path: Path) -> int:
    items = [item for slide in SLIDES for item in region_items(slide)]
    number = build_run(store, items, slides=SLIDES)
    give_images(store, tmp_path / "slides")
    with store.writing() as session:
        decide(session, 1, by="L", reason="r", answer="class", path_class="=Tumor")
        decide(session, 2, by="L", reason="r", answer="exclude")
    return number


def release(pathquorum: Pathquorum, run: int, split: str) -> None:
    made = pathquorum("release", "create", "v1", "--run", run, "--split", split)
    assert made.status == 0, made.err


def test_a_dataset_passes_nnunets_rules_and_holds_masks_and_pixels_of_the_same_place(
    run: int, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    release(pathquorum, run, "train=0.5,val=0.25,test=0.25")
    sizes = ("--mpp", 1, "--tile-px", 64)
    result = export(pathquorum, tmp_path / "out", *sizes, "--dataset-id", 7)
    assert result.status == 0, result.err
    folder = tmp_path / "out" / "Dataset007_v1"
    dataset = verified(folder)
    assert dataset["labels"] == {"background": 0, "Benign": 1, "=Tumor": 2, "ignore": 3}
    assert dataset["manifest_sha256"] == result.json["manifest_sha256"]
    about = json.loads((folder / "cases.json").read_bytes())
    cases = about["cases"]
    # All of a tile in the open dispute, which is no case and is listed.
    left_out = {(c["slide"], c["x_px"], c["y_px"]) for c in about["without_label"]}
    assert ("S 3", 0, 512) in left_out
    assert not left_out & {(c["slide"], c["x_px"], c["y_px"]) for c in cases}
    assert {case["part"] for case in cases} == {"train", "val", "test"}
    ignore = dataset["labels"]["ignore"]
    classes = ["Benign", "=Tumor", "background"]
    grid = MaskGrid(1000, 800, 0.5, 1.0, 64)
    undecided = region_items("S 3")
    tiles = {
        (column * grid.tile_side_px, row * grid.tile_side_px): codes
        for column, row, codes in mask_tiles([_resolved(item) for item in undecided], classes, grid)
    }
    compared = 0
    for case in cases:
        ending = "Ts" if case["part"] == "test" else "Tr"
        label = read(folder / f"labels{ending}" / f"{case['case']}.png")
        picture = read(folder / f"images{ending}" / f"{case['case']}_0000.png").astype(float)
        centre = (np.arange(64) + 0.5) * 2
        x, y = case["x_px"] + centre[None, :], case["y_px"] + centre[:, None]
        inside = (x < 1000) & (y < 800)
        assert np.abs(picture - gradient(x, y))[inside].max() <= 1.01
        assert (label[(x >= 900) & (y > 0)] == ignore).all()
        if case["slide"] == "S 3":
            codes = tiles[case["x_px"], case["y_px"]]
            wanted = np.array([1, 2, 0])[np.minimum(codes, 2)]
            wanted[codes >= UNLABELLED] = ignore
            np.testing.assert_array_equal(label, wanted)
            compared += 1
    assert compared > 5


def _resolved(item: Any) -> Any:
    from consensus.consensus_items import ResolvedItem

    return ResolvedItem(
        item="i", name="i", weight=1.0, pattern=item.pattern, state=item.state, label=item.label,
        posterior=(0.0, 0.0, 0.0), geometry=item.geometry,
    )  # fmt: skip


@pytest.mark.parametrize(("split", "folds"), [("train=0.5,val=0.25,test=0.25", 1), ("train=1", 4)])
def test_no_patient_stands_on_both_sides_of_a_fold(
    run: int, pathquorum: Pathquorum, tmp_path: Path, split: str, folds: int
) -> None:
    release(pathquorum, run, split)
    assert export(pathquorum, tmp_path / "out", *SIZES).status == 0
    folder = tmp_path / "out" / "Dataset500_v1"
    dataset = verified(folder)
    cases = {c["case"]: c for c in json.loads((folder / "cases.json").read_bytes())["cases"]}
    splits = json.loads((folder / "splits_final.json").read_bytes())
    assert len(splits) == folds
    held_out: list[str] = []
    for fold in splits:
        assert sorted(fold["train"] + fold["val"]) == sorted(
            name for name, case in cases.items() if case["part"] in ("train", "val")
        )
        assert len(fold["train"]) + len(fold["val"]) == dataset["numTraining"]
        patients = [{cases[name]["patient"] for name in fold[side]} for side in ("train", "val")]
        assert patients[0]
        assert patients[1]
        assert not patients[0] & patients[1]
        held_out += fold["val"]
    assert len(set(held_out)) == len(held_out)
    in_parts = {
        c["patient"]: {d["part"] for d in cases.values() if d["patient"] == c["patient"]}
        for c in cases.values()
    }
    assert {len(parts) for parts in in_parts.values()} == {1}


@pytest.mark.parametrize(
    ("split", "options", "said"),
    [
        ("train=1", (), "say how large with --mpp"),
        ("train=1", ("--mpp", 1, "--dataset-id", 0), "--dataset-id 0 can't be used"),
        ("test=1", ("--mpp", 1), "nnU-Net trains on the part 'train'"),
    ],
)
def test_what_nnunet_cannot_use_is_refused(
    run: int, pathquorum: Pathquorum, tmp_path: Path,
    split: str, options: tuple[object, ...], said: str,
) -> None:  # fmt: skip
    release(pathquorum, run, split)
    refused = export(pathquorum, tmp_path / "out", *options)
    assert (refused.status, refused.out) == (1, "")
    assert said in refused.err
    assert not (tmp_path / "out").exists()


def test_a_slide_whose_image_changed_is_refused_by_name(
    run: int, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    release(pathquorum, run, "train=1")
    image = tmp_path / "slides" / "2.tiff"
    kept = image.read_bytes()
    image.write_bytes(kept + b"\0")
    refused = export(pathquorum, tmp_path / "out", *SIZES)
    assert (refused.status, refused.out) == (1, "")
    assert "slide 'S 1' is not the image that was added" in refused.err
    image.unlink()
    refused = export(pathquorum, tmp_path / "out", *SIZES)
    assert "slide 'S 1' has no image here" in refused.err
    assert not (tmp_path / "out").exists()
