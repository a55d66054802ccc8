"""A predictor without a model: it says something of a slide's fingerprint, or goes wrong by its name.

It stands in worker processes, so nothing of it may depend on the test that started them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotation.slide_images import unchanged_image
from models.errors import ModelFileError, TileError
from models.prediction.slide_file import SlidePrediction
from models.prediction.work_order import WorkOrder
from models.slide_image import SlideImage

TILES = 8
CLASSES = ("Benign", "Tumor")


@dataclass(frozen=True)
class Said:
    """What stands in for :class:`models.prediction.predictor.Predicted`, whose module needs torch."""

    slide: SlidePrediction
    result: dict[str, Any]
    regions: tuple[()] = ()


class StubPredictor:
    """Names of slides that begin with a word go wrong in its way.

    `dies` kills the process, `corrupt` can't be read; the first time alone `once` kills the process,
    `hangs` stops, `grows` takes memory, and `odd` raises what nobody expects. `slow` takes a while.
    Each attempt is a line of the file `RUN.begun` beside the run.
    """

    def __init__(self, order: WorkOrder) -> None:
        self._order = order
        self._taken: list[bytes] = []

    def predict(
        self, image: SlideImage, progress: Callable[[int, int], None] | None = None
    ) -> Said:
        assert progress is not None
        unchanged_image(image)
        self._go_wrong(image.name, progress)
        for tile in range(TILES):
            if image.name.startswith("slow"):
                time.sleep(0.05)
            progress(tile + 1, TILES)
        rng = np.random.default_rng(int(image.fingerprint or "0", 16) % 2**63)
        probability = rng.dirichlet([1, 1], TILES).astype(np.float32)
        zero = np.zeros(TILES, np.float32)
        slide = SlidePrediction(
            slide=image.name,
            fingerprint=image.fingerprint or "",
            width_px=100,
            height_px=100,
            mpp=0.5,
            side_px=10.0,
            kind="tiles",
            classes=CLASSES,
            weights_sha256=tuple(member.weights_sha256 for member in self._order.members),
            settings_sha256=self._order.settings.sha256,
            coordinates=rng.uniform(0, 90, (TILES, 2)),
            probability=probability,
            variance=np.zeros((TILES, 2), np.float32),
            entropy=zero,
            mutual_information=zero,
        )
        mean = probability.mean(axis=0)
        result = {
            "kind": "tiles",
            "classes": list(CLASSES),
            "probability": dict(zip(CLASSES, mean.tolist(), strict=True)),
            "max_probability": float(mean.max()),
            "predicted": CLASSES[int(mean.argmax())],
        }
        return Said(slide, result)

    def _go_wrong(self, name: str, progress: Callable[[int, int], None]) -> None:
        begun = Path(self._order.folder).with_suffix(".begun")
        with begun.open("a+", encoding="utf-8") as stream:
            stream.seek(0)
            first = name not in stream.read().splitlines()
            stream.write(f"{name}\n")
        if name.startswith("dies") or (name.startswith("once") and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("hangs") and first:
            time.sleep(600)
        while name.startswith("grows") and first:
            self._taken.append(os.urandom(16_000_000))
            progress(0, TILES)
        if name.startswith("corrupt"):
            raise TileError(f"slide {name!r} can't be read at level 0")
        if name.startswith("odd") and first:
            raise RuntimeError("the device\nis on fire")


def open_stub(order: WorkOrder) -> StubPredictor:
    """What a worker opens instead of models."""
    return StubPredictor(order)


def open_nothing(order: WorkOrder) -> StubPredictor:
    """Models that can't be opened."""
    raise ModelFileError("the models don't fit each other")


def die_opening(order: WorkOrder) -> StubPredictor:
    """Models whose opening ends the process."""
    os._exit(3)
