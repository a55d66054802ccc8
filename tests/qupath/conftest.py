"""Projects that a real QuPath built, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from annotation.errors import QuPathMissingError
from annotation.handed_scripts import hand_out_scripts
from annotation.projects import project_lock
from annotation.projects.process import QuPathProcess
from tests.qupath.script_runs import PROTOCOL, of_one_image


@pytest.fixture(scope="session")
def qupath_version() -> str:
    """The version of the QuPath that paquo finds; tests skip where it finds none."""
    process = QuPathProcess(0)
    try:
        return process.start()
    except QuPathMissingError as error:
        pytest.skip(f"needs QuPath: {error}")
    finally:
        process.stop()


@pytest.fixture(scope="session")
def built(qupath_version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of projects and exports that :mod:`tests.qupath.build_projects` writes."""
    folder = tmp_path_factory.mktemp("qupath")
    script = Path(__file__).with_name("build_projects.py")
    built = subprocess.run(
        [sys.executable, "-P", str(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    # Nobody needs the images to pull what was drawn on them.
    for image in folder.glob("*.png"):
        image.unlink()
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies a project of :func:`built` to spoil it; gives its project.qpproj."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(built / name, folder)
        return folder / "project.qpproj"

    return copy


@pytest.fixture(scope="module")
def process(qupath_version: str) -> Iterator[QuPathProcess]:
    """QuPath's Java, with room for small projects."""
    running = QuPathProcess(10_000_000)
    yield running
    running.stop()


@pytest.fixture
def make(process: QuPathProcess, tmp_path: Path) -> Callable[..., Path]:
    """Makes a project of one image that holds the given objects."""
    return lambda *objects: of_one_image(process, tmp_path, *objects)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The folder of the scripts as they are handed out."""
    hand_out_scripts(tmp_path / "scripts", PROTOCOL)
    return tmp_path / "scripts"


running_qupaths = project_lock._running_qupaths


@pytest.fixture(autouse=True)
def no_qupath_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have QuPath open; and one test starts what looks like it."""
    monkeypatch.setattr(project_lock, "_running_qupaths", list)
