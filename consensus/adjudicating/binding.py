"""``pathquorum.json`` beside an adjudicator's project: which run it is of, and which object is which dispute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from annotation.errors import SourceError

__all__ = ["BINDING_NAME", "AdjudicationBinding", "read_binding"]

BINDING_NAME: Final = "pathquorum.json"
FORMAT: Final = 1
_LARGEST_BYTES = 64_000_000

Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
StudyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
EntryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}\Z")]
Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]


class AdjudicationBinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file holds.

    ``slides`` is the slide's number in the store by the image's id in the project, ``disputes`` the
    dispute of each object by UUID.
    """

    format: int
    kind: Literal["adjudication"]
    study: StudyId
    run: Number
    slides: dict[EntryId, Number]
    disputes: dict[Uuid, Number]

    def to_bytes(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def read_binding(project: Path) -> AdjudicationBinding:
    """Read the file beside a ``project.qpproj``; it comes from outside, and is checked like that.

    Raises
    ------
    SourceError
        It is missing, too large, or something else.
    """
    path = project.with_name(BINDING_NAME)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"can't be read ({error.strerror})") from error
    if len(content) > _LARGEST_BYTES:
        raise _refused(path, f"is larger than {_LARGEST_BYTES // 1_000_000} MB")
    try:
        binding = msgspec.json.decode(content, type=AdjudicationBinding)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(path, "is no adjudication of pathquorum's") from None
    if binding.format != FORMAT:
        raise _refused(path, f"has the format {binding.format}, this version knows {FORMAT}")
    if len(set(binding.disputes.values())) < len(binding.disputes):
        raise _refused(path, "binds two objects to one dispute")
    return binding


def _refused(path: Path, why: str) -> SourceError:
    return SourceError(
        f"{path} {why}; name the folder that `pathquorum adjudicate open` made, or open one anew",
        file=path,
    )
