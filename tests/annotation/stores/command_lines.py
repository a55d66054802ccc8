"""A command line of every command, for what must hold whichever command it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.annotation.stores.conftest import Study
from tests.conftest import PROTOCOL
from tests.signing import make_key

__all__ = ["MAKES_A_STORE", "READING", "CommandLines", "prepare"]

MAKES_A_STORE = ("init", "store copy", "store restore", "demo")
"""`demo` runs `init`; the other two make again what stands elsewhere."""

READING = (
    "protocol list",
    "protocol show",
    "annotator list",
    "key list",
    "slide list",
    "slide show",
    "study show",
    "assign",
    "history",
    "diff",
    "restore",
    "agreement",
    "compare",
    "consensus list",
    "consensus sensitivity",
    "consensus show",
    "adjudicate list",
    "adjudicate show",
    "release export",
    "release list",
    "release show",
    "report",
    "status",
    "trace",
    "doctor",
    "signature list",
    "signature verify",
    "audit export",
    "audit head",
    "audit verify",
    "store backup",
    "store check",
)
"""Those that tell what a store holds. `report` and `audit head` leave an event that tells so."""


@dataclass
class CommandLines:
    """Of every command its arguments; what they name is there, and what they write is not."""

    arguments: dict[str, tuple[object, ...]]

    def of(self, command: str) -> tuple[object, ...]:
        """The whole line, without ``--store``."""
        return (*command.split(), *self.arguments[command])


def prepare(worked: Study, folder: Path) -> CommandLines:
    """Command lines that go through on the store of ``worked``, where they only read."""
    key = make_key(worked, "L", folder)
    protocol = folder / "again.toml"
    protocol.write_text(PROTOCOL, encoding="utf-8")
    table = folder / "ratings.csv"
    table.write_text("item,rater,label\n1,a,x\n1,b,x\n2,a,x\n2,b,y\n", encoding="utf-8")
    export = folder / "P3" / "S1.geojson"
    export.parent.mkdir()
    export.write_text('{"type":"FeatureCollection","features":[]}', encoding="utf-8")
    named = ("--annotator", "P3", "--protocol", "prostate")
    answer = ("--by", "L", "--reason", "seen")
    backup = folder / "kept.zip"
    assert worked("store", "backup", backup).status == 0
    return CommandLines(
        {
            "init": (),
            "protocol add": (protocol,),
            "protocol list": (),
            "protocol show": ("prostate",),
            "protocol sign": ("prostate", "--version", "1", "--by", "L"),
            "protocol template": (),
            "annotator add": ("P9", "--role", "trainee"),
            "annotator correct": ("P9", "--credential", "a:b:c", "--withdrawn", "--reason", "x"),
            "annotator list": (),
            "key create": ("P1", "--to", folder / "P1.pem", *key[2:]),
            "key list": (),
            "key revoke": ("L", "--reason", "lost"),
            "slide add": ("S9", "--width", 10, "--height", 10, "--mpp", 0.5),
            "slide describe": ("S1", "--stain", "HE"),
            "slide hash": ("S1",),
            "slide list": (),
            "slide show": ("S1",),
            "study describe": ("--ethics", "EK 1"),
            "study show": (),
            "distribute": ("--protocol", "prostate", "--annotators", "P1", "--to", folder / "h"),
            "assign": ("--list",),
            "pull": (export, *named),
            "history": ("--slide", "S1", "--annotator", "P1"),
            "diff": (1, 3),
            "restore": (1, "--to", folder / "before"),
            "agreement": ("--bootstrap", 20),
            "compare": ("--protocol", "prostate", "--with-as-of", 1, "--bootstrap", 20),
            "consensus list": (),
            "consensus run": (),
            "consensus sensitivity": (),
            "consensus show": (1,),
            "consensus table": (table,),
            "adjudicate collect": (folder, "--by", "L"),
            "adjudicate decide": (1, "--class", "Benign", *answer),
            "adjudicate list": (),
            "adjudicate open": ("--to", folder / "disputes"),
            "adjudicate reopen": (1, "--reason", "x"),
            "adjudicate show": (1,),
            "release create": ("again", "--run", 1),
            "release export": ("first", "--format", "geojson", "--to", folder / "exported"),
            "release list": (),
            "release show": ("first",),
            "encode": ("--release", "first", "--encoder", "resnet50", "--to", folder / "features"),
            "train": (
                "--release", "first", "--features", folder, "--model", "tile-mlp",
                "--name", "m", "--to", folder / "model",
            ),
            "evaluate": (
                "--model", "m", "--release", "first", "--features", folder,
                "--to", folder / "evaluation",
            ),
            "tune": (
                "--release", "first", "--encoder", "resnet50",
                "--to", folder / "tuned",
            ),
            "predict": ("--model", "m", "--slides", "S1", "--to", folder / "night"),
            "drift": ("--predictions", "night", "--to", folder / "drift"),
            "triage": ("--predictions", "night", "--positive", "Benign"),
            "report": ("--run", 1, "--to", folder / "report.html"),
            "push": ("--run", 1, "--to", folder / "pushed again"),
            "status": ("--reads",),
            "trace": ("first",),
            "scripts": ("--to", folder / "scripts"),
            "doctor": (),
            "signature list": (),
            "signature verify": (),
            "audit export": ("--to", folder / "trail.csv"),
            "audit head": ("--by", "L", "--to", folder / "head.json", *key),
            "audit verify": (),
            "store backup": (folder / "another.zip",),
            "store check": (),
            "store copy": (),
            "store restore": (backup,),
            "demo": ("--to", folder / "demo"),
        }
    )  # fmt: skip
