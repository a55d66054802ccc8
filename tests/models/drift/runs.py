"""A released study, a model on record, and prediction runs written row by row and file by file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from annotation.paths import file_name
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import add_slide_without_image
from annotation.tables import Slide
from consensus.release import find_release
from consensus.tables import Model, PredictedSlide, PredictionRun
from models.prediction.slide_file import SlidePrediction, write_slide_prediction
from tests.conftest import CommandResult
from tests.consensus.built_run import Item, build_run
from tests.models.recorded_models import add_model

CLASSES = ("Benign", "=Tumor")
WEIGHTS = "a" * 64
N_FEATURES = 6

Pathquorum = Callable[..., CommandResult]


@dataclass(frozen=True)
class Drawn:
    """A slide to predict: what is changed of it against the usual."""

    name: str
    patient: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    shift: float = 0.0
    added_at: datetime | None = None
    scanner: str | None = None
    state: str = "done"


def released(store: Store, pathquorum: Pathquorum, n_slides: int = 40) -> list[str]:
    """A release ``v1`` of slides R00, R01, ... of a patient each, and a model ``m`` trained on it.

    Returns
    -------
    list
        The slides that the model was not trained on.
    """
    names = [f"R{number:02}" for number in range(n_slides)]
    said = dict.fromkeys(("P1", "P2", "P3"), "Benign")
    items = [Item(name, None, said, "Benign") for name in names]
    slides = {name: {"patient": f"p-{name}"} for name in names}
    run = build_run(store, items, slides=slides, task="slides")
    made = pathquorum(
        "release", "create", "v1", "--run", run, "--split",
        "train=0.4,val=0.2,calibration=0.2,test=0.2",
    )  # fmt: skip
    assert made.status == 0, made.err
    add_model(store, "m", WEIGHTS)
    with store.reading() as session:
        slides_of_release = msgspec.json.decode(find_release(session, "v1").manifest)["slides"]
    parts = {slide["name"]: slide["part"] for slide in slides_of_release}
    return [name for name in names if parts[name] != "train"]


def predict(
    store: Store,
    folder: Path,
    slides: Sequence[Drawn],
    *,
    seed: int = 0,
    weights_sha256: str = WEIGHTS,
    features: bool = True,
) -> None:
    """Write a prediction run, named after its folder; slides that the store lacks are added."""
    rng = np.random.default_rng(seed)
    with store.writing() as session:
        model = session.scalars(select(Model).where(Model.weights_sha256 == weights_sha256)).one()
        run = PredictionRun(
            name=folder.name, at=now(), model_id=model.id, settings={"passes": 50},
            members=[{"model": model.name, "weights_sha256": weights_sha256}],
            settings_sha256="b" * 64, folder=str(folder), software_version=SOFTWARE_VERSION,
        )  # fmt: skip
        session.add(run)
        session.flush()
        for one in slides:
            row = session.scalars(select(Slide).where(Slide.name == one.name)).first()
            if row is None:
                row = add_slide_without_image(
                    session, one.name, width_px=1000, height_px=800, mpp=0.5, patient=one.patient
                )
            if one.added_at is not None:
                row.added_at = one.added_at
            row.scanner = one.scanner
            path = folder / "slides" / file_name(one.name, ".h5")
            path.parent.mkdir(parents=True, exist_ok=True)
            prediction = drawn_prediction(one, rng, features=features)
            write_slide_prediction(path, prediction)
            done = one.state == "done"
            session.add(
                PredictedSlide(
                    run_id=run.id, slide_id=row.id, state=one.state, attempts=1, worker=None,
                    claimed_until=None, reason=None, finished_at=datetime.now(UTC),
                    result=drawn_result(one, rng) if done else None,
                    output_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                    regions_sha256=None,
                )
            )  # fmt: skip


def drawn_result(one: Drawn, rng: np.random.Generator) -> dict[str, Any]:
    """Scores and statistics of the input around the usual, with what is changed of this slide."""
    p = float(rng.beta(4, 2))
    entropy = float(-(p * np.log(p) + (1 - p) * np.log(1 - p)))
    stains = {
        f"{what}_{stain}": value
        for stain, vector in (("hematoxylin", (0.65, 0.70, 0.29)), ("eosin", (0.1, 0.9, 0.3)))
        for what, value in (
            ("stain", [value + float(rng.normal(0, 0.02)) for value in vector]),
            ("strength", float(rng.normal(1.5, 0.2))),
        )
    }
    usual = {
        "mpp": 0.5, "vendor": "aperio", "objective": 20.0, "stain_reason": None,
        "tissue_share": float(rng.uniform(0.2, 0.6)),
        "brightness": float(rng.normal(0.6, 0.05)), "saturation": float(rng.normal(0.3, 0.05)),
        "focus": float(rng.gamma(20, 5)), "n_tiles": 8, **stains,
    }  # fmt: skip
    return {
        "kind": "bags", "classes": list(CLASSES),
        "probability": dict(zip(CLASSES, (p, 1 - p), strict=True)),
        "entropy": entropy, "mutual_information": entropy * float(rng.uniform(0.1, 0.3)),
        "max_probability": max(p, 1 - p), "predicted": CLASSES[int(p < 0.5)],
        "uncertainty": "mc-dropout (head-only), 50 passes", "notes": [],
        **one.result, "input": {**usual, **one.input},
    }  # fmt: skip


def drawn_prediction(
    one: Drawn, rng: np.random.Generator, *, features: bool = True
) -> SlidePrediction:
    """Eight tiles in a row, the first half benign; their features lean by the slide's shift."""
    n_tiles = 8
    tiles: NDArray[np.float32] = rng.normal(one.shift, 1.0, (n_tiles, N_FEATURES))
    tiles = (tiles + rng.normal(0, 0.5, N_FEATURES)).astype(np.float32)
    benign = np.where(np.arange(n_tiles) < n_tiles // 2, 0.9, 0.2)
    probability = np.column_stack([benign, 1 - benign]).astype(np.float32)
    return SlidePrediction(
        slide=one.name, fingerprint="", width_px=1000, height_px=800, mpp=0.5, side_px=100.0,
        kind="bags", classes=CLASSES, weights_sha256=(WEIGHTS,), settings_sha256="b" * 64,
        coordinates=np.column_stack([np.arange(n_tiles) * 100.0, np.zeros(n_tiles)]),
        probability=probability, variance=np.zeros_like(probability),
        entropy=np.zeros(n_tiles, np.float32), mutual_information=np.zeros(n_tiles, np.float32),
        attention=np.full(n_tiles, 1 / n_tiles, np.float32),
        feature_mean=tiles.mean(axis=0) if features else None,
        feature_sample=tiles if features else None,
    )  # fmt: skip
