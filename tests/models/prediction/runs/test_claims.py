"""Claims: a slide is one worker's at a time, and what a worker leaves behind is found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from annotation.store import Store, now, open_store
from annotation.tables import Event, Slide
from consensus.tables import Model, PredictedSlide, PredictionRun
from models.prediction.claims import Claim, Claims
from models.prediction.worker_names import WorkerName
from tests.models.prediction.runs.run_study import RunStudy

pytestmark = pytest.mark.both_databases

SHA = "0" * 64
RESULT = {"kind": "tiles", "max_probability": 0.75}


@pytest.fixture
def run_id(run_study: RunStudy) -> int:
    """A run of the slides a to d."""
    run_study.add_slides("abcd")
    with run_study.store.writing() as session:
        run = PredictionRun(
            name="run", at=now(), model_id=session.scalars(select(Model.id)).first(), members=[],
            settings={}, settings_sha256=SHA, folder="/run", software_version="0",
        )  # fmt: skip
        session.add(run)
        session.flush()
        slides = session.scalars(
            select(Slide.id).where(Slide.path.is_not(None)).order_by(Slide.id)
        ).all()
        session.add_all(
            PredictedSlide(run_id=run.id, slide_id=key, state="waiting", attempts=0)
            for key in slides
        )
        return run.id


@pytest.fixture
def claims(run_study: RunStudy, run_id: int) -> Claims:
    return Claims(run_study.store, run_id)


@pytest.fixture
def me() -> WorkerName:
    return WorkerName.of_this_process("session")


def taken(claims: Claims, worker: WorkerName) -> Claim:
    claim = claims.take(worker)
    assert claim is not None
    return claim


def test_many_workers_never_hold_the_same_slide(
    run_study: RunStudy, run_id: int, store_url: str, me: WorkerName
) -> None:
    run_study.add_slides([f"s{number}" for number in range(30)])
    with run_study.store.writing() as session:
        for key in session.scalars(select(Slide.id).where(Slide.name.like("s%"))).all():
            session.add(PredictedSlide(run_id=run_id, slide_id=key, state="waiting", attempts=0))

    def work(number: int) -> list[str]:
        store: Store = open_store(store_url)
        mine, names = replace(me, pid=10**6 + number), []
        claims = Claims(store, run_id)
        while (claim := claims.take(mine)) is not None:
            names.append(claim.image.name)
            assert claims.finish(mine, claim, RESULT, output_sha256=SHA, regions_sha256=SHA)
        store.close()
        return names

    with ThreadPoolExecutor(4) as pool:
        done = [name for names in pool.map(work, range(4)) for name in names]
    assert len(done) == len(set(done)) == 34
    assert set(run_study.states().values()) == {("done", 1)}


def test_claims_wait_for_no_writer_where_rows_are_locked(
    claims: Claims, me: WorkerName, run_study: RunStudy, database: str
) -> None:
    """A long pull holds up nobody who predicts; SQLite has one lock for all."""
    if database == "sqlite":
        pytest.skip("SQLite has one lock for all who write")
    with run_study.store.writing():
        claim = taken(claims, me)
        claims.renew(me, [claim])
    assert run_study.states()[claim.image.name] == ("claimed", 1)


def test_an_attempt_that_fails_is_repeated_last_and_the_third_ends_it(
    claims: Claims, me: WorkerName, run_study: RunStudy
) -> None:
    assert claims.fail(me, taken(claims, me), "torn") == "waiting"
    order = [taken(claims, me).image.name for _ in range(4)]
    assert order == ["b", "c", "d", "a"]
    assert claims.take(me) is None
    claims.lost(me, "its worker died", blamed=["a"])
    assert run_study.states() == {
        "a": ("waiting", 2), "b": ("waiting", 0), "c": ("waiting", 0), "d": ("waiting", 0)
    }  # fmt: skip
    for name in "bcda":
        claim = taken(claims, me)
        assert claim.image.name == name
        if name != "a":
            claims.finish(me, claim, RESULT, output_sha256=SHA, regions_sha256=SHA)
    claims.lost(me, "its worker died again")
    assert claims.counts() == {"waiting": 0, "claimed": 0, "done": 3, "failed": 1}
    assert claims.failures() == [("a", "its worker died again")]
    with run_study.store.reading() as session:
        events = session.scalars(select(Event).order_by(Event.id)).all()
        ended = Counter(event.action for event in events)
        assert (ended["slide predicted"], ended["prediction failed"]) == (3, 1)
        (failed,) = [event for event in events if event.action == "prediction failed"]
        assert failed.reason == "its worker died again"
        assert failed.new == {"prediction": "run", "attempts": 3}


def test_what_is_given_back_was_no_attempt_and_comes_after_the_others(
    claims: Claims, me: WorkerName, run_study: RunStudy
) -> None:
    claims.give_back(me, taken(claims, me))
    assert run_study.states()["a"] == ("waiting", 0)
    assert [taken(claims, me).image.name for _ in range(4)] == ["b", "c", "d", "a"]


def test_a_lease_that_runs_out_is_somebody_elses_and_the_late_one_changes_nothing(
    run_study: RunStudy, run_id: int, me: WorkerName
) -> None:
    claims = Claims(run_study.store, run_id, lease_s=0.5)
    elsewhere = replace(me, host="elsewhere", pid=1)
    late, renewed = taken(claims, elsewhere), taken(claims, elsewhere)
    deadline_s = time.monotonic() + 20
    while "a" not in claims.reap(me.session):
        assert time.monotonic() < deadline_s
        claims.renew(elsewhere, [renewed])
        time.sleep(0.05)
    states = run_study.states()
    assert (states["a"], states["b"]) == (("waiting", 1), ("claimed", 1))
    claims.finish(me, taken(claims, me), RESULT, output_sha256=SHA, regions_sha256=SHA)
    claims.finish(me, taken(claims, me), RESULT, output_sha256=SHA, regions_sha256=SHA)
    again = taken(claims, me)
    assert again.image.name == "a"
    assert not claims.finish(
        elsewhere, late, {"kind": "late"}, output_sha256=SHA, regions_sha256=SHA
    )
    assert claims.finish(me, again, RESULT, output_sha256=SHA, regions_sha256=SHA)
    assert claims.finish(me, again, RESULT, output_sha256=SHA, regions_sha256=SHA)  # said twice
    assert run_study.rows()["a"].result == RESULT


def test_a_process_that_is_gone_holds_nothing(
    claims: Claims, me: WorkerName, run_study: RunStudy
) -> None:
    """Its slides are free at once, and only under the eyes of its own supervisor was it an attempt."""
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    gone = replace(me, pid=ended.pid)
    ended.wait()
    reused = replace(me, started_s=me.started_s - 60)  # another process had our number
    elsewhere = replace(gone, host="elsewhere")
    for worker in (gone, replace(gone, session="earlier"), reused, elsewhere):
        taken(claims, worker)
    assert claims.reap("session", seen_to=[str(gone)]) == ["b", "c"]
    assert claims.reap("session") == ["a"]
    assert run_study.states() == {
        "a": ("waiting", 1), "b": ("waiting", 0), "c": ("waiting", 1), "d": ("claimed", 1)
    }  # fmt: skip


def test_a_name_that_nobody_can_read_holds_nothing(
    claims: Claims, me: WorkerName, run_study: RunStudy
) -> None:
    taken(claims, me)
    with run_study.store.writing() as session:
        session.execute(
            update(PredictedSlide).where(PredictedSlide.state == "claimed").values(worker="x/y")
        )
    assert claims.reap("session") == ["a"]
    assert WorkerName.parse(str(me)) == replace(me, started_s=round(me.started_s, 2))
    assert not me.is_gone()
