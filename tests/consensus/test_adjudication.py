"""The queue in its orders, disputes side by side as one region, and decisions of several at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from sqlalchemy import select

from annotation.store import Store
from annotation.tables import Event, ProtocolVersion, Slide
from consensus.adjudication import decide_together
from consensus.queue.decisions import InheritedDecisions
from consensus.queue.queue_order import label_entropy
from consensus.regions import same_region
from consensus.tables import ConsensusRun, Decision, Dispute
from tests.conftest import CommandResult, feature, square
from tests.consensus.built_run import SPLIT, Item, build_run
from tests.consensus.coverages import squares

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]


@pytest.fixture
def disputed(study: Study, write_export: Callable[..., Path]) -> Study:
    """Three disputes: 1 and 2 side by side and equally large, 3 alone, larger and less severe."""
    drawn = {
        "P1": [(0, 100, "Benign"), (100, 100, "Low grade"), (400, 150, "Low grade")],
        "P2": [(0, 100, "High grade"), (100, 100, "High grade"), (400, 150, "High grade")],
    }
    for handle, objects in drawn.items():
        export = [feature(square(x, 0, side), label) for x, side, label in objects]
        pulled = study(
            "pull", write_export(export, handle), "--annotator", handle, "--protocol", "prostate"
        )
        assert pulled.status == 0, pulled.err
    assert study("consensus", "run", "--protocol", "prostate").status == 0
    return study


def listed(study: Study, *options: object) -> dict[str, Any]:
    result = study("adjudicate", "list", "--json", *options)
    assert result.status == 0, result.err
    assert isinstance(result.json, dict)
    return result.json


def decide(study: Study, *arguments: object, label: str = "High grade") -> CommandResult:
    decision = ("--class", label, "--by", "L", "--reason", "seen", "--json")
    return study("adjudicate", "decide", *arguments, *decision)


def test_the_gain_is_entropy_times_area_times_severity(disputed: Study) -> None:
    """Each factor stands beside the product; two raters in two classes of four: entropy a half."""
    for entry in listed(disputed)["disputes"]:
        assert entry["entropy"] == pytest.approx(0.5)
        assert entry["gain"] == pytest.approx(
            entry["entropy"] * entry["area_um2"] * entry["severity"]
        )


@pytest.mark.parametrize(
    ("order", "key"), [("entropy", "gain"), ("disagreement", "severity"), ("area", "area_um2")]
)
def test_each_order_does_what_it_says(disputed: Study, order: str, key: str) -> None:
    """Disputes and regions fall by the key of the order; the default is by gain."""
    document = listed(disputed, "--order", order)
    assert document["order"] == order
    for rows in (document["disputes"], document["regions"]):
        values = [row[key] for row in rows]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) > 1
    if order == "entropy":
        assert listed(disputed) == document


def test_the_orders_differ(disputed: Study) -> None:
    """The largest dispute is not the gravest one."""
    first = {
        order: listed(disputed, "--order", order)["disputes"][0]["area_um2"]
        for order in ("entropy", "disagreement", "area")
    }
    assert first == {"entropy": 2500, "disagreement": 2500, "area": pytest.approx(5625)}


def test_a_random_order_is_the_same_for_the_same_seed(disputed: Study) -> None:
    """And of twenty seeds, not all draw the same one."""
    drawn = [
        tuple(d["dispute"] for d in listed(disputed, "--order", "random", "--seed", s)["disputes"])
        for s in [7, 7, *range(20)]
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 2
    assert {frozenset(order) for order in drawn} == {frozenset({1, 2, 3})}


def test_disputes_side_by_side_are_one_region(disputed: Study) -> None:
    """It holds their area and gain together, and says where it lies."""
    document = listed(disputed)
    of_dispute = {d["dispute"]: d for d in document["disputes"]}
    beside = [d for d in of_dispute.values() if d["bounds_px"][0] < 300]
    alone = next(d for d in of_dispute.values() if d["bounds_px"][0] == 400)
    both, other = document["regions"]
    assert {d["region"] for d in beside} == {min(d["dispute"] for d in beside)} == {both["region"]}
    assert sorted(both["disputes"]) == sorted(d["dispute"] for d in beside)
    assert both["bounds_px"] == [0, 0, 200, 100]
    assert both["area_um2"] == 5000
    assert both["gain"] == pytest.approx(sum(d["gain"] for d in beside))
    assert (other["region"], other["disputes"]) == (alone["dispute"], [alone["dispute"]])
    told = disputed("adjudicate", "list").out
    assert "Side by side" in told
    assert "x 0 to 200, y 0 to 100 px" in told


def test_a_region_is_decided_at_once_and_each_dispute_by_itself(
    disputed: Study, store: Store
) -> None:
    """One answer, a decision and an event each; the next run inherits both."""
    region = listed(disputed)["regions"][0]
    result = decide(disputed, "--region", region["region"])
    assert result.status == 0, result.err
    assert [d["dispute"] for d in result.json["disputes"]] == sorted(region["disputes"])
    assert {d["class"] for d in result.json["disputes"]} == {"High grade"}
    with store.reading() as session:
        decisions = session.scalars(select(Decision)).all()
        decided = session.scalars(
            select(Event.subject).where(Event.action == "dispute decided").order_by(Event.id)
        ).all()
    assert [d.dispute_id for d in decisions] == sorted(region["disputes"])
    assert decided == [f"dispute:{number}" for number in sorted(region["disputes"])]
    again = disputed("consensus", "run", "--protocol", "prostate", "--json").json
    assert again["inherited"] == 2


def test_only_what_is_open_in_a_region_is_decided(disputed: Study) -> None:
    """What was decided before stays as it was; a region with nothing open is refused."""
    region = listed(disputed)["regions"][0]
    first, second = sorted(region["disputes"])
    assert decide(disputed, first, label="Benign").status == 0
    result = decide(disputed, "--region", first)
    assert [d["dispute"] for d in result.json["disputes"]] == [second]
    state = {d["dispute"]: d["class"] for d in listed(disputed)["disputes"]}
    assert (state[first], state[second]) == ("Benign", "High grade")
    refused = decide(disputed, "--region", first)
    assert (refused.status, refused.out) == (1, "")
    assert f"region {first} has no open dispute" in refused.err


def test_several_disputes_are_decided_together_or_not_at_all(disputed: Study) -> None:
    """One that is decided already, or unknown, leaves the others open."""
    assert decide(disputed, 1).status == 0
    for number, why in ((1, "decided already"), (99, "no dispute 99")):
        refused = decide(disputed, 2, 3, number)
        assert (refused.status, refused.out) == (1, "")
        assert why in refused.err
        assert [d["dispute"] for d in listed(disputed, "--state", "open")["disputes"]] != []
        assert {d["dispute"] for d in listed(disputed, "--state", "open")["disputes"]} == {2, 3}
    assert decide(disputed, 2, 3, 2).status == 0
    assert listed(disputed, "--state", "open")["disputes"] == []


def test_a_region_bears_one_number_and_others_are_no_region(disputed: Study) -> None:
    """The second dispute's number names no region; numbers and a region together are wrong usage."""
    lowest, higher = sorted(listed(disputed)["regions"][0]["disputes"])
    refused = decide(disputed, "--region", higher)
    assert refused.status == 1
    assert f"dispute {higher} lies in region {lowest}" in refused.err
    assert "no dispute 99" in decide(disputed, "--region", 99).err
    assert decide(disputed).status == 2
    assert decide(disputed, lowest, "--region", lowest).status == 2


def test_disputes_written_before_the_store_knew_entropy_stand_alone(
    store: Store, pathquorum: Study
) -> None:
    """Their entropy is that of their item, and each is a region by itself."""
    parts = [shapely.box(0, 0, 100, 100), shapely.box(100, 0, 300, 100)]
    item = Item("A", shapely.union_all(parts), SPLIT, None, "disputed", places=parts)
    build_run(store, [item], slides={"A": {}})
    found = listed(pathquorum)["disputes"]
    assert [d["region"] for d in found] == [d["dispute"] for d in found] == [2, 1]
    (expected,) = label_entropy(np.array([[0.5, 0.5, 0]]))
    assert [d["entropy"] for d in found] == [expected, expected]
    assert decide(pathquorum, "--region", 2, label="Benign").status == 0


@pytest.mark.parametrize("method", ["majority", "dawid-skene", "staple"])
def test_a_doubtful_class_is_disputed_where_the_run_asks_for_it(
    study: Study, write_export: Callable[..., Path], method: str
) -> None:
    """Two of three say Benign: agreed, but open below the probability asked for."""
    names = {"B": "Benign", "L": "Low grade", "H": "High grade"}
    for handle, labels in (("P1", "BBLH"), ("P2", "BBLL"), ("P3", "LBLH")):
        export = [feature(square(150 * i, 0), names[said]) for i, said in enumerate(labels)]
        path = write_export(export, handle)
        options = ("--annotator", handle, "--protocol", "prostate", "--accept-copy")
        assert study("pull", path, *options).status == 0
    arguments = ("consensus", "run", "--protocol", "prostate", "--method", method, "--json")
    free = study(*arguments).json
    assert free["disputes"] == 0
    asked = study(*arguments, "--review-below", "0.95").json
    assert asked["parameters"]["review_below"] == 0.95
    assert {tuple(sorted(d["labels"].values())) for d in listed(study)["disputes"]} == {
        ("Benign", "Benign", "Low grade"),
        ("High grade", "High grade", "Low grade"),
    }
    open_um2 = asked["open"]["disputed"]["weight"]
    classes_um2 = [sum(c["weight"] for c in run["classes"].values()) for run in (free, asked)]
    assert classes_um2[0] == pytest.approx(classes_um2[1] + open_um2)
    refused = study(*arguments, "--review-below", "1.5")
    assert (refused.status, refused.out) == (1, "")
    assert "no probability" in refused.err


def test_earlier_decisions_are_found_by_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 400 decided disputes is held against its neighbours, not against all 400."""
    places = squares(20, 20, 50.0)
    item = Item("A", shapely.union_all(places), SPLIT, None, "disputed", places=list(places))
    run = build_run(store, [item], slides={"A": {"width_px": 1000, "height_px": 1000}})
    compared = 0

    def counted(one: shapely.Geometry, other: shapely.Geometry) -> bool:
        nonlocal compared
        compared += 1
        return same_region(one, other)

    monkeypatch.setattr("consensus.queue.decisions.same_region", counted)
    with store.writing() as session:
        numbers = session.scalars(select(Dispute.id).order_by(Dispute.id)).all()
        decide_together(session, numbers, by="L", reason="r", answer="exclude")
        row = session.get_one(ProtocolVersion, session.get_one(ConsensusRun, run).protocol_id)
        earlier = InheritedDecisions(session, row)
        slide = session.scalars(select(Slide.id)).one()
        found = [earlier.answer(slide, SPLIT, place) for place in places]
    assert [f.decision.dispute_id for f in found if f.decision] == list(numbers)
    assert compared <= 9 * len(places)
