"""The files that one slide consists of, and a fingerprint over all of them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from annotation.errors import SlideError

__all__ = ["fingerprint", "slide_files"]

_CHUNK_BYTES = 1 << 20
_DICOM_HEAD_BYTES = 1 << 18
# The series stands right behind the study, with or without a spelled-out type; within sequences
# that refer to other series it doesn't.
_DICOM_SERIES = re.compile(
    rb"\x20\x00\x0d\x00(?:UI..|.{4})[0-9.]+\0?\x20\x00\x0e\x00(?:UI..|.{4})([0-9.]+)", re.DOTALL
)
_HAMAMATSU = (".vms", ".vmu")


def slide_files(path: str | Path) -> tuple[Path, ...]:
    """Return the files of the slide that `path` opens, itself included, in a fixed order.

    Most slides are one file. An `.mrxs` has a folder of the same stem, a `.vms` or `.vmu` names
    its image files, and a DICOM slide is every file of its series in the same folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".mrxs":
            found = [file for file in path.with_suffix("").rglob("*") if file.is_file()]
        elif suffix in _HAMAMATSU:
            found = _named_in(path)
        elif (series := _dicom_series(path)) is not None:
            siblings = (file for file in path.parent.iterdir() if file.is_file() and file != path)
            found = [file for file in siblings if _dicom_series(file) == series]
        else:
            found = []
    except OSError as error:
        raise _unreadable(path, error) from None
    return tuple(sorted({path, *found}, key=lambda file: file.relative_to(path.parent).parts))


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 over names, sizes and contents of all files of a slide, in hexadecimal.

    It is the same wherever the slide lies and whatever the slide is called: names count from the
    slide's folder, and its own name (an `.mrxs` folder's too) counts as `*`. The files are
    streamed, never held.
    """
    path = Path(path)
    digest = hashlib.sha256(b"pathquorum slide 1\n")
    for file in slide_files(path):
        try:
            _add(digest, file, _name_in_slide(file, path))
        except OSError as error:
            raise _unreadable(file, error) from None
    return digest.hexdigest()


def _add(digest: hashlib._Hash, file: Path, name: str) -> None:
    encoded = os.fsencode(name)
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        # Lengths come first, so that no two lists of files give the same bytes.
        digest.update(b"%d %d\n%s\n" % (len(encoded), size, encoded))
        read = 0
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            read += len(chunk)
    if read != size:
        raise SlideError(
            f"slide file {str(file)!r} changed while it was read; "
            "wait until it is copied completely and run the command again",
            path=file,
        )


def _name_in_slide(file: Path, path: Path) -> str:
    parts = file.relative_to(path.parent).parts
    if file == path:
        # Any file of a DICOM series opens it, so which one did must not matter.
        return parts[0] if _dicom_series(path) else f"*{path.suffix}"
    return "/".join(("*", *parts[1:]) if len(parts) > 1 and parts[0] == path.stem else parts)


def _named_in(key_file: Path) -> list[Path]:
    """Return the files beside a Hamamatsu key file that it names as values."""
    names = {
        line.partition("=")[2].strip()
        for line in key_file.read_bytes().decode("latin-1").splitlines()
        if "=" in line
    }
    return [file for file in key_file.parent.iterdir() if file.name in names and file.is_file()]


def _dicom_series(path: Path) -> bytes | None:
    with path.open("rb") as stream:
        head = stream.read(_DICOM_HEAD_BYTES)
    if head[128:132] != b"DICM":
        return None
    found = _DICOM_SERIES.search(head)
    return found[1] if found else None


def _unreadable(path: Path, error: OSError) -> SlideError:
    return SlideError(
        f"slide file {str(path)!r} can't be read: {error.strerror or error}; "
        "check that it is there and may be read",
        path=path,
    )
