"""`init`, `protocol`, `annotator` and `slide`."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from annotation.commands.signing_options import signing_options, unlocked
from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, table

DATE = click.DateTime(formats=["%Y-%m-%d"])


def as_date(value: datetime | None) -> date | None:
    """The day that click read."""
    return value.date() if value else None


@click.command(short_help="Create the store, or upgrade an older one.")
@command
def init(invocation: Invocation) -> Outcome:
    """Create the store at --store, or bring an older one to the current schema."""
    from annotation.store import create_or_upgrade

    store, revision = create_or_upgrade(invocation.store_url)
    store.close()
    return Outcome(
        {"store": store.url, "revision": revision},
        lambda console: console.print(
            f"The store {store.url} is ready (schema {revision}).", markup=False
        ),
    )


@click.group(short_help="Protocols: what is rated, and how.")
def protocol() -> None:
    """Protocols: what is rated, and how."""


@protocol.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@command
def protocol_add(invocation: Invocation, file: Path) -> Outcome:
    """Register the protocol in FILE (`protocol template` prints one to start from)."""
    from annotation.protocol import load_protocol
    from annotation.study import add_protocol

    loaded = load_protocol(file)
    with invocation.store.writing() as session:
        row = add_protocol(session, loaded)
    return Outcome(
        {"name": row.name, "version": row.version, "sha256": row.sha256},
        lambda console: console.print(
            f"Protocol {row.name} version {row.version} is registered, not yet signed "
            f"(sha256 {row.sha256[:12]}…).",
            markup=False,
        ),
    )


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
    from annotation.study import sign_protocol

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
                rows=[
                    [r["name"], r["version"], r["signed_by"] or "not signed", r["sha256"][:12]]
                    for r in rows
                ],
            )
        ),
    )


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


@click.group(short_help="Slides, their patients and sites.")
def slide() -> None:
    """Slides, their patients and sites."""


@slide.command("add")
@click.argument("path_or_name")
@click.option("--width", "width_px", type=int, help="Width in px, where no image is at hand.")
@click.option("--height", "height_px", type=int, help="Height in px, where no image is at hand.")
@click.option("--mpp", type=float, help="Microns per pixel, where the file doesn't say.")
@click.option("--patient", help="The patient; clusters and splits are by patient.")
@click.option("--site", help="The site.")
@click.option("--scanner", help="What scanned it.")
@click.option("--stain", help="How it is stained.")
@click.option(
    "--hash",
    "hash_when",
    type=click.Choice(["now", "later"]),
    default="now",
    show_default=True,
    help="When to read the whole file for its fingerprint.",
)
@command
def slide_add(
    invocation: Invocation,
    path_or_name: str,
    width_px: int | None,
    height_px: int | None,
    mpp: float | None,
    patient: str | None,
    site: str | None,
    scanner: str | None,
    stain: str | None,
    hash_when: str,
) -> Outcome:
    """Register a slide: an image file, or a name with --width, --height and --mpp."""
    from annotation.study import add_slide, add_slide_without_image, describe_slide

    if (width_px is None) != (height_px is None):
        raise InputError(f"slide {path_or_name!r}: give --width and --height together")
    with invocation.store.writing() as session:
        if width_px is None or height_px is None:
            row = add_slide(
                session,
                Path(path_or_name),
                mpp=mpp,
                patient=patient,
                site=site,
                hash_files=hash_when == "now",
            )
        elif mpp is None:
            raise InputError(
                f"slide {path_or_name!r} has no microns per pixel; give --mpp beside its size"
            )
        else:
            row = add_slide_without_image(
                session,
                path_or_name,
                width_px=width_px,
                height_px=height_px,
                mpp=mpp,
                patient=patient,
                site=site,
            )
        if scanner is not None or stain is not None:
            describe_slide(session, row, scanner=scanner, stain=stain)
    return Outcome(
        {
            "name": row.name,
            "width_px": row.width_px,
            "height_px": row.height_px,
            "mpp": row.mpp,
            "fingerprint": row.fingerprint,
            "mpp_source": row.mpp_source,
            "vendor": row.vendor,
            "objective": row.objective,
            "bounds": row.bounds,
            "patient": patient,
            "site": site,
            "scanner": row.scanner,
            "stain": row.stain,
        },
        lambda console: console.print(
            f"Slide {row.name}: {row.width_px} x {row.height_px} px, {row.mpp:.4g} um/px "
            f"({'from the file' if row.mpp_source == 'file' else 'as given'}).",
            markup=False,
        ),
    )


@slide.command("describe")
@click.argument("name")
@click.option("--scanner", help="What scanned it.")
@click.option("--stain", help="How it is stained.")
@command
def slide_describe(
    invocation: Invocation, name: str, scanner: str | None, stain: str | None
) -> Outcome:
    """Say what scanned the slide NAME and how it is stained."""
    from annotation.lookup import find_slide
    from annotation.study import describe_slide

    with invocation.store.writing() as session:
        row = find_slide(session, name)
        describe_slide(session, row, scanner=scanner, stain=stain)
    return Outcome(
        {"name": row.name, "scanner": row.scanner, "stain": row.stain},
        lambda console: console.print(
            f"Slide {row.name}: scanner {row.scanner or 'missing'}, stain {row.stain or 'missing'}.",
            markup=False,
        ),
    )


@slide.command("hash")
@click.argument("name")
@command
def slide_hash(invocation: Invocation, name: str) -> Outcome:
    """Take the fingerprint of a slide added with --hash later, or check the one on record."""
    from annotation.lookup import find_slide
    from annotation.study import hash_slide

    with invocation.store.writing() as session:
        row = find_slide(session, name)
        hash_slide(session, row)
    return Outcome(
        {"name": row.name, "fingerprint": row.fingerprint},
        lambda console: console.print(
            f"Slide {row.name}: fingerprint {row.fingerprint}.", markup=False
        ),
    )


@slide.command("list")
@command
def slide_list(invocation: Invocation) -> Outcome:
    """List the slides."""
    from sqlalchemy import select

    from annotation.tables import Patient, Site, Slide

    with invocation.store.reading() as session:
        found = session.execute(
            select(Slide, Patient.name, Site.name)
            .outerjoin(Patient, Slide.patient_id == Patient.id)
            .outerjoin(Site, Slide.site_id == Site.id)
            .order_by(Slide.name)
        ).all()
    rows = [
        {
            "name": row.name,
            "width_px": row.width_px,
            "height_px": row.height_px,
            "mpp": row.mpp,
            "fingerprint": row.fingerprint,
            "patient": patient,
            "site": site,
        }
        for row, patient, site in found
    ]
    return Outcome(
        {"slides": rows},
        lambda console: console.print(
            table(
                None,
                "slide",
                "width px",
                "height px",
                "um/px",
                "patient",
                "site",
                rows=[
                    [r["name"], r["width_px"], r["height_px"], r["mpp"], r["patient"], r["site"]]
                    for r in rows
                ],
            )
        ),
    )
