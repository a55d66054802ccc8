"""A release as a folder: its manifest, its split, a table of its items, and their outlines.

``manifest.json`` holds the very bytes that the release's digest is taken over; where it was signed,
``manifest.json.sig`` beside it says so. ``head.json`` is the head of the audit trail when the release
was made. The folder appears complete or not at all.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import quoted_cell
from annotation.errors import ConflictError, InputError
from annotation.signing.signed_files import detached, signature_path, unsigned_head
from annotation.tables import Signature, Slide
from consensus.consensus_items import Consensus, ResolvedItem
from consensus.release import FrozenRelease
from consensus.releases.geojson import write_geojson
from consensus.releases.masks import check_masks, write_masks
from consensus.releases.regions import check_regions, cleaning_document, write_regions
from consensus.signed_content import created_event

__all__ = ["FORMATS", "export_release"]

FORMATS = ("geojson", "masks", "regions")


def export_release(
    session: Session,
    release: FrozenRelease,
    output_format: str,
    folder: Path,
    *,
    tile_px: int = 512,
    mpp: float | None = None,
) -> list[str]:
    """Write a release into a new folder.

    Parameters
    ----------
    output_format
        ``geojson`` (items), ``masks`` or ``regions`` (clean class regions); manifest, split and
        table come with each.
    folder
        Absent or empty.
    tile_px, mpp
        Side of a mask's tiles and its microns per pixel; None takes each slide's own.

    Returns
    -------
    The files, by their paths in the folder.

    Raises
    ------
    RefusedError
        The store no longer gives what the manifest says.
    """
    if output_format not in FORMATS:
        raise InputError(f"no format {output_format!r}; choose one of {', '.join(FORMATS)}")
    consensus = release.consensus
    if output_format == "masks":
        check_masks(consensus.protocol.task, consensus.classes, tile_px, mpp)
    if output_format == "regions":
        check_regions(consensus.protocol.task)
    release.require_unchanged()
    cleaned: list[dict[str, Any]] = []
    with _new_folder(folder) as made:
        (made / "manifest.json").write_text(release.row.manifest, encoding="utf-8")
        _write_evidence(session, release, made)
        (made / "split.json").write_bytes(_split(release))
        with (made / "items.csv").open("w", encoding="utf-8", newline="") as stream:
            table = _ItemTable(csv.writer(stream), release)
            for slide in consensus.slides:
                items = consensus.items(slide)
                table.write(slide, items)
                if output_format == "masks":
                    write_masks(
                        made / "masks", slide, items, consensus.classes, tile_px=tile_px, mpp=mpp
                    )
                elif output_format == "regions":
                    cleaned.append(write_regions(release, made / "regions", slide, items))
                else:
                    write_geojson(session, release, made / "geojson", slide, items)
        if output_format == "regions":
            (made / "regions.json").write_bytes(cleaning_document(release, cleaned))
        return sorted(p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file())


def _write_evidence(session: Session, release: FrozenRelease, made: Path) -> None:
    """The head of the trail when the release was made, and the release's signature, if it has one."""
    created = created_event(session, release.row.id)
    if created is not None:
        (made / "head.json").write_bytes(unsigned_head(session, created).to_bytes())
    signature = session.scalars(
        select(Signature)
        .where(Signature.subject == f"release:{release.row.id}")
        .order_by(Signature.id)
    ).first()
    if signature is not None:
        signed = detached(session, signature, "manifest.json")
        signature_path(made / "manifest.json").write_bytes(signed.to_bytes())


def _split(release: FrozenRelease) -> bytes:
    """Which patients and slides each part holds."""
    split = release.manifest["split"]
    patients: dict[str, set[str]] = defaultdict(set)
    slides: dict[str, list[str]] = defaultdict(list)
    for slide in release.manifest["slides"]:
        slides[slide["part"]].append(slide["name"])
        if slide["patient"] is not None:
            patients[slide["part"]].add(slide["patient"])
    document = {
        "seed": split["seed"],
        "shares": split["shares"],
        "parts": {
            part: {"patients": sorted(patients[part]), "slides": slides[part]}
            for part in split["parts"]
        },
    }
    return msgspec.json.format(msgspec.json.encode(document, order="sorted")) + b"\n"


class _ItemTable:
    """``items.csv``: a row an item, with a column for each class's posterior and each rater."""

    def __init__(self, writer: Any, release: FrozenRelease) -> None:
        consensus: Consensus = release.consensus
        self._writer = writer
        self._raters: list[str] = list(consensus.run.summary["raters"])
        self._places = {slide["name"]: slide for slide in release.manifest["slides"]}
        regions = consensus.protocol.task == "regions"
        self._row(
            ["slide", "patient", "part", "item", "state", "label"]
            + ["area_um2" if regions else "weight"]
            + [f"posterior {name}" for name in consensus.classes]
            + [f"rater {rater}" for rater in self._raters]
            + ["decision", "decided_by", "reason"]
        )

    def write(self, slide: Slide, items: Sequence[ResolvedItem]) -> None:
        """Write the rows of one slide."""
        place = self._places[slide.name]
        for item in items:
            answer = item.answer
            self._row(
                [slide.name, place["patient"], place["part"], item.name, item.state, item.label]
                + [round(item.weight, 6), *item.posterior]
                + [item.pattern.get(rater) for rater in self._raters]
                + (
                    [None, None, None]
                    if answer is None
                    else [answer.decision, answer.by, answer.reason]
                )
            )

    def _row(self, cells: Sequence[object]) -> None:
        self._writer.writerow([quoted_cell(cell) for cell in cells])


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder that takes its place under its name when the block ends well."""
    target = folder.resolve()
    if target.exists() and not target.is_dir():
        raise InputError(f"{folder} is a file; give --to a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise ConflictError(
            f"the folder {folder} is not empty, and an export never mixes with what is there; "
            "give --to a new one"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:40]}."))
    try:
        hidden.chmod(0o755)
        yield hidden
        if target.is_dir():
            target.rmdir()
        hidden.replace(target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
