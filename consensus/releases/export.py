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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from consensus.releases.coco import check_coco, coco_writer
from consensus.releases.geojson import write_geojson
from consensus.releases.masks import check_masks, write_masks
from consensus.releases.nnunet import check_nnunet, nnunet_writer
from consensus.releases.parquet import check_parquet, parquet_writer
from consensus.releases.regions import check_regions, cleaning_document, write_regions
from consensus.signed_content import created_event

__all__ = ["FORMATS", "export_release"]

FORMATS = ("geojson", "masks", "regions", "coco", "parquet", "nnunet")

TILE_PX = 512
DATASET_ID = 500
"""Of nnU-Net's; it keeps the numbers below for datasets of its own."""


def export_release(
    session: Session,
    release: FrozenRelease,
    output_format: str,
    folder: Path,
    *,
    tile_px: int | None = None,
    mpp: float | None = None,
    dataset_id: int = DATASET_ID,
) -> list[str]:
    """Write a release into a new folder.

    Parameters
    ----------
    output_format
        ``geojson`` (items), ``masks``, ``regions`` (clean class regions), ``coco``, ``parquet`` or
        ``nnunet``; manifest, split and table come with each.
    folder
        Absent or empty.
    tile_px
        Side of tiles; None takes 512 for masks and nnU-Net, and whole slides as COCO's images.
    mpp
        Microns per pixel of masks and pictures; None takes each slide's own, which nnU-Net can't.
    dataset_id
        nnU-Net's number of the dataset.

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
    made = _Export(session, release, output_format, tile_px, mpp, dataset_id)
    made.check()
    release.require_unchanged()
    with _new_folder(folder) as target:
        (target / "manifest.json").write_text(release.row.manifest, encoding="utf-8")
        _write_evidence(session, release, target)
        (target / "split.json").write_bytes(_split(release))
        with (
            (target / "items.csv").open("w", encoding="utf-8", newline="") as stream,
            made.writer(target) as write,
        ):
            table = _ItemTable(csv.writer(stream), release)
            for slide in release.consensus.slides:
                items = release.consensus.items(slide)
                table.write(slide, items)
                write(slide, items)
        return sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())


WriteSlide = Callable[[Slide, Sequence[ResolvedItem]], object]


@dataclass(frozen=True)
class _Export:
    """What is written of each slide, by format."""

    session: Session
    release: FrozenRelease
    output_format: str
    tile_px: int | None
    mpp: float | None
    dataset_id: int

    def check(self) -> None:
        """Refuse what the format can't hold, before anything is written."""
        consensus, tile_px = self.release.consensus, self.tile_px
        match self.output_format:
            case "masks":
                side_px = TILE_PX if tile_px is None else tile_px
                check_masks(consensus.protocol.task, consensus.classes, side_px, self.mpp)
            case "regions":
                check_regions(consensus.protocol.task)
            case "coco":
                check_coco(self.release, tile_px, self.mpp)
            case "parquet":
                check_parquet()
            case "nnunet":
                side_px = TILE_PX if tile_px is None else tile_px
                check_nnunet(self.release, side_px, self.mpp, self.dataset_id)

    @contextmanager
    def writer(self, target: Path) -> Iterator[WriteSlide]:
        """A function that writes one slide's items into the folder of the export."""
        session, release, tile_px = self.session, self.release, self.tile_px
        side_px = TILE_PX if tile_px is None else tile_px
        match self.output_format:
            case "masks":
                yield lambda slide, items: write_masks(
                    target / "masks",
                    slide,
                    items,
                    release.consensus.classes,
                    tile_px=side_px,
                    mpp=self.mpp,
                )
            case "regions":
                cleaned: list[dict[str, Any]] = []
                yield lambda slide, items: cleaned.append(
                    write_regions(release, target / "regions", slide, items)
                )
                (target / "regions.json").write_bytes(cleaning_document(release, cleaned))
            case "coco":
                with coco_writer(
                    session, release, target / "coco", tile_px=tile_px, mpp=self.mpp
                ) as write:
                    yield write
            case "parquet":
                with parquet_writer(session, release, target / "items.parquet") as write:
                    yield write
            case "nnunet":
                with nnunet_writer(
                    release,
                    target,
                    tile_px=side_px,
                    mpp=self.mpp,
                    dataset_id=self.dataset_id,
                ) as write:
                    yield write
            case _:
                yield lambda slide, items: write_geojson(
                    session, release, target / "geojson", slide, items
                )


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
