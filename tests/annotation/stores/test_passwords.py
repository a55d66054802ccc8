"""A password in a store's URL comes out nowhere: screen, log, file, event; whatever the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.stores.addresses import parsed
from annotation.stores.engines import read_only
from annotation.stores.rows import StoreSource
from tests.annotation.stores.command_lines import READING, CommandLines, prepare
from tests.annotation.stores.conftest import Study, done
from tests.postgresql import GUARDED, Server

pytestmark = pytest.mark.both_databases

SECRET = "hunter2"
"""Stands in every password of these tests, so that also a part of one is found."""

UNREACHABLE = (
    f"postgresql+psycopg://ada:{SECRET}@127.0.0.1:1/none",
    f"postgresql+psycopg://ada:x%40{SECRET}%3A@127.0.0.1:1/none?sslmode=disable",
    f"postgresql+psycopg://ada@127.0.0.1:1/none?password={SECRET}",
)
UNUSABLE = (
    f"postgresql+psycopg://ada:x@{SECRET}@127.0.0.1:1/none",
    f"mysql://ada:{SECRET}@127.0.0.1/none",
    f"postgresql+psycopg://ada:{SECRET}@127.0.0.1:port/none",
)


@pytest.fixture
def lines(worked: Study, tmp_path: Path) -> CommandLines:
    return prepare(worked, tmp_path)


def assert_no_file_holds_it(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.sqlite  # the store of these lines is not the one that is asked for
@pytest.mark.parametrize("url", [*UNREACHABLE, *UNUSABLE])
def test_a_server_that_cannot_be_reached(
    worked: Study, lines: CommandLines, tmp_path: Path, url: str
) -> None:
    """Every command is told in one line, as text or in the log."""
    asked = lines.arguments if url == UNREACHABLE[0] else ("init", "status", "store check")
    failed = 0
    for command in asked:
        result = worked(*lines.of(command), "--store", url, "--log-json")
        assert SECRET not in result.out + result.err, command
        failed += result.status == 1
    assert failed >= len(asked) * 0.8  # the others need no store
    for command in ("status", "store backup", "store restore"):
        result = worked(*lines.of(command), "--store", url, "--json")
        assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
        assert SECRET not in result.err
    for pair in ((url, "sqlite:///x.db"), (f"sqlite:///{tmp_path / 'store.db'}", url)):
        result = worked("store", "copy", *pair)
        assert result.status == 1
        assert SECRET not in result.out + result.err
    assert_no_file_holds_it(tmp_path)


def test_a_server_that_asks_for_a_password(
    worked: Study, lines: CommandLines, store_url: str, postgresql: Server, tmp_path: Path
) -> None:
    """A wrong one is refused without being repeated; a right one is in nothing that is written."""
    if not store_url.startswith("postgresql"):
        pytest.skip("a file asks for no password")
    database = str(parsed(store_url).database)
    postgresql.execute(f"CREATE ROLE {GUARDED} LOGIN SUPERUSER PASSWORD '{SECRET}-right'")
    wrong = postgresql.url(database, f"{GUARDED}:{SECRET}-wrong")
    for command in ("init", "pull", "consensus run", *READING):
        result = worked(*lines.of(command), "--store", wrong, "--log-json")
        assert SECRET not in result.out + result.err, command
        if command == "doctor":  # which tells of it in a table
            continue
        assert result.status == 1, command
        assert "password authentication failed" in result.err
    right = postgresql.url(database, f"{GUARDED}:{SECRET}-right")
    for command in ("init", "annotator add", "pull", "consensus run", *READING):
        result = done(worked(*lines.of(command), "--store", right, "--log-json", "--json"))
        assert SECRET not in result.out + result.err, command
    done(worked("store", "copy", right, f"sqlite:///{tmp_path / 'copy.db'}", "--log-json"))
    assert_no_file_holds_it(tmp_path)
    with read_only(parsed(right)) as connection:
        source = StoreSource(connection)
        rows = [line for table in source.columns for line in source.lines(table)]
    assert rows
    assert not [row for row in rows if SECRET.encode() in row]
    postgresql.execute(f"DROP ROLE {GUARDED}")
