"""The files that a slide consists of, and their fingerprint."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from annotation.errors import SlideError
from annotation.slide_files import fingerprint, slide_files


def mrxs(folder: Path, name: str = "m") -> Path:
    """An .mrxs and its folder, without pixels."""
    data = folder / name / "deep"
    data.mkdir(parents=True)
    (folder / name / "Slidedat.ini").write_bytes(b"[GENERAL]")
    (data / "Data0000.dat").write_bytes(bytes(range(256)) * 8192)
    path = folder / f"{name}.mrxs"
    path.write_bytes(b"thumb")
    (folder / "other.mrxs").write_bytes(b"not part of it")
    return path


def dicom(path: Path, series: bytes, tail: bytes = b"", *, implicit: bool = False) -> Path:
    """The head of a DICOM file of a series, behind a reference to another series."""

    def element(group: int, number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        if implicit:
            return struct.pack("<HHI", group, number, len(value)) + value
        return struct.pack("<HH2sH", group, number, b"UI", len(value)) + value

    referred = element(0x0020, 0x000E, b"9.9.9")
    own = element(0x0020, 0x000D, b"1.2") + element(0x0020, 0x000E, series)
    path.write_bytes(b"\0" * 128 + b"DICM" + referred + own + tail)
    return path


def test_most_slides_are_one_file(tmp_path: Path) -> None:
    for name in ("a.svs", "a.ndpi", "a.tif"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    assert slide_files(tmp_path / "a.svs") == (tmp_path / "a.svs",)


def test_an_mrxs_is_a_folder_too(tmp_path: Path) -> None:
    path = mrxs(tmp_path)
    names = [file.relative_to(tmp_path).as_posix() for file in slide_files(path)]
    assert names == ["m/Slidedat.ini", "m/deep/Data0000.dat", "m.mrxs"]


def test_a_vms_names_its_images(tmp_path: Path) -> None:
    for name in ("a_1.jpg", "a.opt", "b.jpg", "secret.txt"):
        (tmp_path / name).touch()
    key_file = tmp_path / "a.vms"
    key_file.write_bytes(
        b"[Virtual Microscope Specimen]\r\nImageFile=a_1.jpg\r\nOptimisationFile= a.opt \r\n"
        b"MapFile=gone.jpg\r\nMacroImage=../secret.txt\r\n"
    )
    assert [file.name for file in slide_files(key_file)] == ["a.opt", "a.vms", "a_1.jpg"]


@pytest.mark.parametrize("implicit", [False, True])
def test_a_dicom_slide_is_its_series_in_the_folder(tmp_path: Path, implicit: bool) -> None:
    one = dicom(tmp_path / "1.dcm", b"1.2.3", implicit=implicit)
    two = dicom(tmp_path / "2.dcm", b"1.2.3", b"tail", implicit=implicit)
    dicom(tmp_path / "3.dcm", b"1.2.4", implicit=implicit)
    (tmp_path / "notes.txt").write_bytes(b"1.2.3")
    assert slide_files(one) == slide_files(two) == (one, two)
    assert fingerprint(one) == fingerprint(two) != fingerprint(tmp_path / "3.dcm")


def test_a_fingerprint_depends_neither_on_the_place_nor_on_the_slides_name(tmp_path: Path) -> None:
    first = mrxs(tmp_path / "here")
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(first.parent, moved)
    renamed = mrxs(tmp_path / "third", "renamed")
    assert fingerprint(first) == fingerprint(moved / "m.mrxs") == fingerprint(renamed)


def test_a_fingerprint_changes_with_any_file_of_the_slide(tmp_path: Path) -> None:
    path = mrxs(tmp_path)
    data = tmp_path / "m" / "deep" / "Data0000.dat"
    seen = {fingerprint(path)}
    content = data.read_bytes()
    data.write_bytes(content[:-1] + b"x")
    seen.add(fingerprint(path))
    data.write_bytes(content + b"x")
    seen.add(fingerprint(path))
    data.rename(data.with_name("Data0001.dat"))
    seen.add(fingerprint(path))
    (tmp_path / "m" / "new.dat").touch()
    seen.add(fingerprint(path))
    (tmp_path / "m" / "new.dat").unlink()
    path.write_bytes(b"thumc")
    seen.add(fingerprint(path))
    assert len(seen) == 6


def test_bytes_that_move_from_one_file_to_the_next_change_the_fingerprint(tmp_path: Path) -> None:
    path = mrxs(tmp_path)
    (tmp_path / "m" / "a").write_bytes(b"12")
    (tmp_path / "m" / "b").write_bytes(b"3")
    before = fingerprint(path)
    (tmp_path / "m" / "a").write_bytes(b"1")
    (tmp_path / "m" / "b").write_bytes(b"23")
    assert fingerprint(path) != before


def test_the_fingerprint_of_a_content_stays(tmp_path: Path) -> None:
    """Stores hold fingerprints: what changes them needs a migration."""
    path = tmp_path / "a.svs"
    path.write_bytes(b"abc")
    assert fingerprint(path) == "28fdf8fc24b7076368742be36e8ebccec63c2a6117142f70713e468097572c59"


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"slide file '.*none.svs' can't be read: No such file"):
        fingerprint(tmp_path / "none.svs")
