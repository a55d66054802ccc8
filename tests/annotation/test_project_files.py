"""A project's files are read, and their faults told in one line, before any QuPath is looked for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from annotation.errors import PathquorumError, QuPathMissingError, SourceError
from annotation.projects.entry import ProjectEntrySource
from annotation.projects.files import ProjectImage, read_project, version_numbers
from annotation.projects.process import QuPathProcess
from annotation.qupath import open_project

HEADER = b"\xac\xed\x00\x05w\x15\x00\x13Data file version 3"
SERVER = b't\x00\x2a{"dataVersion":3,"qupathVersion":"0.6.0-rc3"}'
END = b"t\x00\x03EOF"
WHOLE = HEADER + SERVER + b"objects" + END
SAVED = 1_761_666_970_414

BuildProject = Callable[..., Path]


def image_entry(number: int, **members: Any) -> dict[str, Any]:
    entry = {
        "serverBuilder": {
            "builderType": "uri",
            "uri": f"file:/C:/Users/Dr%20Who/slides/case%20{number}%23.svs",
            "args": [],
        },
        "entryID": number,
        "imageName": f"Case {number}",
        "metadata": {},
    }
    return {**entry, **members}


@pytest.fixture
def build_project(tmp_path: Path) -> BuildProject:
    """Writes a project's files; ``data`` and ``objects`` by number of the image."""

    def build(
        *entries: dict[str, Any],
        data: dict[int, bytes] | None = None,
        objects: dict[int, int] | None = None,
    ) -> Path:
        path = tmp_path / "project.qpproj"
        project = {"version": "0.6.0", "lastID": len(entries), "images": list(entries)}
        path.write_text(json.dumps(project), encoding="utf-8")
        (tmp_path / "data").mkdir()
        for number, content in (data or {}).items():
            folder = tmp_path / "data" / str(number)
            folder.mkdir()
            (folder / "data.qpdata").write_bytes(content)
            if objects is not None:
                summary = {"timestamp": SAVED, "hierarchy": {"nObjects": objects[number] + 1}}
                (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        return path

    return build


def only_image(path: Path) -> ProjectImage:
    (image,) = read_project(path).images
    return image


def one_line(error: pytest.ExceptionInfo[PathquorumError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert ";" in message  # what, and the next step
    return message


def test_images_come_with_their_names_and_metadata_but_without_folders(
    build_project: BuildProject,
) -> None:
    path = build_project(image_entry(7, metadata={"grade": "3", "nothing": None}), image_entry(8))
    first, second = read_project(path).images
    assert (first.name, first.file_name) == ("Case 7", "case 7#.svs")
    assert first.metadata == {"grade": "3"}
    assert first.data == path.parent / "data" / "7" / "data.qpdata"
    assert "Who" not in repr((first, second))


def test_the_name_of_a_wrapped_image_is_found(build_project: BuildProject) -> None:
    wrapped = {"builderType": "color_deconvolved", "builder": image_entry(1)["serverBuilder"]}
    image = only_image(build_project(image_entry(1, serverBuilder=wrapped)))
    assert image.file_name == "case 1#.svs"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"type": "FeatureCollection", "features": []}',
        b'{"images": 3}',
        b'{"images": [3]}',
        b'{"images": [{"imageName": "no id"}]}',
        b'{"images": [{"entryID": "../../elsewhere"}]}',
        b'{"images": [{"entryID": -1}]}',
        b'{"images": [{"entryID": 1, "metadata": 3}]}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_project_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.qpproj"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="is no QuPath project") as error:
        open_project(path)
    one_line(error)


def test_a_project_file_without_its_folder_is_refused(build_project: BuildProject) -> None:
    path = build_project(image_entry(1))
    (path.parent / "data").rmdir()
    with pytest.raises(SourceError, match="copy the whole project folder") as error:
        open_project(path)
    one_line(error)


def test_a_project_that_nobody_saved_anything_in_is_refused(build_project: BuildProject) -> None:
    with pytest.raises(SourceError, match="none of its 2 images was annotated") as error:
        open_project(build_project(image_entry(1), image_entry(2)))
    one_line(error)


def test_images_that_share_their_data_are_refused(build_project: BuildProject) -> None:
    path = build_project(image_entry(3), image_entry(3, imageName="Other"), data={3: WHOLE})
    with pytest.raises(SourceError, match="'Case 3' and 'Other' share the folder data/3") as error:
        open_project(path)
    one_line(error)


@pytest.mark.parametrize("size", [4, 5, 12, 30, len(WHOLE) - 1])
def test_data_that_is_cut_short_is_refused(build_project: BuildProject, size: int) -> None:
    path = build_project(image_entry(1), data={1: WHOLE[:size]}, objects={1: 1})
    with pytest.raises(SourceError, match=f"cut short at {size} bytes") as error:
        open_project(path)
    assert "save the image in QuPath" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"\xac\xed", b"GIF89a", b"\0" * 99, WHOLE[:4] + END])
def test_data_that_is_something_else_is_refused(
    build_project: BuildProject, content: bytes
) -> None:
    path = build_project(image_entry(1), data={1: content}, objects={1: 1})
    with pytest.raises(SourceError, match="is no QuPath data") as error:
        open_project(path)
    one_line(error)


def test_the_copy_that_qupath_keeps_is_named(build_project: BuildProject) -> None:
    path = build_project(image_entry(1), data={1: WHOLE[:40]})
    folder = path.parent / "data" / "1"
    (folder / "data.qpdata.bkp").write_bytes(WHOLE)
    with pytest.raises(SourceError, match=r"rename data\.qpdata\.bkp to data\.qpdata"):
        open_project(path)
    (folder / "data.qpdata").unlink()
    with pytest.raises(SourceError, match="a save was interrupted") as error:
        open_project(path)
    assert "rename data.qpdata.bkp" in one_line(error)


def test_whole_data_says_which_qupath_wrote_it(build_project: BuildProject) -> None:
    image = only_image(build_project(image_entry(1), data={1: WHOLE}))
    assert image.check_data() == "0.6.0-rc3"
    image.data.write_bytes(HEADER + b"t\x00\x0bImage path:" + END)
    assert image.check_data() is None


def test_the_summary_gives_the_time_and_the_objects_without_the_root(
    build_project: BuildProject,
) -> None:
    image = only_image(build_project(image_entry(1), data={1: WHOLE}, objects={1: 131}))
    summary = image.summary()
    assert summary.objects == 131
    assert summary.modified == datetime(2025, 10, 28, 15, 56, 10, 414_000, tzinfo=UTC)


def test_without_a_summary_the_time_is_the_files(build_project: BuildProject) -> None:
    image = only_image(build_project(image_entry(1), data={1: WHOLE}))
    summary = image.summary()
    assert summary.objects is None
    assert summary.modified.timestamp() == pytest.approx(image.data.stat().st_mtime)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"hierarchy": {"nObjects": "x"}}', b'{"hierarchy": 3}']
)
def test_a_damaged_summary_is_refused(build_project: BuildProject, content: bytes) -> None:
    path = build_project(image_entry(1), data={1: WHOLE}, objects={1: 1})
    (path.parent / "data" / "1" / "summary.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"summary\.json can't be read") as error:
        open_project(path)
    one_line(error)


def test_the_colours_of_the_classes_are_read(build_project: BuildProject) -> None:
    path = build_project(image_entry(1))
    assert read_project(path).class_colors == {}
    classes = path.parent / "classifiers" / "classes.json"
    classes.parent.mkdir()
    classes.write_text('{"pathClasses": [{"name": "Tumor", "color": -3670016}, {"name": "X"}]}')
    assert read_project(path).class_colors == {"Tumor": -3670016, "X": None}
    classes.write_text('{"pathClasses": 3}')
    with pytest.raises(SourceError, match=r"classes\.json of the project can't be read"):
        read_project(path)


@pytest.mark.parametrize(
    ("older", "newer"), [("0.5.1", "0.6.0"), ("v0.2.0-m2", "0.2.3"), ("0.9", "0.10"), (None, "0.1")]
)
def test_versions_compare_by_their_numbers(older: str | None, newer: str) -> None:
    assert version_numbers(older) < version_numbers(newer)


def sources_of(path: Path) -> dict[str, ProjectEntrySource]:
    project = read_project(path)
    process = QuPathProcess(0)
    return {image.name: ProjectEntrySource(project, image, process) for image in project.images}


def test_another_label_is_other_content_and_the_kept_bytes_begin_with_the_data(
    build_project: BuildProject,
) -> None:
    plain, labelled = image_entry(1), image_entry(2, metadata={"grade": "ä"})
    path = build_project(
        plain,
        labelled,
        image_entry(3, metadata={"grade": "4"}),
        data=dict.fromkeys((1, 2, 3), WHOLE),
        objects=dict.fromkeys((1, 2, 3), 5),
    )
    sources = sources_of(path)
    assert sources["Case 1"].raw == WHOLE
    assert sources["Case 2"].raw.startswith(WHOLE)
    assert json.loads(sources["Case 2"].raw.removeprefix(WHOLE)) == {"metadata": {"grade": "ä"}}
    assert len({source.sha256 for source in sources.values()}) == 3
    renamed = copy.deepcopy(labelled)
    renamed["imageName"] = "another name"
    path.write_text(json.dumps({"images": [renamed]}))
    assert sources_of(path)["another name"].sha256 == sources["Case 2"].sha256


def test_data_that_is_saved_during_the_pull_is_refused(build_project: BuildProject) -> None:
    path = build_project(image_entry(1), data={1: WHOLE}, objects={1: 5})
    source = sources_of(path)["Case 1"]
    (path.parent / "data" / "1" / "data.qpdata").write_bytes(HEADER + SERVER + b"other" + END)
    with pytest.raises(SourceError, match="saved while it was pulled") as error:
        list(source.batches())
    one_line(error)
    with pytest.raises(SourceError, match="saved while it was pulled"):
        _ = source.raw


def test_an_image_is_looked_for_by_its_name_and_its_files(build_project: BuildProject) -> None:
    path = build_project(
        image_entry(1), image_entry(2, imageName="x.ome.tif - Series 0", serverBuilder=None)
    )
    sources = sources_of(path)
    assert sources["Case 1"].slide_names == ("Case 1", "case 1#.svs", "case 1#")
    assert sources["x.ome.tif - Series 0"].slide_names == ("x.ome.tif - Series 0", "x.ome")


def test_an_image_that_bears_only_a_label_is_a_read_where_labels_are_read(
    build_project: BuildProject,
) -> None:
    path = build_project(image_entry(1, metadata={"grade": "3"}), image_entry(2))
    with pytest.raises(SourceError, match="none of its 2 images"):
        open_project(path)
    (source,) = open_project(path, label_key="grade")
    assert source.image_metadata == {"grade": "3"}
    assert source.count == 0
    assert list(source.batches()) == []
    assert json.loads(source.raw) == {"metadata": {"grade": "3"}}


def missing_qupath(build_project: BuildProject) -> str:
    path = build_project(image_entry(1), data={1: WHOLE}, objects={1: 5})
    with pytest.raises(QuPathMissingError) as error:
        open_project(path)
    message = one_line(error)
    assert "pip install 'pathquorum[qupath]'" in message
    assert "paquo get_qupath --install-path" in message
    assert "PAQUO_QUPATH_DIR" in message
    assert "GeoJSON export" in message
    return message


def test_without_qupath_one_line_says_how_to_get_it(
    build_project: BuildProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "nowhere"))
    assert "\n" not in missing_qupath(build_project)


def test_without_paquo_one_line_says_how_to_get_it(
    build_project: BuildProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "site" / "paquo.py"
    stand_in.parent.mkdir()
    stand_in.write_text("raise ModuleNotFoundError(\"No module named 'paquo'\", name='paquo')\n")
    monkeypatch.setenv("PYTHONPATH", str(stand_in.parent))
    assert "No module named 'paquo'" in missing_qupath(build_project)


def test_folders_where_the_user_stands_shadow_nothing(
    build_project: BuildProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("annotation", "models", "paquo", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "nowhere"))
    assert "shadowed" not in missing_qupath(build_project)


def test_the_projects_of_others_are_read(shared_data: Path, tmp_path: Path) -> None:
    for name, version, count in (
        ("tcga_project/project.qpproj", "0.3.2", 434),
        ("sbalci_metadata/project.qpproj", "0.6.0-rc3", 107),
        ("lmd/2023-06-07_a65e57df__5_test_qupath_project~project.qpproj", "0.4.3", 2),
    ):
        path = shared_data / "qupath" / name
        with pytest.raises(SourceError, match="the folder 'data' is not beside it"):
            read_project(path)
        with_data = tmp_path / version / "project.qpproj"
        (with_data.parent / "data").mkdir(parents=True)
        with_data.write_bytes(path.read_bytes())
        project = read_project(with_data)
        assert (project.version, len(project.images)) == (version, count)
        for image in project.images:
            assert image.file_name
            assert image.name.startswith(image.file_name)
            assert not image.opened()
