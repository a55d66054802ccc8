"""Where the stores of a soak test stand: files in a folder, or databases of a server."""

from __future__ import annotations

import shutil
import time
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, func, select, text

from annotation.stores.addresses import parsed
from annotation.stores.chain import chain_head
from annotation.stores.engines import read_only
from annotation.stores.rows import StoreSource
from tests.postgresql import Server

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


class Places:
    """Makes empty places for stores, and copies of stores, in one kind of database."""

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self.folder = folder
        self.server = server
        self.kind = "sqlite" if server is None else "postgresql"
        self._numbers = count()

    def empty(self) -> str:
        """The URL of a place where nothing is."""
        if self.server is not None:
            return self.server.url(self.server.create())
        return f"sqlite:///{self.folder / f'soak{next(self._numbers)}.db'}"

    def copy(self, url: str) -> str:
        """The URL of a copy of a store that nobody uses."""
        if self.server is not None:
            return self.server.url(self.server.create(str(parsed(url).database)))
        target = self.empty()
        shutil.copyfile(_path(url), _path(target))
        return target

    def drop(self, url: str) -> None:
        """Remove a store."""
        if self.server is not None:
            self.server.drop(str(parsed(url).database))
            return
        for path in self.folder.glob(Path(_path(url)).name + "*"):
            path.unlink()

    def settled(self, url: str) -> None:
        """Wait until a server has noticed that a client is gone."""
        if self.server is None:
            return
        engine = create_engine(url)
        with engine.connect() as connection:
            while connection.scalar(_OTHERS):
                connection.rollback()
                time.sleep(0.01)
        engine.dispose()


def _path(url: str) -> str:
    return str(parsed(url).database)


def state(url: str) -> dict[str, int | str]:
    """The revision of a store and the rows of each table; its chain and its file are whole."""
    with read_only(parsed(url)) as connection:
        source = StoreSource(connection)
        chain_head(connection, source.codecs["events"].table, source.revision)
        if connection.dialect.name == "sqlite":
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
        counted: dict[str, int | str] = {
            name: connection.scalar(select(func.count()).select_from(codec.table)) or 0
            for name, codec in source.codecs.items()
        }
    return {"revision": source.revision, **counted}
