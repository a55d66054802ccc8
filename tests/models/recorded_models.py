"""Models on record with no weights behind them, for what only asks the store."""

from __future__ import annotations

from annotation.store import SOFTWARE_VERSION, Store, now
from consensus.release import find_release
from consensus.tables import Model

__all__ = ["add_model"]


def add_model(store: Store, name: str, weights_sha256: str) -> None:
    """Put a model of release v1 on record; there are no weights behind it."""
    with store.writing() as session:
        release = find_release(session, "v1")
        session.add(
            Model(
                name=name, at=now(), release_id=release.id, method="soft", config={}, metrics={},
                manifest_sha256=release.manifest_sha256, baseline_id=None, folder=name,
                weights_sha256=weights_sha256, software_version=SOFTWARE_VERSION,
            )
        )  # fmt: skip
