"""One worker's slides: claimed, predicted, written, and said to be done."""

from __future__ import annotations

import hashlib
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.errors import PathquorumError, SlideError, StoreError
from annotation.logs import log
from annotation.paths import file_name, inside
from annotation.store import Store, open_store
from annotation.terminal import one_line
from models.errors import ModelFileError, TileError, TrainingError
from models.prediction.claims import DONE, Claim, Claims
from models.prediction.slide_file import write_slide_prediction
from models.prediction.work_order import Predicts, WorkOrder, refuse_other_version
from models.prediction.worker_names import WorkerName

if TYPE_CHECKING:
    from models.prediction.explaining import Explaining
    from models.prediction.predictor import Predicted

__all__ = [
    "LOST",
    "PREDICTING",
    "Ended",
    "Pulse",
    "SlideWork",
    "StoppedError",
    "opened",
    "regions_path",
    "slide_path",
]

SLIDES, REGIONS = "slides", "regions"
PREDICTING = "predicting"
"""The phase in which a slide may be the end of a worker."""
LOST = "lost"
"""What a slide is to a worker whose claim ran out."""

_OF_EVERY_SLIDE = (StoreError, ModelFileError, TrainingError)


def slide_path(folder: Path, slide: str) -> Path:
    """The prediction file of a slide in a run's folder."""
    return inside(folder / SLIDES, file_name(slide, ".h5"))


def regions_path(folder: Path, slide: str) -> Path:
    """The regions of a slide in a run's folder."""
    return inside(folder / REGIONS, file_name(slide, ".geojson.gz"))


class StoppedError(Exception):
    """Somebody asked this worker to stop; the slide in hand is given back."""


@dataclass(frozen=True)
class Ended:
    """What became of an attempt.

    Attributes
    ----------
    state
        `done`, `failed`, `waiting` for another attempt, or `lost` to another worker.
    broken
        Whether the failure was none that is known: the process may not be whole any more.
    """

    slide: str
    state: str
    attempt: int
    elapsed_s: float
    tiles: int = 0
    reason: str = ""
    broken: bool = False


class Pulse:
    """How far a worker is, as other threads may read it."""

    def __init__(self) -> None:
        self.phase, self.slide = "starting", ""
        self.done = self.total = 0
        self.tiles = 0
        self.stop = False
        self._sign_s = time.monotonic()

    def sign(self) -> None:
        """Show that something goes on."""
        self._sign_s = time.monotonic()

    def enter(self, phase: str, slide: str = "") -> None:
        """Begin something."""
        self.phase, self.slide = phase, slide
        self.done = self.total = 0
        self.sign()

    def progress(self, done: int, total: int) -> None:
        """Tiles of the slide in hand.

        Raises
        ------
        StoppedError
            Somebody asked to stop.
        """
        self.tiles += max(0, done - self.done)
        self.done, self.total = done, total
        self.sign()
        if self.stop:
            raise StoppedError

    @property
    def silent_s(self) -> float:
        """Since the last sign."""
        return time.monotonic() - self._sign_s


class SlideWork:
    """The work of one process on one run.

    Raises
    ------
    PathquorumError
        The store or the models can't be used.
    """

    def __init__(self, order: WorkOrder, store: Store, pulse: Pulse) -> None:
        refuse_other_version(order)
        self.name = WorkerName.of_this_process(order.session)
        self.pulse = pulse
        self._order = order
        self._claims = Claims(
            store, order.run, places=order.places, lease_s=order.lease_s, waited=pulse.sign
        )
        self._held: dict[int, Claim] = {}
        self._lock = threading.Lock()
        self._predictor: Predicts = order.opening(order)
        self._explaining = _explaining(order, store, self._predictor)

    def take(self) -> Claim | None:
        """Claim a slide, if one is waiting."""
        self.pulse.enter("taking")
        claim = self._claims.take(self.name)
        if claim is None:
            self.pulse.enter("idle")
            return None
        with self._lock:
            self._held[claim.id] = claim
        return claim

    def predict(self, claim: Claim) -> Predicted | Ended:
        """Predict a slide; where it fails, its end.

        Raises
        ------
        StoppedError
            Somebody asked to stop; the slide is given back.
        PathquorumError
            Nothing can be predicted with this store and these models; the slide is given back.
        """
        begin_s = time.monotonic()
        self.pulse.enter(PREDICTING, claim.image.name)
        try:
            return self._predictor.predict(claim.image, self.pulse.progress)
        except (StoppedError, *_OF_EVERY_SLIDE):
            self.give_back(claim)
            raise
        except PathquorumError as error:
            return self._failed(claim, str(error), begin_s)
        except Exception as error:  # noqa: BLE001 - one slide must not end the others
            log.info("unexpected error", slide=claim.image.name, traceback=traceback.format_exc())
            return self._failed(claim, f"{type(error).__name__}: {error}", begin_s, broken=True)

    def keep(self, claim: Claim, predicted: Predicted) -> Ended:
        """Write a slide's files and say that it is done.

        Raises
        ------
        PathquorumError, OSError
            The files can't be written, whichever slide it is; the slide is given back.
        """
        from models.prediction.regions_file import RegionsOrigin, write_regions

        begin_s = time.monotonic()
        name = claim.image.name
        output, regions = (of(self._order.folder, name) for of in (slide_path, regions_path))
        try:
            write_slide_prediction(output, predicted.slide)
            write_regions(regions, predicted.regions, RegionsOrigin.of(predicted.slide))
            if self._explaining is not None:
                self._explaining.write(claim.image, predicted)
        except (SlideError, TileError) as error:
            return self._failed(claim, str(error), begin_s)
        except (PathquorumError, OSError):
            self.give_back(claim)
            raise
        done = self._claims.finish(
            self.name,
            claim,
            predicted.result,
            output_sha256=_sha256(output),
            regions_sha256=_sha256(regions),
        )
        self._let_go(claim)
        return Ended(
            name,
            DONE if done else LOST,
            claim.attempt,
            time.monotonic() - begin_s,
            tiles=len(predicted.slide.coordinates),
        )

    def give_back(self, claim: Claim) -> None:
        """Let others have a slide that nothing is wrong with."""
        self._claims.give_back(self.name, claim)
        self._let_go(claim)

    @contextmanager
    def renewing(self, longest_silence_s: float) -> Iterator[None]:
        """Renew what is held, by a thread, until nothing has gone on for too long."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self._order.lease_s / 4):
                if self.pulse.silent_s < longest_silence_s:
                    with self._lock:
                        held = list(self._held.values())
                    try:
                        self._claims.renew(self.name, held)
                    except StoreError as error:
                        # Whoever claims or finishes next is told as well, and ends.
                        log.warning("claims were not renewed", error=str(error))

        thread = threading.Thread(target=renew, name="leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _failed(self, claim: Claim, reason: str, begin_s: float, *, broken: bool = False) -> Ended:
        reason = one_line(reason)
        state = self._claims.fail(self.name, claim, reason)
        self._let_go(claim)
        return Ended(
            claim.image.name,
            state,
            claim.attempt,
            time.monotonic() - begin_s,
            reason=reason,
            broken=broken,
        )

    def _let_go(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim.id, None)


@contextmanager
def opened(order: WorkOrder, pulse: Pulse) -> Iterator[SlideWork]:
    """The work of this process, with the store open."""
    store = open_store(order.store_url)
    try:
        yield SlideWork(order, store, pulse)
    finally:
        store.close()


def _explaining(order: WorkOrder, store: Store, predictor: Predicts) -> Explaining | None:
    if order.explain is None:
        return None
    from models.prediction.explaining import Explaining
    from models.prediction.predictor import Predictor

    if not isinstance(predictor, Predictor):
        raise TypeError("only models can be explained")
    return Explaining(order, order.explain, store, predictor)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
