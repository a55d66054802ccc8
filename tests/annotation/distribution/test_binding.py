"""What stands beside a project is data from outside: it is taken as ours, or refused in one line."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from annotation.distribution.binding import Binding, BoundProtocol, read_binding
from annotation.errors import SourceError

GOOD: dict[str, Any] = {
    "format": 1,
    "study": "0" * 32,
    "project": str(uuid.UUID(int=1)),
    "annotator": "P1 ä/..",
    "protocol": {"name": "prostate", "version": "1", "sha256": "a" * 64},
    "images": {"1": str(uuid.UUID(int=2)), "7": str(uuid.UUID(int=3))},
}


def written(folder: Path, content: bytes) -> Path:
    (folder / "pathquorum.json").write_bytes(content)
    return folder / "project.qpproj"


def test_a_binding_comes_back_as_it_was_written(tmp_path: Path) -> None:
    binding = Binding(
        format=1,
        study=GOOD["study"],
        project=GOOD["project"],
        annotator=GOOD["annotator"],
        protocol=BoundProtocol(**GOOD["protocol"]),
        images=GOOD["images"],
    )
    assert json.loads(binding.to_bytes()) == GOOD
    assert read_binding(written(tmp_path, binding.to_bytes())) == binding
    assert (binding.assignment_of(7), binding.assignment_of(2)) == (GOOD["images"]["7"], None)


def test_a_project_without_a_binding_has_none(tmp_path: Path) -> None:
    assert read_binding(tmp_path / "project.qpproj") is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": "1"},
        {"format": True},
        {"format": 0},
        {"study": "x"},
        {"study": "0" * 32 + "\n"},
        {"project": "../../elsewhere"},
        {"project": None},
        {"annotator": ""},
        {"annotator": "P" * 2_000},
        {"annotator": ["P1"]},
        {"protocol": "prostate"},
        {"protocol": {**GOOD["protocol"], "sha256": "'; DROP TABLE reads"}},
        {"protocol": {**GOOD["protocol"], "more": 1}},
        {"images": []},
        {"images": {"../1": GOOD["images"]["1"]}},
        {"images": {"1": "not an id"}},
        {"images": {"1": GOOD["images"]["1"], "2": GOOD["images"]["1"]}},
        {"surplus": 1},
    ],
    ids=str,
)
def test_anything_else_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    project = written(tmp_path, json.dumps({**GOOD, **change}).encode())
    with pytest.raises(SourceError, match=r"pathquorum\.json .*; bring it back") as error:
        read_binding(project)
    assert "\n" not in str(error.value)
    assert str(tmp_path.parent) not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000, b'{"images": ' * 20_000],
    ids=["empty", "cut", "null", "no text", "deep list", "deep object"],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="is no binding"):
        read_binding(written(tmp_path, content))


def test_a_later_format_says_that_it_is_one(tmp_path: Path) -> None:
    later = {**GOOD, "format": 2, "something": "new"}
    with pytest.raises(SourceError, match="has the format 2, this version knows 1"):
        read_binding(written(tmp_path, json.dumps(later).encode()))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="larger than 8 MB"):
        read_binding(written(tmp_path, b" " * 8_000_001))
