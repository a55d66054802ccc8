"""An image under a masked name opens like the image, and no name in the folder is the slide's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from annotation.distribution import linked_images
from annotation.distribution.linked_images import link_image, masked_file_name
from annotation.errors import SlideError
from annotation.slide_files import fingerprint, slide_files


def names_below(folder: Path) -> set[str]:
    return {
        name
        for _, folders, files in os.walk(folder, followlinks=True)
        for name in (*folders, *files)
    }


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "CASE7").mkdir(parents=True)
    (folder / "CASE7.mrxs").write_bytes(b"mirax")
    (folder / "CASE7" / "Slidedat.ini").write_bytes(b"index")
    (folder / "CASE7" / "Data0001.dat").write_bytes(b"pixels")
    (folder / "CASE8.ome.tiff").write_bytes(b"one file")
    (folder / "CASE9.vms").write_bytes(
        b"[Virtual]\r\nImageFile=CASE9.jpg\r\nMap=CASE9_map2.jpg\r\nNo=1\r\n"
    )
    (folder / "CASE9.jpg").write_bytes(b"image")
    (folder / "CASE9_map2.jpg").write_bytes(b"map")
    return folder


@pytest.mark.parametrize("way", ["symlink", "hard link", "copy"])
@pytest.mark.parametrize(
    ("name", "masked"), [("CASE7.mrxs", "M-1.mrxs"), ("CASE8.ome.tiff", "M-1.ome.tiff")]
)
def test_all_files_of_a_slide_stand_under_the_masked_name(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, name: str, masked: str
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("not here")

    if way != "symlink":
        monkeypatch.setattr(Path, "symlink_to", refuse)
    if way == "copy":
        monkeypatch.setattr(linked_images.os, "link", refuse)
    linked = link_image(scans / name, tmp_path / "out", "M-1")
    assert linked.path.name == masked == masked_file_name(scans / name, "M-1")
    assert fingerprint(linked.path) == fingerprint(scans / name)
    assert linked.copied == (way == "copy")
    assert not [found for found in names_below(tmp_path / "out") if "CASE" in found]
    linked.remove()
    assert not any((tmp_path / "out").iterdir())
    assert len(slide_files(scans / name)) == (3 if "mrxs" in name else 1)


def test_the_names_in_a_hamamatsu_key_file_are_masked_as_well(scans: Path, tmp_path: Path) -> None:
    linked = link_image(scans / "CASE9.vms", tmp_path / "out", "M-1")
    assert linked.path.name == "M-1.vms"
    assert linked.path.read_bytes() == (
        b"[Virtual]\r\nImageFile=M-1-1.jpg\r\nMap=M-1-2.jpg\r\nNo=1\r\n"
    )
    assert {f.name: f.read_bytes() for f in slide_files(linked.path) if f != linked.path} == {
        "M-1-1.jpg": b"image",
        "M-1-2.jpg": b"map",
    }
    assert (scans / "CASE9.vms").read_bytes().count(b"CASE9") == 2


def test_a_dicom_series_stays_together_under_the_masked_name(tmp_path: Path) -> None:
    series = b"\x20\x00\x0d\x00UI\x02\x001\x00\x20\x00\x0e\x00UI\x04\x001.2\x00"
    (tmp_path / "scans").mkdir()
    for level in ("CASE-a.dcm", "CASE-b.dcm"):
        (tmp_path / "scans" / level).write_bytes(bytes(128) + b"DICM" + series + level.encode())
    image = tmp_path / "scans" / "CASE-b.dcm"
    assert len(slide_files(image)) == 2
    linked = link_image(image, tmp_path / "out", "M-1")
    assert linked.path.name == masked_file_name(image, "M-1") == "M-1-2.dcm"
    assert linked.path.read_bytes() == image.read_bytes()
    assert [file.name for file in slide_files(linked.path)] == ["M-1-1.dcm", "M-1-2.dcm"]


def test_what_cannot_be_linked_leaves_nothing_and_nothing_is_overwritten(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "M-1.ome.tiff").write_bytes(b"somebody's")
    with pytest.raises(SlideError, match="can't be linked"):
        link_image(scans / "CASE8.ome.tiff", out, "M-1")
    assert (out / "M-1.ome.tiff").read_bytes() == b"somebody's"
    shutil.rmtree(out)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("symlink_to",):
        monkeypatch.setattr(Path, name, full)
    monkeypatch.setattr(linked_images.os, "link", full)
    monkeypatch.setattr(linked_images.shutil, "copyfile", full)
    with pytest.raises(SlideError, match="No space left") as error:
        link_image(scans / "CASE7.mrxs", out, "M-1")
    assert "\n" not in str(error.value)
    assert not any(out.iterdir())
