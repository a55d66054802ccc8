"""What a database said, in one line that names the store and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DataError, OperationalError

from annotation.errors import InputError, NotAStoreError, StoreBusyError, StoreUnavailableError
from annotation.stores.addresses import masked, without_secrets

__all__ = ["busy", "database_errors", "uncertain", "went_away"]

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


def went_away(error: BaseException) -> bool:
    """Whether the connection was lost."""
    return isinstance(error, DatabaseError) and error.connection_invalidated


def uncertain(url: URL) -> StoreUnavailableError:
    """The error for a database that was lost while it was asked to keep a change."""
    return StoreUnavailableError(
        f"the store {masked(url)} went away just as the change was to be kept, so that it may be "
        "there whole or not at all; look at `pathquorum status` before you do it again",
        store=masked(url),
    )


def _state(error: DatabaseError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _said(error: DatabaseError, url: URL) -> str:
    return without_secrets(" ".join(str(error.orig).split()), url)
