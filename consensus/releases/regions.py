"""A release as clean class regions: one GeoJSON file a slide, one feature a connected region.

They tile what was rated, background and what bears no class included, and share their borders
vertex by vertex. Slivers have gone to their neighbours, so the regions are for looking at and for
tools that want outlines; the items of the release, which keep every face, are its labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from annotation.digests import derive_uuid
from annotation.errors import InputError
from annotation.geojson.writer import write_feature_collection
from annotation.paths import file_name, inside
from annotation.records import PathObject
from annotation.tables import Slide
from consensus.consensus_items import ResolvedItem
from consensus.drawn_regions import Cleaning, DrawnRegion, drawn_regions
from consensus.release import FrozenRelease

__all__ = ["check_regions", "cleaning_document", "write_regions"]


def check_regions(task: str) -> None:
    """Refuse what has no regions, before anything is written."""
    if task != "regions":
        raise InputError(
            f"clean regions are for regions, and this release is of {task}; export it with "
            "--format geojson"
        )


def write_regions(
    release: FrozenRelease, folder: Path, slide: Slide, items: Sequence[ResolvedItem]
) -> dict[str, Any]:
    """Write the regions of one slide.

    Returns
    -------
    The slide's entry in ``regions.json``: how many regions, and what slivers moved.
    """
    cleaning = Cleaning()
    regions = drawn_regions(release.consensus, slide, items, cleaning)
    path = inside(folder, file_name(slide.name, ".geojson"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_feature_collection(path, _features(release, slide, regions))
    return {
        "slide": slide.name,
        "file": f"{folder.name}/{path.name}",
        "regions": len(regions),
        "slivers": cleaning.slivers,
        "slivers_um2": round(cleaning.moved_um2, 6),
    }


def cleaning_document(release: FrozenRelease, slides: Sequence[dict[str, Any]]) -> bytes:
    """``regions.json``: the least area, and what moved on each slide."""
    document = {
        "min_area_um2": release.consensus.protocol.dispute.min_area_um2,
        "rule": "a region below min_area_um2 belongs to the neighbour with the longest border",
        "slides": list(slides),
    }
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def _features(
    release: FrozenRelease, slide: Slide, regions: Sequence[DrawnRegion]
) -> Iterator[PathObject]:
    consensus = release.consensus
    namespace = f"release/{release.row.manifest_sha256}/{slide.name}/regions"
    for number, region in enumerate(regions):
        color = None if region.label is None else consensus.color_of(region.label)
        yield PathObject(
            uuid=derive_uuid(namespace, str(number).encode(), 0),
            object_type="annotation",
            path_class=region.label,
            name=region.label or "no class",
            locked=True,
            geometry=region.outline,
            measurements=region.measurements(consensus.classes),
            extra={
                **({} if color is None else {"class_color": color}),
                "metadata": {
                    "pathquorum": f"release {release.row.name}",
                    "pathquorum part": release.part_of_slide[slide.name],
                },
            },
        )
