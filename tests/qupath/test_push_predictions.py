"""Predictions in a QuPath project: beside what people drew, image by image, and out again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.pushed import REFERENCE_ONLY
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.store import Store
from annotation.tables import PullRead, PushedObject
from tests.conftest import CommandResult
from tests.models.prediction.written_run import (
    HEIGHT_PX,
    REGIONS,
    WIDTH_PX,
    make_study,
    tile_grid,
    write_run,
)
from tests.qupath.test_object_writing import every_kind, opened_with_paquo
from tests.qupath.test_project_push import drawn_by_script, files, held, replaced

pytestmark = pytest.mark.qupath

Pathquorum = Callable[..., CommandResult]

TILES = len(tile_grid("A").coordinates)
OF_A_SLIDE = TILES + len(REGIONS)


@pytest.fixture
def project(process: QuPathProcess, store: Store, tmp_path: Path) -> Path:
    """A project of A, on which a person drew, of B, and of C; the run p1 is of A, B and D."""
    images = []
    for name in ("A", "B", "C"):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "white").save(path)
        drawn = [thing for thing in every_kind() if name == "A"]
        images.append(NewImage(name, path.as_uri(), drawn, {"grade": "Benign"}))
    made = create_project(
        tmp_path / "project", images, classes=[("Benign", (0, 160, 0))], process=process
    )
    make_study(store, ("A", "B", "D"))
    write_run(store, tmp_path / "p1", ("A", "B", "D"))
    return made


def push(pathquorum: Pathquorum, project: Path, *options: object) -> CommandResult:
    return pathquorum("push", "--predictions", "p1", "--to", project, "--json", *options)


def metadata(project: Path) -> dict[str, dict[str, str]]:
    content = json.loads(project.read_bytes())
    return {image["imageName"]: image["metadata"] for image in content["images"]}


def objects(project: Path) -> list[PathObject]:
    return [
        thing
        for source in open_project(project)
        for batch in source.batches()
        for thing in batch.objects
    ]


def in_force(store: Store) -> list[str]:
    with store.reading() as session:
        ours = select(PushedObject.uuid).where(PushedObject.reverted_at.is_(None))
        return list(session.scalars(ours))


def test_predictions_go_in_beside_what_people_drew_come_back_as_ours_and_go_out(
    pathquorum: Pathquorum, store: Store, project: Path
) -> None:
    before, stood = held(project), json.loads(project.read_bytes())
    result = push(pathquorum, project, "--tiles")
    assert result.status == 0, result.err
    assert result.json["pushed"] == 2 * OF_A_SLIDE
    assert result.json["skipped_slides"] == ["D"]
    assert "1 slide not in the project, skipped: D." in result.err
    told = opened_with_paquo(project)
    scores = {key: value for key, value in told["A"][1].items() if key != "grade"}
    assert scores == {
        "pathquorum p1": f"{REFERENCE_ONLY}; model m; predicted: =Tumor; entropy 0.7000 nats; "
        "mutual information 0.1000 nats",
        "pathquorum p1: Benign": "0.2500 (0.2000 to 0.3000)",
        "pathquorum p1: =Tumor": "0.7000 (0.6000 to 0.8000)",
        "pathquorum p1: background": "0.0500 (0.0100 to 0.0900)",
    }
    assert metadata(project)["C"] == {"grade": "Benign"}
    ours = [thing for thing in objects(project) if str(thing.path_class).startswith("Predicted: ")]
    annotations = [thing for thing in ours if thing.object_type == "annotation"]
    assert len(annotations) == 2 * len(REGIONS)
    assert sorted(str(thing.uuid) for thing in ours) == sorted(in_force(store))
    assert all(thing.locked for thing in annotations)
    described = {thing.extra["metadata"]["ANNOTATION_DESCRIPTION"] for thing in annotations}
    assert described == {f"{REFERENCE_ONLY}; model m"}
    tile = next(thing for thing in ours if thing.object_type == "detection")
    assert len(tile.measurements) == 6
    pulled = pathquorum("pull", project, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert pulled.status == 0, pulled.err
    reads = {read["slide"]: read for read in pulled.json["reads"]}
    assert {name: read["ours"] for name, read in reads.items()} == {
        "A": OF_A_SLIDE,
        "B": OF_A_SLIDE,
    }
    assert reads["A"]["objects"] == OF_A_SLIDE + len(before["A"])
    with store.reading() as session:
        circumstances = [row.circumstances or {} for row in session.scalars(select(PullRead))]
    assert [one["ai_assisted"] for one in circumstances] == [True, True]
    gone = push(pathquorum, project, "--revert")
    assert (gone.status, gone.json["reverted"]) == (0, 2 * OF_A_SLIDE), gone.err
    assert held(project) == {**before, "B": {}}
    assert json.loads(project.read_bytes()) == stood
    assert in_force(store) == []
    assert not list(project.parent.glob(".*"))


def test_an_image_that_fails_is_named_and_the_others_are_done(
    pathquorum: Pathquorum, store: Store, project: Path, tmp_path: Path
) -> None:
    """A's data is damaged; mended, the second push brings A, and redraws B as it is asked to."""
    data = project.parent / "data/1/data.qpdata"
    whole = data.read_bytes()
    data.write_bytes(whole[:-100])
    failed = push(pathquorum, project)
    assert (failed.status, failed.out) == (1, "")
    assert "Slide 'A' failed" in failed.err
    assert "cut short" in failed.err
    assert "1 slide of prediction run 'p1' failed (A); those of the others, 2 objects" in failed.err
    assert data.read_bytes() == whole[:-100]
    assert "pathquorum p1" in metadata(project)["B"]
    assert metadata(project)["A"] == {"grade": "Benign"}
    assert len(in_force(store)) == len(REGIONS)
    data.write_bytes(whole)
    mended = push(pathquorum, project).json
    assert (mended["pushed"], mended["skipped"]) == (2, 2)
    (
        tmp_path / "A.png"
    ).unlink()  # QuPath would not save it: the other image is reverted all the same
    reverted = push(pathquorum, project, "--revert")
    assert (reverted.status, "image can't be found" in reverted.err) == (1, True)
    assert len(in_force(store)) == len(REGIONS)


def test_what_a_person_changed_stands_in_the_way_of_its_image_alone(
    pathquorum: Pathquorum, store: Store, project: Path, process: QuPathProcess
) -> None:
    """An outline on A is another class now, and a score of B another number."""
    assert push(pathquorum, project).status == 0
    (ours, *_) = [thing for thing in objects(project) if thing.path_class == "Predicted: Benign"]
    theirs = replaced(ours, path_class="Benign")
    drawn_by_script(project, process, 1, remove=[str(ours.uuid)], add=[theirs])
    content = json.loads(project.read_bytes())
    content["images"][1]["metadata"]["pathquorum p1: Benign"] = "mine"
    project.write_text(json.dumps(content))
    stood = files(project)
    for options in ((), ("--revert",)):
        failed = push(pathquorum, project, *options)
        assert (failed.status, failed.out) == (1, "")
        assert str(ours.uuid) in failed.err
        assert "'pathquorum p1: Benign' in its metadata with the value 'mine'" in failed.err
        assert "2 slides of prediction run 'p1' failed (A, B)" in failed.err
        assert files(project) == stood
    assert len(in_force(store)) == 2 * len(REGIONS)


KILLED = """
import os, sys
from annotation.cli import run
from annotation.projects import project_lock, project_writing
from annotation.projects.exchange import Exchange
project_lock._running_qupaths = list
commit, begun = Exchange.commit, []
def killed(self):
    begun.append(self)
    commit(self)
    if len(begun) == 2:
        os._exit(9)
Exchange.commit = killed
sys.exit(run(["push", "--predictions", "p1", "--to", sys.argv[1]]))
"""


def test_killed_in_the_middle_and_run_again_nothing_is_twice_and_nothing_lost(
    pathquorum: Pathquorum, store: Store, project: Path
) -> None:
    """Killed at the second image, between its data and its scores and records."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(project)], capture_output=True, check=False
    )
    assert killed.returncode == 9, killed.stderr
    assert "pathquorum p1" not in metadata(project)["B"]
    again = push(pathquorum, project)
    assert again.status == 0, again.err
    assert (again.json["pushed"], again.json["skipped"]) == (0, 2 * len(REGIONS))
    ours = in_force(store)
    assert len(ours) == len(set(ours)) == 2 * len(REGIONS)
    after = held(project)
    assert after["B"].keys() < set(ours)
    assert after["A"].keys() - set(ours) == {str(thing.uuid) for thing in every_kind()}
    assert all("pathquorum p1" in metadata(project)[name] for name in "AB")
