"""What a plan says is what each annotator gets, in the plan's order, and again after the washout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.distribution.plan_file import read_plan
from annotation.store import Store
from annotation.tables import Event
from tests.annotation.distribution.conftest import SLIDES, Study
from tests.conftest import feature, square


@pytest.fixture
def plan(blinded: Study, tmp_path: Path) -> Path:
    """Three slides, two of three annotators for each, one slide of each annotator twice."""
    path = tmp_path / "plan.csv"
    result = blinded(
        "assign", "--plan", "--protocol", "blind", "--annotators", "P1,P2,P3",
        "--raters-per-slide", 2, "--replicates", 1, "--washout", 14, "--start", "2026-03-02",
        "--simulations", 2, "--to", path, "--json",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert result.json["pairs"]["min"] == result.json["pairs"]["max"] == 1
    return path


def handed(result: Any) -> dict[str, list[str]]:
    assert result.status == 0, result.err
    return {entry["annotator"]: entry["slides"] for entry in result.json["projects"]}


def test_each_gets_what_the_plan_says_in_its_order(
    blinded: Study, store: Store, tmp_path: Path, plan: Path
) -> None:
    said = read_plan(plan)
    result = blinded("distribute", "--plan", plan, "--to", tmp_path / "out", "--json")
    assert handed(result) == said.slides_of(1)
    assert all(entry["masked"] for entry in result.json["projects"])
    with store.reading() as session:
        events = session.scalars(select(Event).where(Event.action == "project handed out")).all()
    assert {event.new["plan_sha256"] for event in events if event.new} == {said.sha256}
    listed = blinded("assign", "--list", "--annotator", "P1", "--json").json["assignments"]
    assert [row["slide"] for row in listed] == said.slides_of(1)["P1"]


def test_the_second_reading_comes_after_the_first_and_the_plans_washout(
    blinded: Study, tmp_path: Path, plan: Path, write_export: Any
) -> None:
    out = tmp_path / "out"
    assert handed(
        blinded("distribute", "--plan", plan, "--to", out, "--annotators", "P1", "--json")
    )
    (again,) = read_plan(plan).slides_of(2)["P1"]
    arguments = (
        "assign", "--plan", plan, "--replicate", 2, "--annotator", "P1", "--to", out, "--json",
    )  # fmt: skip
    early = blinded(*arguments)
    assert early.status == 1
    assert "has not read slide" in early.err
    objects = [feature(square(0, 0, 300), "Region*"), feature(square(10, 10), "Tumor")]
    path = write_export(objects, slide=again)
    pulled = blinded(
        "pull", path, "--annotator", "P1", "--protocol", "blind", "--read-date", "2026-03-02"
    )
    assert pulled.status == 0, pulled.err
    assert handed(blinded(*arguments)) == {"P1": [again]}
    (row,) = [
        row
        for row in blinded("assign", "--list", "--json").json["assignments"]
        if row["replicate"] == 2
    ]
    assert row["not_before"] == "2026-03-16"


def test_a_plan_with_an_unknown_slide_hands_out_nothing(
    blinded: Study, tmp_path: Path, plan: Path
) -> None:
    plan.write_text(plan.read_text().replace(SLIDES[0], "elsewhere"))
    result = blinded("distribute", "--plan", plan, "--to", tmp_path / "out")
    assert (result.status, len(result.err.splitlines())) == (1, 1)
    assert "no slide 'elsewhere'" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("distribute", "--plan", "plan.csv", "--to", "out", "--protocol", "blind"),
        ("distribute", "--plan", "plan.csv", "--to", "out", "--slides", "S1"),
        ("distribute", "--plan", "plan.csv", "--to", "out", "--washout", 3),
        ("distribute", "--to", "out", "--protocol", "blind"),
        ("distribute", "--to", "out", "--annotators", "P1"),
        ("assign", "--plan", "plan.csv"),
        ("assign", "--plan"),
        ("assign", "--plan", "--protocol", "blind", "--annotators", "P1"),
        ("assign", "--plan", "--withdraw"),
        ("assign", "--annotators", "P1", "--protocol", "blind", "--to", "out"),
        ("assign", "--list", "--raters-per-slide", 2),
        ("assign", "--plan", "plan.csv", "--to", "out", "--expect-kappa", 0.5),
        (
            "assign", "--plan", "--protocol", "blind", "--annotators", "P1",
            "--raters-per-slide", 1, "--replicates", 1,
        ),
        (
            "assign", "--plan", "--protocol", "blind", "--annotators", "P1",
            "--raters-per-slide", 1, "--washout", 1,
        ),
    ],
)  # fmt: skip
def test_half_a_plan_is_wrong_usage(
    blinded: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    header = "protocol,annotator,order,slide,site,replicate,washout_days,not_before"
    Path("plan.csv").write_text(f"{header}\nblind@1,P1,1,{SLIDES[0]},,1,,\n")
    result = blinded(*arguments)
    assert (result.status, result.out) == (2, "")
    assert not Path("out").exists()
