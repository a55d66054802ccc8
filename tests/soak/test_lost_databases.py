"""A disk that fills and a server that goes: one clear line, nothing lost, and it works again."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from annotation import pull as pulling
from annotation.store import create_or_upgrade
from tests.postgresql import Server, running_server
from tests.soak.places import Places, state
from tests.soak.processes import Said, call, context, done
from tests.soak.studies import SLIDES, make_study, pull_arguments, write_export


@pytest.fixture
def large(tmp_path: Path) -> tuple[object, ...]:
    """The command line of a pull that needs a megabyte."""
    path = tmp_path / "P0" / f"{SLIDES[0]}.geojson"
    write_export(path, "P0", random.Random(0), 2000)
    return pull_arguments(path, "P0")


def one_clear_line(said: Said, *words: str) -> None:
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("Error: the store ")
    assert said.err.count("\n") == 1
    assert any(word in said.err for word in words), said.err


@pytest.mark.sqlite
def test_a_file_that_may_not_grow(places: Places, large: tuple[object, ...]) -> None:
    """SQLite's own limit: the database is full in the middle of a pull."""
    url = places.empty()
    make_study(url, places.folder, people=1)
    before = state(url)

    def limit(connection: Any, _record: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    event.listen(Engine, "connect", limit)
    try:
        full = call(url, *large)
    finally:
        event.remove(Engine, "connect", limit)
    one_clear_line(full, "database or disk is full; nothing was changed")
    assert state(url) == before
    done(url, *large)
    done(url, "store", "check")


def _limited_call(pipe: Connection, url: str, arguments: tuple[object, ...], size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    pipe.send(call(url, *arguments))


@pytest.mark.sqlite
@pytest.mark.parametrize("what", ["pull", "backup", "copy", "init"])
def test_a_process_whose_files_may_not_grow(
    places: Places, large: tuple[object, ...], what: str
) -> None:
    """The system's limit: writing fails, whoever does it; what was begun is gone."""
    url = places.empty()
    make_study(url, places.folder, people=1)
    size = Path(url.removeprefix("sqlite:///")).stat().st_size
    target = places.empty()
    arguments: tuple[object, ...] = {
        "pull": large,
        "backup": ("store", "backup", places.folder / "b.zip"),
        "copy": ("store", "copy", url, target),
        "init": ("init", "--store", target),
    }[what]
    if what in ("backup", "copy"):
        done(url, *large)
    before = state(url)
    here, there = context().Pipe()
    limited = context().Process(
        target=_limited_call,
        args=(there, url, arguments, size + 50_000 if what == "pull" else 30_000),
    )
    limited.start()
    there.close()
    said = here.recv()
    limited.join()
    here.close()
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    assert state(url) == before
    assert not (places.folder / "b.zip").exists()
    assert not list(places.folder.glob(".backup*"))
    if what == "copy":
        assert not Path(target.removeprefix("sqlite:///")).exists()
    done(url, *arguments)
    done(url, "store", "check")


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that only this test stops and starts."""
    with running_server() as server:
        yield server


@pytest.mark.usefixtures("postgresql")  # which skips where there is none
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_goes_in_the_middle_of_a_pull(
    own_server: Server,
    tmp_path: Path,
    large: tuple[object, ...],
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All rows are written, the event is not: nothing of it is there when the server comes back."""
    places = Places(tmp_path, own_server)
    url = places.empty()
    make_study(url, tmp_path, people=1)
    before = state(url)

    def goes(*arguments: Any, **options: Any) -> Any:
        own_server.stop(how)
        return original(*arguments, **options)

    original: Callable[..., Any] = pulling.record
    with monkeypatch.context() as patch:
        patch.setattr(pulling, "record", goes)
        gone = call(url, *large)
    one_clear_line(gone, "cannot be used")
    assert "nothing was changed" in gone.err
    one_clear_line(call(url, *large), "cannot be used")  # it is still away
    own_server.start()
    assert state(url) == before
    done(url, *large)
    done(url, "store", "check")


@pytest.mark.usefixtures("postgresql")
def test_a_server_that_goes_while_it_commits(
    own_server: Server, tmp_path: Path, large: tuple[object, ...]
) -> None:
    """Whether a change was kept cannot be known then, and that is what is said."""
    places = Places(tmp_path, own_server)
    url = places.empty()
    make_study(url, tmp_path, people=1)
    before = state(url)

    def goes(_session: Session) -> None:
        own_server.stop()

    event.listen(Session, "before_commit", goes)
    try:
        gone = call(url, *large)
    finally:
        event.remove(Session, "before_commit", goes)
    one_clear_line(gone, "may be there whole or not at all; look at `pathquorum status`")
    own_server.start()
    assert state(url) == before
    done(url, *large)
    done(url, "store", "check")


@pytest.mark.usefixtures("postgresql")
def test_a_server_that_goes_while_it_commits_a_new_store(own_server: Server) -> None:
    """The same where no session but an upgrade commits."""
    url = own_server.url(own_server.create())

    def goes(_connection: Any) -> None:
        own_server.stop()

    event.listen(Engine, "commit", goes)
    try:
        gone = call(url, "init")
    finally:
        event.remove(Engine, "commit", goes)
    one_clear_line(gone, "may be there whole or not at all")
    own_server.start()
    create_or_upgrade(url)[0].close()
    done(url, "store", "check")


@pytest.mark.usefixtures("postgresql")
def test_a_session_that_an_administrator_ends_while_a_store_is_made(own_server: Server) -> None:
    """Half a schema is none: the next `init` starts from nothing."""
    url = own_server.url(own_server.create())

    def ends(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "CREATE TABLE revisions" in statement:
            own_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname <> 'postgres' AND pid <> pg_backend_pid()"
            )

    event.listen(Engine, "before_cursor_execute", ends)
    try:
        gone = call(url, "init")
    finally:
        event.remove(Engine, "before_cursor_execute", ends)
    one_clear_line(gone, "cannot be used")
    create_or_upgrade(url)[0].close()
    done(url, "store", "check")
