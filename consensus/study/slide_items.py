"""What reads hold of one slide, and the items that follow: regions, objects, or the slide itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.protocol import Protocol
from annotation.revisions import rated_objects
from annotation.tables import Slide
from consensus.comparing.detection import Threshold, ladder
from consensus.matching import ObjectLayer
from consensus.overlay import Layer
from consensus.ratings import NOT_RATED
from consensus.study.assisted_ratings import AssistedRating
from consensus.study.counted_reads import CountedRead
from consensus.study.object_items import ObjectItems, object_items
from consensus.study.region_items import RegionItems, region_items

__all__ = [
    "Drawn",
    "SlideItems",
    "Wanted",
    "decided_by",
    "drawn_by",
    "slide_items",
    "thresholds_of",
]

POLYGON = 3  # shapely.get_type_id


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the ratings.

    ``geometry`` asks where items lie; statistics need none. ``ladder`` matches objects at
    thresholds around the protocol's as well. ``tolerance_um`` is the width up to which regions
    that differ along a boundary are strips; 0 asks for none.
    """

    geometry: bool = True
    ladder: bool = False
    tolerance_um: float = 0.0


@dataclass
class Drawn:
    """What one read holds, as it is rated.

    ``by_place`` says that the rater was asked about places, whatever the protocol's rule: the
    domain is what they cover, and nothing else.
    """

    rater: str
    geometries: list[shapely.Geometry] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    uuids: list[str] = field(default_factory=list)
    domain: list[shapely.Geometry] = field(default_factory=list)
    label: int = NOT_RATED
    by_place: bool = False


@dataclass
class SlideItems:
    """The items of one slide, codes by the raters who read it."""

    raters: list[str]
    codes: NDArray[np.int32]
    weight: NDArray[np.float64]
    geometries: list[shapely.Geometry | None]
    notes: list[str] = field(default_factory=list)
    objects: ObjectItems | None = None
    regions: RegionItems | None = None


def drawn_by(
    session: Session,
    protocol: Protocol,
    read: CountedRead,
    as_of_pull: int | None,
    include_derived: bool,
    digest: hashlib._Hash,
) -> Drawn:
    """What a read holds; its objects and their revisions enter the digest."""
    drawn = Drawn(read.annotator)
    digest.update(f"\0{read.slide.name}\0{read.annotator}".encode())
    objects = [
        found
        for found in rated_objects(session, read.read, as_of_pull)
        if found.derived_from is None or include_derived
    ]
    digest.update(b"".join(found.uuid.encode() + found.digest for found in objects))
    # Everything else is stored, and not rated.
    domain = [found for found in objects if found.class_kind == "domain"]
    classed = [
        found for found in objects if found.class_kind == "class" and found.mapped_class is not None
    ]
    for found in classed:
        if found.object_type == "slide" and protocol.task == "slides":
            drawn.label = protocol.codes[str(found.mapped_class)]
    if protocol.task == "slides":
        return drawn
    wanted = [
        found
        for found in classed
        if found.object_type == "annotation"
        or (protocol.task == "objects" and found.object_type != "slide")
    ]
    geometries = shapely.from_wkb([found.wkb for found in wanted])
    if protocol.task == "regions":
        geometries = _areal(geometries)
    for found, geometry in zip(wanted, geometries, strict=True):
        if geometry is not None:
            drawn.geometries.append(geometry)
            drawn.codes.append(protocol.codes[str(found.mapped_class)])
            drawn.uuids.append(found.uuid)
    for geometry in _areal(shapely.from_wkb([found.wkb for found in domain])):
        if geometry is not None:
            drawn.domain.append(geometry)
    return drawn


def decided_by(protocol: Protocol, rater: str, decided: Sequence[AssistedRating]) -> Drawn:
    """What decisions on escalated places hold: a class within each, and nothing around them."""
    drawn = Drawn(rater, by_place=True)
    for rating in decided:
        code = protocol.codes[rating.path_class]
        if rating.geometry is None:
            drawn.label = code
            continue
        drawn.domain.append(rating.geometry)
        if rating.path_class != protocol.negative:
            drawn.geometries.append(rating.geometry)
            drawn.codes.append(code)
            drawn.uuids.append(f"decision {rating.decision}")
    return drawn


def _areal(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Of each geometry what has an area, polygons or multipolygons; None where nothing has."""
    areal = np.array(geometries, dtype=object)
    for index in np.flatnonzero(shapely.get_type_id(areal) != POLYGON):
        parts = [part for part in shapely.get_parts(areal[index]).tolist() if part.area > 0]
        areal[index] = shapely.multipolygons(parts) if len(parts) > 1 else (parts or [None])[0]
    areal[shapely.area(areal) == 0] = None
    return areal


def _domain(protocol: Protocol, drawn: Drawn) -> shapely.Geometry | None:
    if protocol.domain.rule != "declared" and not drawn.by_place:
        return None
    return shapely.union_all(drawn.domain)


def _region_items(
    protocol: Protocol, slide: Slide, drawn: Sequence[Drawn], wanted: Wanted
) -> SlideItems:
    """Regions: an item is a distinct label pattern on the slide, its weight the area in um2."""
    found = region_items(
        protocol,
        slide,
        [
            Layer(
                rater=d.rater,
                geometries=np.array(d.geometries, dtype=object),
                codes=np.array(d.codes, dtype=np.int32),
                domain=_domain(protocol, d),
                by_place=d.by_place,
            )
            for d in drawn
        ],
        with_geometry=wanted.geometry,
        tolerance_um=wanted.tolerance_um,
    )
    return SlideItems(
        raters=[d.rater for d in drawn],
        codes=found.codes,
        weight=found.weight_um2,
        geometries=found.geometries,
        notes=found.notes,
        regions=found,
    )


def _object_items(
    protocol: Protocol, slide: Slide, drawn: Sequence[Drawn], wanted: Wanted
) -> SlideItems:
    """Objects: a group of matched objects is an item; who drew none there says `absent`."""
    found = object_items(
        [
            ObjectLayer(
                rater=d.rater, uuids=d.uuids, geometries=np.array(d.geometries, dtype=object)
            )
            for d in drawn
        ],
        [np.array(d.codes, dtype=np.int64) for d in drawn],
        [_domain(protocol, d) for d in drawn],
        absent=len(protocol.classes),
        thresholds=thresholds_of(protocol, wanted.ladder),
        mpp=slide.mpp,
        with_geometry=wanted.geometry,
    )
    return SlideItems(
        raters=[d.rater for d in drawn],
        codes=found.codes,
        weight=np.ones(len(found.codes)),
        geometries=found.geometries,
        notes=list(_object_notes(slide, found)),
        objects=found,
    )


def thresholds_of(protocol: Protocol, with_ladder: bool) -> tuple[Threshold, ...]:
    """The protocol's thresholds of matching, and the ladder around them if it is asked for."""
    iou, distance_um = protocol.matching.iou, protocol.matching.distance_um
    return (Threshold(iou, distance_um), *(ladder(iou, distance_um) if with_ladder else ()))


def _object_notes(slide: Slide, found: ObjectItems) -> Iterator[str]:
    if found.n_outside:
        yield f"{slide.name}: {found.n_outside} objects outside every declared domain are not rated"
    if found.matching.n_heuristic:
        yield f"{slide.name}: {found.matching.told()}"


def _label_items(
    protocol: Protocol, slide: Slide, drawn: Sequence[Drawn], wanted: Wanted
) -> SlideItems:
    """Slides: one label a read."""
    codes = np.array([[d.label for d in drawn]], dtype=np.int32)
    return SlideItems([d.rater for d in drawn], codes, np.ones(1), [None])


_ITEMS = {"regions": _region_items, "objects": _object_items, "slides": _label_items}


def slide_items(
    protocol: Protocol, slide: Slide, drawn: Sequence[Drawn], wanted: Wanted
) -> SlideItems:
    """The items of one slide under the protocol's task."""
    return _ITEMS[protocol.task](protocol, slide, drawn, wanted)
