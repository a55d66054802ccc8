"""The audit chain of a store that is kept, moved or checked as a whole."""

from __future__ import annotations

from sqlalchemy import Connection, Table, select
from sqlalchemy.orm import Session

from annotation.errors import StoreDamagedError
from annotation.stores.schema import head_revision

__all__ = ["chain_head"]


def chain_head(connection: Connection, events: Table, revision: str) -> str:
    """The head of an unbroken chain, as ``audit verify`` prints it.

    In a store of an earlier schema, whose events this version can't read in full, it is the links
    that are followed.

    Raises
    ------
    StoreDamagedError
        The chain is broken.
    """
    if revision == head_revision():
        return _verified(connection)
    return _followed(connection, events)


def _verified(connection: Connection) -> str:
    from annotation.audit import verify

    with Session(connection) as session:
        found = verify(session)
    if not found.ok:
        raise _broken(found.first_bad, found.problem)
    return found.head


def _followed(connection: Connection, events: Table) -> str:
    from annotation.audit import GENESIS

    head, count = GENESIS, 0
    links = select(events.c.id, events.c.previous_hash, events.c.hash).order_by(events.c.id)
    with connection.execute(links.execution_options(yield_per=1000)) as rows:
        for key, previous, own in rows:
            if previous != head:
                raise _broken(
                    key, "an event before it is missing, changed, inserted or out of order"
                )
            head, count = own, count + 1
    return f"{count}:{head}"


def _broken(event: int | None, problem: str | None) -> StoreDamagedError:
    return StoreDamagedError(
        f"the audit trail is broken: event {event} is bad, {problem}; bring back a backup",
        event=event,
    )
