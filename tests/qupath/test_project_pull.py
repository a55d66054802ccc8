"""A project gives the same objects as QuPath's own export of it, and stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import PathquorumError, SourceError
from annotation.geojson.export import open_export
from annotation.projects.entry import ProjectEntrySource
from annotation.projects.process import QuPathProcess
from annotation.qupath import open_project
from annotation.records import Batch, PathObject, Rejection
from tests.conftest import CommandResult

pytestmark = pytest.mark.qupath

Project = Callable[..., Path]

PROTOCOL = """
name = "regions"
version = "1"
task = "regions"
[domain]
rule = "slide"
[[classes]]
name = "Benign"
[[classes]]
name = "Tumor"
aliases = ["Tumor: Positive"]
[[classes]]
name = "Stroma"
"""


class Content:
    """The objects of a source by UUID, their digests, and the rejections."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.objects: dict[str, PathObject] = {}
        self.digests: dict[str, tuple[bytes, bytes]] = {}
        self.rejections: list[Rejection] = []
        for batch in batches:
            self.rejections += batch.rejections
            for thing, outline, content in zip(
                batch.objects, batch.geometry_digests, batch.content_digests, strict=True
            ):
                assert thing.uuid is not None
                self.objects[thing.uuid] = thing
                self.digests[thing.uuid] = (outline, content)


def images(path: Path) -> dict[str, ProjectEntrySource]:
    return {source.slide_names[-1]: source for source in open_project(path)}


@pytest.fixture(scope="module")
def slide_a(built: Path) -> Callable[[str], ProjectEntrySource]:
    """The image that all projects have, of a project that is opened once."""
    return cache(lambda name: images(built / name / "project.qpproj")["slide A"])


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder with its time of change and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


def read_all(path: Path) -> list[Batch]:
    return [batch for source in open_project(path) for batch in source.batches()]


def refused(path: Path, match: str) -> str:
    with pytest.raises(SourceError, match=match) as error:
        read_all(path)
    message = str(error.value)
    assert "\n" not in message
    assert "'slide A.png'" in message
    return message


def test_every_kind_of_object_is_the_same_as_in_qupaths_own_export(
    built: Path, slide_a: Callable[[str], ProjectEntrySource]
) -> None:
    source = slide_a("study")
    ours = Content(source.batches())
    export = Content(open_export(built / "study, slide A.geojson").batches())
    assert source.count == len(ours.objects) == 13
    assert ours.digests == export.digests
    for uuid, thing in ours.objects.items():
        assert thing.extra == export.objects[uuid].extra
    assert ours.rejections == export.rejections == []
    kinds = sorted(thing.object_type for thing in ours.objects.values())
    assert kinds == ["annotation"] * 10 + ["cell", "detection", "tile"]
    by_class = {thing.path_class for thing in ours.objects.values()}
    assert by_class == {"Region*", "Tumor: Positive", "Stroma", "Benign", "Tumor", None}
    (domain,) = (thing for thing in ours.objects.values() if thing.locked)
    assert domain.name == "what I read, all of it: ä µ \n 判"
    assert domain.extra["metadata"] == {"seen by": "me"}
    assert {(thing.z, thing.t) for thing in ours.objects.values()} == {(0, 0), (2, 1)}
    (tumor,) = (t for t in ours.objects.values() if t.object_type == "detection")
    assert tumor.extra["class_color"] == [200, 0, 0]  # as the project's list of classes has it


def test_the_project_knows_what_lies_inside_what(
    slide_a: Callable[[str], ProjectEntrySource],
) -> None:
    source = slide_a("study")
    ours = Content(source.batches()).objects
    (domain,) = (uuid for uuid, thing in ours.items() if thing.path_class == "Region*")
    (ring,) = (
        u
        for u, t in ours.items()
        if t.path_class == "Benign" and len(t.geometry.bounds) and t.geometry.geom_type == "Polygon"
    )
    small = next(t for t in ours.values() if t.geometry.bounds == (270, 270, 280, 280))
    assert source.knows_parents
    assert ours[domain].parent is None
    assert ours[ring].parent == domain
    assert small.parent == ring


def test_nothing_in_the_project_is_written(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    path = project("study")
    # To open a project, QuPath makes this folder.
    (path.parent / "classifiers" / "classes.json").unlink()
    (path.parent / "classifiers").rmdir()
    before = snapshot(path.parent)
    time.sleep(0.01)
    for source in open_project(path):
        assert len(list(source.batches())) < 2
        assert source.raw
    assert snapshot(path.parent) == before
    # Java logs to standard output, where --json is.
    assert capfd.readouterr().out == ""


def test_an_image_without_objects_is_a_read_and_one_that_was_never_saved_is_none(
    built: Path,
) -> None:
    path = built / "study" / "project.qpproj"
    first, second = open_project(path)
    assert (first.slide_names[0], second.slide_names[0]) == ("slide A.png", "slide B.png")
    assert (second.count, list(second.batches())) == (0, [])
    assert first.notes == (
        "project.qpproj: not read, for never saved in QuPath: 'never opened.png'",
    )
    labelled = open_project(path, label_key="grade")
    assert [s.image_metadata.get("grade") for s in labelled] == ["3", None, "4"]


def test_the_time_of_a_read_is_that_of_the_save(built: Path) -> None:
    path = built / "study" / "project.qpproj"
    summary = json.loads((path.parent / "data" / "1" / "summary.json").read_bytes())
    source = images(path)["slide A"]
    assert source.modified.timestamp() == pytest.approx(summary["timestamp"] / 1000, abs=0.002)


def test_lines_that_overflow_qupaths_own_export_come_all_the_same(
    built: Path, slide_a: Callable[[str], ProjectEntrySource]
) -> None:
    source = slide_a("lines")
    ours = Content(source.batches())
    export = Content(open_export(built / "lines, slide A.geojson").batches())
    assert (source.count, len(ours.digests), len(export.digests)) == (4, 4, 3)
    (lines,) = ours.digests.keys() - export.digests.keys()
    assert ours.objects[lines].geometry.geom_type == "MultiLineString"
    assert len(ours.objects[lines].geometry.geoms) == 2
    assert ours.rejections == []


def test_an_object_without_a_place_is_rejected_and_the_others_come(
    slide_a: Callable[[str], ProjectEntrySource],
) -> None:
    source = slide_a("broken")
    ours = Content(source.batches())
    assert (source.count, len(ours.objects), len(ours.rejections)) == (3, 1, 2)
    assert all(rejection.reason for rejection in ours.rejections)


def test_thousands_of_objects_come_in_batches_and_all_of_them(
    built: Path, slide_a: Callable[[str], ProjectEntrySource]
) -> None:
    source = slide_a("crowd")
    batches = list(source.batches())
    assert len(batches) > 1
    ours = Content(batches)
    export = Content(open_export(built / "crowd, slide A.geojson").batches())
    assert len(ours.digests) == 3_000
    assert ours.digests == export.digests


def test_a_second_reading_gives_the_same_and_one_that_was_broken_off_spoils_nothing(
    built: Path,
) -> None:
    first, second = open_project(built / "study" / "project.qpproj")
    whole = Content(first.batches()).digests
    broken_off = first.batches()
    next(broken_off)
    broken_off.close()
    assert list(second.batches()) == []
    assert Content(first.batches()).digests == whole


def test_what_is_kept_can_be_read_by_qupath_again(
    slide_a: Callable[[str], ProjectEntrySource],
) -> None:
    source = slide_a("study")
    assert json.loads(source.raw[source.raw.rindex(b"EOF") + 3 :]) == {"metadata": {"grade": "3"}}
    messages = list(QuPathProcess(len(source.raw)).read(source.raw, {}))
    assert {"objects": 13} in [header for header, _ in messages]


def test_ids_that_the_data_does_not_hold_are_no_identity(project: Project) -> None:
    """Before 0.4 QuPath kept no UUIDs, and a later one makes up new ones at each reading."""
    path = project("study")
    source = images(path)["slide A"]
    known = Content(source.batches())
    data = path.parent / "data" / "1" / "data.qpdata"
    content = data.read_bytes()
    for uuid in known.objects:
        assert uuid.encode() in content
        content = content.replace(uuid.encode(), uuid.replace("-", "_").encode())
    data.write_bytes(content)
    for _ in range(2):
        batches = list(images(path)["slide A"].batches())
        things = [thing for batch in batches for thing in batch.objects]
        assert {(thing.uuid, thing.parent) for thing in things} == {(None, None)}
        outlines = sorted(digest for batch in batches for digest in batch.geometry_digests)
        assert outlines == sorted(outline for outline, _ in known.digests.values())


def test_data_that_holds_fewer_objects_than_were_saved_is_refused(project: Project) -> None:
    path = project("study")
    summary = path.parent / "data" / "1" / "summary.json"
    text = summary.read_text()
    assert '"nObjects":14' in text
    summary.write_text(text.replace('"nObjects":14', '"nObjects":15'))
    assert "13 objects of 14 come out" in refused(path, "open the image in QuPath, check it")


def test_without_a_summary_the_objects_are_counted(project: Project) -> None:
    path = project("lines")
    (path.parent / "data" / "1" / "summary.json").unlink()
    assert images(path)["slide A"].count == 4


def test_data_that_is_damaged_within_is_refused(project: Project) -> None:
    path = project("study")
    data = path.parent / "data" / "1" / "data.qpdata"
    content = data.read_bytes()
    data.write_bytes(content[:3000] + content[3300:])
    assert "GeoJSON export" in refused(path, "its data can't be read with QuPath")


def test_data_that_ends_too_early_does_not_keep_java_busy_for_ever(built: Path) -> None:
    """QuPath reads a stream that has ended again and again; ours fails at its end instead."""
    data = (built / "study" / "data" / "1" / "data.qpdata").read_bytes()
    process = QuPathProcess(len(data), limit_s=20)
    for size in range(1, len(data) - 2000, 97):
        (message,) = process.read(data[:size], {})
        assert "too long" not in message[0]["fault"]
    process.stop()


def test_java_that_takes_too_long_is_ended_and_started_again(built: Path) -> None:
    data = (built / "crowd" / "data" / "1" / "data.qpdata").read_bytes()
    hasty = QuPathProcess(len(data), limit_s=0.01)
    (message,) = hasty.read(data, {})
    assert "too long" in message[0]["fault"]
    small = (built / "study" / "data" / "2" / "data.qpdata").read_bytes()
    patient = QuPathProcess(len(data))
    assert next(iter(patient.read(small, {})))[0] == {"objects": 0}
    hasty.stop()
    patient.stop()


def test_data_too_large_for_the_memory_is_told_in_one_line(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.projects.process._HEAP_MB", 16)
    monkeypatch.setattr("annotation.projects.process._HEAP_MB_PER_DATA_MB", 0)
    data = (built / "study" / "data" / "1" / "data.qpdata").read_bytes()
    process = QuPathProcess(len(data))
    (message,) = process.read(data + bytes(50_000_000), {})
    assert "OutOfMemoryError" in message[0]["fault"]
    process.stop()


def test_data_that_makes_java_build_other_objects_is_refused(built: Path, project: Project) -> None:
    path = project("study")
    (path.parent / "data" / "1" / "data.qpdata").write_bytes(
        (built / "smuggled.qpdata").read_bytes()
    )
    assert "REJECTED" in refused(path, "its data can't be read with QuPath")


def test_data_of_a_newer_qupath_without_a_summary_is_refused(
    project: Project, qupath_version: str
) -> None:
    path = project("study")
    folder = path.parent / "data" / "1"
    content = (folder / "data.qpdata").read_bytes()
    written_by = f'"qupathVersion":"{qupath_version}"'.encode()
    assert written_by in content
    newer = b'"qupathVersion":"' + b"9" * (len(written_by) - len('"qupathVersion":""')) + b'"'
    (folder / "data.qpdata").write_bytes(content.replace(written_by, newer))
    assert len(Content(images(path)["slide A"].batches()).objects) == 13
    (folder / "summary.json").unlink()
    assert "set PAQUO_QUPATH_DIR to a QuPath 99" in refused(path, "without a summary")


def test_a_pull_ends_no_sooner_than_its_process(built: Path) -> None:
    """No Java stays behind, neither after a source is forgotten nor after the program's end."""
    program = (
        "import sys; from pathlib import Path; from annotation.qupath import open_project\n"
        "sources = open_project(Path(sys.argv[1])); batches = sources[0].batches(); next(batches)\n"
        "print(sources[0]._process._running._process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, built / "crowd" / "project.qpproj"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_pulling_a_project_and_its_export_is_pulling_the_same(
    built: Path, pathquorum: Callable[..., CommandResult], tmp_path: Path
) -> None:
    protocol = tmp_path / "regions.toml"
    protocol.write_text(PROTOCOL, encoding="utf-8")
    size = ("--width", 800, "--height", 600, "--mpp", 0.5)
    for arguments in (
        ("protocol", "add", protocol),
        ("annotator", "add", "P1", "--role", "pathologist"),
        ("slide", "add", "slide A", *size),
        ("slide", "add", "slide B", *size),
    ):
        result = pathquorum(*arguments)
        assert result.status == 0, result.err

    def pull(source: Path) -> dict[str, Any]:
        options = ("--annotator", "P1", "--protocol", "regions", "--json")
        result = pathquorum("pull", source, *options)
        assert result.status == 0, result.err
        reads: dict[str, Any] = {read["slide"]: read for read in result.json["reads"]}
        return reads

    first = pull(built / "study")
    assert list(first) == ["slide A", "slide B"]
    assert (first["slide A"]["objects"], first["slide A"]["added"]) == (13, 13)
    assert (first["slide B"]["objects"], first["slide B"]["rejected"]) == (0, 0)
    assert first["slide A"]["read_date_source"] == "inferred"
    again = pull(built / "study" / "project.qpproj")["slide A"]
    assert (again["unchanged"], again["added"], again["changed"], again["removed"]) == (13, 0, 0, 0)
    export = tmp_path / "slide A.geojson"
    export.write_bytes((built / "study, slide A.geojson").read_bytes())
    exported = pull(export)["slide A"]
    assert (exported["unchanged"], exported["changed"], exported["removed"]) == (13, 0, 0)
    assert pull(built / "study")["slide A"]["unchanged"] == 13


def test_a_refused_project_leaves_one_line_and_the_store_as_it_was(
    project: Project, study: Callable[..., CommandResult]
) -> None:
    path = project("study")
    data = path.parent / "data" / "1" / "data.qpdata"
    data.write_bytes(data.read_bytes()[:-7])
    result = study("pull", path, "--annotator", "P1", "--protocol", "prostate", "--json")
    assert (result.status, result.out) == (1, "")
    assert "cut short" in result.err.splitlines()[-1]


def test_the_data_of_qupath_060_is_read_whole(
    shared_data: Path, tmp_path: Path, qupath_version: str
) -> None:
    """Every one of 131 objects equals the one in the export that QuPath 0.6.0 made of them."""
    folder = shared_data / "qupath" / "lmd"
    files = {
        "project.qpproj": "2025-10-28_f5382db1__demo_Qupath_project~project.qpproj",
        "data/1/data.qpdata": "2025-10-28_5626b456__demo_Qupath_project~data~1~data.qpdata",
        "data/1/summary.json": "2025-10-28_7e1936b6__demo_Qupath_project~data~1~summary.json",
        "data/1/server.json": "2025-10-28_7595589c__demo_Qupath_project~data~1~server.json",
    }
    (tmp_path / "data" / "1").mkdir(parents=True)
    for name, original in files.items():
        (tmp_path / name).write_bytes((folder / original).read_bytes())
    before = snapshot(tmp_path)
    (source,) = open_project(tmp_path / "project.qpproj")
    ours = Content(source.batches())
    exported = folder / "2025-10-28_67ffa0c6__demo_Qupath_project~Single_cells.geojson"
    export = Content(open_export(exported).batches())
    assert source.modified.date().isoformat() == "2025-10-28"
    assert source.slide_names == ("TD_01_verysmall_mIF.ome.tif", "TD_01_verysmall_mIF.ome")
    assert source.count == len(ours.digests) == 131
    assert ours.digests == export.digests
    assert ours.rejections == []
    assert snapshot(tmp_path) == before


def test_an_error_of_the_pull_ends_java(built: Path) -> None:
    (source,) = open_project(built / "crowd" / "project.qpproj")
    process = source._process
    batches = source.batches()
    next(batches)
    with pytest.raises(PathquorumError):
        batches.throw(SourceError("something else went wrong; try again"))
    assert process._running is None
