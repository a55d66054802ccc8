"""An image is found where its project says, wherever the project was written and has moved to."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from annotation.projects.files import ProjectFile, read_project
from annotation.projects.image_files import FoundImage, _on_another_share, find_image, path_of_uri


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/data/a%20b%23.svs", PurePosixPath("/data/a b#.svs")),
        ("file:///data/a.svs", PurePosixPath("/data/a.svs")),
        ("file:/C:/Users/x/a.svs", PureWindowsPath("C:/Users/x/a.svs")),
        ("file:///C:/Users/x/a.svs", PureWindowsPath("C:/Users/x/a.svs")),
        ("file://server/share/a.svs", PureWindowsPath("//server/share/a.svs")),
        ("C:\\slides\\a.svs", PureWindowsPath("C:/slides/a.svs")),
        ("\\\\server\\share\\a.svs", PureWindowsPath("//server/share/a.svs")),
        ("/Volumes/Slides/a.svs", PurePosixPath("/Volumes/Slides/a.svs")),
        ("https://example.org/a.svs", None),
        ("omero:iid=3", None),
        ("file:/a%00b.svs", None),
        ("file://[/a", None),
        ("", None),
    ],
)
def test_the_path_in_a_uri_of_any_system(uri: str, path: object) -> None:
    assert path_of_uri(uri) == path


def project_of(folder: Path, was: str, uri: str) -> ProjectFile:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    images = [{"entryID": 1, "imageName": "A", "serverBuilder": {"builderType": "uri", "uri": uri}}]
    content = {"version": "0.5.1", "uri": was, "images": images}
    (folder / "project.qpproj").write_text(json.dumps(content))
    return read_project(folder / "project.qpproj")


def found(project: ProjectFile, root: Path | None = None) -> FoundImage | str:
    return find_image(project, project.images[0], slides_root=root)


def test_an_image_that_is_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "a b.svs").touch()
    project = project_of(tmp_path / "p", "file:/p/project.qpproj", (tmp_path / "a b.svs").as_uri())
    assert found(project) == FoundImage(tmp_path / "a b.svs", "as named")


@pytest.mark.parametrize(
    ("was", "uri"),
    [
        ("file:/old/study/p/project.qpproj", "file:/old/study/slides/A.svs"),
        ("file:/C:/study/p/project.qpproj", "file:/C:/study/p/../slides/A.svs"),
        ("file:/C:/study/p/project.qpproj", "file:/C:/study/slides/A.svs"),
        ("file://server/study/p/project.qpproj", "file://server/study/slides/A.svs"),
    ],
)
def test_an_image_that_moved_along_with_its_project(tmp_path: Path, was: str, uri: str) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides/A.svs").touch()
    assert found(project_of(tmp_path / "p", was, uri)) == FoundImage(
        tmp_path / "slides/A.svs", "beside the project"
    )


def test_an_image_that_moved_by_itself_is_looked_for_below_the_slides_root_only(
    tmp_path: Path,
) -> None:
    root, outside = tmp_path / "slides", tmp_path / "outside"
    (root / "x/y").mkdir(parents=True)
    outside.mkdir()
    (outside / "A.svs").touch()
    project = project_of(tmp_path / "p", "file:/old/p/project.qpproj", "file:/gone/A.svs")
    assert "is not there" in str(found(project))
    (root / "A.svs").symlink_to(outside / "A.svs")
    assert "is not there" in str(found(project, root))
    (root / "x/y/A.svs").touch()
    assert found(project, root) == FoundImage(root / "x/y/A.svs", "by name")
    (root / "x/A.svs").touch()
    assert "2 files below" in str(found(project, root))


def test_what_lies_on_a_network_is_not_fetched(tmp_path: Path) -> None:
    project = project_of(tmp_path / "p", "file:/p/project.qpproj", "https://example.org/A.svs")
    assert "https:, which is not fetched" in str(found(project))


def test_a_file_is_not_taken_for_the_only_one_where_not_all_folders_were_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "slides"
    for folder in ("a", "b", "c"):
        (root / folder).mkdir(parents=True)
    (root / "a/A.svs").touch()
    project = project_of(tmp_path / "p", "file:/old/p/project.qpproj", "file:/gone/A.svs")
    monkeypatch.setattr("annotation.projects.image_files._MOST_FOLDERS", 4)
    assert found(project, root) == FoundImage(root / "a/A.svs", "by name")
    monkeypatch.setattr("annotation.projects.image_files._MOST_FOLDERS", 3)
    assert "more than 3 folders" in str(found(project, root))


@pytest.mark.parametrize(
    ("named", "project", "elsewhere"),
    [
        ("//server/share/a.svs", "C:/p/project.qpproj", True),
        ("//server/share/a.svs", "//other/share/p/project.qpproj", True),
        ("//server/share/a.svs", "//SERVER/share/p/project.qpproj", False),
        ("C:/a.svs", "D:/p/project.qpproj", False),
    ],
)
def test_no_server_is_called_that_a_project_file_alone_names(
    named: str, project: str, elsewhere: bool
) -> None:
    assert _on_another_share(PureWindowsPath(named), PureWindowsPath(project)) is elsewhere
