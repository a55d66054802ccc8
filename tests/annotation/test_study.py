"""Registering protocols and slides from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.demo.slides import demo_slides, write_slide
from tests.conftest import PROTOCOL, CommandResult

Command = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(demo_slides(0, 1)[0], tmp_path_factory.mktemp("slides"))


def test_a_slide_is_added_with_its_size_pixel_size_and_fingerprint(
    pathquorum: Command, image: Path
) -> None:
    added = pathquorum("slide", "add", image, "--patient", "A", "--site", "North", "--json").json
    assert (added["name"], added["width_px"], added["height_px"]) == ("DEMO-01", 2304, 2048)
    assert added["mpp"] == pytest.approx(0.5)
    assert len(added["fingerprint"]) == 64
    (listed,) = pathquorum("slide", "list", "--json").json["slides"]
    assert (listed["patient"], listed["site"]) == ("A", "North")


def test_two_slides_of_one_name_or_one_content_are_refused(
    pathquorum: Command, image: Path, tmp_path: Path
) -> None:
    pathquorum("slide", "add", image)
    assert "exists already" in pathquorum("slide", "add", image).err
    copy = tmp_path / "copy.tiff"
    copy.write_bytes(image.read_bytes())
    result = pathquorum("slide", "add", copy)
    assert result.status == 1
    assert "same content as slide 'DEMO-01'" in result.err


def test_hashing_can_wait_and_then_checks_the_image(
    pathquorum: Command, image: Path, tmp_path: Path
) -> None:
    path = tmp_path / "S.tiff"
    path.write_bytes(image.read_bytes())
    assert pathquorum("slide", "add", path, "--hash", "later", "--json").json["fingerprint"] is None
    first = pathquorum("slide", "hash", "S", "--json").json["fingerprint"]
    assert pathquorum("slide", "hash", "S", "--json").json["fingerprint"] == first
    with path.open("ab") as stream:
        stream.write(b"changed")
    result = pathquorum("slide", "hash", "S")
    assert result.status == 1
    assert "its fingerprint differs" in result.err


def test_a_slide_without_image_needs_its_size_and_pixel_size(pathquorum: Command) -> None:
    size = ("--width", 1000, "--height", 800)
    assert "no microns per pixel" in pathquorum("slide", "add", "S", *size).err
    assert "together" in pathquorum("slide", "add", "S", "--width", 5, "--mpp", 0.5).err
    assert "outside 0.05 to 4" in pathquorum("slide", "add", "S", *size, "--mpp", 40).err
    assert (
        "cannot measure"
        in pathquorum("slide", "add", "S", "--width", 0, "--height", 8, "--mpp", 0.5).err
    )
    added = pathquorum("slide", "add", "S.1 (ä)", *size, "--mpp", 0.5, "--json").json
    assert added["name"] == "S.1 (ä)"
    assert "nothing to hash" in pathquorum("slide", "hash", "S.1 (ä)").err


def test_what_is_no_slide_is_refused_in_one_line(pathquorum: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.svs").write_text("no slide")
    for path in (tmp_path / "notes.svs", tmp_path / "none.svs", tmp_path):
        result = pathquorum("slide", "add", path)
        assert result.status == 1
        assert len(result.err.splitlines()) == 1
    assert pathquorum("slide", "list", "--json").json == {"slides": []}


def test_a_changed_protocol_needs_a_new_version(pathquorum: Command, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(PROTOCOL)
    first = pathquorum("protocol", "add", path, "--json").json
    path.write_text("# a comment changes nothing\n" + PROTOCOL)
    assert pathquorum("protocol", "add", path, "--json").json == first
    path.write_text(PROTOCOL.replace('"quadratic"', '"linear"'))
    assert "new version" in pathquorum("protocol", "add", path).err
    path.write_text(PROTOCOL.replace('version = "1"', 'version = "2"'))
    assert pathquorum("protocol", "add", path, "--json").json["version"] == "2"


def test_a_signed_protocol_says_by_whom_and_is_signed_once(study: Command) -> None:
    sign = ("protocol", "sign", "prostate", "--version", "1", "--by", "L", "--json")
    assert study(*sign).json["signed_by"] == "L"
    assert "is signed already" in study(*sign).err
    (listed,) = study("protocol", "list", "--json").json["protocols"]
    assert listed["signed_by"] == "L"
    assert (
        "no protocol 'prostate@7'"
        in study("protocol", "sign", "prostate", "--version", "7", "--by", "L").err
    )


def test_the_printed_template_can_be_added_as_it_is(pathquorum: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(pathquorum("protocol", "template").out)
    assert pathquorum("protocol", "add", path).status == 0
    assert "[[classes]]" in pathquorum("protocol", "template", "--json").json["template"]
