"""An image is the slide whose name it bears, unless its file is another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.errors import ConflictError
from annotation.recognition import slide_of_image
from annotation.slides import fingerprint
from annotation.store import Store
from annotation.study import add_slide_without_image


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A file that is slide ``Held`` by its content."""
    (tmp_path / "scan.svs").write_bytes(b"pixels")
    return tmp_path / "scan.svs"


@pytest.fixture
def recognised(store: Store, scan: Path) -> Callable[..., str | None]:
    """The name of the slide that an image is; the store has ``Held`` and ``Named``."""
    with store.writing() as session:
        for name in ("Held", "Named"):
            add_slide_without_image(session, name, width_px=100, height_px=60, mpp=0.5)

    def call(
        *names: str, path: Path | None, added_from: Path | None = None, held: bool = True
    ) -> str | None:
        with store.writing() as session:
            by_name = {
                name: slide_of_image(session, "x", [name], lambda: None)
                for name in ("Held", "Named")
            }
            assert by_name["Held"] is not None
            assert by_name["Named"] is not None
            by_name["Held"].fingerprint = fingerprint(scan) if held else None
            by_name["Named"].path = None if added_from is None else str(added_from)
            session.flush()
            found = slide_of_image(session, "p.qpproj, image 'Named'", names, lambda: path)
            return None if found is None else found.name

    return call


def test_a_name_and_a_file_that_contradict_each_other_are_refused_with_both_slides(
    recognised: Callable[..., str | None], scan: Path
) -> None:
    with pytest.raises(ConflictError) as refused:
        recognised("Named", path=scan)
    assert "image 'Named' bears the name of slide 'Named'" in refused.value.message
    assert "is slide 'Held' by its fingerprint" in refused.value.message
    assert (refused.value.named, refused.value.held) == ("Named", "Held")


def test_a_name_and_a_file_that_agree_are_that_slide(
    recognised: Callable[..., str | None], scan: Path
) -> None:
    assert recognised("Held", path=scan) == "Held"


def test_a_name_holds_where_no_file_is_found_or_no_slide_has_its_content(
    recognised: Callable[..., str | None], scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "unknown.svs").write_bytes(b"other pixels")
    assert recognised("Named", path=None) == "Named"
    assert recognised("Named", path=tmp_path / "unknown.svs") == "Named"
    assert recognised("Named", path=scan, held=False) == "Named"


def test_a_file_is_recognised_under_a_name_that_no_slide_bears(
    recognised: Callable[..., str | None], scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "unknown.svs").write_bytes(b"other pixels")
    assert recognised("X", path=scan) == "Held"
    assert recognised("X", path=tmp_path / "unknown.svs") is None
    assert recognised("X", path=None) is None


def test_the_file_that_a_slide_was_added_from_is_not_read_again(
    recognised: Callable[..., str | None], scan: Path
) -> None:
    """Else every pull would read gigabytes; that it was read would show as a contradiction here."""
    assert recognised("Named", path=scan, added_from=scan) == "Named"
