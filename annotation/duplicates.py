"""UUIDs that stand more than once in one source."""

from __future__ import annotations

__all__ = ["SeenObjects"]


class SeenObjects:
    """The objects of a source that have gone by."""

    def __init__(self) -> None:
        self._content_of: dict[str, bytes] = {}

    def fault(self, uuid: str | None, content: bytes) -> str | None:
        """Why this object is a duplicate, if it is one; otherwise it is remembered.

        Parameters
        ----------
        content
            The digest of the object; empty where it couldn't be read.
        """
        if uuid is None:
            return None
        earlier = self._content_of.get(uuid)
        if earlier is None:
            self._content_of[uuid] = content
            return None
        same = bool(content) and earlier == content
        return "duplicate (same content)" if same else "duplicate (other content)"
