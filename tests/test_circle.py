"""The circle walked once, by commands alone: from readers to a model, and from its doubts to readers.

Two releases: the second holds what was decided because the first one's model was not sure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotation.store import Store
from models.datasets.releases import open_training_release
from tests.conftest import PROTOCOL, CommandResult
from tests.models.slides import texture, write_jpeg_tiff

Study = Callable[..., CommandResult]

BENIGN, HIGH = "Benign", "High grade"
COLOURS = {BENIGN: (235, 170, 190), HIGH: (120, 60, 150)}
SIDE_PX, TISSUE_PX = 320, 256
KNOWN, NEW = 36, 12
TRAINING = "[training]\nepochs = 25\nlearning_rate = 0.003\n[model]\ndropout = 0.25\nhidden = 32\n"


def looks(number: int) -> str:
    """One slide in three is of either class, and the third half of each."""
    return (BENIGN, HIGH, "mixed")[number % 3]


def label_of(number: int) -> str:
    """What readers say; of the mixed ones one this, one that."""
    if looks(number) == "mixed":
        return (BENIGN, HIGH)[number // 3 % 2]
    return looks(number)


def draw(path: Path, number: int) -> None:
    """A slide of glass with a square of tissue."""
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 245.0)
    tissue = np.empty((TISSUE_PX, TISSUE_PX, 3))
    left, right = (BENIGN, HIGH) if looks(number) == "mixed" else (looks(number), looks(number))
    tissue[:, : TISSUE_PX // 2], tissue[:, TISSUE_PX // 2 :] = COLOURS[left], COLOURS[right]
    grain = texture(TISSUE_PX, TISSUE_PX, seed=number).astype(np.float64) - 128
    edge = (SIDE_PX - TISSUE_PX) // 2
    pixels[edge : edge + TISSUE_PX, edge : edge + TISSUE_PX] = tissue + grain / 8
    write_jpeg_tiff(path, np.clip(pixels, 0, 255).astype(np.uint8), mpp=1.0, overviews=(2,))


@dataclass
class Circle:
    """A study of slides in a folder, and the commands that are typed."""

    command: Study
    store: Store
    folder: Path

    def do(self, *arguments: object) -> Any:
        """A command that goes through; its document."""
        result = self.command(*arguments, "--json")
        assert result.status == 0, (arguments, result.err)
        return result.json

    def add_slides(self, numbers: range) -> list[str]:
        """Slides of as many patients."""
        names = [f"S{number:02}" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            path = self.folder / "slides" / f"{name}.tiff"
            path.parent.mkdir(exist_ok=True)
            draw(path, number)
            self.do("slide", "add", path, "--patient", f"p{number}")
        return names

    def read(self, handle: str, labels: dict[str, str]) -> None:
        """A reader's labels of slides, exported and pulled."""
        exports = self.folder / f"{handle}-{min(labels)}"
        exports.mkdir()
        for name, label in labels.items():
            document = {"type": "FeatureCollection", "features": [], "metadata": {"grade": label}}
            (exports / f"{name}.geojson").write_text(json.dumps(document))
        self.do("pull", exports, "--annotator", handle, "--protocol", "grades")

    def release(self, name: str) -> int:
        """Freeze what is agreed by now; how many slides bear a label."""
        run = self.do("consensus", "run", "--protocol", "grades", "--method", "majority")
        split = ("--split", "train=0.4,val=0.1,calibration=0.4,test=0.1")
        self.do("release", "create", name, "--run", run["run"], *split)
        return sum(one["items"] for one in run["classes"].values())

    def parts(self, release: str) -> dict[str, str]:
        """The part of the split that each slide of a release is in."""
        with self.store.reading() as session:
            return {s.name: s.part for s in open_training_release(session, release).slides}


@pytest.fixture
def circle(pathquorum: Study, store: Store, tmp_path: Path) -> Circle:
    """Two readers agree on thirty-six slides; twelve are new."""
    text = PROTOCOL.replace('task = "regions"', 'task = "slides"').replace("prostate", "grades")
    (tmp_path / "grades.toml").write_text(text.replace('[domain]\nrule = "slide"\n', ""))
    (tmp_path / "train.toml").write_text(TRAINING)
    made = Circle(pathquorum, store, tmp_path)
    made.do("protocol", "add", tmp_path / "grades.toml")
    for handle, role in (("P1", "pathologist"), ("P2", "pathologist"), ("L", "lead")):
        made.do("annotator", "add", handle, "--role", role)
    names = made.add_slides(range(KNOWN))
    for handle in ("P1", "P2"):
        made.read(handle, {name: label_of(number) for number, name in enumerate(names)})
    return made


def test_what_a_model_doubts_comes_back_as_training(circle: Circle) -> None:
    folder, do = circle.folder, circle.do
    circle.release("first")
    encode = ("encode", "--mpp", 1, "--size", 32, "--device", "cpu")
    do(*encode, "--release", "first", "--encoder", "self-supervised", "--to", folder / "features")
    train = (
        "--model",
        "abmil",
        "--config",
        folder / "train.toml",
        "--no-baseline",
        "--device",
        "cpu",
    )
    features = ("--features", folder / "features")
    do("train", "--release", "first", *features, *train, "--name", "m1", "--to", folder / "m1")

    new = circle.add_slides(range(KNOWN, KNOWN + NEW))
    predict = ("predict", "--model", "m1", "--workers", 1, "--device", "cpu", "--passes", 20)
    encoder = ("--encoder", folder / "features" / "encoder")
    ran = do(*predict, *encoder, "--all", "--to", folder / "night")
    assert ran["slides"]["done"] == KNOWN + NEW

    triaged = do(
        "triage", "--predictions", "night", "--positive", HIGH, "--measure", "entropy",
        "--target", "sensitivity=0.8", "--confidence", 0.5, "--to", folder / "triage",
    )  # fmt: skip
    queue = do("adjudicate", "list", "--run", triaged["triage"])["disputes"]
    doubted = sorted({one["slide"] for one in queue})
    assert 0 < len(doubted) < NEW
    assert set(doubted) <= set(new)

    for one in queue:
        answer = ("--class", HIGH, "--by", "L", "--reason", "seen at high power")
        do("adjudicate", "decide", one["dispute"], *answer)
    assert circle.release("too-early") == KNOWN  # beside a prediction, one alone is no quorum
    circle.read("P1", dict.fromkeys(doubted, HIGH))
    assert circle.release("second") == KNOWN + len(doubted)

    do(*encode, "--release", "second", *encoder, "--to", folder / "features")
    do("train", "--release", "second", *features, *train, "--name", "m2", "--to", folder / "m2")
    behind = do("trace", "m2")
    assert set(doubted) <= {read["slide"] for read in behind["reads"]}
    parts = {name: circle.parts(name) for name in ("first", "second")}
    assert parts["first"].items() <= parts["second"].items()  # no patient changes sides

    part = next(parts["second"][name] for name in doubted if parts["second"][name] != "train")
    judged = ("--model", "m1", "--release", "second", *features, "--part", part, "--device", "cpu")
    card = do("evaluate", *judged, "--bootstrap", 20, "--to", folder / "card")
    of_part = {name for name, one in parts["second"].items() if one == part}
    assert card["items"] == len(of_part - set(doubted))  # it may not judge itself by its own doubts

    pushed = do("push", "--predictions", "night", "--tiles", "--to", folder / "qupath")
    assert pushed["pushed"] > KNOWN + NEW
    watched = circle.command(
        "drift", "--predictions", "night", "--permutations", 99, "--to", folder / "drift", "--json"
    )
    assert watched.status in (0, 1), watched.err
    assert watched.json["predictions"] == "night"
    assert do("audit", "verify")["ok"]
    do("store", "check")
