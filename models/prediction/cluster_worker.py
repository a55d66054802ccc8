"""What runs on a Dask worker: one slide a task, with models that are loaded once a process.

The plugin carries the order to every worker, also to those that join later. Claims stand in the
store, so that whatever Dask does with tasks no slide is done twice.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack

import msgspec
from distributed import Worker, WorkerPlugin, get_worker

from annotation.errors import PathquorumError
from annotation.logs import configured
from annotation.terminal import one_line
from models.prediction.slide_work import Ended, Pulse, SlideWork, StoppedError, opened
from models.prediction.work_order import WorkOrder
from models.prediction.worker_messages import Beat, Fault, SlideEnded
from models.prediction.workers import Limits
from models.reading.ahead import tiles_ahead

__all__ = ["PLUGIN", "TOPIC", "PredictPlugin", "predict_one", "stop_worker"]

PLUGIN = "pathquorum-predict"
TOPIC = "pathquorum-predict"
"""Under which workers tell how far they are."""
_BEAT_S = 1.0


class PredictPlugin(WorkerPlugin):
    """The work of one process of a cluster; Dask keeps it in the worker.

    Parameters
    ----------
    order, limits
        As a worker process of one machine has them.
    """

    name = PLUGIN

    def __init__(self, order: WorkOrder, limits: Limits) -> None:
        self._order, self._limits = order, limits

    def setup(self, worker: Worker) -> None:
        """Begin to tell how this worker is; models are loaded with the first slide."""
        self._worker = worker
        self.pulse = Pulse()
        self._slides: SlideWork | None = None
        self._open = ExitStack()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def teardown(self, worker: Worker) -> None:
        """Close the store."""
        self._ended.set()
        self.pulse.stop = True
        self._open.close()

    def predict_one(self) -> list[SlideEnded | Fault]:
        """Claim a slide, predict it and write it; what became of it, nothing where none waits."""
        with configured(as_json=self._order.log_json):
            try:
                slides = self._opened()
                claim = slides.take()
                if claim is None:
                    return []
                found = slides.predict(claim)
                ended = found if isinstance(found, Ended) else slides.keep(claim, found)
            except StoppedError:
                return []
            except (PathquorumError, OSError) as error:
                return [Fault(one_line(str(error)))]
            finally:
                self.pulse.enter("idle")
        return [
            SlideEnded(
                ended.slide,
                ended.state,
                ended.attempt,
                ended.elapsed_s,
                ended.tiles,
                ended.reason,
            )
        ]

    def _opened(self) -> SlideWork:
        if self._slides is None:
            slides = self._open.enter_context(opened(self._order, self.pulse))
            self._open.enter_context(slides.renewing(self._limits.stalled_s))
            self._slides = slides
        return self._slides

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            pulse = self.pulse
            beat = Beat(
                worker="" if self._slides is None else str(self._slides.name),
                phase=pulse.phase,
                slide=pulse.slide,
                done=pulse.done,
                total=pulse.total,
                tiles=pulse.tiles,
                ahead=tiles_ahead(),
                to_write=0,
                silent_s=0.0 if pulse.phase in ("idle", "starting") else pulse.silent_s,
            )
            told = {"address": self._worker.address, "beat": msgspec.json.encode(beat).decode()}
            self._worker.loop.add_callback(self._worker.log_event, TOPIC, told)


def _plugin(worker: Worker) -> PredictPlugin:
    found = worker.plugins[PLUGIN]
    if not isinstance(found, PredictPlugin):
        raise TypeError(f"the plugin {PLUGIN} is not ours")
    return found


def predict_one(session: str, number: int) -> bytes:
    """The task: one slide of this worker's order.

    Parameters
    ----------
    session, number
        Of the supervisor and the task; they only tell tasks apart.
    """
    return msgspec.json.encode(_plugin(get_worker()).predict_one())


def stop_worker(dask_worker: Worker) -> None:
    """Give back the slide in hand, and take no other."""
    if PLUGIN in dask_worker.plugins:
        _plugin(dask_worker).pulse.stop = True
