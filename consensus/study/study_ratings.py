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
from consensus.study.assisted_ratings import AssistedRating, digest_with, on_slide
from consensus.study.counted_reads import CountedRead, ExcludedRead, counted_reads
from consensus.study.object_items import Matching
from consensus.study.slide_items import (
    Drawn,
    SlideItems,
    Wanted,
    decided_by,
    drawn_by,
    slide_items,
    thresholds_of,
)

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

    ``decided`` (n_items, n_raters) marks the ratings that are decisions made with a prediction in
    sight (``assisted`` lists them), and ``ai_assisted`` those and the ones of reads made so.
    ``matching`` and ``detection`` are of objects: how good the groups are, and what every two
    raters both found. ``strips`` are of regions, where they were asked for.
    """

    protocol: Protocol
    row: ProtocolVersion
    ratings: Ratings
    items: list[RatedItem]
    excluded: list[ExcludedRead]
    input_digest: str
    decided: NDArray[np.bool_]
    ai_assisted: NDArray[np.bool_]
    assisted: list[AssistedRating] = field(default_factory=list)
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
    assisted: Sequence[AssistedRating] = (),
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
    assisted
        Decisions that count as ratings, in a consensus; figures of raters are about reads alone.

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
        assisted=assisted,
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
    assisted: Sequence[AssistedRating] = (),
) -> StudyRatings:
    """Rate these reads, of a slide all in a row; their ``annotator`` is the rater."""
    protocol = protocol_of(row)
    digest = hashlib.sha256(row.sha256.encode())
    slides: list[_RatedSlide] = []
    for _, group in groupby(reads, key=lambda read: read.slide.id):
        of_slide = list(group)
        drawn = [
            drawn_by(session, protocol, read, as_of_pull, include_derived, digest)
            for read in of_slide
        ]
        decided = on_slide(assisted, of_slide[0].slide.id, {read.annotator for read in of_slide})
        slides.append(_RatedSlide.of(protocol, of_slide, drawn, decided, wanted))
    read_slides = {read.slide.id for read in reads}
    unread = {one.slide.name: one.slide for one in assisted if one.slide.id not in read_slides}
    for _, slide in sorted(unread.items()):
        decided = on_slide(assisted, slide.id, ())
        slides.append(_RatedSlide.of(protocol, [], [], decided, wanted))
    return _assemble(
        protocol, row, slides, excluded, digest_with(digest.hexdigest(), assisted), wanted
    )


@dataclass(frozen=True)
class _RatedSlide:
    """A slide with its items, and whose ratings there were made with a prediction in sight."""

    slide: Slide
    cluster: str
    by_patient: bool
    items: SlideItems
    assisted_reads: set[str]
    decided: dict[str, list[AssistedRating]]

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        reads: Sequence[CountedRead],
        drawn: Sequence[Drawn],
        decided: dict[str, list[AssistedRating]],
        wanted: Wanted,
    ) -> _RatedSlide:
        """Rate a slide: what was read of it, and what was decided beside."""
        beside = [decided_by(protocol, rater, ratings) for rater, ratings in decided.items()]
        first = reads[0] if reads else next(iter(decided.values()))[0]
        return cls(
            first.slide,
            first.cluster,
            first.by_patient,
            slide_items(protocol, first.slide, [*drawn, *beside], wanted),
            {read.annotator for read in reads if read.ai_assisted},
            decided,
        )


def _assemble(
    protocol: Protocol,
    row: ProtocolVersion,
    slides: Sequence[_RatedSlide],
    excluded: list[ExcludedRead],
    input_digest: str,
    wanted: Wanted,
) -> StudyRatings:
    raters = sorted({rater for one in slides for rater in one.items.raters})
    column = {rater: index for index, rater in enumerate(raters)}
    items: list[RatedItem] = []
    blocks, weights, cluster, slide_of, notes = [], [], [], [], []
    decided, ai_assisted = [], []
    clusters = sorted({one.cluster for one in slides})
    for number, one in enumerate(slides):
        slide, found = one.slide, one.items
        block = np.full((len(found.codes), len(raters)), NOT_RATED, dtype=np.int32)
        block[:, [column[rater] for rater in found.raters]] = found.codes
        blocks.append(block)
        rated = block != NOT_RATED
        decided.append(rated & np.array([rater in one.decided for rater in raters]))
        by_reads = np.array([rater in one.assisted_reads for rater in raters])
        ai_assisted.append(decided[-1] | (rated & by_reads))
        weights.append(found.weight)
        cluster.append(np.full(len(block), clusters.index(one.cluster)))
        slide_of.append(np.full(len(block), number))
        notes += found.notes
        items += [
            RatedItem(f"{slide.name}/{index}", slide, geometry)
            for index, geometry in enumerate(found.geometries, start=1)
        ]
    matching, detection = None, None
    if protocol.task == "objects":
        grouped = [(one.cluster, one.items.objects) for one in slides if one.items.objects]
        matching = sum((objects.matching for _, objects in grouped), Matching())
        notes.append(matching.told())
        detection = Detection.of(
            tuple(raters),
            tuple(one.name for one in protocol.classes),
            thresholds_of(protocol, wanted.ladder),
            [objects.detection for _, objects in grouped],
            [clusters.index(name) for name, _ in grouped],
        )
    weight = np.concatenate(weights)
    regions = protocol.task == "regions"
    by_patient = any(one.by_patient for one in slides)
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
        slide_names=tuple(one.slide.name for one in slides),
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
        decided=np.concatenate(decided),
        ai_assisted=np.concatenate(ai_assisted),
        assisted=[rating for one in slides for own in one.decided.values() for rating in own],
        notes=notes,
        matching=matching,
        detection=detection,
        strips=_strips(slides, wanted.tolerance_um),
    )


def _strips(slides: Sequence[_RatedSlide], tolerance_um: float) -> Strips | None:
    """The strips of all slides, if there are regions and strips were asked for."""
    found = [(one.slide, one.items.regions) for one in slides if one.items.regions is not None]
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
