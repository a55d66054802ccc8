"""Putting new data folders into a project, all of them at one moment.

The project's ``data`` folder is built anew beside it, with hard links for what stays, and the two
folders exchange their names in a single step of the system. Whoever opens the project finds the
old data or the new, complete. Where a system or a disk can't do that, files are replaced one by one
with the old ones kept and a journal, by which the next run puts them back if this one was stopped.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from annotation.errors import RefusedError, SourceError

__all__ = ["Exchange", "recover"]

HIDDEN = ".pathquorum-push"
_JOURNAL = "journal.json"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


class Exchange:
    """New files of a project's data, on their way into it.

    Parameters
    ----------
    project
        The project.qpproj; it is locked, and :func:`recover` has been called.
    files
        New content by path below ``data``, such as ``3/data.qpdata``.
    """

    def __init__(self, project: Path, files: Mapping[str, bytes]) -> None:
        self._folder = project.parent
        self._hidden = self._folder / HIDDEN
        self._files = dict(files)
        self._exchanged = False

    def stage(self) -> Path:
        """Write the new files where nobody looks; returns the folder that holds them."""
        new = self._hidden / "new"
        new.mkdir(parents=True)
        for name, content in self._files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
        return new

    def commit(self) -> None:
        """Let the new files take their places.

        Raises
        ------
        RefusedError
            It did not work, and the old files are in their places.
        """
        new, data = self._hidden / "new", self._folder / "data"
        data.mkdir(exist_ok=True)
        try:
            whole = self._hidden / "whole"
            if _linked(data, whole, set(self._files)) and _linked(new, whole, set()):
                self._exchanged = _exchange(whole, data)
            if not self._exchanged:
                shutil.rmtree(whole, ignore_errors=True)
                self._replace_one_by_one(new, data)
            self._verify(data)
        except (OSError, RefusedError) as error:
            self.undo()
            raise RefusedError(
                f"the new files did not come into their places in {data} ({error}); the old ones are "
                "there, check the disk and try again",
                target=data,
            ) from error

    def _verify(self, data: Path) -> None:
        for name, content in self._files.items():
            if (data / name).read_bytes() != content:
                raise RefusedError(f"{name} reads back otherwise")

    def _replace_one_by_one(self, new: Path, data: Path) -> None:
        old = self._hidden / "old"
        for name in self._files:
            if (data / name).exists():
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(data / name, old / name)
        journal = {name: (data / name).exists() for name in self._files}
        _write(self._hidden / "journal.part", json.dumps(journal).encode())
        (self._hidden / "journal.part").replace(self._hidden / _JOURNAL)
        for name in self._files:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(data / name)

    def undo(self) -> None:
        """Put the old files back."""
        if self._exchanged:
            _exchange(self._hidden / "whole", self._folder / "data")
            self._exchanged = False
        else:
            _put_back(self._hidden, self._folder / "data")
        self.clear()

    def clear(self) -> None:
        """Forget the old files; what stands now stays."""
        (self._hidden / _JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self._hidden, ignore_errors=True)


def recover(project: Path) -> bool:
    """Clear what a run that was stopped has left, putting old files back where it was half-way.

    Returns
    -------
    bool
        There was something.
    """
    hidden = project.parent / HIDDEN
    if not hidden.exists():
        return False
    _put_back(hidden, project.parent / "data")
    (hidden / _JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(hidden)
    return True


def _put_back(hidden: Path, data: Path) -> None:
    journal = hidden / _JOURNAL
    if not journal.exists():
        return
    try:
        were_there = json.loads(journal.read_bytes())
        names = {str(name): bool(was) for name, was in were_there.items()}
    except (ValueError, AttributeError):
        raise SourceError(
            f"{journal} can't be read, and it tells which files a stopped push has replaced; the old "
            f"ones lie in {hidden / 'old'}, put them back by hand and remove {hidden}",
            file=journal,
        ) from None
    for name, was in names.items():
        target = data / name
        if data.resolve() not in target.resolve().parents:
            continue
        if was:
            # A copy, so that being stopped here as well leaves what is needed to try again.
            temporary = target.with_name(target.name + ".restored")
            shutil.copy2(hidden / "old" / name, temporary)
            temporary.replace(target)
        else:
            target.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _linked(data: Path, whole: Path, left_out: set[str]) -> bool:
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


def _exchange(one: Path, other: Path) -> bool:
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
