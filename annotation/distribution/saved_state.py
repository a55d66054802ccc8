"""Whether an image of a project was saved since it was handed out.

QuPath writes ``summary.json`` with the time at each save, so that the two files together differ
even where nothing was drawn, which is a read as well; to open an image writes neither.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from annotation.projects.files import DATA_NAME, SUMMARY_NAME

__all__ = ["saved_state", "state_of"]


def saved_state(folder: Path) -> str | None:
    """SHA-256 over an image's data and its summary; None where it has no data.

    Parameters
    ----------
    folder
        The image's, ``data/<id>`` of the project.
    """
    data, summary = folder / DATA_NAME, folder / SUMMARY_NAME
    if not data.is_file():
        return None
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if summary.is_file():
        digest.update(summary.read_bytes())
    return digest.hexdigest()


def state_of(data: bytes, summary: bytes) -> str:
    """The same of files that are not written yet."""
    return hashlib.sha256(data + summary).hexdigest()
