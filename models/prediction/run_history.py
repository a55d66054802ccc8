"""How a run has gone so far: what is kept in the store, read as it grows, and what was seen of queues."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from annotation.store import Store
from consensus.tables import PredictedSlide
from models.prediction.claims import DONE, FAILED

__all__ = ["Binned", "QueueSample", "RunHistory", "binned_confidence", "slides_per_hour"]

_OVERLAP = timedelta(minutes=5)
"""Rows that other machines wrote may come to stand after later ones."""
_MOST_SAMPLES = 2_880
_BINS = 60


@dataclass(frozen=True)
class QueueSample:
    """How full everything was at a moment.

    Attributes
    ----------
    waiting, in_hand
        Slides of the run.
    ahead, to_write
        Tiles read and not predicted, slides predicted and not written, over all workers.
    memory_bytes
        The largest of the workers.
    """

    at: datetime
    waiting: int
    in_hand: int
    ahead: int
    to_write: int
    memory_bytes: int


@dataclass(frozen=True)
class Binned:
    """A figure over time, in bins that hold as many slides each.

    Attributes
    ----------
    at
        Of the middle of each bin.
    low, middle, high
        The 10th, 50th and 90th percentile.
    """

    at: list[datetime]
    low: list[float]
    middle: list[float]
    high: list[float]


@dataclass
class RunHistory:
    """The slides of a run that ended, in the order in which they did, and samples of the queues.

    A slide takes about 200 bytes. Of the queues the last samples are kept: at two a minute, a day.
    """

    store: Store
    run_id: int
    samples: deque[QueueSample] = field(default_factory=lambda: deque(maxlen=_MOST_SAMPLES))
    _ended: dict[int, tuple[float, float]] = field(default_factory=dict)
    _latest: datetime | None = None

    def read(self) -> None:
        """Take in the slides that ended since it was last called."""
        query = select(PredictedSlide.id, PredictedSlide.finished_at, PredictedSlide.result).where(
            PredictedSlide.run_id == self.run_id, PredictedSlide.state.in_((DONE, FAILED))
        )
        if self._latest is not None:
            query = query.where(PredictedSlide.finished_at >= self._latest - _OVERLAP)
        with self.store.reading() as session:
            for key, at, result in session.execute(query.execution_options(yield_per=1000)):
                confidence = np.nan if result is None else result.get("max_probability", np.nan)
                self._ended[key] = at.timestamp(), float(confidence)
                if self._latest is None or at > self._latest:
                    self._latest = at

    def ended_s(self) -> NDArray[np.float64]:
        """When slides ended, in seconds since 1970, ascending."""
        return np.sort(np.array([at for at, _ in self._ended.values()], dtype=np.float64))

    def confidences(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """When slides were done, ascending, and the largest probability of each."""
        rows = np.array(list(self._ended.values()), dtype=np.float64).reshape(-1, 2)
        rows = rows[np.isfinite(rows[:, 1])]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        return rows[:, 0], rows[:, 1]


def slides_per_hour(
    ended_s: NDArray[np.float64],
) -> tuple[list[datetime], list[float]]:
    """How many slides ended in an hour, in bins of equal length between the first and the last."""
    if len(ended_s) < 2 or ended_s[-1] == ended_s[0]:
        return [], []
    counts, edges = np.histogram(ended_s, bins=min(_BINS, 1 + len(ended_s) // 5))
    hours = np.diff(edges) / 3600
    return [_moment(at) for at in (edges[:-1] + edges[1:]) / 2], (counts / hours).tolist()


def binned_confidence(at_s: NDArray[np.float64], confidence: NDArray[np.float64]) -> Binned:
    """The largest probability of slides over the time at which they were done."""
    made = Binned([], [], [], [])
    for rows in np.array_split(np.arange(len(at_s)), min(_BINS, max(1, len(at_s) // 5))):
        if len(rows):
            made.at.append(_moment(float(at_s[rows].mean())))
            low, middle, high = np.percentile(confidence[rows], [10, 50, 90]).tolist()
            made.low.append(low)
            made.middle.append(middle)
            made.high.append(high)
    return made


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
