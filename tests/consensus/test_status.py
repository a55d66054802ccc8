"""One screen says who has read what, how far they agree, what waits, and what is blocked and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.plan_file import read_plan
from annotation.errors import UnknownNameError
from annotation.lookup import find_annotator, find_protocol, find_slide
from annotation.store import Store
from annotation.tables import Annotation, Assignment, HandedProject, Revision
from consensus import adjudication, runs
from consensus.monitoring.blocked import KINDS
from consensus.monitoring.prometheus import exposition
from consensus.status import Asked, study_status
from tests.conftest import PROTOCOL, CommandResult, feature, square
from tests.signing import make_key

Study = Callable[..., CommandResult]
Reads = Callable[..., None]


def area(name: str, x: float = 0, side: float = 100) -> dict[str, Any]:
    return feature(square(x, 0, side), name)


@pytest.fixture
def reads(study: Study, write_export: Callable[..., Path]) -> Reads:
    """Adds slides S2 to S4; pulls what each rater drew on a slide on a day."""
    for number in (2, 3, 4):
        size = ("--width", 1000, "--height", 800, "--mpp", 0.5, "--patient", f"K{number}")
        assert study("slide", "add", f"S{number}", *size).status == 0

    def pull(
        slide: str, day: str, protocol: str = "prostate", *more: object, **drawn: Sequence[Any]
    ) -> None:
        for handle, objects in drawn.items():
            path = write_export(objects, handle, slide)
            arguments = ("--annotator", handle, "--protocol", protocol, "--read-date", day)
            result = study("pull", path, *arguments, "--accept-copy", *more)
            assert result.status == 0, result.err

    return pull


def status_of(store: Store, at: str = "2026-06-01", **asked: Any) -> dict[str, Any]:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    with store.reading() as session:
        return study_status(session, Asked(moment, **asked))


def hand(
    store: Store,
    handle: str,
    slides: Sequence[str],
    day: str,
    *,
    not_before: str | None = None,
    replicate: int = 1,
    protocol: str = "prostate",
) -> None:
    """Put assignments into the store as `distribute` records them."""
    with store.writing() as session:
        person, version = find_annotator(session, handle), find_protocol(session, protocol)
        project = f"{handle}-{day}-{replicate}-{protocol}"
        at = datetime.fromisoformat(day).replace(tzinfo=UTC)
        session.add(
            HandedProject(
                id=project,
                annotator_id=person.id,
                protocol_id=version.id,
                folder=handle,
                made_at=at,
            )
        )
        session.flush()
        for position, name in enumerate(slides, start=1):
            session.add(
                Assignment(
                    id=f"{project}-{name}",
                    project_id=project,
                    annotator_id=person.id,
                    slide_id=find_slide(session, name).id,
                    protocol_id=version.id,
                    replicate=replicate,
                    shown_name=f"masked {project} {name}",
                    masked=True,
                    image_file="x.tiff",
                    position=position,
                    not_before=None if not_before is None else date.fromisoformat(not_before),
                    assigned_at=at,
                )
            )


def of_person(document: dict[str, Any], handle: str) -> dict[str, Any]:
    (found,) = [one for one in document["protocols"][0]["progress"] if one["annotator"] == handle]
    return dict(found)


def test_reads_are_done_open_and_overdue_by_the_day(store: Store, reads: Reads) -> None:
    hand(store, "P1", ["S1", "S2", "S3"], "2026-03-01")
    hand(store, "P1", ["S1"], "2026-03-20", not_before="2026-04-10", replicate=2)
    reads("S1", "2026-03-05", P1=[area("Benign")])
    on_the_day = of_person(status_of(store, "2026-03-29", overdue_days=28), "P1")
    assert (on_the_day["planned"], on_the_day["done"], on_the_day["open"]) == (4, 1, 3)
    assert (on_the_day["overdue"], on_the_day["in_washout"]) == (0, 1)
    assert on_the_day["next_due"] == date(2026, 3, 29)
    assert on_the_day["median_days_to_read"] == 4
    assert on_the_day["last_read"] == date(2026, 3, 5)
    assert of_person(status_of(store, "2026-03-30", overdue_days=28), "P1")["overdue"] == 2
    assert of_person(status_of(store, "2026-05-08", overdue_days=28), "P1")["overdue"] == 2
    assert of_person(status_of(store, "2026-05-09", overdue_days=28), "P1")["overdue"] == 3
    assert of_person(status_of(store, "2026-05-09", overdue_days=99), "P1")["overdue"] == 0


def test_what_was_withdrawn_is_not_planned_and_what_came_unasked_is_done(
    store: Store, reads: Reads
) -> None:
    hand(store, "P1", ["S1", "S2"], "2026-03-01")
    with store.writing() as session:
        for row in session.scalars(select(Assignment)):
            row.withdrawn_at = datetime(2026, 3, 2, tzinfo=UTC)
    reads("S4", "2026-03-05", P1=[area("Benign")])
    found = of_person(status_of(store), "P1")
    assert (found["planned"], found["done"], found["open"], found["overdue"]) == (0, 1, 0, 0)
    assert found["done_of_planned"] == 0


def test_a_plan_counts_beyond_what_was_handed_out(
    store: Store, reads: Reads, tmp_path: Path
) -> None:
    path = tmp_path / "plan.csv"
    path.write_text(
        "protocol,annotator,order,slide,site,replicate,washout_days,not_before\n"
        "prostate@1,P1,1,S1,,1,,\nprostate@1,P1,2,S2,,1,,\nprostate@1,P2,1,S1,,1,,\n"
        "prostate@1,P1,1,S1,,2,14,\n"
    )
    hand(store, "P1", ["S1"], "2026-03-01")
    reads("S1", "2026-03-05", P1=[area("Benign")])
    document = status_of(store, plan=read_plan(path))
    one, two = of_person(document, "P1"), of_person(document, "P2")
    assert (one["planned"], one["done"], one["open"], one["not_handed_out"]) == (3, 1, 2, 2)
    assert (two["planned"], two["done"], two["open"], two["overdue"]) == (1, 0, 1, 0)
    path.write_text(path.read_text().replace("P2", "Ada Lovelace"))
    with pytest.raises(UnknownNameError, match="no annotator 'Ada Lovelace'"):
        status_of(store, plan=read_plan(path))
    path.write_text(path.read_text().replace("prostate@1", "other@1"))
    assert of_person(status_of(store, plan=read_plan(path)), "P1")["planned"] == 1


def test_kappa_is_told_by_the_month_of_a_slides_last_read(store: Store, reads: Reads) -> None:
    same = [area("Benign"), area("High grade", 200)]
    reads("S1", "2026-03-30", P1=same)
    reads("S1", "2026-04-02", P2=same)
    reads("S2", "2026-05-01", P1=same)
    reads("S2", "2026-05-31", P2=[area("High grade"), area("Benign", 200)])
    reads("S3", "2026-05-31", P1=same)  # alone: it makes no pair
    found = status_of(store)["protocols"][0]["agreement"]
    april, may = found["by_month"]
    assert [(m["month"], m["slides"]) for m in (april, may)] == [("2026-04", 1), ("2026-05", 2)]
    assert april["per_class"]["Benign"]["value"] == pytest.approx(1)
    assert may["per_class"]["Benign"]["value"] < 0.1
    assert april["overall"]["value"] > found["overall"]["value"] > may["overall"]["value"]
    assert found["per_class"]["Low grade"]["value"] is None
    assert found["items"] == april["items"] + may["items"]


def test_reads_that_do_not_count_move_no_slide_to_another_month(store: Store, reads: Reads) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    reads("S1", "2026-06-02", "prostate", "--replicate", 2, P1=[area("Benign")])
    (month,) = status_of(store)["protocols"][0]["agreement"]["by_month"]
    assert month["month"] == "2026-03"


NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)


def run(study: Study) -> None:
    result = study("consensus", "run", "--protocol", "prostate")
    assert result.status == 0, result.err


@pytest.fixture
def days_ago(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of runs and decisions to so many days before a noon."""

    def turn(days: int) -> None:
        for module in (runs, adjudication):
            monkeypatch.setattr(module, "now", lambda: NOON - timedelta(days=days))

    return turn


def queue_at_noon(store: Store) -> dict[str, Any]:
    with store.reading() as session:
        return dict(study_status(session, Asked(NOON))["protocols"][0]["queue"])


def test_a_dispute_is_as_old_as_the_first_run_that_left_it_open(
    study: Study, store: Store, reads: Reads, days_ago: Callable[[int], None]
) -> None:
    for slide, days in (("S1", 10), ("S2", 4), ("S3", 0)):
        days_ago(days)
        reads(slide, "2026-03-02", P1=[area("Benign")], P2=[area("High grade")])
        run(study)
    queue = queue_at_noon(store)
    assert (queue["run"], queue["open"], queue["decided"]) == (3, 3, 0)
    assert (queue["oldest_age_days"], queue["median_age_days"]) == (10, 4)


def test_other_labels_on_the_same_region_are_another_dispute(
    study: Study, store: Store, reads: Reads, days_ago: Callable[[int], None]
) -> None:
    days_ago(10)
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("High grade")])
    run(study)
    days_ago(2)
    reads("S1", "2026-03-02", "prostate", "--accept-removals", P2=[area("Low grade")])
    run(study)
    assert queue_at_noon(store)["oldest_age_days"] == 2


def test_what_is_decided_has_no_age_and_what_is_reopened_begins_anew(
    study: Study, store: Store, reads: Reads, days_ago: Callable[[int], None]
) -> None:
    days_ago(30)
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("High grade")])
    run(study)
    decided = study("adjudicate", "decide", 1, "--class", "Benign", "--by", "L", "--reason", "x")
    assert decided.status == 0, decided.err
    queue = queue_at_noon(store)
    assert (queue["open"], queue["decided"]) == (0, 1)
    assert queue["oldest_age_days"] is queue["median_age_days"] is None
    days_ago(3)
    assert study("adjudicate", "reopen", 1, "--by", "L", "--reason", "y").status == 0
    assert queue_at_noon(store)["oldest_age_days"] == 3
    days_ago(0)
    reads("S2", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    run(study)  # the dispute stands in a new run, and is as old as before
    assert queue_at_noon(store)["run"] == 2
    assert queue_at_noon(store)["oldest_age_days"] == 3


def blocked(document: dict[str, Any], kind: str, protocol: int = -1) -> list[dict[str, str]]:
    assert kind in KINDS
    return [one for one in document["protocols"][protocol]["blocked"] if one["kind"] == kind]


def add_protocol(study: Study, folder: Path, name: str, more: str, rule: str = "slide") -> None:
    text = PROTOCOL.replace("prostate", name).replace('rule = "slide"', f'rule = "{rule}"')
    (folder / f"{name}.toml").write_text(text.replace("[dispute]", f"{more}\n[dispute]"))
    result = study("protocol", "add", folder / f"{name}.toml")
    assert result.status == 0, result.err


def test_slides_with_too_few_reads_wait_for_whoever_has_them(store: Store, reads: Reads) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")])
    hand(store, "P2", ["S1"], "2026-03-02")
    hand(store, "P3", ["S2"], "2026-03-02")
    first, second = blocked(status_of(store), "raters")
    assert (first["what"], first["why"], first["next"]) == (
        "slide S1",
        "1 of 2 reads",
        "wait for P2",
    )
    assert (second["what"], second["why"], second["next"]) == (
        "slide S2",
        "0 of 2 reads",
        "it needs another read",
    )


def test_credentials_that_lapse_are_told_before_and_after_the_read(
    study: Study, store: Store, reads: Reads, tmp_path: Path
) -> None:
    add_protocol(study, tmp_path, "strict", '[require]\ncredentials = ["board"]')
    held = ("--credential", "board:here:1", "--valid-to", "2026-04-01")
    assert study("annotator", "add", "P1", "--role", "pathologist", *held).status == 0
    hand(store, "P1", ["S1", "S2"], "2026-03-01", protocol="strict")
    assert blocked(status_of(store, "2026-04-01"), "credentials") == []
    (one,) = blocked(status_of(store, "2026-04-02"), "credentials")
    assert "P1, who has 2 slides" in one["what"]
    assert "'board' not in force on 2026-04-02" in one["why"]
    reads("S1", "2026-04-02", "strict", P1=[area("Benign")])
    document = status_of(store, "2026-04-03")
    (excluded,) = blocked(document, "excluded")
    assert "read 1 of S1 by P1" in excluded["what"]
    assert "'board'" in excluded["why"]
    assert document["protocols"][-1]["progress"][0]["excluded"] == 1


def test_second_readings_are_not_blocked(store: Store, reads: Reads) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    reads("S1", "2026-04-02", "prostate", "--replicate", 2, P1=[area("Benign")])
    assert status_of(store)["protocols"][0]["blocked"] == []


def test_a_protocol_that_must_be_signed_blocks_until_it_is(
    study: Study, store: Store, tmp_path: Path
) -> None:
    add_protocol(study, tmp_path, "signed", "[require]\nsignature = true")
    (one,) = blocked(status_of(store), "signature")
    assert (one["what"], one["why"]) == (
        "protocol signed@1",
        "it requires a signature and has none",
    )
    sign = ("protocol", "sign", "signed", "--version", "1", "--by", "L")
    assert study(*sign, *make_key(study, "L", tmp_path)).status == 0
    assert blocked(status_of(store), "signature") == []


def drop_domain(session: Session) -> None:
    """As if the objects that declare domains had been taken away after the pull."""
    rows = session.scalars(select(Revision).where(Revision.class_kind == "domain")).all()
    columns = [c.key for c in Revision.__mapper__.column_attrs if c.key not in ("id", "state")]
    for row in rows:
        values = {key: getattr(row, key) for key in columns}
        session.add(Revision(**{**values, "revision": row.revision + 1}, state="removed"))
    assert session.scalars(select(Annotation)).first() is not None


def test_a_read_that_declares_no_domain_is_blocked(
    study: Study, store: Store, reads: Reads, tmp_path: Path
) -> None:
    add_protocol(study, tmp_path, "declared", "", rule="declared")
    region = area("Region", side=400)
    drawn = [region, area("Benign")]
    reads("S1", "2026-03-02", "declared", P1=drawn, P2=drawn)
    assert blocked(status_of(store), "domain") == []
    with store.writing() as session:
        drop_domain(session)
    found = blocked(status_of(store), "domain")
    assert [one["what"] for one in found] == ["read 1 of S1 by P1", "read 2 of S1 by P2"]
    assert all("Region*" in one["next"] for one in found)


def test_disputes_that_nobody_may_decide_are_blocked(
    study: Study, store: Store, reads: Reads
) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("High grade")])
    run(study)
    assert blocked(status_of(store), "adjudicator") == []
    assert study("annotator", "add", "L", "--role", "engineer").status == 0
    (one,) = blocked(status_of(store), "adjudicator")
    assert (one["what"], one["why"]) == ("1 open dispute", "nobody has the role senior or lead")


def test_a_run_that_reads_have_overtaken_is_told(study: Study, store: Store, reads: Reads) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    run(study)
    assert blocked(status_of(store), "outdated") == []
    reads("S2", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    assert blocked(status_of(store), "outdated")[0]["what"] == "consensus run 1"


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus' own parser reads."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_metrics_and_no_name_of_a_slide(
    study: Study, store: Store, reads: Reads
) -> None:
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("High grade")])
    run(study)
    hand(store, "P3", ["S2", "S3"], "2026-03-01")
    named = ("--name", "Ada Lovelace", "--email", "ada@example.org")
    assert study("annotator", "add", "P1", "--role", "pathologist", *named).status == 0
    result = study("status", "--prometheus", "--overdue", 1)
    assert result.status == 0, result.err
    found = samples(result.out)
    document = study("status", "--json", "--overdue", 1).json
    of = (("protocol", "prostate"), ("version", "1"))

    def value(name: str, **labels: str) -> float:
        return found[f"pathquorum_{name}", tuple(sorted((*labels.items(), *of)))]

    assert value("reads_planned", annotator="P3") == value("reads_overdue", annotator="P3") == 2
    assert value("reads_done", annotator="P1") == 1
    kappa = document["protocols"][0]["agreement"]
    assert value("kappa") == kappa["overall"]["value"]
    assert value("class_kappa", **{"class": "Benign"}) == kappa["per_class"]["Benign"]["value"]
    month = kappa["by_month"][0]["per_class"]["Benign"]["value"]
    assert value("month_class_kappa", **{"class": "Benign"}, month="2026-03") == month
    assert value("disputes", state="open") == 1
    assert 0 <= value("dispute_age_oldest_seconds") < 600
    assert value("blocked", kind="raters") == 2
    assert value("blocked", kind="signature") == 0
    assert found["pathquorum_pulls_total", ()] == 2
    assert found["pathquorum_read_pull_seconds_count", ()] == 2
    assert found["pathquorum_read_pull_seconds_sum", ()] > 0
    assert found["pathquorum_slides_unread", ()] == 3
    assert all(name.startswith("pathquorum_") for name, _ in found)
    for secret in ("S1", "S2", "Ada", "ada@", "Lovelace", "store.db", str(document["store"])):
        assert secret not in result.out
    # What is undefined has no sample, and never NaN.
    assert ("Low grade" in result.out) == (kappa["per_class"]["Low grade"]["value"] is not None)
    assert all(number == number for number in found.values())


LABEL = st.text(st.characters(exclude_categories=("Cs",)))


@given(LABEL, LABEL, LABEL)
def test_labels_come_back_from_prometheus_as_they_were(name: str, handle: str, label: str) -> None:
    person = dict.fromkeys(
        ("planned", "done", "open", "overdue", "excluded", "median_days_to_read"), 1
    )
    kappa = {"value": 0.1 + 0.2}
    entry = {
        "name": name,
        "version": "1",
        "signed": True,
        "progress": [{**person, "annotator": handle}],
        "agreement": {
            "status": "ok",
            "overall": kappa,
            "items": 3,
            "per_class": {label: kappa},
            "by_month": [],
        },
        "queue": None,
        "triage": None,
        "blocked": [],
    }
    document = {
        "software_version": "1",
        "slides": 1,
        "unread_slides": [],
        "annotators": 1,
        "pulls": {"pulls": 0, "reads": 0, "reads_timed": 0, "elapsed_s": 0.0, "last_at": None},
        "protocols": [entry],
    }
    found = samples(exposition(document))
    of = {"protocol": name, "version": "1"}
    key = tuple(sorted({**of, "class": label}.items()))
    assert found["pathquorum_class_kappa", key] == 0.1 + 0.2
    assert found["pathquorum_reads_done", tuple(sorted({**of, "annotator": handle}.items()))] == 1
    assert not any(metric == "pathquorum_last_pull_timestamp_seconds" for metric, _ in found)


def test_no_metric_is_told_twice(study: Study, reads: Reads, tmp_path: Path) -> None:
    add_protocol(study, tmp_path, "second", "")
    reads("S1", "2026-03-02", P1=[area("Benign")], P2=[area("Benign")])
    reads("S1", "2026-03-02", "second", P1=[area("Benign")], P2=[area("Benign")])
    lines = study("status", "--prometheus").out.splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(types)) == len(types)
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(set(series)) == len(series)


def test_the_screen_fits_80_columns_and_tells_each_reason_once(
    study: Study, store: Store, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for month in range(1, 9):
        day = f"2026-{month:02}-05"
        slide = f"T{month}"
        size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
        assert study("slide", "add", slide, *size).status == 0
        reads(slide, day, P1=[area("Benign")], P2=[area("Benign")])
    hand(store, "P3", ["S1", "S2", "S3", "S4", "T1", "T2", "T3"], "2026-03-01")
    reads("S1", "2026-09-05", P1=[area("Benign")], P2=[area("High grade")])
    run(study)
    result = study("status", "--overdue", 10, "--reads")
    assert result.status == 0, result.err
    assert all(len(line) <= 80 for line in result.out.splitlines()[1:])
    for told in ("P3", "overdue", "2026-09", "so far", "1 open", "(median)", "Blocked: slide S2"):
        assert told in result.out
    assert "2026-03 " not in result.out  # the last six months
    assert " ".join(result.out.split()).count("it needs another read") == 1
    assert "x" not in study("status").out.split("Kappa")[0].split("Reads")[1].split("\n")[4]


def test_wrong_usage_and_a_plan_that_is_none(study: Study, tmp_path: Path) -> None:
    assert study("status", "--json", "--prometheus").status == 2
    result = study("status", "--plan", tmp_path / "none.csv")
    assert (result.status, len(result.err.splitlines())) == (1, 1)


def test_an_empty_study_has_a_status(study: Study) -> None:
    result = study("status")
    assert result.status == 0, result.err
    assert "nothing was read" in result.out
    assert samples(study("status", "--prometheus").out)["pathquorum_pulls_total", ()] == 0
    assert json.loads(study("status", "--json").out)["protocols"][0]["progress"] == []
