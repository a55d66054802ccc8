"""Which image of a project shows which slide."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from annotation.distribution.binding import read_binding, study_id
from annotation.errors import ConflictError
from annotation.projects.entry import slide_names
from annotation.projects.files import ProjectFile, ProjectImage
from annotation.projects.image_files import find_image
from annotation.recognition import slide_of_image
from annotation.tables import Assignment, Slide

__all__ = ["images_of"]


def images_of(session: Session, project: ProjectFile) -> dict[int, ProjectImage]:
    """The image of each slide that the project shows, by the slide's id."""
    images: dict[int, ProjectImage] = {}
    binding = read_binding(project.path)
    if binding is not None and binding.study != study_id(session):
        binding = None
    for image in project.images:
        identity = binding.assignment_of(image.number) if binding is not None else None
        assignment = session.get(Assignment, identity) if identity is not None else None
        slide = (
            session.get_one(Slide, assignment.slide_id)
            if assignment is not None
            else slide_of_image(
                session,
                f"{project.path.name}, image {image.name!r}",
                slide_names(image),
                partial(_file_of, project, image),
            )
        )
        if slide is None:
            continue
        other = images.setdefault(slide.id, image)
        if other is not image:
            raise ConflictError(
                f"images {other.name!r} and {image.name!r} of {project.path.name} both show slide "
                f"{slide.name!r}, so where to push is unknown; remove one in QuPath",
                slide=slide.name,
            )
    return images


def _file_of(project: ProjectFile, image: ProjectImage) -> Path | None:
    found = find_image(project, image)
    return None if isinstance(found, str) else found.path
