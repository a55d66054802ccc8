"""What holds of every command: none makes a store by the way, none needs people's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from annotation.store import open_store
from tests.annotation.stores.command_lines import MAKES_A_STORE, READING, CommandLines, prepare
from tests.annotation.stores.conftest import Study, done
from tests.test_command_line import EVERY_COMMAND

pytestmark = pytest.mark.both_databases


@pytest.fixture
def lines(worked: Study, tmp_path: Path) -> CommandLines:
    return prepare(worked, tmp_path)


def tables_at(url: str) -> list[str] | None:
    """The tables of a database; None where there is no file."""
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists():
        return None
    engine = create_engine(url)
    found = inspect(engine).get_table_names()
    engine.dispose()
    return found


def test_there_is_a_line_of_every_command(lines: CommandLines) -> None:
    known = {" ".join(p) for p, c in EVERY_COMMAND if p and not hasattr(c, "commands")}
    assert set(lines.arguments) == known
    assert known > set(READING) | set(MAKES_A_STORE)


def test_no_command_makes_a_store_by_the_way(
    worked: Study, lines: CommandLines, empty_database: Callable[[], str]
) -> None:
    """Somebody mistyped the place of the store: nothing is there afterwards that was not before."""
    nowhere, target = empty_database(), empty_database()
    before = tables_at(nowhere), tables_at(target)
    copy_of_nothing = ("store", "copy", nowhere, target)
    for command in set(lines.arguments) - set(MAKES_A_STORE):
        result = worked(*lines.of(command), "--store", nowhere)
        assert result.status in (0, 1), (command, result.err)
        assert tables_at(nowhere) == before[0], command
    assert worked(*copy_of_nothing).status == 1
    assert (tables_at(nowhere), tables_at(target)) == before


@pytest.mark.parametrize("command", ["init", "store copy", "store restore"])
def test_these_make_a_store(
    worked: Study,
    lines: CommandLines,
    empty_database: Callable[[], str],
    store_url: str,
    command: str,
) -> None:
    """A new one, or one that stood elsewhere, made again."""
    target = empty_database()
    more = (store_url, target) if command == "store copy" else ("--store", target)
    done(worked(*lines.of(command), *more))
    assert "revisions" in (tables_at(target) or [])
    done(worked("store", "check", "--store", target))


def without_names(store_url: str, statement: str) -> None:
    store = open_store(store_url)
    with store.engine.begin() as connection:
        connection.execute(text(statement))
    store.close()


def test_without_the_table_of_names_everything_is_read_as_before(
    worked: Study,
    lines: CommandLines,
    store_url: str,
    empty_database: Callable[[], str],
    tmp_path: Path,
) -> None:
    """Its owner drops it as any owner can; the store is whole, kept and moved."""
    without_names(store_url, "DROP TABLE identities")
    for command in READING:
        result = worked(*lines.of(command))
        assert result.status == 0, (command, result.err)
        assert "Ada" not in result.out + result.err
    copied, back = empty_database(), empty_database()
    done(worked("store", "copy", store_url, copied))
    done(worked("store", "restore", tmp_path / "another.zip", "--store", back))
    for url in (copied, back):
        done(worked("store", "check", "--store", url))
        assert "identities" in (tables_at(url) or [])


def test_with_an_empty_table_of_names_everything_is_read_as_before(
    worked: Study, lines: CommandLines, store_url: str
) -> None:
    without_names(store_url, "DELETE FROM identities")
    for command in READING:
        done(worked(*lines.of(command)))


def test_a_name_is_refused_where_the_table_of_names_was_dropped(
    worked: Study, store_url: str
) -> None:
    """A person without one is added as before."""
    without_names(store_url, "DROP TABLE identities")
    refused = worked("annotator", "add", "P8", "--role", "senior", "--name", "Ada")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "keeps no names" in refused.err
    done(worked("annotator", "add", "P8", "--role", "senior"))
