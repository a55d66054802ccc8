"""Regions of the calibration part as a triage judges them, and regions that are triaged.

A positive is a connected area that people called so; it is caught where half of it lies in regions
that the model calls positive or that are escalated. What the model has not outlined can't be
escalated, and counts as missed. Frame: level-0 pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import RefusedError
from annotation.paths import file_name, inside
from annotation.units import um2_per_px2
from consensus.queue.triage import Escalated
from consensus.regions import connected_components
from consensus.tables import PredictedSlide
from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.errors import TileError
from models.prediction.regions import PredictedRegion
from models.prediction.regions_file import read_regions
from models.prediction.slide_file import SlidePrediction, read_slide_prediction
from models.triage.gathering import Gathered
from models.triage.judged import Candidate, Judged
from models.triage.measures import measure_of_region, measures_beside
from models.triage.threshold import EVERYTHING, NOTHING, Labelled

__all__ = ["candidate_regions", "escalated_regions", "judged_regions", "reached_at"]

Floats = NDArray[np.float64]

CAUGHT_SHARE = 0.5
"""Of a positive's area."""


@dataclass
class _Found:
    """What grows slide by slide."""

    positive_of: list[int] = field(default_factory=list)
    caught_at: list[float] = field(default_factory=list)
    escalated_at: list[float] = field(default_factory=list)
    called: list[bool] = field(default_factory=list)
    unit_of: list[int] = field(default_factory=list)
    units: list[PredictedRegion] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)


def judged_regions(gathered: Gathered, positive: Sequence[str], measure: str) -> Judged:
    """The regions of the calibration part, those of people and those of the model.

    Raises
    ------
    RefusedError
        Nothing that the model outlined there bears a label.
    TileError
        A file of the run is not the one on record.
    """
    kinds = measures_beside(measure, "regions")
    patients = sorted({one.released.subject for one in gathered.labelled})
    found = _Found()
    for one in gathered.labelled:
        regions = _regions(gathered.calibration.folder, one.released.name, one.predicted)
        patient = patients.index(one.released.subject)
        _judge(gathered.release, one.released, regions, patient, positive, measure, found)
    if not found.units:
        raise RefusedError(
            f"nothing that the model outlined on the calibration part of release "
            f"{gathered.release.name!r} bears a label; release with a larger calibration part"
        )
    measures = {
        kind: np.array([measure_of_region(kind, region) for region in found.units])
        for kind in kinds
    }
    return Judged(
        labelled=Labelled(
            patients=tuple(patients),
            positive_of=np.array(found.positive_of, dtype=np.int64),
            caught_at=np.array(found.caught_at, dtype=np.float64),
            escalated_at=np.array(found.escalated_at, dtype=np.float64),
            called=np.array(found.called, dtype=bool),
            unit_of=np.array(found.unit_of, dtype=np.int64),
            uncertainty=measures[measure],
        ),
        measures=measures,
        wrong=np.array(found.wrong, dtype=bool),
    )


def candidate_regions(gathered: Gathered, positive: Sequence[str], measure: str) -> list[Candidate]:
    """The regions that are triaged."""
    return [
        Candidate(
            one.slide,
            region.polygon,
            region.area_um2,
            region.class_name,
            region.class_name in positive,
            measure_of_region(measure, region),
        )
        for one in gathered.asked
        for region in _regions(gathered.run.folder, one.slide.name, one.predicted)
    ]


def escalated_regions(candidates: Sequence[Candidate], gathered: Gathered) -> list[Escalated]:
    """Regions as they enter the queue, with the mean of the probabilities of their tiles."""
    predicted = {one.slide.id: one.predicted for one in gathered.asked}
    found: list[Escalated] = []
    tiles: SlidePrediction | None = None
    for one in candidates:
        name = one.slide.name
        if tiles is None or tiles.slide != name:
            path = inside(Path(gathered.run.folder) / "slides", file_name(name, ".h5"))
            _require_recorded(path, predicted[one.slide.id].output_sha256)
            tiles = read_slide_prediction(path)
        posterior = _posterior(tiles, one.geometry, gathered.release.classes)
        found.append(Escalated(one.slide, one.geometry, one.weight, posterior))
    return found


def reached_at(values: Floats, area: Floats, enough: float) -> float:
    """The highest threshold at which regions of this value or a higher one cover enough.

    Parameters
    ----------
    values, area : shape (regions,)
    """
    order = np.argsort(-values, kind="stable")
    covered = np.flatnonzero(np.cumsum(area[order]) >= enough)
    return float(values[order[covered[0]]]) if len(covered) else EVERYTHING


def _judge(
    release: TrainingRelease,
    slide: ReleasedSlide,
    regions: Sequence[PredictedRegion],
    patient: int,
    positive: Sequence[str],
    measure: str,
    found: _Found,
) -> None:
    items = [
        item
        for item in release.items(slide)
        if item.label is not None and item.geometry is not None
    ]
    polygons = np.array([region.polygon for region in regions], dtype=object)
    tree = shapely.STRtree(polygons)
    values = np.array([measure_of_region(measure, region) for region in regions])
    called = np.array([region.class_name in positive for region in regions], dtype=bool)
    labelled: list[dict[str, float]] = [{} for _ in regions]
    for item in items:
        for number in tree.query(item.geometry, predicate="intersects").tolist():
            area = float(shapely.intersection(item.geometry, polygons[number]).area)
            labelled[number][item.label] = labelled[number].get(item.label, 0.0) + area
    for region, by_label in zip(regions, labelled, strict=True):
        if sum(by_label.values()) > 0:
            found.unit_of.append(patient)
            found.units.append(region)
            found.wrong.append(max(by_label, key=by_label.__getitem__) != region.class_name)
    least_px2 = release.frozen.consensus.protocol.dispute.min_area_um2 / um2_per_px2(slide.mpp)
    own = [item.geometry for item in items if item.label in positive]
    for part in connected_components(shapely.union_all(own)) if own else ():
        if part.area < least_px2:
            continue
        over = tree.query(part, predicate="intersects")
        area = shapely.area(shapely.intersection(part, polygons[over]))
        enough = CAUGHT_SHARE * part.area
        found.positive_of.append(patient)
        found.escalated_at.append(reached_at(values[over], area, enough))
        found.caught_at.append(
            reached_at(np.where(called[over], NOTHING, values[over]), area, enough)
        )
        found.called.append(bool(area[called[over]].sum() >= enough))


def _regions(folder: str, slide: str, predicted: PredictedSlide) -> list[PredictedRegion]:
    path = inside(Path(folder) / "regions", file_name(slide, ".geojson.gz"))
    _require_recorded(path, predicted.regions_sha256)
    return read_regions(path)[1]


def _require_recorded(path: Path, sha256: str | None) -> None:
    """Refuse a file that is not the one which the run recorded."""
    if not path.is_file():
        raise TileError(
            f"prediction file {str(path)!r} is not there; bring the run's folder back, or run "
            "`pathquorum predict` again",
            path=path,
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise TileError(
            f"prediction file {str(path)!r} is not the one on record; run `pathquorum predict` again",
            path=path,
        )


def _posterior(
    tiles: SlidePrediction, region: shapely.Geometry | None, classes: Sequence[str]
) -> tuple[float, ...]:
    """Mean probabilities of the tiles whose centres lie in a region, or of the nearest one."""
    centres = tiles.coordinates + tiles.side_px / 2
    within = shapely.contains_xy(region, centres[:, 0], centres[:, 1])
    if not within.any():
        nearest = shapely.distance(region, shapely.points(centres)).argmin()
        within[nearest] = True
    mean = dict(zip(tiles.classes, tiles.probability[within].mean(axis=0).tolist(), strict=True))
    shares = np.array([mean.get(name, 0.0) for name in classes])
    return tuple((shares / shares.sum()).tolist())
