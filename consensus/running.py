"""Making a consensus run while others go on working.

Computing takes seconds to minutes, so it is done beside those who write. A run must follow from
what stands in the store when it is recorded: where anything was recorded meanwhile, it is computed
again, and at last with the lock of all writers held, so that it ends however busy the others are.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.logs import log
from annotation.store import Store
from annotation.tables import Event
from consensus.runs import ComputedRun, record_run

__all__ = ["make_run"]

_ATTEMPTS = 2
"""How often a run is computed beside those who write, before they have to wait."""


def make_run(store: Store, compute: Callable[[Session], ComputedRun]) -> int:
    """Compute a run and record it. Gives its number.

    Parameters
    ----------
    compute
        Computes it from one state of the store, see :func:`consensus.runs.compute_run`.
    """
    for _ in range(_ATTEMPTS):
        with store.reading() as session:
            seen = _last_event(session)
            computed = compute(session)
        with store.writing() as session:
            if _last_event(session) == seen:
                return record_run(session, computed).id
        log.info("computed again", because="something was recorded while the run was computed")
    with store.writing() as session:
        return record_run(session, compute(session)).id


def _last_event(session: Session) -> str | None:
    """The hash of the trail's last event: every change of state is one."""
    return session.scalar(select(Event.hash).order_by(Event.id.desc()).limit(1))
