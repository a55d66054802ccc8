"""Projects that a real QuPath built, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.errors import QuPathMissingError
from annotation.projects import project_lock
from annotation.projects.process import QuPathProcess


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


running_qupaths = project_lock._running_qupaths


@pytest.fixture(autouse=True)
def no_qupath_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have QuPath open; and one test starts what looks like it."""
    monkeypatch.setattr(project_lock, "_running_qupaths", list)
