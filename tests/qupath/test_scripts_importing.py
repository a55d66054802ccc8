"""The script that imports what was pushed, and takes it out again, and leaves alone what people did."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from annotation.geojson.writer import write_feature_collection
from annotation.records import PathObject
from tests.qupath.script_runs import run, run_after
from tests.qupath.test_object_writing import every_kind, thing
from tests.qupath.test_project_push import files, held, ours, replaced

pytestmark = pytest.mark.qupath


@pytest.fixture
def script(scripts: Path) -> Path:
    return scripts / "import_objects.groovy"


def test_an_import_adds_only_what_is_missing_and_revert_takes_only_ours(
    make: Callable[..., Path], script: Path, tmp_path: Path
) -> None:
    project = make(*every_kind())
    before = held(project)
    pushed = [replaced(ours(x), name="consensus 3: Benign") for x in (10, 200)]
    folder = tmp_path / "pushed"
    folder.mkdir()
    write_feature_collection(folder / "A.geojson", pushed)
    assert run(script, project, folder) == ["Imported 2 objects; 0 were there already."]
    after = held(project)
    assert after["A.png"].keys() == before["A.png"].keys() | {str(one.uuid) for one in pushed}
    packed = tmp_path / "packed.geojson.gz"
    packed.write_bytes(gzip.compress((folder / "A.geojson").read_bytes()))
    assert run(script, project, packed) == ["Imported 0 objects; 2 were there already."]
    assert held(project) == after
    assert run(script, project, "revert")[0].startswith("Took out 2 objects")
    assert held(project) == before


def test_revert_leaves_what_a_person_unlocked_or_gave_another_class(
    make: Callable[..., Path], script: Path
) -> None:
    same = replaced(ours(10), name="consensus 3: Benign")
    unlocked = replaced(ours(100), name="consensus 3: Benign", locked=False)
    other = replaced(ours(200), name="consensus 3: Benign", path_class="Tumor")
    project = make(same, unlocked, other)
    printed = run(script, project, "revert")
    assert printed[-1].startswith("Took out 1 objects")
    assert held(project)["A.png"].keys() == {str(unlocked.uuid), str(other.uuid)}
    for thing_ in (unlocked, other):
        assert any(str(thing_.uuid) in line for line in printed[:-1])


def test_a_file_of_somebody_elses_objects_is_not_imported(
    make: Callable[..., Path], script: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [thing(5, "POINT(1 2)")])
    (line,) = run(script, project, tmp_path / "x.geojson")
    assert "don't bear pathquorum's mark" in line
    (line,) = run(script, project, tmp_path / "missing.geojson")
    assert "There is no file" in line


def test_what_qupath_would_leave_out_without_a_word_stops_the_import(
    make: Callable[..., Path], script: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [ours(10), ours(200)])
    spoiled = json.loads((tmp_path / "x.geojson").read_bytes())
    spoiled["features"][0]["geometry"] = None
    (tmp_path / "x.geojson").write_text(json.dumps(spoiled))
    printed = run(script, project, tmp_path / "x.geojson")
    assert "nothing was changed" in printed[-1]
    assert not (project.parent / "data" / "1").exists()


def test_one_object_twice_in_a_file_comes_in_once(
    make: Callable[..., Path], script: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [ours(10)])
    twice = json.loads((tmp_path / "x.geojson").read_bytes())
    twice["features"] *= 2
    (tmp_path / "x.geojson").write_text(json.dumps(twice))
    run(script, project, tmp_path / "x.geojson")
    assert len(held(project)["A.png"]) == 1


def cut_short(folder: Path) -> None:
    data = (folder / "data.qpdata").read_bytes()
    (folder / "data.qpdata").write_bytes(data[: len(data) // 2])


def of_more_objects(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_bytes())
    summary["hierarchy"]["nObjects"] += 1
    (folder / "summary.json").write_text(json.dumps(summary))


def interrupted(folder: Path) -> None:
    (folder / "data.qpdata.bkp").write_bytes((folder / "data.qpdata").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (cut_short, [], "is cut short"),
        (cut_short, ["revert"], "is cut short"),
        (of_more_objects, ["revert"], "gives 1 of the 2 objects that were saved"),
        (interrupted, [], "so a save was interrupted"),
    ],
)
def test_nothing_is_saved_over_damaged_data(
    make: Callable[..., Path],
    script: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    words: list[str],
    said: str,
) -> None:
    """QuPath opens such an image without objects, or with fewer, and a save would make it final."""
    project = make(replaced(ours(10), name="consensus 3: Benign"))
    write_feature_collection(tmp_path / "x.geojson", [ours(200)])
    spoil(project.parent / "data" / "1")
    before = files(project)
    printed = run(script, project, *(words or [tmp_path / "x.geojson"]))
    assert printed[-1].startswith("Nothing was changed, for ")
    assert said in printed[-1]
    assert files(project) == before


WINDOW = """
loader.parseClass("package qupath.lib.gui; class QuPathGUI { static getInstance() { 'a window' } }")
"""
CHANGED = "getCurrentImageData().setChanged(true)\n"


@pytest.mark.parametrize(
    ("before", "saved"),
    [(WINDOW + CHANGED, False), (WINDOW, True), (CHANGED, True)],
    ids=["unsaved work in a window", "nothing unsaved", "no window"],
)
def test_unsaved_work_in_a_window_is_left_to_the_person_to_save(
    make: Callable[..., Path], script: Path, tmp_path: Path, before: str, saved: bool
) -> None:
    project = make(thing(1, "POINT(1 2)"))
    write_feature_collection(tmp_path / "x.geojson", [ours(10)])
    stood = files(project)
    printed = run_after(before, script, project, tmp_path / "x.geojson")
    assert printed[-1] == "Imported 1 objects; 0 were there already."
    assert any("save it yourself (File > Save)" in line for line in printed) is not saved
    assert (files(project) == stood) is not saved


def test_revert_of_a_file_leaves_a_changed_outline_and_what_is_not_in_the_file(
    make: Callable[..., Path], script: Path, tmp_path: Path
) -> None:
    """QuPath's own rounding, up to 0.05 px, is no change; without the file nothing can be compared."""

    def by(thing_: PathObject, x: float) -> PathObject:
        return replaced(
            thing_, geometry=shapely.transform(thing_.geometry, lambda at: np.add(at, (x, 0)))
        )

    same, nudged, moved, other = (
        replaced(ours(x), name="consensus 3: Benign") for x in (10, 100, 200, 300)
    )
    write_feature_collection(tmp_path / "x.geojson", [same, nudged, moved])
    project = make(same, by(nudged, 0.03), by(moved, 0.3), other)
    printed = run(script, project, tmp_path / "x.geojson", "revert")
    assert printed[-1].startswith("Took out 2 objects")
    assert held(project)["A.png"].keys() == {str(moved.uuid), str(other.uuid)}
    assert printed[0] == (f"Stays, for its outline was changed: consensus 3: Benign ({moved.uuid})")
    assert printed[1] == "1 other objects of pathquorum's are not in x.geojson and stay."
    assert run(script, project, "revert")[-1].startswith("Took out 2 objects")
