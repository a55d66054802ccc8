"""A new version of a protocol says what it changes; what was read stays with its version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from annotation.audit import verify
from annotation.protocol import Protocol, parse_protocol
from annotation.protocol_changes import RULES_IN_WORDS, class_pairs, protocol_changes
from annotation.store import Store
from annotation.tables import Event
from tests.conftest import PROTOCOL, CommandResult, feature, square

Study = Callable[..., CommandResult]


def protocol(*classes: str, top: str = "", tables: str = "") -> Protocol:
    """A protocol of classes, each as the lines of its table."""
    written = "".join(f"[[classes]]\n{one}\n" for one in classes)
    text = f"name = 'p'\nversion = '1'\ntask = 'regions'\n{top}\n{tables}\n{written}"
    return parse_protocol(text, "p.toml")


def texts(old: Protocol, new: Protocol) -> list[str]:
    return [change.text for change in protocol_changes(old, new)]


def named(name: str, *aliases: str) -> str:
    return f"name = {name!r}\naliases = {list(aliases)}"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "[consensus]\nquorum = 0.6", "share of the votes that a class must exceed: 0.6, was 0.5"),
        ("", "[consensus]\nmin_raters = 3", "raters that a consensus needs: 3, was 2"),
        (
            "[consensus.role_weights]\nsenior = 2",
            "",
            "what the vote of each role weighs: none, was senior 2",
        ),
        ("", "[domain]\nrule = 'slide'", "domain of a read: slide, was declared"),
        ("", "[dispute]\ntolerance_um = 8", "width in um of strips that are not disputed: 8, was 0"),
        ("", "[require]\ntraining = true", "training required of a reader: yes, was no"),
        ("", "[require]\nsignature = true", "signatures required: yes, was no"),
        (
            "[require]\ncredentials = ['board']",
            "[require]\ncredentials = ['board', 'fellowship']",
            "credentials required of a reader: 'board', 'fellowship', was 'board'",
        ),
        ("", "[blinding]\nslides = true", "names of slides are masked: yes, was no"),
        ("", "[adjudication]\nroles = ['lead']", "roles that may decide: 'lead', was 'senior', 'lead'"),
    ],
)  # fmt: skip
def test_each_rule_that_changed_is_a_line(old: str, new: str, says: str) -> None:
    one, other = protocol("name = 'A'", tables=old), protocol("name = 'A'", tables=new)
    assert says in texts(one, other)
    assert texts(one, one) == []


A, B = named("A"), named("B", "b")


@pytest.mark.parametrize(
    ("old", "new", "pairs", "says"),
    [
        ([A], [A, B], {"A": "A"}, ["class 'B' is new"]),
        ([A, B], [A], {"A": "A"}, ["class 'B' is gone"]),
        ([A], [named("Z", "A")], {"A": "Z"}, [
            "class 'A' is called 'Z' now", "class 'Z': aliases 'A', were none"]),
        ([A, B], [B, A], {"A": "A", "B": "B"}, ["classes stand in another order: 'B', 'A'"]),
        ([A, B], [named("A", "B")], {}, [
            "class 'A' is not what it was: it stands for what was 'A', 'B'",
            "class 'B' is gone; what is written so is read as 'A'"]),
        ([B], [named("B"), named("b")], {}, [
            "class 'B' is not what it was: what was written so is read as 'B', 'b'",
            "class 'b' is new; what is written so was read as 'B'"]),
        ([A, B], [named("C", "A", "B")], {}, [
            "class 'A' is gone; what is written so is read as 'C'",
            "class 'B' is gone; what is written so is read as 'C'",
            "class 'C' is new; what is written so was read as 'A', 'B'"]),
        ([A, B], [A, named("B")], {"A": "A", "B": "B"}, ["class 'B': aliases none, were 'b'"]),
        ([A + "\norder = 1"], [A], {"A": "A"}, ["class 'A': order none, was 1"]),
        ([A], [A + "\ncolor = '#00ff00'"], {"A": "A"}, ["class 'A': colour #00FF00, was none"]),
    ],
)  # fmt: skip
def test_a_class_is_the_same_where_all_that_is_written_for_it_means_the_same(
    old: list[str], new: list[str], pairs: dict[str, str], says: list[str]
) -> None:
    one, other = protocol(*old), protocol(*new)
    assert class_pairs(one, other) == pairs
    assert class_pairs(other, one) == {name: former for former, name in pairs.items()}
    assert texts(one, other) == says


def _leaves(content: Any, key: str = "") -> set[str]:
    if isinstance(content, dict) and key != "consensus.role_weights":
        return {leaf for name, part in content.items() for leaf in _leaves(part, f"{key}.{name}")}
    return {key.removeprefix(".")}


def test_every_key_of_a_protocol_has_its_words() -> None:
    """A rule that is added to protocols cannot be forgotten here."""
    full = protocol(
        "name = 'A'",
        tables="[consensus.role_weights]\nlead = 1\n[require]\nroles = ['lead']\n"
        "[blinding]\nslides = true",
    ).to_dict()
    keys = {leaf.split(".role_weights")[0] for leaf in _leaves(full)}
    rules = {key.split(".role_weights")[0] for key in RULES_IN_WORDS}
    assert keys - {"name", "version", "classes"} == rules


NAMES = ("A", "B", "C", "D")
CLASSES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(NAMES)},
        optional={
            "color": st.sampled_from(["#000000", "#FFFFFF"]),
            "aliases": st.lists(st.sampled_from(["a", "b", "c"]), max_size=1),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=(lambda one: one["name"], lambda one: str(one.get("aliases") or one["name"])),
)
PROTOCOLS = st.builds(
    lambda classes, quorum, raters, rule, training: Protocol.from_dict(
        {
            "name": "p",
            "version": "1",
            "task": "objects",
            "domain": {"rule": rule},
            "consensus": {"quorum": quorum, "min_raters": raters},
            "require": {"training": training},
            "classes": classes,
        }
    ),
    CLASSES,
    st.sampled_from([0.5, 0.6]),
    st.sampled_from([2, 3]),
    st.sampled_from(["slide", "union"]),
    st.booleans(),
)


@given(PROTOCOLS, PROTOCOLS)
def test_versions_differ_by_their_digest_where_a_change_is_told_and_only_there(
    one: Protocol, other: Protocol
) -> None:
    changes = protocol_changes(one, other)
    assert (one.sha256 != other.sha256) == bool(changes)
    assert json.loads(json.dumps([change.to_dict() for change in changes])) == [
        change.to_dict() for change in changes
    ]
    assert all("\n" not in change.text for change in changes)
    pairs = class_pairs(one, other)
    assert len(set(pairs.values())) == len(pairs)
    assert class_pairs(other, one) == {name: former for former, name in pairs.items()}


SECOND = (
    PROTOCOL.replace('version = "1"', 'version = "2"')
    .replace('name = "Low grade"', 'name = "Grade 1"\naliases = ["Low grade"]')
    .replace(
        "[dispute]", "[consensus]\nquorum = 0.6\n[consensus.role_weights]\nlead = 2\n[dispute]"
    )
)
CHANGES = [
    "class 'Low grade' is called 'Grade 1' now",
    "class 'Grade 1': aliases 'Low grade', were none",
    "share of the votes that a class must exceed: 0.6, was 0.5",
    "what the vote of each role weighs: lead 2, was none",
]


@pytest.fixture
def second(study: Study, tmp_path: Path) -> CommandResult:
    """What `protocol add` says of the second version."""
    (tmp_path / "second.toml").write_text(SECOND, encoding="utf-8")
    result = study("protocol", "add", tmp_path / "second.toml", "--json")
    assert result.status == 0, result.err
    return result


@pytest.mark.both_databases
def test_adding_a_version_says_and_records_what_it_changes(
    study: Study, second: CommandResult, store: Store, tmp_path: Path
) -> None:
    """In the document, in plain lines and in the trail; adding it again says the same."""
    assert second.json["against"] == "1"
    assert [change["text"] for change in second.json["changes"]] == CHANGES
    assert second.json["changes"][2] == {
        "key": "consensus.quorum",
        "old": 0.5,
        "new": 0.6,
        "text": CHANGES[2],
    }
    again = study("protocol", "add", tmp_path / "second.toml")
    assert again.out.splitlines()[1:] == [
        "Against version 1 it changes:",
        *(f"  {line}" for line in CHANGES),
    ]
    with store.reading() as session:
        events = session.scalars(select(Event).where(Event.action == "protocol added")).all()
        assert len(events) == 2
        told = events[1].new or {}
        assert told["changes"] == second.json["changes"]
        assert told["previous"]["version"] == "1"
        assert "changes" not in (events[0].new or {})
        assert verify(session).ok


def test_a_version_can_be_shown_again_against_any_other(
    study: Study, second: CommandResult, tmp_path: Path
) -> None:
    shown = study("protocol", "show", "prostate", "--json").json
    assert (shown["version"], shown["against"]) == ("2", "1")
    assert shown["changes"] == second.json["changes"]
    assert shown["text"] == SECOND
    assert (shown["signed_by"], shown["signed"]) == (None, False)
    first = study("protocol", "show", "prostate", "--version", "1", "--json").json
    assert (first["against"], first["changes"]) == (None, [])
    back = study("protocol", "show", "prostate", "--version", "1", "--against", "2", "--json").json
    assert "class 'Grade 1' is called 'Low grade' now" in [c["text"] for c in back["changes"]]
    lines = study("protocol", "show", "prostate").out.splitlines()
    assert [line.strip() for line in lines if line.startswith("  ")] == CHANGES
    assert 'name = "Grade 1"' in lines
    refused = study("protocol", "show", "prostate", "--against", "3")
    assert (refused.status, refused.out) == (1, "")
    assert "no protocol 'prostate@3'" in refused.err


def test_what_was_read_stays_with_its_version(
    study: Study, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    """A later version takes nothing of it, and the run under the first is as it was."""
    for x, handle in enumerate(("P1", "P2")):
        export = write_export([feature(square(x, 0), "Low grade")], handle)
        assert study("pull", export, "--annotator", handle, "--protocol", "prostate").status == 0
    before = study("agreement", "--protocol", "prostate@1", "--json").json
    (tmp_path / "second.toml").write_text(SECOND, encoding="utf-8")
    assert study("protocol", "add", tmp_path / "second.toml").status == 0
    assert study("agreement", "--protocol", "prostate@1", "--json").json == before
    refused = study("agreement", "--protocol", "prostate@2")
    assert refused.status == 1
    assert "no read counts under protocol 'prostate' version '2'" in refused.err
