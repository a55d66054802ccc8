"""`key create`, `key list` and `key revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from annotation.commands.signing_options import passphrase_option, read_passphrase
from annotation.terminal import Invocation, Outcome, command, counted, table


@click.group(short_help="Keys that people sign with.")
def key() -> None:
    """Keys that people sign with."""


@key.command("create")
@click.argument("handle")
@click.option(
    "--to",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file for the private key; keep it, and a copy, where only its owner can read it.",
)
@passphrase_option
@command
def key_create(
    invocation: Invocation, handle: str, file: Path, passphrase_file: Path | None
) -> Outcome:
    """Make a key for HANDLE: the private half in FILE under a passphrase, the public half on record.

    Nobody can bring back a lost passphrase: revoke the key and make another.
    """
    from annotation.lookup import find_annotator
    from annotation.signing.key_files import new_key_file
    from annotation.signing.keys import register_key

    with invocation.store.reading() as session:
        find_annotator(session, handle)
    passphrase = read_passphrase(passphrase_file, f"Passphrase for {file}", twice=True)
    with new_key_file(file, passphrase) as made, invocation.store.writing() as session:
        row = register_key(session, find_annotator(session, handle), made)
    return Outcome(
        {
            "handle": handle,
            "fingerprint": row.fingerprint,
            "file": str(file),
            "public_key": row.public_key,
            "valid_from": row.valid_from,
        },
        lambda console: console.print(
            f"Key of {handle} in {file}; fingerprint {row.fingerprint}.",
            markup=False,
            soft_wrap=True,
        ),
    )


@key.command("list")
@command
def key_list(invocation: Invocation) -> Outcome:
    """List the public keys on record, those that were revoked as well."""
    from sqlalchemy import select

    from annotation.tables import Annotator, SigningKey

    with invocation.store.reading() as session:
        found = session.execute(
            select(SigningKey, Annotator.handle)
            .join(Annotator, SigningKey.annotator_id == Annotator.id)
            .order_by(SigningKey.id)
        ).all()
    rows: list[dict[str, Any]] = [
        {
            "handle": handle,
            "fingerprint": row.fingerprint,
            "valid_from": row.valid_from,
            "revoked_at": row.revoked_at,
            "public_key": row.public_key,
        }
        for row, handle in found
    ]
    return Outcome(
        {"keys": rows},
        lambda console: console.print(
            table(
                None,
                "handle",
                "fingerprint",
                "valid from (UTC)",
                "revoked",
                rows=[
                    [
                        r["handle"],
                        r["fingerprint"],
                        f"{r['valid_from']:%Y-%m-%d %H:%M}",
                        f"{r['revoked_at']:%Y-%m-%d %H:%M}" if r["revoked_at"] else None,
                    ]
                    for r in rows
                ],
            )
        ),
    )


@key.command("revoke")
@click.argument("handle")
@click.option("--reason", required=True, help="Why: lost, read by others, left the study.")
@click.option("--fingerprint", metavar="F", help="Only the key whose fingerprint begins so.")
@command
def key_revoke(
    invocation: Invocation, handle: str, reason: str, fingerprint: str | None
) -> Outcome:
    """Revoke the keys of HANDLE: they sign nothing more, and what they signed stays signed."""
    from annotation.lookup import find_annotator
    from annotation.signing.keys import revoke_keys

    with invocation.store.writing() as session:
        annotator = find_annotator(session, handle)
        rows = revoke_keys(session, annotator, reason=reason, fingerprint=fingerprint)
    return Outcome(
        {
            "handle": handle,
            "revoked": [{"fingerprint": r.fingerprint, "revoked_at": r.revoked_at} for r in rows],
        },
        lambda console: console.print(
            f"{counted(len(rows), 'key')} of {handle} revoked: "
            f"{', '.join(r.fingerprint[:12] + '…' for r in rows)}.",
            markup=False,
            soft_wrap=True,
        ),
    )
