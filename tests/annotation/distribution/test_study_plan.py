"""A plan says who reads what, in whose own order, and comes back from its file as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.distribution.plan_file import read_plan, write_plan
from annotation.distribution.study_plan import PlanRequest, Replicates, StudyPlan, make_plan
from annotation.errors import InputError

START = date(2026, 3, 2)
PEOPLE = ("P1", "P2", "P3", "P4")


def plan_of(
    slides: int = 12,
    *,
    people: Sequence[str] = PEOPLE,
    each: int = 2,
    seed: int = 0,
    replicates: Replicates | None = None,
) -> StudyPlan:
    named = [(f"S{n}", ("north", "south", None)[n % 3]) for n in range(slides)]
    return make_plan(PlanRequest("prostate@1", named, people, each, seed, START, replicates))


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 99), st.integers(1, 100))
def test_everyone_reads_each_planned_slide_once_and_the_repeated_ones_twice(
    slides: int, each: int, seed: int, percent: int
) -> None:
    replicates = Replicates(14, share=percent / 100)
    plan = plan_of(slides, each=each, seed=seed, replicates=replicates)
    readers = Counter(read.slide for read in plan.reads if read.replicate == 1)
    assert readers == {f"S{n}": each for n in range(slides)}
    for handle in PEOPLE:
        own = [read for read in plan.reads if read.annotator == handle]
        first = [read.slide for read in own if read.replicate == 1]
        again = [read.slide for read in own if read.replicate == 2]
        assert len(set(first)) == len(first)
        assert set(again) <= set(first)
        assert len(set(again)) == len(again) == round(len(first) * percent / 100)
        for replicate in (1, 2):
            orders = [read.order for read in own if read.replicate == replicate]
            assert orders == list(range(1, len(orders) + 1))
        assert {read.not_before for read in own if read.replicate == 2} <= {date(2026, 3, 16)}
    assert plan == plan_of(slides, each=each, seed=seed, replicates=replicates)


def test_each_order_is_the_annotators_own_and_no_order_of_slides() -> None:
    plan = plan_of(30, each=4)
    orders = [
        tuple(read.slide for read in plan.reads if read.annotator == handle) for handle in PEOPLE
    ]
    assert len(set(orders)) == len(PEOPLE)
    assert tuple(f"S{n}" for n in range(30)) not in orders


def test_repeated_slides_come_from_every_site_and_are_spread_over_slides() -> None:
    plan = plan_of(24, each=4, replicates=Replicates(14, count=6))
    again = [read for read in plan.reads if read.replicate == 2]
    for handle in PEOPLE:
        assert Counter(r.site for r in again if r.annotator == handle) == {
            "north": 2,
            "south": 2,
            None: 2,
        }
    assert set(Counter(read.slide for read in again).values()) == {1}


@pytest.mark.parametrize(
    ("text", "count"), [("3", 3), ("50%", 5), ("0.2", 2), ("1.0", 10), ("100%", 10)]
)
def test_replicates_are_a_number_of_slides_or_a_share_of_them(text: str, count: int) -> None:
    assert Replicates.parse(text, 14).of("P1", 10) == count


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "0%", "101%", "nan%", "0.0", "1,5"])
def test_other_replicates_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--replicates"):
        Replicates.parse(text, 14)


def test_numbers_and_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="does not fit 4 annotators"):
        plan_of(each=5)
    with pytest.raises(InputError, match="'P1' is named twice"):
        plan_of(people=("P1", "P2", "P1"))
    with pytest.raises(InputError, match="there is no slide"):
        plan_of(0)
    with pytest.raises(InputError, match="reads 6 slides, so --replicates 7"):
        plan_of(replicates=Replicates(14, count=7))
    with pytest.raises(InputError, match="--washout -1 is negative"):
        plan_of(replicates=Replicates(-1, count=1))


NAMES = st.text(min_size=1, max_size=8).filter(lambda name: "\0" not in name)


@settings(max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), NAMES, NAMES)
def test_a_file_gives_back_the_plan_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, slides: list[str], person: str, site: str
) -> None:
    plan = make_plan(
        PlanRequest(
            "p@1",
            [(name, site) for name in slides],
            [person, person + "'"],
            1,
            0,
            START,
            Replicates(0, count=None, share=1.0),
        )
    )
    path = tmp_path_factory.mktemp("plan") / "plan.csv"
    try:
        path.write_bytes(person.encode() + "".join(slides).encode() + site.encode())
    except UnicodeEncodeError:  # half a surrogate pair is no name that a store can hold
        return
    path.unlink()
    write_plan(plan, path)
    assert read_plan(path).reads == plan.reads


def test_no_cell_of_the_file_is_a_formula(tmp_path: Path) -> None:
    request = PlanRequest("p@1", [("=1+1", "@site")], ["+P1"], 1, 0, START)
    write_plan(make_plan(request), tmp_path / "plan.csv")
    row = (tmp_path / "plan.csv").read_text().splitlines()[1]
    assert row == "p@1,'+P1,1,'=1+1,'@site,1,,"


def test_a_file_says_who_reads_what_in_which_order(tmp_path: Path) -> None:
    plan = plan_of(replicates=Replicates(21, count=2))
    write_plan(plan, tmp_path / "plan.csv")
    found = read_plan(tmp_path / "plan.csv")
    assert (found.protocol, found.washout_days(1), found.washout_days(2)) == (
        "prostate@1",
        None,
        21,
    )
    assert found.slides_of(1, ["P2"]) == {
        "P2": [r.slide for r in plan.reads if (r.annotator, r.replicate) == ("P2", 1)]
    }
    assert {handle: len(slides) for handle, slides in found.slides_of(2).items()} == dict.fromkeys(
        PEOPLE, 2
    )
    with pytest.raises(InputError, match="no replicate 1 for annotator 'P9'"):
        found.slides_of(1, ["P9"])
    with pytest.raises(InputError, match="no replicate 3"):
        found.slides_of(3)
    reads = (replace(found.reads[-1], washout_days=3), *found.reads[:-1])
    with pytest.raises(InputError, match="several washouts"):
        replace(found, reads=reads).washout_days(2)


HEADER = "protocol,annotator,order,slide,site,replicate,washout_days,not_before\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column 'protocol'"),
        ("a,b\n", "lacks the column"),
        (HEADER, "has no reads"),
        (HEADER + "p@1,P1,1,S1\n", "4 cells in row 2"),
        (HEADER + "p@1,,1,S1,,1,,\n", "row 2: no annotator"),
        (HEADER + "p@1,P1,x,S1,,1,,\n", "row 2"),
        (HEADER + "p@1,P1,1,S1,,0,,\n", "counts from 1"),
        (HEADER + "p@1,P1,1,S1,,2,,\n", "washout_days"),
        (HEADER + "p@1,P1,1,S1,,1,14,\n", "washout_days"),
        (HEADER + "p@1,P1,1,S1,,2,14,yesterday\n", "row 2"),
        (HEADER + "p@1,P1,1,S1,,1,,\np@2,P1,2,S2,,1,,\n", "several protocols"),
        (HEADER + "p@1,P1,1,S1,,1,,\np@1,P1,2,S1,,1,,\n", "'S1' twice"),
        (HEADER + 'p@1,"P1,1,S1,,1,,\n', "no CSV"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_would_be_written_over_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    with pytest.raises(InputError, match="can't be read"):
        read_plan(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_plan(path)
    with pytest.raises(InputError, match="there already"):
        write_plan(plan_of(), path)
    assert path.read_bytes() == b"\xff"
