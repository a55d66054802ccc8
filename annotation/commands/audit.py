"""`audit verify`, `audit head` and `audit export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.errors import ConflictError
from annotation.terminal import Invocation, Outcome, command, counted

if TYPE_CHECKING:
    from annotation.audit import Verification
    from annotation.signing.heads import HeldAgainst


@click.group(short_help="Check and export the audit trail.")
def audit() -> None:
    """Check and export the audit trail."""


@audit.command("verify")
@click.option(
    "--against",
    metavar="HEAD",
    help="A head that an earlier verify printed, or a file that holds one: of `audit head`, or the "
    ".sig of a report or release.",
)
@command
def audit_verify(invocation: Invocation, against: str | None) -> Outcome:
    """Check that no event was changed, removed, inserted or moved.

    Without --against it cannot see whether the whole chain was written anew, cut at its end, or
    continued there by somebody who can write to the database. With it that holds for the events
    after the head. A file's signature is held against the keys on record.
    """
    from annotation.signing.heads import verify_against

    with invocation.store.reading() as session:
        found, held = verify_against(session, against)
    text = (
        f"{counted(found.events, 'event')}, unbroken. Head: {found.head}"
        if found.ok
        else f"Event {found.first_bad} is bad: {found.problem}. {counted(found.events, 'event')} in all."
    )
    if held is not None and held.signed_by is not None:
        text += f"\nHeld against the head that {held.signed_by} signed on {held.at}."
    unseen, step = _unseen(found, held)
    if found.ok and unseen is not None:
        text += f"\n{unseen[0].upper()}{unseen[1:]}; {step}."
    return Outcome(
        {
            **found.to_dict(),
            "against": held.to_dict() if held else None,
            "cannot_see": unseen,
        },
        lambda console: console.print(text, markup=False, soft_wrap=True),
        status=0 if found.ok else 1,
    )


def _unseen(found: Verification, held: HeldAgainst | None) -> tuple[str | None, str]:
    """What a chain that holds does not show, and what would show it."""
    if held is None:
        return (
            "a chain that was rewritten whole, cut at its end or continued there by somebody else "
            "looks like this too",
            "keep the head and compare with --against",
        )
    if held.signed_by is None:
        return (
            "the head is not signed: who could rewrite the chain could have written it too",
            "it tells as much as the place that it was kept in",
        )
    from annotation.audit import parse_head

    later = found.events - parse_head(held.head)[0]
    if later > 0:
        return (
            f"{counted(later, 'event')} after that head could have been rewritten, cut or added",
            "a later head vouches for them",
        )
    return None, ""


@audit.command("head")
@click.option("--by", "handle", required=True, metavar="HANDLE", help="Who signs.")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write; keep it where the owner of the database can't reach it.",
)
@signing_options
@command
def audit_head(
    invocation: Invocation,
    handle: str,
    target: Path,
    key_file: Path | None,
    passphrase_file: Path | None,
) -> Outcome:
    """Write the signed head of the trail: `audit verify --against` finds what was rewritten or cut."""
    from annotation.lookup import find_annotator
    from annotation.paths import replacing
    from annotation.signing.heads import sign_head

    key = unlocked(key_file, passphrase_file)
    if key is None:
        raise click.UsageError("Missing option '--key'.")
    if target.exists():
        raise ConflictError(
            f"{target} is there already, and an earlier head is never written over; "
            "choose another --to"
        )
    with replacing(target) as temporary, invocation.store.writing() as session:
        signed = sign_head(session, key, find_annotator(session, handle))
        temporary.write_bytes(signed.to_bytes())
    return Outcome(
        {
            "file": str(target),
            "head": signed.head,
            "study": signed.study,
            "at": signed.at,
            "signed_by": handle,
            "fingerprint": signed.fingerprint,
        },
        lambda console: console.print(
            f"Head {signed.head}, signed by {handle}: {target}", markup=False, soft_wrap=True
        ),
    )


@audit.command("export")
@click.option("--to", "target", type=click.Path(path_type=Path), help="A .csv or .jsonl file.")
@command
def audit_export(invocation: Invocation, target: Path | None) -> Outcome:
    """Write the trail as JSON Lines or CSV; to standard output without --to."""
    import msgspec

    from annotation.audit import export_csv, export_lines, verify
    from annotation.paths import replacing

    with invocation.store.reading() as session:
        found = verify(session)
        if target is None:
            events = list(export_lines(session))
        else:
            events = []
            with replacing(target) as temporary:
                if target.suffix.lower() == ".csv":
                    with temporary.open("w", encoding="utf-8", newline="") as stream:
                        export_csv(session, stream)
                else:
                    with temporary.open("wb") as lines:
                        for row in export_lines(session):
                            lines.write(msgspec.json.encode(row, order="sorted") + b"\n")

    def show(console: object) -> None:
        if target is not None:
            click.echo(f"Wrote {counted(found.events, 'event')} to {target}.")
        for row in events:
            click.echo(msgspec.json.encode(row, order="sorted"))

    document = {**found.to_dict(), "file": str(target) if target else None}
    if target is None:
        document["trail"] = events
    return Outcome(document, show)
