"""What pathquorum finds on this machine, and what each missing piece costs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass
from typing import Any

from annotation.errors import PathquorumError, QuPathMissingError
from annotation.projects.process import QuPathProcess
from annotation.slides import openslide_library
from annotation.store import open_store

__all__ = ["Check", "examine"]


@dataclass(frozen=True)
class Check:
    """One piece: whether it is there, and what its absence costs. ``required`` ones must be."""

    what: str
    found: bool
    version: str
    detail: str
    costs: str
    required: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the document of ``doctor``."""
        return vars(self).copy()


_PACKAGES = (
    ("shapely", "shapely", "nothing works without it", True),
    ("paquo", "paquo", "QuPath projects can't be read or written; GeoJSON exports work", False),
    ("jpype1", "jpype", "as without paquo", False),
    ("psutil", "psutil", "an open QuPath window is not noticed, so projects are not written", False),
    ("torch", "torch", "no models can be trained or applied; everything up to releases works", False),
    ("psycopg", "psycopg", "the store can't be PostgreSQL; SQLite works", False),
)  # fmt: skip


def examine(store_url: str) -> list[Check]:
    """Look at everything; nothing is changed, and neither Java nor torch comes into this process."""
    checks = [Check("Python", True, platform.python_version(), platform.platform(), "", True)]
    checks += [_openslide(), *(_package(*package) for package in _PACKAGES)]
    checks += [*_qupath(), _store(store_url)]
    return checks


def _package(name: str, module: str, costs: str, required: bool) -> Check:
    found = importlib.util.find_spec(module) is not None
    version = ""
    if found:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
    return Check(name, found, version, "", "" if found else costs, required)


def _openslide() -> Check:
    """Its library is loaded, for the Python package alone opens nothing."""
    costs = "slides can't be read; add them with --width, --height and --mpp"
    library, reason = openslide_library()
    if library is None:
        return Check("OpenSlide", False, "", reason, costs, True)
    return Check("OpenSlide", True, library, "", "", True)


def _qupath() -> list[Check]:
    costs = "projects can't be pulled or pushed to, nor distributed; GeoJSON exports work"
    process = QuPathProcess(0)
    try:
        version = process.start()
        told = process.about()
    except QuPathMissingError as error:
        return [Check("QuPath", False, "", str(error), costs)]
    except PathquorumError as error:
        return [Check("QuPath", False, "", str(error), costs)]
    finally:
        process.stop()
    groovy = bool(told["groovy"])
    return [
        Check("QuPath", True, version, str(told["folder"]), ""),
        Check(
            "Java in QuPath",
            True,
            str(told["java"]),
            f"{told['heap_mb']:,} MB of heap for small images",
            "",
        ),
        Check(
            "Groovy in QuPath",
            groovy,
            str(told["groovy"]),
            "",
            "" if groovy else "objects are read and written one by one, twenty times as slowly",
        ),
    ]


def _store(url: str) -> Check:
    try:
        store = open_store(url)
    except PathquorumError as error:
        return Check("store", False, "", str(error), "only what needs no store works")
    try:
        size_mb = store.size_bytes() / 1e6
        return Check(
            "store", True, f"schema {store.revision()}", f"{store.url}, {size_mb:,.1f} MB", ""
        )
    finally:
        store.close()
