"""What the report says of the releases that were made of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from consensus.reporting.numbers import count_text, moment_text
from consensus.tables import ConsensusRun, Release

__all__ = ["ReleaseRow", "releases_of"]


@dataclass(frozen=True)
class ReleaseRow:
    """One release: its manifest, and how its patients were split."""

    name: str
    at: str
    manifest_sha256: str
    parts: list[tuple[str, str]]


def releases_of(session: Session, run: ConsensusRun) -> list[ReleaseRow]:
    """The releases of a run, the oldest first, as their manifests say."""
    rows = session.scalars(select(Release).where(Release.run_id == run.id).order_by(Release.id))
    return [
        ReleaseRow(
            name=row.name,
            at=moment_text(row.at),
            manifest_sha256=row.manifest_sha256,
            parts=_parts(msgspec.json.decode(row.manifest)["split"]["parts"]),
        )
        for row in rows
    ]


def _parts(parts: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """What each part of a split holds, the largest first."""
    by_size = sorted(parts.items(), key=lambda one: (-one[1]["slides"], one[0]))
    return [
        (part, f"{count_text(held['patients'])} / {count_text(held['slides'])}")
        for part, held in by_size
    ]
