"""The pictures of a run's disputed slides, with what has to be said beside each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.revisions import revisions_in_force
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.queue.adjudication_queue import QueueEntry
from consensus.reporting.drawing import LINE_STYLES, LineStyle, line_style
from consensus.reporting.numbers import area_um2_text, length_text
from consensus.reporting.pictures import DisputedRegion, SlideView, draw_slide
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusRun

__all__ = ["FiguresSection", "LegendEntry", "SlideFigure", "figures_section", "rated_outlines"]

MOST_PICTURES: Final = 40

_ROWS: Final = ("upper", "middle", "lower")
_COLUMNS: Final = ("left", "centre", "right")


@dataclass(frozen=True)
class LegendEntry:
    """A rater, and how the outlines of this rater are drawn."""

    handle: str
    style: LineStyle
    objects: int
    points: bool


@dataclass(frozen=True)
class SlideFigure:
    """One picture and its caption."""

    slide: str
    view: SlideView
    size: str
    shown: str
    legend: list[LegendEntry]
    disputes: int
    alt: str


@dataclass(frozen=True)
class FiguresSection:
    """The pictures, by slide; ``left_out`` names the slides on which an answer gains less."""

    pictures: list[SlideFigure]
    left_out: list[str]
    styles_repeat: bool


def figures_section(
    session: Session, run: ConsensusRun, entries: Sequence[QueueEntry], as_of_pull: int | None
) -> FiguresSection:
    """Draw each slide that has disputes with a place.

    Parameters
    ----------
    entries
        The run's queue.
    as_of_pull
        The last pull that the run has seen: the outlines are those that it fused.
    """
    by_slide: dict[str, list[QueueEntry]] = defaultdict(list)
    for entry in entries:
        if entry.geometry is not None and not entry.geometry.is_empty:
            by_slide[entry.slide].append(entry)
    ranked = sorted(by_slide, key=lambda name: (-sum(e.gain for e in by_slide[name]), name))
    drawn = sorted(ranked[:MOST_PICTURES])
    raters: list[str] = run.summary["raters"]
    row = session.get_one(ProtocolVersion, run.protocol_id)
    task = protocol_of(row).task
    reads: dict[str, dict[int, int]] = defaultdict(dict)
    for read in counted_reads(session, row, as_of_pull)[0]:
        reads[read.slide.name][read.read] = raters.index(read.annotator)
    return FiguresSection(
        pictures=[
            _figure(session, task, name, by_slide[name], reads[name], raters, as_of_pull)
            for name in drawn
        ],
        left_out=sorted(ranked[MOST_PICTURES:]),
        styles_repeat=len(raters) > len(LINE_STYLES),
    )


def _figure(
    session: Session,
    task: str,
    name: str,
    entries: Sequence[QueueEntry],
    rater_of_read: Mapping[int, int],
    raters: Sequence[str],
    as_of_pull: int | None,
) -> SlideFigure:
    slide = session.scalars(select(Slide).where(Slide.name == name)).one()
    outlines = rated_outlines(session, task, rater_of_read, as_of_pull)
    view = draw_slide(
        Path(slide.path) if slide.path else None,
        width_px=slide.width_px,
        height_px=slide.height_px,
        mpp=slide.mpp,
        outlines=outlines,
        disputed=[DisputedRegion(e.dispute, e.geometry) for e in entries],
    )
    legend = [
        LegendEntry(raters[rater], line_style(rater), len(drawn), _has_points(drawn))
        for rater, drawn in sorted(outlines.items())
    ]
    return SlideFigure(
        slide=name,
        view=view,
        size=_size_text(slide.width_px, slide.height_px, slide.mpp),
        shown=_part_text(view, slide),
        legend=legend,
        disputes=len(entries),
        alt=_alt(name, view, slide, legend, entries),
    )


def rated_outlines(
    session: Session, task: str, rater_of_read: Mapping[int, int], as_of_pull: int | None
) -> dict[int, list[shapely.Geometry]]:
    """What each rater's counted read holds of the protocol's classes, as it was rated."""
    found: dict[int, list[shapely.Geometry]] = {rater: [] for rater in rater_of_read.values()}
    for annotation, revision in revisions_in_force(session, list(rater_of_read), as_of_pull):
        wkb = revision.rated_geometry or revision.geometry
        if revision.class_kind != "class" or revision.derived_from is not None or wkb is None:
            continue
        geometry = shapely.from_wkb(wkb)
        if task == "regions" and (revision.object_type != "annotation" or geometry.area == 0):
            continue
        found[rater_of_read[annotation.read_id]].append(geometry)
    return found


def _has_points(drawn: Sequence[shapely.Geometry]) -> bool:
    return bool((shapely.get_dimensions(np.array(drawn, dtype=object)) == 0).any())


def _size_text(width_px: float, height_px: float, mpp: float) -> str:
    return f"{length_text(width_px * mpp)} × {length_text(height_px * mpp)}"


def _part_text(view: SlideView, slide: Slide) -> str:
    if view.part is None:
        return "whole slide"
    x_px, y_px, width_px, height_px = view.part
    return (
        f"part of {_size_text(width_px, height_px, slide.mpp)}, its corner at x {x_px:.0f}, "
        f"y {y_px:.0f} px"
    )


def _alt(
    name: str,
    view: SlideView,
    slide: Slide,
    legend: Sequence[LegendEntry],
    entries: Sequence[QueueEntry],
) -> str:
    """What is seen, for whoever doesn't see it."""
    who = ", ".join(f"{entry.handle} ({entry.objects})" for entry in legend)
    where = "; ".join(
        f"{entry.dispute} at the {_place(view, slide, entry)}" for entry in entries[:10]
    )
    more = f"; and {len(entries) - 10} more" if len(entries) > 10 else ""
    behind = "over the picture of the tissue" if view.image else "on a plain ground"
    return (
        f"Slide {name}: outlines by rater, with their number: {who}; {behind}. "
        f"Hatched regions in dispute: {where}{more}."
    )


def _place(view: SlideView, slide: Slide, entry: QueueEntry) -> str:
    """Where in the picture a dispute lies, in words."""
    left, top, width, height = view.part or (0.0, 0.0, slide.width_px, slide.height_px)
    point = shapely.point_on_surface(entry.geometry)
    column = min(2, max(0, int(3 * (point.x - left) / width)))
    line = min(2, max(0, int(3 * (point.y - top) / height)))
    where = "middle" if (line, column) == (1, 1) else f"{_ROWS[line]} {_COLUMNS[column]}"
    if entry.weight_unit != "um2":
        return where
    return f"{where} ({area_um2_text(entry.weight)} µm²)"
