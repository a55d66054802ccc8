"""`annotator`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from annotation.commands.dates import DATE, as_date
from annotation.terminal import Invocation, Outcome, command, table


@click.group(short_help="People and what entitles them.")
def annotator() -> None:
    """People and what entitles them."""


@annotator.command("add")
@click.argument("handle")
@click.option(
    "--role",
    required=True,
    type=click.Choice(["trainee", "annotator", "pathologist", "senior", "lead", "engineer"]),
)
@click.option("--name", "full_name", help="Their name; kept apart from everything else.")
@click.option("--email", help="Their address; kept apart from everything else.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="KIND:ISSUER:NUMBER",
    help="What entitles them; may be given again.",
)
@click.option("--valid-from", type=DATE, metavar="DATE", help="First day of the credential.")
@click.option("--valid-to", type=DATE, metavar="DATE", help="Last day of the credential.")
@command
def annotator_add(
    invocation: Invocation,
    handle: str,
    role: str,
    full_name: str | None,
    email: str | None,
    credentials: tuple[str, ...],
    valid_from: datetime | None,
    valid_to: datetime | None,
) -> Outcome:
    """Add a person under HANDLE, or a credential or new role to one who is there."""
    from annotation.people import add_annotator, parse_credential

    claims = [parse_credential(text) for text in credentials]
    with invocation.store.writing() as session:
        row = add_annotator(
            session,
            handle,
            role,
            full_name=full_name,
            email=email,
            credentials=claims,
            valid_from=as_date(valid_from),
            valid_to=as_date(valid_to),
        )
    held = f" with {', '.join(claim.kind for claim in claims)}" if claims else ""
    return Outcome(
        {
            "handle": row.handle,
            "role": row.role,
            "credentials": [
                {"kind": claim.kind, "issuer": claim.issuer, "number": claim.number}
                for claim in claims
            ],
        },
        lambda console: console.print(
            f"Annotator {row.handle} is registered as {row.role}{held}.", markup=False
        ),
    )


@annotator.command("correct")
@click.argument("handle")
@click.option("--credential", required=True, metavar="KIND:ISSUER:NUMBER", help="Which one.")
@click.option("--valid-from", type=DATE, metavar="DATE", help="Its true first day.")
@click.option("--valid-to", type=DATE, metavar="DATE", help="Its true last day.")
@click.option("--withdrawn", is_flag=True, help="It never held, or was taken away.")
@click.option("--reason", required=True, metavar="TEXT")
@command
def annotator_correct(
    invocation: Invocation,
    handle: str,
    credential: str,
    valid_from: datetime | None,
    valid_to: datetime | None,
    withdrawn: bool,
    reason: str,
) -> Outcome:
    """Correct the days of a credential of HANDLE, or withdraw it.

    What was recorded stays, and so does what earlier reads were held against; pull a read again to
    hold it against what is known now.
    """
    from annotation.people import correct_credential, parse_credential

    with invocation.store.writing() as session:
        row = correct_credential(
            session,
            handle,
            parse_credential(credential),
            valid_from=as_date(valid_from),
            valid_to=as_date(valid_to),
            withdrawn=withdrawn,
            reason=reason,
        )
    return Outcome(
        {
            "handle": handle,
            "correction": row.id,
            "valid_from": row.valid_from,
            "valid_to": row.valid_to,
            "withdrawn": row.withdrawn,
        },
        lambda console: console.print(f"Corrected {credential} of {handle}.", markup=False),
    )


@annotator.command("list")
@command
def annotator_list(invocation: Invocation) -> Outcome:
    """List the handles, roles and credentials; no names."""
    from sqlalchemy import select

    from annotation.tables import Annotator, Credential

    with invocation.store.reading() as session:
        people = session.scalars(select(Annotator).order_by(Annotator.id)).all()
        held = session.scalars(select(Credential).order_by(Credential.id)).all()
    rows: list[dict[str, Any]] = [
        {
            "handle": person.handle,
            "role": person.role,
            "credentials": [
                {"kind": c.kind, "valid_from": c.valid_from, "valid_to": c.valid_to}
                for c in held
                if c.annotator_id == person.id
            ],
        }
        for person in people
    ]
    return Outcome(
        {"annotators": rows},
        lambda console: console.print(
            table(
                None,
                "handle",
                "role",
                "credentials",
                rows=[
                    [r["handle"], r["role"], ", ".join(_term(c) for c in r["credentials"]) or "-"]
                    for r in rows
                ],
            )
        ),
    )


def _term(credential: dict[str, object]) -> str:
    start, end = credential["valid_from"] or "…", credential["valid_to"] or "…"
    return f"{credential['kind']} ({start} to {end})"
