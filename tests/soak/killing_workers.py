"""A run whose workers are killed again and again, beside one that is left alone."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from annotation.store import Store, create_or_upgrade
from annotation.tables import Slide
from consensus.tables import PredictedSlide, PredictionRun
from models.prediction.carrying_out import carry_out
from models.prediction.claims import CLAIMED
from models.prediction.worker_names import WorkerName
from tests.models.prediction.runs.painted_study import make_painted_study

_LEAST_S, _MOST_S = 0.2, 0.6
"""Between two kills."""
_MOST_OF_A_SLIDE = 2
"""For its third attempt would be its last."""


@dataclass(frozen=True)
class KilledWorkers:
    """What was found.

    Attributes
    ----------
    alone_s, killed_s
        How long the run took that was left alone, and the other.
    same
        Whether files and results are the same.
    """

    kills: int
    slides: int
    alone_s: float
    killed_s: float
    same: bool


class _Killer(threading.Thread):
    """Kills workers with a slide in hand at random moments."""

    def __init__(self, store: Store, run: str, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._store, self._run, self._kills = store, run, kills
        self._rng = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.stop = threading.Event()

    def run(self) -> None:
        while self.killed.total() < self._kills:
            if self.stop.wait(self._rng.uniform(_LEAST_S, _MOST_S)):
                return
            for slide, worker in self._at_work():
                name = WorkerName.parse(worker or "")
                if name is not None and self.killed[slide] < _MOST_OF_A_SLIDE:
                    os.kill(name.pid, signal.SIGKILL)
                    self.killed[slide] += 1
                    break

    def _at_work(self) -> list[tuple[str, str | None]]:
        with self._store.reading() as session:
            rows = session.execute(
                _slides_of(self._run).where(PredictedSlide.state == CLAIMED)
            ).all()
        self._rng.shuffle(rows)
        return [(name, row.worker) for name, row in rows]


def killed_workers(folder: Path, *, slides: int, kills: int, seed: int) -> KilledWorkers:
    """Predict slides twice by two workers, and kill workers the second time."""
    store, _ = create_or_upgrade(f"sqlite:///{folder / 'study.db'}")
    study = make_painted_study(store, folder)
    names = tuple(f"s{number}" for number in range(slides))
    study.add_slides(names)
    killer = _Killer(store, "killed", kills, seed)
    took_s = []
    for to in ("alone", "killed"):
        if to == "killed":
            killer.start()
        begin_s = time.monotonic()
        carry_out(store, study.request(to, slides=names, workers=2))
        took_s.append(time.monotonic() - begin_s)
    killer.stop.set()
    killer.join()
    same = _outputs(store, "alone") == _outputs(store, "killed")
    store.close()
    return KilledWorkers(killer.killed.total(), slides, *took_s, same)


def _slides_of(run: str) -> Any:
    return (
        select(Slide.name, PredictedSlide)
        .join(PredictedSlide, PredictedSlide.slide_id == Slide.id)
        .join(PredictionRun, PredictedSlide.run_id == PredictionRun.id)
        .where(PredictionRun.name == run)
    )


def _outputs(store: Store, run: str) -> dict[str, Any]:
    with store.reading() as session:
        return {
            name: (row.output_sha256, row.regions_sha256, row.result)
            for name, row in session.execute(_slides_of(run))
        }
