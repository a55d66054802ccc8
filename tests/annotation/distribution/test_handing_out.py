"""Projects are made for whom they should be, masked where they should be, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from annotation.commands.distribution import names
from annotation.distribution import handing_out
from annotation.distribution.masking import SlideMask
from annotation.errors import SlideError
from annotation.projects.files import read_project
from annotation.projects.project_lock import project_lock
from annotation.store import Store, store_salt
from annotation.tables import Annotator, Assignment, Event, HandedProject, ProtocolVersion, Slide
from tests.annotation.distribution.conftest import SLIDES, Study
from tests.conftest import feature, square


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(store: Store) -> list[int]:
    with store.reading() as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Assignment, HandedProject, Event)
        ]


def refused(
    study: Study, store: Store, folder: Path, match: str, *arguments: object, status: int = 1
) -> None:
    """One line, the store and the folder as they were."""
    before, files = rows(store), snapshot(folder)
    result = study(*arguments, "--json")
    assert result.status == status, result.err
    assert match in result.err
    if status == 1:
        assert len(result.err.strip().splitlines()) == 1
    assert result.out == ""
    assert (rows(store), snapshot(folder)) == (before, files)


def distribute(study: Study, folder: Path, *more: object, protocol: str = "blind") -> Any:
    result = study(
        "distribute",
        "--protocol",
        protocol,
        "--annotators",
        "P1,P2",
        "--to",
        folder,
        *more,
        "--json",
    )
    assert result.status == 0, result.err
    return result.json


def test_each_annotator_gets_every_slide_masked_and_in_an_order_of_their_own(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    document = distribute(blinded, tmp_path / "out", "--seed", 3)
    orders, shown = [], []
    for entry, handle in zip(document["projects"], ("P1", "P2"), strict=True):
        assert (entry["annotator"], entry["masked"]) == (handle, True)
        assert Path(entry["project"]) == tmp_path / "out" / handle / "project.qpproj"
        assert sorted(entry["slides"]) == sorted(SLIDES)
        orders.append(entry["slides"])
        project = read_project(Path(entry["project"]))
        shown.append([image.name for image in project.images])
        for image, slide in zip(project.images, entry["slides"], strict=True):
            file = tmp_path / "out" / handle / "slides" / f"{image.name}.tiff"
            assert image.file_name == file.name
            assert file.read_bytes() == (tmp_path / "scans" / f"{slide}.tiff").read_bytes()
        everything = " ".join(snapshot(tmp_path / "out" / handle)) + str(
            [
                (tmp_path / "out" / handle / name).read_text()
                for name in ("project.qpproj", "pathquorum.json", "classifiers/classes.json")
            ]
        )
        assert "SP21" not in everything
    # Of three slides two people may have the same order by chance: it is the one of their mask.
    with store.reading() as session:
        ids = {row.name: row.id for row in session.scalars(select(Slide))}
        protocol = session.scalars(
            select(ProtocolVersion).where(ProtocolVersion.name == "blind")
        ).one()
        for handle, order in zip(("P1", "P2"), orders, strict=True):
            person = session.scalars(select(Annotator).where(Annotator.handle == handle)).one()
            mask = SlideMask(store_salt(session), 3, person.id, protocol.id, 1)
            assert [ids[name] for name in order] == mask.shuffled(list(ids.values()))
    assert not set(shown[0]) & set(shown[1])
    listed = blinded("assign", "--list", "--json").json["assignments"]
    assert [(r["annotator"], r["slide"], r["shown_as"], r["state"]) for r in listed] == [
        (handle, slide, name, "open")
        for handle, order, names in zip(("P1", "P2"), orders, shown, strict=True)
        for slide, name in zip(order, names, strict=True)
    ]


def test_the_seed_gives_the_same_projects_again_in_the_same_store(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    distribute(blinded, tmp_path / "one", "--seed", 3)
    first = [
        (r["slide"], r["shown_as"])
        for r in blinded("assign", "--list", "--json").json["assignments"]
    ]
    with store.writing() as session:
        for table in (Assignment, HandedProject):
            for row in session.scalars(select(table)):
                session.delete(row)
    distribute(blinded, tmp_path / "two", "--seed", 3)
    again = [
        (r["slide"], r["shown_as"])
        for r in blinded("assign", "--list", "--json").json["assignments"]
    ]
    assert again == first


def test_without_blinding_names_and_places_are_the_slides(blinded: Study, tmp_path: Path) -> None:
    document = distribute(blinded, tmp_path / "out", protocol="open")
    project = read_project(Path(document["projects"][0]["project"]))
    assert [image.name for image in project.images] == sorted(SLIDES)
    assert not (tmp_path / "out" / "P1" / "slides").exists()
    content = json.loads(project.path.read_bytes())
    uris = [image["serverBuilder"]["uri"] for image in content["images"]]
    assert uris == [(tmp_path / "scans" / f"{name}.tiff").as_uri() for name in sorted(SLIDES)]
    assert document["leaks"] == []


def test_the_classes_come_in_the_protocols_order_with_those_of_the_domain(
    blinded: Study, tmp_path: Path
) -> None:
    distribute(blinded, tmp_path / "out")
    content = json.loads((tmp_path / "out/P1/classifiers/classes.json").read_bytes())
    assert [entry["name"] for entry in content["pathClasses"]] == [
        "Benign", "Tumor", "Region*", "Ignore*",
    ]  # fmt: skip
    green = content["pathClasses"][0]["color"] & 0xFFFFFF
    assert green == 0x00A000


def test_what_tells_the_slide_from_within_is_reported(
    blinded: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def content(path: Path, name: str) -> tuple[str, ...]:
        asked.append((Path(path).stem, name))
        return ("label", "macro") if name == SLIDES[1] else ()

    monkeypatch.setattr(handing_out, "recognisable_content", content)
    document = distribute(blinded, tmp_path / "out")
    assert document["leaks"] == [{"slide": SLIDES[1], "shows": ["label", "macro"]}]
    assert asked == [(name, name) for name in sorted(SLIDES)]


def test_the_trail_and_the_binding_hold_no_slides_and_no_masked_names(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    distribute(blinded, tmp_path / "out", "--seed", 3)
    with store.reading() as session:
        names = list(session.scalars(select(Assignment.shown_name)))
        events = session.scalars(select(Event).where(Event.action == "project handed out")).all()
    assert len(events) == 2
    binding = (tmp_path / "out/P1/pathquorum.json").read_text()
    for name in (*names, *SLIDES, str(tmp_path)):
        assert name not in binding
        assert all(name not in json.dumps(event.new) for event in events)
    assert blinded("audit", "verify", "--json").json["ok"]


def test_a_folder_that_is_there_is_never_touched(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, "--slides", SLIDES[0])
    common = ("distribute", "--protocol", "blind", "--to", out)
    refused(
        blinded, store, out, "is there already, so nothing was written; add slides to it with",
        *common, "--annotators", "P3,P1",
    )  # fmt: skip
    (out / "P3").mkdir()
    (out / "P3" / "notes.txt").write_text("mine")
    refused(blinded, store, out, "move it, or choose another --to", *common, "--annotators", "P3")


def test_what_cannot_be_handed_out_hands_out_nothing(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    common = ("distribute", "--protocol", "blind", "--to", out, "--annotators")
    blinded("slide", "add", "bare", "--width", 10, "--height", 10, "--mpp", 1)
    for match, arguments in (
        ("no annotator 'P9'", ("P1,P9",)),
        ("named twice", ("P1,P1",)),
        ("nobody is named", (",",)),
        ("no slide 'nope'", ("P1", "--slides", "nope")),
        ("was added without an image", ("P1", "--slides", f"{SLIDES[0]},bare")),
        ("needs a washout", ("P1", "--replicate", 2, "--slides", SLIDES[0])),
        ("pull the earlier reading first", ("P1", "--replicate", 2, "--washout", 7)),
        ("--washout is for reading again", ("P1", "--washout", 3)),
        ("there is no", ("P1", "--domain", tmp_path / "gone.geojson")),
    ):
        refused(blinded, store, out, match, *common, *arguments)
    refused(
        blinded, store, out, "has not read slide", *common, "P1", "--replicate", 2,
        "--washout", 7, "--slides", SLIDES[0],
    )  # fmt: skip
    (tmp_path / "scans" / f"{SLIDES[0]}.tiff").unlink()
    refused(blinded, store, out, "is not where it was added from", *common, "P1")


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ([feature(square(0, 0), "Tumor")], "the class 'Tumor'; the protocol's domain is declared"),
        ([feature(square(0, 0))], "has the class None"),
        ([feature(square(5_000, 0), "Region*")], "lies outside slide"),
        ([feature({"type": "Point", "coordinates": [3, 3]}, "Region*")], "encloses nothing"),
        ([], "it holds no object"),
    ],
)
def test_a_domain_that_declares_nothing_is_refused(
    blinded: Study, store: Store, tmp_path: Path, features: list[dict[str, Any]], match: str
) -> None:
    path = tmp_path / "domain.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    out = tmp_path / "out"
    out.mkdir()
    refused(
        blinded, store, out, match,
        "distribute", "--protocol", "blind", "--to", out, "--annotators", "P1", "--domain", path,
    )  # fmt: skip


def test_if_one_project_fails_none_is_left(
    blinded: Study, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    link, linked = handing_out.link_image, []

    def fail_at_the_fifth(*arguments: Any) -> Any:
        linked.append(arguments)
        if len(linked) == 5:
            raise SlideError("the disk is full; make room")
        return link(*arguments)

    monkeypatch.setattr(handing_out, "link_image", fail_at_the_fifth)
    refused(
        blinded, store, out, "the disk is full",
        "distribute", "--protocol", "blind", "--to", out, "--annotators", "P1,P2",
    )  # fmt: skip
    assert not any(out.iterdir())


def test_slides_are_added_later_and_what_is_there_stays(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, "--slides", SLIDES[0])
    before = read_project(out / "P1" / "project.qpproj").images
    binding = json.loads((out / "P1" / "pathquorum.json").read_bytes())
    add = ("assign", "--annotator", "P1", "--protocol", "blind", "--to", out, "--slides")
    result = blinded(*add, f"{SLIDES[1]},{SLIDES[2]}", "--json")
    assert result.status == 0, result.err
    assert result.json["projects"][0]["added"] is True
    after = read_project(out / "P1" / "project.qpproj").images
    assert after[:1] == before
    assert [image.number for image in after] == [1, 2, 3]
    bound = json.loads((out / "P1" / "pathquorum.json").read_bytes())
    assert {**bound, "images": binding["images"]} == binding
    assert bound["images"]["1"] == binding["images"]["1"]
    assert sorted(bound["images"]) == ["1", "2", "3"]
    assert len(list((out / "P1" / "slides").iterdir())) == 3
    refused(
        blinded, store, out, "is assigned to 'P1' already, in project folder 'P1'", *add, SLIDES[1]
    )
    refused(
        blinded, store, out, "was made for annotator 'P1' and protocol blind@1",
        "assign", "--annotator", "P1", "--protocol", "open", "--to", out, "--slides", SLIDES[1],
    )  # fmt: skip


def test_a_failed_addition_leaves_the_project_as_it_was(
    blinded: Study, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, "--slides", SLIDES[0])

    def fail(*_arguments: object) -> None:
        raise SlideError("the store is gone; try again")

    monkeypatch.setattr(handing_out, "_record", fail)
    before = snapshot(out)
    result = blinded(
        "assign", "--annotator", "P1", "--protocol", "blind", "--to", out, "--slides", SLIDES[1]
    )
    assert (result.status, "the store is gone" in result.err) == (1, True)
    after = snapshot(out)
    after.pop("P1/project.qpproj.backup")
    assert after == before


def test_what_was_not_begun_moves_to_another_annotator(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, "--slides", f"{SLIDES[0]},{SLIDES[1]}")
    begun = out / "P1" / "data" / "1"
    begun.mkdir()
    (begun / "data.qpdata").write_bytes(b"what somebody saved")
    first, second = blinded("assign", "--list", "--annotator", "P1", "--json").json["assignments"]
    move = ("assign", "--from", "P1", "--to-annotator", "P3", "--protocol", "blind", "--to", out)
    result = blinded(*move, "--reason", "on leave", "--json")
    assert result.status == 0, result.err
    assert [entry["slide"] for entry in result.json["withdrawn"]] == [second["slide"]]
    assert result.json["kept"][0]["slide"] == first["slide"]
    assert "it was begun" in result.json["kept"][0]["because"]
    assert result.json["projects"][0]["annotator"] == "P3"
    assert (begun / "data.qpdata").read_bytes() == b"what somebody saved"
    rows_after = blinded("assign", "--list", "--json").json["assignments"]
    assert [
        (r["annotator"], r["slide"], r["state"]) for r in rows_after if r["annotator"] != "P2"
    ] == [
        ("P1", first["slide"], "open"),
        ("P1", second["slide"], "withdrawn"),
        ("P3", second["slide"], "open"),
    ]
    with store.reading() as session:
        moved = session.scalars(
            select(Assignment).where(Assignment.moved_from_id.is_not(None))
        ).one()
        assert moved.moved_from_id == second["assignment"]
        event = session.scalars(select(Event).where(Event.action == "assignments withdrawn")).one()
        assert event.reason == "on leave"
    refused(blinded, store, out, "has nothing under blind@1 that is not read yet", *move)


def test_what_was_withdrawn_may_be_handed_out_again_and_is_counted(
    blinded: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, protocol="open")
    common = ("--annotator", "P1", "--protocol", "open", "--to", out)
    taken = blinded("assign", "--withdraw", *common, "--slides", SLIDES[0], "--json")
    assert [entry["slide"] for entry in taken.json["withdrawn"]] == [SLIDES[0]]
    again = blinded("assign", *common, "--slides", SLIDES[0], "--json")
    assert again.status == 0, again.err
    names = [image.name for image in read_project(out / "P1" / "project.qpproj").images]
    assert names == [*sorted(SLIDES), f"{SLIDES[0]} (2)"]
    status = blinded("status", "--json").json
    (entry,) = (p for p in status["protocols"] if p["name"] == "open")
    assert entry["assignments"] == [
        {"annotator": "P1", "assigned": 3, "pulled": 0, "open": 3, "withdrawn": 1},
        {"annotator": "P2", "assigned": 3, "pulled": 0, "open": 3, "withdrawn": 0},
    ]
    shown = blinded("status").out
    assert ["P1", "3", "0", "3", "0", "0", "-"] in [line.split() for line in shown.splitlines()]
    assert "Withdrawn from P1: 1 slide." in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("assign",),
        ("assign", "--protocol", "blind"),
        ("assign", "--protocol", "blind", "--annotator", "P1", "--to", "x"),
        ("assign", "--protocol", "blind", "--from", "P1", "--to", "x"),
        ("assign", "--list", "--withdraw"),
        ("assign", "--withdraw", "--protocol", "blind"),
        ("distribute", "--protocol", "blind", "--annotators", "P1", "--to", "x", "--force", "y"),
        ("distribute", "--protocol", "blind", "--annotators", "P1"),
    ],
    ids=" ".join,
)
def test_half_a_request_is_wrong_usage(blinded: Study, arguments: tuple[str, ...]) -> None:
    assert blinded(*arguments).status == 2


def test_a_protocol_that_must_be_signed_is_not_handed_out_before(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    text = (tmp_path / "blind.toml").read_text().replace('"blind"', '"strict"')
    (tmp_path / "strict.toml").write_text(text + "[require]\nsignature = true\n")
    blinded("protocol", "add", tmp_path / "strict.toml")
    refused(
        blinded, store, tmp_path / "scans", "requires a signature",
        "distribute", "--protocol", "strict", "--annotators", "P1", "--to", tmp_path / "out",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_handle_cannot_lead_out_of_the_folder(blinded: Study, tmp_path: Path) -> None:
    blinded("annotator", "add", "../P7", "--role", "pathologist")
    result = blinded(
        "distribute",
        "--protocol",
        "open",
        "--annotators",
        "../P7",
        "--to",
        tmp_path / "out",
        "--json",
    )
    assert result.status == 0, result.err
    (folder,) = (tmp_path / "out").iterdir()
    assert (folder / "project.qpproj").exists()
    shutil.rmtree(folder)


def test_every_slide_of_the_study_is_known_by_its_own_name_only(
    blinded: Study, store: Store, tmp_path: Path
) -> None:
    """A mask never becomes a slide's name."""
    distribute(blinded, tmp_path / "out")
    with store.reading() as session:
        assert sorted(session.scalars(select(Slide.name))) == sorted(SLIDES)


def test_a_folder_that_appears_meanwhile_is_not_taken_away(
    blinded: Study, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / "P1").mkdir(parents=True)
    (out / "P1" / "drawn").write_text("by somebody")
    plan = handing_out.plan_project

    def before_it_was_there(*arguments: Any) -> Any:
        (out / "P1").rename(tmp_path / "away")
        planned = plan(*arguments)
        (tmp_path / "away").rename(out / "P1")
        return planned

    monkeypatch.setattr(handing_out, "plan_project", before_it_was_there)
    refused(
        blinded, store, out, "has come to be there meanwhile",
        "distribute", "--protocol", "blind", "--to", out, "--annotators", "P1",
    )  # fmt: skip


def test_names_stand_between_commas_and_may_hold_one_in_quotes() -> None:
    assert names('a, b c,"d, e",') == ["a", "b c", "d, e"]
    assert (names(None), names(""), names(" , ")) == (None, [], [])


def test_a_project_in_use_gets_no_slides(blinded: Study, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    distribute(blinded, out, "--slides", SLIDES[0])
    add = (
        "assign", "--annotator", "P1", "--protocol", "blind", "--to", out, "--slides", SLIDES[1],
    )  # fmt: skip
    with project_lock(out / "P1" / "project.qpproj"):
        refused(blinded, store, out, "is being written by another pathquorum", *add)
    saving = out / "P1" / "project.qpproj.tmp"
    saving.touch()
    refused(blinded, store, out, "QuPath is saving the project", *add)
    result = blinded(*add, "--qupath-is-elsewhere")
    assert result.status == 0, result.err
