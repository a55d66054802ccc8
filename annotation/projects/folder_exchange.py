"""Two folders that exchange their names, and what it takes to have the same files in both."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = [
    "digest_of",
    "exchange_names",
    "files_below",
    "folders_below",
    "give_same_rights",
    "link_files",
    "replace_file",
    "write_synced",
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and have it on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def files_below(folder: Path) -> Iterator[Path]:
    """Files and links, also links to folders, which are not followed."""
    for below, folders, files in os.walk(folder):
        here = Path(below)
        yield from (here / name for name in files)
        yield from (here / name for name in folders if (here / name).is_symlink())


def folders_below(folder: Path) -> Iterator[Path]:
    """The folder itself and those below it; links are not followed."""
    return (Path(below) for below, _, _ in os.walk(folder))


def give_same_rights(one: Path, other: Path) -> None:
    """Give a file or folder the mode and group of another, as far as the system lets us."""
    was = one.stat()
    with suppress(OSError, AttributeError):  # not our group, or a system without groups
        os.chown(other, -1, was.st_gid)
    other.chmod(was.st_mode & (0o7777 if one.is_dir() == other.is_dir() else 0o666))


def replace_file(path: Path, content: bytes) -> None:
    """Let a file have other content at one moment, with its rights as they are."""
    new = path.with_name(f".{path.name}.pathquorum")
    try:
        write_synced(new, content)
        give_same_rights(path, new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def link_files(data: Path, whole: Path, left_out: set[str]) -> bool:
    """Have a second folder hold the same files; False where the disk has no hard links."""
    whole.mkdir(exist_ok=True)
    for folder, folders, files in os.walk(data):
        relative = Path(folder).relative_to(data)
        for name in folders:
            if (Path(folder) / name).is_symlink():
                files.append(name)
            else:
                (whole / relative / name).mkdir(exist_ok=True)
        for name in files:
            if (relative / name).as_posix() in left_out:
                continue
            try:
                os.link(Path(folder) / name, whole / relative / name, follow_symlinks=False)
            except (OSError, NotImplementedError):
                return False
    return True


def exchange_names(one: Path, other: Path) -> bool:
    """Let two folders exchange their names in one step; False where the system can't."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = libc.renamex_np(os.fsencode(one), os.fsencode(other), _RENAME_SWAP)
        else:
            failed = libc.renameat2(
                _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
            )
    except (AttributeError, OSError, TypeError):
        return False
    if failed:
        return False
    for folder in {one.parent, other.parent}:
        _sync(folder)
    return True


def _sync(folder: Path) -> None:
    """Have the names in a folder written to disk, where the system can be asked to."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
