"""Slides to read tiles from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.reader import Reader, open_reader
from tests.models.slides import texture, write_jpeg_tiff


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 700 x 520 px at 0.25 um, levels 1x, 2x and 4x, tiles of 128 px; nobody changes it."""
    return write_jpeg_tiff(tmp_path_factory.mktemp("slides") / "S.tiff", texture(700, 520))


@pytest.fixture(scope="session")
def from_tiff(slide_path: Path) -> Iterator[Reader]:
    """A reader of it that reads the TIFF itself."""
    with open_reader(slide_path, way="tiff") as reader:
        yield reader


@pytest.fixture(scope="session")
def from_openslide(slide_path: Path) -> Iterator[Reader]:
    """A reader of it through OpenSlide."""
    with open_reader(slide_path, way="openslide") as reader:
        yield reader
