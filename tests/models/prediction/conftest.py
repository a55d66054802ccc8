"""A slide, an encoder and models with drawn weights, for tests of predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from annotation.demo.painting import paint
from annotation.demo.slides import demo_slides
from models.architectures import build
from models.encoders.encoder import Encoder, with_random_weights
from models.encoders.spec import EncoderSpec
from models.encoding import SlideImage
from models.model_file import ModelDescription, TrainedModel
from models.tiling.settings import TileSettings
from models.training.request import MASKS, NETWORKS
from tests.models.slides import write_jpeg_tiff

CLASSES = ("background", "Benign", "Low", "High")
TILES = TileSettings(mpp=2.0, size_px=64)
FEATURES = 32

MakeModel = Callable[..., TrainedModel]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> SlideImage:
    """A quarter of the demo's first slide: tissue, and a corner of glass."""
    (slide,) = demo_slides(count=1)
    pixels = paint(slide)[: slide.height_px // 2, : slide.width_px // 2]
    path = tmp_path_factory.mktemp("slide") / "DEMO-01.tiff"
    return SlideImage("DEMO-01", str(write_jpeg_tiff(path, pixels, mpp=slide.mpp)))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """One that is quick, and tells tiles apart by their colours at least."""
    spec = EncoderSpec(
        name="tiny",
        architecture="small",
        input_px=64,
        mpp=2.0,
        feature="pooled",
        interpolation="bilinear",
        arguments={"width": 4},
    )
    return with_random_weights(spec, device="cpu")


@pytest.fixture(scope="session")
def make_model(encoder: Encoder) -> MakeModel:
    """Makes a model of an architecture, its weights drawn by a seed."""

    def make(
        architecture: str, *, seed: int = 0, temperature: float = 1.0, **arguments: Any
    ) -> TrainedModel:
        of_features = NETWORKS[architecture] != MASKS
        given = {"classes": len(CLASSES), **({"features": FEATURES} if of_features else {})}
        given |= arguments
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(architecture, given)
            for values in network.parameters():  # far from the same class everywhere
                values.data *= 3.0
        goes_in: dict[str, Any] = {
            "kind": "features" if of_features else "tiles",
            "tiling": TILES.to_dict(),
            "tiling_sha256": TILES.sha256,
        }
        if of_features:
            goes_in |= {
                "encoder": encoder.spec.name,
                "encoder_sha256": encoder.sha256,
                "encoder_weights": "random",
                "precision": "float32",
            }
        description = ModelDescription(
            architecture=architecture,
            arguments=given,
            classes=list(CLASSES),
            ordered=False,
            input=goes_in,
            release="r1",
            manifest_sha256="0" * 64,
            split={},
            method="soft",
            training={},
            temperature=temperature,
            weights_sha256=f"{seed:064x}",
        )
        return TrainedModel(network.eval(), description)

    return make
