"""A released study of slides with features that lean towards the classes, and models for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotation.paths import file_name
from annotation.store import Store
from consensus.release import find_release
from models.architectures import build
from models.datasets.releases import TrainingRelease, open_training_release
from models.features import FeaturesOrigin, write_features
from models.model_file import ModelDescription, read_description, save_model
from models.registry import find_model, register_model
from models.training.settings import TrainingSettings
from tests.conftest import CommandResult
from tests.consensus.built_run import Item, build_run

Pathquorum = Callable[..., CommandResult]

N_SLIDES = 48
SPLIT = "train=0.4,val=0.1,calibration=0.2,test=0.3"


ORIGIN = FeaturesOrigin(
    slide="", fingerprint="", width_px=1000, height_px=800, mpp=0.5, side_px=128.0,
    settings={"mpp": 1.0}, encoder="small", encoder_sha256="b" * 64, weights="self-supervised",
    precision="float32",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Where things are."""

    features: Path
    truth: Mapping[str, int]
    release: str = "v1"


def released_slides(
    store: Store,
    pathquorum: Pathquorum,
    folder: Path,
    ai_assisted: Sequence[Mapping[str, Any]] = (),
) -> Study:
    """48 slides of 48 patients at two sites, each labelled by three raters, the third of them hasty."""
    rng = np.random.default_rng(1)
    classes = ("Benign", "=Tumor")
    slides = {
        f"S{n:02}": {"patient": f"p{n:02}", "site": ("North", "South")[n % 2]}
        for n in range(N_SLIDES)
    }
    truth = {name: int(rng.integers(2)) for name in slides}
    items = []
    for name, code in truth.items():
        errs = rng.random(3) < (0.05, 0.1, 0.35)
        said = [classes[code ^ int(err)] for err in errs]
        label = max(classes, key=said.count)
        items.append(Item(name, None, dict(zip(("P1", "P2", "P3"), said, strict=True)), label))
    run = build_run(store, items, slides=slides, task="slides", ai_assisted=ai_assisted)
    made = pathquorum("release", "create", "v1", "--run", run, "--split", SPLIT)
    assert made.status == 0, made.err
    with store.reading() as session:
        write_slide_features(open_training_release(session, "v1"), truth, folder)
    return Study(folder, truth)


def write_slide_features(release: TrainingRelease, truth: Mapping[str, int], folder: Path) -> None:
    """A file for each slide: 6 tiles of 4 features, the first of which leans towards the class."""
    folder.mkdir(exist_ok=True)
    for number, slide in enumerate(release.slides):
        rng = np.random.default_rng(100 + number)
        values = rng.normal(size=(6, 4)).astype(np.float32)
        values[:, 0] += truth[slide.name] - 0.5
        x = np.arange(6) * 128.0
        write_features(
            folder / file_name(slide.name, ".h5"),
            replace(ORIGIN, slide=slide.name, fingerprint=slide.fingerprint or ""),
            np.column_stack([x, np.zeros(6)]),
            [values],
        )


def saved_model(store: Store, folder: Path, *, seed: int = 0, **changed: Any) -> Path:
    """A model with drawn weights that fits the study, with the release's split; not on record."""
    arguments = {"features": 4, "classes": 2, "hidden": 8}
    with store.reading() as session:
        release = open_training_release(session, "v1")
        split: dict[str, list[str]] = {}
        for slide in release.slides:
            split.setdefault(slide.part, []).append(slide.name)
        about: dict[str, Any] = {
            "architecture": "mean", "arguments": arguments, "classes": list(release.classes),
            "ordered": True, "release": "v1", "manifest_sha256": release.manifest_sha256,
            "input": {
                "kind": "features", "encoder": "small", "encoder_sha256": "b" * 64,
                "encoder_weights": "self-supervised", "tiling_sha256": ORIGIN.settings_sha256,
            },
            "split": split, "method": "soft", "training": TrainingSettings().to_dict(),
            "notes": ["a pretrained encoder should be compared first"],
        }  # fmt: skip
    description = ModelDescription(**{**about, **changed})
    torch.manual_seed(seed)
    save_model(folder, build(description.architecture, description.arguments), description)
    return folder


def put_on_record(store: Store, name: str, folder: Path, baseline: str | None = None) -> None:
    """Register a saved model."""
    with store.writing() as session:
        held_against = None if baseline is None else find_model(session, baseline)
        register_model(
            session,
            name,
            find_release(session, "v1"),
            read_description(folder),
            folder,
            baseline=held_against,
        )
