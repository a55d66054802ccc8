"""Outlines that are vertex for vertex those of another annotator: flagged, never left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from annotation.revisions import REMOVED
from annotation.tables import Annotation, Annotator, Pull, Read, Revision, Slide

__all__ = ["copied_outlines"]


def copied_outlines(session: Session, pull: Pull, read: Read, slide: Slide) -> list[dict[str, Any]]:
    """Vertex-identical outlines of other annotators, by annotator.

    The same object (a shared UUID) handed to several people to label is no copy, and a domain
    that was handed out is none either.
    """
    theirs, their_annotation = aliased(Revision), aliased(Annotation)
    pairs = session.execute(
        select(Annotator.handle, Annotation.uuid)
        .select_from(Revision)
        .join(Annotation, Revision.annotation_id == Annotation.id)
        .join(theirs, theirs.geometry_digest == Revision.geometry_digest)
        .join(their_annotation, theirs.annotation_id == their_annotation.id)
        .join(Read, their_annotation.read_id == Read.id)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .where(Revision.pull_id == pull.id, Annotation.read_id == read.id)
        .where(Revision.class_kind != "domain", Revision.state != REMOVED)
        .where(Revision.object_type == "annotation", theirs.object_type == "annotation")
        .where(Read.slide_id == slide.id, Read.annotator_id != read.annotator_id)
        .where(their_annotation.uuid != Annotation.uuid)
        .distinct()
    )
    counted = Counter(handle for handle, _ in pairs)
    return [
        {"annotator": handle, "objects": count, "flag": "copied, not independent"}
        for handle, count in sorted(counted.items())
    ]
