"""Images that only we have written since they were handed out are no read, also when stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.distribution.binding import read_binding
from annotation.distribution.saved_state import saved_state
from annotation.distribution.unread_images import announce_states, is_unread, settle_states
from annotation.projects.files import DATA_NAME, SUMMARY_NAME, ProjectFile, read_project
from annotation.store import Store
from annotation.tables import Assignment
from tests.annotation.distribution.conftest import Study

OURS = (b"data with ours", b'{"timestamp": 2}')


@pytest.fixture
def project(blinded: Study, tmp_path: Path) -> ProjectFile:
    """What P1 was handed, with data in its first image as QuPath leaves it."""
    out = tmp_path / "out"
    given = blinded("distribute", "--protocol", "blind", "--annotators", "P1", "--to", out)
    assert given.status == 0, given.err
    return read_project(out / "P1" / "project.qpproj")


def write(project: ProjectFile, files: tuple[bytes, bytes]) -> None:
    folder = project.images[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((DATA_NAME, SUMMARY_NAME), files, strict=True):
        (folder / name).write_bytes(content)


def unread(store: Store, project: ProjectFile) -> bool:
    binding = read_binding(project.path)
    assert binding is not None
    image = project.images[0]
    with store.reading() as session:
        assignment = session.get_one(Assignment, binding.assignment_of(image.number))
        return is_unread(assignment, saved_state(image.folder))


@pytest.mark.parametrize("stopped", ["before it is written", "before it is settled", "never"])
def test_what_we_write_is_no_read_whenever_we_are_stopped(
    store: Store, project: ProjectFile, stopped: str
) -> None:
    number = project.images[0].number
    with store.writing() as session:
        announced = announce_states(session, project, {number: OURS})
        assert len(announced) == 1
    if stopped != "before it is written":
        write(project, OURS)
    if stopped == "never":
        with store.writing() as session:
            settle_states(session, announced, written=True)
    assert unread(store, project)
    write(project, (b"a person's", b"{}"))
    assert not unread(store, project)


def test_what_was_announced_and_came_to_nothing_is_forgotten(
    store: Store, project: ProjectFile
) -> None:
    with store.writing() as session:
        announced = announce_states(session, project, {project.images[0].number: OURS})
    with store.writing() as session:
        settle_states(session, announced, written=False)
    assert unread(store, project)
    write(project, OURS)
    assert not unread(store, project)


def test_an_image_that_was_read_is_not_announced(store: Store, project: ProjectFile) -> None:
    write(project, (b"a person's", b"{}"))
    with store.writing() as session:
        assert announce_states(session, project, {project.images[0].number: OURS}) == []
