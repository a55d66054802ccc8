"""The scripts for people without Python run under QuPath's Groovy, and do what they say."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import shapely
from PIL import Image

from annotation.geojson.writer import write_feature_collection
from annotation.handed_scripts import hand_out_scripts
from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.protocol import parse_protocol
from annotation.qupath import open_project
from annotation.records import PathObject
from annotation.sources import open_sources
from tests.qupath.test_object_writing import a_uuid, every_kind, opened_with_paquo, thing
from tests.qupath.test_project_push import held, ours, replaced

pytestmark = pytest.mark.qupath

PROTOCOL = parse_protocol(
    """
name = "prostate"
version = "1"
task = "regions"
ignore = ["Ignore*"]
[[classes]]
name = "Benign"
color = "#00A000"
[[classes]]
name = "Tumor $x\\" + '\\\\n"
aliases = ["Tumour"]
""",
    "test",
)
TUMOR = PROTOCOL.classes[1].name


@pytest.fixture(scope="module")
def process(qupath_version: str) -> Iterator[QuPathProcess]:
    running = QuPathProcess(10_000_000)
    yield running
    running.stop()


@pytest.fixture
def make(process: QuPathProcess, tmp_path: Path) -> Callable[..., Path]:
    def build(*objects: PathObject) -> Path:
        Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
        images = [NewImage("A.png", (tmp_path / "A.png").as_uri(), objects, {"grade": "3"})]
        return create_project(tmp_path / "p", images, classes=[], process=process)

    return build


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    hand_out_scripts(tmp_path / "scripts", PROTOCOL)
    return tmp_path / "scripts"


def run(script: Path, project: Path, *arguments: object, image: str = "A.png") -> list[str]:
    """What a script prints."""
    runner = Path(__file__).with_name("run_script.py")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            runner,
            script,
            project,
            image,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("BEGIN\n")[1].splitlines()
    return [line for line in lines if "[INFO" not in line and "[WARN" not in line]


def test_an_export_is_pulled_as_the_project_is_and_says_when_and_of_what(
    make: Callable[..., Path], scripts: Path
) -> None:
    project = make(*every_kind())
    before = held(project)
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
    about = json.loads(written.read_bytes())["pathquorum"]
    assert start <= datetime.fromisoformat(about["exported_at"]) <= datetime.now(UTC)
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


def test_without_an_open_image_all_that_were_saved_are_exported(
    process: QuPathProcess, scripts: Path, tmp_path: Path
) -> None:
    """Names that differ in case alone are one file on many disks."""
    Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
    uri = (tmp_path / "A.png").as_uri()
    images = [
        NewImage("A.png", uri, [square(1, 10, 10, "Benign")]),
        NewImage("a.png", uri, [square(2, 10, 10, "Benign")]),
        NewImage("B.png", uri, [square(3, 10, 10, "Benign")]),
        NewImage("C.png", uri),
    ]
    project = create_project(tmp_path / "p", images, classes=[], process=process)
    printed = run(scripts / "export_annotations.groovy", project, image="-")
    assert printed[-1] == "Left out, for nobody has saved it: C.png"
    names = sorted(path.name for path in (project.parent / "exports").iterdir())
    assert names == ["A.png - 1.geojson", "B.png.geojson", "a.png - 2.geojson"]


def test_the_time_of_an_export_is_that_of_the_last_save(
    make: Callable[..., Path], scripts: Path
) -> None:
    project = make(square(1, 10, 10, "Benign"))
    saved = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    os.utime(project.parent / "data/1/data.qpdata", (saved.timestamp(), saved.timestamp()))
    run(scripts / "export_annotations.groovy", project)
    (export,) = open_sources(project.parent / "exports")
    assert export.modified == saved


def test_an_import_adds_only_what_is_missing_and_revert_takes_only_ours(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    project = make(*every_kind())
    before = held(project)
    pushed = [replaced(ours(x), name="consensus 3: Benign") for x in (10, 200)]
    folder = tmp_path / "pushed"
    folder.mkdir()
    write_feature_collection(folder / "A.geojson", pushed)
    script = scripts / "import_objects.groovy"
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
    make: Callable[..., Path], scripts: Path
) -> None:
    same = replaced(ours(10), name="consensus 3: Benign")
    unlocked = replaced(ours(100), name="consensus 3: Benign", locked=False)
    other = replaced(ours(200), name="consensus 3: Benign", path_class="Tumor")
    project = make(same, unlocked, other)
    printed = run(scripts / "import_objects.groovy", project, "revert")
    assert printed[-1].startswith("Took out 1 objects")
    assert held(project)["A.png"].keys() == {str(unlocked.uuid), str(other.uuid)}
    for thing_ in (unlocked, other):
        assert any(str(thing_.uuid) in line for line in printed[:-1])


def test_revert_with_the_file_leaves_what_a_person_moved(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    same = replaced(ours(10), name="consensus 3: Benign")
    came = replaced(ours(100), name="consensus 3: Benign")
    write_feature_collection(tmp_path / "A.geojson", [same, came])
    moved = replaced(came, geometry=shapely.affinity.translate(came.geometry, 1))
    project = make(same, moved)
    printed = run(scripts / "import_objects.groovy", project, "revert", tmp_path)
    assert printed[-1].startswith("Took out 1 objects")
    assert held(project)["A.png"].keys() == {str(came.uuid)}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data.write_bytes(data.read_bytes()[:-200]), "data of this image is cut short"),
        (lambda data: data.with_name("data.qpdata.bkp").write_bytes(b""), "was interrupted"),
        (lambda data: data.with_name("summary.json").write_text(
            data.with_name("summary.json").read_text().replace('"nObjects": 2', '"nObjects": 3')),
         "gives 1 of 2 objects"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("revert", [False, True])
def test_an_image_whose_data_is_cut_short_is_not_saved_over(
    make: Callable[..., Path],
    scripts: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    said: str,
    revert: bool,
) -> None:
    """QuPath opens such data as an image without objects, and a save would make that final."""
    project = make(square(1, 10, 10, "Benign"))
    write_feature_collection(tmp_path / "A.geojson", [ours(200)])
    data = project.parent / "data/1/data.qpdata"
    spoil(data)
    before = data.read_bytes()
    words = ["revert"] if revert else [tmp_path]
    printed = run(scripts / "import_objects.groovy", project, *words)
    assert printed[-1].startswith("Nothing was changed, for ")
    assert said in printed[-1]
    assert data.read_bytes() == before


def test_what_a_person_has_not_saved_is_not_saved_for_them(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    project = make(square(1, 10, 10, "Benign"))
    write_feature_collection(tmp_path / "A.geojson", [ours(200)])
    text = (scripts / "import_objects.groovy").read_text(encoding="utf-8")
    draws = tmp_path / "draws.groovy"
    change = "getCurrentImageData().setChanged(true)\n"
    place = "List words ="
    draws.write_text(text.replace(place, change + place), encoding="utf-8")
    before = held(project)
    printed = run(draws, project, tmp_path)
    assert any("save it yourself" in line for line in printed)
    assert held(project) == before


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


def test_a_file_of_somebody_elses_objects_is_not_imported(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [thing(5, "POINT(1 2)")])
    (line,) = run(scripts / "import_objects.groovy", project, tmp_path / "x.geojson")
    assert "don't bear pathquorum's mark" in line
    (line,) = run(scripts / "import_objects.groovy", project, tmp_path / "missing.geojson")
    assert "There is no file" in line


def test_what_qupath_would_leave_out_without_a_word_stops_the_import(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [ours(10), ours(200)])
    spoiled = json.loads((tmp_path / "x.geojson").read_bytes())
    spoiled["features"][0]["geometry"] = None
    (tmp_path / "x.geojson").write_text(json.dumps(spoiled))
    printed = run(scripts / "import_objects.groovy", project, tmp_path / "x.geojson")
    assert "nothing was imported" in printed[-1]
    assert not (project.parent / "data" / "1").exists()


def test_one_object_twice_in_a_file_comes_in_once(
    make: Callable[..., Path], scripts: Path, tmp_path: Path
) -> None:
    project = make()
    write_feature_collection(tmp_path / "x.geojson", [ours(10)])
    twice = json.loads((tmp_path / "x.geojson").read_bytes())
    twice["features"] *= 2
    (tmp_path / "x.geojson").write_text(json.dumps(twice))
    run(scripts / "import_objects.groovy", project, tmp_path / "x.geojson")
    assert len(held(project)["A.png"]) == 1


def test_classes_are_set_in_the_order_of_the_protocol(
    make: Callable[..., Path], scripts: Path
) -> None:
    project = make()
    (line,) = run(scripts / "set_up_classes.groovy", project)
    assert line.startswith("The project has the 4 classes of prostate 1")
    classes = opened_with_paquo(project)["classes"]
    assert [name for name, _ in classes] == ["Benign", TUMOR, "Region*", "Ignore*"]
    assert classes[0][1].lower() == "#00a000"


def square(number: int, x: float, y: float, path_class: str | None, size: float = 50) -> PathObject:
    return thing(number, shapely.box(x, y, x + size, y + size), path_class=path_class)


def test_clean_work_is_ready_to_hand_in(make: Callable[..., Path], scripts: Path) -> None:
    project = make(
        square(1, 0, 0, "Region*", 400),
        square(2, 10, 10, "Benign", 100),
        square(3, 20, 20, TUMOR, 20),  # inside another is fine
        square(4, 200, 200, "Tumour"),
        square(5, 420, 420, "Ignore*"),
    )
    before = held(project)
    printed = run(scripts / "check_my_work.groovy", project)
    assert printed == ["A.png: 5 annotations.", "Ready to hand in."]
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


WRITTEN = [
    "Benign", " Benign ", "benign", "Benign: Positive", "Tumour", "Tumour: Positive", "Tumour : x",
    "Benign: Tumour", "Tumour: Benign", "Ignore*", "Ignored", "Ignore this: Benign", "Ignor", "Region*",
    "Region", "Regional", "Region: Benign", "Stroma", "Stroma: Benign", "A.c", "Abc", "A1c", "A12c",
    "x*y", "x and y", "Benign*", "*", "?", "[a-z]",
]  # fmt: skip


def test_classes_mean_what_they_mean_to_pull(process: QuPathProcess, tmp_path: Path) -> None:
    """Wildcards, aliases and derived classes: the script names exactly what pull would not rate."""
    rules = parse_protocol(
        """
name = "p"
version = "1"
task = "regions"
ignore = ["Ignore*", "A?c", "x*y", "[a-z]"]
[[classes]]
name = "Benign"
[[classes]]
name = "Tumor: Grade 3"
aliases = ["Tumour", "Tumour: Benign"]
""",
        "test",
    )
    hand_out_scripts(tmp_path / "scripts", rules)
    Image.new("RGB", (600, 500), "white").save(tmp_path / "A.png")
    drawn = [square(n, 20 * n, 10, name, size=10) for n, name in enumerate(WRITTEN, start=1)]
    images = [
        NewImage("A.png", (tmp_path / "A.png").as_uri(), [*drawn, square(90, 0, 0, "Region*", 480)])
    ]
    project = create_project(tmp_path / "p", images, classes=[], process=process)
    printed = "\n".join(run(tmp_path / "scripts" / "check_my_work.groovy", project))
    strange = set(re.findall(r"has the class '(.*?)', which the protocol", printed))
    (source,) = open_project(project)
    written = {str(o.path_class) for batch in source.batches() for o in batch.objects}
    unmapped = {name for name in written if rules.map_class(name).kind == "unmapped"}
    assert strange == unmapped
    assert 5 < len(unmapped) < len(written) - 10


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
