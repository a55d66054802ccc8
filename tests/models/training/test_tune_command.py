"""`tune`: from a release to an encoder that encodes; leakage refused, killed at any moment, on record."""

from __future__ import annotations

import csv
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event, Slide
from models.encoders.encoder import made_by, normalised
from models.encoders.network import build_network
from models.encoders.spec import read_spec
from models.features import read_features
from models.training import tuning_run
from tests.conftest import CommandResult
from tests.consensus.built_run import build_run, region_items
from tests.models.stained_slides import give_stained_images, stained_pixels

Pathquorum = Callable[..., CommandResult]

SPEC = """
name = "tiny"
architecture = "small"
input_px = 32
mpp = 2.0
feature = "pooled"
interpolation = "bilinear"
[arguments]
width = 4
"""
SPLIT = "train=0.5,val=0.25,test=0.25"
SLIDES = {f"S/{n}": {"patient": f"p{n}", "site": ("North", "South")[n % 2]} for n in range(8)}


def written_encoder(folder: Path) -> tuple[object, ...]:
    """Options for an encoder with drawn weights, which has seen how bright and varied tiles are."""
    spec = folder / "tiny.toml"
    spec.write_text(SPEC, encoding="utf-8")
    torch.manual_seed(3)
    network = build_network(read_spec(spec))
    seen = stained_pixels(0, 896, 800)[::4, ::4].reshape(-1, 8, 28, 8, 3).swapaxes(1, 2)
    with torch.no_grad():
        for _ in range(30):  # averages of batch normalisation move by a tenth each time
            network(normalised(torch.from_numpy(seen.reshape(-1, 8, 8, 3)), read_spec(spec)))
    save_file(network.state_dict(), folder / "tiny.safetensors")
    return "--encoder", spec, "--weights", folder / "tiny.safetensors"


@pytest.fixture
def images(store: Store, tmp_path: Path) -> dict[str, Path]:
    build_run(store, [item for name in SLIDES for item in region_items(name)], slides=SLIDES)
    return give_stained_images(store, tmp_path / "slides")


@pytest.fixture
def tune(
    pathquorum: Pathquorum, images: dict[str, Path], tmp_path: Path
) -> Callable[..., CommandResult]:
    """Tunes two stages of a small encoder; the release is made at the first call."""
    encoder = written_encoder(tmp_path)
    released: list[bool] = []

    def call(*arguments: object, to: str = "tuned", release: str = "v1") -> CommandResult:
        if not released:
            made = pathquorum("release", "create", "v1", "--run", 1, "--split", SPLIT)
            assert made.status == 0, made.err
            released.append(True)
        given = () if {"--how", "--blocks"} & set(arguments) else ("--blocks", 2)
        return pathquorum(
            "tune", "--release", release, *encoder, *given, "--to", tmp_path / to, "--json",
            "--epochs", 3, "--learning-rate", 0.003, "--device", "cpu", *arguments,
        )  # fmt: skip

    return call


def refused(result: CommandResult) -> str:
    assert (result.status, result.out) == (1, "")
    return result.err.strip().splitlines()[-1]


def test_a_tuned_encoder_encodes_and_a_model_learns_from_its_features(
    tune: Callable[..., CommandResult], pathquorum: Pathquorum, store: Store, tmp_path: Path
) -> None:
    result = tune("--epochs", 10, "--batch", 8, "--metric", "loss")
    assert result.status == 0, result.err
    told = result.json
    assert (told["state"], told["mpp"], told["size_px"]) == ("done", 2.0, 32)
    assert told["slides"] == {"test": 2, "train": 4, "val": 2}
    assert set(told["metrics"]) == {"loss", "balanced_accuracy"}
    assert told["metrics"]["balanced_accuracy"] > 0.6
    with (tmp_path / "tuned" / "history.csv").open(encoding="utf-8", newline="") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert len(losses) == told["epochs"] == 10
    assert losses[-1] < losses[0]
    assert (tmp_path / "tuned" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "tuned" / "checkpoints").exists()

    before = load_file(tmp_path / "tiny.safetensors")
    after = load_file(tmp_path / "tuned" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {"stages"}
    facts = made_by(tmp_path / "tuned")
    assert facts["release"] == {"name": "v1", "manifest_sha256": told["manifest_sha256"]}
    assert facts["tuning"]["blocks"] == 2
    assert len(facts["split"]["train"]) == 4

    features = ("--to", tmp_path / "features")
    encoded = pathquorum(
        "encode", "--release", "v1", "--encoder", tmp_path / "tuned", *features, "--device", "cpu",
        "--json",
    )  # fmt: skip
    assert encoded.status == 0, encoded.err
    assert encoded.json["encoder_sha256"] == told["encoder_sha256"]
    assert (encoded.json["settings"]["mpp"], encoded.json["settings"]["size_px"]) == (2.0, 32)
    assert encoded.json["notes"] == [note for note in told["notes"] if "fine-tuned" in note]
    assert read_features(tmp_path / "features" / "S%2F0.h5").origin.weights == "fine-tuned"
    train = (
        "train", "--release", "v1", "--features", tmp_path / "features", "--model", "tile-mlp",
        "--epochs", 30, "--batch", 32, "--learning-rate", 0.01, "--json", "--no-baseline",
    )  # fmt: skip
    trained = pathquorum(*train, "--name", "tiles", "--to", tmp_path / "model")
    print(
        "TOLD",
        told["metrics"],
        told["items"],
        trained.json["metrics"],
        trained.json["items"],
        losses,
    )
    assert trained.status == 0, trained.err
    assert trained.json["metrics"]["balanced_accuracy"] > 0.5
    assert any("fine-tuned" in note for note in trained.json["notes"])

    # The site's slides taught the encoder: nothing can be shown on them by holding them out now.
    leaking = pathquorum(
        *train, "--name", "north", "--to", tmp_path / "north", "--leave-out-site", "North"
    )
    assert "stands in test, and the encoder was fine-tuned on it" in refused(leaking)
    with store.reading() as session:
        (event,) = session.scalars(select(Event).where(Event.action == "encoder tuned")).all()
        assert event.new is not None
        assert event.new["encoder_sha256"] == told["encoder_sha256"]
        assert event.new["tuned_from"] == told["tuned_from"]
    assert pathquorum("audit", "verify").status == 0

    # Features of other colours are refused by what learnt from these.
    other = pathquorum(
        "encode", "--release", "v1", "--encoder", tmp_path / "tuned", "--stain", "macenko",
        "--to", tmp_path / "stained", "--device", "cpu",
    )  # fmt: skip
    assert other.status == 0, other.err
    stained = ("--release", "v1", "--features", tmp_path / "stained", "--to", tmp_path / "card")
    evaluated = pathquorum("evaluate", "--model", "tiles", *stained)
    assert "takes features of other settings of tiles (stain) than" in refused(evaluated)

    # Each by its own features, they are held against each other on the same tiles.
    again = pathquorum(
        "train", "--release", "v1", "--features", tmp_path / "stained", "--model", "tile-mlp",
        "--epochs", 2, "--no-baseline", "--name", "stained", "--to", tmp_path / "restained",
    )  # fmt: skip
    assert again.status == 0, again.err
    own = ("--baseline-features", tmp_path / "features")
    beside = ("evaluate", "--model", "stained", *stained, "--bootstrap", 20, "--json")
    assert pathquorum(*beside, *own).status == 2
    assert "(stain) than" in refused(pathquorum(*beside, "--baseline", "tiles"))
    held = pathquorum(*beside, "--baseline", "tiles", *own)
    assert held.status == 0, held.err
    alone = pathquorum(
        "evaluate", "--model", "tiles", "--release", "v1", "--features", tmp_path / "features",
        "--to", tmp_path / "alone", "--bootstrap", 20, "--json",
    )  # fmt: skip
    figures = {name: one["value"] for name, one in alone.json["figures"].items()}
    found = {name: one["value"] for name, one in held.json["baseline"]["figures"].items()}
    assert found == figures
    (tmp_path / "features" / "S%2F7.h5").unlink()
    fewer = pathquorum(*beside, "--baseline", "tiles", *own, "--allow-missing")
    assert "are of other tiles than those the model is judged on" in refused(fewer)


def test_a_signal_ends_it_with_status_75_and_resume_ends_with_the_same_bytes(
    tune: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stains drawn at random, which come from the batch's number and nothing else."""
    config = tmp_path / "tune.toml"
    config.write_text("[stain_augmentation]\nscale = 0.3\n", encoding="utf-8")
    arguments = ("--config", config, "--batch", 64)
    alone = tune(*arguments, to="alone")
    assert alone.status == 0, alone.err
    plain = tune("--batch", 64, to="plain")
    assert plain.json["encoder_sha256"] != alone.json["encoder_sha256"]
    done: list[int] = []

    def watch(_method: str, _stage: str) -> Callable[[int, int, float], None]:
        def tell(step: int, _steps: int, _loss: float) -> None:
            done.append(step)
            if len(done) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        return tell

    original = tuning_run.tune
    with monkeypatch.context() as patch:
        patch.setattr(
            tuning_run,
            "tune",
            lambda store, request, *, say, **_: original(store, request, say=say, watch=watch),
        )
        stopped = tune(*arguments)
        assert stopped.status == 75, stopped.err
        assert stopped.json["state"] == "stopped"
        assert not (tmp_path / "tuned" / "encoder.toml").exists()
        assert "holds a training already" in refused(tune(*arguments))
        assert "another augmentation.scale" in refused(tune("--batch", 64, "--resume"))
        resumed = tune(*arguments, "--resume")
    assert resumed.status == 0, resumed.err
    assert done.count(1) == 1
    assert resumed.json["encoder_sha256"] == alone.json["encoder_sha256"]
    one, two = (load_file(tmp_path / to / "model.safetensors") for to in ("tuned", "alone"))
    assert all(torch.equal(one[name], two[name]) for name in one.keys() | two.keys())
    assert "encoders never change" in refused(tune(*arguments, "--resume"))


def test_a_slide_in_two_parts_under_two_names_is_refused(
    tune: Callable[..., CommandResult], images: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    """Every slide but one is a copy of another patient's, so some pair is torn apart."""
    with store.writing() as session:
        slides = session.scalars(select(Slide).order_by(Slide.id)).all()
        for slide in slides[1:]:
            slide.path, slide.fingerprint = slides[0].path, slides[0].fingerprint
    assert re.search(r"stands in \w+ and in \w+, under two names", refused(tune()))
    assert not (tmp_path / "tuned").exists()


def test_a_site_is_held_out_and_slides_are_found_where_they_lie_now(
    tune: Callable[..., CommandResult], images: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "slides").rename(tmp_path / "moved")
    assert "has no image here" in refused(tune("--leave-out-site", "North"))
    result = tune("--leave-out-site", "North", "--slides-root", tmp_path / "moved", "--epochs", 1,
        "--mpp", 1.0, "--size", 128)  # fmt: skip
    assert result.status == 0, result.err
    spec = read_spec(tmp_path / "tuned" / "encoder.toml")
    assert (spec.mpp, spec.input_px) == (4.0, 32)  # what the encoder saw of these tiles
    split = made_by(tmp_path / "tuned")["split"]
    north = {name for name, slide in SLIDES.items() if slide["site"] == "North"}
    assert set(split["test"]) == north
    assert not north & {*split["train"], *split.get("val", [])}


def test_a_slide_without_tissue_is_left_out_only_if_asked(
    tune: Callable[..., CommandResult], images: dict[str, Path], store: Store, tmp_path: Path
) -> None:
    from annotation.slides import fingerprint
    from tests.models.slides import write_jpeg_tiff

    path = write_jpeg_tiff(images["S/3"], np.full((800, 1000, 3), 243, np.uint8), mpp=0.5)
    with store.writing() as session:
        slide = session.scalars(select(Slide).where(Slide.name == "S/3")).one()
        slide.fingerprint = fingerprint(path)
    assert "slide 'S/3' has no tile with 25% of tissue" in refused(tune())
    told = refused(tune("--allow-missing", "--epochs", 1))
    assert "1 slide left out: 'S/3' (slide 'S/3' has no tile" in told
    assert "S/3" not in str(made_by(tmp_path / "tuned")["split"])


def test_what_cannot_be_is_one_line_and_leaves_nothing(
    tune: Callable[..., CommandResult], tmp_path: Path
) -> None:
    config = tmp_path / "tune.toml"
    for text, reason in (
        ("[model]\nhidden = 3", "there is no table [model]"),
        ("[stain_augmentation]\nscales = 1", "no setting 'scales' of a stain augmentation"),
        ("[stain_augmentation]\nscale = 2", "must be 0 or more and below 1"),
        ('[stain_augmentation]\nscale = "a"', "is no number"),
        ("[tiles]\nsize = 3", "unknown tile setting 'size'"),
    ):
        config.write_text(text, encoding="utf-8")
        assert reason in refused(tune("--config", config))
    assert "no attention to adapt by LoRA" in refused(tune("--how", "lora"))
    assert "9 blocks can't be fine-tuned" in refused(tune("--blocks", 9))
    assert "no release 'v9'" in refused(tune(release="v9"))
    assert "there is no site 'East'" in refused(tune("--leave-out-site", "East"))
    assert "no figure 'kappa'" in refused(tune("--metric", "kappa"))
    for wrong in (("--how", "lora", "--blocks", 1), ("--how", "blocks", "--rank", 2)):
        assert tune(*wrong).status == 2
    own = tmp_path / "own"
    own.mkdir()
    assert "is the encoder that shall be tuned" in refused(tune("--encoder", own, to="own"))
