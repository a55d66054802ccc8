"""What a supervisor, of processes or of a cluster, tells of a run while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.prediction.worker_messages import Beat, SlideEnded

__all__ = ["SeenWorker", "Watch"]


@dataclass(frozen=True)
class SeenWorker:
    """A worker as its supervisor sees it.

    Attributes
    ----------
    label
        The number of a process, or an address.
    beat
        The last sign of life; None before the first.
    memory_bytes
        Resident.
    """

    label: str
    beat: Beat | None
    memory_bytes: int


class Watch:
    """Told of a run; this one tells nobody."""

    def looked(self, counts: Mapping[str, int], workers: Sequence[SeenWorker]) -> None:
        """The store was looked at, about once a second; slides by their state."""

    def ended(self, slide: SlideEnded) -> None:
        """An attempt at a slide ended."""

    def replaced(self, why: str) -> None:
        """A worker is replaced, for a reason of a few words."""
