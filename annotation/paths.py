"""File names from names that may hold any character; nothing ever leaves its folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from annotation.errors import InputError

__all__ = ["file_name", "inside", "name_of_file", "replacing", "require_no_file"]

# Readable in every file manager; everything else is percent-encoded.
_KEPT = " !#$&'()+,;=@[]^_`{}~-."
_LONGEST = 150
_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


def file_name(name: str, suffix: str) -> str:
    """A file's name for a slide or release; :func:`name_of_file` gives the name back.

    Names that are too long for a file system are cut and made distinct by a digest.
    """
    encoded = quote(name, safe=_KEPT)
    for character in name:
        # quote() encodes all of UTF-8; letters of any script may stand as they are.
        if ord(character) > 127 and character.isalnum():
            encoded = encoded.replace(quote(character), character)
    if encoded.startswith(".") or encoded.split(".")[0].lower() in _RESERVED:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if encoded.endswith((" ", ".")):
        encoded = f"{encoded[:-1]}%{ord(encoded[-1]):02X}"
    if len(encoded.encode()) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        encoded = encoded.encode()[: _LONGEST - 17].decode(errors="ignore") + "~" + digest
    return encoded + suffix


def name_of_file(stem: str) -> str:
    """The name from which :func:`file_name` made this stem."""
    return unquote(stem)


def require_no_file(folder: Path) -> None:
    """Refuse a file where a folder is to be written, before anything is computed.

    Raises
    ------
    InputError
        There is one.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; give a folder to write into")


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, refused if it would lie anywhere else."""
    base = folder.resolve()
    path = (base / name).resolve()
    if base not in path.parents:
        raise InputError(f"{name!r} would lie outside {folder}; choose another name")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
