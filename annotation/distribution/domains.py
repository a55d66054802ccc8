"""The areas that annotators are asked to read, as locked objects of the protocol's domain class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import shapely

from annotation.digests import derive_uuid
from annotation.errors import SourceError
from annotation.protocol import Protocol
from annotation.records import PathObject
from annotation.sources import ReadSource, open_sources
from annotation.tables import Slide

__all__ = ["Domains", "read_domains"]


@dataclass(frozen=True)
class Domains:
    """The domain objects of slides by the slide's name, and what is worth telling."""

    objects: Mapping[str, Sequence[PathObject]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the objects bear."""
        found = (thing.path_class for things in self.objects.values() for thing in things)
        return tuple(dict.fromkeys(name for name in found if name is not None))


def read_domains(path: Path | None, protocol: Protocol, slides: Sequence[Slide]) -> Domains:
    """Read what is to be read of the slides.

    Parameters
    ----------
    path
        A GeoJSON file or a folder of them. A file that is named after a slide holds for it; a
        single file of any other name holds for every slide.

    Raises
    ------
    SourceError
        A file can't be used: an object of another class, one that encloses nothing or lies outside
        the slide, or a protocol whose domain isn't declared.
    """
    if path is None:
        return Domains()
    if protocol.domain.rule != "declared":
        raise SourceError(
            f"{path.name}: protocol {protocol.name!r} takes its domain from no object "
            f"(rule {protocol.domain.rule!r}); leave --domain out"
        )
    if path.suffix.lower() == ".qpproj" or (path / "project.qpproj").exists():
        raise SourceError(
            f"{path.name} is a QuPath project; give --domain a GeoJSON export or a folder of them"
        )
    objects: dict[str, Sequence[PathObject]] = {}
    unused = []
    sources = open_sources(path)
    for source in sources:
        meant = _meant(source, slides, for_all=path.is_file())
        if not meant:
            unused.append(source.name)
        for slide in meant:
            if slide.name in objects:
                raise SourceError(
                    f"{source.name} is the second domain of slide {slide.name!r}; keep one",
                    file=source.name,
                )
            objects[slide.name] = tuple(_domain_objects(source, protocol, slide))
    notes = [f"{name} is named after none of the slides and was not used" for name in unused]
    notes += [
        f"slide {slide.name} has no domain in {path.name}; its reader declares it"
        for slide in slides
        if slide.name not in objects
    ]
    return Domains(objects, tuple(notes))


def _meant(source: ReadSource, slides: Sequence[Slide], *, for_all: bool) -> list[Slide]:
    for name in source.slide_names:
        named = [slide for slide in slides if slide.name == name]
        if named:
            return named
    return list(slides) if for_all else []


def _domain_objects(source: ReadSource, protocol: Protocol, slide: Slide) -> Iterator[PathObject]:
    extent = shapely.box(0, 0, slide.width_px, slide.height_px)
    n_objects = 0
    for batch in source.batches():
        if batch.rejections:
            fault = batch.rejections[0]
            raise _refused(source, f"object {fault.id}: {fault.reason}", "draw it again")
        for thing, digest in zip(batch.objects, batch.content_digests, strict=True):
            name = thing.uuid or f"#{n_objects + 1}"
            if protocol.map_class(thing.path_class).kind != "domain":
                wanted = " or ".join(map(repr, protocol.domain.classes))
                raise _refused(
                    source,
                    f"object {name} has the class {thing.path_class!r}",
                    f"the protocol's domain is declared by {wanted}",
                )
            if not shapely.area(thing.geometry) > 0:
                raise _refused(source, f"object {name} encloses nothing", "draw it again")
            if not shapely.intersects(thing.geometry, extent):
                raise _refused(
                    source,
                    f"object {name} lies outside slide {slide.name!r}",
                    "check that the file is for this slide",
                )
            uuid = thing.uuid or derive_uuid(f"domain of {slide.name}", digest, n_objects)
            n_objects += 1
            yield replace(thing, uuid=uuid, object_type="annotation", locked=True, parent=None)
    if n_objects == 0:
        raise _refused(source, "it holds no object", "draw the domain and export it")


def _refused(source: ReadSource, what: str, next_step: str) -> SourceError:
    return SourceError(f"{source.name}: {what}; {next_step}", file=source.name)
