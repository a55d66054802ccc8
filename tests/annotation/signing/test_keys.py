"""Keys: their files, their passphrases, and what stands on record of them."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from annotation.errors import SignatureError
from annotation.signing import key_files
from annotation.signing.key_files import new_key_file, unlock
from annotation.store import Store
from annotation.stores.rows import StoreSource
from annotation.tables import Event
from tests.conftest import CommandResult
from tests.signing import PASSPHRASE, make_key, secret_file

Study = Callable[..., CommandResult]

SIGN = ("protocol", "sign", "prostate", "--version", "1", "--by", "L")


def test_a_key_stands_in_a_file_for_its_owner_alone(study: Study, tmp_path: Path) -> None:
    """PKCS#8 under a passphrase, mode 0600, and nothing is left beside it."""
    made = study(
        "key", "create", "L", "--to", tmp_path / "L.pem", "--json",
        "--passphrase-file", secret_file(tmp_path),
    )  # fmt: skip
    assert made.status == 0, made.err
    content = (tmp_path / "L.pem").read_bytes()
    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE((tmp_path / "L.pem").stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".key*"))
    (listed,) = study("key", "list", "--json").json["keys"]
    assert (listed["handle"], listed["revoked_at"]) == ("L", None)
    assert listed["fingerprint"] == made.json["fingerprint"]
    assert unlock(tmp_path / "L.pem", PASSPHRASE).fingerprint == listed["fingerprint"]


def test_openssl_gives_the_fingerprint_that_is_listed(study: Study, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl binary here")
    make_key(study, "L", tmp_path)
    (listed,) = study("key", "list", "--json").json["keys"]
    (tmp_path / "public.pem").write_text(listed["public_key"])
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", tmp_path / "public.pem", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    assert hashlib.sha256(der).hexdigest() == listed["fingerprint"]
    private = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "L.pem", "-passin", f"pass:{PASSPHRASE}", "-pubout"],
        capture_output=True,
        check=True,
    ).stdout
    assert private.decode() == listed["public_key"]


def test_a_key_file_is_never_written_over(study: Study, tmp_path: Path) -> None:
    (tmp_path / "L.pem").write_text("something dear")
    result = study(
        "key", "create", "L", "--to", tmp_path / "L.pem",
        "--passphrase-file", secret_file(tmp_path),
    )  # fmt: skip
    assert result.status == 1
    assert "never written over" in result.err
    assert (tmp_path / "L.pem").read_text() == "something dear"
    assert not list(tmp_path.glob(".key*"))
    assert study("key", "list", "--json").json["keys"] == []


def test_a_key_that_does_not_come_on_record_leaves_no_file(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("annotation.signing.keys.record", fail)
    secret = secret_file(tmp_path)
    assert study(
        "key", "create", "L", "--to", tmp_path / "L.pem", "--passphrase-file", secret
    ).status == 1  # fmt: skip
    assert not (tmp_path / "L.pem").exists()
    assert study("key", "list", "--json").json["keys"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("L", "--to", "no/such/L.pem"), "does not exist"),
        (("X", "--to", "X.pem"), "no annotator 'X'"),
    ],
)
def test_a_key_without_a_place_or_owner_is_refused(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = study("key", "create", *arguments, "--passphrase-file", secret_file(tmp_path))
    assert (result.status, result.out) == (1, "")
    assert message in result.err
    assert not list(tmp_path.glob("*.pem"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short\n", "at least 8 characters"),
        (b"\n", "is empty"),
        (b"x" * 1001 + b"\n", "longer than 1000 bytes"),
        (b"\xff" * 10, "no UTF-8"),
        (None, "can't be read"),
    ],
)
def test_a_passphrase_that_cannot_be_used_is_refused(
    study: Study, tmp_path: Path, content: bytes | None, message: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    result = study("key", "create", "L", "--to", tmp_path / "k", "--passphrase-file", secret)
    assert result.status == 1
    assert message in result.err
    assert not (tmp_path / "k").exists()


def test_a_wrong_passphrase_signs_nothing_and_is_told_nowhere(
    study: Study, store: Store, tmp_path: Path
) -> None:
    key = make_key(study, "L", tmp_path)
    wrong = secret_file(tmp_path, "not the passphrase")
    result = study(*SIGN, "--key", key[1], "--passphrase-file", wrong, "--log-json")
    assert (result.status, result.out) == (1, "")
    assert "the passphrase does not open the key file" in result.err
    assert "not the passphrase" not in result.err
    assert study("protocol", "list", "--json").json["protocols"][0]["signed_by"] is None
    with store.reading() as session:
        assert "protocol signed" not in session.scalars(select(Event.action)).all()


def test_the_passphrase_stands_in_no_event_or_log(
    study: Study, store: Store, tmp_path: Path
) -> None:
    key = make_key(study, "L", tmp_path)
    result = study(*SIGN, *key, "--log-json")
    assert result.status == 0, result.err
    told = result.out + result.err
    with store.reading() as session:
        for event in session.scalars(select(Event)):
            told += f"{event.old}{event.new}{event.reason}"
    assert PASSPHRASE not in told
    with store.engine.connect() as connection:
        source = StoreSource(connection)
        kept = b"".join(line for name in source.columns for line in source.lines(name))
    assert b"BEGIN PUBLIC KEY" in kept
    assert PASSPHRASE.encode() not in kept


def test_the_passphrase_may_come_from_the_environment(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(study, "L", tmp_path)
    monkeypatch.setenv("PATHQUORUM_PASSPHRASE", PASSPHRASE)
    assert study(*SIGN, *key[:2]).status == 0


def test_without_a_terminal_it_is_not_waited_for(study: Study, tmp_path: Path) -> None:
    key = make_key(study, "L", tmp_path)
    result = study(*SIGN, *key[:2])
    assert result.status == 1
    assert "no terminal" in result.err
    assert "PATHQUORUM_PASSPHRASE" in result.err


def test_no_option_takes_a_passphrase(study: Study, tmp_path: Path) -> None:
    """On the command line every user of the machine could read it."""
    for option in ("--passphrase", "--password"):
        assert study("key", "create", "L", "--to", tmp_path / "k", option, PASSPHRASE).status == 2
    assert study(*SIGN, "--passphrase-file", secret_file(tmp_path)).status == 2


def test_a_person_is_asked_without_showing_what_they_type(
    study: Study, store_url: str, tmp_path: Path
) -> None:
    """On a terminal: asked twice for a new key, the answer not echoed, the document undisturbed."""
    out = tmp_path / "out.json"
    code = (
        "import sys; from annotation.cli import run; "
        f"sys.stdout = open({str(out)!r}, 'w'); "
        f"sys.exit(run(['key', 'create', 'L', '--to', {str(tmp_path / 'L.pem')!r}, '--json']))"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.environ["PATHQUORUM_STORE"] = store_url
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown = b""
    asked = 0
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
        while asked < shown.count(b": "):
            asked += 1
            os.write(terminal, PASSPHRASE.encode() + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert asked == 2
    assert PASSPHRASE.encode() not in shown
    assert unlock(tmp_path / "L.pem", PASSPHRASE)
    assert out.read_text().startswith('{"handle":"L"')


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(passphrase=st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=60))
def test_every_passphrase_opens_its_own_key_and_no_other(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / f"{hashlib.sha256(passphrase.encode()).hexdigest()}.pem"
    path.unlink(missing_ok=True)
    with new_key_file(path, passphrase) as made:
        pass
    assert unlock(path, passphrase).fingerprint == made.fingerprint
    with pytest.raises(SignatureError, match="does not open"):
        unlock(path, passphrase + "x")


def test_what_is_no_key_under_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k"
    bare = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    other = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())
    )
    damaged = other[:60] + b"!!" + other[62:]
    for content, message in (
        (bare, "under a passphrase"),
        (b"", "under a passphrase"),
        (other + b" " * key_files._LARGEST_BYTES, "under a passphrase"),
        (other, "of another kind"),
        (damaged, "does not open"),
    ):
        path.write_bytes(content)
        with pytest.raises(SignatureError, match=message):
            unlock(path, PASSPHRASE)


def test_anothers_key_signs_nothing(study: Study, tmp_path: Path) -> None:
    key = make_key(study, "P1", tmp_path)
    result = study(*SIGN, *key)
    assert result.status == 1
    assert "is 'P1''s, and 'L' is to sign" in result.err
    assert study("signature", "list", "--json").json["signatures"] == []
    assert study("protocol", "list", "--json").json["protocols"][0]["signed_by"] is None


def test_a_key_that_is_not_on_record_signs_nothing(study: Study, tmp_path: Path) -> None:
    with new_key_file(tmp_path / "k", PASSPHRASE):
        pass
    result = study(*SIGN, "--key", tmp_path / "k", "--passphrase-file", secret_file(tmp_path))
    assert result.status == 1
    assert "not on record" in result.err


def test_a_revoked_key_signs_nothing_more_and_what_it_signed_holds(
    study: Study, store: Store, tmp_path: Path
) -> None:
    key = make_key(study, "L", tmp_path)
    assert study(*SIGN, *key).status == 0
    assert study("key", "revoke", "L", "--reason", " ").status == 1
    revoked = study("key", "revoke", "L", "--reason", "laptop lost", "--json")
    assert revoked.status == 0, revoked.err
    assert len(revoked.json["revoked"]) == 1
    head = study("audit", "head", "--by", "L", "--to", tmp_path / "head.json", *key)
    assert head.status == 1
    assert "was revoked on" in head.err
    assert not (tmp_path / "head.json").exists()
    assert study("signature", "verify").status == 0
    again = study("key", "revoke", "L", "--reason", "laptop lost")
    assert "has no key in force" in again.err
    with store.reading() as session:
        event = session.scalars(select(Event).where(Event.action == "key revoked")).one()
        assert (event.subject, event.reason) == ("key:1", "laptop lost")


def test_one_of_several_keys_can_be_revoked(study: Study, tmp_path: Path) -> None:
    make_key(study, "L", tmp_path)
    (tmp_path / "L.pem").rename(tmp_path / "old.pem")
    make_key(study, "L", tmp_path)
    first, second = study("key", "list", "--json").json["keys"]
    only = ("--fingerprint", first["fingerprint"][:10], "--reason", "r")
    assert study("key", "revoke", "L", *only).status == 0
    first, second = study("key", "list", "--json").json["keys"]
    assert first["revoked_at"] is not None
    assert second["revoked_at"] is None


CHANGES = [
    "UPDATE signatures SET meaning = 'x'",
    "DELETE FROM signatures",
    "UPDATE signing_keys SET annotator_id = 1",
    "UPDATE signing_keys SET public_key = 'x', revoked_at = '2026-01-01 00:00:00'",
    "UPDATE signing_keys SET valid_from = '2020-01-01 00:00:00', revoked_at = '2026-01-01 00:00:00'",
    "DELETE FROM signing_keys",
]
REVOKE = "UPDATE signing_keys SET revoked_at = '2099-01-01 00:00:00'"
UNDO = "UPDATE signing_keys SET revoked_at = NULL"


def test_the_database_keeps_keys_and_signatures(study: Study, store: Store, tmp_path: Path) -> None:
    """A key can be revoked, once; nothing else of it changes, and nothing of a signature."""
    assert study(*SIGN, *make_key(study, "L", tmp_path)).status == 0
    for statement in CHANGES:
        with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))
    with store.engine.begin() as connection:
        connection.execute(text(REVOKE))
    for statement in (REVOKE, UNDO):
        with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))


@pytest.mark.sqlite
@pytest.mark.parametrize("table", ["signatures", "signing_keys"])
def test_a_row_cannot_be_replaced(study: Study, store: Store, tmp_path: Path, table: str) -> None:
    """SQLite's INSERT OR REPLACE deletes without firing a delete trigger."""
    assert study(*SIGN, *make_key(study, "L", tmp_path)).status == 0
    statement = text(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
        connection.execute(statement)
