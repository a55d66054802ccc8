"""Objects from slides to a judged model: a tile around each, its features, training, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from annotation.paths import file_name
from annotation.store import Store
from models.datasets.releases import TrainingRelease, open_training_release
from models.datasets.tiles import feature_objects
from models.encoders.choosing import ready_encoder
from models.features import read_features
from models.model_file import read_description
from models.reader import open_reader
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, NEGATIVE, Item, build_run
from tests.gradient_slides import give_images
from tests.models.test_encode import SPEC

Pathquorum = Callable[..., CommandResult]

SLIDES = {f"S/{n}": {"patient": f"p{n}", "site": "North"} for n in range(12)}
SPLIT = "train=0.6,val=0.2,test=0.2"
NOBODY = {"P1": NEGATIVE["objects"] or "", "P2": NEGATIVE["objects"] or "", "P3": "=Tumor"}


def objects() -> list[Item]:
    """Per slide a tumour, a benign object and what one rater took for a tumour."""
    return [
        Item(name, shapely.Point(x + 7 * n, 300).buffer(20, 5), said, label)
        for n, name in enumerate(list(SLIDES)[:-1])
        for x, said, label in (
            (20, MOST_TUMOR, "=Tumor"),
            (600, ALL_BENIGN, "Benign"),
            (400, NOBODY, "absent"),
        )
    ]


def release(store: Store, pathquorum: Pathquorum, folder: Path) -> dict[str, Path]:
    run = build_run(store, objects(), slides=SLIDES, task="objects")
    images = give_images(store, folder / "slides")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", SPLIT)
    assert made.status == 0, made.err
    return images


@pytest.fixture
def encode(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Callable[..., CommandResult]:
    (tmp_path / "tiny.toml").write_text(SPEC, encoding="utf-8")

    def call(*more: object) -> CommandResult:
        return pathquorum(
            "encode", "--release", "v1", "--encoder", tmp_path / "tiny.toml", "--random-weights",
            "--device", "cpu", "--mpp", 1, "--to", tmp_path / "features", "--json", *more,
        )  # fmt: skip

    return call


def states(result: CommandResult) -> set[str]:
    assert result.status == 0, result.err
    return {slide["state"] for slide in result.json["slides"]}


def test_each_object_is_encoded_in_the_middle_of_a_tile(
    store: Store,
    pathquorum: Pathquorum,
    tmp_path: Path,
    encode: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the slide's edge as well; kept when run again. A slide without objects needs nothing."""
    images = release(store, pathquorum, tmp_path)
    items = TrainingRelease.items
    monkeypatch.setattr(
        TrainingRelease, "items", lambda self, s: [] if s.name == "S/0" else items(self, s)
    )
    first = encode("--around", "objects")
    assert states(first) == {"encoded"}
    assert len(first.json["slides"]) == len(SLIDES) - 2
    assert "S/0: nobody found an object, nothing to encode" in first.err
    found = read_features(tmp_path / "features" / file_name("S/2", ".h5"))
    assert found.origin.of_objects
    assert found.coordinates == pytest.approx(
        np.array([[20 + 14, 300], [614, 300], [414, 300]]) - found.origin.side_px / 2, abs=0.05
    )
    assert found.coordinates[0, 0] < 0
    encoder = ready_encoder(
        str(tmp_path / "tiny.toml"), weights=None, random_weights=True, seed=0, device="cpu",
        precision=None,
    )  # fmt: skip
    with open_reader(images["S/2"]) as reader:
        for row, (x_px, y_px) in enumerate(found.coordinates):
            tile = reader.read(x_px, y_px, mpp=1.0, size_px=64)
            assert encoder.features(tile[None])[0] == pytest.approx(found.features[row], abs=1e-6)
    assert states(encode("--around", "objects")) == {"kept"}
    with store.reading() as session:
        data = feature_objects(open_training_release(session, "v1"), tmp_path / "features")
        assert len(data) == 3 * (len(SLIDES) - 2)
        assert set(data.targets.hard.tolist()) == {0, 1, 2}


def test_objects_are_learnt_and_judged(
    store: Store, pathquorum: Pathquorum, tmp_path: Path, encode: Callable[..., CommandResult]
) -> None:
    """Items are objects, each of weight 1; doubted ones are listed with their places."""
    release(store, pathquorum, tmp_path)
    assert encode("--around", "objects").status == 0
    features = ("--features", tmp_path / "features")
    made = pathquorum(
        "train", "--release", "v1", *features, "--model", "tile-mlp", "--name", "m", "--method", "majority",
        "--to", tmp_path / "run", "--epochs", 1, "--device", "cpu", "--no-baseline", "--json",
    )  # fmt: skip
    assert made.status == 0, made.err
    assert read_description(tmp_path / "run").input["tiling"]["around"] == "objects"
    told = pathquorum(
        "evaluate", "--model", "m", "--release", "v1", *features, "--to", tmp_path / "out",
        "--bootstrap", 20, "--device", "cpu", "--json",
    )  # fmt: skip
    assert told.status == 0, told.err
    assert told.json["item"] == "object"
    assert told.json["items"] == 3 * told.json["slides"] > 0
    assert {issue["side_px"] for issue in told.json["label_issues"]} <= {128.0}
    assert "objects of" in (tmp_path / "out" / "card.html").read_text(encoding="utf-8")


def test_features_of_other_tiles_are_refused(
    store: Store, pathquorum: Pathquorum, tmp_path: Path, encode: Callable[..., CommandResult]
) -> None:
    """Of tiles over tissue, of other objects, and around objects where regions are wanted."""
    release(store, pathquorum, tmp_path)
    tissue = tmp_path / "tissue.toml"
    tissue.write_text(
        "smallest_um2 = 0\nmin_sharpness = 0\npens = false\nmin_share = 0\n", encoding="utf-8"
    )
    train = (
        "train", "--release", "v1", "--features", tmp_path / "features", "--model", "tile-mlp",
        "--name", "m", "--to", tmp_path / "run",
    )  # fmt: skip
    assert encode("--tissue", tissue).status == 0
    result = pathquorum(*train)
    assert (result.status, result.out) == (1, "")
    assert (
        "is not of the objects of release 'v1'; run `pathquorum encode --release v1" in result.err
    )
    assert states(encode("--around", "objects")) == {"redone"}
    for wrong in (("--allow-missing",), ("--overlap", 4)):
        assert encode("--around", "objects", *wrong).status == 2


def test_only_releases_of_objects_have_objects(
    store: Store, pathquorum: Pathquorum, tmp_path: Path, encode: Callable[..., CommandResult]
) -> None:
    """A release of regions is refused by its name."""
    square = shapely.box(0, 0, 500, 500)
    items = [Item(name, square, ALL_BENIGN, "Benign") for name in SLIDES]
    run = build_run(store, items, slides=SLIDES)
    give_images(store, tmp_path / "slides")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", SPLIT).status == 0
    result = encode("--around", "objects")
    assert (result.status, result.out) == (1, "")
    assert "this needs a release of objects, and 'v1' is of regions" in result.err
