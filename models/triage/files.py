"""What a triage leaves beside the store: its document, the list of slides, the curves as table and picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from annotation.audit import quoted_cell
from annotation.paths import replacing
from consensus.reporting.coverage_risk import automatic_share, draw_coverage_risk

__all__ = ["write_files"]

_DOCUMENT, _LIST, _CURVES = "triage.json", "triage.csv", "coverage_risk.csv"
_PICTURES = {"svg": "coverage_risk.svg", "png": "coverage_risk.png"}


def write_files(folder: Path, document: Mapping[str, Any]) -> list[str]:
    """Write the files of a triage into a folder, and give their names; what stands there is replaced."""
    share = automatic_share(document)
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    contents = {
        _DOCUMENT: encoded + b"\n",
        _LIST: _list(document["slides"]),
        _CURVES: _curves(document["coverage_risk"]),
        _PICTURES["svg"]: draw_coverage_risk(document["coverage_risk"], share, "svg"),
        _PICTURES["png"]: draw_coverage_risk(document["coverage_risk"], share, "png"),
    }
    for name, content in contents.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return list(contents)


def _list(slides: Sequence[Mapping[str, Any]]) -> bytes:
    columns = ("slide", "bounds_px", "predicted", "called_positive", "value", "state")
    rows = (
        [" ".join(map(str, one[c])) if isinstance(one[c], list) else one[c] for c in columns]
        for one in slides
    )
    return _csv(columns, rows)


def _curves(document: Mapping[str, Any]) -> bytes:
    rows = (
        [one["measure"], coverage, risk]
        for one in document["measures"]
        for coverage, risk in zip(one["curve"]["coverage"], one["curve"]["risk"], strict=True)
    )
    return _csv(("measure", "coverage", "risk"), rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table in which no cell is a formula."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(columns)
    writer.writerows(["" if c is None else quoted_cell(c) for c in row] for row in rows)
    return stream.getvalue().encode()
