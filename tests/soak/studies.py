"""A study for soak tests: people, slides, and exports that differ each time by a seed."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path

from annotation.store import create_or_upgrade
from tests.conftest import PROTOCOL, feature, square
from tests.soak.processes import done

CLASSES = ("Benign", "Low grade", "High grade")
SLIDES = ("S0", "S1", "S2")
SHARED = "shared"
"""An annotator for whom everybody pulls."""


def make_study(url: str, folder: Path, people: int) -> None:
    """Make a store with people P0, P1, ... who have read nothing, a shared one and a lead."""
    create_or_upgrade(url)[0].close()
    protocol = folder / "prostate.toml"
    protocol.write_text(PROTOCOL, encoding="utf-8")
    done(url, "protocol", "add", protocol)
    for handle in (SHARED, *(f"P{number}" for number in range(people))):
        done(url, "annotator", "add", handle, "--role", "pathologist")
    done(url, "annotator", "add", "L", "--role", "lead")
    for slide in SLIDES:
        done(url, "slide", "add", slide, "--width", 4000, "--height", 3000, "--mpp", 0.5)


def write_export(path: Path, handle: str, chance: random.Random, objects: int) -> dict[str, str]:
    """Write an export of squares that keep their UUIDs from one to the next. Gives their classes."""
    drawn, classes = [], {}
    for number in range(objects):
        if number % 5 == 4 and chance.random() < 0.5:
            continue  # some come and go, never more than half
        key = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{handle}:{path.stem}:{number}"))
        classes[key] = chance.choice(CLASSES)
        corner = 50 * (number % 70), 50 * (number // 70)
        side = 30 + chance.randrange(10)
        drawn.append({**feature(square(*corner, side), classes[key]), "id": key})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}), encoding="utf-8")
    return classes


def pull_arguments(path: Path, handle: str) -> tuple[object, ...]:
    """The command line that pulls an export for an annotator."""
    named = ("--annotator", handle, "--protocol", "prostate", "--accept-copy", "--json")
    return ("pull", path, *named)
