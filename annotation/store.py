"""The store: one database, opened and created in one place.

SQLite by default, PostgreSQL where a team shares it. Every write is one transaction that takes the
lock of all writers when it begins, so that two writers queue instead of failing half-way; the rooms
behind this door are in :mod:`annotation.stores`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from annotation.errors import (
    InputError,
    NotAStoreError,
    StoreOutdatedError,
)
from annotation.logs import log
from annotation.stores.addresses import file_of, is_file, masked, parsed, refuse_missing
from annotation.stores.engines import claimer, exclusive, read_only, writer
from annotation.stores.failures import certain_commit, database_errors
from annotation.stores.schema import (
    SOFTWARE_VERSION,
    alembic_config,
    current_revision,
    head_revision,
    refuse_newer,
    refuse_other_encoding,
)
from annotation.stores.shared_engines import give_back, take
from annotation.tables import StoreInfo

__all__ = [
    "SOFTWARE_VERSION",
    "Store",
    "create_or_upgrade",
    "masked",
    "now",
    "open_store",
    "store_salt",
]


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class Store:
    """An open store of the current schema."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = writer(engine)
        self._claimer = claimer(engine)
        self._is_open = True

    @property
    def url(self) -> str:
        """The URL, its password masked."""
        return masked(self.engine.url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the store and changes nothing."""
        with database_errors(self.engine.url), Session(self.engine, autoflush=False) as session:
            try:
                yield session
            finally:
                session.expunge_all()  # what was loaded stays readable
                session.rollback()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes come in together, or not at all if the block raises.

        What was recorded in the audit trail is logged once it stands in the store.
        """
        with self._changing(self._writer) as session:
            yield session
        for recorded in session.info.get("recorded", ()):
            log.info("recorded", **recorded)

    @contextmanager
    def claiming(self) -> Iterator[Session]:
        """As :meth:`writing`, for rows that processes take from one another, such as claims of work.

        Where the database locks rows (`with_for_update`), it waits for no writer. So it may record
        nothing in the audit trail, whose events come one after the other.
        """
        with self._changing(self._claimer) as session:
            yield session

    @contextmanager
    def _changing(self, engine: Engine) -> Iterator[Session]:
        with (
            database_errors(self.engine.url),
            Session(engine, expire_on_commit=False) as session,
        ):
            self._refuse_other_schema(session)
            yield session
            session.flush()
            with certain_commit(self.engine.url):
                session.commit()

    def _refuse_other_schema(self, session: Session) -> None:
        """Somebody may have upgraded the store since it was opened."""
        if session.scalar(text("SELECT version_num FROM alembic_version")) != head_revision():
            raise StoreOutdatedError(
                f"the store {self.url} has got another schema since it was opened; run this again",
                store=self.url,
            )

    def revision(self) -> str:
        """The revision of its schema."""
        with database_errors(self.engine.url), self.engine.connect() as connection:
            return str(current_revision(connection))

    def close(self) -> None:
        """Give back the connections; once is enough."""
        if self._is_open:
            self._is_open = False
            give_back(self.engine)


def open_store(url: str) -> Store:
    """Open the store at a database URL.

    Raises
    ------
    StoreMissingError, NotAStoreError, StoreOutdatedError, StoreNewerError, StoreUnavailableError
        What is there can't be used; the message says what to do.
    """
    place = parsed(url)
    refuse_missing(place)
    with read_only(place) as connection:
        present, head = current_revision(connection), head_revision()
    if present != head:
        raise _unusable(place, present, head)
    return Store(take(place))


def _unusable(place: URL, present: str | None, head: str) -> Exception:
    if present is None:
        return NotAStoreError(
            f"{masked(place)} is a database but no pathquorum store; "
            "make one elsewhere with `pathquorum init --store URL`",
            store=masked(place),
        )
    refuse_newer(present, f"the store {masked(place)}")
    return StoreOutdatedError(
        f"the store {masked(place)} has the schema {present}, this version needs {head}; "
        "keep a copy with `pathquorum store backup FILE`, then upgrade it with `pathquorum init`",
        store=masked(place),
    )


def create_or_upgrade(url: str) -> tuple[Store, str]:
    """Create a store, or bring an older one to the current schema while nobody uses it.

    Returns
    -------
    The open store, and the revision of its schema.

    Raises
    ------
    NotAStoreError, StoreNewerError, StoreBusyError, StoreUnavailableError
        What is there can't be upgraded now; it is as it was.
    """
    place, head = parsed(url), head_revision()
    if is_file(place) and not file_of(place).parent.is_dir():
        raise InputError(
            f"the folder {file_of(place).parent} does not exist; make it, or choose another --store"
        )
    with read_only(place) as connection:
        present = _upgradable(connection, place)
    if present != head:
        with exclusive(place) as connection:
            # Somebody else may have been quicker.
            present = _upgradable(connection, place)
            if present != head:
                _upgrade(connection, present, head)
    return Store(take(place)), head


def _upgradable(connection: Connection, place: URL) -> str | None:
    """The revision that is there, None in an empty database; anything else is refused."""
    present = current_revision(connection)
    if present is not None:
        refuse_newer(present, f"the store {masked(place)}")
    elif inspect(connection).get_table_names():
        raise NotAStoreError(
            f"{masked(place)} is a database of something else; choose another --store",
            store=masked(place),
        )
    return present


def _upgrade(connection: Connection, present: str | None, head: str) -> None:
    from alembic import command

    from annotation.audit import record

    refuse_other_encoding(connection)
    command.upgrade(alembic_config(connection), "head")
    with Session(connection) as session:
        if present is None:
            session.add(StoreInfo(created_at=now(), salt=secrets.token_hex(16)))
            session.flush()
        record(
            session,
            actor=None,
            action="store created" if present is None else "store upgraded",
            subject="store",
            old=None if present is None else {"revision": present},
            new={"revision": head},
        )
        session.commit()


def store_salt(session: Session) -> str:
    """The salt under which logins are digested in this store."""
    return session.scalars(select(StoreInfo.salt)).one()
