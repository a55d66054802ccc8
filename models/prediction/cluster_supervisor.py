"""The supervisor of a cluster: one task a worker at a time, and the end of each worker seen to."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import CancelledError
from itertools import count
from typing import Any

import msgspec
from distributed import wait

from annotation.logs import log
from models.errors import PredictionError, PredictionStoppedError
from models.prediction.claims import CLAIMED, WAITING, Claims
from models.prediction.cluster import client_of
from models.prediction.cluster_plan import ClusterPlan
from models.prediction.cluster_worker import TOPIC, PredictPlugin, predict_one, stop_worker
from models.prediction.watching import SeenWorker, Watch
from models.prediction.work_order import WorkOrder
from models.prediction.worker_messages import Beat, Fault, SlideEnded, log_ended
from models.prediction.worker_names import WorkerName
from models.prediction.workers import Limits
from models.training.stopping import Stop

__all__ = ["supervise_cluster"]

_POLL_S = 0.5
_GRACE_S = 20.0
_RESULT_S = 10.0
_NEARLY_FULL = 0.9
_NOBODY_S = 600.0
"""For so long no worker may come."""
_decoder = msgspec.json.Decoder(list[SlideEnded | Fault])


def supervise_cluster(
    order: WorkOrder, claims: Claims, plan: ClusterPlan, limits: Limits, watch: Watch, stop: Stop
) -> None:
    """Work on a cluster until every slide of the run is done or has failed.

    Raises
    ------
    PredictionStoppedError
        A signal came; slides in hand were given back.
    PredictionError
        Nothing can be predicted, or no worker comes.
    """
    with client_of(plan, memory_bytes=limits.memory_bytes) as client:
        client.register_plugin(PredictPlugin(order, limits))
        supervisor = _ClusterSupervisor(client, order, claims, limits, watch)
        client.subscribe_topic(TOPIC, supervisor.heard)
        try:
            supervisor.run(stop)
        finally:
            supervisor.end()


class _ClusterSupervisor:
    def __init__(
        self, client: Any, order: WorkOrder, claims: Claims, limits: Limits, watch: Watch
    ) -> None:
        self._client, self._order, self._claims = client, order, claims
        self._limits, self._watch = limits, watch
        self._numbers = count()
        self._tasks: dict[str, Any] = {}
        self._beats: dict[str, Beat] = {}
        self._memory_bytes: dict[str, int] = {}

    def heard(self, event: tuple[float, dict[str, str]]) -> None:
        """Take a beat of a worker; called by Dask in a thread of its own."""
        _, told = event
        self._beats[told["address"]] = msgspec.json.decode(told["beat"], type=Beat)

    def run(self, stop: Stop) -> None:
        alone_since_s = time.monotonic()
        while True:
            if stop:
                raise PredictionStoppedError(
                    f"{stop.signal} came: the run stands in {self._order.folder} and goes on when "
                    "the same command is run again",
                    signal=stop.signal,
                    folder=self._order.folder,
                )
            workers = self._workers()
            self._clear_away(workers)
            self._claims.reap(self._order.session)
            counts = self._claims.counts()
            self._watch.looked(counts, [self._seen(address) for address in sorted(workers)])
            if not counts[WAITING] + counts[CLAIMED]:
                return
            if workers:
                alone_since_s = time.monotonic()
            elif time.monotonic() - alone_since_s > _NOBODY_S:
                raise PredictionError(
                    f"no worker has come to the cluster for {_NOBODY_S:g} s; look at its queue and "
                    "the logs of its jobs"
                )
            self._hand_out(workers, counts[WAITING])
            self._look_after(workers)
            self._wait()

    def end(self) -> None:
        """Ask all workers to give back what they have in hand, and wait a little."""
        with contextlib.suppress(OSError, TimeoutError):
            self._client.run(stop_worker, on_error="ignore")
        deadline_s = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline_s and not all(t.done() for t in self._tasks.values()):
            time.sleep(_POLL_S / 5)

    def _wait(self) -> None:
        """A moment, or until a task ends."""
        if not self._tasks:
            time.sleep(_POLL_S)
            return
        with contextlib.suppress(TimeoutError, CancelledError):
            finished: Any = wait  # it bears no types
            finished(list(self._tasks.values()), timeout=_POLL_S, return_when="FIRST_COMPLETED")

    def _workers(self) -> set[str]:
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        self._memory_bytes = {
            address: int(facts.get("metrics", {}).get("memory", 0))
            for address, facts in found.items()
        }
        return set(found)

    def _seen(self, address: str) -> SeenWorker:
        return SeenWorker(address, self._beats.get(address), self._memory_bytes.get(address, 0))

    def _hand_out(self, workers: set[str], waiting: int) -> None:
        """One task to each worker that has none; slides are claimed there, so none is named."""
        idle = sorted(workers - self._tasks.keys())
        for address in idle[:waiting]:
            self._tasks[address] = self._client.submit(
                predict_one,
                self._order.session,
                next(self._numbers),
                pure=False,
                workers=[address],
                allow_other_workers=False,
                retries=0,
            )

    def _clear_away(self, workers: set[str]) -> None:
        """Take the results of tasks that ended, and what workers that are gone had in hand."""
        for address, task in list(self._tasks.items()):
            if address not in workers:
                task.cancel(force=True)
                self._gone(address, "its worker was lost")
            elif task.status == "finished":
                try:
                    said = task.result(timeout=_RESULT_S)
                except Exception as error:  # noqa: BLE001 - what it said went with its worker
                    self._gone(address, f"its worker was lost ({type(error).__name__})")
                    continue
                del self._tasks[address]
                for message in _decoder.decode(said):
                    if isinstance(message, Fault):
                        raise PredictionError(message.error)
                    log_ended(message)
                    self._watch.ended(message)
            elif task.done():  # it was lost with its worker, or Dask failed
                self._gone(address, f"its worker was lost ({task.status})")
        for address in self._beats.keys() - workers:
            self._beats.pop(address, None)

    def _gone(self, address: str, reason: str) -> None:
        self._tasks.pop(address, None)
        beat = self._beats.pop(address, None)
        name = None if beat is None else WorkerName.parse(beat.worker)
        held = [] if name is None else self._claims.lost(name, reason)
        self._watch.replaced(reason)
        log.warning("worker replaced", reason=reason, slides=held, worker=address)

    def _look_after(self, workers: set[str]) -> None:
        """Have Dask restart what shows no progress, or has grown and is between two slides."""
        for address in workers:
            beat = self._beats.get(address)
            silent_s = 0.0 if beat is None or address not in self._tasks else beat.silent_s
            memory_bytes = self._memory_bytes.get(address, 0)
            if silent_s > self._limits.stalled_s:
                reason = f"its worker gave no sign of progress for {self._limits.stalled_s:g} s"
            elif (
                memory_bytes > _NEARLY_FULL * self._limits.memory_bytes
                and address not in self._tasks
                and beat is not None
                and beat.tiles
            ):
                reason = f"its worker grew to {memory_bytes / 1e9:.2f} GB"
            else:
                continue
            try:
                self._client.restart_workers([address], timeout=_GRACE_S, raise_for_error=False)
            except (OSError, ValueError) as error:  # it has no nanny to restart it
                log.warning("worker can't be restarted", worker=address, error=str(error))
                continue
            self._gone(address, reason)
