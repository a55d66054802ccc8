"""The schema of a store: which revision it has, and which this version knows."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from annotation.errors import StoreNewerError, StoreUnavailableError
from annotation.stores.addresses import masked

__all__ = [
    "DROPPABLE",
    "SOFTWARE_VERSION",
    "alembic_config",
    "current_revision",
    "head_revision",
    "known_revisions",
    "refuse_newer",
    "refuse_other_encoding",
]

SOFTWARE_VERSION = version("pathquorum")

DROPPABLE = frozenset({"identities"})
"""Tables that the owner of a store may drop: nothing else needs what they hold."""


def alembic_config(connection: Connection | None = None) -> Config:
    """What alembic needs to migrate on a connection, in its transaction."""
    # Found beside the installed package, never in the folder the user happens to stand in.
    folder = Path(str(import_module("migrations").__file__)).parent
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@lru_cache(maxsize=1)
def head_revision() -> str:
    """The revision that this version works with."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise StoreUnavailableError("the migrations are missing; install pathquorum again")
    return head


@lru_cache(maxsize=1)
def known_revisions() -> tuple[str, ...]:
    """Every revision that this version can bring up to date, the oldest first."""
    scripts: Any = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return tuple(script.revision for script in scripts)[::-1]


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema; None where no store of ours is."""
    tables = set(inspect(connection).get_table_names())
    if not {"alembic_version", "store_info"} <= tables:
        return None
    return MigrationContext.configure(connection).get_current_revision()


def refuse_newer(present: str, what: str) -> None:
    """Refuse a store or a backup that a later version made."""
    if present not in known_revisions():
        raise StoreNewerError(
            f"{what} has the schema {present}, which pathquorum {SOFTWARE_VERSION} does not know; "
            "upgrade pathquorum",
            store=what,
        )


def refuse_other_encoding(connection: Connection) -> None:
    """Names hold any character, so a database that keeps only some of them is refused."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreUnavailableError(
            f"the database {masked(connection.engine.url)} has the encoding {encoding}; make one "
            "with `CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0`",
            store=masked(connection.engine.url),
        )
