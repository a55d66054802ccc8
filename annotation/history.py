"""What was drawn and when: the revisions of a read, the difference of two pulls, earlier states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import InputError, UnknownNameError
from annotation.frames import WHOLE_SLIDE, Frame
from annotation.geojson.writer import write_feature_collection
from annotation.lookup import find_annotator, find_pull, find_slide
from annotation.paths import file_name, inside
from annotation.recognition import extent_of
from annotation.records import PathObject, measurements_from_json
from annotation.revisions import parse_as_of, revisions_in_force
from annotation.tables import Annotation, Pull, PullRead, Read, Revision, Slide

__all__ = ["diff", "history", "path_object", "restore"]


def history(
    session: Session, slide: str, annotator: str, as_of: str | None = None
) -> list[dict[str, Any]]:
    """Every revision of what one annotator drew on one slide, or the states at a moment.

    Parameters
    ----------
    as_of
        A pull's number or a time; then one row per object, the state in force.
    """
    reads = session.scalars(
        select(Read.id)
        .where(Read.slide_id == find_slide(session, slide).id)
        .where(Read.annotator_id == find_annotator(session, annotator).id)
    ).all()
    if not reads:
        raise UnknownNameError(
            f"annotator {annotator!r} has not read slide {slide!r}; see `pathquorum status`",
            kind="read",
            name=f"{slide}/{annotator}",
        )
    if as_of is not None:
        moment = parse_as_of(session, as_of)
        return _rows(session, revisions_in_force(session, reads, moment))
    every = session.execute(
        select(Annotation, Revision)
        .join(Revision, Revision.annotation_id == Annotation.id)
        .where(Annotation.read_id.in_(reads))
        .order_by(Annotation.id, Revision.revision)
    )
    return _rows(session, ((annotation, revision) for annotation, revision in every))


def diff(session: Session, first: int, second: int) -> list[dict[str, Any]]:
    """What the reads of two pulls hold differently after the second than after the first."""
    pulls = [find_pull(session, number).id for number in (first, second)]
    reads = _reads_of(session, pulls)
    before = {a.id: (a, r) for a, r in revisions_in_force(session, reads, pulls[0])}
    after = {a.id: (a, r) for a, r in revisions_in_force(session, reads, pulls[1])}
    rows: list[tuple[str, Annotation, Revision]] = []
    for key in sorted(before.keys() | after.keys()):
        if key not in before:
            rows.append(("added", *after[key]))
        elif key not in after:
            rows.append(("removed", *before[key]))
        elif before[key][1].id != after[key][1].id:
            rows.append(("changed", *after[key]))
    described = _rows(session, ((annotation, revision) for _, annotation, revision in rows))
    return [{**row, "state": state} for row, (state, _, _) in zip(described, rows, strict=True)]


def restore(session: Session, pull: int, target: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    """Write the state that a pull left as GeoJSON that QuPath reads.

    Where QuPath showed only what was scanned of a slide, coordinates are those of what it showed,
    and the file says how large that is, so that a later pull knows.

    Parameters
    ----------
    target
        A ``.geojson`` file (``.gz`` too) where the pull held one read; else a folder, which gets
        one file a slide.

    Returns
    -------
    The revisions written, and the files.
    """
    number = find_pull(session, pull).id
    slides = session.execute(
        select(Read.id, Slide)
        .join(Slide, Read.slide_id == Slide.id)
        .where(Read.id.in_(_reads_of(session, [number])))
        .order_by(Slide.name)
    ).all()
    as_file = target.name.lower().endswith((".geojson", ".json", ".gz"))
    if as_file and len(slides) != 1:
        raise InputError(
            f"pull {pull} holds {len(slides)} reads; give a folder to --to, it gets a file a slide"
        )
    rows: list[dict[str, Any]] = []
    files: list[Path] = []
    for read, slide in slides:
        path = target if as_file else inside(target, file_name(slide.name, ".geojson"))
        to_image, about = _shown(session, read, slide, number)
        standing = list(revisions_in_force(session, [read], number))
        placed = [(a, r) for a, r in standing if r.geometry is not None]
        write_feature_collection(
            path,
            (to_image.place_object(path_object(a, r)) for a, r in placed),
            foreign_members=about,
        )
        rows += _rows(session, standing)
        files.append(path)
    return rows, files


def _shown(
    session: Session, read: int, slide: Slide, pull: int
) -> tuple[Frame, dict[str, dict[str, int]]]:
    """From the slide to what QuPath showed of it at a pull, and what a file says of that."""
    counts = session.scalars(
        select(PullRead.counts)
        .where(PullRead.read_id == read, PullRead.pull_id <= pull)
        .order_by(PullRead.pull_id.desc())
    ).first()
    bounds = extent_of(slide).bounds
    if bounds is None or (counts or {}).get("frame") != Frame(x0=bounds[0], y0=bounds[1]).to_list():
        return WHOLE_SLIDE, {}
    about = {"format": 1, "width_px": bounds[2], "height_px": bounds[3]}
    return Frame(x0=bounds[0], y0=bounds[1]).inverse, {"pathquorum": about}


def path_object(annotation: Annotation, revision: Revision) -> PathObject:
    """The QuPath object that a revision holds, as it was pulled."""
    return PathObject(
        uuid=annotation.uuid,
        object_type=revision.object_type,
        path_class=revision.path_class,
        name=revision.name,
        locked=revision.locked,
        geometry=shapely.from_wkb(revision.geometry),
        nucleus=None if revision.nucleus is None else shapely.from_wkb(revision.nucleus),
        z=revision.z,
        t=revision.t,
        c=revision.c,
        parent=revision.parent or None,
        measurements=measurements_from_json(_decoded(revision.measurements)),
        extra=_decoded(revision.extra),
    )


def _decoded(text: str | None) -> dict[str, Any]:
    return {} if text is None else msgspec.json.decode(text, type=dict[str, Any])


def _reads_of(session: Session, pulls: Sequence[int]) -> list[int]:
    return list(
        session.scalars(select(PullRead.read_id).where(PullRead.pull_id.in_(pulls)).distinct())
    )


def _rows(session: Session, found: Iterable[tuple[Annotation, Revision]]) -> list[dict[str, Any]]:
    found = list(found)
    pulls = sorted({revision.pull_id for _, revision in found})
    asked = select(Pull.id, Pull.at).where(Pull.id.in_(pulls))
    at = dict(session.execute(asked).all())
    return [
        {
            "id": annotation.uuid,
            "revision": revision.revision,
            "class": revision.path_class,
            "mapped_class": revision.mapped_class,
            "geometry": _geojson(revision.geometry),
            "state": revision.state,
            "pull": revision.pull_id,
            "at": at[revision.pull_id],
            "object_type": revision.object_type,
            "name": revision.name,
            "locked": revision.locked,
            "derived_from": revision.derived_from,
        }
        for annotation, revision in found
    ]


def _geojson(wkb: bytes | None) -> msgspec.Raw | None:
    if wkb is None:
        return None
    return msgspec.Raw(shapely.to_geojson(shapely.from_wkb(wkb)).encode())
