"""Predictions as objects of QuPath, marked as ours and as no more than a reference.

Shapes: N tiles, K classes. Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.digests import derive_uuid, geometry_digests
from annotation.push_by_slide import SlideToPush
from annotation.pushed import REFERENCE_ONLY, scores_key
from annotation.records import PathObject
from models.prediction.regions import PredictedRegion
from models.prediction.regions_file import iterate_regions
from models.prediction.slide_file import SlidePrediction, read_slide_prediction
from models.pushing.predicted_run import PredictedRun, predicted_class
from models.pushing.run_files import DoneSlide

__all__ = ["DESCRIPTION_KEY", "RegionKind", "TileObjects", "slides_to_push"]

RegionKind: TypeAlias = Literal["annotations", "detections"]

DESCRIPTION_KEY = "ANNOTATION_DESCRIPTION"
"""Under which QuPath keeps an annotation's description among its metadata."""

_DECIMALS = 6
_AT_ONCE = 1_000


def slides_to_push(run: PredictedRun, *, regions: RegionKind, tiles: bool) -> list[SlideToPush]:
    """Each slide of a run, its objects made when it is its turn.

    Parameters
    ----------
    regions
        What regions become.
    tiles
        Whether tiles are pushed as well.
    """
    return [
        SlideToPush(
            slide.id,
            slide.name,
            scores(run, slide),
            partial(_objects, run, slide, regions, tiles=tiles),
        )
        for slide in run.slides
    ]


def scores(run: PredictedRun, slide: DoneSlide) -> dict[str, str]:
    """A slide's scores as entries of its image's metadata in QuPath."""
    result, key = slide.result, scores_key(run.name)
    low, high = result.get("ci_low"), result.get("ci_high")
    entries = {
        key: f"{REFERENCE_ONLY}; model {run.model}; predicted: {result['predicted']}"
        + _told("entropy", result.get("entropy"))
        + _told("mutual information", result.get("mutual_information"))
    }
    for name, probability in result["probability"].items():
        between = f" ({low[name]:.4f} to {high[name]:.4f})" if low and high else ""
        entries[f"{key}: {name}"] = f"{probability:.4f}{between}"
    return entries


def _told(what: str, nats: float | None) -> str:
    return "" if nats is None else f"; {what} {nats:.4f} nats"


def _objects(
    run: PredictedRun, slide: DoneSlide, kind: RegionKind, *, tiles: bool
) -> Sequence[PathObject]:
    drawn: list[PathObject] = []
    if slide.regions_sha256 is not None:
        _, found = iterate_regions(slide.regions_path)
        drawn = _regions(run, slide, found, kind)
    if not tiles:
        return drawn
    return TileObjects(run, read_slide_prediction(slide.tiles_path), drawn)


def _namespace(run: PredictedRun, slide: str, kind: str) -> str:
    weights = "/".join(run.weights_sha256)
    return f"{run.origin}/{weights}/{run.settings_sha256}/{kind}/{slide}"


def _regions(
    run: PredictedRun, slide: DoneSlide, found: Iterator[PredictedRegion], kind: RegionKind
) -> list[PathObject]:
    regions = list(found)
    namespace = _namespace(run, slide.name, kind)
    twins: Counter[bytes] = Counter()
    objects = []
    digests = geometry_digests([region.polygon for region in regions])
    for region, digest in zip(regions, digests, strict=True):
        thing = PathObject(
            uuid=derive_uuid(namespace, digest, twins[digest]),
            object_type=kind.removesuffix("s"),
            path_class=predicted_class(region.class_name),
            name=f"{run.name}: {region.class_name}, for reference only",
            locked=kind == "annotations",
            geometry=region.polygon,
            measurements={
                "pathquorum probability": round(region.probability, _DECIMALS),
                "pathquorum entropy nats": round(region.entropy, _DECIMALS),
                "pathquorum mutual information nats": round(region.mutual_information, _DECIMALS),
                "pathquorum area um2": round(region.area_um2, _DECIMALS),
            },
            extra=_extra(run, region.class_name, described=kind == "annotations"),
        )
        objects.append(thing)
        twins[digest] += 1
    return objects


def _extra(run: PredictedRun, name: str, *, described: bool) -> dict[str, Any]:
    """Colour, and what QuPath keeps beside annotations alone: description and origin."""
    color = run.colors.get(name)
    extra: dict[str, Any] = {} if color is None else {"class_color": color}
    if described:
        extra["metadata"] = {
            DESCRIPTION_KEY: f"{REFERENCE_ONLY}; model {run.model}",
            "pathquorum": run.origin,
            "pathquorum model": run.model,
        }
    return extra


class TileObjects(Sequence[PathObject]):
    """A slide's regions, then its tiles as detections, made as they are walked through.

    A tile's measurements are what the measurement maps of QuPath colour: the mean probability of
    each class, entropy, mutual information, and of bags the attention.
    """

    def __init__(
        self, run: PredictedRun, prediction: SlidePrediction, regions: Sequence[PathObject]
    ) -> None:
        self._prediction = prediction
        self._regions = regions
        self._namespace = _namespace(run, prediction.slide, "tiles")
        self._name = f"{run.model}: for reference only"
        classes = prediction.classes
        self._class_names = [predicted_class(name) for name in classes]
        self._extras = [_extra(run, name, described=False) for name in classes]
        self._measured = [f"pathquorum probability {name}" for name in classes]
        self._measured += ["pathquorum entropy nats", "pathquorum mutual information nats"]
        if prediction.attention is not None:
            self._measured.append("pathquorum attention")

    def __len__(self) -> int:
        return len(self._regions) + len(self._prediction.coordinates)

    def __iter__(self) -> Iterator[PathObject]:
        n_tiles = len(self._prediction.coordinates)
        batches = (self._tiles(slice(i, i + _AT_ONCE)) for i in range(0, n_tiles, _AT_ONCE))
        return chain(self._regions, chain.from_iterable(batches))

    @overload
    def __getitem__(self, index: int) -> PathObject: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PathObject]: ...
    def __getitem__(self, index: int | slice) -> PathObject | Sequence[PathObject]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index] - len(self._regions)
        return self._regions[index] if place < 0 else self._tiles(slice(place, place + 1))[0]

    def _tiles(self, part: slice) -> list[PathObject]:
        of = self._prediction
        corners = of.coordinates[part]
        extent = np.array([of.width_px, of.height_px], dtype=np.float64)
        low, high = np.clip(corners, 0, extent), np.clip(corners + of.side_px, 0, extent)
        outlines = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
        probability = of.probability[part]
        columns = [probability, of.entropy[part, None], of.mutual_information[part, None]]
        values = np.round(np.concatenate(columns, axis=1).astype(np.float64), _DECIMALS)
        if of.attention is not None:
            values = np.concatenate([values, _significant(of.attention[part])[:, None]], axis=1)
        return [
            PathObject(
                uuid=derive_uuid(self._namespace, place, 0),
                object_type="detection",
                path_class=self._class_names[label],
                name=self._name,
                locked=False,
                geometry=outline,
                measurements=dict(zip(self._measured, measured, strict=True)),
                extra=self._extras[label],
            )
            for place, label, outline, measured in zip(
                _places(corners),
                probability.argmax(axis=1).tolist(),
                outlines,
                values.tolist(),
                strict=True,
            )
        ]


def _places(corners: NDArray[np.float64]) -> list[bytes]:
    """What tells a tile of a slide from the others: where it lies, in 16 bytes."""
    data = np.ascontiguousarray(corners, dtype="<f8").tobytes()
    return [data[i : i + 16] for i in range(0, len(data), 16)]


def _significant(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rounded to as many digits as float32 holds: shares among many tiles are tiny."""
    exact = values.astype(np.float64)
    magnitude = np.floor(np.log10(np.maximum(np.abs(exact), 1e-30)))
    scale = 10.0 ** (_DECIMALS - magnitude)
    return np.asarray(np.round(exact * scale) / scale)
