"""Database URLs: what can be used, and how one is shown without its passwords."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from annotation.errors import InputError, StoreMissingError

__all__ = ["file_of", "is_file", "masked", "parsed", "refuse_missing", "without_secrets"]

_SECRET_QUERY_KEYS = ("password", "passwd", "sslpassword", "passfile")
_FORMS = "write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"


def parsed(url: str) -> URL:
    """A database URL that a store can have.

    Raises
    ------
    InputError
        It is none; the text is not repeated, because it may hold a password.
    """
    try:
        made = make_url(url)
        made.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError):
        raise InputError(f"--store is no database URL that can be used here; {_FORMS}") from None
    if "@" in (made.host or ""):
        # What follows the first @ of a password would be taken for the host, and be shown.
        raise InputError("--store has more than one @; write an @ in a password as %40")
    if made.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"a store can't be {made.get_backend_name()}; {_FORMS}")
    if made.get_backend_name() == "sqlite" and not is_file(made):
        raise InputError("a store in SQLite needs a file; write sqlite:///FILE")
    return made


def masked(url: URL) -> str:
    """The URL as it may be shown: without a password, wherever it stands."""
    query = {key: "***" if key in _SECRET_QUERY_KEYS else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def without_secrets(text: str, url: URL) -> str:
    """What a database said, without the passwords of its URL."""
    secrets = [url.password, *(url.query.get(key) for key in _SECRET_QUERY_KEYS)]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "***")
    return text


def is_file(url: URL) -> bool:
    """Whether the store is a file of its own."""
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def file_of(url: URL) -> Path:
    """The file of a store that is one."""
    return Path(str(url.database))


def refuse_missing(place: URL) -> None:
    """Refuse a store in a file that isn't there, for SQLite would make one."""
    if is_file(place) and not file_of(place).exists():
        raise StoreMissingError(
            f"there is no store at {masked(place)}; make one with `pathquorum init`",
            store=masked(place),
        )
