"""A run's metrics for Prometheus, through its own client library.

Slides are not named: what is scraped is shown to many.

References
----------
https://prometheus.github.io/client_python/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotation.errors import InputError
from models.extras import needs
from models.prediction.run_history import QueueSample
from models.prediction.worker_messages import SlideEnded

__all__ = ["RunMetrics"]

_SLIDE_S = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
_HERE = "127.0.0.1"


class RunMetrics:
    """The metrics of one run.

    Parameters
    ----------
    file
        For the textfile collector of node_exporter, written anew each time.
    port
        Where they are served to this machine.

    Raises
    ------
    InputError
        The port is taken.
    """

    def __init__(self, run: str, *, file: Path | None = None, port: int | None = None) -> None:
        client = needs("prometheus_client", "models")
        self._registry = client.CollectorRegistry()
        self._write = client.write_to_textfile
        self._file = file

        def gauge(name: str, text: str, *labels: str) -> Any:
            made = client.Gauge(
                f"pathquorum_predict_{name}", text, ["run", *labels], registry=self._registry
            )
            return made if labels else made.labels(run)

        self._run = run
        self._slides = gauge("slides", "Slides of the run, by their state.", "state")
        self._workers = gauge("workers", "Worker processes.")
        self._memory = gauge("worker_memory_bytes", "Resident memory of the largest worker.")
        self._queue = gauge("queue_depth", "What waits in a queue.", "queue")
        self._confidence = gauge("confidence", "Median largest probability of the last slides.")
        self._looked = gauge("looked_timestamp_seconds", "When the run was last looked at.")
        self._replaced = client.Counter(
            "pathquorum_predict_workers_replaced",
            "Workers that died, hung or grew.",
            ["run"],
            registry=self._registry,
        ).labels(run)
        self._tiles = client.Counter(
            "pathquorum_predict_tiles",
            "Tiles of slides that are done.",
            ["run"],
            registry=self._registry,
        ).labels(run)
        self._attempts = client.Histogram(
            "pathquorum_predict_attempt_seconds",
            "Time that an attempt at a slide took.",
            ["run", "state"],
            buckets=_SLIDE_S,
            registry=self._registry,
        )
        if port is not None:
            try:
                client.start_http_server(port, addr=_HERE, registry=self._registry)
            except OSError as error:
                raise InputError(
                    f"port {port} can't be served ({error.strerror}); take another "
                    "--prometheus-port",
                    port=port,
                ) from error

    def looked(
        self,
        counts: Mapping[str, int],
        sample: QueueSample,
        workers: int,
        confidence: float | None,
    ) -> None:
        """Take what a look at the run has shown."""
        for state, number in counts.items():
            self._slides.labels(self._run, state).set(number)
        for queue, depth in (
            ("slides_waiting", sample.waiting),
            ("slides_in_hand", sample.in_hand),
            ("tiles_ahead", sample.ahead),
            ("slides_to_write", sample.to_write),
        ):
            self._queue.labels(self._run, queue).set(depth)
        self._workers.set(workers)
        self._memory.set(sample.memory_bytes)
        self._looked.set(sample.at.timestamp())
        if confidence is not None:
            self._confidence.set(confidence)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._write(str(self._file), self._registry)

    def ended(self, slide: SlideEnded) -> None:
        """Count an attempt."""
        self._tiles.inc(slide.tiles)
        self._attempts.labels(self._run, slide.state).observe(slide.elapsed_s)

    def replaced(self) -> None:
        """Count a worker that was replaced."""
        self._replaced.inc()
