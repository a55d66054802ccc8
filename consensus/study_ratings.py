"""From the store to ratings: regions by their overlay, objects by matching, slides as they are.

Every item keeps where it lies, so that what is disputed can be shown and what is agreed exported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import cast

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.protocol import Protocol
from annotation.revisions import revisions_in_force
from annotation.study import protocol_of
from annotation.tables import Annotation, ProtocolVersion, Revision, Slide
from annotation.units import um2_per_px2
from consensus.counted_reads import CountedRead, ExcludedRead, counted_reads
from consensus.detection import Detection, Threshold, ladder
from consensus.errors import NoRatingsError
from consensus.matching import ObjectLayer
from consensus.object_items import Matching, ObjectItems, object_items
from consensus.overlay import DomainRule, Faces, Layer, Overlap, overlay
from consensus.ratings import NOT_RATED, Ratings

__all__ = ["RatedItem", "StudyRatings", "joint_negatives", "rate", "rate_reads"]


@dataclass(frozen=True)
class RatedItem:
    """Where an item lies: a region, the outlines of an object, or None for a whole slide."""

    name: str
    slide: Slide
    geometry: shapely.Geometry | None


@dataclass(frozen=True)
class StudyRatings:
    """The ratings of a study under one protocol version, and what was left out of them.

    ``matching`` and ``detection`` are of objects: how good the groups are, and what every two
    raters both found.
    """

    protocol: Protocol
    row: ProtocolVersion
    ratings: Ratings
    items: list[RatedItem]
    excluded: list[ExcludedRead]
    input_digest: str
    notes: list[str] = field(default_factory=list)
    matching: Matching | None = None
    detection: Detection | None = None


@dataclass
class _Drawn:
    """What one read holds, as it is rated."""

    rater: str
    geometries: list[shapely.Geometry] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    uuids: list[str] = field(default_factory=list)
    domain: list[shapely.Geometry] = field(default_factory=list)
    label: int = NOT_RATED


@dataclass
class _SlideItems:
    """The items of one slide, codes by the raters who read it."""

    raters: list[str]
    codes: NDArray[np.int32]
    weight: NDArray[np.float64]
    geometries: list[shapely.Geometry | None]
    notes: list[str] = field(default_factory=list)
    objects: ObjectItems | None = None


def rate(
    session: Session,
    row: ProtocolVersion,
    *,
    as_of_pull: int | None = None,
    include_derived: bool = False,
    with_geometry: bool = True,
    replicate: int = 1,
    with_ladder: bool = False,
) -> StudyRatings:
    """Rate everything that counts under a protocol version.

    Parameters
    ----------
    as_of_pull
        Take what stood in the store after this pull; None takes what stands now.
    include_derived
        Count also what a person made by changing an object that pathquorum pushed.
    with_geometry
        Whether items get their regions; statistics need none.
    replicate
        Which reading of each annotator counts.
    with_ladder
        Whether objects are matched at thresholds around the protocol's as well.

    Raises
    ------
    NoRatingsError
        No read counts.
    """
    reads, excluded = counted_reads(session, row, as_of_pull, replicate=replicate)
    if not reads:
        reasons = "; ".join(sorted({e.reason for e in excluded}))
        raise NoRatingsError(
            f"no read counts under protocol {row.name!r} version {row.version!r}"
            + (f" ({reasons})" if reasons else "")
            + "; bring some in with `pathquorum pull`"
        )
    return rate_reads(
        session,
        row,
        reads,
        excluded,
        as_of_pull=as_of_pull,
        include_derived=include_derived,
        with_geometry=with_geometry,
        with_ladder=with_ladder,
    )


def rate_reads(
    session: Session,
    row: ProtocolVersion,
    reads: Sequence[CountedRead],
    excluded: list[ExcludedRead],
    *,
    as_of_pull: int | None,
    include_derived: bool,
    with_geometry: bool,
    with_ladder: bool = False,
) -> StudyRatings:
    """Rate these reads, of a slide all in a row; their ``annotator`` is the rater."""
    protocol = protocol_of(row)
    digest = hashlib.sha256(row.sha256.encode())
    slides: list[tuple[list[CountedRead], _SlideItems]] = []
    for _, group in groupby(reads, key=lambda read: read.slide.id):
        of_slide = list(group)
        drawn = [
            _drawn(session, protocol, read, as_of_pull, include_derived, digest)
            for read in of_slide
        ]
        slides.append(
            (
                of_slide,
                _ITEMS[protocol.task](
                    protocol, of_slide[0].slide, drawn, with_geometry, with_ladder
                ),
            )
        )
    return _assemble(protocol, row, slides, excluded, digest.hexdigest(), with_ladder)


def _drawn(
    session: Session,
    protocol: Protocol,
    read: CountedRead,
    as_of_pull: int | None,
    include_derived: bool,
    digest: hashlib._Hash,
) -> _Drawn:
    drawn = _Drawn(read.annotator)
    digest.update(f"\0{read.slide.name}\0{read.annotator}".encode())
    standing = revisions_in_force(session, [read.read], as_of_pull)
    for annotation, revision in sorted(standing, key=lambda pair: pair[0].uuid):
        if revision.derived_from is not None and not include_derived:
            continue
        digest.update(annotation.uuid.encode() + revision.digest)
        _place(protocol, drawn, annotation, revision)
    return drawn


def _place(protocol: Protocol, drawn: _Drawn, annotation: Annotation, revision: Revision) -> None:
    """Put a revision where its task wants it, or leave it out: stored, not rated."""
    if revision.object_type == "slide":
        if protocol.task == "slides" and revision.mapped_class is not None:
            drawn.label = protocol.codes[revision.mapped_class]
        return
    wkb = revision.rated_geometry or revision.geometry
    if revision.class_kind == "domain":
        drawn.domain += _areas(shapely.from_wkb(wkb))
    elif revision.class_kind == "class" and revision.mapped_class is not None:
        geometry = shapely.from_wkb(wkb)
        if protocol.task == "regions":
            areas = _areas(geometry) if revision.object_type == "annotation" else []
            if not areas:
                return
            geometry = areas[0] if len(areas) == 1 else shapely.multipolygons(areas)
        drawn.geometries.append(geometry)
        drawn.codes.append(protocol.codes[revision.mapped_class])
        drawn.uuids.append(annotation.uuid)


def _areas(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    return [part for part in shapely.get_parts(geometry).tolist() if part.area > 0]


def _domain(protocol: Protocol, drawn: _Drawn) -> shapely.Geometry | None:
    if protocol.domain.rule != "declared":
        return None
    return shapely.union_all(drawn.domain)


def _region_items(
    protocol: Protocol,
    slide: Slide,
    drawn: Sequence[_Drawn],
    with_geometry: bool,
    _with_ladder: bool,
) -> _SlideItems:
    """Regions: an item is a distinct label pattern on the slide, its weight the area in um2."""
    faces = overlay(
        [
            Layer(
                rater=d.rater,
                geometries=np.array(d.geometries, dtype=object),
                codes=np.array(d.codes, dtype=np.int32),
                domain=_domain(protocol, d),
            )
            for d in drawn
        ],
        extent=(float(slide.width_px), float(slide.height_px)),
        background=len(protocol.classes),
        overlap=cast("Overlap", protocol.overlap),
        rule=cast("DomainRule", protocol.domain.rule),
    )
    um2 = um2_per_px2(slide.mpp)
    n_patterns = len(faces.patterns)
    regions = faces.regions() if with_geometry else np.full(n_patterns, None)
    return _SlideItems(
        raters=[d.rater for d in drawn],
        codes=faces.patterns,
        weight=faces.pattern_area_px2 * um2,
        geometries=list(regions),
        notes=list(_region_notes(slide, drawn, faces, um2)),
    )


def _region_notes(slide: Slide, drawn: Sequence[_Drawn], faces: Faces, um2: float) -> Iterator[str]:
    for index, read in enumerate(drawn):
        outside_um2 = faces.outside_domain_px2[index] * um2
        if outside_um2 >= 1:
            yield (
                f"{slide.name}: {outside_um2:,.0f} um2 that {read.rater} drew outside the declared "
                "domain are not rated"
            )
        if faces.conflicts[index]:
            yield (
                f"{slide.name}: {faces.conflicts[index]} pairs of equal outlines of {read.rater} "
                "bear two classes; the first in the protocol's order holds"
            )


def _object_items(
    protocol: Protocol,
    slide: Slide,
    drawn: Sequence[_Drawn],
    with_geometry: bool,
    with_ladder: bool,
) -> _SlideItems:
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
        thresholds=_thresholds(protocol, with_ladder),
        mpp=slide.mpp,
        with_geometry=with_geometry,
    )
    return _SlideItems(
        raters=[d.rater for d in drawn],
        codes=found.codes,
        weight=np.ones(len(found.codes)),
        geometries=found.geometries,
        notes=list(_object_notes(slide, found)),
        objects=found,
    )


def _thresholds(protocol: Protocol, with_ladder: bool) -> tuple[Threshold, ...]:
    iou, distance_um = protocol.matching.iou, protocol.matching.distance_um
    return (Threshold(iou, distance_um), *(ladder(iou, distance_um) if with_ladder else ()))


def _object_notes(slide: Slide, found: ObjectItems) -> Iterator[str]:
    if found.n_outside:
        yield f"{slide.name}: {found.n_outside} objects outside every declared domain are not rated"
    if found.matching.n_heuristic:
        yield f"{slide.name}: {found.matching.told()}"


def _label_items(
    protocol: Protocol,
    slide: Slide,
    drawn: Sequence[_Drawn],
    _with_geometry: bool,
    _with_ladder: bool,
) -> _SlideItems:
    """Slides: one label a read."""
    codes = np.array([[d.label for d in drawn]], dtype=np.int32)
    return _SlideItems([d.rater for d in drawn], codes, np.ones(1), [None])


_ITEMS = {"regions": _region_items, "objects": _object_items, "slides": _label_items}


def _assemble(
    protocol: Protocol,
    row: ProtocolVersion,
    slides: Sequence[tuple[list[CountedRead], _SlideItems]],
    excluded: list[ExcludedRead],
    input_digest: str,
    with_ladder: bool,
) -> StudyRatings:
    raters = sorted({rater for _, found in slides for rater in found.raters})
    column = {rater: index for index, rater in enumerate(raters)}
    items: list[RatedItem] = []
    blocks, weights, cluster, slide_of, notes = [], [], [], [], []
    clusters = sorted({reads[0].cluster for reads, _ in slides})
    for number, (reads, found) in enumerate(slides):
        slide = reads[0].slide
        block = np.full((len(found.codes), len(raters)), NOT_RATED, dtype=np.int32)
        block[:, [column[rater] for rater in found.raters]] = found.codes
        blocks.append(block)
        weights.append(found.weight)
        cluster.append(np.full(len(block), clusters.index(reads[0].cluster)))
        slide_of.append(np.full(len(block), number))
        notes += found.notes
        items += [
            RatedItem(f"{slide.name}/{index}", slide, geometry)
            for index, geometry in enumerate(found.geometries, start=1)
        ]
    matching, detection = None, None
    if protocol.task == "objects":
        matching = sum((found.objects.matching for _, found in slides if found.objects), Matching())
        notes.append(matching.told())
        detection = Detection.of(
            tuple(raters),
            tuple(one.name for one in protocol.classes),
            _thresholds(protocol, with_ladder),
            [found.objects.detection for _, found in slides if found.objects],
            [clusters.index(reads[0].cluster) for reads, found in slides if found.objects],
        )
    weight = np.concatenate(weights)
    regions = protocol.task == "regions"
    by_patient = any(reads[0].by_patient for reads, _ in slides)
    ratings = Ratings(
        items=tuple(item.name for item in items),
        raters=tuple(raters),
        classes=protocol.class_names,
        codes=np.concatenate(blocks),
        weight=weight,
        cluster=np.concatenate(cluster),
        cluster_names=tuple(clusters),
        rank=np.array(protocol.ranks),
        negative=None if protocol.negative is None else protocol.codes[protocol.negative],
        weight_unit="um2" if regions else "count",
        cluster_unit="patient" if by_patient else "slide",
        joint_negatives=joint_negatives(protocol),
        slide=np.concatenate(slide_of),
        slide_names=tuple(reads[0].slide.name for reads, _ in slides),
        domain_um2=float(weight.sum()) if regions else None,
        notes=tuple(notes),
    )
    return StudyRatings(
        protocol, row, ratings, items, excluded, input_digest, notes, matching, detection
    )


def joint_negatives(protocol: Protocol) -> bool | None:
    """What nobody marked is no item of objects, nor of regions whose domain is their union."""
    if protocol.task == "slides":
        return None
    return protocol.task == "regions" and protocol.domain.rule != "union"
