"""Builders and checks that the tests of pulling share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from annotation.store import Store
from annotation.tables import Event, Pull, PullRead, Revision, SourceFile
from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]
WriteExport = Callable[..., Path]
PULL = ("--annotator", "P1", "--protocol", "prostate", "--read-date", "2026-03-02")


def three() -> list[dict[str, Any]]:
    return [
        feature(square(10, 10), "Benign"),
        feature(square(300, 10), "Low grade"),
        feature(square(600, 10), "High grade"),
    ]


def only_read(result: CommandResult) -> dict[str, Any]:
    assert result.status == 0, result.err
    (read,) = result.json["reads"]
    counted = ("added", "changed", "unchanged", "rejected", "ours")
    assert read["objects"] == sum(read[key] for key in counted)
    assert isinstance(read, dict)
    return read


def rows(store: Store) -> dict[str, int]:
    with store.reading() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Revision, Pull, PullRead, SourceFile, Event)
        }


def assert_refused(study: Study, store: Store, path: Path, match: str, *more: str) -> CommandResult:
    """The pull is refused with one line that says what, and the store stays as it was."""
    before = rows(store)
    result = study("pull", path, *(more or PULL), "--json")
    assert result.status == 1
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 1
    assert match in result.err
    assert rows(store) == before
    return result
