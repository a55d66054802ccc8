"""A drift check on disk: its document, page and pictures; and on record."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from annotation.audit import record
from annotation.paths import replacing, require_no_file
from annotation.store import Store, now
from models.drift.page import render_page
from models.drift.selection import Asked
from models.drift.watch import watch

__all__ = ["DOCUMENT", "DRIFT_CHECKED", "PAGE", "write_drift"]

DRIFT_CHECKED = "drift checked"
DOCUMENT, PAGE = "drift.json", "drift.html"


def write_drift(store: Store, asked: Asked, folder: Path) -> dict[str, Any]:
    """Check for drift, write what was found, and record that it was looked for.

    Parameters
    ----------
    folder
        Files that are there are replaced.

    Returns
    -------
    dict
        The document, with the files written.

    Raises
    ------
    InputError
        Where the folder should be stands a file.
    PathquorumError
        As :func:`models.drift.watch.watch` says.
    """
    require_no_file(folder)
    with store.reading() as session:
        found = watch(session, asked)
        run = found.comparison.current.id
    page, pictures = render_page(found, now())
    document = {**found.document, "files": [DOCUMENT, PAGE, *pictures]}
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    contents = {DOCUMENT: encoded, PAGE: page.encode(), **pictures}
    with ExitStack() as files:
        for name, content in contents.items():
            files.enter_context(replacing(folder / name)).write_bytes(content)
        with store.writing() as session:
            record(
                session,
                actor=None,
                action=DRIFT_CHECKED,
                subject=f"prediction:{run}",
                new={
                    "predictions": document["predictions"],
                    "reference": document["reference"],
                    "slides": document["slides"],
                    "alarms": document["alarms"],
                    "document_sha256": hashlib.sha256(encoded).hexdigest(),
                },
            )
    return document
