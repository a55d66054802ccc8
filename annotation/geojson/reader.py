"""Features in, batches of objects out: decoded one by one, built and digested many at a time.

Nearly every feature has the shape that QuPath gives it and is decoded by type, which is where the
speed comes from; the others go through :mod:`annotation.geojson.oddities`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from annotation.collector import collector_paused
from annotation.digests import content_digests, geometry_digests
from annotation.duplicates import SeenObjects
from annotation.geojson.feature import Draft, Feature, make_object, parse_uuid
from annotation.geojson.oddities import draft_odd_feature
from annotation.geojson.shapes import Shape, build_geometries
from annotation.geojson.text import MARK
from annotation.records import Batch, PathObject, Rejection

__all__ = ["BATCH_SIZE", "FeatureReader"]

BATCH_SIZE = 2000
_BATCH_BYTES = 16 * 1024**2
"""Decoded coordinates take about eight times the room of their text."""

_decoder = msgspec.json.Decoder(Feature)


class FeatureReader:
    """Turns features into objects and knows the UUIDs that have gone by."""

    def __init__(self) -> None:
        self._seen = SeenObjects()
        self._n_seen = 0

    def read(
        self,
        features: Iterable[msgspec.Raw],
        *,
        batch_size: int = BATCH_SIZE,
        substituted: bool = False,
    ) -> Iterator[Batch]:
        """Read all features, and those that hang below them as children.

        Parameters
        ----------
        features
            Sound JSON.
        batch_size
            At most so many objects at once; fewer where they are large.
        substituted
            Special numbers may have been substituted in them.
        """
        stack: list[Iterator[tuple[msgspec.Raw, str | None]]] = [((raw, None) for raw in features)]
        while True:
            with collector_paused():
                batch = self._next_batch(stack, batch_size, substituted)
            if batch is None:
                return
            yield batch

    def _next_batch(
        self,
        stack: list[Iterator[tuple[msgspec.Raw, str | None]]],
        batch_size: int,
        substituted: bool,
    ) -> Batch | None:
        # The drafts, which hold millions of positions, are gone by the time this returns.
        drafts = self._draft_batch(stack, batch_size, substituted)
        return self._build(drafts) if drafts else None

    def _draft_batch(
        self,
        stack: list[Iterator[tuple[msgspec.Raw, str | None]]],
        batch_size: int,
        substituted: bool,
    ) -> list[Draft]:
        """The next drafts, parents before children; the stack holds what is still to come."""
        drafts: list[Draft] = []
        n_bytes = 0
        while stack and len(drafts) < batch_size and n_bytes < _BATCH_BYTES:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                continue
            raw, parent = following
            draft = _draft(raw, substituted)
            self._n_seen += 1
            draft.ordinal = self._n_seen
            draft.parent = parent
            draft.uuid = parse_uuid(draft.id)
            children = draft.properties.childObjects
            if children:
                stack.append(iter([(child, draft.uuid) for child in children]))
            n_bytes += memoryview(raw).nbytes
            drafts.append(draft)
        return drafts

    def _build(self, drafts: list[Draft]) -> Batch:
        objects = _make_objects(drafts)
        made = [thing for thing in objects if thing is not None]
        outlines = geometry_digests(np.array([thing.geometry for thing in made], dtype=object))
        contents = content_digests(made, outlines)
        digests = iter(zip(outlines, contents, strict=True))
        batch = Batch([], [], [], [])
        for draft, thing in zip(drafts, objects, strict=True):
            outline, content = next(digests) if thing is not None else (b"", b"")
            reason = self._seen.fault(draft.uuid, content) or draft.fault
            if reason is not None or thing is None:
                name = draft.uuid or f"#{draft.ordinal}"
                batch.rejections.append(Rejection(name, reason or "no object"))
                continue
            batch.objects.append(thing)
            batch.geometry_digests.append(outline)
            batch.content_digests.append(content)
        return batch


def _draft(raw: msgspec.Raw, substituted: bool) -> Draft:
    try:
        feature = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return draft_odd_feature(raw, substituted=substituted)
    if substituted and not _only_measured(raw, feature):
        return draft_odd_feature(raw, substituted=True)
    draft = Draft(id=feature.id, shape=feature.geometry, nucleus=feature.nucleusGeometry)
    if feature.properties is not None:
        draft.properties = feature.properties
    if feature.geometry is None:
        draft.fault = "empty geometry"
    return draft


def _only_measured(raw: msgspec.Raw, feature: Feature) -> bool:
    """Whether every special number in a feature is the value of a measurement."""
    n_special = bytes(raw).count(MARK)
    if not n_special:
        return True
    measurements = feature.properties.measurements if feature.properties is not None else None
    if not isinstance(measurements, dict):
        return False
    values = measurements.values()
    return n_special == sum(type(value) is str and value[:1] == "\x7f" for value in values)


def _make_objects(drafts: list[Draft]) -> list[PathObject | None]:
    """The objects of the sound drafts, their geometries built together; faults are noted."""
    shapes: list[Shape] = []
    owners: list[int] = []
    for i, draft in enumerate(drafts):
        if draft.fault is None:
            for shape in (draft.shape, draft.nucleus):
                if shape is not None:
                    shapes.append(shape)
                    owners.append(i)
    geometries, faults = build_geometries(shapes)
    for place, fault in faults.items():
        draft = drafts[owners[place]]
        where = " in the nucleus" if shapes[place] is draft.nucleus else ""
        draft.fault = draft.fault or fault + where
    built = iter(geometries)
    objects: list[PathObject | None] = []
    sound = set(owners)
    for i, draft in enumerate(drafts):
        if i not in sound:
            objects.append(None)
            continue
        geometry = next(built)
        nucleus = next(built) if draft.nucleus is not None else None
        objects.append(make_object(draft, geometry, nucleus) if draft.fault is None else None)
    return objects
