"""The demo: a whole study on generated slides, through the same commands that a user types."""

from __future__ import annotations

import importlib.util
import io
import json
import shlex
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import shapely

from annotation.demo.protocol import DEMO_PROTOCOL
from annotation.demo.readers import (
    ADJUDICATOR,
    DEMO_READERS,
    adjudicator_answer,
    read_demo_slide,
)
from annotation.demo.slides import DemoSlide, demo_slides, write_slide
from annotation.errors import ConflictError, PathquorumError
from annotation.geojson.writer import write_feature_collection

__all__ = ["DemoStudy", "prepare_folder"]

MARKER = ".pathquorum-demo"
TILE_MPP, TILE_PX = 4, 32
"""Of the model: tiles of 128 um, few enough for a minute on two cores."""
TRAINING = "[training]\nepochs = 40\nlearning_rate = 0.003\n[model]\ndropout = 0.25   # predictions are passes with it\n"
READ, NEW = 12, 6
"""Slides that are read, and that come in later."""
MOST = 5
"""Regions that a person looks at."""
SPLIT = "train=0.5,val=0.1,calibration=0.25,test=0.15"

READ_DATE = "2026-03-02"
LEAD = "lead"


def prepare_folder(folder: Path) -> None:
    """Make an empty folder; one that an earlier demo left is replaced, any other is not."""
    if (folder / MARKER).is_file():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is not empty; choose another folder with --to")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


class DemoStudy:
    """Walks through a study in a folder.

    Parameters
    ----------
    command_line
        Runs one command line and returns its exit status: the console script's own function.
    tell
        Prints a line for the person who watches.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        *,
        seed: int,
        command_line: Callable[[list[str]], int],
        tell: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.store = store
        self.seed = seed
        self._command_line = command_line
        self._tell = tell

    def walk(self) -> dict[str, Any]:
        """The whole way; returns what was made and where it lies."""
        slides, new = _parted(demo_slides(self.seed, READ + NEW))
        self._register(slides)
        self._read(slides)
        self._tell("\nHow far do they agree?")
        self._show("agreement", "--protocol", "demo")
        run = self._adjudicate(slides)
        made = self._release(run)
        if self._can_learn():
            made |= self._learn(str(made["release"]))
            made |= self._predict(new)
        self._tell(
            "\nWhat stands behind the training set, who did what, and is the trail unbroken?"
        )
        self._show("trace", "demo-1")
        self._show("audit", "verify")
        return {"store": self.store, "run": run, **made}

    def _register(self, slides: tuple[DemoSlide, ...]) -> None:
        self._tell(
            "A study: a protocol, six people, twelve slides of twelve patients at two sites."
        )
        protocol = self.folder / "protocol.toml"
        protocol.write_text(DEMO_PROTOCOL, encoding="utf-8")
        self._show("init")
        self._show(
            "study", "describe", "--ethics", "none needed: the slides are drawn by a program",
            "--intended-use", "to show what pathquorum does",
        )  # fmt: skip
        self._show("protocol", "add", protocol)
        for reader in DEMO_READERS:
            self._quiet(
                "annotator", "add", reader.handle, "--role", "pathologist",
                "--credential", f"board:demo:{reader.handle}", "--valid-from", "2020-01-01",
            )  # fmt: skip
            self._tell(f"  {reader.handle}: {reader.habit}")
        self._quiet(
            "annotator", "add", ADJUDICATOR, "--role", "senior",
            "--credential", f"board:demo:{ADJUDICATOR}", "--valid-from", "2015-01-01",
        )  # fmt: skip
        self._quiet("annotator", "add", LEAD, "--role", "lead")
        self._show("protocol", "sign", "demo", "--version", "1", "--by", LEAD)
        self._add(slides)

    def _add(self, slides: tuple[DemoSlide, ...]) -> None:
        folder = self.folder / "slides"
        folder.mkdir(exist_ok=True)
        for slide in slides:
            path = write_slide(slide, folder)
            self._quiet(
                "slide", "add", path, "--patient", slide.patient, "--site", slide.site,
                "--scanner", "none, drawn", "--stain", "HE, drawn",
            )  # fmt: skip
        self._tell(f"$ pathquorum slide add {folder}/...   ({len(slides)} slides)")

    def _read(self, slides: tuple[DemoSlide, ...]) -> None:
        self._tell("\nEach draws in QuPath and exports GeoJSON; pull brings it into the store.")
        for reader in DEMO_READERS:
            exports = self.folder / "exports" / reader.handle
            for slide in slides:
                write_feature_collection(
                    exports / f"{slide.name}.geojson", read_demo_slide(slide, reader)
                )
            pulled = self._quiet(
                "pull", exports, "--annotator", reader.handle, "--protocol", "demo",
                "--read-date", READ_DATE, tell=True,
            )  # fmt: skip
            objects = sum(read["objects"] for read in pulled["reads"])
            told = [
                f"{sum(read[key] for read in pulled['reads'])} {what}"
                for key, what in (
                    ("unclassified", "unclassified"),
                    ("unmapped", "of an unknown class"),
                    ("outside_domain", "outside the declared region"),
                    ("overhanging", "over the slide's edge"),
                )
                if any(read[key] for read in pulled["reads"])
            ]
            self._tell(
                f"  {objects} objects on {len(pulled['reads'])} slides"
                + (f"; {', '.join(told)}" if told else "")
            )

    def _adjudicate(self, slides: tuple[DemoSlide, ...]) -> int:
        self._tell("\nFuse them; what the majority leaves open is disputed.")
        self._show("consensus", "run", "--protocol", "demo", "--method", "majority")
        self._show("adjudicate", "list")
        by_name = {slide.name: slide for slide in slides}
        queue = self._quiet("adjudicate", "list")["disputes"]
        for entry in queue:
            shown = self._quiet("adjudicate", "show", entry["dispute"])["disputes"][0]
            region = shapely.from_geojson(json.dumps(shown["geometry"]))
            answer = adjudicator_answer(by_name[entry["slide"]], region)
            said = ("--indeterminate",) if answer == "indeterminate" else ("--class", answer)
            reason = "two grades meet here" if answer == "indeterminate" else "seen at high power"
            self._quiet(
                "adjudicate", "decide", entry["dispute"], *said,
                "--by", ADJUDICATOR, "--reason", reason, tell=True,
            )  # fmt: skip
        self._tell("\nRun again: the decisions are inherited.")
        again = ("consensus", "run", "--protocol", "demo", "--method", "majority")
        self._show(*again)
        return int(self._quiet("consensus", "list")["runs"][-1]["run"])

    def _release(self, run: int) -> dict[str, Any]:
        self._tell("\nFreeze a training set, write the report, and put the consensus into QuPath.")
        folder = self.folder
        release = self._quiet(
            "release", "create", "demo-1", "--run", run, "--split", SPLIT, tell=True
        )
        for form in ("geojson", "masks"):
            self._quiet(
                "release", "export", "demo-1", "--format", form,
                "--to", folder / "release" / form, tell=True,
            )  # fmt: skip
        report = folder / "report.html"
        self._quiet("report", "--run", run, "--to", report, tell=True)
        pushed = self._quiet("push", "--run", run, "--to", folder / "qupath", tell=True)
        parts = ", ".join(f"{name} {part['patients']}" for name, part in release["split"].items())
        self._tell(
            f"\n  release    {folder / 'release'}   {release['items']} items; patients: {parts}\n"
            f"  report     {report}\n"
            f"  for QuPath {folder / 'qupath'}   {pushed['pushed']} regions; drag a file onto its "
            "slide\n"
            f"  slides     {folder / 'slides'}\n"
            f"  store      {self.store}"
        )
        return {
            "release": release["release"],
            "manifest_sha256": release["manifest_sha256"],
            "report": str(report),
            "pushed": pushed["pushed"],
            "qupath": str(folder / "qupath"),
        }

    def _can_learn(self) -> bool:
        """Whether the packages for models are installed."""
        if importlib.util.find_spec("torch") is not None:
            return True
        self._tell(
            "\nModels need further packages: `pip install 'pathquorum[models]'`, then run the demo "
            "again."
        )
        return False

    def _learn(self, release: str) -> dict[str, Any]:
        """Train a model on the release."""
        self._tell(
            "\nTrain on it: a small encoder on the slides' own tiles, then a classifier of tiles that "
            "learns how\neach rater errs, beside one that takes the majority's word. Judge both on "
            "patients not seen."
        )
        features, model, judged, config = (
            self.folder / name for name in ("features", "model", "evaluation", "train.toml")
        )
        config.write_text(TRAINING, encoding="utf-8")
        self._quiet(
            "encode", "--release", release, "--encoder", "self-supervised", "--mpp", TILE_MPP,
            "--size", TILE_PX, "--device", "cpu", "--to", features, tell=True,
        )  # fmt: skip
        self._quiet(
            "train", "--release", release, "--features", features, "--model", "tile-mlp",
            "--method", "em-net", "--config", config, "--device", "cpu", "--name", "grader",
            "--to", model, tell=True,
        )  # fmt: skip
        self._show(
            "evaluate", "--model", "grader", "--release", release, "--features", features,
            "--device", "cpu", "--to", judged,
        )  # fmt: skip
        return {"model": str(model), "card": str(judged / "card.html")}

    def _predict(self, new: tuple[DemoSlide, ...]) -> dict[str, Any]:
        """Predict slides that nobody has read, and bring what the model doubts to a person."""
        self._tell(
            f"\n{len(new)} slides of other patients come in. Predict them; what the model is not sure of "
            "is a\ndispute for the adjudicator, what it says goes into QuPath, and somebody notices "
            "should slides change."
        )
        self._add(new)
        run, qupath, listed, watched = (
            self.folder / name for name in ("night", "qupath-predictions", "triage", "drift")
        )
        self._show(
            "predict", "--model", "grader", "--all", "--encoder", self.folder / "features" / "encoder",
            "--passes", 20, "--device", "cpu", "--to", run,
        )  # fmt: skip
        # A target would need more patients than these: nothing is shown by the least sure ones.
        self._show(
            "triage", "--predictions", run.name, "--positive", "High grade", "--measure", "entropy",
            "--most", MOST, "--to", listed,
        )  # fmt: skip
        pushed = self._quiet("push", "--predictions", run.name, "--to", qupath, tell=True)
        self._tell(f"  {pushed['pushed']} regions; drag a file onto its slide")
        self._show("drift", "--predictions", run.name, "--to", watched)
        return {"predictions": str(run), "triage": str(listed), "drift": str(watched)}

    def _show(self, *arguments: object) -> None:
        """Run a command and let it print."""
        words = [str(argument) for argument in arguments]
        self._tell(f"$ pathquorum {shlex.join(words)}")
        self._check(self._command_line([*words, "--store", self.store]), words)

    def _quiet(self, *arguments: object, tell: bool = False) -> dict[str, Any]:
        """Run a command and take its JSON document."""
        words = [str(argument) for argument in arguments]
        if tell:
            self._tell(f"$ pathquorum {shlex.join(words)}")
        out = io.StringIO()
        with redirect_stdout(out):
            status = self._command_line([*words, "--store", self.store, "--json"])
        self._check(status, words)
        document: dict[str, Any] = json.loads(out.getvalue())
        return document

    def _check(self, status: int, words: list[str]) -> None:
        if status != 0:
            raise PathquorumError(
                f"the demo stopped at `pathquorum {shlex.join(words)}`; see the line above"
            )


def _parted(slides: tuple[DemoSlide, ...]) -> tuple[tuple[DemoSlide, ...], tuple[DemoSlide, ...]]:
    """Those that are read, and those that come in later."""
    return slides[:READ], slides[READ:]
