"""`store backup`, `store restore`, `store check` and `store copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from annotation.terminal import Invocation, Outcome, command, counted


@click.group(short_help="Keep, bring back, check and move the store.")
def store() -> None:
    """Keep, bring back, check and move the store."""


@store.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@command
def store_backup(invocation: Invocation, file: Path) -> Outcome:
    """Write the store into FILE, as it stands at one moment, while others work on.

    FILE is a zip of JSON Lines, the same for every database: `store restore` brings it back as
    SQLite or PostgreSQL.
    """
    from annotation.stores.moving import back_up

    manifest = back_up(invocation.store_url, file)
    rows = {name: table.rows for name, table in manifest.tables.items()}
    return _outcome(
        {"file": str(file), "size_bytes": file.stat().st_size},
        revision=manifest.revision,
        rows=rows,
        head=manifest.head,
        said=f"Wrote {counted(manifest.rows, 'row')} to {file}.",
    )


@store.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@command
def store_restore(invocation: Invocation, file: Path) -> Outcome:
    """Bring the backup FILE back as the store at --store.

    The database there must be empty, or not be there: beside `init` and `store copy` this is the
    only command that makes a store. The backup comes in whole or not at all, and is held against
    FILE row by row.
    """
    from annotation.stores.addresses import masked, parsed
    from annotation.stores.moving import restore

    filled = restore(file, invocation.store_url)
    place = masked(parsed(invocation.store_url))
    return _outcome(
        {"store": place, "file": str(file)},
        revision=filled.revision,
        rows=filled.rows,
        head=filled.head,
        said=f"Brought {counted(sum(filled.rows.values()), 'row')} back into {place}.",
    )


@store.command("check")
@command
def store_check(invocation: Invocation) -> Outcome:
    """Look whether the store is whole: its file, schema, rows, references and audit trail.

    What pulls stored is held against the digests that their events in the trail bear.
    """
    from annotation.stores.addresses import masked, parsed
    from annotation.stores.checking import check_store

    checked = check_store(invocation.store_url)
    place = masked(parsed(invocation.store_url))
    said = f"The store {place} is whole: {counted(sum(checked.rows.values()), 'row')}."
    if not checked.current:
        said += " Its schema is of an earlier version; upgrade it with `pathquorum init`."
    if checked.unbound:
        told = counted(checked.unbound, "read")
        said += f" The trail holds no digest of {told} of pulls by an earlier version."
    return _outcome(
        {"store": place, "current": checked.current, "unbound_reads": checked.unbound},
        revision=checked.revision,
        rows=checked.rows,
        head=checked.head,
        said=said,
    )


@store.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@command
def store_copy(_invocation: Invocation, source: str, target: str) -> Outcome:
    """Make the store at the URL FROM again at the URL TO, in either database.

    TO must be an empty database, or a file that is not there. All rows come over or none does, and
    they are held against their source one by one. A password is kept from other users of this
    machine by a passfile or PGPASSWORD, not in a URL.
    """
    from annotation.stores.addresses import masked, parsed
    from annotation.stores.moving import copy_store

    filled = copy_store(source, target)
    shown = masked(parsed(target))
    return _outcome(
        {"from": masked(parsed(source)), "to": shown},
        revision=filled.revision,
        rows=filled.rows,
        head=filled.head,
        said=f"Copied {counted(sum(filled.rows.values()), 'row')} to {shown}.",
    )


def _outcome(
    content: dict[str, Any], *, revision: str, rows: dict[str, int], head: str, said: str
) -> Outcome:
    document = {
        **content,
        "revision": revision,
        "rows": sum(rows.values()),
        "tables": dict(sorted(rows.items())),
        "head": head,
    }
    text = f"{said} Schema {revision}, audit trail unbroken. Head: {head}"
    return Outcome(document, lambda console: console.print(text, markup=False, soft_wrap=True))
