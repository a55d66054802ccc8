"""The memory of a worker over many slides: the curve that must be flat."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from annotation.store import create_or_upgrade
from models.prediction.chosen_members import choose_members
from models.prediction.chosen_slides import named_slides
from models.prediction.claims import DONE, Claims
from models.prediction.run import begin_run
from models.prediction.supervisor import supervise
from models.prediction.watching import SeenWorker, Watch
from models.prediction.work_order import WorkOrder, open_predictor
from models.prediction.workers import Limits
from models.training.stopping import Stop
from tests.models.prediction.runs.painted_study import make_painted_study

GROWTH = 0.05
"""By so much a worker may grow between the 30th slide and the 300th."""


class _Curve(Watch):
    """The memory of the only worker at each look, by how many slides were done."""

    def __init__(self) -> None:
        self.memory_bytes: dict[int, int] = {}

    def looked(self, counts: Mapping[str, int], workers: Sequence[SeenWorker]) -> None:
        done = counts[DONE]
        for worker in workers:
            self.memory_bytes[done] = max(worker.memory_bytes, self.memory_bytes.get(done, 0))

    def replaced(self, why: str) -> None:
        raise AssertionError(f"a worker was replaced: {why}")


def memory_curve(folder: Path, slides: int) -> dict[int, int]:
    """Predict so many slides by one worker; its resident bytes by how many were done.

    The slides are one painted file under as many names and fingerprints.
    """
    store, _ = create_or_upgrade(f"sqlite:///{folder / 'study.db'}")
    study = make_painted_study(store, folder)
    names = [f"s{number}" for number in range(slides)]
    study.add_slides(names)
    request = study.request()
    with store.reading() as session:
        members, _ = choose_members(session, request.models)
        chosen = named_slides(session, names)
    settings = request.settings
    begun = begin_run(
        store, request.folder, members, settings.to_dict(), settings.sha256, chosen.ids
    )
    order = WorkOrder(
        store_url=f"sqlite:///{folder / 'study.db'}",
        session=secrets.token_hex(8),
        run=begun.id,
        folder=begun.folder,
        members=members,
        settings=settings,
        encoder=request.encoder,
        device="cpu",
        opening=open_predictor,
    )
    curve = _Curve()
    supervise(order, Claims(store, begun.id), 1, Limits(10**12, 900.0), curve, Stop())
    store.close()
    return curve.memory_bytes


def at_slide(curve: Mapping[int, int], slide: int) -> int:
    """Resident bytes at the first look at which so many slides were done."""
    return curve[min(done for done in curve if done >= slide)]
