"""A study of labelled slides with a release, a model on record, and prediction runs drawn by rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from annotation.lookup import find_slide
from annotation.paths import file_name
from annotation.people import add_annotator
from annotation.protocol import parse_protocol
from annotation.protocol_versions import add_protocol
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import add_slide_without_image
from consensus.release import find_release
from consensus.tables import Model, PredictedSlide, PredictionRun
from tests.conftest import CommandResult
from tests.models.recorded_models import add_model

Pathquorum = Callable[..., CommandResult]

CLASSES = ("Benign", "Tumor")
WEIGHTS = "a" * 64
SPLIT = "train=0.2,calibration=0.6,test=0.2"
N_RELEASED = 80

PROTOCOL = """
name = "grades"
version = "1"
task = "slides"
[[classes]]
name = "Benign"
order = 0
[[classes]]
name = "Tumor"
order = 1
"""


@dataclass(frozen=True)
class Study:
    """What was made."""

    pathquorum: Pathquorum
    store: Store
    folder: Path
    parts: Mapping[str, str]

    def of_part(self, part: str) -> list[str]:
        """The slides of a part of release v1."""
        return sorted(name for name, own in self.parts.items() if own == part)

    def pull(self, labels: Mapping[str, str], *annotators: str) -> None:
        """Bring in what these people say of slides."""
        for handle in annotators:
            folder = self.folder / f"{handle}-{len(list(self.folder.iterdir()))}"
            folder.mkdir()
            for slide, label in labels.items():
                document = {
                    "type": "FeatureCollection",
                    "features": [],
                    "metadata": {"grade": label},
                }
                (folder / f"{slide}.geojson").write_text(json.dumps(document), encoding="utf-8")
            pulled = self.pathquorum(
                "pull", folder, "--annotator", handle, "--protocol", "grades", "--accept-copy"
            )
            assert pulled.status == 0, pulled.err

    def triage(self, *more: object, predictions: str = "night") -> CommandResult:
        """Triage with a target that the study's few patients can show."""
        return self.pathquorum(
            "triage", "--predictions", predictions, "--positive", "Tumor", "--target",
            "sensitivity=0.8", "--confidence", 0.9, "--bootstrap", 50, *more,
        )  # fmt: skip


def truth_of(name: str) -> str:
    """Three of four slides are tumours."""
    return CLASSES[int(name[1:]) % 4 != 0]


def made_study(
    store: Store, pathquorum: Pathquorum, folder: Path, n_slides: int = N_RELEASED
) -> Study:
    """Slides of a patient each, R000 and on, read by two people; release v1, and a model on it."""
    names = [f"R{number:03}" for number in range(n_slides)]
    with store.writing() as session:
        add_protocol(session, parse_protocol(PROTOCOL, "grades.toml"))
        for handle, role in (("P1", "pathologist"), ("P2", "pathologist"), ("L", "lead")):
            add_annotator(session, handle, role)
        for name in names:
            add_slide_without_image(
                session, name, width_px=1000, height_px=800, mpp=0.5, patient=f"p-{name}"
            )
    study = Study(pathquorum, store, folder, {})
    study.pull({name: truth_of(name) for name in names}, "P1", "P2")
    assert pathquorum("consensus", "run", "--protocol", "grades", "--bootstrap", 0).status == 0
    made = pathquorum("release", "create", "v1", "--run", 1, "--split", SPLIT)
    assert made.status == 0, made.err
    add_model(store, "m", WEIGHTS)
    with store.reading() as session:
        slides = msgspec.json.decode(find_release(session, "v1").manifest)["slides"]
    return Study(pathquorum, store, folder, {slide["name"]: slide["part"] for slide in slides})


def predict(
    store: Store,
    folder: Path,
    slides: Sequence[str],
    *,
    patients: Mapping[str, str] | None = None,
    weights: str = WEIGHTS,
    settings_sha256: str = "b" * 64,
    states: Mapping[str, str] | None = None,
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """A prediction run over slides, those that the store lacks added.

    Every sixth slide is called otherwise than it is, and the model is unsure of these.
    """
    with store.writing() as session:
        model = next(m for m in session.query(Model) if m.weights_sha256 == weights)
        run = PredictionRun(
            name=folder.name, at=now(), model_id=model.id, settings={},
            members=[{"model": model.name, "weights_sha256": weights}],
            settings_sha256=settings_sha256, folder=str(folder), software_version=SOFTWARE_VERSION,
        )  # fmt: skip
        session.add(run)
        session.flush()
        for name in slides:
            if name in (patients or {}):
                add_slide_without_image(
                    session, name, width_px=1000, height_px=800, mpp=0.5, patient=patients[name]
                )
            state = (states or {}).get(name, "done")
            result = {**drawn_result(name), **(changed or {}).get(name, {})}
            session.add(
                PredictedSlide(
                    run_id=run.id, slide_id=find_slide(session, name).id, state=state, attempts=1,
                    worker=None, claimed_until=None, reason="unreadable" if state == "failed" else None,
                    finished_at=now(), result=result if state == "done" else None,
                    output_sha256=hashlib.sha256(json.dumps(result).encode()).hexdigest(),
                    regions_sha256=None,
                )
            )  # fmt: skip


def drawn_result(name: str) -> dict[str, Any]:
    """What the model says of a slide."""
    number = int(name[1:])
    rng = np.random.default_rng(number)
    is_wrong = number % 6 == 5
    said = CLASSES[(truth_of(name) == "Tumor") ^ is_wrong]
    unsure = float(rng.uniform(0.4, 0.6) if is_wrong else rng.uniform(0.0, 0.2))
    p = 1 - unsure
    single = float(np.clip(p + rng.normal(0, 0.1), 0.5, 1))
    return {
        "kind": "bags", "classes": list(CLASSES), "predicted": said,
        "probability": {name: p if name == said else 1 - p for name in CLASSES},
        "variance": dict.fromkeys(CLASSES, unsure / 4), "entropy": unsure + 0.05,
        "mutual_information": unsure, "max_probability": p,
        "single_pass": {"max_probability": single, "entropy": 1 - single},
    }  # fmt: skip


def file_of(folder: Path, kind: str, slide: str, suffix: str) -> Path:
    """Where a run keeps a slide's file."""
    path = folder / kind / file_name(slide, suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
