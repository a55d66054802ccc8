"""`train`: from a release to models on record, stopped and gone on with on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event
from consensus.tables import Model
from models.datasets.releases import open_training_release
from models.model_file import load_model, read_description
from models.training import training_run
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MOST_TUMOR, Item, build_run, region_items
from tests.gradient_slides import give_images
from tests.models.test_datasets import SLIDES, features_of
from tests.tampering import tamper

Pathquorum = Callable[..., CommandResult]
SPLIT = "train=0.5,val=0.25,test=0.25"
QUICK = ("--epochs", 3, "--learning-rate", 0.01, "--seed", 4)


def released(store: Store, pathquorum: Pathquorum, task: str, tmp_path: Path) -> Path:
    """A release `v1`, and a folder with random features of its slides."""
    items = [item for name in SLIDES for item in region_items(name)]
    if task == "slides":
        said = ((ALL_BENIGN, "Benign"), (MOST_TUMOR, "=Tumor"))
        items = [Item(name, None, *said[n // 2 % 2]) for n, name in enumerate(SLIDES)]
    run = build_run(store, items, slides=SLIDES, task=task)
    made = pathquorum("release", "create", "v1", "--run", run, "--split", SPLIT)
    assert made.status == 0, made.err
    with store.reading() as session:
        features_of(open_training_release(session, "v1"), tmp_path / "features", weights="folder")
    return tmp_path / "features"


@pytest.fixture
def bags(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Callable[..., CommandResult]:
    """Trains on a release of slides."""
    features = released(store, pathquorum, "slides", tmp_path)

    def train(*arguments: object, to: str = "run", name: str = "m") -> CommandResult:
        return pathquorum(
            "train", "--release", "v1", "--features", features, "--model", "abmil",
            "--to", tmp_path / to, "--name", name, "--json", *QUICK, *arguments,
        )  # fmt: skip

    return train


def refused(result: CommandResult) -> str:
    """What a refusal says, in one line; what was told before it began stands above."""
    assert (result.status, result.out) == (1, "")
    told, _, error = result.err.rstrip("\n").rpartition("\n")
    assert told == "" or re.fullmatch(r"a step with the largest bags takes about \d+ MiB.*", told)
    assert error.startswith("Error: ")
    return error


def test_a_model_and_its_baseline_are_saved_and_on_record(
    bags: Callable[..., CommandResult], store: Store, tmp_path: Path, pathquorum: Pathquorum
) -> None:
    result = bags("--method", "gce")
    assert result.status == 0, result.err
    told = result.json
    assert (told["state"], told["model"], told["method"]) == ("done", "m", "gce")
    assert (told["epochs"], told["best_epoch"], told["ended"]) == (3, 3, "epochs")
    assert told["baseline"]["model"] == "m-majority"
    assert set(told["metrics"]) == set(told["baseline"]["metrics"]) == {
        "accuracy", "balanced_accuracy", "nll",
    }  # fmt: skip
    assert told["weights_sha256"] != told["baseline"]["weights_sha256"]
    assert not (tmp_path / "run" / "checkpoints").exists()
    for folder, method in ((tmp_path / "run", "gce"), (tmp_path / "run" / "baseline", "majority")):
        model = load_model(folder)
        assert model.description.method == method
        assert model.description.classes == ["Benign", "=Tumor"]
        assert model.description.input["encoder"] == "random"
        assert sum(map(len, model.description.split.values())) == 12
        with (folder / "history.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["epoch"] for row in rows] == ["0", "1", "2"]
        assert float(rows[-1]["loss"]) > 0
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    with store.reading() as session:
        baseline, model_row = session.scalars(select(Model).order_by(Model.id))
        assert (model_row.name, model_row.baseline_id) == ("m", baseline.id)
        assert model_row.config["training"]["seed"] == 4
        events = session.scalars(select(Event).where(Event.action == "model trained")).all()
        assert [event.new["name"] for event in events if event.new] == ["m-majority", "m"]
    traced = pathquorum("trace", "m", "--json").json
    assert traced["kind"] == "model"
    assert traced["model"]["weights_sha256"] == told["weights_sha256"]
    assert traced["model"]["baseline"] == "m-majority"
    assert traced["release"]["manifest_sha256"] == told["manifest_sha256"]
    assert traced["run"]["run"] == 1
    assert pathquorum("trace", told["weights_sha256"], "--json").json["model"] == traced["model"]
    assert pathquorum("audit", "verify").status == 0
    assert pathquorum("store", "check").status == 0


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_weights(
    bags: Callable[..., CommandResult], tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        seed = ("--seed", 5) if name == "three" else ()
        assert bags("--no-baseline", *seed, to=name, name=name).status == 0
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert weights(tmp_path / "one") != weights(tmp_path / "three")


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGTERM, "after a batch"),
        (signal.SIGUSR1, "after a batch"),
        (signal.SIGUSR1, "before a stage"),
    ],
)
def test_a_signal_ends_it_with_status_75_and_resume_ends_as_if_nothing_had_been(
    bags: Callable[..., CommandResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    where: str,
) -> None:
    """In the midst of a method that trains six models, of which those that were done stay."""
    arguments = ("--method", "ousm", "--no-baseline")
    assert bags(*arguments, to="alone", name="alone").status == 0
    began: list[str] = []
    batches: list[int] = []

    def watch(method: str, stage: str) -> Callable[[int, int, float], None]:
        began.append(stage)
        if where == "before a stage" and len(began) == 3:
            os.kill(os.getpid(), number)

        def tell(step: int, steps: int, loss: float) -> None:
            batches.append(step)
            if where == "after a batch" and len(batches) == 20:
                os.kill(os.getpid(), number)

        return tell

    original = training_run.train
    with monkeypatch.context() as patch:
        patch.setattr(
            training_run,
            "train",
            lambda store, request, *, say, **_: original(store, request, say=say, watch=watch),
        )
        stopped = bags(*arguments)
        assert stopped.status == 75, stopped.err
        assert stopped.json["state"] == "stopped"
        assert number.name in stopped.json["reason"]
        assert "--resume" in stopped.json["reason"]
        assert "holds a training already" in refused(bags(*arguments))
        done = bags(*arguments, "--resume")
    assert done.status == 0, done.err
    assert done.json["state"] == "done"
    assert batches.count(1) == 6  # no stage began anew
    assert weights(tmp_path / "run") == weights(tmp_path / "alone")


def test_another_configuration_does_not_go_on(
    bags: Callable[..., CommandResult], tmp_path: Path, store: Store
) -> None:
    """And nothing is on record of either."""
    folder = tmp_path / "run" / "checkpoints" / "majority" / "final"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "save_model", _full_disk)
        result = bags("--method", "majority")
    assert "No space left" in refused(result)
    assert list(folder.glob("checkpoint-*.pt"))
    message = refused(bags("--method", "majority", "--resume", "--learning-rate", 0.5))
    assert "another settings.learning_rate: 0.01, now 0.5" in message
    with store.reading() as session:
        assert session.scalars(select(Model)).all() == []
    assert bags("--method", "majority", "--resume").status == 0


def _full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_cannot_be_is_refused_and_nothing_is_on_record(
    bags: Callable[..., CommandResult],
    pathquorum: Pathquorum,
    store: Store,
    tmp_path: Path,
) -> None:
    config = tmp_path / "train.toml"
    common = ("--release", "v1", "--to", tmp_path / "x", "--name", "x")
    features = ("--features", tmp_path / "features")
    with store.reading() as session:
        before = len(session.scalars(select(Event)).all())
    said: dict[str, str] = {}
    for what, text in {
        "no TOML": "[training",
        "no table [train]": "[train]\nepochs = 3",
        "no training setting 'epoch'": "[training]\nepoch = 3",
        "classes follows from the data": "[model]\nclasses = 9",
        "unexpected keyword argument 'widht'": "[model]\nwidht = 9",
        "a table [tiles], and abmil learns from features": "[tiles]\nmpp = 1.0",
    }.items():
        config.write_text(text, encoding="utf-8")
        said[what] = refused(bags("--config", config))
    said["no --features, and abmil"] = refused(pathquorum("train", *common, "--model", "abmil"))
    said["--features, and unet learns from pixels"] = refused(
        pathquorum("train", *common, *features, "--model", "unet")
    )
    said["needs a release of regions, and 'v1' is of slides"] = refused(
        pathquorum("train", *common, *features, "--model", "tile-mlp")
    )
    said["no release 'v9'"] = refused(
        pathquorum("train", "--release", "v9", *common[2:], *features, "--model", "abmil")
    )
    said["there is no site 'East'"] = refused(bags("--leave-out-site", "East"))
    said["no figure 'kappa'"] = refused(bags("--metric", "kappa"))
    for message, found in said.items():
        assert message in found
    with store.reading() as session:
        assert session.scalars(select(Model)).all() == []
        assert len(session.scalars(select(Event)).all()) == before


def test_a_name_is_given_once(bags: Callable[..., CommandResult]) -> None:
    assert bags("--method", "majority").status == 0
    assert "a model named 'm' exists already" in refused(bags(to="other"))
    assert "a model named 'm' exists already" in refused(bags("--resume", "--method", "majority"))


def test_slides_without_features_are_left_out_only_if_asked(
    bags: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """And then the exit status says so."""
    next((tmp_path / "features").glob("*11.h5")).unlink()
    assert "have no features" in refused(bags())
    result = bags("--allow-missing", "--no-baseline")
    assert result.status == 1
    assert [skipped["slide"] for skipped in result.json["skipped"]] == ["S/11"]


def test_a_site_is_held_out(bags: Callable[..., CommandResult], tmp_path: Path) -> None:
    result = bags("--leave-out-site", "South", "--no-baseline")
    assert result.status == 0, result.err
    split = read_description(tmp_path / "run").split
    south = {name for name, slide in SLIDES.items() if slide["site"] == "South"}
    assert set(split["test"]) == south
    assert not south & {slide for part in split if part != "test" for slide in split[part]}
    assert result.json["left_out_site"] == "South"
    assert any("who were also seen at South take no part" in note for note in result.json["notes"])


def test_tiles_of_regions_are_learnt(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> None:
    features = released(store, pathquorum, "regions", tmp_path)
    config = tmp_path / "train.toml"
    config.write_text(
        '[training]\nmetric = "nll"\npatience = 2\n[model]\nhidden = 16\n', encoding="utf-8"
    )
    result = pathquorum(
        "train", "--release", "v1", "--features", features, "--model", "tile-mlp",
        "--to", tmp_path / "run", "--name", "tiles", "--config", config, "--json", *QUICK,
    )  # fmt: skip
    assert result.status == 0, result.err
    description = read_description(tmp_path / "run")
    assert description.arguments["hidden"] == 16
    assert description.training["direction"] == "min"
    assert set(description.split) == {"train", "val", "test"}  # what is held back is told as well
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8", newline="") as stream:
        figures = [float(row["nll"]) for row in csv.DictReader(stream)]
    assert result.json["best_epoch"] == 1 + int(np.argmin(figures))
    assert result.json["metrics"]["nll"] == pytest.approx(min(figures), rel=1e-6)


def test_a_release_that_no_longer_matches_the_store_is_refused(
    bags: Callable[..., CommandResult], store: Store
) -> None:
    tamper(store, "UPDATE consensus_items SET label = 'Benign' WHERE label = '=Tumor'")
    assert "no longer matches the store" in refused(bags())


def test_the_document_is_json_and_a_person_sees_a_table(
    bags: Callable[..., CommandResult],
    pathquorum: Pathquorum,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert json.loads(bags("--no-baseline").out)["baseline"] is None
    shown = pathquorum(
        "train", "--release", "v1", "--features", tmp_path / "features", "--model", "mean",
        "--to", tmp_path / "shown", "--name", "shown", *QUICK,
    )  # fmt: skip
    assert shown.status == 0, shown.err
    for words in ("shown-majority", "balanced_accuracy", "Trained on release v1", "Model in "):
        assert words in shown.out


def test_masks_are_learnt_from_the_slides_themselves(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """Wherever they lie now."""
    run = build_run(store, [item for name in SLIDES for item in region_items(name)], slides=SLIDES)
    give_images(store, tmp_path / "slides")
    assert pathquorum("release", "create", "v1", "--run", run, "--split", SPLIT).status == 0
    (tmp_path / "slides").rename(tmp_path / "moved")
    config = tmp_path / "train.toml"
    config.write_text(
        "[training]\nbatch = 8\n[model]\nwidth = 8\ndepth = 1\n[tiles]\nmpp = 4.0\nsize_px = 64\n",
        encoding="utf-8",
    )
    arguments = (
        "train", "--release", "v1", "--model", "unet", "--method", "annotator-layer", "--name", "m",
        "--to", tmp_path / "run", "--config", config, "--json", "--epochs", 1,
    )  # fmt: skip
    assert "has no image here" in refused(pathquorum(*arguments))
    result = pathquorum(*arguments, "--slides-root", tmp_path / "moved")
    assert result.status == 0, result.err
    assert set(result.json["metrics"]) == {"dice", "nll"}
    assert load_model(tmp_path / "run").description.input["mpp"] == 4.0
    em_net = [*arguments, "--slides-root", tmp_path / "moved"]
    em_net[em_net.index("annotator-layer")] = "em-net"
    em_net[em_net.index("m")] = "other"
    em_net[em_net.index(tmp_path / "run")] = tmp_path / "other"
    assert "for masks take one of majority, soft, annotator-layer" in refused(pathquorum(*em_net))
