"""Region files: a slide's regions as GeoJSON in level-0 pixels, gzipped, with what made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import shapely

from annotation.errors import SourceError
from annotation.geojson.export import Export, open_export
from annotation.geojson.writer import write_feature_collection
from models.errors import TileError
from models.prediction.regions import PredictedRegion
from models.prediction.slide_file import SlidePrediction

__all__ = ["FORMAT", "RegionsOrigin", "iterate_regions", "read_regions", "write_regions"]

FORMAT = "pathquorum-regions/1"


@dataclass(frozen=True)
class RegionsOrigin:
    """The slide of a file's regions, and what made them; see :class:`SlidePrediction`."""

    slide: str
    fingerprint: str
    weights_sha256: tuple[str, ...]
    settings_sha256: str

    @classmethod
    def of(cls, prediction: SlidePrediction) -> RegionsOrigin:
        """That of a slide's tiles."""
        return cls(
            prediction.slide,
            prediction.fingerprint,
            prediction.weights_sha256,
            prediction.settings_sha256,
        )


class _Properties(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"name": "class"}
):
    """Of a region, as they stand in the file."""

    name: str
    probability: float
    entropy: float
    mutual_information: float
    area_um2: float
    variance: float = 0.0


def write_regions(path: Path, regions: Sequence[PredictedRegion], origin: RegionsOrigin) -> None:
    """Write a region file; it appears whole, or not at all. The same regions give the same bytes."""
    write_feature_collection(
        path,
        (_feature(region) for region in regions),
        foreign_members={"format": FORMAT, **asdict(origin)},
    )


def read_regions(path: Path) -> tuple[RegionsOrigin, list[PredictedRegion]]:
    """Read a region file.

    Raises
    ------
    TileError
        It is absent, corrupt or none of ours; the message names it.
    """
    origin, regions = iterate_regions(path)
    return origin, list(regions)


def iterate_regions(path: Path) -> tuple[RegionsOrigin, Iterator[PredictedRegion]]:
    """A region file's origin, and its regions one by one; raises as :func:`read_regions` does."""
    try:
        export = open_export(path)
    except SourceError as error:
        raise _unusable(path, str(error)) from error
    if export.foreign.get("format") != FORMAT:
        raise _unusable(path, f"it is no file of the format {FORMAT}")
    try:
        origin = msgspec.convert(
            {name: export.foreign.get(name) for name in RegionsOrigin.__dataclass_fields__},
            RegionsOrigin,
        )
    except msgspec.ValidationError as error:
        raise _unusable(path, f"it doesn't say what made it ({error})") from error
    return origin, _regions(path, export)


def _feature(region: PredictedRegion) -> Mapping[str, Any]:
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(region.polygon),
        "properties": {
            "class": region.class_name,
            "probability": region.probability,
            "entropy": region.entropy,
            "mutual_information": region.mutual_information,
            "area_um2": region.area_um2,
            "variance": region.variance,
        },
    }


def _regions(path: Path, export: Export) -> Iterator[PredictedRegion]:
    for batch in export.batches():
        for rejection in batch.rejections:
            raise _unusable(path, f"region {rejection.id} is unusable ({rejection.reason})")
        for thing in batch.objects:
            try:
                said = msgspec.convert(thing.extra.get("properties"), _Properties)
            except msgspec.ValidationError as error:
                raise _unusable(path, f"a region says something else ({error})") from error
            if not isinstance(thing.geometry, shapely.Polygon):
                raise _unusable(path, f"a region is a {thing.geometry.geom_type}")
            yield PredictedRegion(
                thing.geometry,
                said.name,
                said.probability,
                said.entropy,
                said.mutual_information,
                said.area_um2,
                said.variance,
            )


def _unusable(path: Path, reason: str) -> TileError:
    return TileError(
        f"region file {str(path)!r} can't be used: {reason}; run `pathquorum predict` again",
        path=path,
    )
