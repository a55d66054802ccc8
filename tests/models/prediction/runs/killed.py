"""A supervisor to be killed: ``python -m tests.models.prediction.runs.killed STORE FOLDER WORKERS``."""

from __future__ import annotations

import sys
from pathlib import Path

from annotation.store import open_store
from models.prediction.carrying_out import carry_out
from tests.models.prediction.runs.run_study import stub_request


def main(url: str, folder: Path, workers: int) -> None:
    """Predict every slide of the store."""
    store = open_store(url)
    carry_out(store, stub_request(folder, workers=workers))
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
