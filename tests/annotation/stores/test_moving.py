"""A store that is kept, brought back or moved is the same store, in either database, or none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from annotation.errors import StoreDamagedError
from annotation.store import open_store
from annotation.stores import engines, filling
from annotation.stores.addresses import masked, parsed
from annotation.stores.rows import StoreSource
from annotation.tables import Event
from tests.annotation.stores.conftest import Study, done
from tests.conftest import feature, square
from tests.postgresql import Server
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases

Make = Callable[[], str]


@pytest.fixture(params=["other kind", pytest.param("same kind", marks=pytest.mark.soak)])
def elsewhere(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, postgresql: Server
) -> Make:
    """Makes the URL of an empty place in a database of the other kind than the test's store."""
    if (database == "sqlite") == (request.param == "same kind"):
        return lambda: f"sqlite:///{tmp_path / 'elsewhere.db'}"

    def make() -> str:
        name = postgresql.create()
        request.addfinalizer(lambda: postgresql.drop(name))
        return postgresql.url(name)

    return make


def content(url: str) -> dict[str, list[bytes]]:
    store = open_store(url)
    with store.engine.connect() as connection:
        source = StoreSource(connection)
        found = {name: list(source.lines(name)) for name in source.columns}
    store.close()
    return found


def is_empty(url: str) -> bool:
    """Nothing is there: no file, or no table."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        return not list(path.parent.glob(f"{path.name}*"))
    engine = create_engine(url)
    tables = inspect(engine).get_table_names()
    engine.dispose()
    return tables == []


def test_a_copy_is_the_same_store(worked: Study, store_url: str, elsewhere: Make) -> None:
    """Every row, the head of the trail, and what is said of it; and the copy can be worked in."""
    target = elsewhere()
    head = done(worked("audit", "verify", "--json")).json["head"]
    copied = done(worked("store", "copy", store_url, target, "--json")).json
    assert (copied["head"], copied["from"], copied["to"]) == (
        head,
        masked(parsed(store_url)),
        masked(parsed(target)),
    )
    assert content(target) == content(store_url)
    assert copied["tables"] == {name: len(rows) for name, rows in content(target).items()}
    assert copied["tables"]["pushed_objects"] > 0 < copied["tables"]["decisions"]
    for asked in (("release", "show", "first"), ("agreement", "--bootstrap", 50), ("status",)):
        here = done(worked(*asked, "--json")).json
        there = done(worked(*asked, "--json", "--store", target)).json
        for document in (here, there):
            document.pop("store", None)  # its place, and how much it takes there
            if asked == ("status",):
                document.pop("at")  # the moment at which it was asked
        assert here == there
    check = done(worked("store", "check", "--json", "--store", target)).json
    assert (check["head"], check["tables"], check["current"]) == (head, copied["tables"], True)


def test_numbering_goes_on_after_a_copy(
    worked: Study, store_url: str, elsewhere: Make, write_export: Callable[..., Path]
) -> None:
    """The next pull, event and revision get numbers that are free."""
    target = elsewhere()
    done(worked("store", "copy", store_url, target))
    export = write_export([feature(square(5, 5), "Benign")], "P3")
    named = ("--annotator", "P3", "--protocol", "prostate", "--json", "--store", target)
    assert done(worked("pull", export, *named)).json["pull"] == 4
    done(worked("consensus", "run", "--protocol", "prostate", "--store", target))
    done(worked("store", "check", "--store", target))


def test_a_backup_comes_back_in_either_database(
    worked: Study, store_url: str, elsewhere: Make, tmp_path: Path
) -> None:
    """What the manifest counts is what comes back; the file is nobody else's to read."""
    path, target = tmp_path / "kept" / "b.zip", elsewhere()
    kept = done(worked("store", "backup", path, "--json")).json
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["b.zip"]
    back = done(worked("store", "restore", path, "--json", "--store", target)).json
    assert (back["head"], back["tables"], back["rows"]) == (
        kept["head"],
        kept["tables"],
        kept["rows"],
    )
    assert content(target) == content(store_url)


def test_a_backup_of_the_same_store_holds_the_same_lines_on_both_databases(
    worked: Study, store_url: str, elsewhere: Make, tmp_path: Path
) -> None:
    """The manifests are equal: digests, counts, columns and head."""
    import zipfile

    target = elsewhere()
    done(worked("store", "copy", store_url, target))
    manifests = []
    for name, url in (("a.zip", store_url), ("b.zip", target)):
        done(worked("store", "backup", tmp_path / name, "--store", url))
        with zipfile.ZipFile(tmp_path / name) as archive:
            manifests.append(archive.read("manifest.json"))
    assert manifests[0] == manifests[1]


def test_a_backup_never_takes_the_place_of_a_file(worked: Study, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_text("mine")
    refused = worked("store", "backup", path)
    assert refused.status == 1
    assert "exists already" in refused.err
    assert path.read_text() == "mine"


def test_only_an_empty_place_is_filled(
    worked: Study,
    store_url: str,
    elsewhere: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store, and a database of something else, are refused and stay as they were."""
    monkeypatch.setattr(engines, "_PATIENT", "PRAGMA busy_timeout = 200")
    monkeypatch.setattr(engines, "EXCLUSIVE_TIMEOUT_S", 0.2)
    target = elsewhere()
    done(worked("store", "copy", store_url, target))
    done(worked("store", "backup", tmp_path / "b.zip"))
    before = content(target)
    for again in (
        ("store", "copy", store_url, target),
        ("store", "copy", store_url, store_url),
        ("store", "restore", tmp_path / "b.zip", "--store", target),
    ):
        refused = worked(*again)
        assert refused.status == 1
        assert "is not empty" in refused.err or "is in use" in refused.err
        assert refused.out == ""
    assert content(target) == before


def test_a_copy_that_fails_leaves_nothing(
    worked: Study, store_url: str, elsewhere: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are there when the fault shows, and then none is; the next try is a fresh one."""
    target = elsewhere()

    def differs(*_: Any) -> int:
        raise StoreDamagedError("row 1 came to stand otherwise")

    with monkeypatch.context() as patch:
        patch.setattr(filling, "_compare", differs)
        failed = worked("store", "copy", store_url, target)
    assert (failed.status, failed.out) == (1, "")
    assert is_empty(target)
    done(worked("store", "copy", store_url, target))


def test_a_store_whose_trail_is_broken_is_not_handed_on(
    worked: Study, store_url: str, elsewhere: Make, tmp_path: Path
) -> None:
    """A copy and a backup say which event is bad, and there is neither."""
    store = open_store(store_url)
    tamper(store, "UPDATE events SET reason = 'x' WHERE id = 3")
    store.close()
    target = elsewhere()
    for asked in (
        ("store", "copy", store_url, target),
        ("store", "backup", tmp_path / "b.zip"),
        ("store", "check"),
    ):
        failed = worked(*asked)
        assert (failed.status, failed.out) == (1, "")
        assert "event 3 is bad" in failed.err
    assert is_empty(target)
    assert not (tmp_path / "b.zip").exists()


def test_rows_that_refer_to_a_later_row_come_over(
    worked: Study, store_url: str, elsewhere: Make
) -> None:
    """A read that is based on one with a higher number."""
    store = open_store(store_url)
    tamper(store, "UPDATE reads SET based_on_id = 2 WHERE id = 1")
    store.close()
    target = elsewhere()
    done(worked("store", "copy", store_url, target))
    assert content(target)["reads"] == content(store_url)["reads"]


def test_a_number_that_is_none_comes_over(worked: Study, store_url: str, elsewhere: Make) -> None:
    """Infinity has no JSON; it is kept all the same."""
    store = open_store(store_url)
    infinity = "9e999" if store_url.startswith("sqlite") else "'Infinity'"
    tamper(store, f"UPDATE slides SET objective = {infinity} WHERE id = 1")
    store.close()
    target = elsewhere()
    done(worked("store", "copy", store_url, target))
    engine = create_engine(target)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT objective FROM slides WHERE id = 1")) == float("inf")
    engine.dispose()


@pytest.mark.sqlite
def test_what_postgresql_cannot_hold_is_named_and_nothing_is_left(
    worked: Study, store_url: str, postgresql: Server
) -> None:
    """SQLite holds a NUL in a text, PostgreSQL does not."""
    with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
        connection.execute("INSERT INTO sites (name) VALUES ('a' || char(0) || 'b')")
    connection.close()
    name = postgresql.create()
    failed = worked("store", "copy", store_url, postgresql.url(name))
    assert (failed.status, failed.out) == (1, "")
    assert "cannot hold this" in failed.err
    assert is_empty(postgresql.url(name))
    postgresql.drop(name)


@pytest.mark.sqlite
def test_a_value_of_another_type_is_named(worked: Study, store_url: str, tmp_path: Path) -> None:
    """SQLite takes any value in any column; neither a backup nor a check passes over it."""
    with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE slides SET width_px = 'wide' WHERE id = 1")
    connection.close()
    for asked in (("store", "backup", tmp_path / "b.zip"), ("store", "check")):
        failed = worked(*asked)
        assert failed.status == 1
        assert "table 'slides'" in failed.err
    assert not (tmp_path / "b.zip").exists()


def test_no_output_of_a_move_shows_a_password(
    worked: Study, store_url: str, tmp_path: Path
) -> None:
    """Neither where it works nor where it fails, as text, as JSON, or in the log."""
    secret = "hunter2%40x"
    shown = []
    targets = [
        f"postgresql+psycopg://u:{secret}@127.0.0.1:1/none",
        f"postgresql+psycopg://u@127.0.0.1:1/none?password={secret}",
        "postgresql+psycopg://u:a@hunter2@127.0.0.1:1/none",
    ]
    for target in targets:
        failed = worked("store", "copy", store_url, target, "--log-json", "--json")
        assert failed.status == 1
        shown.append(failed.out + failed.err)
    done(worked("store", "backup", tmp_path / "b.zip"))
    for target in targets:
        failed = worked("store", "restore", tmp_path / "b.zip", "--store", target, "--log-json")
        assert failed.status == 1
        shown.append(failed.out + failed.err)
    if store_url.startswith("postgresql"):
        own = store_url.replace("postgres@", f"postgres:{secret}@")
        for asked in (("store", "check"), ("status",), ("store", "backup", tmp_path / "c.zip")):
            result = done(worked(*asked, "--store", own, "--log-json", "--json"))
            shown.append(result.out + result.err)
        store = open_store(own)
        with store.reading() as session:
            shown += [str((e.old, e.new, e.reason)) for e in session.query(Event)]
        store.close()
    assert not [text for text in shown if "hunter2" in text]
