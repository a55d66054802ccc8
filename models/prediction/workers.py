"""A worker process: threads that read tiles, the model, and a thread that writes, with queues between.

The queues are bounded: tiles read ahead (:mod:`models.reading.ahead`), and one slide that waits to
be written while the next is predicted. A worker whose supervisor is gone ends at once.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from annotation.errors import PathquorumError
from annotation.logs import configured
from annotation.terminal import one_line
from models.extras import needs
from models.prediction.claims import Claim
from models.prediction.slide_work import PREDICTING, Ended, Pulse, SlideWork, StoppedError, opened
from models.prediction.work_order import WorkOrder
from models.prediction.worker_messages import STOP, Beat, Fault, Leaving, SlideEnded, send
from models.reading.ahead import tiles_ahead

if TYPE_CHECKING:
    from models.prediction.predictor import Predicted

__all__ = ["BEAT_S", "Limits", "work"]

BEAT_S = 0.5
_IDLE_S = 0.5
_NEARLY_FULL = 0.9
"""A worker that has so much of its memory leaves between two slides, before it must be killed."""
_TO_WRITE = 1
"""Slides that wait to be written."""
_ORPHANED = 70


class Limits:
    """What a worker may take.

    Parameters
    ----------
    memory_bytes
        Resident memory, at which it is replaced.
    stalled_s
        For so long nothing may go on.
    """

    def __init__(self, memory_bytes: int, stalled_s: float) -> None:
        self.memory_bytes, self.stalled_s = memory_bytes, stalled_s


def work(order: WorkOrder, limits: Limits, pipe: Connection) -> None:
    """Work until somebody says stop: what a worker process runs."""
    # Signals of a terminal or a scheduler reach the whole group; the supervisor decides.
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    pulse = Pulse()
    line = _Line(pipe, pulse)
    with configured(as_json=order.log_json):
        try:
            with opened(order, pulse) as slides:
                _Worker(slides, line, limits).run()
        except StoppedError:
            pass  # the supervisor said so, and knows
        except (PathquorumError, OSError) as error:
            line.tell(Fault(one_line(str(error))))


class _Line:
    """The connection to the supervisor: beats go out, and its word or its end comes in."""

    def __init__(self, pipe: Connection, pulse: Pulse) -> None:
        self._pipe, self._pulse = pipe, pulse
        self._sending = threading.Lock()
        self.name = ""
        self.to_write: queue.Queue[tuple[Claim, Predicted] | None] = queue.Queue(_TO_WRITE)
        threading.Thread(target=self._listen, name="beat", daemon=True).start()

    def tell(self, message: Beat | SlideEnded | Leaving | Fault) -> None:
        """Send a message; without a supervisor there is nothing left to do."""
        try:
            with self._sending:
                send(self._pipe, message)
        except OSError:
            os._exit(_ORPHANED)

    def beat(self) -> None:
        """Tell how far this worker is."""
        pulse = self._pulse
        self.tell(
            Beat(
                worker=self.name,
                phase=pulse.phase,
                slide=pulse.slide,
                done=pulse.done,
                total=pulse.total,
                tiles=pulse.tiles,
                ahead=tiles_ahead(),
                to_write=self.to_write.qsize(),
                silent_s=pulse.silent_s,
            )
        )

    def _listen(self) -> None:
        while True:
            self.beat()
            try:
                if self._pipe.poll(BEAT_S) and self._pipe.recv_bytes() == STOP:
                    self._pulse.stop = True
            except (EOFError, OSError):
                os._exit(_ORPHANED)


class _Worker:
    """Takes slides until it is told to stop, has grown, or is not whole any more."""

    def __init__(self, slides: SlideWork, line: _Line, limits: Limits) -> None:
        self._slides, self._line, self._limits = slides, line, limits
        self._queue = line.to_write
        self._fault: BaseException | None = None
        self._process = needs("psutil", "models").Process()
        line.name = str(slides.name)

    def run(self) -> None:
        """Work.

        Raises
        ------
        PathquorumError, OSError
            Nothing can be predicted, or nothing written.
        """
        writer = threading.Thread(target=self._write, name="writer")
        with self._slides.renewing(self._limits.stalled_s):
            writer.start()
            try:
                leaving = self._take_slides()
            finally:
                self._queue.put(None)
                writer.join()
        if self._fault is not None:
            raise self._fault
        if leaving:
            self._line.tell(Leaving(leaving))

    def _take_slides(self) -> str:
        """Predict slide by slide; why the worker leaves, empty where it was told to."""
        slides, pulse = self._slides, self._slides.pulse
        while not pulse.stop and self._fault is None:
            memory_bytes = int(self._process.memory_info().rss)
            if memory_bytes > _NEARLY_FULL * self._limits.memory_bytes and pulse.tiles:
                return f"it grew to {memory_bytes / 1e9:.2f} GB"
            claim = slides.take()
            if claim is None:
                threading.Event().wait(_IDLE_S)
                continue
            # Told before it begins: should this be the worker's end, it is known which slide it was.
            pulse.enter(PREDICTING, claim.image.name)
            self._line.beat()
            found = slides.predict(claim)
            if isinstance(found, Ended):
                self._ended(found)
                if found.broken:
                    return f"slide {found.slide!r} ended in an unknown error"
                continue
            pulse.enter("waiting to write", claim.image.name)
            self._queue.put((claim, found))
        return ""

    def _write(self) -> None:
        while (waiting := self._queue.get()) is not None:
            claim, predicted = waiting
            if self._fault is not None:
                self._slides.give_back(claim)
                continue
            try:
                self._ended(self._slides.keep(claim, predicted))
            except BaseException as error:  # noqa: BLE001 - the other thread raises it
                self._fault = error
            self._slides.pulse.sign()

    def _ended(self, ended: Ended) -> None:
        self._line.tell(
            SlideEnded(
                ended.slide,
                ended.state,
                ended.attempt,
                ended.elapsed_s,
                ended.tiles,
                ended.reason,
            )
        )
