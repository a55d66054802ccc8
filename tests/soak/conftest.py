"""Places for stores on the chosen database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.places import Places


@pytest.fixture
def places(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Places:
    server = None if database == "sqlite" else request.getfixturevalue("postgresql")
    return Places(tmp_path, server)
