"""What held on the day of a read is stored with it, and later corrections leave it as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from annotation.entitlement import entitlement, role_on
from annotation.errors import InputError, UnknownNameError
from annotation.people import add_annotator, correct_credential, parse_credential
from annotation.protocol import parse_protocol
from annotation.store import Store
from annotation.tables import CredentialCorrection, Event, PullRead
from tests.conftest import CommandResult, feature, square

Study = Callable[..., CommandResult]
BOARD = parse_credential("board:ABP:1")
RULES = """
name = "strict"
version = "1"
task = "regions"
[domain]
rule = "slide"
[require]
credentials = ["board"]
{more}
[[classes]]
name = "Benign"
"""
STRICT = parse_protocol(RULES.format(more=""), "test")


def missing(store: Store, day: date, handle: str = "P1") -> str | None:
    with store.writing() as session:
        person = add_annotator(session, handle, "pathologist", email="a@b.c")
        return entitlement(session, person, STRICT, day).missing


def test_a_correction_holds_from_when_it_is_made_and_the_record_stays(store: Store) -> None:
    with store.writing() as session:
        add_annotator(session, "P1", "pathologist", credentials=[BOARD], valid_to=date(2026, 1, 31))
    assert missing(store, date(2026, 2, 1)) == "credential 'board' not in force on 2026-02-01"
    with store.writing() as session:
        correct_credential(session, "P1", BOARD, valid_to=date(2026, 12, 31), reason="renewed")
    assert missing(store, date(2026, 2, 1)) is None
    with store.writing() as session:
        correct_credential(session, "P1", BOARD, withdrawn=True, reason="forged")
    assert missing(store, date(2026, 1, 1)) is not None
    with store.reading() as session:
        corrections = session.scalars(select(CredentialCorrection)).all()
        actions = session.scalars(select(Event.action)).all()
    assert [row.reason for row in corrections] == ["renewed", "forged"]
    assert {"credential corrected", "credential withdrawn"} <= set(actions)


@pytest.mark.parametrize("verb", ["UPDATE credential_corrections SET reason = 'x'", "DELETE FROM credential_corrections"])  # fmt: skip
def test_the_database_refuses_to_change_a_correction(store: Store, verb: str) -> None:
    with store.writing() as session:
        add_annotator(session, "P1", "pathologist", credentials=[BOARD])
        correct_credential(session, "P1", BOARD, withdrawn=True, reason="r")
    with pytest.raises(DBAPIError, match="append-only"), store.engine.begin() as connection:
        connection.execute(text(verb))


def test_what_cannot_be_corrected_is_refused(store: Store) -> None:
    with store.writing() as session:
        add_annotator(session, "P1", "pathologist", credentials=[BOARD])
        with pytest.raises(UnknownNameError, match="no credential"):
            correct_credential(session, "P1", parse_credential("board:ABP:2"), reason="r")
        with pytest.raises(InputError, match="needs a reason"):
            correct_credential(session, "P1", BOARD, reason=" ")
        with pytest.raises(InputError, match="lies after"):
            correct_credential(
                session, "P1", BOARD, valid_from=date(2026, 2, 1), valid_to=date(2026, 1, 1),
                reason="r",
            )  # fmt: skip


def test_a_role_is_that_of_the_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for day, role in ((1, "trainee"), (10, "pathologist"), (20, "senior")):
        moment = datetime(2026, 3, day, 12, tzinfo=UTC)
        monkeypatch.setattr("annotation.audit.now", lambda moment=moment: moment)
        with store.writing() as session:
            person = add_annotator(session, "P1", role)
    with store.reading() as session:
        roles = {
            day: role_on(session, person, date(2026, 3, day)) for day in (1, 9, 10, 19, 20, 31)
        }
        before = role_on(session, person, date(2025, 1, 1))
    assert roles == {
        1: "trainee", 9: "trainee", 10: "pathologist", 19: "pathologist", 20: "senior", 31: "senior",
    }  # fmt: skip
    assert before == "trainee"


def pulled(study: Study, write_export: Any, tmp_path: Path, more: str = "") -> dict[str, Any]:
    file = tmp_path / "strict.toml"
    file.write_text(RULES.format(more=more), encoding="utf-8")
    assert study("protocol", "add", file).status == 0
    export = write_export([feature(square(0, 0), "Benign")], "S1")
    result = study(
        "pull", export, "--annotator", "P1", "--protocol", "strict", "--slide", "S1",
        "--read-date", "2026-05-01", "--json",
    )  # fmt: skip
    assert result.status == 0, result.err
    read: dict[str, Any] = result.json["reads"][0]
    return read


def test_a_read_without_its_credential_is_kept_excluded_and_its_reason_shown_everywhere(
    study: Study, write_export: Any, tmp_path: Path, store: Store
) -> None:
    read = pulled(study, write_export, tmp_path)
    assert read["excluded"] == "credential 'board' not recorded on 2026-05-01"
    agreement = study("agreement", "--protocol", "strict", "--json")
    assert read["excluded"] in agreement.out + agreement.err
    page = study("slide", "show", "S1", "--json").json
    assert page["reads"][0]["excluded"] == read["excluded"]
    assert page["reads"][0]["entitlement"]["credentials"] == []


def test_one_who_is_too_junior_for_the_protocol_is_excluded(
    study: Study, write_export: Any, tmp_path: Path
) -> None:
    read = pulled(study, write_export, tmp_path, more='roles = ["senior", "lead"]')
    assert read["excluded"] == "role 'pathologist' on 2026-05-01, senior or lead required"


def test_what_held_then_stays_with_the_read(
    study: Study, write_export: Any, tmp_path: Path, store: Store
) -> None:
    assert study("annotator", "add", "P1", "--role", "pathologist", "--credential", "board:ABP:1").status == 0  # fmt: skip
    assert pulled(study, write_export, tmp_path)["excluded"] is None
    corrected = study(
        "annotator", "correct", "P1", "--credential", "board:ABP:1", "--withdrawn", "--reason", "x"
    )
    assert corrected.status == 0, corrected.err
    with store.reading() as session:
        row = session.scalars(select(PullRead)).one()
    assert row.excluded is None
    assert row.circumstances is not None
    held = row.circumstances["entitlement"]
    assert (held["role"], [c["kind"] for c in held["credentials"]]) == ("pathologist", ["board"])
    assert row.circumstances["blinded"] is None
    assert row.circumstances["ai_assisted"] is False
