"""Handles, credentials in force, and that names stay in their own table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from sqlalchemy import delete, select

from annotation.entitlement import entitlement
from annotation.errors import ConflictError, InputError
from annotation.people import add_annotator, parse_credential
from annotation.protocol import Protocol, parse_protocol
from annotation.store import Store
from annotation.tables import Annotator, Credential, Event, Identity

PROTOCOL = """
name = "p"
version = "2"
task = "regions"
[require]
credentials = ["board"]
training = true
[[classes]]
name = "A"
"""


@pytest.fixture
def strict() -> Protocol:
    return parse_protocol(PROTOCOL, "test")


def test_a_credential_counts_on_its_first_and_last_day_only(store: Store, strict: Protocol) -> None:
    with store.writing() as session:
        person = add_annotator(
            session,
            "P1",
            "pathologist",
            credentials=[parse_credential("board:ABP:1:2"), parse_credential("training:us:p@2")],
            valid_from=date(2026, 1, 1),
            valid_to=date(2026, 12, 31),
        )

        def missing(day: date) -> str | None:
            return entitlement(session, person, strict, day).missing

        assert missing(date(2026, 1, 1)) is None
        assert missing(date(2026, 12, 31)) is None
        assert missing(date(2027, 1, 1)) == "credential 'board' not in force on 2027-01-01"
        assert session.scalars(select(Credential.number)).first() == "1:2"


def test_without_a_credential_or_training_the_reason_says_which(
    store: Store, strict: Protocol
) -> None:
    with store.writing() as session:
        person = add_annotator(session, "P1", "pathologist")
        day = date(2026, 1, 1)
        assert "'board' not recorded" in str(entitlement(session, person, strict, day).missing)
        add_annotator(session, "P1", "pathologist", credentials=[parse_credential("board:A:1")])
        assert "training for p@2" in str(entitlement(session, person, strict, day).missing)


@pytest.mark.parametrize("text", ["board", "board:ABP", "::", "board::1"])
def test_a_credential_that_lacks_a_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="KIND:ISSUER:NUMBER"):
        parse_credential(text)


def test_the_same_handle_twice_is_a_conflict_but_a_new_role_is_none(store: Store) -> None:
    with store.writing() as session:
        add_annotator(session, "P1", "trainee")
        with pytest.raises(ConflictError, match="exists already as trainee"):
            add_annotator(session, "P1", "trainee")
        assert add_annotator(session, "P1", "pathologist").role == "pathologist"
        actions = session.scalars(select(Event.action)).all()
    assert actions == ["store created", "annotator added", "role changed"]


def test_names_can_be_emptied_and_never_reach_the_trail(store: Store) -> None:
    with store.writing() as session:
        add_annotator(session, "P1", "lead", full_name="Maria Meier", email="m@example.org")
    with store.writing() as session:
        assert session.scalars(select(Identity.full_name)).all() == ["Maria Meier"]
        for event in session.scalars(select(Event)):
            assert "Meier" not in f"{event.old}{event.new}{event.reason}{event.actor}"
        session.execute(delete(Identity))
        assert session.scalars(select(Annotator.handle)).all() == ["P1"]


def test_the_command_refuses_an_unknown_role_with_status_2(
    pathquorum: Callable[..., object],
) -> None:
    result = pathquorum("annotator", "add", "P1", "--role", "king")
    assert result.status == 2
    assert "pathologist" in result.err
    assert result.out == ""


def test_the_command_gives_the_keys_that_scripts_rely_on(pathquorum: Callable[..., object]) -> None:
    result = pathquorum("annotator", "add", "Ünal 3", "--role", "senior", "--json")
    assert result.json["handle"] == "Ünal 3"
    assert result.json["role"] == "senior"


def test_dates_the_wrong_way_round_are_refused(pathquorum: Callable[..., object]) -> None:
    arguments = ["--valid-from", "2026-02-01", "--valid-to", "2026-01-01"]
    result = pathquorum(
        "annotator", "add", "P1", "--role", "lead", "--credential", "a:b:c", *arguments
    )
    assert result.status == 1
    assert "swap" in result.err
    assert pathquorum("annotator", "list", "--json").json == {"annotators": []}
