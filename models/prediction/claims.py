"""Who works on which slide of a prediction run: claims in the store, each with a lease.

A slide is `waiting`, `claimed` until a moment, `done` or `failed`. Whoever holds a claim renews it;
one that ran out, or whose process is gone, is given back. An attempt counts where the slide may be
at fault: it failed, or its worker died under the eyes of a supervisor. Where everything was killed
at once nobody knows, and it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import StoreUnavailableError
from annotation.logs import log
from annotation.store import Store, now
from annotation.tables import Slide
from consensus.tables import PredictedSlide, PredictionRun
from models.prediction.worker_names import WorkerName
from models.slide_image import SlideImage

__all__ = [
    "ATTEMPTS",
    "CLAIMED",
    "DONE",
    "FAILED",
    "LEASE_S",
    "PREDICTION_FAILED",
    "SLIDE_PREDICTED",
    "WAITING",
    "Claim",
    "Claims",
]

WAITING, CLAIMED, DONE, FAILED = "waiting", "claimed", "done", "failed"
SLIDE_PREDICTED, PREDICTION_FAILED = "slide predicted", "prediction failed"

ATTEMPTS = 3
"""After so many a slide has failed."""
LEASE_S = 120.0
"""For so long a claim holds that nobody renews."""
_PATIENCE_S = 3600.0
"""For so long a database may be away: a server is started anew, a network comes back."""
_LONGEST_PAUSE_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A slide that a worker has in hand.

    Attributes
    ----------
    id
        Of the row in `predicted_slides`.
    attempt
        Counted from 1.
    """

    id: int
    slide_id: int
    image: SlideImage
    attempt: int


class Claims:
    """The claims of one run.

    Parameters
    ----------
    places
        Where images lie now, by slide, of those that lie elsewhere than the store says.
    lease_s
        For how long a claim holds.
    waited
        Told once a second while the database is away.

    Every method waits up to an hour for a database that is away, and raises StoreUnavailableError
    after that.
    """

    def __init__(
        self,
        store: Store,
        run_id: int,
        *,
        places: Mapping[int, str] | None = None,
        lease_s: float = LEASE_S,
        waited: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._run_id = store, run_id
        self._places = places or {}
        self.lease_s = lease_s
        self._waited = waited

    def take(self, worker: WorkerName) -> Claim | None:
        """Claim the next slide: those tried least often come first, those interrupted last."""

        def work() -> Claim | None:
            with self._store.claiming() as session:
                row = session.scalars(
                    select(PredictedSlide)
                    .where(PredictedSlide.run_id == self._run_id, PredictedSlide.state == WAITING)
                    .order_by(
                        PredictedSlide.attempts,
                        PredictedSlide.reason.is_not(None),
                        PredictedSlide.id,
                    )
                    .limit(1)
                    .with_for_update(skip_locked=True)
                ).first()
                if row is None:
                    return None
                row.state, row.attempts = CLAIMED, row.attempts + 1
                row.worker, row.claimed_until = str(worker), self._lease_end(session)
                slide = session.get_one(Slide, row.slide_id)
                path = self._places.get(slide.id, slide.path)
                image = SlideImage(slide.name, path, slide.fingerprint, slide.mpp)
                return Claim(row.id, slide.id, image, row.attempts)

        return self._patiently(work)

    def renew(self, worker: WorkerName, held: Sequence[Claim]) -> None:
        """Let a worker's claims hold from now on again."""

        def work() -> None:
            with self._store.claiming() as session:
                session.execute(
                    update(PredictedSlide)
                    .where(
                        PredictedSlide.id.in_([claim.id for claim in held]),
                        PredictedSlide.state == CLAIMED,
                        PredictedSlide.worker == str(worker),
                    )
                    .values(claimed_until=self._lease_end(session))
                )

        if held:
            self._patiently(work)

    def give_back(self, worker: WorkerName, claim: Claim) -> None:
        """Let others have a slide that nothing is wrong with; it was no attempt."""
        self._patiently(lambda: self._release(claim.id, worker, "given back", counted=False))

    def fail(self, worker: WorkerName, claim: Claim, reason: str) -> str:
        """Say what went wrong; the slide's state then, waiting for another attempt or failed."""
        return self._patiently(lambda: self._release(claim.id, worker, reason, counted=True))

    def finish(
        self,
        worker: WorkerName,
        claim: Claim,
        result: dict[str, Any],
        *,
        output_sha256: str,
        regions_sha256: str,
    ) -> bool:
        """Say that a slide is done and its files are there, in one transaction with its event.

        Returns
        -------
        bool
            False where the claim had run out and the slide is another worker's: nothing is changed.
        """

        def work() -> bool:
            with self._store.writing() as session:
                row = session.get_one(PredictedSlide, claim.id, with_for_update=True)
                if row.state == DONE and row.worker == str(worker):
                    return True  # the commit of an earlier try came through
                if row.state != CLAIMED or row.worker != str(worker):
                    return False
                row.state, row.result = DONE, result
                row.output_sha256, row.regions_sha256 = output_sha256, regions_sha256
                row.reason = row.claimed_until = None
                row.finished_at = now()
                self._record(
                    session,
                    row,
                    SLIDE_PREDICTED,
                    {"output_sha256": output_sha256, "regions_sha256": regions_sha256},
                )
                return True

        return self._patiently(work)

    def lost(
        self, worker: WorkerName, reason: str, *, blamed: Collection[str] | None = None
    ) -> list[str]:
        """Give back all that a worker had in hand when it ended; names of the slides.

        Parameters
        ----------
        blamed
            Names of the slides that may be at fault; None: any of them.
        """

        def work() -> list[str]:
            with self._store.reading() as session:
                held = self._held(session).where(PredictedSlide.worker == str(worker))
                rows = session.execute(held).all()
            for row in rows:
                counted = blamed is None or row.name in blamed
                self._release(row.id, worker, reason, counted=counted)
            return [row.name for row in rows]

        return self._patiently(work)

    def reap(self, session_name: str, *, seen_to: Collection[str] = ()) -> list[str]:
        """Give back claims whose lease ran out or whose process is gone; names of the slides.

        They count as attempts where the worker was one of this session.

        Parameters
        ----------
        seen_to
            Names of workers whose end somebody else sees to.
        """

        def work() -> list[str]:
            freed = []
            with self._store.reading() as session:
                present = _clock(session)
                rows = session.execute(self._held(session)).all()
            for row in rows:
                if row.worker in seen_to:
                    continue
                name = WorkerName.parse(row.worker or "")
                expired = row.claimed_until is None or row.claimed_until < present
                if expired or name is None or name.is_gone():
                    ours = name is not None and name.session == session_name
                    reason = "its worker died" if ours else "interrupted"
                    self._release(row.id, name, reason, counted=ours)
                    freed.append(row.name)
            return freed

        return self._patiently(work)

    def counts(self) -> dict[str, int]:
        """Slides in each state."""

        def work() -> dict[str, int]:
            with self._store.reading() as session:
                rows = session.execute(
                    select(PredictedSlide.state, func.count())
                    .where(PredictedSlide.run_id == self._run_id)
                    .group_by(PredictedSlide.state)
                )
                found: dict[str, int] = {str(state): int(number) for state, number in rows}
                return dict.fromkeys((WAITING, CLAIMED, DONE, FAILED), 0) | found

        return self._patiently(work)

    def failures(self) -> list[tuple[str, str]]:
        """Name and reason of each slide that failed, in the order of the run."""
        with self._store.reading() as session:
            rows = session.execute(
                select(Slide.name, PredictedSlide.reason)
                .join(Slide, PredictedSlide.slide_id == Slide.id)
                .where(PredictedSlide.run_id == self._run_id, PredictedSlide.state == FAILED)
                .order_by(PredictedSlide.id)
            )
            return [(name, reason or "") for name, reason in rows]

    def _held(self, session: Session) -> Any:
        return (
            select(
                PredictedSlide.id, PredictedSlide.worker, PredictedSlide.claimed_until, Slide.name
            )
            .join(Slide, PredictedSlide.slide_id == Slide.id)
            .where(PredictedSlide.run_id == self._run_id, PredictedSlide.state == CLAIMED)
            .order_by(PredictedSlide.id)
        )

    def _release(self, key: int, worker: WorkerName | None, reason: str, *, counted: bool) -> str:
        """Take a claim away, unless it is somebody else's by now; the state of the slide then."""
        with self._store.writing() as session:
            row = session.get_one(PredictedSlide, key, with_for_update=True)
            if row.state != CLAIMED or (worker is not None and row.worker != str(worker)):
                return row.state
            row.worker = row.claimed_until = None
            row.reason = reason
            if not counted:
                row.attempts -= 1
            if row.attempts < ATTEMPTS:
                row.state = WAITING
                return WAITING
            row.state, row.finished_at = FAILED, now()
            self._record(session, row, PREDICTION_FAILED, {"attempts": row.attempts}, reason)
            return FAILED

    def _record(
        self,
        session: Session,
        row: PredictedSlide,
        action: str,
        new: dict[str, Any],
        reason: str | None = None,
    ) -> None:
        run = session.get_one(PredictionRun, row.run_id)
        record(
            session,
            actor=None,
            action=action,
            subject=f"slide:{row.slide_id}",
            new={"prediction": run.name, **new},
            reason=reason,
        )

    def _lease_end(self, session: Session) -> datetime:
        return _clock(session) + timedelta(seconds=self.lease_s)

    def _patiently(self, work: Callable[[], T]) -> T:
        deadline_s = time.monotonic() + _PATIENCE_S
        pause_s = 1.0
        while True:
            try:
                return work()
            except StoreUnavailableError as error:
                if time.monotonic() >= deadline_s:
                    raise
                log.warning("waiting for the store", error=str(error), pause_s=pause_s)
            for _ in range(int(pause_s)):
                self._waited()
                time.sleep(1.0)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _clock(session: Session) -> datetime:
    """The database's time, which is the same for machines whose clocks are not."""
    if session.get_bind().dialect.name == "sqlite":
        return now()
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment
