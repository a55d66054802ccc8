"""The tables of the store that hold people, protocols, slides, reads and what was drawn.

Geometry is WKB in level-0 pixels. ``revisions``, ``events`` and ``signatures`` are append-only:
triggers of the database refuse to change or delete a row (see ``migrations``). Names of people stand in
``identities`` alone, which can be emptied or dropped without breaking anything.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "Annotation",
    "Annotator",
    "Assignment",
    "Base",
    "Credential",
    "Event",
    "HandedProject",
    "Identity",
    "Patient",
    "ProtocolVersion",
    "Pull",
    "PullRead",
    "PushedObject",
    "Read",
    "Revision",
    "Signature",
    "SigningKey",
    "Site",
    "Slide",
    "SourceChunk",
    "SourceFile",
    "StoreInfo",
]


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: always aware, always UTC, also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time; what reaches the database is UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be stored: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value


# SQLite numbers rows by itself only in an INTEGER primary key.
BigKey = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The declarative base of every table of the store."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - the name SQLAlchemy reads
        datetime: UtcDateTime,
        date: Date,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        str: Text,
        bytes: LargeBinary,
    }


class StoreInfo(Base):
    """One row: when the store was made, and the salt under which logins are digested."""

    __tablename__ = "store_info"

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    salt: Mapped[str]


class Annotator(Base):
    """A person under a handle."""

    __tablename__ = "annotators"

    id: Mapped[int] = mapped_column(primary_key=True)
    handle: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[datetime]


class Identity(Base):
    """Who stands behind a handle; the only table that names a person."""

    __tablename__ = "identities"

    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"), primary_key=True)
    full_name: Mapped[str | None]
    email: Mapped[str | None]


class Credential(Base):
    """What entitles an annotator, and the days between which it holds (both included)."""

    __tablename__ = "credentials"
    __table_args__ = (Index(None, "annotator_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    kind: Mapped[str]
    issuer: Mapped[str]
    number: Mapped[str]
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    recorded_at: Mapped[datetime]


class CredentialCorrection(Base):
    """What a credential turned out to be: other days, or none at all. The last one holds."""

    __tablename__ = "credential_corrections"

    id: Mapped[int] = mapped_column(primary_key=True)
    credential_id: Mapped[int] = mapped_column(ForeignKey("credentials.id"), index=True)
    at: Mapped[datetime]
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    withdrawn: Mapped[bool]
    reason: Mapped[str]


class StudyStatement(Base):
    """Something said of the study as a whole; the last one of a kind holds."""

    __tablename__ = "study_statements"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    text: Mapped[str]


class ProtocolVersion(Base):
    """One version of a protocol, as it was written and as it was understood."""

    __tablename__ = "protocols"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    sha256: Mapped[str]
    text: Mapped[str]
    added_at: Mapped[datetime]
    signed_by_id: Mapped[int | None] = mapped_column(ForeignKey("annotators.id"))
    signed_at: Mapped[datetime | None]


class Site(Base):
    """Where patients were treated or slides were scanned."""

    __tablename__ = "sites"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Patient(Base):
    """The unit that is independent of others: clusters and splits are by patient."""

    __tablename__ = "patients"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    site_id: Mapped[int | None] = mapped_column(ForeignKey("sites.id"))


class Slide(Base):
    """One image."""

    __tablename__ = "slides"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str | None]
    width_px: Mapped[int]
    height_px: Mapped[int]
    mpp: Mapped[float]
    mpp_source: Mapped[str]
    objective: Mapped[float | None]
    vendor: Mapped[str | None]
    bounds: Mapped[list[Any] | None]
    fingerprint: Mapped[str | None] = mapped_column(index=True)
    files: Mapped[list[Any] | None]
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"))
    site_id: Mapped[int | None] = mapped_column(ForeignKey("sites.id"))
    added_at: Mapped[datetime]
    scanner: Mapped[str | None]
    stain: Mapped[str | None]


class Read(Base):
    """One annotator reading one slide under one protocol version, once."""

    __tablename__ = "reads"
    __table_args__ = (UniqueConstraint("slide_id", "annotator_id", "protocol_id", "replicate"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"), index=True)
    protocol_id: Mapped[int] = mapped_column(ForeignKey("protocols.id"), index=True)
    replicate: Mapped[int]
    based_on_id: Mapped[int | None] = mapped_column(ForeignKey("reads.id"))


class HandedProject(Base):
    """A QuPath project that was made for one annotator and one protocol version.

    ``folder`` is the name of its folder, never the way to it.
    """

    __tablename__ = "handed_projects"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    protocol_id: Mapped[int] = mapped_column(ForeignKey("protocols.id"))
    folder: Mapped[str]
    made_at: Mapped[datetime]


class Assignment(Base):
    """A slide that was handed to an annotator to be read: one image of a project.

    ``shown_name`` and ``image_file`` are what the project shows, masked names where ``masked``;
    they never enter a report or a release. ``handed_sha256`` is the digest of the image's data and
    summary as they were handed out, so that a slide nobody has saved is no read; None where there
    were none. ``next_sha256`` is what it becomes by a push that is under way.
    ``read_id`` is filled in by the first pull. ``not_before`` is the day on which the washout ends.
    """

    __tablename__ = "assignments"
    __table_args__ = (
        Index(
            "uq_assignments_in_force",
            "slide_id",
            "annotator_id",
            "protocol_id",
            "replicate",
            unique=True,
            sqlite_where=text("withdrawn_at IS NULL"),
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("handed_projects.id"), index=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"))
    protocol_id: Mapped[int] = mapped_column(ForeignKey("protocols.id"), index=True)
    replicate: Mapped[int]
    shown_name: Mapped[str]
    masked: Mapped[bool]
    image_file: Mapped[str]
    position: Mapped[int]
    not_before: Mapped[date | None]
    handed_sha256: Mapped[str | None] = mapped_column(String(64))
    next_sha256: Mapped[str | None] = mapped_column(String(64))
    assigned_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    moved_from_id: Mapped[str | None] = mapped_column(ForeignKey("assignments.id"))
    read_id: Mapped[int | None] = mapped_column(ForeignKey("reads.id"))


class SourceFile(Base):
    """The raw bytes that a pull saw, kept once under their SHA-256."""

    __tablename__ = "source_files"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[int]


class SourceChunk(Base):
    """A zlib-compressed stretch of a source file."""

    __tablename__ = "source_chunks"

    sha256: Mapped[str] = mapped_column(ForeignKey("source_files.sha256"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Pull(Base):
    """One import; all of it or nothing."""

    __tablename__ = "pulls"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    source: Mapped[str]
    software_version: Mapped[str]


class PullRead(Base):
    """What one pull brought for one read.

    ``circumstances`` holds what the reader held on that day (``entitlement``), whether names were
    masked (``blinded``), whether predictions were in sight (``ai_assisted``), and from which pushes
    objects were (``saw``).
    """

    __tablename__ = "pull_reads"

    id: Mapped[int] = mapped_column(primary_key=True)
    pull_id: Mapped[int] = mapped_column(ForeignKey("pulls.id"), index=True)
    read_id: Mapped[int] = mapped_column(ForeignKey("reads.id"), index=True)
    source_sha256: Mapped[str] = mapped_column(ForeignKey("source_files.sha256"), index=True)
    read_date: Mapped[date]
    read_date_source: Mapped[str]
    counts: Mapped[dict[str, Any]]
    rejections: Mapped[list[Any]]
    copied: Mapped[list[Any]]
    excluded: Mapped[str | None]
    circumstances: Mapped[dict[str, Any] | None]


class Annotation(Base):
    """A QuPath object of a read, known by its UUID."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("read_id", "uuid"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    read_id: Mapped[int] = mapped_column(ForeignKey("reads.id"))
    uuid: Mapped[str] = mapped_column(String(36))


class Revision(Base):
    """One state of an annotation. Rows are never changed or deleted.

    ``geometry`` is what was pulled; ``rated_geometry`` stands beside it only where a repair or
    the slide's edge made what is rated differ from it.
    """

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("annotation_id", "revision"),
        Index(None, "geometry_digest"),
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"))
    pull_id: Mapped[int] = mapped_column(ForeignKey("pulls.id"), index=True)
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(String(7))
    path_class: Mapped[str | None] = mapped_column("class")
    mapped_class: Mapped[str | None]
    class_kind: Mapped[str] = mapped_column(String(12))
    object_type: Mapped[str] = mapped_column(String(12))
    name: Mapped[str | None]
    locked: Mapped[bool]
    parent: Mapped[str | None] = mapped_column(String(36))
    z: Mapped[int]
    t: Mapped[int]
    c: Mapped[int | None]
    geometry: Mapped[bytes | None]
    rated_geometry: Mapped[bytes | None]
    nucleus: Mapped[bytes | None]
    measurements: Mapped[str | None]
    extra: Mapped[str | None]
    digest: Mapped[bytes]
    geometry_digest: Mapped[bytes]
    repair_px2: Mapped[float | None]
    overhang_px2: Mapped[float | None]
    derived_from: Mapped[str | None]


class PushedObject(Base):
    """An object that pathquorum wrote for QuPath; when it comes back it is nobody's read."""

    __tablename__ = "pushed_objects"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36), index=True)
    origin: Mapped[str]
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"))
    target: Mapped[str]
    path_class: Mapped[str | None] = mapped_column("class")
    geometry: Mapped[bytes]
    geometry_digest: Mapped[bytes]
    file_sha256: Mapped[str] = mapped_column(String(64))
    reverted_at: Mapped[datetime | None]


class Event(Base):
    """One change of state. Rows are never changed or deleted; each hash covers the one before."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "subject"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    old: Mapped[dict[str, Any] | None]
    new: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    software_version: Mapped[str]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class SigningKey(Base):
    """A public key of an annotator. Nothing of it ever changes but ``revoked_at``, once.

    ``public_key`` is PEM; ``fingerprint`` the SHA-256 of its DER form.
    """

    __tablename__ = "signing_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"), index=True)
    public_key: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    valid_from: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Signature(Base):
    """What somebody signed, with which meaning. Rows are never changed or deleted.

    ``sha256`` is of what was signed; ``head`` that of the audit trail at that moment, COUNT:HASH.
    """

    __tablename__ = "signatures"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotators.id"))
    key_id: Mapped[int] = mapped_column(ForeignKey("signing_keys.id"))
    meaning: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    head: Mapped[str]
    signature: Mapped[bytes]
