"""A backup that was changed, cut off or made to do harm is refused, and leaves nothing."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import SourceError, StoreDamagedError, StoreError, StoreNewerError
from annotation.stores import archive
from annotation.stores.moving import back_up, restore
from tests.annotation.stores.conftest import Study

Members = dict[str, bytes]


@pytest.fixture
def backup(worked: Study, store_url: str, tmp_path: Path) -> Path:
    path = tmp_path / "b.zip"
    back_up(store_url, path)
    return path


@pytest.fixture
def refused(backup: Path, empty_database: Callable[[], str]) -> Callable[[], Exception]:
    """Restores the backup, sees that it is refused and that the same place can be filled after."""
    whole = backup.with_name("whole.zip")
    whole.write_bytes(backup.read_bytes())

    def call() -> Exception:
        url = empty_database()
        with pytest.raises((SourceError, StoreError)) as caught:
            restore(backup, url)
        if url.startswith("sqlite"):
            assert not list(backup.parent.glob(Path(url).name + "*"))
        restore(whole, url)
        return caught.value

    return call


def changed(path: Path, change: Callable[[Members], None], *, manifest_too: bool = False) -> None:
    """Change the members of a zip; with their digests and counts in its manifest, or without."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    if manifest_too:
        manifest = json.loads(members["manifest.json"])
        for name, entry in manifest["tables"].items():
            lines = members[f"{name}.jsonl"]
            entry |= {"rows": lines.count(b"\n"), "sha256": sha256(lines).hexdigest()}
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)


def in_manifest(**content: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        manifest = json.loads(members["manifest.json"]) | content
        members["manifest.json"] = json.dumps(manifest).encode()

    return change


def test_a_cut_off_backup_is_refused(backup: Path, refused: Callable[[], Exception]) -> None:
    data = backup.read_bytes()
    backup.write_bytes(data[: len(data) // 2])
    assert "is no backup" in str(refused())


def test_a_flipped_byte_is_found(backup: Path, refused: Callable[[], Exception]) -> None:
    data = bytearray(backup.read_bytes())
    data[len(data) // 3] ^= 1
    backup.write_bytes(data)
    assert "is no backup" in str(refused())


def test_a_changed_row_is_found_by_the_manifest(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    def change(members: Members) -> None:
        members["slides.jsonl"] = members["slides.jsonl"].replace(b"0.25", b"0.5")

    changed(backup, change)
    assert "table 'slides' is not the one of its manifest" in str(refused())


def test_a_changed_event_is_found_by_the_chain(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    """Even where the manifest was changed with it."""

    def change(members: Members) -> None:
        members["events.jsonl"] = members["events.jsonl"].replace(b'"=A1"', b'"=A2"')

    changed(backup, change, manifest_too=True)
    error = refused()
    assert isinstance(error, StoreDamagedError)
    assert "the audit trail is broken" in str(error)


def test_a_trail_that_was_cut_is_found_by_the_head(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    def change(members: Members) -> None:
        members["events.jsonl"] = b"".join(members["events.jsonl"].splitlines(True)[:-1])

    changed(backup, change, manifest_too=True)
    assert "does not end in its head" in str(refused())


def test_a_row_that_refers_to_nothing_is_refused(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    def change(members: Members) -> None:
        members["patients.jsonl"] = b""

    changed(backup, change, manifest_too=True)
    assert "table 'slides'" in str(error := refused())
    assert "contradict" in str(error)


@pytest.mark.parametrize(
    "line", [b"[1, 2]\n", b"{}\n", b'["x"', b"\xff\n", b'[{"a": 1}, "x"]\n'], ids=range(5)
)
def test_a_line_that_is_no_row_is_refused(
    backup: Path, refused: Callable[[], Exception], line: bytes
) -> None:
    def change(members: Members) -> None:
        members["sites.jsonl"] += line

    changed(backup, change, manifest_too=True)
    assert "sites" in str(refused())


def test_a_backup_of_a_later_version_is_refused(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    changed(backup, in_manifest(revision="9999"))
    error = refused()
    assert isinstance(error, StoreNewerError)
    assert "9999" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": "pathquorum store 2"}, "its format is"),
        ({"more": 1}, "its manifest cannot be read"),
        ({"tables": {}}, "its members are not the tables"),
        ({"tables": {"../x": {"columns": [], "rows": 0, "sha256": ""}}}, "its members are not"),
    ],
)
def test_another_manifest_is_refused(
    backup: Path, refused: Callable[[], Exception], content: dict[str, Any], said: str
) -> None:
    changed(backup, in_manifest(**content))
    assert said in str(refused())


def test_a_missing_and_an_extra_member_are_refused(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    whole = backup.read_bytes()
    changed(backup, lambda members: members.update({"x.jsonl": b""}))
    assert "its members are not the tables" in str(refused())
    backup.write_bytes(whole)
    changed(backup, lambda members: members.pop("sites.jsonl") and None)
    assert "its members are not the tables" in str(refused())


def test_a_table_of_something_else_is_refused(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    """No backup names a table that the schema of its revision doesn't have."""

    def change(members: Members) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["tables"]["songs"] = manifest["tables"].pop("sites")
        members["songs.jsonl"] = members.pop("sites.jsonl")
        members["manifest.json"] = json.dumps(manifest).encode()

    changed(backup, change)
    assert "has other tables or columns" in str(refused())


def test_a_bomb_is_refused_before_it_is_unpacked(
    backup: Path, refused: Callable[[], Exception]
) -> None:
    def change(members: Members) -> None:
        members["sites.jsonl"] = b" " * 64 * 1024**2

    changed(backup, change, manifest_too=True)
    assert "more than a file of its size can" in str(refused())


def test_an_endless_line_is_refused(
    backup: Path, refused: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_LONGEST_LINE", 200_000)

    def change(members: Members) -> None:
        members["sites.jsonl"] = b"[" + b"1," * 150_000 + b"1]\n"

    changed(backup, change, manifest_too=True)
    assert "a line is too long" in str(refused())


def test_what_is_no_zip_and_what_is_not_there_is_refused(
    tmp_path: Path, empty_database: Callable[[], str]
) -> None:
    path = tmp_path / "x.zip"
    with pytest.raises(SourceError, match="there is no backup"):
        restore(path, empty_database())
    path.write_bytes(io.BytesIO(b"x" * 100).read())
    with pytest.raises(SourceError, match="is no backup"):
        restore(path, empty_database())
