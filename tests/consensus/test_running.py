"""A run is computed while others work, and follows from what stands there when it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.lookup import find_protocol
from annotation.store import Store, open_store
from consensus.running import make_run
from consensus.runs import ComputedRun, compute_run, find_run, last_pull_before
from consensus.tables import ConsensusRun
from tests.conftest import CommandResult, feature, square

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]
Pull = Callable[[str, str], None]


@pytest.fixture
def pull(study: Study, write_export: Callable[..., Path]) -> Pull:
    """Pulls a square of a class for a rater."""

    def call(handle: str, label: str) -> None:
        named = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        path = write_export([feature(square(0, 0), label)], handle)
        result = study("pull", path, *named, "--accept-removals")
        assert result.status == 0, result.err

    return call


class Disturbed:
    """Computes a run; before it ends, somebody else does something, so many times."""

    def __init__(self, times: int, disturb: Callable[[], None]) -> None:
        self.times = times
        self.disturb = disturb
        self.computed: list[ComputedRun] = []

    def __call__(self, session: Session) -> ComputedRun:
        computed = compute_run(session, find_protocol(session, None), "majority", bootstrap=0)
        self.computed.append(computed)
        if len(self.computed) <= self.times:
            self.disturb()
        return computed


def input_digest(store: Store) -> str:
    with store.reading() as session:
        computed = compute_run(session, find_protocol(session, None), "majority", bootstrap=0)
    return computed.rated.input_digest


def test_what_nobody_disturbs_is_computed_once(pull: Pull, store: Store) -> None:
    pull("P1", "Benign")
    pull("P2", "High grade")
    compute = Disturbed(0, lambda: None)
    assert make_run(store, compute) == 1
    assert len(compute.computed) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_others_write_while_a_run_is_computed_and_it_follows_from_what_they_wrote(
    pull: Pull, store: Store, store_url: str, times: int
) -> None:
    """A pull goes through in the middle: it need not wait, and the run that is kept has seen it."""
    pull("P1", "Benign")
    pull("P2", "High grade")
    labels = iter(("Low grade", "High grade"))
    compute = Disturbed(times, lambda: pull("P1", next(labels)))
    number = make_run(store, compute)
    assert len(compute.computed) == times + 1
    with store.reading() as session:
        (run,) = session.scalars(select(ConsensusRun))
        assert (run.id, run.input_digest) == (number, input_digest(store))
        assert last_pull_before(session, run) == 2 + times
    digests = [computed.rated.input_digest for computed in compute.computed]
    assert len(set(digests)) == times + 1


def test_at_last_the_others_wait(
    pull: Pull, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often others write meanwhile, a run comes to its end: then it holds their lock."""
    from annotation.errors import StoreBusyError
    from annotation.people import add_annotator
    from annotation.stores import engines

    pull("P1", "Benign")
    pull("P2", "High grade")
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 0.2)
    went_through = []

    def disturb() -> None:
        other = open_store(store_url)
        try:
            with other.writing() as session:
                add_annotator(session, f"X{len(went_through)}", "trainee")
            went_through.append(True)
        except StoreBusyError:
            went_through.append(False)
        finally:
            other.close()

    compute = Disturbed(10, disturb)
    assert make_run(store, compute) == 1
    assert went_through == [True, True, False]


def test_a_decision_that_comes_in_the_middle_is_inherited(
    study: Study, pull: Pull, store: Store
) -> None:
    pull("P1", "Benign")
    pull("P2", "High grade")
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    answer = ("--class", "Benign", "--by", "L", "--reason", "seen")
    compute = Disturbed(1, lambda: study("adjudicate", "decide", 1, *answer))
    number = make_run(store, compute)
    with store.reading() as session:
        assert find_run(session, number).summary["inherited"] == 1


def test_a_run_that_cannot_be_computed_leaves_nothing(study: Study, store: Store) -> None:
    refused = study("consensus", "run", "--protocol", "prostate")
    assert refused.status == 1
    assert "no read counts" in refused.err
    with store.reading() as session:
        assert session.scalars(select(ConsensusRun)).all() == []
