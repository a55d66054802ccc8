"""Places for stores on the chosen database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.places import Places


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long forms run where they are asked for by `-m soak`."""
    if "soak" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in long]
    if long:
        config.hook.pytest_deselected(items=long)


@pytest.fixture
def places(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Places:
    server = None if database == "sqlite" else request.getfixturevalue("postgresql")
    return Places(tmp_path, server)
