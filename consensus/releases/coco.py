"""A release as COCO instances: one file a part of the split.

A part's images are its slides, or tiles of them that are written beside it. What bears a class of
the protocol is an annotation: a polygon, or a mask where it has holes. What bears none is there as
a crowd of each class that it may be, which is COCO's way to say that a detection there is neither
right nor wrong. What was found to be nothing (``background``, ``absent``) is listed apart, as
``negatives``: together the three cover all that was rated, and nothing else is a negative.

Frame: pixels of the image, origin top left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import shapely
from sqlalchemy.orm import Session

from annotation.errors import InputError
from annotation.paths import file_name, inside
from annotation.slide_images import image_of
from annotation.tables import Slide
from annotation.units import length_px
from consensus.consensus_items import EXCLUDED, ResolvedItem
from consensus.object_outlines import object_outlines
from consensus.release import FrozenRelease
from consensus.releases.masks import MaskGrid, check_sizes
from consensus.releases.run_lengths import LARGEST_IMAGE_PX2, mask_of
from consensus.releases.tile_pictures import tile_pictures

__all__ = ["check_coco", "coco_writer"]

_DECIMALS = 3
"""Of coordinates, in pixels."""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image: its place on the slide in level-0 pixels, and its size in its own."""

    number: int
    x_px: float
    y_px: float
    downsample: float
    width_px: int
    height_px: int


@dataclass
class _Part:
    """What one file holds."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    negatives: list[dict[str, Any]] = field(default_factory=list)


def check_coco(release: FrozenRelease, tile_px: int | None, mpp: float | None) -> None:
    """Refuse what COCO can't hold, before anything is written."""
    consensus = release.consensus
    if consensus.protocol.task == "slides":
        raise InputError(
            "COCO files hold outlines, and this release labels slides as a whole; export it with "
            "--format parquet or geojson"
        )
    check_sizes(tile_px, mpp)
    for slide in consensus.slides:
        if tile_px is not None:
            image_of(slide)
            continue
        grid = MaskGrid(slide.width_px, slide.height_px, slide.mpp, mpp or slide.mpp, 1)
        if grid.width_px * grid.height_px > LARGEST_IMAGE_PX2:
            least = slide.mpp * (slide.width_px * slide.height_px / LARGEST_IMAGE_PX2) ** 0.5
            raise InputError(
                f"slide {slide.name!r} has {grid.width_px} x {grid.height_px} px, and readers of "
                f"COCO count up to 2**32; give --mpp {least + 0.005:.2f} or more, or --tile-px",
                slide=slide.name,
            )


@contextmanager
def coco_writer(
    session: Session,
    release: FrozenRelease,
    folder: Path,
    *,
    tile_px: int | None,
    mpp: float | None,
) -> Iterator[Callable[[Slide, Sequence[ResolvedItem]], None]]:
    """A function that takes the items of one slide after the other; the files stand at the end.

    Parameters
    ----------
    tile_px
        Side of tiles to cut images into; None makes an image of each slide, which stays where it is.
    mpp
        Microns per pixel of the images; None takes each slide's own.
    """
    writing = _Writing(session, release, folder, tile_px, mpp)
    yield writing.add
    writing.finish()


class _Writing:
    def __init__(
        self,
        session: Session,
        release: FrozenRelease,
        folder: Path,
        tile_px: int | None,
        mpp: float | None,
    ) -> None:
        self._session, self._release, self._folder = session, release, folder
        self._tile_px, self._mpp = tile_px, mpp
        self._parts: dict[str, _Part] = defaultdict(_Part)
        self._places = {slide["name"]: slide for slide in release.manifest["slides"]}
        self._category = {
            c.name: number for number, c in enumerate(release.consensus.protocol.classes, start=1)
        }
        self._n_images = self._n_annotations = 0

    def add(self, slide: Slide, items: Sequence[ResolvedItem]) -> None:
        """Take up the items of one slide."""
        kept = [item for item in items if item.geometry is not None and item.state != EXCLUDED]
        outlines = np.array([item.geometry for item in kept], dtype=object)
        if self._release.consensus.protocol.task == "objects" and kept:
            outlines = np.array(
                object_outlines(self._session, self._release.consensus, slide, kept), dtype=object
            )
            outlines = self._with_area(slide, outlines)
        grid = MaskGrid(
            slide.width_px, slide.height_px, slide.mpp, self._mpp or slide.mpp, self._tile_px or 1
        )
        if self._tile_px is None:
            name = slide.name if slide.path is None else Path(slide.path).name
            image = self._image(slide, name, 0, 0, grid.width_px, grid.height_px, grid.downsample)
            for item, outline in zip(kept, outlines, strict=True):
                self._annotate(slide, image, item, outline, cut=False)
        else:
            self._add_tiles(slide, kept, outlines, grid)

    def _with_area(self, slide: Slide, outlines: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Points and lines as the boxes in which another would count as the same object."""
        reach_px = length_px(self._release.consensus.protocol.matching.distance_um, slide.mpp)
        x0, y0, x1, y1 = shapely.bounds(outlines).T
        boxes = shapely.box(x0 - reach_px, y0 - reach_px, x1 + reach_px, y1 + reach_px)
        whole = shapely.box(0, 0, slide.width_px, slide.height_px)
        grown: np.ndarray[Any, Any] = np.where(
            shapely.area(outlines) > 0, outlines, shapely.intersection(boxes, whole)
        )
        return grown

    def _add_tiles(
        self,
        slide: Slide,
        items: list[ResolvedItem],
        outlines: np.ndarray[Any, Any],
        grid: MaskGrid,
    ) -> None:
        """The tiles that hold an item, as pictures and as images of the file."""
        side = grid.tile_side_px
        column, row = (
            a.ravel() for a in np.meshgrid(np.arange(grid.columns), np.arange(grid.rows))
        )
        boxes = shapely.box(column * side, row * side, (column + 1) * side, (row + 1) * side)
        tile, found = shapely.STRtree(outlines).query(boxes, predicate="intersects")
        shared = shapely.intersection(outlines[found], boxes[tile])
        solid = shapely.area(shared) > 0
        tile, found, shared = tile[solid], found[solid], shared[solid]
        target = inside(self._folder / "images", file_name(slide.name, ""))
        if not len(tile):
            return
        target.mkdir(parents=True)
        with tile_pictures(slide, grid) as picture:
            for number in np.unique(tile).tolist():
                across, down = int(column[number]), int(row[number])
                path = target / f"tile_{across:04d}_{down:04d}.png"
                picture(across, down).save(path)
                image = self._image(
                    slide, path.relative_to(self._folder).as_posix(), across * side, down * side,
                    grid.tile_px, grid.tile_px, grid.downsample,
                )  # fmt: skip
                for place in np.flatnonzero(tile == number).tolist():
                    outline = outlines[found[place]]
                    cut = bool(shapely.area(shared[place]) < shapely.area(outline) * (1 - 1e-9))
                    part = shared[place] if cut else outline
                    self._annotate(slide, image, items[found[place]], part, cut=cut)

    def _image(
        self,
        slide: Slide,
        name: str,
        x_px: float,
        y_px: float,
        width_px: int,
        height_px: int,
        downsample: float,
    ) -> _Image:
        self._n_images += 1
        place = self._places[slide.name]
        self._parts[place["part"]].images.append(
            {
                "id": self._n_images,
                "file_name": name,
                "width": width_px,
                "height": height_px,
                "slide": slide.name,
                "fingerprint": slide.fingerprint,
                "patient": place["patient"],
                "site": place["site"],
                "mpp": slide.mpp * downsample,
                "downsample": downsample,
                "x_px": x_px,
                "y_px": y_px,
            }
        )
        return _Image(self._n_images, x_px, y_px, downsample, width_px, height_px)

    def _annotate(
        self,
        slide: Slide,
        image: _Image,
        item: ResolvedItem,
        outline: shapely.Geometry,
        *,
        cut: bool,
    ) -> None:
        part = self._parts[self._places[slide.name]["part"]]
        consensus = self._release.consensus
        solid = shapely.multipolygons(
            [p for p in shapely.get_parts(outline) if p.geom_type == "Polygon"]
        )
        placed = shapely.transform(solid, lambda xy: xy - [image.x_px, image.y_px])
        x0, y0, x1, y1 = (shapely.bounds(placed) / image.downsample).tolist()
        about: dict[str, Any] = {
            "image_id": image.number,
            "bbox": [round(v, _DECIMALS) for v in (x0, y0, x1 - x0, y1 - y0)],
            "area": round(float(shapely.area(placed)) / image.downsample**2, _DECIMALS),
            "item": item.name,
            "state": item.state,
            "posterior": dict(zip(consensus.classes, item.posterior, strict=True)),
            "votes": item.pattern,
            "cut": cut,
        }
        if item.label is not None and item.label not in self._category:
            part.negatives.append({**about, "segmentation": _segmentation(placed, image)})
        elif item.label is not None:
            self._append(part, self._category[item.label], _segmentation(placed, image), about, 0)
        else:
            mask = _mask(placed, image)
            for number in self._possible(item):
                self._append(part, number, mask, about, 1)

    def _possible(self, item: ResolvedItem) -> list[int]:
        """The categories that an open item may be: those of its posterior, else all."""
        shares = dict(zip(self._release.consensus.classes, item.posterior, strict=True))
        likely = [number for name, number in self._category.items() if shares[name] > 0]
        return likely or list(self._category.values())

    def _append(
        self, part: _Part, category: int, segmentation: Any, about: dict[str, Any], crowd: int
    ) -> None:
        self._n_annotations += 1
        part.annotations.append(
            {
                "id": self._n_annotations,
                "category_id": category,
                "iscrowd": crowd,
                "segmentation": segmentation,
                **about,
            }
        )

    def finish(self) -> None:
        """Write a file for each part that has images."""
        consensus, row = self._release.consensus, self._release.row
        categories = [
            {
                "id": self._category[c.name],
                "name": c.name,
                **({} if c.rgb is None else {"color": list(c.rgb)}),
            }
            for c in consensus.protocol.classes
        ]
        self._folder.mkdir(exist_ok=True)
        for name, part in self._parts.items():
            document = {
                "info": {
                    "description": f"pathquorum release {row.name}, part {name}",
                    "version": row.manifest_sha256,
                    "task": consensus.protocol.task,
                    "classes": list(consensus.classes),
                    "raters": list(consensus.run.summary["raters"]),
                    "frame": "x_px and y_px are an image's corner in level-0 pixels of its slide",
                },
                "licenses": [],
                "categories": categories,
                "images": part.images,
                "annotations": part.annotations,
                "negatives": part.negatives,
            }
            path = inside(self._folder, file_name(f"instances_{name}", ".json"))
            path.write_bytes(msgspec.json.encode(document) + b"\n")


def _segmentation(placed: shapely.Geometry, image: _Image) -> Any:
    """Polygons where no part has a hole, else a mask."""
    parts = shapely.get_parts(placed)
    if shapely.get_num_interior_rings(parts).any():
        return _mask(placed, image)
    return [
        np.round(shapely.get_coordinates(part)[:-1] / image.downsample, _DECIMALS).ravel().tolist()
        for part in parts
    ]


def _mask(placed: shapely.Geometry, image: _Image) -> dict[str, Any]:
    return mask_of(
        placed, downsample=image.downsample, width_px=image.width_px, height_px=image.height_px
    )
