"""What a run tells while it goes on: a page in its folder, metrics, and lines for whoever waits."""

from __future__ import annotations

import base64
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from annotation.paths import replacing
from annotation.store import SOFTWARE_VERSION, now
from annotation.terminal import counted
from consensus.reporting.numbers import moment_text
from consensus.reporting.page import page_environment
from models.prediction.claims import CLAIMED, DONE, FAILED, WAITING, Claims
from models.prediction.run import BegunRun
from models.prediction.run_history import QueueSample, RunHistory
from models.prediction.run_metrics import RunMetrics
from models.prediction.run_pictures import (
    draw_confidence,
    draw_memory,
    draw_queues,
    draw_throughput,
)
from models.prediction.watching import SeenWorker, Watch
from models.prediction.worker_messages import SlideEnded

__all__ = ["PAGE", "RunWatch"]

PAGE = "run.html"
_PAGE_S = 15.0
_SAMPLE_S = 30.0
_TOLD_S = 30.0
_METRICS_S = 5.0
_LAST = 50
"""Slides whose median confidence is a metric, and failures that stand on the page."""


@dataclass(frozen=True)
class WorkerRow:
    """A worker, on the page."""

    label: str
    phase: str
    slide: str
    done: int
    total: int
    memory_bytes: int


class RunWatch(Watch):
    """Tells of one run.

    Parameters
    ----------
    title
        Models and settings, as pairs of a name and a text.
    say
        Told now and then how far it is.
    metrics
        Where somebody scrapes them.
    """

    def __init__(
        self,
        run: BegunRun,
        claims: Claims,
        history: RunHistory,
        *,
        title: list[tuple[str, str]],
        say: Callable[[str], None],
        metrics: RunMetrics | None = None,
    ) -> None:
        self._run, self._claims, self._history = run, claims, history
        self._title, self._say, self._metrics = title, say, metrics
        self._begun_at = now()
        self._drawn_s = self._sampled_s = self._measured_s = float("-inf")
        self._confidence: float | None = None
        self._told_s = time.monotonic()
        self._counts: Mapping[str, int] = {}
        self._workers: list[WorkerRow] = []
        self._replaced: Counter[str] = Counter()
        self._retried: deque[SlideEnded] = deque(maxlen=_LAST)
        self.done = self.tiles = 0

    def looked(self, counts: Mapping[str, int], workers: Sequence[SeenWorker]) -> None:
        """Draw the page anew, and tell the metrics."""
        self._counts = counts
        sample = _sample(counts, workers)
        self._workers = [_row(worker) for worker in workers]
        present_s = time.monotonic()
        if present_s - self._sampled_s >= _SAMPLE_S:
            self._sampled_s = present_s
            self._history.samples.append(sample)
        if present_s - self._drawn_s >= _PAGE_S:
            self.draw()
        if self._metrics is not None and present_s - self._measured_s >= _METRICS_S:
            self._measured_s = present_s
            self._metrics.looked(counts, sample, len(workers), self._confidence)
        if present_s - self._told_s >= _TOLD_S:
            self._told_s = present_s
            self._say(
                f"{counts[DONE]:,} of {counted(sum(counts.values()), 'slide')} done, "
                f"{counts[FAILED]:,} failed, {counts[CLAIMED]:,} in hand"
            )

    def ended(self, slide: SlideEnded) -> None:
        """Count a slide."""
        if slide.state == DONE:
            self.done += 1
            self.tiles += slide.tiles
        elif slide.reason:
            self._retried.append(slide)
        if self._metrics is not None:
            self._metrics.ended(slide)

    def replaced(self, why: str) -> None:
        """Count a worker that was replaced."""
        self._replaced[why] += 1
        if self._metrics is not None:
            self._metrics.replaced()

    @property
    def workers_replaced(self) -> int:
        """So far."""
        return self._replaced.total()

    def finished(self) -> None:
        """Draw the last page, which is not made anew."""
        self._counts = self._claims.counts()
        self._workers = []
        self.draw(last=True)
        if self._metrics is not None:
            self._metrics.looked(self._counts, _sample(self._counts, []), 0, self._confidence)

    def draw(self, *, last: bool = False) -> None:
        """Write the page."""
        self._drawn_s = time.monotonic()
        self._history.read()
        _, confidence = self._history.confidences()
        self._confidence = float(np.median(confidence[-_LAST:])) if len(confidence) else None
        elapsed_s = (now() - self._begun_at).total_seconds()
        page = page_environment(("models", "prediction")).get_template("run.html.jinja")
        rendered = page.render(
            run=self._run,
            title=self._title,
            counts=[(state, self._counts[state]) for state in (DONE, FAILED, CLAIMED, WAITING)],
            total=sum(self._counts.values()),
            workers=self._workers,
            replaced=self._replaced.most_common(_LAST),
            failures=self._claims.failures()[:_LAST],
            retried=list(self._retried)[::-1],
            figures=self._figures(),
            rate=None if elapsed_s <= 0 else 3600 * self.done / elapsed_s,
            tiles_per_s=None if elapsed_s <= 0 else self.tiles / elapsed_s,
            remaining=self._remaining(),
            begun=moment_text(self._begun_at),
            at=moment_text(now()),
            refresh=0 if last else int(_PAGE_S),
            software=f"pathquorum {SOFTWARE_VERSION}",
        )
        with replacing(self._run.folder / PAGE) as temporary:
            temporary.write_text(rendered, encoding="utf-8")

    def _figures(self) -> list[tuple[str, str, str]]:
        """Heading, caption and SVG of each picture; none of what has hardly begun."""
        samples, ended = list(self._history.samples), len(self._history.ended_s())
        drawn: list[tuple[str, str, bytes]] = []
        if ended > 1:
            drawn += [
                ("Throughput", "Slides that ended in an hour.", draw_throughput(self._history)),
                (
                    "Confidence",
                    "Largest probability of slides over the time at which they were done: median, "
                    "and the range that holds 80 % of them. A drop is a reason to look at the "
                    "slides.",
                    draw_confidence(self._history),
                ),
            ]
        if len(samples) > 1:
            drawn += [
                (
                    "Queues",
                    "What waits before and between the steps, since this start. Without tiles read "
                    "ahead the model waits for slides; add --threads or --workers.",
                    draw_queues(samples),
                ),
                (
                    "Memory",
                    "Resident memory of the largest worker, since this start.",
                    draw_memory(samples),
                ),
            ]
        return [(name, text, base64.b64encode(svg).decode()) for name, text, svg in drawn]

    def _remaining(self) -> str | None:
        """How long the rest will take at the pace since this start."""
        left = self._counts[WAITING] + self._counts[CLAIMED]
        elapsed_s = (now() - self._begun_at).total_seconds()
        if not left or not self.done or elapsed_s <= 0:
            return None
        minutes = round(left * elapsed_s / self.done / 60)
        return str(timedelta(minutes=minutes)).removesuffix(":00") + " h"

    def document(self) -> dict[str, Any]:
        """What the command says in the end."""
        counts = self._claims.counts()
        return {
            "run": self._run.id,
            "name": self._run.name,
            "to": str(self._run.folder),
            "slides": counts,
            "predicted_now": self.done,
            "workers_replaced": self.workers_replaced,
            "page": str(Path(self._run.folder) / PAGE),
        }


def _sample(counts: Mapping[str, int], workers: Sequence[SeenWorker]) -> QueueSample:
    beats = [worker.beat for worker in workers if worker.beat is not None]
    return QueueSample(
        at=now(),
        waiting=counts[WAITING],
        in_hand=counts[CLAIMED],
        ahead=sum(beat.ahead for beat in beats),
        to_write=sum(beat.to_write for beat in beats),
        memory_bytes=max((worker.memory_bytes for worker in workers), default=0),
    )


def _row(worker: SeenWorker) -> WorkerRow:
    beat = worker.beat
    return WorkerRow(
        worker.label,
        "starting" if beat is None else beat.phase,
        "" if beat is None else beat.slide,
        0 if beat is None else beat.done,
        0 if beat is None else beat.total,
        worker.memory_bytes,
    )
