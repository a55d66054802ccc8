"""What a database said, in one line that names the store and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DataError, OperationalError

from annotation.errors import InputError, NotAStoreError, StoreBusyError, StoreUnavailableError
from annotation.stores.addresses import masked, without_secrets

__all__ = ["busy", "certain_commit", "database_errors"]

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOCK_NOT_AVAILABLE = "55P03"
_INSUFFICIENT_PRIVILEGE = "42501"
_NO_FILE = ("file is not a database", "malformed")


@contextmanager
def database_errors(url: URL) -> Iterator[None]:
    """Say in one line what the database said."""
    try:
        yield
    except DataError as error:
        raise InputError(
            f"the store {masked(url)} cannot hold this: {_said(error, url)}; nothing was changed"
        ) from error
    except OperationalError as error:
        if _state(error) == _LOCK_NOT_AVAILABLE or "database is locked" in str(error.orig):
            raise busy(url) from error
        raise StoreUnavailableError(
            f"the store {masked(url)} cannot be used: {_said(error, url)}; nothing was changed",
            store=masked(url),
        ) from error
    except DatabaseError as error:
        if _state(error) == _INSUFFICIENT_PRIVILEGE:
            raise StoreUnavailableError(
                f"the store {masked(url)} cannot be used: {_said(error, url)}; "
                "ask its owner for the right",
                store=masked(url),
            ) from error
        if any(words in str(error.orig) for words in _NO_FILE):
            raise NotAStoreError(
                f"{masked(url)} is no pathquorum store ({_said(error, url)}); "
                "choose another --store, or bring back a backup",
                store=masked(url),
            ) from error
        raise


def busy(url: URL) -> StoreBusyError:
    """The error for a lock that somebody else kept."""
    return StoreBusyError(
        f"the store {masked(url)} cannot be used: somebody else keeps it locked; "
        "nothing was changed, try again later",
        store=masked(url),
    )


@contextmanager
def certain_commit(url: URL) -> Iterator[None]:
    """Around a commit: who loses the connection meanwhile can't know what became of it."""
    try:
        yield
    except DatabaseError as error:
        if not error.connection_invalidated:
            raise
        raise StoreUnavailableError(
            f"the store {masked(url)} went away just as the change was to be kept, so that it may "
            "be there whole or not at all; look at `pathquorum status` before you do it again",
            store=masked(url),
        ) from error


def _state(error: DatabaseError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _said(error: DatabaseError, url: URL) -> str:
    return without_secrets(" ".join(str(error.orig).split()), url)
