"""``pathquorum.json`` beside a ``project.qpproj``: whose project it is, and for which protocol.

The file says which of the store's records the project belongs to, and no more: it holds no slide's
name. It lies with the annotator, so what it says is checked like anything from outside, and then
against the store, which alone decides (see :mod:`annotation.distribution.bound_projects`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from sqlalchemy.orm import Session

from annotation.errors import SourceError
from annotation.store import store_salt

__all__ = ["BINDING_NAME", "Binding", "BoundProtocol", "read_binding", "study_id"]

BINDING_NAME: Final = "pathquorum.json"
FORMAT: Final = 1

_LARGEST_BYTES = 8_000_000
_MOST_IMAGES = 100_000

Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
StudyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
EntryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}\Z")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class BoundProtocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A protocol version, and the digest of what it says."""

    name: Name
    version: Name
    sha256: Sha256


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``pathquorum.json`` holds.

    Attributes
    ----------
    format
        Of this file; another one than :data:`FORMAT` is refused.
    study
        :func:`study_id` of the store.
    project, annotator, protocol
        The project's id in the store, the annotator's handle, and the protocol version.
    images
        The assignment of each image, by the image's id in the project.
    """

    format: int
    study: StudyId
    project: Uuid
    annotator: Name
    protocol: BoundProtocol
    images: dict[EntryId, Uuid]

    def to_bytes(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def assignment_of(self, entry_id: int) -> str | None:
        """The assignment of an image; None where it was not handed out."""
        return self.images.get(str(entry_id))


def study_id(session: Session) -> str:
    """What tells this store from others; it gives away nothing of the store."""
    return hashlib.sha256(f"pathquorum study\n{store_salt(session)}".encode()).hexdigest()[:32]


def read_binding(project: Path) -> Binding | None:
    """Read the file beside a ``project.qpproj``; None where there is none.

    Raises
    ------
    SourceError
        It can't be read, is too large, or is not what :meth:`Binding.to_bytes` writes.
    """
    path = project.with_name(BINDING_NAME)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(project, f"can't be read ({error.strerror})") from error
    if len(content) > _LARGEST_BYTES:
        raise _refused(project, f"is larger than {_LARGEST_BYTES // 1_000_000} MB")
    try:
        binding = msgspec.json.decode(content, type=Binding)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(project, _other_format(content)) from None
    if binding.format != FORMAT:
        raise _refused(project, _other_format(content))
    if len(binding.images) > _MOST_IMAGES:
        raise _refused(project, f"names more than {_MOST_IMAGES:,} images")
    assigned = list(binding.images.values())
    if len(set(assigned)) != len(assigned):
        raise _refused(project, "binds two images to one assignment")
    return binding


def _other_format(content: bytes) -> str:
    """Why it is none of ours; a later format says so itself."""
    try:
        told = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "is no binding of pathquorum"
    told = told if isinstance(told, dict) else {}
    if told.get("kind") == "adjudication":
        return "is that of an adjudicator's project, which `pathquorum adjudicate collect` reads"
    number = told.get("format")
    if isinstance(number, int) and not isinstance(number, bool) and number > FORMAT:
        return f"has the format {number}, this version knows {FORMAT}"
    return "is no binding of pathquorum"


def _refused(project: Path, why: str) -> SourceError:
    place = f"{project.parent.name}/{BINDING_NAME}"
    return SourceError(
        f"{place} {why}; bring it back from where the project was handed out, or move it away and "
        "pull with --annotator, --protocol and --slide",
        file=place,
    )
