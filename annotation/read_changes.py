"""What one source changes in one read: every object compared with its last revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.class_mapping import ClassMapping
from annotation.copied_outlines import copied_outlines
from annotation.digests import content_digests, derive_uuid, geometry_digests
from annotation.errors import RemovalError, SourceError, WrongSlideError
from annotation.frames import Frame, placed
from annotation.geometry import rate_geometries
from annotation.protocol import Protocol
from annotation.pushed import PushedObjects, pushes_in_metadata
from annotation.records import Batch, PathObject, Rejection
from annotation.revision_writer import SLIDE_LABEL, Draft, RevisionWriter
from annotation.revisions import Standing, standing
from annotation.sources import ReadSource
from annotation.tables import Pull, Read, Slide

__all__ = ["ReadChanges", "record_changes"]


@dataclass
class ReadChanges:
    """The count of every object of a source, and what is worth telling its author.

    ``saw`` names the pushes whose objects, or scores in the image's metadata, were there.
    """

    objects: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    rejected: int = 0
    ours: int = 0
    derived: int = 0
    repaired: int = 0
    overhanging: int = 0
    unclassified: int = 0
    unmapped: int = 0
    ignored: int = 0
    outside_domain: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    unmapped_classes: dict[str, dict[str, Any]] = field(default_factory=dict)
    copied: list[dict[str, Any]] = field(default_factory=list)
    saw: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {key: value for key, value in vars(self).items() if isinstance(value, int)}


def record_changes(
    session: Session,
    pull: Pull,
    read: Read,
    slide: Slide,
    protocol: Protocol,
    source: ReadSource,
    frame: Frame,
    *,
    accept_removals: bool,
    strict: bool,
) -> ReadChanges:
    """Write a revision for each object that the source adds, changes or lacks.

    Parameters
    ----------
    frame
        From the source's coordinates to the slide's.

    Raises
    ------
    WrongSlideError
        More than half of the objects lie wholly outside the slide.
    RemovalError
        More than half of the read's objects are gone, and that was not accepted.
    SourceError
        Every object was rejected, one was with ``strict``, or a declared domain is missing.
    """
    recorder = _Recorder(session, pull, read, slide, protocol, source)
    recorder.record_all(frame)
    recorder.check(accept_removals=accept_removals, strict=strict)
    recorder.remove_missing()
    recorder.finish()
    return recorder.changes


class _Recorder:
    """Walks through a source batch by batch, within the caller's transaction."""

    def __init__(
        self,
        session: Session,
        pull: Pull,
        read: Read,
        slide: Slide,
        protocol: Protocol,
        source: ReadSource,
    ) -> None:
        self.session = session
        self.pull = pull
        self.read = read
        self.slide = slide
        self.protocol = protocol
        self.source = source
        self.changes = ReadChanges()
        self.standing = standing(session, read.id)
        self.writer = RevisionWriter(session, pull, read, self.standing, source.knows_parents)
        self.pushed = PushedObjects(session, slide)
        self.present: set[str] = set()
        self.twins: Counter[bytes] = Counter()
        self.outside = 0
        self.domains: list[shapely.Geometry] = []
        self.classified: list[NDArray[np.object_]] = []

    def record_all(self, frame: Frame) -> None:
        """Take every object of the source."""
        for batch in placed(self.source.batches(), frame):
            self.changes.objects += len(batch.objects) + len(batch.rejections)
            self.changes.rejections += batch.rejections
            # An object that can't be read this time is not gone: its last good state stands.
            self.present.update(rejection.id for rejection in batch.rejections)
            if batch.objects:
                self._take(batch)
        if self.protocol.task == "slides":
            self._take_label()
        self.changes.saw |= pushes_in_metadata(self.source.image_metadata)
        self.changes.rejected = len(self.changes.rejections)

    def _take(self, batch: Batch) -> None:
        objects, digest = batch.objects, batch.content_digests
        geometry_digest = batch.geometry_digests
        geometries = np.empty(len(objects), dtype=object)
        geometries[:] = [obj.geometry for obj in objects]
        rated = rate_geometries(geometries, self.slide.width_px, self.slide.height_px)
        mappings = [self.protocol.map_class(obj.path_class) for obj in objects]
        uuids = [obj.uuid or self._derived(own) for obj, own in zip(objects, digest, strict=True)]
        origins = self.pushed.origins(objects, uuids, geometry_digest)
        drafts: list[Draft] = []
        taken: list[int] = []
        for index, (obj, uuid) in enumerate(zip(objects, uuids, strict=True)):
            if rated.outside[index]:
                self.outside += 1
                self.changes.rejections.append(Rejection(uuid, "wholly outside the slide"))
                self.present.add(uuid)
                continue
            origin = origins[index]
            self.changes.saw.update([] if origin is None else [origin.push])
            if origin is not None and not origin.changed:
                self.changes.ours += 1
                self.present.add(uuid)
                continue
            self._notice(obj, mappings[index])
            self.changes.derived += origin is not None
            self.changes.repaired += bool(rated.repaired[index])
            self.changes.overhanging += bool(rated.overhang_px2[index] > 0)
            taken.append(index)
            state = self._state(obj, uuid, digest[index])
            if state is not None:
                drafts.append(Draft(index, uuid, state, origin.name if origin else None))
        self._notice_places(objects, mappings, rated.geometries, taken)
        self.writer.write(batch, mappings, geometries, rated, drafts)

    def _derived(self, digest: bytes) -> str:
        """A UUID for an object that has none: the same for the same content and place."""
        ordinal = self.twins[digest]
        self.twins[digest] += 1
        place = f"{self.slide.name}\0{self.read.annotator_id}\0{self.read.replicate}"
        return derive_uuid(place, digest, ordinal)

    def _state(self, obj: PathObject, uuid: str, digest: bytes) -> str | None:
        self.present.add(uuid)
        before = self.standing.get(uuid)
        if before is None or before.removed:
            self.changes.added += 1
            return "added"
        same_parent = before.parent is None or before.parent == self.writer.parent(obj, uuid)
        if before.digest == digest and same_parent:
            self.changes.unchanged += 1
            return None
        self.changes.changed += 1
        return "changed"

    def _notice(self, obj: PathObject, mapping: ClassMapping) -> None:
        if mapping.kind == "unclassified":
            self.changes.unclassified += 1
        elif mapping.kind == "ignored":
            self.changes.ignored += 1
        elif mapping.kind == "unmapped":
            self.changes.unmapped += 1
            entry = self.changes.unmapped_classes.setdefault(
                str(obj.path_class), {"objects": 0, "nearest": mapping.nearest}
            )
            entry["objects"] += 1

    def _notice_places(
        self,
        objects: Sequence[PathObject],
        mappings: Sequence[ClassMapping],
        rated: NDArray[np.object_],
        taken: Sequence[int],
    ) -> None:
        if self.protocol.domain.rule != "declared":
            return
        domain = [i for i in taken if mappings[i].kind == "domain"]
        self.domains += [g for g in rated[domain] if shapely.area(g) > 0]
        self.classified.append(rated[[i for i in taken if mappings[i].kind == "class"]])

    def _take_label(self) -> None:
        """A slide's label is an object without a place, so that it has a history like any other."""
        label = self.source.image_metadata.get(self.protocol.slides.label_key)
        if label is None or not label.strip():
            self.changes.unclassified += 1
            return
        obj = PathObject(
            uuid=derive_uuid(f"{self.slide.name}\0{self.read.annotator_id}", b"slide label", 0),
            object_type=SLIDE_LABEL,
            path_class=label.strip(),
            name=None,
            locked=False,
            geometry=shapely.Polygon(),
        )
        self.changes.objects += 1
        geometry_digest = geometry_digests(np.array([obj.geometry], dtype=object))
        digest = content_digests([obj], geometry_digest)[0]
        mapping = self.protocol.map_class(obj.path_class)
        self._notice(obj, mapping)
        state = self._state(obj, str(obj.uuid), digest)
        if state is None:
            return
        self.writer.write_label(obj, mapping, state, digest, geometry_digest[0])

    def check(self, *, accept_removals: bool, strict: bool) -> None:
        """Refuse the pull where the source as a whole can't be right."""
        changes, name = self.changes, self.source.name
        if self.outside * 2 > changes.objects:
            raise WrongSlideError(
                f"{name}: {self.outside} of {changes.objects} objects lie wholly outside slide "
                f"{self.slide.name!r} ({self.slide.width_px} x {self.slide.height_px} px); wrong "
                "slide? name it with --slide",
                file=name,
                slide=self.slide.name,
            )
        first = changes.rejections[0] if changes.rejections else None
        if first and (strict or changes.rejected == changes.objects):
            how = "--strict refuses" if strict else "every object was rejected:"
            raise SourceError(
                f"{name}: {how} {changes.rejected} of {changes.objects} objects, the first "
                f"{first.id}: {first.reason}; mend it in QuPath and export again",
                file=name,
            )
        if self.protocol.domain.rule == "declared" and not self.domains:
            classes = " or ".join(repr(c) for c in self.protocol.domain.classes)
            raise SourceError(
                f"{name}: no object of class {classes} says what was read on slide "
                f"{self.slide.name!r}; draw one around it in QuPath and export again",
                file=name,
                slide=self.slide.name,
            )
        missing, before = len(self._missing()), sum(not s.removed for s in self.standing.values())
        if missing * 2 > before and not accept_removals:
            raise RemovalError(
                f"{name}: {missing} of {before} objects of read {self.read.id} are gone; check "
                "the export, or pass --accept-removals",
                file=name,
                read=self.read.id,
            )

    def _missing(self) -> dict[str, Standing]:
        return {
            uuid: before
            for uuid, before in self.standing.items()
            if not before.removed and uuid not in self.present
        }

    def remove_missing(self) -> None:
        """Write a last revision for each object that is gone."""
        missing = self._missing()
        self.changes.removed = len(missing)
        self.writer.write_removals(missing)

    def finish(self) -> None:
        """Count what lies outside the reader's own domain, and flag outlines that were copied."""
        if self.domains and self.classified:
            domain = shapely.union_all(self.domains)
            shapely.prepare(domain)
            rated = np.concatenate(self.classified)
            self.changes.outside_domain = int(np.sum(~shapely.intersects(domain, rated)))
        self.changes.copied = copied_outlines(self.session, self.pull, self.read, self.slide)
