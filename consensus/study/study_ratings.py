"""From the store to ratings: regions by their overlay, objects by matching, slides as they are.

Every item keeps where it lies, so that what is disputed can be shown and what is agreed exported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.protocol import Protocol
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.boundary import Boundary
from consensus.comparing.detection import Detection
from consensus.errors import NoRatingsError
from consensus.ratings import NOT_RATED, Ratings
from consensus.study.counted_reads import CountedRead, ExcludedRead, counted_reads
from consensus.study.object_items import Matching
from consensus.study.slide_items import SlideItems, Wanted, drawn_by, slide_items, thresholds_of

__all__ = [
    "RatedItem",
    "Strips",
    "StudyRatings",
    "joint_negatives",
    "rate",
    "rate_reads",
]


@dataclass(frozen=True)
class RatedItem:
    """Where an item lies: a region, the outlines of an object, or None for a whole slide."""

    name: str
    slide: Slide
    geometry: shapely.Geometry | None


@dataclass(frozen=True)
class Strips:
    """What lies in strips along boundaries: of each item in um2, (n_items,), and on which slide."""

    tolerance_um: float
    weight_um2: NDArray[np.float64]
    of_slide: dict[int, Boundary]


@dataclass(frozen=True)
class StudyRatings:
    """The ratings of a study under one protocol version, and what was left out of them.

    ``matching`` and ``detection`` are of objects: how good the groups are, and what every two
    raters both found. ``strips`` are of regions, where they were asked for.
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
    strips: Strips | None = None


def rate(
    session: Session,
    row: ProtocolVersion,
    *,
    as_of_pull: int | None = None,
    include_derived: bool = False,
    replicate: int = 1,
    slide: Slide | None = None,
    wanted: Wanted | None = None,
) -> StudyRatings:
    """Rate everything that counts under a protocol version.

    Parameters
    ----------
    as_of_pull
        Take what stood in the store after this pull; None takes what stands now.
    include_derived
        Count also what a person made by changing an object that pathquorum pushed.
    replicate
        Which reading of each annotator counts.
    slide
        The only one that is rated; None rates all.
    wanted
        What is asked for beside the ratings; None: where items lie.

    Raises
    ------
    NoRatingsError
        No read counts.
    """
    wanted = Wanted() if wanted is None else wanted
    reads, excluded = counted_reads(
        session, row, as_of_pull, replicate=replicate, slide=None if slide is None else slide.id
    )
    if not reads:
        reasons = "; ".join(sorted({e.reason for e in excluded}))
        raise NoRatingsError(
            f"no read counts under protocol {row.name!r} version {row.version!r}"
            + (f" on slide {slide.name!r}" if slide is not None else "")
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
        wanted=wanted,
    )


def rate_reads(
    session: Session,
    row: ProtocolVersion,
    reads: Sequence[CountedRead],
    excluded: list[ExcludedRead],
    *,
    as_of_pull: int | None,
    include_derived: bool,
    wanted: Wanted,
) -> StudyRatings:
    """Rate these reads, of a slide all in a row; their ``annotator`` is the rater."""
    protocol = protocol_of(row)
    digest = hashlib.sha256(row.sha256.encode())
    slides: list[tuple[list[CountedRead], SlideItems]] = []
    for _, group in groupby(reads, key=lambda read: read.slide.id):
        of_slide = list(group)
        drawn = [
            drawn_by(session, protocol, read, as_of_pull, include_derived, digest)
            for read in of_slide
        ]
        items = slide_items(protocol, of_slide[0].slide, drawn, wanted)
        slides.append((of_slide, items))
    return _assemble(protocol, row, slides, excluded, digest.hexdigest(), wanted)


def _assemble(
    protocol: Protocol,
    row: ProtocolVersion,
    slides: Sequence[tuple[list[CountedRead], SlideItems]],
    excluded: list[ExcludedRead],
    input_digest: str,
    wanted: Wanted,
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
            thresholds_of(protocol, wanted.ladder),
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
        protocol=protocol,
        row=row,
        ratings=ratings,
        items=items,
        excluded=excluded,
        input_digest=input_digest,
        notes=notes,
        matching=matching,
        detection=detection,
        strips=_strips(slides, wanted.tolerance_um),
    )


def _strips(
    slides: Sequence[tuple[list[CountedRead], SlideItems]], tolerance_um: float
) -> Strips | None:
    """The strips of all slides, if there are regions and strips were asked for."""
    found = [(reads[0].slide, of.regions) for reads, of in slides if of.regions is not None]
    if tolerance_um == 0 or not found:
        return None
    return Strips(
        tolerance_um,
        np.concatenate([regions.strip_um2(slide.mpp) for slide, regions in found]),
        {slide.id: regions.boundary for slide, regions in found if regions.boundary is not None},
    )


def joint_negatives(protocol: Protocol) -> bool | None:
    """What nobody marked is no item of objects, nor of regions whose domain is their union."""
    if protocol.task == "slides":
        return None
    return protocol.task == "regions" and protocol.domain.rule != "union"
