"""`slide`; `slide show` stands in consensus, for it shows what came of a slide."""

from __future__ import annotations

from pathlib import Path

import click

from annotation.errors import InputError
from annotation.terminal import Invocation, Outcome, command, table


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
