"""A release as one Parquet table: a row an item, with what each rater said and where it lies.

Names of classes and raters stand in the columns' names as they are; the schema's metadata hold
which release it is. The geometry is WKB in level-0 pixels of the slide, and marked so that readers
of GeoParquet find it. Rows are written slide by slide, in groups of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import shapely
from sqlalchemy.orm import Session

from annotation.errors import InputError
from annotation.tables import Slide
from consensus.consensus_items import ResolvedItem
from consensus.object_outlines import object_outlines
from consensus.release import FrozenRelease

__all__ = ["check_parquet", "parquet_writer"]

FORMAT = "pathquorum-items/1"


def check_parquet() -> None:
    """Refuse where the package that writes Parquet is absent."""
    try:
        import pyarrow  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        raise InputError(
            "pyarrow is not installed, and Parquet needs it; run `pip install 'pathquorum[parquet]'`"
        ) from None


@contextmanager
def parquet_writer(
    session: Session, release: FrozenRelease, path: Path
) -> Iterator[Callable[[Slide, Sequence[ResolvedItem]], None]]:
    """A function that takes the items of one slide after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(release)
    places = {slide["name"]: slide for slide in release.manifest["slides"]}
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(slide: Slide, items: Sequence[ResolvedItem]) -> None:
            columns = _columns(session, release, slide, items, places[slide.name])
            writer.write_table(pa.table(columns, schema=schema))

        yield write


def _columns(
    session: Session,
    release: FrozenRelease,
    slide: Slide,
    items: Sequence[ResolvedItem],
    place: dict[str, Any],
) -> dict[str, Any]:
    consensus = release.consensus
    outlines = [item.geometry for item in items]
    if consensus.protocol.task == "objects" and items:
        outlines = list(object_outlines(session, consensus, slide, items))
    posterior = np.array([item.posterior for item in items], dtype=np.float64)
    answers = [item.answer for item in items]
    n = len(items)
    return {
        "slide": [slide.name] * n,
        "patient": [place["patient"]] * n,
        "site": [place["site"]] * n,
        "part": [place["part"]] * n,
        "item": [item.name for item in items],
        "state": [item.state for item in items],
        "label": [item.label for item in items],
        "weight": [item.weight for item in items],
        **{
            f"posterior {name}": posterior.reshape(n, -1)[:, number] if n else []
            for number, name in enumerate(consensus.classes)
        },
        **{
            f"rater {rater}": [item.pattern.get(rater) for item in items]
            for rater in consensus.run.summary["raters"]
        },
        "decision": [None if a is None else a.decision for a in answers],
        "decided_by": [None if a is None else a.by for a in answers],
        "reason": [None if a is None else a.reason for a in answers],
        "geometry": list(shapely.to_wkb(np.array(outlines, dtype=object))),
    }


def _schema(release: FrozenRelease) -> Any:
    import pyarrow as pa

    consensus = release.consensus
    raters = list(consensus.run.summary["raters"])
    names = ("slide", "patient", "site", "part", "item", "state", "label")
    text = pa.string()
    about = {
        "format": FORMAT,
        "release": release.row.name,
        "manifest_sha256": release.row.manifest_sha256,
        "task": consensus.protocol.task,
        "weight_unit": release.manifest["totals"]["weight_unit"],
        "classes": list(consensus.classes),
        "raters": raters,
        "frame": "geometry is in level-0 pixels of the slide, origin top left",
    }
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": None}},
    }
    return pa.schema(
        [
            *((name, text) for name in names),
            ("weight", pa.float64()),
            *((f"posterior {name}", pa.float64()) for name in consensus.classes),
            *((f"rater {rater}", text) for rater in raters),
            ("decision", pa.int64()),
            ("decided_by", text),
            ("reason", text),
            ("geometry", pa.binary()),
        ],
        metadata={
            "pathquorum": msgspec.json.encode(about).decode(),
            "geo": msgspec.json.encode(geo).decode(),
        },
    )
