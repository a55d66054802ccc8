"""Images that nobody has saved since they were handed out stay unread when we write to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from annotation.distribution.binding import read_binding
from annotation.distribution.saved_state import saved_state
from annotation.projects.files import ProjectFile, ProjectImage
from annotation.tables import Assignment

__all__ = ["kept_unread"]


@contextmanager
def kept_unread(session: Session, project: ProjectFile) -> Iterator[None]:
    """Whatever the block writes into a project's images, it is no read of those not read yet."""
    unread = list(_unread(session, project))
    yield
    for assignment, image in unread:
        assignment.handed_sha256 = saved_state(image.folder)
    session.flush()


def _unread(session: Session, project: ProjectFile) -> Iterator[tuple[Assignment, ProjectImage]]:
    binding = read_binding(project.path)
    for image in project.images if binding is not None else ():
        identity = binding.assignment_of(image.number) if binding is not None else None
        assignment = session.get(Assignment, identity) if identity is not None else None
        if assignment is not None and saved_state(image.folder) == assignment.handed_sha256:
            yield assignment, image
