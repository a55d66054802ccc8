"""`signature list` and `signature verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotation.terminal import Invocation, Outcome, command, counted, table

if TYPE_CHECKING:
    from rich.console import Console


@click.group(short_help="What was signed, and if it holds.")
def signature() -> None:
    """What was signed, by whom and with which meaning, and whether it still holds."""


@signature.command("list")
@click.option("--subject", metavar="S", help="Only of this, as `protocol:1` or `decision:7`.")
@command
def signature_list(invocation: Invocation, subject: str | None) -> Outcome:
    """List the signatures on record."""
    from sqlalchemy import select

    from annotation.tables import Annotator, Signature, SigningKey

    query = (
        select(Signature, Annotator.handle, SigningKey.fingerprint)
        .join(Annotator, Signature.annotator_id == Annotator.id)
        .join(SigningKey, Signature.key_id == SigningKey.id)
        .order_by(Signature.id)
    )
    if subject is not None:
        query = query.where(Signature.subject == subject)
    with invocation.store.reading() as session:
        found = session.execute(query).all()
    rows: list[dict[str, Any]] = [
        {
            "id": row.id,
            "at": row.at,
            "signer": handle,
            "meaning": row.meaning,
            "subject": row.subject,
            "sha256": row.sha256,
            "head": row.head,
            "fingerprint": fingerprint,
        }
        for row, handle, fingerprint in found
    ]
    return Outcome(
        {"signatures": rows},
        lambda console: console.print(
            table(
                None,
                "signature",
                "at (UTC)",
                "signer",
                "meaning",
                "subject",
                "sha256",
                rows=[
                    [
                        r["id"],
                        f"{r['at']:%Y-%m-%d %H:%M}",
                        r["signer"],
                        r["meaning"],
                        r["subject"],
                        r["sha256"][:12],
                    ]
                    for r in rows
                ],
            )
        ),
    )


@signature.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@command
def signature_verify(invocation: Invocation, files: tuple[Path, ...]) -> Outcome:
    """Derive every signature on record anew, and what was signed.

    It names each that no longer holds: the signature or its key was changed or is gone, the trail
    before it was rewritten, or the protocol, decision or release is not what was signed. A report
    is a FILE: name it, with its .sig beside it, and it is checked as well.
    """
    from annotation.signing.signed_files import check_file
    from annotation.signing.verification import verify_signatures
    from consensus.signed_content import ALL_CONTENTS

    with invocation.store.reading() as session:
        found = verify_signatures(session, ALL_CONTENTS)
        checked = [check_file(session, file).to_dict() for file in files]
    ok = found.ok and all(file["ok"] for file in checked)

    def show(console: Console) -> None:
        lines = [
            f"{_which(problem.signature, problem.signer, problem.meaning)}{problem.subject}: "
            f"{problem.problem}."
            for problem in found.bad
        ]
        lines += [
            f"{file['file']}: {file['problem'] or 'signed by ' + file['signer'] + ', ' + repr(file['meaning'])}."
            for file in checked
        ]
        if found.ok:
            lines.append(
                f"{counted(found.signatures, 'signature')} by {counted(found.keys, 'key')}, all hold."
            )
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)

    return Outcome({**found.to_dict(), "ok": ok, "files": checked}, show, status=0 if ok else 1)


def _which(number: int | None, signer: str | None, meaning: str | None) -> str:
    return "" if number is None else f"Signature {number} of {signer} ({meaning}) on "
