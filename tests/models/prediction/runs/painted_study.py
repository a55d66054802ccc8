"""A study with painted slides, an encoder and models with drawn weights: all that `predict` needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from annotation.slides import fingerprint
from annotation.store import Store, now
from annotation.tables import Slide
from consensus.release import create_release, find_release
from models.architectures import build
from models.encoders.choosing import ready_encoder
from models.encoders.encoder import save_encoder, with_random_weights
from models.encoders.spec import EncoderSpec
from models.model_file import ModelDescription, read_description, save_model
from models.prediction.carrying_out import PredictionRequest
from models.prediction.settings import PredictionSettings
from models.prediction.work_order import EncoderChoice
from models.registry import register_model
from models.tiling.settings import TileSettings
from tests.consensus.built_run import build_run, region_items
from tests.models.slides import write_jpeg_tiff

CLASSES = ("background", "Benign", "Low", "High")
TILES = TileSettings(mpp=2.0, size_px=64)
SPEC = EncoderSpec(
    name="tiny",
    architecture="small",
    input_px=64,
    mpp=2.0,
    feature="pooled",
    interpolation="bilinear",
    arguments={"width": 4},
)


@dataclass
class PaintedStudy:
    """A store with the model `tiles`, its encoder, and slides that are links to one painted file."""

    store: Store
    folder: Path

    @property
    def encoder(self) -> Path:
        """The folder of the encoder."""
        return self.folder / "encoder"

    def add_slides(self, names: Sequence[str]) -> None:
        """Add slides that all look alike, each a file of its own."""
        files = self.folder / "slides"
        files.mkdir(exist_ok=True)
        (slide,) = demo_slides(count=1)
        x, y = slide.width_px // 2, slide.height_px // 2
        painted = write_jpeg_tiff(files / "painted.part", paint(slide)[:y, :x], mpp=slide.mpp)
        content = painted.read_bytes()
        painted.unlink()
        with self.store.writing() as session:
            for name in names:
                path = files / f"{name}.tiff"
                path.write_bytes(content + name.encode())
                session.add(
                    Slide(
                        name=name,
                        path=str(path),
                        width_px=x,
                        height_px=y,
                        mpp=slide.mpp,
                        mpp_source="file",
                        fingerprint=fingerprint(path),
                        added_at=now(),
                    )
                )

    def request(self, to: str = "run", **given: object) -> PredictionRequest:
        """What is asked: every slide, by one worker, with passes."""
        asked = {
            "models": ("tiles",),
            "settings": PredictionSettings(passes=4),
            "folder": self.folder / to,
            "encoder": EncoderChoice(None, self.encoder),
            "workers": 1,
            "device": "cpu",
            **given,
        }
        return PredictionRequest(**asked)  # type: ignore[arg-type]


def make_painted_study(store: Store, folder: Path) -> PaintedStudy:
    """Put a model of tiles on record, with the encoder that its features would be of."""
    run = build_run(store, region_items("R"), slides={"R": {}})
    drawn = with_random_weights(SPEC, device="cpu")
    made = PaintedStudy(store, folder)
    save_encoder(made.encoder, SPEC, drawn.network, weights="self-supervised", made_by={})
    encoder = ready_encoder(
        None, weights=made.encoder, random_weights=False, seed=0, device="cpu", precision=None
    )
    arguments = {"classes": len(CLASSES), "features": 32, "hidden": 16, "dropout": 0.25}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("tile-mlp", arguments)
    with store.writing() as session:
        create_release(session, "v1", run)
        release = find_release(session, "v1")
        description = ModelDescription(
            architecture="tile-mlp",
            arguments=arguments,
            classes=list(CLASSES),
            ordered=False,
            input={
                "kind": "features",
                "encoder": SPEC.name,
                "encoder_sha256": encoder.sha256,
                "precision": "float32",
                "tiling": TILES.to_dict(),
                "tiling_sha256": TILES.sha256,
            },
            release="v1",
            manifest_sha256=release.manifest_sha256,
            split={},
            method="soft",
            training={},
        )
        save_model(folder / "model", network, description)
        register_model(
            session, "tiles", release, read_description(folder / "model"), folder / "model"
        )
    return made
