"""The files of slides at a place that somebody named."""

from __future__ import annotations

from pathlib import Path

from annotation.errors import InputError

__all__ = ["slide_paths"]

_SUFFIXES = frozenset(
    {".bif", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"}
)


def slide_paths(path: Path) -> list[Path]:
    """A slide's file, or the slides of a folder in the order of their names.

    Raises
    ------
    InputError
        The folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise InputError(f"the folder {str(path)!r} holds no slides; name another", path=path)
    return found
