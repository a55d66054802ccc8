"""The scripts for people without Python run under QuPath's Groovy, and do what they say."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from annotation.handed_scripts import hand_out_scripts
from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.protocol import parse_protocol
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.sources import open_sources
from tests.qupath.script_runs import TUMOR, run, run_after, square
from tests.qupath.test_object_writing import a_uuid, every_kind, opened_with_paquo, thing
from tests.qupath.test_project_push import held

pytestmark = pytest.mark.qupath


def test_an_export_is_pulled_as_the_project_is_and_says_when_and_of_what(
    make: Callable[..., Path], scripts: Path
) -> None:
    project = make(*every_kind())
    before = held(project)
    saved = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
    os.utime(project.parent / "data" / "1" / "data.qpdata", (saved.timestamp(), saved.timestamp()))
    start = datetime.now(UTC)
    printed = run(scripts / "export_annotations.groovy", project)
    written = project.parent / "exports" / "A.png.geojson"
    lines = next(one for one in every_kind() if one.geometry.geom_type == "MultiLineString")
    assert printed[0].startswith("Wrote 13 of 14 objects of A.png to")
    assert len(printed) == 2
    assert str(lines.uuid) in printed[1]
    (export,) = open_sources(written)
    (source,) = open_project(project)
    theirs = {
        str(one.uuid): digest
        for batch in export.batches()
        for one, digest in zip(batch.objects, batch.content_digests, strict=True)
    }
    mine = {
        str(one.uuid): digest
        for batch in source.batches()
        for one, digest in zip(batch.objects, batch.content_digests, strict=True)
    }
    bow_tie = every_kind()[-1].uuid  # QuPath mends what crosses itself
    for uuid in (str(lines.uuid), str(bow_tie)):
        mine.pop(uuid)
        theirs.pop(uuid, None)
    assert theirs == mine
    assert export.slide_names[:2] == ("A.png", "A")
    assert export.image_metadata == {"grade": "3"}
    assert export.modified == saved
    about = json.loads(written.read_bytes())["pathquorum"]
    exported = datetime.fromisoformat(about["exported_at"])
    assert start.timestamp() - 1 <= exported.timestamp() <= datetime.now(UTC).timestamp()
    assert (about["width_px"], about["height_px"], about["qupath"]) == (600, 500, "0.5.1")
    assert held(project) == before


def test_two_images_of_one_name_get_a_file_each(
    process: QuPathProcess, scripts: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
    uri = (tmp_path / "A.png").as_uri()
    images = [NewImage("A.png", uri, [square(number, 10, 10, "Benign")]) for number in (1, 2)]
    project = create_project(tmp_path / "p", images, classes=[], process=process)
    run(scripts / "export_annotations.groovy", project)
    exports = open_sources(project.parent / "exports")
    assert [export.name for export in exports] == ["A.png - 1.geojson", "A.png - 2.geojson"]
    assert all("A" in export.slide_names for export in exports)
    found = [one.uuid for export in exports for batch in export.batches() for one in batch.objects]
    assert found == [a_uuid(1), a_uuid(2)]


@pytest.fixture
def several(process: QuPathProcess, tmp_path: Path) -> Path:
    """A project of images whose names differ in case only, one never saved, and a damaged one."""
    Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
    uri = (tmp_path / "A.png").as_uri()
    images = [
        NewImage("A.png", uri, [square(1, 10, 10, "Benign")]),
        NewImage("a.PNG", uri, [square(2, 10, 10, "Benign")]),
        NewImage("never.png", uri),
        NewImage("cut.png", uri, [square(3, 10, 10, "Benign")]),
    ]
    project = create_project(tmp_path / "p", images, classes=[], process=process)
    data = project.parent / "data" / "4" / "data.qpdata"
    data.write_bytes(data.read_bytes()[:-10])
    return project


def test_without_an_open_image_all_that_are_saved_are_exported(
    several: Path, scripts: Path
) -> None:
    printed = run_after(
        "setBatchProjectAndImage(getProject(), null)",
        scripts / "export_annotations.groovy",
        several,
    )
    assert "Left out never.png: nothing was ever saved." in printed
    assert any(line.startswith("Left out cut.png: data.qpdata in ") for line in printed)
    assert printed[-1].startswith("Wrote 2 of the project's 4 images to ")
    exports = open_sources(several.parent / "exports")
    assert [export.name for export in exports] == ["A.png - 1.geojson", "a.PNG - 2.geojson"]
    found = [one.uuid for export in exports for batch in export.batches() for one in batch.objects]
    assert found == [a_uuid(1), a_uuid(2)]


def test_all_writes_what_is_saved_and_says_what_is_not(
    several: Path, scripts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    printed = run_after(
        "getCurrentHierarchy().clearAll(); getCurrentImageData().setChanged(true)",
        scripts / "export_annotations.groovy",
        several,
        "all",
        folder,
    )
    assert [export.count for export in open_sources(folder)] == [1, 1]
    assert printed[-2].startswith("What you changed in A.png since you last saved it is not in its")


def test_an_export_of_unsaved_work_is_of_today(make: Callable[..., Path], scripts: Path) -> None:
    project = make(square(1, 0, 0, "Benign"))
    os.utime(project.parent / "data" / "1" / "data.qpdata", (1e9, 1e9))
    changed = "getCurrentImageData().setChanged(true)"
    run_after(changed, scripts / "export_annotations.groovy", project)
    (export,) = open_sources(project.parent / "exports")
    about = json.loads(export.raw)["pathquorum"]
    assert "saved_at" not in about
    assert export.modified == datetime.fromisoformat(about["exported_at"])


def test_damaged_data_are_not_exported_as_an_image_without_objects(
    several: Path, scripts: Path
) -> None:
    printed = run(scripts / "export_annotations.groovy", several, image="cut.png")
    assert printed[-1].startswith("Nothing was written, for data.qpdata in ")
    assert not (several.parent / "exports").exists()


def test_as_many_other_classes_give_way_to_those_of_the_protocol(
    process: QuPathProcess, scripts: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
    images = [NewImage("A.png", (tmp_path / "A.png").as_uri())]
    others = [(name, None) for name in ("One", "Two", "Three", "Four")]
    project = create_project(tmp_path / "p", images, classes=others, process=process)
    run(scripts / "set_up_classes.groovy", project)
    classes = opened_with_paquo(project)["classes"]
    assert [name for name, _ in classes] == ["Benign", TUMOR, "Region*", "Ignore*"]


def test_classes_are_set_in_the_order_of_the_protocol(
    make: Callable[..., Path], scripts: Path
) -> None:
    project = make()
    (line,) = run(scripts / "set_up_classes.groovy", project)
    assert line.startswith("The project has the 4 classes of prostate 1")
    classes = opened_with_paquo(project)["classes"]
    assert [name for name, _ in classes] == ["Benign", TUMOR, "Region*", "Ignore*"]
    assert classes[0][1].lower() == "#00a000"


WINDOW = """
loader.parseClass('package javafx.application; class Platform { static runLater(Runnable r) { r.run() } }')
loader.parseClass('''package qupath.lib.gui
class QuPathGUI {
    static getInstance() { new QuPathGUI() }
    def getAvailablePathClasses() { this }
    void setAll(Collection all) { println 'shown: ' + all.collect { it.toString() } }
}''')
"""


def test_an_open_window_shows_the_classes_at_once(make: Callable[..., Path], scripts: Path) -> None:
    """With stand-ins for QuPath's window and for JavaFX; the first class of its list is no class."""
    printed = run_after(WINDOW, scripts / "set_up_classes.groovy", make())
    none = printed[0].removeprefix("shown: [").split(", ")[0]
    assert printed[0] == f"shown: [{none}, Benign, {TUMOR}, Region*, Ignore*]"
    assert printed[1].startswith("The project has the 4 classes")


def test_clean_work_is_ready_to_hand_in(make: Callable[..., Path], scripts: Path) -> None:
    project = make(
        square(1, 0, 0, "Region*", 400),
        square(2, 10, 10, "Benign", 100),
        square(3, 20, 20, TUMOR, 20),  # inside another is fine
        square(4, 200, 200, "Tumour"),
        square(5, 420, 420, "Ignore*"),
        square(6, 300, 300, "Benign: Positive"),  # pulled as Benign
        square(7, 320, 320, "Benign"),
        square(8, 420, 20, "Ignore this"),
    )
    before = held(project)
    printed = run(scripts / "check_my_work.groovy", project)
    assert printed == ["A.png: 8 annotations.", "Ready to hand in."]
    assert held(project) == before


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (square(9, 10, 10, None), "1 annotation has no class"),
        (square(9, 10, 10, "Bening"), "which the protocol doesn't know; did you mean 'Benign'?"),
        (square(9, 450, 440, "Benign"), "1 annotation lies outside what you have read"),
        (square(9, 580, 10, "Ignore*"), "1 annotation reaches beyond the image"),
        (square(9, 130, 130, "Benign"), "2 annotations overlap one of another class"),
        (square(9, 100, 100, "Benign"), "2 annotations overlap one of another class"),
        (thing(9, "POLYGON((1 1,2 2,3 3,1 1))", path_class="Benign"), "empty or broken outline"),
    ],
)
def test_each_fault_is_named(
    make: Callable[..., Path], scripts: Path, fault: PathObject, said: str
) -> None:
    project = make(square(1, 0, 0, "Region*", 400), square(2, 100, 100, TUMOR), fault)
    printed = run(scripts / "check_my_work.groovy", project)
    assert any(said in line for line in printed), printed
    assert printed[-1].startswith("Please mend these")
    assert len(printed) == 3


def test_a_missing_domain_is_named(make: Callable[..., Path], scripts: Path) -> None:
    printed = run(scripts / "check_my_work.groovy", make(square(2, 100, 100, TUMOR)))
    assert (
        "- nothing says what you have read: draw an annotation of the class 'Region*' around it."
        in printed
    )


def test_without_a_protocol_the_scripts_run_and_say_so(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    hand_out_scripts(tmp_path / "bare")
    project = make(square(1, 0, 0, "Anything"))
    assert run(tmp_path / "bare" / "check_my_work.groovy", project)[-1] == "Ready to hand in."
    (line,) = run(tmp_path / "bare" / "set_up_classes.groovy", project)
    assert line.startswith("This script knows no protocol")
    assert a_uuid(1) in held(project)["A.png"]


RULES = """
name = "rules"
version = "1"
task = "regions"
ignore = ["Ignore*", "a?c", "*: Draft", "x**y", "Q\\\\E.*", "(", "[z]", "Region*: not"]
[domain]
classes = ["Region*", "Field ?"]
[[classes]]
name = "Tumor"
aliases = ["T", "Tumour: In situ", "TU"]
[[classes]]
name = "Benign: Gland"
aliases = ["BG", "Glande bénigne"]
[[classes]]
name = "Stroma"
"""
PIECES = [
    "Tumor", "T", "Tumour", "In situ", "TU", "Benign", "Gland", "BG", "Glande bénigne", "Stroma",
    "Region*", "Region", "not", "Field ", "Field 1", "Ignore", "Ignore*", "Draft", "a", "c", "x", "y",
    "Q\\E", ".", "(", "[z]", "z", ":", ": ", " : ", "::", " ", "\u00a0", "\u2003", "\x85", "\x1f",
    "\n", "*", "?", "😀", "é", "",
]  # fmt: skip


def test_the_check_takes_classes_for_what_pull_takes_them_for(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    """Both sides of 3,000 names made of what has a meaning, from blanks to wildcards."""
    protocol = parse_protocol(RULES, "test")
    hand_out_scripts(tmp_path / "rules", protocol)
    chance = random.Random(7)
    names = ["".join(chance.choices(PIECES, k=chance.randint(0, 6))) for _ in range(3000)]
    (tmp_path / "names.json").write_text(json.dumps(names), encoding="utf-8")
    side_by_side = tmp_path / "side_by_side.groovy"
    side_by_side.write_text(
        """
        def script = new GroovyShell(getClass().getClassLoader()).parse(new File(args[0]))
        def gson = new com.google.gson.Gson()
        def line = new File(args[0]).readLines().find { it.startsWith('PROTOCOL = ') }
        def told = gson.fromJson(new String(line.split('"')[1].decodeBase64(), "UTF-8"), Map)
        def names = gson.fromJson(new File(args[1]).getText("UTF-8"), List)
        new File(args[2]).setText(gson.toJson(names.collect {
            script.meaningOf(it, told.names, told.patterns).collect { it ?: "" }
        }), "UTF-8")
        """,
        encoding="utf-8",
    )
    check, found = tmp_path / "rules" / "check_my_work.groovy", tmp_path / "found.json"
    run(side_by_side, make(), check, tmp_path / "names.json", found)
    mappings = [protocol.map_class(name) for name in names]
    assert {mapping.kind for mapping in mappings} == {
        "class", "domain", "ignored", "unclassified", "unmapped"
    }  # fmt: skip
    expected = [[mapping.kind, mapping.name or ""] for mapping in mappings]
    theirs = json.loads(found.read_text(encoding="utf-8"))
    differing = [row for row in zip(names, expected, theirs, strict=True) if row[1] != row[2]]
    assert not differing
