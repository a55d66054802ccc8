"""The supervisor of worker processes: it starts them, watches them, and replaces those that fail.

Workers begin in a process of their own (:mod:`models.prediction.starting`), so that they share no
open database, slide or GPU with anybody.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from annotation.logs import log
from models.errors import PredictionError, PredictionStoppedError
from models.extras import needs
from models.prediction.claims import CLAIMED, WAITING, Claims
from models.prediction.slide_work import PREDICTING
from models.prediction.starting import starting
from models.prediction.watching import SeenWorker, Watch
from models.prediction.work_order import WorkOrder
from models.prediction.worker_messages import (
    STOP,
    Beat,
    Fault,
    Leaving,
    Message,
    SlideEnded,
    log_ended,
    receive,
)
from models.prediction.worker_names import WorkerName
from models.prediction.workers import Limits, work
from models.training.stopping import Stop

__all__ = ["supervise"]

_POLL_S = 0.2
_CLAIMS_S = 1.0
"""Between two looks at the store."""
_START_S = 300.0
"""For loading packages and models, where nothing tells how far it is."""
_GRACE_S = 20.0
"""For workers that were told to stop."""
_STILLBORN = 3
"""Workers that die one after the other before they are ready."""
_STARTING = "starting"
_TOLD = "it was told to stop"


@dataclass
class _WorkerState:
    """A worker as its supervisor sees it.

    Attributes
    ----------
    beat
        The last sign of life, and when it came.
    rss_bytes
        Resident memory.
    """

    process: BaseProcess
    pipe: Connection
    beat: Beat | None = None
    heard_s: float = field(default_factory=time.monotonic)
    rss_bytes: int = 0
    ready: bool = False
    ending: str = ""

    @property
    def name(self) -> WorkerName | None:
        """Under which it holds claims, once it is known."""
        return None if self.beat is None else WorkerName.parse(self.beat.worker)

    def blamed(self) -> tuple[str, ...] | None:
        """The slide that it was predicting; None where it did something else."""
        if self.beat is None or self.beat.phase != PREDICTING:
            return None
        return (self.beat.slide,)

    def seen(self) -> SeenWorker:
        """As others are told of it."""
        return SeenWorker(str(self.process.pid), self.beat, self.rss_bytes)


def supervise(
    order: WorkOrder, claims: Claims, workers: int, limits: Limits, watch: Watch, stop: Stop
) -> None:
    """Work until every slide of the run is done or has failed.

    Parameters
    ----------
    workers
        How many at a time.
    limits
        At which one is replaced.

    Raises
    ------
    PredictionStoppedError
        A signal came; slides in hand were given back.
    PredictionError
        Nothing can be predicted, or workers die before they begin.
    """
    supervisor = _Supervisor(order, claims, workers, limits, watch, stop)
    try:
        supervisor.run()
    finally:
        supervisor.end()


class _Supervisor:
    def __init__(
        self,
        order: WorkOrder,
        claims: Claims,
        most: int,
        limits: Limits,
        watch: Watch,
        stop: Stop,
    ) -> None:
        self._order, self._claims, self._watch, self._stop = order, claims, watch, stop
        self._most, self._limits = most, limits
        self._starting = starting()
        self._workers: list[_WorkerState] = []
        self._stillborn = 0
        self._fault = ""
        self._psutil = needs("psutil", "models")

    def run(self) -> None:
        looked_s = float("-inf")
        while True:
            if self._stop:
                raise PredictionStoppedError(
                    f"{self._stop.signal} came: the run stands in {self._order.folder} and goes on when "
                    "the same command is run again",
                    signal=self._stop.signal,
                    folder=self._order.folder,
                )
            if time.monotonic() - looked_s >= _CLAIMS_S:
                looked_s = time.monotonic()
                self._claims.reap(self._order.session, seen_to=self._names())
                counts = self._claims.counts()
                self._watch.looked(counts, [worker.seen() for worker in self._workers])
                if not counts[WAITING] + counts[CLAIMED]:
                    return
                self._fill(counts[WAITING] + counts[CLAIMED])
            self._listen()
            if self._fault:
                raise PredictionError(self._fault)
            self._look_after()

    def end(self) -> None:
        """Ask all workers to stop, wait, and kill those that don't."""
        for worker in self._workers:
            worker.ending = worker.ending or _TOLD
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(STOP)
        deadline_s = time.monotonic() + _GRACE_S
        while self._workers and time.monotonic() < deadline_s:
            for worker in self._hear():
                self._gone(worker)
        for worker in list(self._workers):
            worker.process.kill()
            self._gone(worker)

    def _names(self) -> set[str]:
        return {str(worker.name) for worker in self._workers if worker.name is not None}

    def _fill(self, open_slides: int) -> None:
        """Start workers, so many as can have something to do."""
        for _ in range(min(self._most, open_slides) - len(self._workers)):
            here, there = self._starting.Pipe()
            process = self._starting.Process(
                target=work, args=(self._order, self._limits, there), name="predict", daemon=True
            )
            process.start()
            there.close()
            self._workers.append(_WorkerState(process, here))

    def _listen(self) -> None:
        for worker in self._hear():
            reason = self._gone(worker)
            if worker.ready:
                self._stillborn = 0
            else:
                self._stillborn += 1
                if self._stillborn >= _STILLBORN:
                    raise PredictionError(
                        f"{_STILLBORN} workers died one after the other before they could begin: "
                        f"{reason}; what they said stands above"
                    )

    def _hear(self) -> list[_WorkerState]:
        """Take what came from the workers; those that have ended."""
        by_handle: dict[Any, _WorkerState] = {}
        for worker in self._workers:
            by_handle[worker.pipe] = by_handle[worker.process.sentinel] = worker
        ended = []
        for handle in wait(list(by_handle), timeout=_POLL_S):
            worker = by_handle[handle]
            if worker not in ended and not self._drain(worker):
                ended.append(worker)
        return ended

    def _drain(self, worker: _WorkerState) -> bool:
        """Take all that a worker has sent; whether it is still there."""
        try:
            while worker.pipe.poll():
                self._take(worker, receive(worker.pipe))
        except (EOFError, OSError):
            return False
        return worker.process.is_alive()

    def _take(self, worker: _WorkerState, message: Message) -> None:
        worker.heard_s = time.monotonic()
        match message:
            case Beat():
                worker.beat = message
                worker.ready = worker.ready or message.phase != _STARTING
            case SlideEnded():
                log_ended(message)
                self._watch.ended(message)
            case Leaving():
                worker.ending = message.reason
            case Fault():
                self._fault = message.error

    def _gone(self, worker: _WorkerState) -> str:
        """Clear away after a worker that has ended; why it did."""
        self._workers.remove(worker)
        worker.process.join(_GRACE_S)
        code = worker.process.exitcode
        reason = worker.ending or (
            f"its worker died (signal {-code})"
            if code is not None and code < 0
            else f"its worker died (status {code})"
        )
        name = worker.name
        # A signal to the whole group may end a worker before it is told to stop.
        told = worker.ending == _TOLD or bool(self._stop)
        held = []
        if name is not None:
            name.end()  # where the server is gone that it was forked from, its end is not seen
            blamed = () if told else worker.blamed()
            held = self._claims.lost(name, reason, blamed=blamed)
        if not told:
            self._watch.replaced(reason)
            log.warning("worker replaced", reason=reason, slides=held, pid=worker.process.pid)
        worker.pipe.close()
        worker.process.close()
        return reason

    def _look_after(self) -> None:
        """Kill what has grown, and what shows no sign of life."""
        for worker in self._workers:
            try:
                worker.rss_bytes = int(self._psutil.Process(worker.process.pid).memory_info().rss)
            except self._psutil.Error:
                continue  # it has just ended
            silent_s = time.monotonic() - worker.heard_s
            if worker.beat is not None:
                silent_s += worker.beat.silent_s
            if worker.rss_bytes > self._limits.memory_bytes:
                worker.ending = (
                    f"its worker grew over {self._limits.memory_bytes / 1e9:.2f} GB and was ended"
                )
            elif silent_s > (longest_s := self._longest_s(worker)):
                worker.ending = (
                    f"its worker gave no sign of progress for {longest_s:g} s and was ended"
                )
            else:
                continue
            worker.process.kill()

    def _longest_s(self, worker: _WorkerState) -> float:
        """For how long a worker may be silent."""
        stalled_s = self._limits.stalled_s
        return stalled_s if worker.ready else max(stalled_s, _START_S)
