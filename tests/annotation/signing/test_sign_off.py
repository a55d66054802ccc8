"""A protocol that requires a signature is in force only once somebody signed it with their key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event
from tests.conftest import PROTOCOL, CommandResult, feature, square
from tests.signing import make_key
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]

SIGN = ("protocol", "sign", "strict", "--version", "1", "--by", "L")
STRICT = PROTOCOL.replace('"prostate"', '"strict"') + "[require]\nsignature = true\n"


@pytest.fixture
def strict(study: Study, tmp_path: Path) -> Study:
    """A study with a protocol that requires signatures, and nobody has signed it."""
    (tmp_path / "strict.toml").write_text(STRICT, encoding="utf-8")
    assert study("protocol", "add", tmp_path / "strict.toml").status == 0
    return study


@pytest.fixture
def pull(strict: Study, write_export: Callable[..., Path]) -> Callable[[], CommandResult]:
    """Pulls a read under that protocol."""
    export = write_export([feature(square(0, 0), "Benign")])
    return lambda: strict("pull", export, "--annotator", "P1", "--protocol", "strict")


def events(store: Store) -> int:
    with store.reading() as session:
        return len(session.scalars(select(Event.id)).all())


def listed(study: Study, name: str) -> tuple[str | None, bool]:
    rows = study("protocol", "list", "--json").json["protocols"]
    (row,) = [row for row in rows if row["name"] == name]
    return row["signed_by"], row["signed"]


def test_a_name_alone_does_not_put_it_in_force(
    strict: Study, pull: Callable[[], CommandResult], store: Store, tmp_path: Path
) -> None:
    """`protocol sign --by` is refused in one line and leaves nothing behind; with a key it holds."""
    key = make_key(strict, "L", tmp_path)
    before = events(store)
    refused = strict(*SIGN)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == (
        "Error: protocol 'strict' version '1' requires signatures and this approval has none; "
        "sign it with --key FILE (`pathquorum key create` makes one)\n"
    )
    assert events(store) == before
    assert listed(strict, "strict") == (None, False)
    assert "it requires a signature and has none" in pull().err
    assert strict(*SIGN, *key).status == 0
    assert listed(strict, "strict") == ("L", True)
    assert pull().status == 0
    assert "is signed already" in strict(*SIGN, *key).err


def test_one_that_was_approved_by_name_alone_waits_for_the_key(
    strict: Study, pull: Callable[[], CommandResult], store: Store, tmp_path: Path
) -> None:
    """As stores of earlier versions may hold it: refused, shown as blocked, and can be mended."""
    other = make_key(strict, "P1", tmp_path)
    key = make_key(strict, "L", tmp_path)
    tamper(
        store,
        "UPDATE protocols SET signed_at = '2026-01-01 00:00:00', signed_by_id = "
        "(SELECT id FROM annotators WHERE handle = 'L') WHERE name = 'strict'",
    )
    refused = pull()
    assert refused.status == 1
    assert "was approved by name alone; sign it with `pathquorum protocol sign" in refused.err
    blocked = strict("status", "--json").json["protocols"][1]["blocked"]
    assert [(one["kind"], one["why"]) for one in blocked if one["kind"] == "signature"] == [
        ("signature", "it requires a signature and was approved by name alone")
    ]
    by_another = ("protocol", "sign", "strict", "--version", "1", "--by", "P1")
    assert "is signed already" in strict(*by_another, *other).err
    assert strict(*SIGN, *key).status == 0
    assert pull().status == 0
    assert strict("signature", "verify").status == 0


def test_who_approved_by_name_can_prove_it_later_and_once(study: Study, tmp_path: Path) -> None:
    sign = ("protocol", "sign", "prostate", "--version", "1", "--by", "L")
    key = make_key(study, "L", tmp_path)
    assert study(*sign).status == 0
    assert listed(study, "prostate") == ("L", False)
    assert "is signed already" in study(*sign).err
    assert study(*sign, *key).status == 0
    assert listed(study, "prostate") == ("L", True)
    assert "is signed already" in study(*sign, *key).err
