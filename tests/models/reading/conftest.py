"""Slides to read tiles from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.slides import texture, write_jpeg_tiff


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 700 x 520 px at 0.25 um, levels 1x, 2x and 4x, tiles of 128 px; nobody changes it."""
    return write_jpeg_tiff(tmp_path_factory.mktemp("slides") / "S.tiff", texture(700, 520))
