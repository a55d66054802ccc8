"""The demo: a whole study on generated slides, through the same commands that a user types."""

from __future__ import annotations

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
        slides = demo_slides(self.seed)
        self._register(slides)
        self._read(slides)
        self._tell("\nHow far do they agree?")
        self._show("agreement", "--protocol", "demo")
        run = self._adjudicate(slides)
        made = self._release(run)
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
        (self.folder / "slides").mkdir()
        for slide in slides:
            path = write_slide(slide, self.folder / "slides")
            self._quiet(
                "slide", "add", path, "--patient", slide.patient, "--site", slide.site,
                "--scanner", "none, drawn", "--stain", "HE, drawn",
            )  # fmt: skip
        self._tell(f"$ pathquorum slide add {self.folder / 'slides'}/...   ({len(slides)} slides)")

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
        release = self._quiet("release", "create", "demo-1", "--run", run, tell=True)
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
