"""What pulls stored is bound to the trail: past the triggers nothing of it changes unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.pulled_digests import check_pulled
from annotation.store import Store
from annotation.tables import Annotation, PullRead, Read, Revision
from tests.conftest import CommandResult, feature, square
from tests.tampering import rewrite, tamper

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]


@pytest.fixture
def pulled(study: Study, write_export: Callable[..., Path]) -> Study:
    """Two reads of S1; the first in two pulls, of which the second changes and removes an object."""
    first = feature(square(0, 0), "Benign", id="6f1a3e0c-0a53-4f6e-9a5e-3d6f1a3e0c01")
    others = [feature(square(300, 300), "Low grade"), feature(square(500, 0), "High grade")]
    changed = feature(square(0, 0), "Low grade", id=first["id"])
    for handle, drawn in (("P1", [first, *others]), ("P2", [first]), ("P1", [changed, others[0]])):
        named = ("--annotator", handle, "--protocol", "prostate", "--read-date", "2026-03-02")
        result = study("pull", write_export(drawn, handle), *named, "--accept-copy")
        assert result.status == 0, result.err
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    return study


REVISION = {
    "annotation_id": "99",
    "pull_id": "2",
    "revision": "7",
    "state": "'changed'",
    "class": "'High grade'",
    "mapped_class": "'High grade'",
    "class_kind": "'ignored'",
    "object_type": "'detection'",
    "name": "'renamed'",
    "locked": "NOT locked",
    "parent": "'6f1a3e0c-0a53-4f6e-9a5e-3d6f1a3e0c02'",
    "z": "1",
    "t": "1",
    "c": "0",
    "geometry": "(SELECT r.geometry FROM revisions r WHERE r.id = 2)",
    "rated_geometry": "(SELECT r.geometry FROM revisions r WHERE r.id = 2)",
    "nucleus": "geometry",
    "measurements": """'{"area":1}'""",
    "extra": """'{"x":1}'""",
    "digest": "geometry_digest",
    "geometry_digest": "digest",
    "repair_px2": "0.5",
    "overhang_px2": "0.5",
    "derived_from": "'run:1'",
}
PULL_READ = {
    "pull_id": "2",
    "read_id": "2",
    "source_sha256": "(SELECT p.source_sha256 FROM pull_reads p WHERE p.id = 3)",
    "read_date": "'2026-03-01'",
    "read_date_source": "'inferred'",
    "counts": "'{}'",
    "rejections": "'[1]'",
    "copied": "'[1]'",
    "excluded": "'left out'",
    "circumstances": "'{}'",
}
READ = {
    "slide_id": "2",
    "annotator_id": "3",
    "protocol_id": "2",
    "replicate": "2",
    "based_on_id": "2",
}
CHANGES = {
    **{f"revisions.{name}": value for name, value in REVISION.items()},
    **{f"pull_reads.{name}": value for name, value in PULL_READ.items()},
    **{f"reads.{name}": value for name, value in READ.items()},
    "annotations.read_id": "99",
    "annotations.uuid": "'6f1a3e0c-0a53-4f6e-9a5e-3d6f1a3e0c09'",
    "pulls.at": "'2020-01-01 00:00:00.000000'",
    "pulls.source": "'elsewhere'",
    "pulls.software_version": "'9.9'",
}


def test_every_column_of_a_read_and_its_revisions_is_tried() -> None:
    for table in (Revision, PullRead, Read, Annotation):
        columns = {f"{table.__tablename__}.{column.name}" for column in table.__table__.columns}
        assert columns - CHANGES.keys() == {f"{table.__tablename__}.id"}


def test_what_nobody_changed_is_as_recorded(
    pulled: Study, store: Store, store_url: str, tmp_path: Path
) -> None:
    """Also in the other database, for a copy is the same store."""
    with store.reading() as session:
        found = check_pulled(session)
    assert (found.bound, found.unbound, found.faults) == (3, 0, [])
    assert pulled("store", "check", "--json").json["unbound_reads"] == 0
    assert pulled("slide", "show", "S1", "--json").json["not_as_recorded"] == []
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    assert pulled("store", "copy", store_url, copy).status == 0
    assert pulled("store", "check", "--store", copy, "--json").json["unbound_reads"] == 0


def test_a_changed_column_is_found(pulled: Study, store: Store) -> None:
    """Each by itself in the first row of its table, and set back before the next."""
    tables = {name.partition(".")[0] for name in CHANGES}
    tamper(store, *(f"CREATE TABLE kept_{t} AS SELECT * FROM {t} WHERE id = 1" for t in tables))
    unseen = []
    for column, value in CHANGES.items():
        table, _, name = column.partition(".")
        tamper(store, f"UPDATE {table} SET {name} = {value} WHERE id = 1")
        with store.reading() as session:
            found = check_pulled(session)
        if 1 not in {fault.read for fault in found.faults}:
            unseen.append(column)
        tamper(store, f"UPDATE {table} SET {name} = (SELECT {name} FROM kept_{table}) WHERE id = 1")
    assert not unseen
    with store.reading() as session:
        assert not check_pulled(session).faults


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE revisions SET class = 'Benign' WHERE id = 3", "pull 1 of read 1: what it stored"),
        ("DELETE FROM revisions WHERE id = 3", "pull 1 of read 1: what it stored was changed"),
        ("DELETE FROM revisions WHERE pull_id = 3", "pull 3 of read 1: what it stored was changed"),
        ("DELETE FROM pull_reads WHERE id = 2", "pull 2 of read 2: what it stored was changed"),
        (
            "INSERT INTO revisions (annotation_id, pull_id, revision, state, class_kind, "
            "object_type, locked, z, t, digest, geometry_digest) SELECT annotation_id, 2, 9, "
            "state, class_kind, object_type, locked, z, t, digest, geometry_digest "
            "FROM revisions WHERE id = 1",
            "pull 2 of read 1: no event of the trail tell",
        ),
    ],
    ids=["changed", "deleted", "all of a pull deleted", "its entry deleted", "inserted"],
)
def test_every_check_of_a_store_says_what_was_changed(
    pulled: Study, store: Store, statement: str, said: str
) -> None:
    """`store check` and `slide show` name the pull and the read, and nothing is released from it."""
    tamper(store, statement)
    assert pulled("audit", "verify").status == 0
    checked = pulled("store", "check")
    assert (checked.status, checked.out, checked.err.count("\n")) == (1, "", 1)
    assert said in checked.err
    shown = pulled("slide", "show", "S1")
    assert shown.status == 0
    assert said.replace("pull", "Pull", 1) in shown.out
    refused = pulled("release", "create", "v1", "--run", 1)
    assert (refused.status, refused.out) == (1, "")
    assert said in refused.err
    assert pulled("release", "list", "--json").json["releases"] == []


def test_a_second_event_for_a_changed_pull_does_not_cover_it(pulled: Study, store: Store) -> None:
    """Whoever can write to the database can go on with the chain, but not take an event's place."""
    from annotation.audit import record
    from annotation.pulled_digests import PULLED, stored_sha256

    tamper(store, "UPDATE revisions SET class = 'Benign' WHERE id = 3")
    with store.writing() as session:
        told = {"reads": [{"read": 1, "stored_sha256": stored_sha256(session, 1, 1)}]}
        record(session, actor=None, action=PULLED, subject="pull:1", new=told)
    assert "pull 1 of read 1: 2 events of the trail tell of it" in pulled("store", "check").err


def test_pulls_by_an_earlier_version_are_counted_as_unbound(pulled: Study, store: Store) -> None:
    """Their events bear no digest; a check says so instead of calling them changed."""
    rewrite(
        store,
        "UPDATE events SET new = '{\"reads\":[{\"read\":2}]}' WHERE subject = 'pull:2'",
    )
    assert pulled("store", "check", "--json").json["unbound_reads"] == 1
    assert "no digest of 1 read of pulls by an earlier version" in pulled("store", "check").out
