"""A release as a dataset of nnU-Net v2: tiles with their masks, and the split as its folds.

Cases are square tiles on a grid, at one resolution, that hold a label. ``background`` is 0, the
protocol's classes follow, and the highest value is ``ignore``: what was excluded, bears no class,
or lies outside the domain, which nnU-Net leaves out of its loss. The parts ``train`` and ``val``
are its training cases; all other parts are its test cases. ``splits_final.json`` keeps patients
apart, which nnU-Net's own random folds of tiles would not.

Layout and rules after nnU-Net's documentation (``dataset_format.md``, ``ignore_label.md``,
``manual_data_splits.md``) and its ``verify_dataset_integrity``:
https://github.com/MIC-DKFZ/nnUNet/tree/master/documentation
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from annotation.errors import InputError
from annotation.paths import file_name
from annotation.slide_images import image_of
from annotation.tables import Slide
from consensus.consensus_items import ResolvedItem
from consensus.release import FrozenRelease
from consensus.releases.masks import MaskGrid, check_masks, mask_tiles
from consensus.releases.tile_pictures import tile_pictures

__all__ = ["check_nnunet", "nnunet_writer"]

BACKGROUND = "background"
IGNORE = "ignore"
TRAINING, VALIDATION = "train", "val"

_FOLDS = 5
_DATASET_IDS = range(1, 1000)


def check_nnunet(release: FrozenRelease, tile_px: int, mpp: float | None, dataset_id: int) -> None:
    """Refuse what nnU-Net can't be given, before anything is written."""
    consensus = release.consensus
    check_masks(consensus.protocol.task, consensus.classes, tile_px, mpp)
    _stated(mpp)
    if dataset_id not in _DATASET_IDS:
        raise InputError(f"--dataset-id {dataset_id} can't be used; nnU-Net takes 1 to 999")
    if IGNORE in consensus.classes:
        raise InputError(
            f"the class {IGNORE!r} bears the name by which nnU-Net knows what it leaves out; rename "
            "it in a new version of the protocol"
        )
    parts = {slide["part"] for slide in release.manifest["slides"]}
    if TRAINING not in parts:
        raise InputError(
            f"nnU-Net trains on the part {TRAINING!r}, and this split has only "
            f"{', '.join(sorted(parts))}; create a release with --split {TRAINING}=...",
            release=release.row.name,
        )
    subjects = {_subject(s) for s in release.manifest["slides"] if s["part"] == TRAINING}
    if VALIDATION not in parts and len(subjects) < 2:
        raise InputError(
            f"without a part {VALIDATION!r} nnU-Net's folds are made of the patients of "
            f"{TRAINING!r}, and it has one; create a release with --split {TRAINING}=...,"
            f"{VALIDATION}=...",
            release=release.row.name,
        )
    for slide in consensus.slides:
        image_of(slide)


@contextmanager
def nnunet_writer(
    release: FrozenRelease, made: Path, *, tile_px: int, mpp: float | None, dataset_id: int
) -> Iterator[Callable[[Slide, Sequence[ResolvedItem]], None]]:
    """A function that takes the items of one slide after the other; the JSON files come at the end.

    Parameters
    ----------
    made
        Gets a folder ``DatasetXXX_Name``.
    tile_px, mpp
        Side of the cases, and their microns per pixel.
    dataset_id
        The number that stands for XXX.
    """
    writing = _Writing(release, made, tile_px, _stated(mpp), dataset_id)
    yield writing.add
    writing.finish()


class _Writing:
    def __init__(
        self, release: FrozenRelease, made: Path, tile_px: int, mpp: float, dataset_id: int
    ) -> None:
        self._release, self._tile_px, self._mpp = release, tile_px, mpp
        name = re.sub(r"[^A-Za-z0-9]+", "-", release.row.name).strip("-") or "release"
        self._folder = made / f"Dataset{dataset_id:03d}_{name}"
        self._places = {slide["name"]: slide for slide in release.manifest["slides"]}
        protocol = release.consensus.protocol
        self._labels = {
            BACKGROUND: 0,
            **{c.name: value for value, c in enumerate(protocol.classes, start=1)},
        }
        self._ignore = len(self._labels)
        self._value = np.full(256, self._ignore, dtype=np.uint8)
        for code, label in enumerate(release.consensus.classes):
            self._value[code] = self._labels[label]
        self._cases: list[dict[str, Any]] = []
        self._without_label: list[dict[str, Any]] = []
        for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (self._folder / folder).mkdir(parents=True)

    def add(self, slide: Slide, items: Sequence[ResolvedItem]) -> None:
        """Write the tiles of one slide that hold a label, pictures and masks."""
        from PIL import Image

        place = self._places[slide.name]
        ending = "Tr" if place["part"] in (TRAINING, VALIDATION) else "Ts"
        grid = MaskGrid(slide.width_px, slide.height_px, slide.mpp, self._mpp, self._tile_px)
        with tile_pictures(slide, grid) as picture:
            for column, row, codes in mask_tiles(items, self._release.consensus.classes, grid):
                case = f"{file_name(slide.name, '')}_x{column:04d}y{row:04d}"
                about = {
                    "case": case,
                    "slide": slide.name,
                    "patient": place["patient"],
                    "part": place["part"],
                    "x_px": column * grid.tile_side_px,
                    "y_px": row * grid.tile_side_px,
                    "side_px": grid.tile_side_px,
                }
                values = self._value[codes]
                if (values == self._ignore).all():
                    self._without_label.append(about)
                    continue
                picture(column, row).save(self._folder / f"images{ending}" / f"{case}_0000.png")
                Image.fromarray(values).save(self._folder / f"labels{ending}" / f"{case}.png")
                self._cases.append(about)

    def finish(self) -> None:
        """Write what says which case is which, once all of them are there."""
        row = self._release.row
        training = [case for case in self._cases if case["part"] in (TRAINING, VALIDATION)]
        if not training:
            raise InputError(
                f"no tile of the parts {TRAINING} and {VALIDATION} of release {row.name!r} holds a "
                "label, so there is nothing to train on; take other slides into the release",
                release=row.name,
            )
        self._write(
            "dataset.json",
            {
                "channel_names": {"0": "R", "1": "G", "2": "B"},
                "labels": {**self._labels, IGNORE: self._ignore},
                "numTraining": len(training),
                "file_ending": ".png",
                "name": row.name,
                "description": f"pathquorum release {row.name}",
                "manifest_sha256": row.manifest_sha256,
                "mpp": self._mpp,
                "tile_px": self._tile_px,
            },
        )
        self._write("splits_final.json", self._splits(training))
        self._write(
            "cases.json",
            {
                "frame": "x_px, y_px and side_px are level-0 pixels of the slide, origin top left",
                "cases": self._cases,
                "without_label": self._without_label,
            },
        )

    def _splits(self, training: list[dict[str, Any]]) -> list[dict[str, list[str]]]:
        """One fold of our own parts; without a validation part, folds of whole patients."""
        if any(case["part"] == VALIDATION for case in training):
            folds = [{case["case"] for case in training if case["part"] == VALIDATION}]
        else:
            subjects = sorted({_subject(self._places[case["slide"]]) for case in training})
            fold_of = {subject: i % _FOLDS for i, subject in enumerate(subjects)}
            folds = [
                {c["case"] for c in training if fold_of[_subject(self._places[c["slide"]])] == fold}
                for fold in range(min(_FOLDS, len(subjects)))
            ]
        return [
            {
                "train": [case["case"] for case in training if case["case"] not in fold],
                "val": [case["case"] for case in training if case["case"] in fold],
            }
            for fold in folds
        ]

    def _write(self, name: str, document: object) -> None:
        encoded = msgspec.json.format(msgspec.json.encode(document))
        (self._folder / name).write_bytes(encoded + b"\n")


def _stated(mpp: float | None) -> float:
    if mpp is None:
        raise InputError(
            "nnU-Net takes the pixels of all PNG images for equally large; say how large with --mpp"
        )
    return mpp


def _subject(slide: dict[str, Any]) -> tuple[bool, str]:
    """Who must not stand on both sides of a fold: a patient, or a slide of none."""
    return slide["patient"] is None, slide["patient"] or slide["name"]
