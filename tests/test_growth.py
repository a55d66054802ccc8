"""Who asks for one slide, read or dispute does not wait for a whole table to be read.

No times are taken: the plans of both databases say whether an index leads to the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text

from annotation.history import history
from annotation.lookup import find_protocol, find_slide
from annotation.pull import PullRequest, pull
from annotation.sources import open_sources
from annotation.store import Store
from annotation.tables import Annotation
from consensus.adjudication import decide
from consensus.provenance.slide_page import slide_page
from consensus.provenance.trace import trace
from consensus.queue.adjudication_queue import State, entries_of, queue
from consensus.queue.queue_order import ORDERS
from consensus.runs import find_run
from consensus.study.study_ratings import rate
from tests.conftest import CommandResult, feature, square
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases

GROWING = (
    "annotations", "consensus_items", "decisions", "disputes", "events", "pushed_objects", "revisions",
)  # fmt: skip

Statements = list[tuple[str, Any]]


@contextmanager
def statements(store: Store) -> Iterator[Statements]:
    """The statements that a store is asked meanwhile and that choose rows."""
    asked: Statements = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and "WHERE" in statement:
            asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    yield asked
    event.remove(store.engine, "before_cursor_execute", note)


def read_whole(connection: Connection, statement: str, parameters: Any) -> set[str]:
    """The growing tables that a statement reads from end to end."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = [re.match(r"SCAN (\w+)", str(row[3])) for row in plan]
        return {step[1] for step in steps if step and step[1] in GROWING}
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).one()
    return set(_scans(plan[0]["Plan"]))


def _scans(node: dict[str, Any]) -> Iterator[str]:
    found = node["Node Type"] == "Bitmap Heap Scan" or "Index Cond" in node
    if node.get("Relation Name") in GROWING and not found:
        yield node["Relation Name"]
    for inner in node.get("Plans", []):
        yield from _scans(inner)


@pytest.fixture
def disputed(
    study: Callable[..., CommandResult], write_export: Callable[..., Path], tmp_path: Path
) -> Callable[..., CommandResult]:
    """Two slides read by three people who differ on some objects; fused, decided in part, pushed."""
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
    assert study("slide", "add", "S2", *size).status == 0
    for slide in ("S1", "S2"):
        for number, rater in enumerate(("P1", "P2", "P3")):
            # Of nine squares some are of as many classes as raters, of different sizes.
            drawn = [
                feature(
                    square(10 + 100 * place, 10, 30 + 5 * place),
                    CLASSES[(place % 2) * number],
                    name=f"{slide} {rater}",
                )
                for place in range(9)
            ]
            export = write_export(drawn, rater, slide)
            named = ("--annotator", rater, "--protocol", "prostate")
            assert study("pull", export, *named).status == 0
    run = study("consensus", "run", "--protocol", "prostate", "--method", "majority", "--json")
    assert run.json["disputes"] == 8
    decided = study("adjudicate", "decide", 2, 5, "--class", "Benign", "--by", "L", "--reason", "r")
    assert decided.status == 0, decided.err
    assert study("push", "--run", 1, "--to", tmp_path / "pushed").status == 0
    return study


CLASSES = ("Benign", "Low grade", "High grade")


def test_no_question_about_one_slide_reads_a_table_that_grows_from_end_to_end(
    disputed: Callable[..., CommandResult], store: Store, write_export: Callable[..., Path]
) -> None:
    export = write_export([feature(square(10, 10, 31), "Benign")], "P1", "S1")
    with statements(store) as asked:
        request = PullRequest(
            open_sources(export), annotator="P1", protocol="prostate", accept_removals=True
        )
        pull(store, request)
        with store.reading() as session:
            slide = find_slide(session, "S1")
            uuid = session.scalars(select(Annotation.uuid).where(Annotation.id == 1)).one()
            history(session, "S1", "P1")
            history(session, "S1", "P1", as_of="2")
            rate(session, find_protocol(session, None), slide=slide)
            slide_page(session, "S1")
            trace(session, uuid)
            entries_of(session, find_run(session), [3])
        with store.writing() as session:
            decide(session, 3, by="L", reason="seen", answer="exclude")
    told = " ".join(statement for statement, _ in asked)
    assert all(f"FROM {table}" in told or f"JOIN {table}" in told for table in GROWING)
    with store.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            # In a store this small it would read tables whole although there is an index.
            for way in ("seqscan", "hashjoin", "mergejoin"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        for statement, parameters in asked:
            assert read_whole(connection, statement, parameters) == set(), statement


def test_a_missing_index_would_be_noticed(
    disputed: Callable[..., CommandResult], store: Store
) -> None:
    """The test above can fail: a table without the index is read whole, and that is seen."""
    with store.writing() as session:
        session.execute(text("DROP INDEX ix_pushed_objects_slide_id"))
    with statements(store) as asked, store.reading() as session:
        slide_page(session, "S1")
    with store.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = [read_whole(connection, *statement) for statement in asked]
    assert {"pushed_objects"} in found


def test_agreement_of_one_slide_is_that_of_a_study_with_this_slide_alone(
    disputed: Callable[..., CommandResult], write_export: Callable[..., Path]
) -> None:
    """What another slide holds is no part of it, and a slide that nobody read has none."""
    alone = disputed("agreement", "--slide", "S1", "--bootstrap", 0, "--json").json
    assert alone["slide"] == "S1"
    assert alone["items"] * 2 == disputed("agreement", "--bootstrap", 0, "--json").json["items"]
    moved = write_export([feature(square(500, 500), "High grade", name="n")], "P1", "S2")
    named = ("--annotator", "P1", "--protocol", "prostate", "--accept-removals")
    assert disputed("pull", moved, *named).status == 0
    assert disputed("agreement", "--slide", "S1", "--bootstrap", 0, "--json").json == alone
    assert disputed("agreement", "--slide", "S2", "--bootstrap", 0, "--json").json != alone
    assert "of slide S1" in disputed("agreement", "--slide", "S1").out
    assert disputed("slide", "add", "S3", "--width", 9, "--height", 9, "--mpp", 1).status == 0
    for line, said in (
        (("--slide", "S3"), "no read counts under protocol 'prostate' version '1' on slide 'S3'"),
        (("--slide", "S4"), "no slide 'S4'"),
        (("--slide", "S1", "--reference", "adjudicated"), "leave --as-of, --slide and"),
        (("--slide", "S1", "--table", moved), "--table needs no store"),
    ):
        result = disputed("agreement", *line)
        assert result.status == 1
        assert said in result.err
        assert result.err.count("\n") == 1


def test_a_limited_queue_is_the_beginning_of_the_whole(
    disputed: Callable[..., CommandResult], store: Store
) -> None:
    """In every order, of all disputes or of those in one state."""
    n_disputes: dict[State | None, int] = {None: 8, "open": 6, "decided": 2}
    with store.reading() as session:
        run = find_run(session)
        for order, (state, n) in product(ORDERS, n_disputes.items()):
            whole = queue(session, run, order=order, seed=3, state=state)
            assert len(whole) == n
            for limit in (1, 5, 50):
                first = queue(session, run, order=order, seed=3, state=state, limit=limit)
                assert [e.to_dict() for e in first] == [e.to_dict() for e in whole[:limit]]


def test_a_run_that_holds_no_entropy_is_limited_all_the_same(
    disputed: Callable[..., CommandResult], store: Store
) -> None:
    """As runs of the first schema do; their order comes from what they hold."""
    tamper(store, "UPDATE disputes SET entropy = NULL, region = NULL")
    with store.reading() as session:
        run = find_run(session)
        whole = [entry.dispute for entry in queue(session, run)]
        assert [entry.dispute for entry in queue(session, run, limit=3)] == whole[:3]


def test_the_list_says_how_many_disputes_are_left(disputed: Callable[..., CommandResult]) -> None:
    document = disputed("adjudicate", "list", "--limit", 2, "--json").json
    assert (len(document["disputes"]), document["open"]) == (2, 6)
    assert "6 disputes of run 1 still open." in disputed("adjudicate", "list", "--limit", 2).out
    answer = ("--reason", "looked again", "--by", "L")
    assert "7 still open" in disputed("adjudicate", "reopen", 2, *answer).out
    assert disputed("adjudicate", "list", "--json").json["open"] == 7
