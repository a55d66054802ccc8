"""Fixtures of runs of predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.store import Store
from tests.models.prediction.runs.run_study import RunStudy, make_study


@pytest.fixture
def run_study(store: Store, tmp_path: Path) -> RunStudy:
    """A store with models on record, without slides that have images."""
    return make_study(store, tmp_path)
