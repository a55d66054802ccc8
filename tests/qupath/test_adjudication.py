"""An adjudicator decides in QuPath: what is disputed goes in, what is decided comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image

from annotation.digests import derive_uuid
from annotation.projects.files import read_project
from annotation.projects.process import QuPathProcess
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.store import Store
from annotation.tables import Event, Slide
from consensus.adjudicating.answers import DESCRIPTION
from tests.conftest import CommandResult
from tests.consensus.built_run import Item, build_run
from tests.qupath.test_object_writing import opened_with_paquo
from tests.qupath.test_project_push import replaced
from tests.signing import make_key

pytestmark = pytest.mark.qupath

SPLIT = {"P1": "Benign", "P2": "=Tumor"}
FIRST, SECOND = shapely.box(10, 10, 110, 110), shapely.box(300, 300, 340, 340)


@pytest.fixture
def opened(
    qupath_version: str, store: Store, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> Path:
    """A project of three disputes on two slides."""
    last = shapely.box(500, 500, 520, 520)
    items = [
        Item(slide, place, SPLIT, None, "disputed", [place])
        for slide, place in (("A", FIRST), ("B", SECOND), ("B", last))
    ]
    run = build_run(store, items, slides={"A": {}, "B": {}})
    with store.writing() as session:
        for name in ("A", "B"):
            Image.new("RGB", (1000, 800), "white").save(tmp_path / f"{name}.png")
            session.query(Slide).filter_by(name=name).one().path = str(tmp_path / f"{name}.png")
    result = pathquorum("adjudicate", "open", "--run", run, "--to", tmp_path / "open", "--json")
    assert result.status == 0, result.err
    assert result.json["slides"] == ["A", "B"]
    assert len(result.json["disputes"]) == 3
    return tmp_path / "open" / "project.qpproj"


def objects(project: Path) -> dict[str, PathObject]:
    """Dispute objects by their name, up to the colon."""
    return {
        str(thing.name).split(":")[0]: thing
        for source in open_project(project)
        for batch in source.batches()
        for thing in batch.objects
    }


def edited(project: Path, change: Callable[[PathObject], PathObject | None], *more: tuple[int, PathObject]) -> None:  # fmt: skip
    """As somebody does it in QuPath: objects get classes and descriptions, vanish, or are drawn."""
    process = QuPathProcess(1_000_000)
    for image in read_project(project).images:
        (source,) = (s for s in open_project(project) if s.entry_id == image.number)
        things = [thing for batch in source.batches() for thing in batch.objects]
        changed = [(thing, change(thing)) for thing in things]
        written = process.write(
            image.data.read_bytes(),
            remove=[str(thing.uuid) for thing, other in changed if other is not thing],
            add=[other for thing, other in changed if other is not thing and other is not None]
            + [drawn for number, drawn in more if number == image.number],
        )
        image.data.write_bytes(written.data)
        summary = json.loads((image.folder / "summary.json").read_bytes())
        summary["hierarchy"] = written.hierarchy
        (image.folder / "summary.json").write_text(json.dumps(summary))
    process.stop()


def with_class(name: str | None, reason: str = "seen at 40x") -> Callable[[PathObject], PathObject]:
    def change(thing: PathObject) -> PathObject:
        metadata = (
            {**thing.extra["metadata"], DESCRIPTION: reason} if reason else thing.extra["metadata"]
        )
        return replaced(thing, path_class=name, extra={**thing.extra, "metadata": metadata})

    return change


def drawn(
    geometry: shapely.Geometry, path_class: str | None, reason: str = "redrawn"
) -> PathObject:
    return PathObject(
        derive_uuid("drawn", shapely.to_wkb(geometry), 0), "annotation", path_class, None, False,
        geometry, extra={"metadata": {DESCRIPTION: reason}},
    )  # fmt: skip


def test_what_is_collected_with_a_key_is_signed_decision_by_decision(
    opened: Path, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    edited(opened, with_class("Benign"))
    key = make_key(pathquorum, "L", tmp_path)
    result = pathquorum("adjudicate", "collect", opened.parent, "--by", "L", *key, "--json")
    assert result.status == 0, result.err
    signatures = pathquorum("signature", "list", "--json").json["signatures"]
    assert [row["subject"] for row in signatures] == ["decision:1", "decision:2", "decision:3"]
    checked = pathquorum("signature", "verify", "--json")
    assert (checked.status, checked.json["bad"]) == (0, [])


def test_the_project_shows_what_is_disputed_in_order_and_nobodys_handle(opened: Path) -> None:
    told = opened_with_paquo(opened)
    classes = [name for name, _ in told.pop("classes")]
    assert classes == ["Benign", "=Tumor", "background", "indeterminate", "exclude"]
    assert list(told) == ["1 A", "2 B"]
    assert told["1 A"][1] == {"priority": "1", "disputes": "1"}
    first = objects(opened)["1. dispute 1"]
    assert first.name is not None
    assert sorted(first.name.split(": ", 1)[1].split(", ")) in (
        ["rater A: Benign", "rater B: =Tumor"], ["rater A: =Tumor", "rater B: Benign"])  # fmt: skip
    assert (first.locked, first.path_class) == (True, None)
    assert first.geometry.bounds == FIRST.bounds
    assert first.measurements["pathquorum rank"] == 1
    whole = b"".join(p.read_bytes() for p in opened.parent.rglob("*") if p.is_file())
    assert b"P1" not in whole
    assert b"P2" not in whole


def test_decisions_come_out_with_their_reasons_and_never_twice(
    opened: Path, pathquorum: Callable[..., CommandResult]
) -> None:
    answers = {1: "Benign", 2: "pathquorum: indeterminate", 3: "pathquorum: exclude"}

    def change(thing: PathObject) -> PathObject:
        number = int(str(thing.name).split("dispute ")[1].split(":")[0])
        return with_class(answers[number])(thing)

    edited(opened, change)
    result = pathquorum("adjudicate", "collect", opened.parent, "--by", "L", "--json")
    assert result.status == 0, result.err
    assert (result.json["decided"], result.json["open"]) == ([1, 2, 3], [])
    listed = pathquorum("adjudicate", "list", "--json").json["disputes"]
    told = {d["dispute"]: (d["answer"], d["class"], d["by"], d["reason"]) for d in listed}
    assert told[1] == ("class", "Benign", "L", "seen at 40x")
    assert told[2][:2] == ("indeterminate", None)
    assert told[3][:2] == ("exclude", None)
    again = pathquorum("adjudicate", "collect", opened, "--by", "L", "--json").json
    assert (again["decided"], again["skipped"]) == ([], [1, 2, 3])
    assert pathquorum("adjudicate", "reopen", 1, "--by", "L", "--reason", "r").status == 0
    assert pathquorum("adjudicate", "decide", 1, "--class", "=Tumor", "--by", "L", "--reason", "r").status == 0  # fmt: skip
    refused = pathquorum("adjudicate", "collect", opened, "--by", "L")
    assert refused.status == 1
    assert (
        "dispute 1 on A was decided =Tumor in the meantime, and is Benign in the project"
        in refused.err
    )


def test_what_is_half_done_is_refused_by_name_and_taken_in_part_on_request(
    opened: Path, pathquorum: Callable[..., CommandResult]
) -> None:
    edited(opened, lambda t: with_class("Benign")(t) if "dispute 2:" in str(t.name) else t)
    refused = pathquorum("adjudicate", "collect", opened.parent, "--by", "L")
    assert (refused.status, refused.out) == (1, "")
    assert "dispute 1 on A, dispute 3 on B have no class yet" in refused.err
    listed = pathquorum("adjudicate", "list", "--json").json["disputes"]
    assert {d["state"] for d in listed} == {"open"}
    part = pathquorum("adjudicate", "collect", opened.parent, "--by", "L", "--partial", "--json")
    assert (part.json["decided"], part.json["open"]) == ([2], [1, 3])


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (with_class("Benign", reason=""), (), "dispute 1 on A has no reason"),
        (with_class("Bening"), (), "class 'Bening', which is no answer"),
        (lambda t: None if "dispute 3:" in str(t.name) else with_class("Benign")(t), (),
         "objects of dispute 3 on B are gone"),
        (with_class("Benign"), ((1, drawn(FIRST, "=Tumor")),), "two answers in the project"),
        (with_class("Benign"), ((1, drawn(shapely.box(0, 0, 5, 5), "=Tumor")),), "covers no dispute"),
        (with_class("Benign"), ((1, drawn(FIRST, None)),), "has no class"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_one_line_and_decides_nothing(
    opened: Path,
    pathquorum: Callable[..., CommandResult],
    change: Callable[[PathObject], PathObject | None],
    more: tuple[Any, ...],
    said: str,
) -> None:
    edited(opened, change, *more)
    refused = pathquorum("adjudicate", "collect", opened.parent, "--by", "L")
    assert (refused.status, refused.out) == (1, "")
    assert said in refused.err
    assert refused.err.count("\n") == 1 + refused.err.count("Note:")
    listed = pathquorum("adjudicate", "list", "--json").json["disputes"]
    assert {d["state"] for d in listed} == {"open"}


def test_a_drawn_region_answers_what_it_covers(
    opened: Path, pathquorum: Callable[..., CommandResult], store: Store
) -> None:
    edited(opened, lambda t: t, (1, drawn(shapely.buffer(FIRST, -10), "=Tumor")))
    result = pathquorum("adjudicate", "collect", opened.parent, "--by", "L", "--partial", "--json")
    assert result.status == 0, result.err
    assert result.json["decided"] == [1]
    assert any("its outline stays in the trail" in note for note in result.json["notes"])
    with store.reading() as session:
        (event,) = session.query(Event).filter_by(action="dispute decided")
    assert event.new is not None
    (outline,) = event.new["drawn"]
    assert shapely.from_wkt(outline).equals(shapely.buffer(FIRST, -10))


def test_an_outline_that_was_shrunk_in_qupath_changes_nothing_of_what_is_asked(
    opened: Path, pathquorum: Callable[..., CommandResult]
) -> None:
    """A corner of the dispute is no answer to it, whatever its object looks like by now."""
    corner = shapely.box(10, 10, 30, 30)
    edited(
        opened,
        lambda t: replaced(t, geometry=corner) if "dispute 1:" in str(t.name) else t,
        (1, drawn(corner, "=Tumor")),
    )
    result = pathquorum("adjudicate", "collect", opened, "--by", "L", "--partial", "--json")
    assert result.status == 0, result.err
    assert result.json["decided"] == []
    assert "covers no dispute by more than half" in result.json["unfinished"][0]["why"]
    assert any("outline of dispute 1 was changed" in note for note in result.json["notes"])


def test_a_project_of_another_store_and_a_spoiled_binding_are_refused(
    opened: Path, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    edited(opened, with_class("Benign"))
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert pathquorum("init", "--store", other).status == 0
    refused = pathquorum("adjudicate", "collect", opened.parent, "--by", "L", "--store", other)
    assert "holds the disputes of another store" in refused.err
    binding = opened.with_name("pathquorum.json")
    for content in (
        "{",
        '{"format": 1}',
        "[" * 9000,
        binding.read_text().replace('"format": 1', '"format": 9'),
    ):
        binding.write_text(content)
        refused = pathquorum("adjudicate", "collect", opened.parent, "--by", "L")
        assert (refused.status, refused.err.count("\n")) == (1, 1)


def test_an_adjudicators_project_is_no_read(
    opened: Path, pathquorum: Callable[..., CommandResult]
) -> None:
    refused = pathquorum("pull", opened, "--annotator", "P1", "--protocol", "prostate")
    assert refused.status == 1
    assert "`pathquorum adjudicate collect` reads" in refused.err


def test_a_slide_that_is_not_here_is_named(
    opened: Path, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "B.png").rename(tmp_path / "elsewhere" / "B.png")
    refused = pathquorum("adjudicate", "open", "--to", tmp_path / "again")
    assert "the image of slide 'B' is not found here" in refused.err
    assert not (tmp_path / "again").exists()
    found = pathquorum(
        "adjudicate", "open", "--to", tmp_path / "again", "--slides-root", tmp_path / "elsewhere"
    )
    assert found.status == 0, found.err
