"""Signed heads of the trail: what was rewritten or cut since is found, and a forged head is not taken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from annotation.signing.key_files import public_fingerprint
from annotation.signing.signatures import Statement
from annotation.store import Store, create_or_upgrade
from tests.conftest import CommandResult
from tests.signing import make_key
from tests.tampering import rewrite, tamper

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]


@pytest.fixture
def head(study: Study, tmp_path: Path) -> Path:
    """A head that L has signed; the store has grown since."""
    key = make_key(study, "L", tmp_path)
    path = tmp_path / "head.json"
    result = study("audit", "head", "--by", "L", "--to", path, *key)
    assert result.status == 0, result.err
    assert study("annotator", "add", "P9", "--role", "trainee").status == 0
    return path


def against(study: Study, head: object) -> CommandResult:
    return study("audit", "verify", "--against", head, "--json")


def test_a_store_that_has_grown_still_holds_against_its_signed_head(
    study: Study, head: Path
) -> None:
    result = against(study, head)
    assert result.status == 0, result.err
    assert result.json["ok"]
    assert result.json["cannot_see"].startswith("2 events after that head could have been")
    assert result.json["against"]["signed_by"] == "L"
    assert result.json["against"]["head"] == json.loads(head.read_bytes())["head"]
    assert result.json["events"] > int(result.json["against"]["head"].partition(":")[0])
    assert "that L signed on" in study("audit", "verify", "--against", head).out


def test_a_chain_that_was_rewritten_whole_is_found(study: Study, store: Store, head: Path) -> None:
    """Without a head it looks unbroken, and the command says that it cannot see this."""
    rewrite(store, "UPDATE events SET reason = 'nothing to see here' WHERE id = 2")
    blind = study("audit", "verify", "--json")
    assert (blind.status, blind.json["ok"]) == (0, True)
    assert "rewritten whole, cut" in blind.json["cannot_see"]
    found = against(study, head)
    assert (found.status, found.json["ok"]) == (1, False)
    signed = study("signature", "verify", "--json")
    assert signed.status == 1
    assert any("cut or rewritten" in bad["problem"] for bad in signed.json["bad"])


def test_a_chain_that_was_cut_is_found(study: Study, store: Store, head: Path) -> None:
    place = int(json.loads(head.read_bytes())["head"].partition(":")[0])
    tamper(store, f"DELETE FROM events WHERE id >= {place}")
    assert study("audit", "verify").status == 0
    found = study("audit", "verify", "--against", head)
    assert found.status == 1
    assert "was cut" in found.out


def changed(path: Path, **members: Any) -> Path:
    document = {**json.loads(path.read_bytes()), **members}
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))
    return path


@pytest.mark.parametrize(
    "member", ["head", "study", "at", "meaning", "sha256", "fingerprint", "signer"]
)
def test_what_is_told_beside_the_statement_is_what_was_signed(
    study: Study, head: Path, member: str
) -> None:
    told = json.loads(head.read_bytes())[member]
    result = against(study, changed(head, **{member: ("2" if told[0] == "1" else "1") + told[1:]}))
    assert (result.status, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1
    assert f"its {member} is not what was signed" in result.err or member == "study"


def test_a_changed_statement_or_signature_is_refused(study: Study, head: Path) -> None:
    whole = json.loads(head.read_bytes())
    statement = whole["statement"].replace("annotator:4", "annotator:1")
    assert statement != whole["statement"]
    assert "does not hold" in against(study, changed(head, statement=statement)).err
    for signature in ("", "no base64", base64.b64encode(bytes(64)).decode()):
        head.write_text(json.dumps(whole))
        assert "does not hold" in against(study, changed(head, signature=signature)).err


def test_a_head_signed_with_a_strangers_key_is_refused(study: Study, head: Path) -> None:
    """Its signature is right, but the key is not on record."""
    stranger = Ed25519PrivateKey.generate()
    whole = json.loads(head.read_bytes())
    forged = stranger.sign(whole["statement"].encode())
    public = stranger.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    result = against(
        study,
        changed(
            head,
            signature=base64.b64encode(forged).decode(),
            public_key=pem,
            fingerprint=public_fingerprint(public),
        ),
    )
    assert result.status == 1
    assert "not on record" in result.err


def test_a_head_signed_after_its_key_was_revoked_is_refused(
    study: Study, store: Store, head: Path
) -> None:
    tamper(store, "UPDATE signing_keys SET revoked_at = '2020-01-01 00:00:00'")
    assert "after its key was revoked" in against(study, head).err


def test_part_of_a_signature_is_none(study: Study, head: Path) -> None:
    assert "part of a signature" in against(study, changed(head, signature=None)).err


def test_an_unsigned_head_counts_for_what_it_is(study: Study, store: Store, head: Path) -> None:
    members = dict.fromkeys(
        ("signer", "meaning", "sha256", "fingerprint", "public_key", "statement", "signature")
    )
    result = against(study, changed(head, **members))
    assert result.status == 0, result.err
    assert result.json["against"]["signed_by"] is None
    assert "not signed" in result.json["cannot_see"]
    rewrite(store, "UPDATE events SET reason = 'nothing to see here' WHERE id = 2")
    assert against(study, head).status == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"\xff", b'{"format":"x"}', b"[" * 100_000, b" " * 70_000 + b"{}"],
)
def test_what_is_no_head_is_refused(study: Study, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "head.json"
    path.write_bytes(content)
    result = against(study, path)
    assert (result.status, result.out) == (1, "")
    assert "is no signature or head" in result.err
    assert "no head and no file" in against(study, tmp_path / "nowhere").err


def test_another_studys_head_is_refused(study: Study, head: Path, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    create_or_upgrade(other)[0].close()
    result = study("audit", "verify", "--against", head, "--store", other)
    assert result.status == 1
    assert "of another study" in result.err


def test_nobody_vouches_for_a_broken_trail(study: Study, store: Store, tmp_path: Path) -> None:
    key = make_key(study, "L", tmp_path)
    tamper(store, "UPDATE events SET reason = 'x' WHERE id = 2")
    result = study("audit", "head", "--by", "L", "--to", tmp_path / "h", *key)
    assert result.status == 1
    assert "broken at event 2" in result.err
    assert not (tmp_path / "h").exists()


def test_an_earlier_head_is_not_written_over(study: Study, head: Path, tmp_path: Path) -> None:
    before = head.read_bytes()
    key = ("--key", tmp_path / "L.pem", "--passphrase-file", next(tmp_path.glob("secret-*")))
    assert "never written over" in study("audit", "head", "--by", "L", "--to", head, *key).err
    assert head.read_bytes() == before
    assert study("audit", "head", "--by", "L", "--to", tmp_path / "h2").status == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=7, max_size=7))
def test_a_statement_is_what_the_standard_library_writes(texts: list[str]) -> None:
    """Whatever stands in it: sorted keys, no spaces, UTF-8; and it reads back."""
    statement = Statement(*texts)
    plain = json.dumps(
        dict(zip(sorted(Statement.__struct_fields__), texts, strict=True)),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert json.loads(statement.to_bytes()) == json.loads(plain)
    assert msgspec.json.decode(statement.to_bytes(), type=Statement) == statement
    if all(text.isprintable() for text in texts):
        assert statement.to_bytes() == plain.encode()
