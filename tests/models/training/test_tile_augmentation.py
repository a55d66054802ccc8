"""Tiles restained at random in training: by their own slide's stains, from the generator alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from annotation.errors import InputError
from annotation.store import Store
from models.labels.masks import TileMask
from models.model_file import load_model
from models.segmentation.objectives import PosteriorMasks
from models.segmentation.training import SegmentationTask
from models.segmentation.unet import UNet
from models.stain.augmentation import StainAugmentation
from models.stain.macenko import macenko
from models.stain.stains import REFERENCE
from models.training.checkpoints import Checkpoints
from models.training.loop import fit
from models.training.settings import TrainingSettings
from models.training.tile_augmentation import TileAugmentation, tile_augmentation
from tests.conftest import CommandResult
from tests.consensus.built_run import build_run, region_items
from tests.models.stain.conftest import VECTORS, degrees_apart, drawn_tissue
from tests.models.stained_slides import give_stained_images

Pathquorum = Callable[..., CommandResult]

SLIDE = np.array([0, 0, 0, 1, 1, 2, 2])
NAMES = ("S1", "S2", "Pale")
OTHER = VECTORS[:, ::-1] @ np.array([[0.15, 0.9], [0.85, 0.1]])


class Tiles:
    """Seven tiles of three slides: two stained in different ways, and one of glass alone."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        other = OTHER / np.linalg.norm(OTHER, axis=0)
        self.tiles = [
            drawn_tissue(1024, seed=n, vectors=other if n > 2 else VECTORS) for n in range(5)
        ]
        self.tiles += [np.full((1024, 3), 240, np.uint8)] * 2

    def __len__(self) -> int:
        return len(self.tiles)

    def pixels(self, item: int) -> NDArray[np.uint8]:
        self.asked.append(item)
        return self.tiles[item].reshape(32, 32, 3)

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], TileMask]:
        pixels = self.pixels(index)
        hard = (pixels[..., 0] < 160).astype(np.int64)
        known = np.ones((32, 32), np.float32)
        posterior = np.stack([hard == 0, hard == 1]).astype(np.float32)
        return pixels, TileMask(posterior, hard, hard[None], known, known)


@pytest.fixture
def tiles() -> Tiles:
    return Tiles()


def test_each_slide_has_its_own_stains_from_the_tiles_that_are_learnt(tiles: Tiles) -> None:
    draws = StainAugmentation(0.3, 0.1)
    items = np.array([0, 2, 3, 4, 5])
    augment = tile_augmentation(draws, tiles.pixels, items, SLIDE, NAMES)
    assert sorted(tiles.asked) == items.tolist()
    (note,) = augment.notes
    assert note.startswith(
        "published stains stand in for those of 1 slide where tiles are restained"
    )
    assert "slide 'Pale' has 0 stained pixels" in note
    estimates = {
        1: macenko(np.concatenate([tiles.tiles[0], tiles.tiles[2]]), "S1"),
        4: macenko(np.concatenate([tiles.tiles[3], tiles.tiles[4]]), "S2"),
        6: REFERENCE,
    }
    assert degrees_apart(estimates[1].vectors, estimates[4].vectors).max() > 2
    for item, stains in estimates.items():
        pixels = tiles.pixels(item)
        one = augment(pixels, item, np.random.default_rng(7))
        assert (one == draws(pixels, stains, np.random.default_rng(7))).all()
        assert (one == augment(pixels, item, np.random.default_rng(7))).all()
        assert (one != augment(pixels, item, np.random.default_rng(8))).any()


def task_of(tiles: Tiles, augment: TileAugmentation | None) -> SegmentationTask:
    torch.manual_seed(0)
    items = np.arange(5)
    network = UNet(2, width=8, depth=1)
    return SegmentationTask(
        network, PosteriorMasks(), tiles, items, validation=items, augment=augment
    )


def test_masks_stay_and_validation_sees_what_is_there(tiles: Tiles) -> None:
    augment = tile_augmentation(StainAugmentation(), tiles.pixels, np.arange(5), SLIDE, NAMES)
    plain, drawn = task_of(tiles, None), task_of(tiles, augment)
    with torch.no_grad():
        assert plain.validate() == drawn.validate()
    indices = np.arange(5)
    batch = drawn.load(indices, np.random.default_rng(3))
    again = drawn.load(indices, np.random.default_rng(3))
    assert torch.equal(batch.images, again.images)
    dark = (batch.hard == 1).float()
    brightness = batch.images.mean(dim=1)
    assert float((brightness * dark).sum() / dark.sum()) < float(brightness.mean()) - 0.2
    assert not torch.equal(batch.images, plain.load(indices, np.random.default_rng(3)).images)


def test_a_training_that_is_resumed_draws_the_same_stains(tiles: Tiles, tmp_path: Path) -> None:
    augment = tile_augmentation(StainAugmentation(), tiles.pixels, np.arange(5), SLIDE, NAMES)
    settings = TrainingSettings(epochs=3, batch=2, checkpoint_minutes=0.0)
    whole = task_of(tiles, augment)
    fit(whole, settings)

    class StoppedError(Exception):
        pass

    def stop(done: int, *_: float) -> None:
        if done == 5:
            raise StoppedError

    task = task_of(tiles, augment)
    with pytest.raises(StoppedError):
        fit(task, settings, checkpoints=Checkpoints(tmp_path, settings, {}), progress=stop)
    again = task_of(tiles, augment)
    fit(again, settings, checkpoints=Checkpoints(tmp_path, settings, {}))
    one, two = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"scales": 0.1}, "no setting 'scales' of a stain augmentation; take one of scale, shift"),
        ({"scale": "much"}, "scale 'much' of a stain augmentation is no number"),
        ({"shift": True}, "is no number"),
        ({"shift": 1.0}, "must be 0 or more and below 1"),
        ({"scale": float("nan")}, "must be 0 or more and below 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        StainAugmentation.from_dict(given)
    draws = StainAugmentation(0.1, 0.02)
    assert StainAugmentation.from_dict(draws.to_dict()) == draws


def test_a_model_of_masks_says_how_its_tiles_were_restained(
    store: Store, pathquorum: Pathquorum, tmp_path: Path
) -> None:
    """And goes on with no other augmentation; models of features take none."""
    slides = {f"S{n}": {"patient": f"p{n}", "site": "North"} for n in range(4)}
    run = build_run(store, [item for name in slides for item in region_items(name)], slides=slides)
    give_stained_images(store, tmp_path / "slides")
    made = pathquorum("release", "create", "v1", "--run", run, "--split", "train=0.5,val=0.5")
    assert made.status == 0, made.err
    config = tmp_path / "train.toml"

    def train(model: str, augmentation: str, *arguments: object) -> CommandResult:
        config.write_text(
            "[training]\nbatch = 8\n[stain_augmentation]\n" + augmentation, encoding="utf-8"
        )
        return pathquorum(
            "train", "--release", "v1", "--model", model, "--name", model, "--config", config,
            "--to", tmp_path / model, "--epochs", 1, "--json", "--no-baseline", *arguments,
        )  # fmt: skip

    features = ("--features", tmp_path)
    refused = train("tile-mlp", "scale = 0.1\n", *features)
    assert "a table [stain_augmentation], and tile-mlp learns from features" in refused.err
    config_tiles = "[model]\nwidth = 8\ndepth = 1\n[tiles]\nmpp = 4.0\nsize_px = 64\n"
    result = train("unet", "scale = 0.3\n" + config_tiles)
    assert result.status == 0, result.err
    described = load_model(tmp_path / "unet").description
    assert described.augmentation == {"stain": {"scale": 0.3, "shift": 0.05}}
    traced = pathquorum("trace", "unet", "--json").json
    assert traced["model"]["config"]["augmentation"] == described.augmentation
