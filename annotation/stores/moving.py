"""Keeping a store as a file, bringing it back, and moving it between databases."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from annotation.errors import (
    ConflictError,
    NotAStoreError,
    StoreDamagedError,
    StoreUnavailableError,
)
from annotation.stores.addresses import is_file, masked, parsed, refuse_missing
from annotation.stores.archive import Manifest, reading_archive, write_archive
from annotation.stores.chain import chain_head
from annotation.stores.engines import read_only
from annotation.stores.filling import Filled, fill
from annotation.stores.rows import StoreSource
from annotation.stores.schema import current_revision, refuse_newer

__all__ = ["back_up", "copy_store", "restore", "whole_store"]


def back_up(url: str, path: Path) -> Manifest:
    """Write the store at a URL into a file, as it stands at one moment; others work on meanwhile.

    Raises
    ------
    ConflictError
        The file exists; a backup never takes the place of another.
    StoreDamagedError
        The store is not whole, so that a backup of it would be none.
    """
    place = parsed(url)
    refuse_missing(place)
    if path.exists():
        raise ConflictError(f"{path} exists already; choose another name for the backup", file=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _snapshot(place, path.parent) as connection:
        source = whole_store(connection, place)
        manifest = write_archive(path, source, _head_of(source))
    path.chmod(0o600)  # it names people
    return manifest


def restore(path: Path, url: str) -> Filled:
    """Make the store of a backup in an empty or absent database."""
    place = parsed(url)
    with reading_archive(path) as archive:
        return fill(place, archive, f"the backup {path}", head=archive.manifest.head)


def copy_store(source_url: str, target_url: str) -> Filled:
    """Make the same store in another, empty or absent database, of either kind."""
    place, target = parsed(source_url), parsed(target_url)
    refuse_missing(place)
    with read_only(place) as connection:
        source = whole_store(connection, place)
        return fill(target, source, f"the store {masked(place)}", head=_head_of(source))


def whole_store(connection: Connection, place: URL) -> StoreSource:
    """The store on a connection, of whichever schema this version knows."""
    present = current_revision(connection)
    if present is None:
        raise NotAStoreError(
            f"{masked(place)} is a database but no pathquorum store; choose another",
            store=masked(place),
        )
    refuse_newer(present, f"the store {masked(place)}")
    return StoreSource(connection)


def _head_of(source: StoreSource) -> str:
    return chain_head(source.connection, source.codecs["events"].table, source.revision)


@contextmanager
def _snapshot(place: URL, folder: Path) -> Iterator[Connection]:
    """One state of the store that can be read at leisure."""
    if not is_file(place):
        with read_only(place) as connection:
            yield connection
        return
    # Read in place, the store's write-ahead log would grow for as long as the backup takes.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".backup-") as beside:
        path = Path(beside) / "store.db"
        with read_only(place) as connection, closing(sqlite3.connect(path)) as copy:
            whole_store(connection, place)
            original = cast(sqlite3.Connection, connection.connection.driver_connection)
            try:
                original.backup(copy)
                (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            except sqlite3.OperationalError as error:
                raise StoreUnavailableError(
                    f"the store {masked(place)} can't be copied into {folder} ({error}); nothing "
                    "was kept, make room there or name another folder",
                    store=masked(place),
                ) from error
            except sqlite3.DatabaseError as error:
                said = str(error)
        if said != "ok":
            raise StoreDamagedError(
                f"the store {masked(place)} is damaged ({said}); bring back an earlier backup",
                store=masked(place),
            )
        with read_only(place.set(database=str(path))) as connection:
            yield connection
