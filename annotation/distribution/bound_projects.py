"""Projects that were handed out, as sources of reads: the store says whose reading of what each is.

What stands in ``pathquorum.json`` is compared with the store, and the file that an image shows with
the one that was handed out; where they differ, nothing is pulled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.binding import Binding, read_binding, study_id
from annotation.distribution.planning import PROJECT_NAME
from annotation.distribution.saved_state import saved_state
from annotation.distribution.unread_images import is_unread
from annotation.errors import ConflictError, SourceError
from annotation.lookup import find_protocol, find_slide
from annotation.projects.files import ProjectImage, read_project
from annotation.qupath import open_project
from annotation.sources import ReadSource
from annotation.study import protocol_of
from annotation.tables import (
    Annotator,
    Assignment,
    HandedProject,
    ProtocolVersion,
    Slide,
)

__all__ = ["BoundSources", "FoundProjects", "Wanted", "find_bound_projects", "open_bound_projects"]


@dataclass(frozen=True)
class Wanted:
    """What the user named beside the projects; each must be what the projects are bound to."""

    annotator: str | None = None
    protocol: str | None = None
    slide: str | None = None
    replicate: int | None = None


@dataclass
class FoundProjects:
    """Projects with their bindings, and the folders of those that have none."""

    bound: list[tuple[Path, Binding]] = field(default_factory=list)
    unbound: list[str] = field(default_factory=list)


@dataclass
class BoundSources:
    """Sources, the assignment of each, and what was left out."""

    sources: list[ReadSource] = field(default_factory=list)
    assignments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _BoundProject:
    path: Path
    label: str
    binding: Binding
    annotator: Annotator
    protocol: ProtocolVersion
    assignments: dict[str, Assignment]


def find_bound_projects(path: Path) -> FoundProjects:
    """The projects at a place, with their bindings.

    Parameters
    ----------
    path
        A ``.qpproj``, its folder, or a folder of the folders of several annotators.

    Raises
    ------
    SourceError
        A binding is damaged.
    """
    if path.suffix.lower() == ".qpproj":
        candidates = [path]
    elif (path / PROJECT_NAME).exists():
        candidates = [path / PROJECT_NAME]
    elif path.is_dir():
        candidates = sorted(
            folder / PROJECT_NAME
            for folder in path.iterdir()
            if folder.is_dir() and not folder.name.startswith(".")
        )
    else:
        candidates = []
    found = FoundProjects()
    for candidate in candidates:
        if not candidate.is_file():
            continue
        binding = read_binding(candidate)
        if binding is None:
            found.unbound.append(candidate.parent.name)
        else:
            found.bound.append((candidate, binding))
    return found


def open_bound_projects(session: Session, projects: FoundProjects, wanted: Wanted) -> BoundSources:
    """Open what was read in some projects.

    Raises
    ------
    ConflictError
        A binding is another study's or contradicts the store or what the user named.
    SourceError
        A project is damaged, or nothing in any of them was read yet.
    """
    found = projects.bound
    if wanted.annotator is not None and len(found) > 1:
        # A folder of several people's projects: the name says whose to take.
        of_them = [(path, b) for path, b in found if b.annotator == wanted.annotator]
        if not of_them:
            names = ", ".join(sorted({binding.annotator for _, binding in found}))
            raise ConflictError(
                f"none of the projects is {wanted.annotator!r}'s; name one of {names}, or leave "
                "--annotator out to pull them all"
            )
        found = of_them
    if wanted.slide is not None:
        find_slide(session, wanted.slide)
    result = BoundSources()
    if projects.unbound:
        result.notes.append(
            f"not pulled, for nothing says whose it is: project {', '.join(projects.unbound)}"
        )
    for path, binding in found:
        project = _bound_project(session, path, binding)
        _refuse_contradiction(session, project, wanted)
        _open(session, project, wanted, result)
    if not result.sources:
        why = f" ({result.notes[0]})" if result.notes else ""
        raise SourceError(
            f"nothing was read yet in {', '.join(path.parent.name for path, _ in found)}{why}; "
            "save the images in QuPath (File > Save) and pull again"
        )
    return result


def _bound_project(session: Session, path: Path, binding: Binding) -> _BoundProject:
    label = path.parent.name
    project = session.get(HandedProject, binding.project)
    if binding.study != study_id(session):
        raise ConflictError(
            f"project {label} belongs to another study than this store; name that study's --store",
            project=label,
        )
    if project is None:
        raise ConflictError(
            f"this store knows nothing of project {label}; name the store it was handed out from, "
            "or bring back a backup",
            project=label,
        )
    annotator = session.get_one(Annotator, project.annotator_id)
    protocol = session.get_one(ProtocolVersion, project.protocol_id)
    said = (
        binding.annotator,
        *(getattr(binding.protocol, name) for name in ("name", "version", "sha256")),
    )
    if said != (annotator.handle, protocol.name, protocol.version, protocol.sha256):
        raise ConflictError(
            f"project {label} was handed out to {annotator.handle!r} for "
            f"{protocol.name}@{protocol.version}, and its pathquorum.json says otherwise; bring "
            "that file back as it was",
            project=label,
        )
    assignments = {
        row.id: row
        for row in session.scalars(select(Assignment).where(Assignment.project_id == project.id))
    }
    if strange := set(binding.images.values()) - set(assignments):
        raise ConflictError(
            f"project {label} names {len(strange)} assignments that were not made for it; bring its "
            "pathquorum.json back as it was",
            project=label,
        )
    return _BoundProject(path, label, binding, annotator, protocol, assignments)


def _refuse_contradiction(session: Session, project: _BoundProject, wanted: Wanted) -> None:
    if wanted.annotator not in (None, project.annotator.handle):
        raise ConflictError(
            f"project {project.label} was handed out to {project.annotator.handle!r}, not to "
            f"{wanted.annotator!r}; leave --annotator out",
            project=project.label,
        )
    if wanted.protocol is None:
        return
    named = find_protocol(session, wanted.protocol)
    bound = project.protocol
    # A name without a version doesn't contradict an older version of it.
    if named.id != bound.id and wanted.protocol != bound.name:
        raise ConflictError(
            f"project {project.label} was handed out for {bound.name}@{bound.version}, not for "
            f"{wanted.protocol!r}; leave --protocol out",
            project=project.label,
        )


def _open(session: Session, project: _BoundProject, wanted: Wanted, result: BoundSources) -> None:
    """Add what was read in one project to the result."""
    protocol = protocol_of(project.protocol)
    label_key = protocol.slides.label_key if protocol.task == "slides" else None
    images = read_project(project.path).images
    read: dict[int, Assignment] = {}
    unread, strange = [], []
    for image in images:
        identity = project.binding.assignment_of(image.number)
        if identity is None:
            strange.append(image.name)
            continue
        assignment = project.assignments[identity]
        _refuse_other_file(project, image, assignment)
        if not _matches(session, assignment, wanted):
            continue
        labelled = label_key is not None and label_key in image.metadata
        if not labelled and not _saved(image, assignment):
            unread.append(image.name)
        elif assignment.withdrawn_at is not None:
            result.notes.append(
                f"project {project.label}: image {image.name!r} was withdrawn from "
                f"{project.annotator.handle} on {assignment.withdrawn_at:%Y-%m-%d}, and what was "
                "drawn on it was not pulled"
            )
        else:
            read[image.number] = assignment
    _tell(project, images, unread, strange, result)
    if not read:
        return
    for source in open_project(project.path, label_key=label_key, entries=read):
        result.sources.append(source)
        result.assignments.append(read[source.entry_id].id)


def _refuse_other_file(project: _BoundProject, image: ProjectImage, assignment: Assignment) -> None:
    if image.file_name != assignment.image_file:
        raise ConflictError(
            f"project {project.label}: image {image.name!r} shows another file than the one handed "
            "out under it; give it its own file again in QuPath, or pull it with the binding "
            "moved away",
            project=project.label,
        )


def _matches(session: Session, assignment: Assignment, wanted: Wanted) -> bool:
    if wanted.replicate not in (None, assignment.replicate):
        return False
    return wanted.slide in (None, session.get_one(Slide, assignment.slide_id).name)


def _saved(image: ProjectImage, assignment: Assignment) -> bool:
    """Whether anybody saved the image since it was handed out."""
    if not image.opened():
        return False
    with image.reading():
        return not is_unread(assignment, saved_state(image.folder))


def _tell(
    project: _BoundProject,
    images: Sequence[ProjectImage],
    unread: Sequence[str],
    strange: Sequence[str],
    result: BoundSources,
) -> None:
    present = {project.binding.assignment_of(image.number) for image in images}
    gone = [
        row.shown_name
        for identity, row in project.assignments.items()
        if identity not in present and row.withdrawn_at is None
    ]
    for names, what in (
        (unread, "not read yet"),
        (strange, "not handed out by this study, and not pulled"),
        (gone, "handed out and not in the project any more"),
    ):
        if names:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            listed = ", ".join(map(repr, names[:10]))
            result.notes.append(f"project {project.label}: {what}: {listed}{more}")
