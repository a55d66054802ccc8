"""What pathquorum finds on this machine, and what each missing piece costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from annotation.errors import PathquorumError, QuPathMissingError
from annotation.projects.process import QuPathProcess
from annotation.store import masked, open_store
from annotation.stores.schema import head_revision

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


_OPENSLIDE = ("openslide-python", "openslide", "slides can't be read; add them with --width, --height and --mpp", True)  # fmt: skip
_PACKAGES = (
    ("shapely", "shapely", "nothing works without it", True),
    ("paquo", "paquo", "QuPath projects can't be read or written; GeoJSON exports work", False),
    ("jpype1", "jpype", "as without paquo", False),
    ("psutil", "psutil", "an open QuPath window is not noticed, so projects are not written", False),
    ("torch", "torch", "no models can be trained or applied; everything up to releases works", False),
    ("h5py", "h5py", "features can't be written or read, so `encode`, `train` and `evaluate` don't work", False),
    ("safetensors", "safetensors", "no weights can be read or saved; as without torch", False),
    ("simplejpeg", "simplejpeg", "no tiles can be read, so neither `encode`, `tune` nor `train --model unet` works", False),
    ("timm", "timm", "of encoders only the small one of one's own tiles works", False),
    ("segmentation-models-pytorch", "segmentation_models_pytorch", "`train --model smp` doesn't work; unet does", False),
    ("pyarrow", "pyarrow", "`release export --format parquet` doesn't work; other formats do", False),
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
    """OpenSlide, imported: its package is found where the library below it is missing or too old."""
    found = _package(*_OPENSLIDE)
    if not found.found:
        return found
    name, module, costs, required = _OPENSLIDE
    try:
        # By its name, so that `annotation.slides` stays the only one to read slides with it.
        library = str(importlib.import_module(module).__library_version__)
    except Exception as error:  # noqa: BLE001 - whatever a library says as it loads is the finding
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name, False, found.version, f"can't be imported: {reason}", costs, required)
    return Check(name, True, found.version, f"OpenSlide library {library}", "", required)


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
    expected = head_revision()
    told = _kind(url)
    try:
        store = open_store(url)
    except PathquorumError as error:
        detail = f"{told}, schema {expected} is expected: {_reason(error, url)}"
        return Check("store", False, "", detail, "only what needs no store works")
    try:
        revision = store.revision()
    finally:
        store.close()
    detail = f"{told}, schema {revision}, {expected} is expected"
    return Check("store", True, revision, detail, "")


def _kind(url: str) -> str:
    """What kind of database it is, and a file's place and size; of a server no address, no user."""
    parsed = _parsed(url)
    if parsed is None:
        return "no database URL"
    kind = parsed.get_backend_name()
    if kind != "sqlite":
        return {"postgresql": "PostgreSQL"}.get(kind, kind)
    path = Path(parsed.database or "")
    if not path.is_file():
        return f"SQLite {parsed.database or 'in memory'}"
    return f"SQLite {path} of {path.stat().st_size:,} bytes"


def _reason(error: PathquorumError, url: str) -> str:
    """Why the store can't be used, without a server's address: what doctor says is often passed on."""
    parsed = _parsed(url)
    if parsed is None or not parsed.host:
        return str(error)
    if isinstance(error.__cause__, DatabaseError):  # a driver's text names host, port and user
        return "it can't be reached or used; any command that needs the store says why"
    return str(error).replace(masked(parsed), "...")


def _parsed(url: str) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None
