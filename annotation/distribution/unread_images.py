"""Images that nobody has saved since they were handed out stay unread when we write to them.

What we are about to write is on record first: stopped at any moment, the image is as it was handed
out or as we left it, and neither is a read.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.binding import read_binding
from annotation.distribution.saved_state import saved_state, state_of
from annotation.projects.files import ProjectFile
from annotation.tables import Assignment

__all__ = ["announce_states", "is_unread", "settle_states"]


def is_unread(assignment: Assignment, state: str | None) -> bool:
    """Whether an image in this state is one that nobody has saved since it was handed out."""
    return state == assignment.handed_sha256 or (
        assignment.next_sha256 is not None and state == assignment.next_sha256
    )


def announce_states(
    session: Session, project: ProjectFile, files: Mapping[int, tuple[bytes, bytes]]
) -> list[str]:
    """Record how unread images will look once they are written.

    Parameters
    ----------
    files
        Data and summary that are about to be written, by the image's number.

    Returns
    -------
    list of str
        The assignments, for :func:`settle_states`.
    """
    binding = read_binding(project.path)
    announced = []
    for image in project.images if binding is not None else ():
        identity = binding.assignment_of(image.number) if binding is not None else None
        assignment = session.get(Assignment, identity) if identity is not None else None
        if assignment is None or image.number not in files:
            continue
        now = saved_state(image.folder)
        if is_unread(assignment, now):
            assignment.handed_sha256, assignment.next_sha256 = now, state_of(*files[image.number])
            announced.append(assignment.id)
    session.flush()
    return announced


def settle_states(session: Session, announced: list[str], *, written: bool) -> None:
    """Record that announced images are written, or that they are not."""
    for assignment in session.scalars(select(Assignment).where(Assignment.id.in_(announced))):
        if written:
            assignment.handed_sha256 = assignment.next_sha256
        assignment.next_sha256 = None
    session.flush()
