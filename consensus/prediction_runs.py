"""Prediction runs on record, found by name or number."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.lookup import unknown
from annotation.pushed import PREDICTIONS
from consensus.tables import PredictionRun

__all__ = ["find_prediction_run", "prediction_origin", "run_of_origin"]


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


def _named(session: Session, name: str) -> PredictionRun | None:
    return session.scalars(select(PredictionRun).where(PredictionRun.name == name)).first()
