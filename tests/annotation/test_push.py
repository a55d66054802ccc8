"""Push: what is written equals what is stored, it is known as ours, and it can be taken back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import shapely
from sqlalchemy import select

import annotation.staged_files
from annotation.digests import derive_uuid, geometry_digests
from annotation.errors import ConflictError, InputError, RefusedError, SourceError, UnknownNameError
from annotation.push import SlideObjects, push, revert
from annotation.records import PathObject
from annotation.store import Store
from annotation.study import add_slide_without_image
from annotation.tables import Event, PushedObject, Slide
from tests.conftest import CommandResult

ORIGIN = "run/3"


def thing(x: float, path_class: str = "Benign", **members: Any) -> PathObject:
    geometry = members.pop("geometry", shapely.box(x, 0, x + 50.25, 50))
    (digest,) = geometry_digests([geometry])
    return PathObject(
        uuid=derive_uuid("test", digest, 0),
        object_type="annotation",
        path_class=path_class,
        name=None,
        locked=True,
        geometry=geometry,
        **members,
    )


@pytest.fixture
def slides(store: Store) -> dict[str, int]:
    with store.writing() as session:
        return {
            name: add_slide_without_image(session, name, width_px=1000, height_px=800, mpp=0.5).id
            for name in ("A", "B/../x", "C")
        }


@pytest.fixture
def content(slides: dict[str, int]) -> list[SlideObjects]:
    return [
        SlideObjects(slides["A"], "A", [thing(0), thing(100, "Tumor: Positive")]),
        SlideObjects(slides["B/../x"], "B/../x", [thing(0)]),
        SlideObjects(slides["C"], "C", []),
    ]


def stored(store: Store) -> list[PushedObject]:
    with store.reading() as session:
        return list(session.scalars(select(PushedObject).order_by(PushedObject.id)))


def events(store: Store) -> list[Event]:
    with store.reading() as session:
        found = session.scalars(select(Event).where(Event.subject == f"push:{ORIGIN}"))
        return list(found)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_equals_what_is_stored(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "out"
    result = push(store, folder, ORIGIN, content)
    assert (result.pushed, result.skipped) == (3, 0)
    assert names(folder) == ["A.geojson", "B%2F..%2Fx.geojson"]
    assert sorted(result.targets) == [str(folder / name) for name in names(folder)]
    rows = {row.uuid + row.target: row for row in stored(store)}
    for path in folder.iterdir():
        document = path.read_bytes()
        for feature in json.loads(document)["features"]:
            row = rows.pop(feature["id"] + str(path))
            assert row.path_class == feature["properties"]["classification"]["name"]
            assert row.file_sha256 == hashlib.sha256(document).hexdigest()
            outline = shapely.from_geojson(json.dumps(feature["geometry"]))
            assert shapely.equals_identical(outline, shapely.from_wkb(row.geometry))
            assert feature["properties"]["isLocked"] is True
    assert rows == {}
    (event,) = events(store)
    assert event.new is not None
    assert event.new["objects"] == 3
    assert sorted(event.new["files"]) == names(folder)


def test_pushing_twice_adds_nothing(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    push(store, tmp_path / "out", ORIGIN, content)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = push(store, tmp_path / "out", ORIGIN, content)
    assert (again.pushed, again.skipped) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert len(stored(store)) == 3
    assert len(events(store)) == 1


def test_a_file_that_is_not_ours_is_never_overwritten_and_nothing_else_is_written(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    theirs = tmp_path / "out" / "B%2F..%2Fx.geojson"
    theirs.parent.mkdir()
    theirs.write_text("[]", encoding="utf-8")
    with pytest.raises(ConflictError, match="was not pushed by this study"):
        push(store, tmp_path / "out", ORIGIN, content)
    assert names(tmp_path / "out") == [theirs.name]
    assert theirs.read_text(encoding="utf-8") == "[]"
    assert stored(store) == []
    assert events(store) == []


@pytest.mark.parametrize("action", [push, revert])
def test_a_file_that_somebody_changed_stays_and_is_named(
    store: Store, content: list[SlideObjects], tmp_path: Path, action: Callable[..., object]
) -> None:
    folder = tmp_path / "out"
    push(store, folder, ORIGIN, content)
    (folder / "A.geojson").write_text("[]", encoding="utf-8")
    arguments = (content,) if action is push else ()
    with pytest.raises((ConflictError, RefusedError), match=r"A\.geojson.* changed since"):
        action(store, folder, ORIGIN, *arguments)
    assert names(folder) == ["A.geojson", "B%2F..%2Fx.geojson"]
    assert (folder / "A.geojson").read_text(encoding="utf-8") == "[]"
    assert all(row.reverted_at is None for row in stored(store))


def test_revert_removes_our_files_and_no_others_and_says_so_in_the_trail(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    push(store, folder, ORIGIN, content)
    push(store, tmp_path / "elsewhere", ORIGIN, content)
    (folder / "mine.geojson").write_text("[]", encoding="utf-8")
    result = revert(store, folder, ORIGIN)
    assert (result.reverted, result.pushed) == (3, 0)
    assert names(folder) == ["mine.geojson"]
    assert len(names(tmp_path / "elsewhere")) == 2
    gone = [row for row in stored(store) if row.reverted_at is not None]
    assert {Path(row.target).parent for row in gone} == {folder}
    assert events(store)[-1].action == "push reverted"
    with pytest.raises(UnknownNameError, match=r"nothing of run/3 stands in"):
        revert(store, folder, ORIGIN)


def test_what_was_taken_back_can_be_pushed_again(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    push(store, tmp_path / "out", ORIGIN, content)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    revert(store, tmp_path / "out", ORIGIN)
    assert push(store, tmp_path / "out", ORIGIN, content).pushed == 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_file_that_vanished_is_written_again_and_stored_once(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    push(store, tmp_path / "out", ORIGIN, content)
    (tmp_path / "out" / "A.geojson").unlink()
    again = push(store, tmp_path / "out", ORIGIN, content)
    assert (again.pushed, again.skipped) == (2, 1)
    assert len(stored(store)) == 3


def test_a_vanished_file_does_not_hinder_taking_back_the_others(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    push(store, tmp_path / "out", ORIGIN, content)
    (tmp_path / "out" / "A.geojson").unlink()
    assert revert(store, tmp_path / "out", ORIGIN).reverted == 3
    assert names(tmp_path / "out") == []


def test_files_that_a_killed_push_left_behind_are_taken_as_ours(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    push(store, tmp_path / "one", ORIGIN, content)
    (tmp_path / "two").mkdir()
    left = tmp_path / "two" / "A.geojson"
    left.write_bytes((tmp_path / "one" / "A.geojson").read_bytes())
    assert push(store, tmp_path / "two", ORIGIN, content).pushed == 3
    assert len(stored(store)) == 6


@pytest.mark.parametrize(
    ("origin", "said"), [("run/4", "holds run/3"), (ORIGIN, "as it was before")]
)
def test_another_content_never_replaces_ours_until_it_is_taken_back(
    store: Store, slides: dict[str, int], tmp_path: Path, origin: str, said: str
) -> None:
    push(store, tmp_path, ORIGIN, [SlideObjects(slides["A"], "A", [thing(0)])])
    before = (tmp_path / "A.geojson").read_bytes()
    with pytest.raises(ConflictError, match=said):
        push(store, tmp_path, origin, [SlideObjects(slides["A"], "A", [thing(500)])])
    assert (tmp_path / "A.geojson").read_bytes() == before
    assert len(stored(store)) == 1


def test_a_file_that_reads_back_otherwise_fails_the_push(
    store: Store, content: list[SlideObjects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(path: Path, objects: Iterable[PathObject], **options: Any) -> None:
        write(path, list(objects)[:-1], **options)

    write = annotation.staged_files.write_feature_collection
    monkeypatch.setattr(annotation.staged_files, "write_feature_collection", cut_short)
    with pytest.raises(RefusedError, match="reads back otherwise"):
        push(store, tmp_path / "out", ORIGIN, content)
    assert names(tmp_path / "out") == []
    assert stored(store) == []


def test_a_uuid_that_stands_twice_fails_the_push(
    store: Store, slides: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="reads back otherwise"):
        push(store, tmp_path, ORIGIN, [SlideObjects(slides["A"], "A", [thing(0), thing(0)])])
    assert stored(store) == []


def test_a_fault_while_files_are_moved_leaves_nothing(
    store: Store, content: list[SlideObjects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = 0
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        nonlocal moved
        if target.parent.name == "out":
            moved += 1
            if moved == 2:
                raise OSError("no space left")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        push(store, tmp_path / "out", ORIGIN, content)
    assert moved == 2
    assert names(tmp_path / "out") == []
    assert stored(store) == []
    assert events(store) == []


def test_a_fault_while_taking_back_leaves_everything(
    store: Store, content: list[SlideObjects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(store, tmp_path / "out", ORIGIN, content)
    before = names(tmp_path / "out")
    replace = Path.replace

    def stuck(self: Path, target: Path) -> Path:
        if self.name.startswith("B%"):
            raise OSError("permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stuck)
    with pytest.raises(OSError, match="permission denied"):
        revert(store, tmp_path / "out", ORIGIN)
    assert names(tmp_path / "out") == before
    assert all(row.reverted_at is None for row in stored(store))


def test_a_project_that_is_not_there_and_a_file_are_no_targets(
    store: Store, content: list[SlideObjects], tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"project\.qpproj can't be read"):
        push(store, tmp_path / "project.qpproj", ORIGIN, content)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        push(store, tmp_path / "file", ORIGIN, content)


def test_a_slide_that_qupath_shows_in_part_is_noted(
    store: Store, content: list[SlideObjects], slides: dict[str, int], tmp_path: Path
) -> None:
    with store.writing() as session:
        session.get_one(Slide, slides["A"]).bounds = [7, 9, 500, 400]
    (note,) = push(store, tmp_path / "out", ORIGIN, content).notes
    assert "from x 7, y 9 on" in note


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.Point(3.25, 4),
        shapely.LineString([(0, 0), (7, 9.5)]),
        shapely.Polygon(
            shapely.box(0, 0, 90, 90).exterior.coords, [shapely.box(9, 9, 20, 20).exterior.coords]
        ),
        shapely.union(shapely.box(0, 0, 9, 9), shapely.box(20, 0, 30, 9)),
        shapely.box(0, 0, 100_000.123456789, 1 / 3),
    ],
    ids=["point", "line", "hole", "parts", "fractions"],
)
def test_every_kind_of_outline_comes_through(
    store: Store, slides: dict[str, int], tmp_path: Path, geometry: shapely.Geometry
) -> None:
    objects = [thing(0, geometry=geometry)]
    assert push(store, tmp_path, ORIGIN, [SlideObjects(slides["A"], "A", objects)]).pushed == 1


def test_what_was_pushed_counts_as_ours_when_it_is_pulled(
    study: Callable[..., CommandResult], store: Store, tmp_path: Path
) -> None:
    content = [SlideObjects(1, "S1", [thing(0), thing(100, "Low grade")])]
    push(store, tmp_path / "out", ORIGIN, content)
    document = json.loads((tmp_path / "out" / "S1.geojson").read_bytes())
    drawn = {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(shapely.box(300, 300, 400, 400)),
        "properties": {"objectType": "annotation", "classification": {"name": "Benign"}},
    }
    document["features"].append(drawn)
    export = tmp_path / "S1.geojson"
    export.write_text(json.dumps(document), encoding="utf-8")
    result = study("pull", export, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert result.status == 0, result.err
    (read,) = result.json["reads"]
    assert (read["objects"], read["ours"], read["added"]) == (3, 2, 1)


def test_many_objects_in_a_compressed_file_are_all_known_again(
    study: Callable[..., CommandResult], store: Store, tmp_path: Path
) -> None:
    """More than are looked up in one statement, read in one batch and written in another."""
    objects = [thing(0, geometry=shapely.box(i / 4, 0, i / 4 + 9, 9)) for i in range(2600)]
    push(store, tmp_path / "out", ORIGIN, [SlideObjects(1, "S1", objects)], compress=True)
    path = tmp_path / "out" / "S1.geojson.gz"
    assert [row.uuid for row in stored(store)] == [one.uuid for one in objects]
    result = study("pull", path, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert result.status == 0, result.err
    (read,) = result.json["reads"]
    assert (read["objects"], read["ours"]) == (2600, 2600)
