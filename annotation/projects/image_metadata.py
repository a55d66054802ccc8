"""Entries of the images' metadata in a project's own file, put in and taken out again.

QuPath shows them beside an image as keys and values. Everything else in the file stays as it is;
that is read back before the file is let go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotation.errors import RefusedError

__all__ = ["with_metadata"]


def with_metadata(
    path: Path, content: bytes, changes: Mapping[int, Mapping[str, str | None]]
) -> bytes:
    """A project's file with other metadata.

    Parameters
    ----------
    content
        Of the file as it is.
    changes
        By image's number: a value for each key, None to take it out.

    Raises
    ------
    RefusedError
        It does not read back as it should.
    """
    project = json.loads(content)
    before = {number: _metadata(project, number) for number in changes}
    for number, entries in changes.items():
        _put(project, number, _changed(before[number], entries))
    written = json.dumps(project, indent=2, ensure_ascii=False).encode()
    back = json.loads(written)
    sound = all(
        _metadata(back, number) == _changed(before[number], entries)
        for number, entries in changes.items()
    )
    for number, metadata in before.items():
        _put(back, number, metadata)
    if not sound or back != json.loads(content):
        raise RefusedError(
            f"{path.name} would read back otherwise with the scores in its images' metadata, so "
            "nothing was written; open it in QuPath, check it and save it",
            target=path,
        )
    return written


def _entry(project: dict[str, Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in project["images"] if e["entryID"] == number)
    return found


def _metadata(project: dict[str, Any], number: int) -> dict[str, Any] | None:
    metadata: dict[str, Any] | None = _entry(project, number).get("metadata")
    return None if metadata is None else dict(metadata)


def _changed(
    metadata: Mapping[str, Any] | None, entries: Mapping[str, str | None]
) -> dict[str, Any]:
    changed = {**(metadata or {}), **entries}
    return {
        key: value
        for key, value in changed.items()
        if not (key in entries and entries[key] is None)
    }


def _put(project: dict[str, Any], number: int, metadata: dict[str, Any] | None) -> None:
    entry = _entry(project, number)
    if metadata is None:
        entry.pop("metadata", None)
    else:
        entry["metadata"] = metadata
