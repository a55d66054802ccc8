"""What a study registers before anyone reads: slides; and the protocol that a row holds."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError
from annotation.protocol import Protocol, parse_protocol
from annotation.slides import LARGEST_MPP, SMALLEST_MPP, fingerprint, read_slide
from annotation.store import now
from annotation.tables import Patient, ProtocolVersion, Site, Slide

__all__ = [
    "add_slide",
    "add_slide_without_image",
    "describe_slide",
    "hash_slide",
    "protocol_of",
]


def protocol_of(row: ProtocolVersion) -> Protocol:
    """The protocol that a row of the store holds."""
    return parse_protocol(row.text, origin=f"{row.name}@{row.version}")


def add_slide(
    session: Session,
    path: Path,
    *,
    mpp: float | None = None,
    patient: str | None = None,
    site: str | None = None,
    hash_files: bool = True,
) -> Slide:
    """Register an image file as a slide.

    Raises
    ------
    SlideError
        It is no slide, or its microns per pixel are missing or implausible.
    ConflictError
        Another slide has this name or these pixels.
    """
    seen = read_slide(path, mpp=mpp, hash_files=hash_files)
    if seen.fingerprint is not None:
        twin = session.scalars(
            select(Slide).where(Slide.fingerprint == seen.fingerprint, Slide.name != seen.name)
        ).first()
        if twin is not None:
            raise ConflictError(
                f"slide {seen.name!r} has the same content as slide {twin.name!r}; "
                "add each image once",
                slide=seen.name,
            )
    row = Slide(
        name=seen.name,
        path=str(Path(seen.path).resolve()),
        width_px=seen.width_px,
        height_px=seen.height_px,
        mpp=seen.mpp,
        mpp_source=seen.mpp_source,
        objective=seen.objective,
        vendor=seen.vendor,
        bounds=list(seen.bounds) if seen.bounds else None,
        fingerprint=seen.fingerprint,
        files=list(seen.files),
        added_at=now(),
    )
    return _register(session, row, patient, site)


def describe_slide(
    session: Session, row: Slide, *, scanner: str | None = None, stain: str | None = None
) -> None:
    """Record what scanned a slide and how it is stained; what is None stays as it is.

    Raises
    ------
    InputError
        Nothing is said.
    """
    said = {"scanner": scanner, "stain": stain}
    new = {name: text.strip() for name, text in said.items() if text is not None and text.strip()}
    if not new:
        raise InputError(f"slide {row.name!r}: there is nothing to say; give --scanner or --stain")
    old = {name: getattr(row, name) for name in new}
    for name, text in new.items():
        setattr(row, name, text)
    session.flush()
    record(
        session,
        actor=None,
        action="slide described",
        subject=f"slide:{row.id}",
        old=old,
        new=new,
    )


def add_slide_without_image(
    session: Session,
    name: str,
    *,
    width_px: int,
    height_px: int,
    mpp: float,
    patient: str | None = None,
    site: str | None = None,
) -> Slide:
    """Register a slide whose image is not at hand, by its size."""
    if width_px <= 0 or height_px <= 0:
        raise InputError(
            f"slide {name!r} cannot measure {width_px} x {height_px} px; give its size"
        )
    if not SMALLEST_MPP <= mpp <= LARGEST_MPP:
        raise InputError(
            f"slide {name!r}: {mpp} microns per pixel lie outside {SMALLEST_MPP} to "
            f"{LARGEST_MPP}; check --mpp"
        )
    row = Slide(
        name=name,
        path=None,
        width_px=width_px,
        height_px=height_px,
        mpp=mpp,
        mpp_source="given",
        added_at=now(),
    )
    return _register(session, row, patient, site)


def hash_slide(session: Session, slide: Slide) -> None:
    """Take the fingerprint of a slide that was added with its hashing put off.

    Raises
    ------
    ConflictError
        It has no image, or its fingerprint is another than the one on record.
    """
    if slide.path is None:
        raise ConflictError(
            f"slide {slide.name!r} was added without an image; there is nothing to hash",
            slide=slide.name,
        )
    taken = fingerprint(Path(slide.path))
    if slide.fingerprint not in (None, taken):
        raise ConflictError(
            f"slide {slide.name!r} is not the image that was added: its fingerprint differs; "
            "bring the original file back",
            slide=slide.name,
        )
    if slide.fingerprint is None:
        slide.fingerprint = taken
        record(
            session,
            actor=None,
            action="slide hashed",
            subject=f"slide:{slide.id}",
            old={"fingerprint": None},
            new={"fingerprint": taken},
        )


def _register(session: Session, row: Slide, patient: str | None, site: str | None) -> Slide:
    present = session.scalars(select(Slide).where(Slide.name == row.name)).first()
    if present is not None:
        raise ConflictError(
            f"a slide named {row.name!r} exists already; rename the file, slides are told apart "
            "by their names",
            slide=row.name,
        )
    place = _site(session, site)
    row.site_id = place.id if place else None
    row.patient_id = _patient(session, patient, place)
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action="slide added",
        subject=f"slide:{row.id}",
        new={
            "name": row.name,
            "width_px": row.width_px,
            "height_px": row.height_px,
            "mpp": row.mpp,
            "mpp_source": row.mpp_source,
            "fingerprint": row.fingerprint,
            "patient": row.patient_id,
            "site": row.site_id,
        },
    )
    return row


def _site(session: Session, name: str | None) -> Site | None:
    if name is None:
        return None
    site = session.scalars(select(Site).where(Site.name == name)).first()
    if site is None:
        site = Site(name=name)
        session.add(site)
        session.flush()
    return site


def _patient(session: Session, name: str | None, site: Site | None) -> int | None:
    if name is None:
        return None
    patient = session.scalars(select(Patient).where(Patient.name == name)).first()
    if patient is None:
        patient = Patient(name=name, site_id=site.id if site else None)
        session.add(patient)
        session.flush()
    return patient.id
