"""`protocol`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.terminal import Invocation, Outcome, command, plain, table

if TYPE_CHECKING:
    from rich.console import Console

    from annotation.tables import ProtocolVersion


@click.group(short_help="Protocols: what is rated, and how.")
def protocol() -> None:
    """Protocols: what is rated, and how."""


@protocol.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@command
def protocol_add(invocation: Invocation, file: Path) -> Outcome:
    """Register the protocol in FILE (`protocol template` prints one to start from).

    A new version says what it changes against the one before.
    """
    from annotation.protocol import load_protocol
    from annotation.protocol_versions import add_protocol, previous_version

    loaded = load_protocol(file)
    with invocation.store.writing() as session:
        row = add_protocol(session, loaded)
        told = _against(row, previous_version(session, row))
        state = "not yet signed" if row.signed_at is None else "and signed"

    def show(console: Console) -> None:
        console.print(
            f"Protocol {row.name} version {row.version} is registered, {state} "
            f"(sha256 {row.sha256[:12]}…).",
            markup=False,
            soft_wrap=True,
        )
        _show_changes(console, told)

    return Outcome({"name": row.name, "version": row.version, "sha256": row.sha256, **told}, show)


@protocol.command("show")
@click.argument("name")
@click.option("--version", "number", help="The version; default: the latest.")
@click.option(
    "--against", metavar="VERSION", help="Say what changed since this one; default: the one before."
)
@command
def protocol_show(
    invocation: Invocation, name: str, number: str | None, against: str | None
) -> Outcome:
    """Show a version of the protocol NAME: its file, who signed it, and what it changed."""
    from annotation.lookup import find_protocol
    from annotation.protocol_versions import previous_version
    from annotation.signing.sign_off import approving_key
    from annotation.tables import Annotator

    with invocation.store.reading() as session:
        row = find_protocol(session, name if number is None else f"{name}@{number}")
        other = (
            previous_version(session, row)
            if against is None
            else find_protocol(session, f"{row.name}@{against}")
        )
        told = _against(row, other)
        by = None if row.signed_by_id is None else session.get_one(Annotator, row.signed_by_id)
        signature = {
            "signed_by": None if by is None else by.handle,
            "signed_at": row.signed_at,
            "signed": approving_key(session, row) is not None,
        }

    def show(console: Console) -> None:
        console.print(
            f"Protocol {row.name} version {row.version} (sha256 {row.sha256[:12]}…), signed by: "
            f"{_signed_text(signature)}.",
            markup=False,
            soft_wrap=True,
        )
        _show_changes(console, told)
        click.echo(plain("\n" + row.text.rstrip()))

    head = {"name": row.name, "version": row.version, "sha256": row.sha256}
    return Outcome({**head, **signature, "text": row.text, **told}, show)


@protocol.command("template")
@command
def protocol_template(_invocation: Invocation) -> Outcome:
    """Print a commented protocol file."""
    from annotation.protocol import template

    text = template()
    return Outcome({"template": text}, lambda _console: click.echo(text, nl=False))


@protocol.command("sign")
@click.argument("name")
@click.option("--version", "number", required=True, help="The version to sign.")
@click.option("--by", "handle", required=True, metavar="HANDLE", help="Who signs.")
@signing_options
@command
def protocol_sign(
    invocation: Invocation,
    name: str,
    number: str,
    handle: str,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Put a version of the protocol NAME in force.

    With --key it is signed; without, it is on record under the handle alone.
    """
    from annotation.lookup import find_annotator, find_protocol
    from annotation.protocol_versions import sign_protocol

    key = unlocked(key_file, passphrase_file)
    with invocation.store.writing() as session:
        row = find_protocol(session, f"{name}@{number}")
        sign_protocol(session, row, find_annotator(session, handle), key)
    how = "with their key" if key is not None else "under their handle alone; --key FILE proves it"
    return Outcome(
        {
            "name": row.name,
            "version": row.version,
            "sha256": row.sha256,
            "signed_by": handle,
            "signed": key is not None,
        },
        lambda console: console.print(
            f"Protocol {row.name} version {row.version} is signed by {handle}, {how}.",
            markup=False,
        ),
    )


@protocol.command("list")
@command
def protocol_list(invocation: Invocation) -> Outcome:
    """List the protocols and who signed them."""
    from sqlalchemy import select

    from annotation.signing.sign_off import approving_key
    from annotation.tables import Annotator, ProtocolVersion

    with invocation.store.reading() as session:
        found = session.execute(
            select(ProtocolVersion, Annotator.handle)
            .outerjoin(Annotator, ProtocolVersion.signed_by_id == Annotator.id)
            .order_by(ProtocolVersion.id)
        ).all()
        rows: list[dict[str, Any]] = [
            {
                "name": row.name,
                "version": row.version,
                "sha256": row.sha256,
                "signed_by": by,
                "signed_at": row.signed_at,
                "signed": approving_key(session, row) is not None,
            }
            for row, by in found
        ]
    return Outcome(
        {"protocols": rows},
        lambda console: console.print(
            table(
                None,
                "protocol",
                "version",
                "signed by",
                "sha256",
                rows=[[r["name"], r["version"], _signed_text(r), r["sha256"][:12]] for r in rows],
            )
        ),
    )


def _against(row: ProtocolVersion, other: ProtocolVersion | None) -> dict[str, Any]:
    """What a version changes against another; of a first version, nothing."""
    from annotation.protocol_versions import changes_between

    if other is None:
        return {"against": None, "changes": []}
    changes = [change.to_dict() for change in changes_between(other, row)]
    return {"against": other.version, "changes": changes}


def _show_changes(console: Console, told: dict[str, Any]) -> None:
    if told["against"] is None:
        return
    if not told["changes"]:
        console.print(f"It changes nothing against version {told['against']}.", markup=False)
        return
    console.print(f"Against version {told['against']} it changes:", markup=False)
    for change in told["changes"]:
        console.print(f"  {change['text']}", markup=False, soft_wrap=True)


def _signed_text(row: dict[str, Any]) -> str:
    if row["signed_by"] is None:
        return "nobody"
    return f"{row['signed_by']} ({'with their key' if row['signed'] else 'by name alone'})"
