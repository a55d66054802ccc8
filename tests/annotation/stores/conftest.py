"""A store with a row in nearly every table, and names that are no ASCII."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.cli import run
from annotation.store import open_store
from annotation.tables import Identity
from tests.conftest import CommandResult, export, feature, square

Study = Callable[..., CommandResult]


def done(result: CommandResult) -> CommandResult:
    assert result.status == 0, result.err
    return result


@pytest.fixture(scope="session")
def worked_files(tmp_path_factory: pytest.TempPathFactory, sqlite_study: Path) -> Path:
    """A folder with that store as ``store.db``, the exports that were pulled and what was pushed."""
    folder = tmp_path_factory.mktemp("worked")
    shutil.copyfile(sqlite_study, folder / "store.db")
    url = f"sqlite:///{folder / 'store.db'}"

    def call(*arguments: object) -> None:
        assert run([*map(str, arguments), "--store", url]) == 0, arguments

    call("annotator", "add", "Ærø 🦠", "--role", "senior", "--credential", "board:KBV:12")
    size = ("--width", 1000, "--height", 800, "--mpp", 0.25)
    call("slide", "add", 'S "2"; DROP', *size, "--patient", "ß", "--site", "Zürich")
    for handle, label in (("P1", "Benign"), ("P2", "High grade"), ("P1", "Low grade")):
        drawn = [feature(square(0, 0), label), feature(square(300, 0), "Benign", name="日本\n\t")]
        named = ("--annotator", handle, "--protocol", "prostate", "--accept-removals")
        call("pull", export(folder, drawn, handle), *named)
    call("consensus", "run", "--protocol", "prostate")
    call("adjudicate", "decide", 1, "--class", "Benign", "--by", "L", "--reason", "=A1")
    call("release", "create", "first", "--run", 1)
    call("push", "--run", 1, "--to", folder / "pushed")
    store = open_store(url)
    with store.writing() as session:
        session.add(Identity(annotator_id=1, full_name="Ada L.", email="ada@example.org"))
    store.close()
    return folder


@pytest.fixture
def worked(
    worked_files: Path, study: Study, tmp_path: Path, replace_store: Callable[[Path], None]
) -> Study:
    """Reads of two slides, one corrected; a run, a decision, a release, a push, a person's name."""
    shutil.copytree(
        worked_files, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("store.db*")
    )
    replace_store(worked_files / "store.db")
    return study
