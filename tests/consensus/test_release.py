"""Releases: what is frozen, by which digest it is known, and what the split inherits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import shapely
from sqlalchemy import select

from annotation.errors import ConflictError, InputError, RefusedError, UnknownNameError
from annotation.store import Store
from annotation.tables import Event, Slide
from consensus.adjudication import decide, reopen
from consensus.consensus_items import Consensus, ResolvedItem
from consensus.release import FrozenRelease, create_release, open_release
from consensus.releases.manifest import encode_manifest
from consensus.releases.split import parse_shares
from consensus.runs import find_run
from consensus.tables import PatientPart, Release
from tests.conftest import CommandResult
from tests.consensus.built_run import ALL_BENIGN, MPP, Item, build_run, region_items, write_run
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases

Pathquorum = Callable[..., CommandResult]

SLIDES = {"A": {"patient": "one"}, "B": {"patient": "two"}, "C": {}}


def resolved(store: Store, run: int, slide: str = "A") -> dict[str, ResolvedItem]:
    with store.reading() as session:
        consensus = Consensus(session, find_run(session, run))
        of_name = {row.name: row for row in consensus.slides}
        return {item.name: item for item in consensus.items(of_name[slide])}


def make(store: Store, name: str, run: int, **options: Any) -> FrozenRelease:
    with store.writing() as session:
        return create_release(session, name, run, **options)


def answer(store: Store, dispute: int, path_class: str | None, answer: str = "class") -> None:
    with store.writing() as session:
        decide(session, dispute, by="L", reason="seen", answer=answer, path_class=path_class)


@pytest.fixture
def run(store: Store) -> int:
    items = [item for slide in SLIDES for item in region_items(slide)]
    return build_run(store, items, slides=SLIDES)


def test_what_is_undecided_keeps_its_place_and_bears_no_label(store: Store, run: int) -> None:
    items = resolved(store, run)
    assert {name: (i.state, i.label) for name, i in items.items()} == {
        "A/1": ("agreed", "Benign"),
        "A/2": ("agreed", "=Tumor"),
        "A/3.1": ("disputed", None),
        "A/3.2": ("disputed", None),
        "A/3.rest": ("below the dispute's area", None),
        "A/4": ("too few raters", None),
        "A/5": ("agreed", "background"),
    }
    whole = shapely.union_all([i.geometry for i in items.values()])
    assert whole.equals(shapely.box(0, 0, 900, 800))
    assert sum(i.weight for i in items.values()) == pytest.approx(900 * 800 * MPP**2)


def test_each_disputed_place_is_decided_by_itself(store: Store, run: int) -> None:
    answer(store, 1, "=Tumor")
    answer(store, 2, None, "exclude")
    items = resolved(store, run)
    first, second = items["A/3.1"], items["A/3.2"]
    assert (first.state, first.label, first.posterior) == ("adjudicated", "=Tumor", (0, 1, 0))
    assert first.geometry is not None
    assert first.geometry.bounds == (0, 400, 200, 800)
    assert first.answer is not None
    assert (first.answer.by, first.answer.reason, first.answer.decision) == ("L", "seen", 1)
    assert (second.state, second.label) == ("excluded", None)
    assert items["A/3.rest"].state == "below the dispute's area"
    answer(store, 3, None, "indeterminate")
    assert resolved(store, run, "B")["B/3.1"].state == "indeterminate"
    with store.writing() as session:
        reopen(session, 1)
    assert resolved(store, run)["A/3.1"].state == "disputed"


def test_the_same_run_and_decisions_give_the_same_digest_under_another_name(
    store: Store, run: int
) -> None:
    answer(store, 1, "=Tumor")
    first = make(store, "first", run, seed=5)
    again = make(store, "second", run)
    assert again.row.manifest_sha256 == first.row.manifest_sha256
    assert again.row.manifest == first.row.manifest
    digest = hashlib.sha256(first.row.manifest.encode()).hexdigest()
    assert first.row.manifest_sha256 == digest
    assert "first" not in first.row.manifest
    assert encode_manifest(json.loads(first.row.manifest)) == first.row.manifest.encode()


def test_taking_a_decision_back_and_making_it_again_gives_the_same_digest(
    store: Store, run: int
) -> None:
    answer(store, 1, "=Tumor")
    first = make(store, "first", run)
    with store.writing() as session:
        reopen(session, 1)
    without = make(store, "without", run)
    answer(store, 1, "=Tumor")
    again = make(store, "again", run)
    assert without.row.manifest_sha256 != first.row.manifest_sha256
    assert again.row.manifest_sha256 == first.row.manifest_sha256


def test_another_decision_or_seed_gives_another_digest(store: Store, run: int) -> None:
    seen = {make(store, "none", run).row.manifest_sha256}
    answer(store, 1, "=Tumor")
    seen.add(make(store, "tumor", run).row.manifest_sha256)
    with store.writing() as session:
        reopen(session, 1)
    answer(store, 1, "Benign")
    seen.add(make(store, "benign", run).row.manifest_sha256)
    seen.add(make(store, "seed", run, seed=1).row.manifest_sha256)
    assert len(seen) == 4


def test_a_later_decision_leaves_a_release_as_it_was_frozen(store: Store, run: int) -> None:
    make(store, "frozen", run)
    answer(store, 1, "=Tumor")
    with store.reading() as session:
        opened = open_release(session, "frozen")
        opened.require_unchanged()
        assert opened.difference is None
        slide = session.scalars(select(Slide).where(Slide.name == "A")).one()
        states = {item.name: item.state for item in opened.consensus.items(slide)}
    assert states["A/3.1"] == "disputed"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE slides SET fingerprint = 'x' WHERE name = 'B'",
            "fingerprint of slide 'B' changed",
        ),
        ("UPDATE slides SET mpp = 0.25 WHERE name = 'C'", "mpp of slide 'C' changed"),
        ("UPDATE slides SET patient_id = NULL WHERE name = 'A'", "patient of slide 'A' changed"),
        ("UPDATE consensus_items SET label = 'Benign' WHERE id = 2", "items of slide 'A' changed"),
        (
            "UPDATE releases SET manifest = replace(manifest, 'one', '1')",
            "its manifest was changed",
        ),
        ("UPDATE protocols SET sha256 = 'x'", "its protocol changed"),
    ],
)
def test_a_release_that_the_store_no_longer_gives_is_refused_with_what_changed(
    store: Store, run: int, statement: str, said: str
) -> None:
    make(store, "frozen", run)
    tamper(store, statement)
    with store.reading() as session:
        opened = open_release(session, "frozen")
        with pytest.raises(RefusedError, match="no longer matches the store") as caught:
            opened.require_unchanged()
    assert said in str(caught.value)


def test_the_manifest_says_what_a_training_set_is_made_of(store: Store, run: int) -> None:
    answer(store, 1, "=Tumor")
    answer(store, 2, None, "exclude")
    manifest = make(store, "frozen", run).manifest
    assert manifest["protocol"]["name"] == "prostate"
    assert manifest["method"] == "majority"
    assert manifest["parameters"] == {"min_raters": 2, "quorum": 0.5}
    assert manifest["classes"] == ["Benign", "=Tumor", "background"]
    assert manifest["excluded_reads"] == [
        {"annotator": "P3", "slide": "A", "reason": "no credential"}
    ]
    first, second = manifest["decisions"]
    assert (first["class"], first["by"], first["reason"]) == ("=Tumor", "L", "seen")
    assert first["pattern"] == {"P1": "Benign", "P2": "=Tumor"}
    assert (second["answer"], second["class"]) == ("exclude", None)
    slides = {slide["name"]: slide for slide in manifest["slides"]}
    assert [slides[name]["patient"] for name in "ABC"] == ["one", "two", None]
    assert {slide["items"] for slide in slides.values()} == {5}
    totals = manifest["totals"]
    assert (totals["slides"], totals["items"]) == (3, 15)
    assert totals["labelled"]["Benign"] == {"items": 3, "weight": 3 * 300 * 400 * MPP**2}
    assert totals["unlabelled"]["excluded"] == {"items": 1, "weight": 100 * 100 * MPP**2}
    assert totals["unlabelled"]["disputed"]["items"] == 4
    assert totals["unlabelled"]["below the dispute's area"]["items"] == 3
    weights = [t["weight"] for g in ("labelled", "unlabelled") for t in totals[g].values()]
    assert sum(weights) == pytest.approx(3 * 900 * 800 * MPP**2)
    text = json.dumps(manifest)
    assert "read" not in manifest["excluded_reads"][0]
    assert str(make(store, "other", run).row.at.year) not in text


def test_a_patients_part_is_inherited_by_every_later_release(store: Store) -> None:
    slides = {f"S{i:02}": {"patient": f"p{i // 2}", "site": f"site {i % 3}"} for i in range(16)}
    items = [Item(name, shapely.box(0, 0, 10, 10), ALL_BENIGN, "Benign") for name in slides]
    early = build_run(store, items[:8], slides=slides)
    first = make(store, "first", early, shares=parse_shares("train=0.5,test=0.5"), seed=3)
    with store.writing() as session:
        ids = {row.name: row.id for row in session.scalars(select(Slide))}
        late = write_run(session, 1, ids, items, "regions")
    second = make(store, "second", late, shares=parse_shares("train=0.25,test=0.75"), seed=8)
    before, after = first.part_of_slide, second.part_of_slide
    assert len(before) == 8
    assert {name: after[name] for name in before} == before
    assert second.manifest["split"]["parts"] == {
        "train": {"patients": 2, "slides": 4},
        "test": {"patients": 6, "slides": 12},
    }
    with store.reading() as session:
        assert len(session.scalars(select(PatientPart)).all()) == 8
        assert open_release(session, "first").difference is None


def test_slides_of_one_patient_share_a_part_and_a_slide_without_one_stands_for_itself(
    store: Store,
) -> None:
    slides = {f"S{i:02}": {"patient": f"p{i // 3}"} if i < 9 else {} for i in range(12)}
    items = [Item(name, shapely.box(0, 0, 10, 10), ALL_BENIGN, "Benign") for name in slides]
    made = make(store, "split", build_run(store, items, slides=slides))
    parts = made.part_of_slide
    for i in range(0, 9, 3):
        assert len({parts[f"S{j:02}"] for j in (i, i + 1, i + 2)}) == 1
    counts = made.manifest["split"]["parts"]
    assert sum(count["patients"] for count in counts.values()) == 6
    assert sum(count["slides"] for count in counts.values()) == 12
    assert all(count["patients"] for count in counts.values())


def test_later_releases_take_shares_and_seed_of_the_last_one_where_none_are_given(
    store: Store, run: int
) -> None:
    make(store, "first", run, shares=parse_shares("train=0.7,test=0.3"), seed=42)
    split = make(store, "second", run).manifest["split"]
    assert (split["seed"], split["shares"]) == (42, {"train": 0.7, "test": 0.3})


def test_a_release_is_an_event_and_names_the_last_event_before_it(store: Store, run: int) -> None:
    answer(store, 1, "=Tumor")
    made = make(store, "frozen", run)
    with store.reading() as session:
        events = session.scalars(select(Event).order_by(Event.id)).all()
    assert events[-1].action == "release created"
    assert events[-1].new is not None
    assert events[-1].new["manifest_sha256"] == made.row.manifest_sha256
    assert made.row.up_to_event_id == events[-2].id
    assert events[-2].action == "dispute decided"


def test_a_taken_name_an_unknown_run_and_a_run_without_labels_are_refused(store: Store) -> None:
    items = [Item("A", shapely.box(0, 0, 9, 9), {"P1": "Benign"}, None, "too few raters")]
    run = build_run(store, items, slides={"A": {}})
    with pytest.raises(InputError, match="no labelled item"):
        make(store, "frozen", run)
    with pytest.raises(UnknownNameError, match="no consensus run 7"):
        make(store, "frozen", 7)
    with pytest.raises(InputError, match="needs a name"):
        make(store, " ", run)
    with store.reading() as session:
        assert session.scalars(select(Release)).all() == []
        assert session.scalars(select(PatientPart)).all() == []
        with pytest.raises(UnknownNameError, match="release create"):
            open_release(session, "frozen")


def test_a_name_is_given_once(store: Store, run: int) -> None:
    make(store, "frozen", run)
    with pytest.raises(ConflictError, match="'frozen' exists already"):
        make(store, "frozen", run)


def test_the_commands_print_one_document(pathquorum: Pathquorum, store: Store, run: int) -> None:
    made = pathquorum(
        "release",
        "create",
        "v1",
        "--run",
        run,
        "--split",
        "train=0.6,test=0.4",
        "--seed",
        1,
        "--json",
    )
    assert made.status == 0, made.err
    document = made.json
    assert (document["release"], document["slides"], document["items"]) == ("v1", 3, 15)
    assert sum(part["patients"] for part in document["split"].values()) == 3
    assert set(document["split"]) == {"train", "test"}
    shown = pathquorum("release", "show", "v1", "--json").json
    assert shown["manifest_sha256"] == document["manifest_sha256"]
    assert shown["split"] == document["split"]
    assert shown["matches_store"] is True
    (row,) = pathquorum("release", "list", "--json").json["releases"]
    assert row["manifest_sha256"] == document["manifest_sha256"]
    for arguments in (("show", "v1"), ("list",)):
        told = pathquorum("release", *arguments)
        assert told.status == 0
        assert "v1" in told.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "v1", "--run", 1, "--split", "train=0.6,test=0.3"), "add up to 0.9, not 1"),
        (("create", "v1", "--run", 9), "no consensus run 9"),
        (("show", "v9"), "no release 'v9'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_stored(
    pathquorum: Pathquorum, store: Store, run: int, arguments: tuple[object, ...], said: str
) -> None:
    result = pathquorum("release", *arguments)
    assert (result.status, result.out) == (1, "")
    assert said in result.err
    assert result.err.count("\n") == 1
    with store.reading() as session:
        assert session.scalars(select(Release)).all() == []
