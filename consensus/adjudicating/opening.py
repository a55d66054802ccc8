"""A QuPath project in which an adjudicator sees what is disputed, in the order of priority."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.digests import derive_uuid
from annotation.distribution.binding import study_id
from annotation.errors import ConflictError, InputError, SlideError
from annotation.paths import file_name
from annotation.projects.creating import NewImage, create_project
from annotation.projects.image_frames import frame_to_open_with
from annotation.projects.process import QuPathProcess
from annotation.protocol import Protocol
from annotation.recognition import extent_of
from annotation.records import PathObject
from annotation.slides import fingerprint
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.adjudicating.answers import ANSWER_CLASSES
from consensus.adjudicating.binding import BINDING_NAME, FORMAT, AdjudicationBinding
from consensus.queue.adjudication_queue import QueueEntry, queue
from consensus.queue.queue_order import Order
from consensus.tables import ConsensusRun

__all__ = ["Opened", "open_in_qupath"]

_OPEN_RGB = [255, 200, 0]
_ANSWER_RGB = (128, 128, 128)


@dataclass
class Opened:
    """The project that was made."""

    project: str
    run: int
    slides: list[str] = field(default_factory=list)
    disputes: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``adjudicate open``."""
        return vars(self).copy()


def open_in_qupath(
    session: Session,
    run: ConsensusRun,
    folder: Path,
    *,
    order: Order = "entropy",
    seed: int = 0,
    limit: int | None = None,
    slides_root: Path | None = None,
) -> Opened:
    """Make a project of a run's open disputes.

    Parameters
    ----------
    limit
        Only so many, the first in the queue.
    slides_root
        Where to look for slides that are not where they were added from.

    Raises
    ------
    ConflictError
        Nothing is open, or the folder holds a project.
    SlideError
        An image that QuPath would have to show is not found.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit} leaves nothing; take 1 or more")
    entries = queue(session, run, order=order, seed=seed, state="open", limit=limit)
    if not entries:
        raise ConflictError(
            f"run {run.id} has no open dispute; see `pathquorum adjudicate list`", run=run.id
        )
    images, binding = _planned(session, run, entries, slides_root)
    process = QuPathProcess(1_000_000 + 2_000 * len(entries))
    try:
        project = create_project(
            folder,
            images,
            classes=_classes(run, protocol_of(session.get_one(ProtocolVersion, run.protocol_id))),
            process=process,
            extra_files={BINDING_NAME: binding.to_bytes()},
        )
    finally:
        process.stop()
    return Opened(
        str(project),
        run.id,
        slides=list(dict.fromkeys(entry.slide for entry in entries)),
        disputes=[entry.dispute for entry in entries],
    )


def _planned(
    session: Session, run: ConsensusRun, entries: Sequence[QueueEntry], slides_root: Path | None
) -> tuple[list[NewImage], AdjudicationBinding]:
    """The images in the order of their first dispute, and which object is which dispute."""
    study = study_id(session)
    ranked: dict[str, list[tuple[int, QueueEntry]]] = {}
    for rank, entry in enumerate(entries, start=1):
        ranked.setdefault(entry.slide, []).append((rank, entry))
    rows = {s.name: s for s in session.scalars(select(Slide).where(Slide.name.in_(ranked)))}
    images: list[NewImage] = []
    disputes: dict[str, int] = {}
    for number, (name, own) in enumerate(ranked.items(), start=1):
        slide, place = rows[name], f"{number:0{len(str(len(ranked)))}d}"
        frame, provider = frame_to_open_with(extent_of(slide))
        objects = [_object(entry, rank, len(entries), slide, study) for rank, entry in own]
        disputes |= {str(o.uuid): e.dispute for o, (_, e) in zip(objects, own, strict=True)}
        images.append(
            NewImage(
                f"{place} {name}",
                _file(slide, slides_root).resolve().as_uri(),
                objects=[frame.inverse.place_object(thing) for thing in objects],
                metadata={"priority": place, "disputes": str(len(own))},
                provider=provider,
            )
        )
    binding = AdjudicationBinding(
        format=FORMAT,
        kind="adjudication",
        study=study,
        run=run.id,
        slides={str(number): rows[name].id for number, name in enumerate(ranked, start=1)},
        disputes=disputes,
    )
    return images, binding


def _object(entry: QueueEntry, rank: int, of_all: int, slide: Slide, study: str) -> PathObject:
    """A dispute as the adjudicator sees it: its outline locked, and no class yet.

    QuPath sorts its list by what it shows, so that ranks have all the same number of digits.
    """
    geometry = entry.geometry
    if geometry is None:  # a label of the slide as a whole
        geometry = shapely.box(0, 0, slide.width_px, slide.height_px)
    measurements = {
        "pathquorum rank": float(rank),
        "pathquorum severity": round(entry.severity, 6),
        "pathquorum entropy": round(entry.entropy, 6),
        "pathquorum weight": round(entry.weight, 6),
    }
    return PathObject(
        uuid=derive_uuid(f"adjudication/{study}/{entry.run}", b"dispute", entry.dispute),
        object_type="annotation",
        path_class=None,
        name=f"{rank:0{len(str(of_all))}d}. dispute {entry.dispute}: {entry.said}",
        locked=True,
        geometry=geometry,
        measurements=dict(measurements),
        extra={
            "color": _OPEN_RGB,
            "metadata": {
                "pathquorum": f"dispute {entry.dispute} of run {entry.run}",
                **{f"pathquorum {rater}": label for rater, label in entry.labels.items()},
            },
        },
    )


def _file(slide: Slide, slides_root: Path | None) -> Path:
    """The slide's image on this machine; a file of its name that holds something else is none."""
    others = []
    for path in _candidates(slide, slides_root):
        if slide.fingerprint is None or _fingerprint(path) == slide.fingerprint:
            return path
        others.append(path)
    why = (
        f"is not {str(others[0])!r}, which holds another image by its fingerprint"
        if others
        else "is not found here"
    )
    raise SlideError(
        f"the image of slide {slide.name!r} {why}, and QuPath could not show what is disputed; name "
        "the folder that holds it with --slides-root",
        slide=slide.name,
    )


def _candidates(slide: Slide, slides_root: Path | None) -> Iterator[Path]:
    """Files that may be the slide's: where it was added from, and of its name below a folder."""
    if slide.path is not None and Path(slide.path).exists():
        yield Path(slide.path)
    name = file_name(slide.name, "") if slide.path is None else Path(slide.path).name
    if slides_root is None:
        return
    root = slides_root.resolve()
    for path in sorted(slides_root.rglob("*")):
        is_named = path.name == name or path.stem == slide.name
        if is_named and path.is_file() and path.resolve().is_relative_to(root):
            yield path


def _fingerprint(path: Path) -> str | None:
    try:
        return fingerprint(path)
    except (OSError, SlideError):
        return None


def _classes(
    run: ConsensusRun, protocol: Protocol
) -> Sequence[tuple[str, tuple[int, int, int] | None]]:
    """The classes that a dispute can be given, and the answers that are no class."""
    colors = {one.name: one.rgb for one in protocol.classes}
    classes: list[tuple[str, tuple[int, int, int] | None]] = [
        (name, colors.get(name)) for name in run.classes
    ]
    return [*classes, *((name, _ANSWER_RGB) for name in ANSWER_CLASSES)]
