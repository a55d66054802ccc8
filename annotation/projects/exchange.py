"""Putting new data folders into a project, all of them at one moment.

The project's ``data`` folder is built anew beside it, with hard links for what stays, and the two
folders exchange their names in a single step of the system. Whoever opens the project finds the
old data or the new, complete. Where a system or a disk can't do that, files are replaced one by one
with the old ones kept and a journal, by which the next run puts them back if this one was stopped
(:mod:`annotation.projects.recovery`).

QuPath may save in the midst of it: what it saved is found after the exchange, and has its place.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from annotation.errors import RefusedError
from annotation.projects.folder_exchange import (
    digest_of,
    exchange_names,
    folders_below,
    give_same_rights,
    link_files,
    write_synced,
)
from annotation.projects.recovery import (
    EXCHANGING,
    HIDDEN,
    JOURNAL,
    Replaced,
    bring_saved,
    put_back,
    saved_in,
)

__all__ = ["Exchange"]


class Exchange:
    """New files of a project's data, on their way into it.

    Parameters
    ----------
    project
        The project.qpproj; it is locked, and nothing of a stopped run is left beside it.
    files
        New content by path below ``data``, such as ``3/data.qpdata``.
    """

    def __init__(self, project: Path, files: Mapping[str, bytes]) -> None:
        self._data = project.parent / "data"
        self._hidden = project.parent / HIDDEN
        self._files = dict(files)
        self._replaced: dict[str, Replaced] = {}
        self._exchanged = False

    def stage(self) -> Path:
        """Write the new files where nobody looks; returns the folder that holds them."""
        new = self._hidden / "new"
        new.mkdir(parents=True)
        for name, content in self._files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(path, content)
        return new

    def commit(self) -> None:
        """Let the new files take their places.

        Raises
        ------
        RefusedError
            It did not work, or somebody saved at the same moment; what was there is in its place.
        """
        new, whole, data = self._hidden / "new", self._hidden / "whole", self._data
        data.mkdir(exist_ok=True)
        try:
            self._verify(new)
            self._replaced = {
                name: Replaced(digest_of(data / name), hashlib.sha256(content).hexdigest())
                for name, content in self._files.items()
            }
            if link_files(data, whole, set(self._files)) and link_files(new, whole, set()):
                self._keep_rights(whole)
                self._note(EXCHANGING)
                self._exchanged = exchange_names(whole, data)
            if self._exchanged:
                before = {name: one.was for name, one in self._replaced.items()}
                self._refuse(saved_in(whole, data, before))
            else:
                shutil.rmtree(whole, ignore_errors=True)
                (self._hidden / EXCHANGING).unlink(missing_ok=True)
                self._replace_one_by_one(new)
            self._verify(data)
        except (OSError, RefusedError) as error:
            self.undo()
            raise RefusedError(
                f"the new files did not come into their places in {data} ({error}); what was there is "
                "there, check the disk and that QuPath is closed, and try again",
                target=data,
            ) from error

    def _keep_rights(self, whole: Path) -> None:
        """Who may read and write stays as it was: the folders are new ones, and so are our files."""
        for folder in folders_below(self._data):
            give_same_rights(folder, whole / folder.relative_to(self._data))
        for name in self._files:
            old = self._data / name
            give_same_rights(old if old.exists() else self._data, whole / name)

    def _note(self, name: str) -> None:
        """Have on disk what is about to be replaced by what, for the next run."""
        part = self._hidden / f"{name}.part"
        write_synced(part, msgspec.json.encode(self._replaced))
        part.replace(self._hidden / name)

    def _refuse(self, saved: list[str]) -> None:
        if saved:
            raise RefusedError(f"{saved[0]} was saved by somebody else at the same moment")

    def _verify(self, folder: Path) -> None:
        for name, content in self._files.items():
            if (folder / name).read_bytes() != content:
                raise RefusedError(f"{name} reads back otherwise")

    def _replace_one_by_one(self, new: Path) -> None:
        old, data = self._hidden / "old", self._data
        for name, one in self._replaced.items():
            if one.was is not None:
                (old / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(data / name, old / name)
                give_same_rights(data / name, new / name)
        self._note(JOURNAL)
        for name, one in self._replaced.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            self._refuse([name] if digest_of(data / name) != one.was else [])
            (new / name).replace(data / name)

    def undo(self) -> None:
        """Put the old files back; an image that somebody saved since then stays as it was saved."""
        if self._exchanged:
            whole = self._hidden / "whole"
            exchange_names(whole, self._data)
            self._exchanged = False
            ours = {name: one.now for name, one in self._replaced.items()}
            bring_saved(whole, self._data, saved_in(whole, self._data, ours))
        else:
            put_back(self._hidden, self._data)
        self.clear()

    def clear(self) -> None:
        """Forget the old files; what stands now stays."""
        for name in (JOURNAL, EXCHANGING):
            (self._hidden / name).unlink(missing_ok=True)
        shutil.rmtree(self._hidden, ignore_errors=True)
