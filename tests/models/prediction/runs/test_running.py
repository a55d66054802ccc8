"""Runs of predictions: what goes wrong with one slide or worker, and what a run is held against."""

from __future__ import annotations

import hashlib
import html
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from annotation.errors import ConflictError, InputError, PathquorumError, RefusedError
from annotation.tables import Event, Slide
from consensus.tables import PredictionRun
from models.errors import ModelFileError, PredictionError, PredictionStoppedError
from models.prediction.carrying_out import carry_out
from models.prediction.chosen_slides import below, named_slides
from models.prediction.claims import LEASE_S
from models.prediction.run_watch import PAGE
from models.prediction.settings import PredictionSettings
from models.prediction.slide_file import read_slide_prediction
from models.prediction.slide_work import regions_path, slide_path
from tests.conftest import PROJECT_ROOT
from tests.models.prediction.runs.run_study import RunStudy
from tests.models.prediction.runs.stub_predictor import die_opening, open_nothing

STRANGE = "corrupt <b>&1"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_goes_wrong_with_one_slide_stops_no_other(run_study: RunStudy) -> None:
    """Workers that die, hang or grow are replaced; slides have three attempts, each with its reason."""
    slides = ["a", "b", "c", "dies", STRANGE, "odd", "hangs", "grows", "slow"]
    run_study.add_slides(slides)
    metrics = run_study.folder / "metrics" / "run.prom"
    with pytest.raises(PredictionError) as error:
        run_study.predict(*slides, workers=2, stalled_s=4, memory_bytes=10**9, metrics_file=metrics)
    assert error.value.slides == ("dies", STRANGE)
    message = str(error.value)
    assert message.startswith("2 of 9 slides failed: 'dies', 'corrupt <b>&1' (its worker died (si")
    states = run_study.states()
    assert {name for name, state in states.items() if state == ("done", 1)} == {*"abc", "slow"}
    for name in ("odd", "hangs", "grows"):
        assert states[name] == ("done", 2), name
    assert states["dies"] == states[STRANGE] == ("failed", 3)
    rows = run_study.rows()
    assert rows["dies"].reason == "its worker died (signal 9)"
    assert rows[STRANGE].reason == f"slide {STRANGE!r} can't be read at level 0"
    for name, row in rows.items():
        path = slide_path(run_study.folder / "run", name)
        assert path.exists() == (row.state == "done")
        if row.state == "done":
            assert row.output_sha256 == sha256(path)
            assert row.regions_sha256 == sha256(regions_path(run_study.folder / "run", name))
            assert read_slide_prediction(path).slide == name
            assert row.finished_at is not None
            assert (row.worker is None, row.claimed_until, row.reason) == (False, None, None)
    with run_study.store.reading() as session:
        actions = Counter(session.scalars(select(Event.action)))
    assert (actions["slide predicted"], actions["prediction failed"]) == (7, 2)

    page = (run_study.folder / "run" / PAGE).read_text(encoding="utf-8")
    text = page_text(page)
    assert "9: 7 done, 2 failed, 0 in hand, 0 waiting" in text
    assert f"slide {STRANGE!r} can't be read at level 0" in html.unescape(text)
    assert "<b>" not in page
    for why in ("signal 9", "grew over 1.00 GB", "no sign of progress for 4 s", "unknown error"):
        assert why in text, why

    found = {
        (sample.name, sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(metrics.read_text())
        for sample in family.samples
        if sample.labels.get("run") == "run"
    }
    assert found["pathquorum_predict_slides", "done"] == 7
    assert found["pathquorum_predict_slides", "failed"] == 2
    assert found["pathquorum_predict_workers_replaced_total", None] == 6
    assert found["pathquorum_predict_tiles_total", None] == 7 * 8
    assert found["pathquorum_predict_attempt_seconds_count", "done"] == 7


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "object", "form")
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_text(page: str) -> str:
    """What a page says; nothing of it lies elsewhere."""
    parser = _Text()
    parser.feed(page)
    assert all(address.startswith(("data:", "#")) for address in parser.addresses)
    return re.sub(r"\s+", " ", " ".join(parser.text))


def test_one_worker_and_four_give_the_same(run_study: RunStudy) -> None:
    names = [f"s{number}" for number in range(6)]
    run_study.add_slides(names)
    for to, workers in (("one", 1), ("four", 4)):
        document = run_study.predict(*names, to=to, workers=workers)
        assert document["slides"] == {"waiting": 0, "claimed": 0, "done": 6, "failed": 0}
    assert run_study.outputs("one") == run_study.outputs("four")
    assert len({row[0] for row in run_study.outputs("one").values()}) == 6


def test_killed_at_any_moment_it_does_only_what_was_in_hand_again(
    run_study: RunStudy, store_url: str
) -> None:
    """SIGKILL to the supervisor; its workers end by themselves, and the next start goes on at once."""
    names = [f"slow{number}" for number in range(10)]
    run_study.add_slides(names)
    run_study.predict(*names, to="alone")
    process = started(run_study, store_url)
    until(lambda: len(run_study.begun()) >= 5)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    until(lambda: not any(worker.is_running() for worker in workers))
    done = {name for name, (state, _) in run_study.states().items() if state == "done"}
    begun = run_study.begun()
    in_hand = len(set(begun)) - len(done)
    assert 0 < in_hand <= 2 * 3  # predicted, waiting to be written, being written
    begin_s = time.monotonic()
    # `R` has no image here, and so it fails.
    with pytest.raises(PredictionError, match="1 of 11 slides failed: 'R'"):
        carry_out(run_study.store, run_study.request())
    assert time.monotonic() - begin_s < LEASE_S  # no claim had to run out
    again = Counter(run_study.begun())
    assert {name for name, times in again.items() if times > 1} <= set(begun) - done
    assert all(attempts == 1 for name, (_, attempts) in run_study.states().items() if name != "R")
    ours = {name: said for name, said in run_study.outputs().items() if name != "R"}
    assert ours == run_study.outputs("alone")


def started(run_study: RunStudy, store_url: str) -> subprocess.Popen[bytes]:
    """A run of all slides by two workers, in processes of a group of their own."""
    module, folder = "tests.models.prediction.runs.killed", run_study.folder / "run"
    return subprocess.Popen(
        [sys.executable, "-m", module, store_url, str(folder), "2"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_signal_to_all_processes_at_once_is_no_attempt(
    run_study: RunStudy, store_url: str
) -> None:
    """As a scheduler sends it."""
    run_study.add_slides([f"slow{number}" for number in range(25)])
    process = started(run_study, store_url)
    until(lambda: len(run_study.begun()) >= 3)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) != 0
    states = Counter(run_study.states().values())
    assert states.pop(("failed", 3), 0) <= 1  # `R`, which has no image here
    assert set(states) <= {("waiting", 0), ("done", 1), ("waiting", 1)}
    in_hand = {name for name, state in run_study.states().items() if state == ("waiting", 1)}
    assert in_hand <= {"R"}


def until(holds: Callable[[], bool], longest_s: float = 300) -> None:
    """Wait for something."""
    deadline_s = time.monotonic() + longest_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_gives_back_what_is_in_hand(run_study: RunStudy, name: str) -> None:
    names = [f"slow{number}" for number in range(25)]
    run_study.add_slides(names)

    def signal_later() -> None:
        until(lambda: len(run_study.begun()) >= 2)
        os.kill(os.getpid(), getattr(signal, name))

    thread = threading.Thread(target=signal_later)
    thread.start()
    with pytest.raises(PredictionStoppedError, match=f"{name} came: the run stands in"):
        run_study.predict(*names)
    thread.join()
    states = Counter(run_study.states().values())
    assert set(states) == {("waiting", 0), ("done", 1)}
    assert states["waiting", 0] > 10


def test_a_run_goes_on_with_further_slides_and_makes_lost_files_again(run_study: RunStudy) -> None:
    run_study.add_slides([*"abc", "corrupt"])
    assert run_study.predict("a", "b")["predicted_now"] == 2
    assert run_study.predict("b", "a")["predicted_now"] == 0
    slide_path(run_study.folder / "run", "a").unlink()
    before = run_study.outputs()
    with pytest.raises(PredictionError, match="1 of 4 slides failed: 'corrupt'"):
        run_study.predict("a", "b", "c", "corrupt")
    assert Counter(run_study.begun()) == {"a": 2, "b": 1, "c": 1, "corrupt": 3}
    after = run_study.outputs()
    assert {name: after[name] for name in "ab"} == before
    # What failed is tried again, with as many attempts.
    with pytest.raises(PredictionError, match="1 of 4 slides failed: 'corrupt'"):
        run_study.predict("a", "b", "c", "corrupt")
    assert Counter(run_study.begun())["corrupt"] == 6
    run = msgspec.json.decode((run_study.folder / "run" / "run.json").read_bytes())
    assert (run["name"], run["settings"]["method"]) == ("run", "none")
    with run_study.store.reading() as session:
        (row,) = session.scalars(select(PredictionRun))
        (event,) = session.scalars(select(Event).where(Event.action == "prediction run"))
        assert row.members == run["members"]
        assert row.settings_sha256 == run["settings_sha256"]
        assert event.subject == f"prediction:{row.id}"


@pytest.fixture
def begun_run(run_study: RunStudy) -> RunStudy:
    """A run of two slides that nobody has worked on yet."""
    run_study.add_slides([*"abc"])
    run_study.begin("a", "b")
    return run_study


OTHER: dict[str, tuple[dict[str, Any], type[PathquorumError], str]] = {
    "settings": (
        {"settings": PredictionSettings(method="none", seed=7, min_region_um2=1)},
        RefusedError,
        "the run 'run' was begun with other settings: min_region_um2 2500.0, now 1; seed 0, now 7; "
        "predict into another folder",
    ),
    "models": (
        {"models": ("n",)},
        RefusedError,
        "the run 'run' was begun with the models 'm' (111111111111, temperature 1), now 'n' "
        "(222222222222, temperature 1); predict into another folder",
    ),
    "slides": (
        {"slides": ("a",)},
        RefusedError,
        "the run 'run' was begun with slides that are not asked for now: 'b'; predict into another "
        "folder",
    ),
    "twice": ({"models": ("m", "m")}, InputError, "the model 'm' is named twice"),
    "unknown model": ({"models": ("o",)}, PathquorumError, "no model 'o'"),
    "unknown slide": (
        {"slides": ("nowhere.svs",)},
        InputError,
        "'nowhere.svs' is neither a slide of the store nor a file or folder",
    ),
    "unknown part": ({"release": "v1", "part": "none", "slides": ()}, InputError, "has no part"),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_differs_is_refused_by_name_and_changes_nothing(
    begun_run: RunStudy, what: str
) -> None:
    given, kind, message = OTHER[what]
    before = begun_run.states()
    with pytest.raises(kind) as error:
        carry_out(begun_run.store, replace(begun_run.request("a", "b"), **given))
    assert message in str(error.value)
    assert begun_run.states() == before


def test_a_temperature_fitted_meanwhile_is_another_model(begun_run: RunStudy) -> None:
    begun_run.warm("m", 1.5)
    with pytest.raises(RefusedError, match=r"temperature 1\), now 'm' \(1{12}, temperature 1.5\)"):
        begun_run.predict("a", "b")


def test_a_folder_holds_one_run_and_nothing_else(begun_run: RunStudy, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(ConflictError, match="a run named 'run' lies in"):
        carry_out(begun_run.store, replace(begun_run.request("a"), folder=elsewhere / "run"))
    assert not elsewhere.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConflictError, match="is not empty and holds no run"):
        begun_run.predict("a", to="mine")
    (begun_run.folder / "run").rename(tmp_path / "other")
    with pytest.raises(ConflictError, match="holds the run 'run', which this store does not know"):
        begun_run.predict("a", to="other")
    (tmp_path / "other" / "run.json").write_text("{")
    with pytest.raises(ModelFileError, match="is not what `pathquorum predict` wrote"):
        begun_run.predict("a", to="other")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        begun_run.predict("a", to="file")


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        (open_nothing, "the models don't fit each other"),
        (die_opening, r"the process that tried died \(status 3\)"),
    ],
)
def test_models_that_cannot_predict_leave_no_run_behind(
    run_study: RunStudy, opening: Any, message: str
) -> None:
    run_study.add_slides("a")
    with pytest.raises(PredictionError, match=message):
        run_study.predict("a", opening=opening)
    assert not (run_study.folder / "run").exists()
    with run_study.store.reading() as session:
        assert session.scalars(select(PredictionRun)).all() == []


def test_models_that_break_later_end_the_run_in_one_line(begun_run: RunStudy) -> None:
    with pytest.raises(PredictionError, match=r"^the models don't fit each other$"):
        begun_run.predict("a", "b", "c", opening=open_nothing)
    with pytest.raises(PredictionError, match="3 workers died one after the other before they cou"):
        begun_run.predict("a", "b", "c", opening=die_opening)
    assert begun_run.states()["c"] == ("waiting", 0)
    assert begun_run.predict("a", "b", "c")["predicted_now"] == 3


def test_slides_are_known_by_their_files_wherever_they_lie(
    run_study: RunStudy, tmp_path: Path
) -> None:
    run_study.add_slides("ab")
    moved, original = tmp_path / "moved", run_study.folder / "slides"
    moved.mkdir()
    (original / "a.tiff").rename(moved / "under another name.tiff")
    told: list[str] = []
    with run_study.store.reading() as session:
        key = {row.name: row.id for row in session.scalars(select(Slide))}
        chosen = named_slides(session, [str(moved), str(original / "b.tiff"), "b"], told.append)
        assert chosen.ids == (key["a"], key["b"])
        assert chosen.places == {key["a"]: str(moved / "under another name.tiff")}
        assert told == ["reading under another name.tiff to know which slide it is"]
        (moved / "unknown.tiff").write_bytes(b"?")
        with pytest.raises(InputError, match="is not in the store; add it with `pathquorum slide"):
            named_slides(session, [str(moved)])
        assert below(session, chosen, tmp_path / "root").places == {
            **chosen.places, key["b"]: str(tmp_path / "root" / "b.tiff")
        }  # fmt: skip
    (moved / "unknown.tiff").unlink()
    assert run_study.predict(str(moved))["slides"]["done"] == 1
