"""Predictions of what a model was trained on, by models that have not seen it: kept, resumed, judged."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from annotation.store import Store
from models.datasets.bags import bag_dataset
from models.datasets.releases import open_training_release
from models.errors import ModelFileError
from models.mil.training import predict
from models.model_file import load_model, read_description
from models.noise.folds import folds_of
from models.training import training_run
from models.training.feature_learning import KeptBags
from models.training.out_of_fold import (
    FILE,
    FINAL_MODEL,
    KeptPredictions,
    read_out_of_fold,
    write_out_of_fold,
)
from tests.conftest import CommandResult
from tests.models.evaluation.study import Study, released_slides
from tests.models.training.test_train_command import released as released_regions

Pathquorum = Callable[..., CommandResult]
Train = Callable[..., CommandResult]


@pytest.fixture
def study(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Study:
    return released_slides(store, pathquorum, tmp_path / "features")


@pytest.fixture
def train(study: Study, pathquorum: Pathquorum, tmp_path: Path) -> Train:
    def call(*more: object, to: str = "run", model: str = "mean") -> CommandResult:
        return pathquorum(
            "train", "--release", "v1", "--features", study.features, "--model", model, "--name", to,
            "--to", tmp_path / to, "--epochs", 4, "--learning-rate", 0.1, "--device", "cpu",
            "--no-baseline", "--json", *more,
        )  # fmt: skip

    return call


def kept_in(folder: Path) -> KeptPredictions:
    described = read_description(folder)
    assert described.out_of_fold_sha256 is not None
    return read_out_of_fold(folder, described.out_of_fold_sha256, len(described.classes))


def refused(result: CommandResult) -> str:
    assert (result.status, result.out) == (1, "")
    return result.err.splitlines()[-1]


def evaluated(pathquorum: Pathquorum, study: Study, out: Path, *more: object) -> CommandResult:
    return pathquorum("evaluate", "--model", "run", "--release", "v1", "--features", study.features,
                      "--to", out, "--bootstrap", 20, "--device", "cpu", "--json", *more)  # fmt: skip


def test_what_a_model_was_trained_on_is_predicted_without_it_and_doubted_as_well(
    train: Train, pathquorum: Pathquorum, store: Store, study: Study, tmp_path: Path
) -> None:
    """In folds by patient, and validation by the final model, whose weights are as without."""
    assert train(to="plain").json["out_of_fold"] is False
    assert not (tmp_path / "plain" / FILE).exists()
    assert train("--out-of-fold", 3).json["out_of_fold"] is True
    weights = [(tmp_path / to / "model.safetensors").read_bytes() for to in ("run", "plain")]
    assert weights[0] == weights[1]
    kept, split = kept_in(tmp_path / "run"), read_description(tmp_path / "run").split
    final = kept.fold == FINAL_MODEL
    slides = np.array(kept.slides)[kept.slide]
    assert sorted(slides[final]) == split["val"]
    assert sorted(slides[~final]) == split["train"]
    patients = np.array([int(name[1:]) for name in slides[~final]])
    assert kept.fold[~final].tolist() == folds_of(patients, 3, 0).tolist()
    assert kept.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.isnan(kept.corner_px).all()
    with store.reading() as session:
        bags = bag_dataset(open_training_release(session, "v1"), study.features)
    numbers = np.array([bags.targets.names.index(name) for name in slides[final]])
    expected = predict(load_model(tmp_path / "run").network, KeptBags(bags), numbers)  # type: ignore[arg-type]
    assert kept.probabilities[final] == pytest.approx(expected, abs=1e-5)

    result = evaluated(pathquorum, study, tmp_path / "out")
    assert result.status == 0, result.err
    issues = result.json["label_issues"]
    assert "train" in {issue["part"] for issue in issues}
    for issue in issues:
        assert issue["slide"] in split[issue["part"]]
        assert issue["predicted_by"].startswith("model without fold ") == (issue["part"] == "train")
    margins = [issue["p_given"] - issue["p_suggested"] for issue in issues]
    assert margins == sorted(margins)
    assert [issue["rank"] for issue in issues] == list(range(1, len(issues) + 1))
    with (tmp_path / "out" / "review.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["part"], row["predicted_by"]) for row in rows] == [
        (issue["part"], issue["predicted_by"]) for issue in issues
    ]

    path = tmp_path / "run" / FILE
    for content, told in (
        (path.read_bytes()[:-4], "is not the file that"),
        (None, "can't be read"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert told in refused(evaluated(pathquorum, study, tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_em_net_keeps_it_anyway(train: Train, tmp_path: Path) -> None:
    """With as many folds as are asked for."""
    assert train("--method", "em-net", "--out-of-fold", 2, "--epochs", 1).status == 0
    assert read_description(tmp_path / "run").found["folds"] == 2
    assert kept_in(tmp_path / "run").fold.max() + 1 == 2


def test_a_signal_between_folds_changes_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed, the file is the same bytes; with another number of folds it does not go on."""
    assert train("--out-of-fold", 3, "--epochs", 1, to="alone").status == 0
    began: list[str] = []

    def watch(method: str, stage: str) -> Callable[[int, int, float], None]:
        began.append(stage)
        if len(began) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return lambda *_: None

    original = training_run.train
    with monkeypatch.context() as patch:
        patch.setattr(
            training_run,
            "train",
            lambda store, request, *, say, **_: original(store, request, say=say, watch=watch),
        )
        assert train("--out-of-fold", 3, "--epochs", 1).status == 75
        assert "another out_of_fold: 3, now 2" in refused(
            train("--out-of-fold", 2, "--epochs", 1, "--resume")
        )
        assert train("--out-of-fold", 3, "--epochs", 1, "--resume").status == 0
    assert began[:3] == ["final", "fold-1-of-3", "fold-2-of-3"]
    for name in (FILE, "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_tiles_are_found_again_by_their_corners(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """Doubted tiles of the training are outlined in QuPath where they lie."""
    features = released_regions(store, pathquorum, "regions", tmp_path)
    made = pathquorum("train", "--release", "v1", "--features", features, "--model", "tile-mlp",
                      "--name", "run", "--to", tmp_path / "run", "--epochs", 1, "--device", "cpu",
                      "--no-baseline", "--out-of-fold", 2)  # fmt: skip
    assert made.status == 0, made.err
    kept = kept_in(tmp_path / "run")
    assert not (kept.corner_px % 128).any()
    result = evaluated(
        pathquorum, Study(features, {}), tmp_path / "out", "--review", tmp_path / "q"
    )
    assert result.status == 0, result.err
    issues = result.json["label_issues"]
    assert {issue["part"] for issue in issues} == {"train", "val", "test"}
    assert result.json["reviewed"]["pushed"] == len(issues)
    corners = {
        (kept.slides[slide], *corner)
        for slide, corner in zip(kept.slide.tolist(), kept.corner_px.tolist(), strict=True)
    }
    trained = [i for i in issues if i["part"] != "test"]
    assert {(i["slide"], i["x_px"], i["y_px"]) for i in trained} <= corners


def test_what_is_not_of_this_format_is_refused(tmp_path: Path) -> None:
    """Of other classes, another file of safetensors, and rows that do not fit together."""
    kept = KeptPredictions(
        ["S"],
        np.zeros(2, np.int64),
        np.full((2, 2), np.nan),
        np.arange(2),
        np.full((2, 2), 0.5, "f4"),
    )
    digest = write_out_of_fold(tmp_path, kept)
    again = read_out_of_fold(tmp_path, digest, 2)
    assert (again.slides, again.fold.tolist()) == (["S"], [0, 1])
    arrays = load_file(tmp_path / FILE)
    about = '{"format":"pathquorum-out-of-fold/1","slides":["S"]}'
    for classes, changed, told in (
        (7, arrays, about),
        (2, arrays, about.replace("fold/1", "fold/9")),
        (2, arrays, about.replace('"S"', "1")),
        (2, arrays, ""),
        (2, {**arrays, "fold": np.arange(3)}, about),
        (2, {**arrays, "slide": np.array([0, 1])}, about),
        (2, {"fold": np.arange(3)}, about),
        (2, {**arrays, "probabilities": np.full((2, 2), np.nan, "f4")}, about),
    ):
        save_file(changed, tmp_path / FILE, metadata={"about": told})
        digest = hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest()
        with pytest.raises(ModelFileError, match="does not hold predictions of this version"):
            read_out_of_fold(tmp_path, digest, classes)


def test_what_cannot_be_cross_fitted_is_refused(
    train: Train, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    assert "leaves nothing out; give 2 folds or more" in refused(train("--out-of-fold", 1))
    masks = pathquorum("train", "--release", "v1", "--model", "unet", "--name", "u", "--to",
                       tmp_path / "u", "--out-of-fold", 3)  # fmt: skip
    assert "--out-of-fold, and unet learns from pixels, which are too many to keep" in refused(
        masks
    )
