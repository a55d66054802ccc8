"""Prediction runs on record: found by name or number, what made them, and their slides."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.lookup import unknown
from annotation.pushed import PREDICTIONS
from annotation.tables import Slide
from consensus.tables import PredictedSlide, PredictionRun

__all__ = [
    "find_prediction_run",
    "predicted_slides",
    "prediction_origin",
    "run_of_origin",
    "weights_of",
]


def find_prediction_run(session: Session, given: str) -> PredictionRun:
    """The prediction run of this name or number; a name wins.

    Raises
    ------
    UnknownNameError
        There is none.
    """
    found = _named(session, given)
    if found is None and given.isascii() and given.isdecimal() and len(given) < 10:
        found = session.get(PredictionRun, int(given))
    if found is None:
        raise unknown(
            "prediction run",
            given,
            session.scalars(select(PredictionRun.name)),
            "make one with `pathquorum predict`",
        )
    return found


def prediction_origin(run: PredictionRun) -> str:
    """The name under which a run's objects are recorded as ours."""
    return f"{PREDICTIONS}{run.name}"


def run_of_origin(session: Session, origin: str) -> PredictionRun | None:
    """The run whose predictions were pushed, if it is one's."""
    if not origin.startswith(PREDICTIONS):
        return None
    return _named(session, origin.removeprefix(PREDICTIONS))


def weights_of(run: PredictionRun) -> list[str]:
    """SHA-256 of the weights of each member, in rising order."""
    return sorted(member["weights_sha256"] for member in run.members)


def predicted_slides(session: Session, run: PredictionRun) -> list[tuple[Slide, PredictedSlide]]:
    """The slides of a run, by name."""
    rows = session.execute(
        select(Slide, PredictedSlide)
        .join(PredictedSlide, PredictedSlide.slide_id == Slide.id)
        .where(PredictedSlide.run_id == run.id)
        .order_by(Slide.name)
    )
    return [(slide, predicted) for slide, predicted in rows]


def _named(session: Session, name: str) -> PredictionRun | None:
    return session.scalars(select(PredictionRun).where(PredictionRun.name == name)).first()
