"""What a run rests on: raters, whom a method fuses, or a model, whose doubts triage brings up.

Nobody has rated the items of a triage: it is a queue. What is decided there is made with a
prediction in sight, and the next consensus run counts it as one rating, see
:mod:`consensus.study.assisted_ratings`.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement

from annotation.errors import RefusedError
from consensus.tables import ConsensusRun

__all__ = ["TRIAGE", "is_triage", "of_raters", "of_triage", "require_raters"]

TRIAGE = "triage"
"""The method of a run that holds what a model is not sure of."""


def is_triage(run: ConsensusRun) -> bool:
    """Whether a run's decisions are made with a prediction in sight."""
    return run.method == TRIAGE


def of_raters() -> ColumnElement[bool]:
    """Whether a row of runs fuses ratings, in a query over them."""
    return ConsensusRun.method != TRIAGE


def of_triage() -> ColumnElement[bool]:
    """Whether a row of runs is a triage, in a query over them."""
    return ConsensusRun.method == TRIAGE


def require_raters(run: ConsensusRun, next_step: str) -> None:
    """Refuse a triage where the consensus of raters is asked for.

    Parameters
    ----------
    next_step
        What to do instead.

    Raises
    ------
    RefusedError
        Nobody has rated the run's items.
    """
    if is_triage(run):
        raise RefusedError(
            f"run {run.id} is a triage, whose items nobody has rated; {next_step}", run=run.id
        )
