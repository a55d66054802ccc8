"""The first schema, with the triggers that keep history as it was written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY = (
    "annotations",
    "consensus_items",
    "consensus_runs",
    "credentials",
    "decisions",
    "disputes",
    "events",
    "patient_parts",
    "pull_reads",
    "pulls",
    "releases",
    "revisions",
    "source_chunks",
    "source_files",
)

# SQLite's INSERT OR REPLACE deletes the row it replaces without firing a delete trigger, so an
# insert over a key of these two is refused as well.
KEYS = {
    "events": ("id = NEW.id", "hash = NEW.hash"),
    "revisions": ("id = NEW.id", "annotation_id = NEW.annotation_id AND revision = NEW.revision"),
}


def upgrade() -> None:
    """Create the tables and the triggers."""
    create_tables()
    if op.get_bind().dialect.name == "sqlite":
        create_sqlite_triggers()
    else:
        create_postgresql_triggers()


def create_sqlite_triggers() -> None:
    """Refuse to change, delete or replace a row of the append-only tables."""
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    for table, keys in KEYS.items():
        # Names from the two tables above, never from a user.
        exists = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE {key})"  # noqa: S608
            for key in keys
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {exists} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def create_postgresql_triggers() -> None:
    """Refuse to change, delete or truncate a row of the append-only tables."""
    op.execute(
        "CREATE FUNCTION pathquorum_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION pathquorum_append_only()"
        )


def create_tables() -> None:
    """Create every table."""
    op.create_table(
        "annotators",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotators")),
        sa.UniqueConstraint("handle", name=op.f("uq_annotators_handle")),
    )
    op.create_table(
        "events",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("old", sa.JSON(), nullable=True),
        sa.Column("new", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("hash", name=op.f("uq_events_hash")),
    )
    op.create_table(
        "pulls",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulls")),
    )
    op.create_table(
        "sites",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.UniqueConstraint("name", name=op.f("uq_sites_name")),
    )
    op.create_table(
        "source_files",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_source_files")),
    )
    op.create_table(
        "store_info",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_info")),
    )
    op.create_table(
        "credentials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_credentials_annotator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
    )
    op.create_index(
        op.f("ix_credentials_annotator_id_kind"),
        "credentials",
        ["annotator_id", "kind"],
        unique=False,
    )
    op.create_table(
        "identities",
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_identities_annotator_id")
        ),
        sa.PrimaryKeyConstraint("annotator_id", name=op.f("pk_identities")),
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_patients_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("name", name=op.f("uq_patients_name")),
    )
    op.create_table(
        "protocols",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added_at", UTC_TIME, nullable=False),
        sa.Column("signed_by_id", sa.Integer(), nullable=True),
        sa.Column("signed_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["signed_by_id"], ["annotators.id"], name=op.f("fk_protocols_signed_by_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_protocols")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_protocols_name_version")),
    )
    op.create_table(
        "source_chunks",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["source_files.sha256"], name=op.f("fk_source_chunks_sha256")
        ),
        sa.PrimaryKeyConstraint("sha256", "position", name=op.f("pk_source_chunks")),
    )
    op.create_table(
        "consensus_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("protocol_id", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["protocols.id"], name=op.f("fk_consensus_runs_protocol_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consensus_runs")),
    )
    op.create_index(
        op.f("ix_consensus_runs_protocol_id"), "consensus_runs", ["protocol_id"], unique=False
    )
    op.create_table(
        "slides",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("mpp", sa.Double(), nullable=False),
        sa.Column("mpp_source", sa.Text(), nullable=False),
        sa.Column("objective", sa.Double(), nullable=True),
        sa.Column("vendor", sa.Text(), nullable=True),
        sa.Column("bounds", sa.JSON(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("files", sa.JSON(), nullable=True),
        sa.Column("patient_id", sa.Integer(), nullable=True),
        sa.Column("site_id", sa.Integer(), nullable=True),
        sa.Column("added_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_slides_patient_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_slides_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slides")),
        sa.UniqueConstraint("name", name=op.f("uq_slides_name")),
    )
    op.create_index(op.f("ix_slides_fingerprint"), "slides", ["fingerprint"], unique=False)
    op.create_table(
        "consensus_items",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("pattern", sa.JSON(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("posterior", sa.JSON(), nullable=False),
        sa.Column("geometry", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["consensus_runs.id"], name=op.f("fk_consensus_items_run_id")
        ),
        sa.ForeignKeyConstraint(
            ["slide_id"], ["slides.id"], name=op.f("fk_consensus_items_slide_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consensus_items")),
    )
    op.create_index(op.f("ix_consensus_items_run_id"), "consensus_items", ["run_id"], unique=False)
    op.create_index(
        op.f("ix_consensus_items_slide_id"), "consensus_items", ["slide_id"], unique=False
    )
    op.create_table(
        "pushed_objects",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("geometry", sa.LargeBinary(), nullable=False),
        sa.Column("geometry_digest", sa.LargeBinary(), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("reverted_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["slide_id"], ["slides.id"], name=op.f("fk_pushed_objects_slide_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pushed_objects")),
    )
    op.create_index(op.f("ix_pushed_objects_uuid"), "pushed_objects", ["uuid"], unique=False)
    op.create_table(
        "reads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("protocol_id", sa.Integer(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("based_on_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_reads_annotator_id")
        ),
        sa.ForeignKeyConstraint(["based_on_id"], ["reads.id"], name=op.f("fk_reads_based_on_id")),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["protocols.id"], name=op.f("fk_reads_protocol_id")
        ),
        sa.ForeignKeyConstraint(["slide_id"], ["slides.id"], name=op.f("fk_reads_slide_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reads")),
        sa.UniqueConstraint(
            "slide_id",
            "annotator_id",
            "protocol_id",
            "replicate",
            name=op.f("uq_reads_slide_id_annotator_id_protocol_id_replicate"),
        ),
    )
    op.create_index(op.f("ix_reads_annotator_id"), "reads", ["annotator_id"], unique=False)
    op.create_index(op.f("ix_reads_protocol_id"), "reads", ["protocol_id"], unique=False)
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("up_to_event_id", BIG_KEY, nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["consensus_runs.id"], name=op.f("fk_releases_run_id")),
        sa.ForeignKeyConstraint(
            ["up_to_event_id"], ["events.id"], name=op.f("fk_releases_up_to_event_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("name", name=op.f("uq_releases_name")),
    )
    op.create_table(
        "annotations",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("read_id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"], name=op.f("fk_annotations_read_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sa.UniqueConstraint("read_id", "uuid", name=op.f("uq_annotations_read_id_uuid")),
    )
    op.create_table(
        "disputes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("item_id", BIG_KEY, nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("severity", sa.Double(), nullable=False),
        sa.Column("geometry", sa.LargeBinary(), nullable=True),
        sa.Column("reopened_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["item_id"], ["consensus_items.id"], name=op.f("fk_disputes_item_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["consensus_runs.id"], name=op.f("fk_disputes_run_id")),
        sa.ForeignKeyConstraint(["slide_id"], ["slides.id"], name=op.f("fk_disputes_slide_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_item_id"), "disputes", ["item_id"], unique=False)
    op.create_index(op.f("ix_disputes_run_id"), "disputes", ["run_id"], unique=False)
    op.create_table(
        "patient_parts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.Integer(), nullable=True),
        sa.Column("slide_id", sa.Integer(), nullable=True),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_patient_parts_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_patient_parts_release_id")
        ),
        sa.ForeignKeyConstraint(
            ["slide_id"], ["slides.id"], name=op.f("fk_patient_parts_slide_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_parts")),
        sa.UniqueConstraint("patient_id", name=op.f("uq_patient_parts_patient_id")),
        sa.UniqueConstraint("slide_id", name=op.f("uq_patient_parts_slide_id")),
    )
    op.create_table(
        "pull_reads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pull_id", sa.Integer(), nullable=False),
        sa.Column("read_id", sa.Integer(), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("read_date", sa.Date(), nullable=False),
        sa.Column("read_date_source", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("rejections", sa.JSON(), nullable=False),
        sa.Column("copied", sa.JSON(), nullable=False),
        sa.Column("excluded", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["pull_id"], ["pulls.id"], name=op.f("fk_pull_reads_pull_id")),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"], name=op.f("fk_pull_reads_read_id")),
        sa.ForeignKeyConstraint(
            ["source_sha256"], ["source_files.sha256"], name=op.f("fk_pull_reads_source_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pull_reads")),
    )
    op.create_index(op.f("ix_pull_reads_pull_id"), "pull_reads", ["pull_id"], unique=False)
    op.create_index(op.f("ix_pull_reads_read_id"), "pull_reads", ["read_id"], unique=False)
    op.create_index(
        op.f("ix_pull_reads_source_sha256"), "pull_reads", ["source_sha256"], unique=False
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dispute_id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("by_id", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("inherited_from_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["by_id"], ["annotators.id"], name=op.f("fk_decisions_by_id")),
        sa.ForeignKeyConstraint(
            ["dispute_id"], ["disputes.id"], name=op.f("fk_decisions_dispute_id")
        ),
        sa.ForeignKeyConstraint(
            ["inherited_from_id"], ["decisions.id"], name=op.f("fk_decisions_inherited_from_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_dispute_id"), "decisions", ["dispute_id"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("annotation_id", BIG_KEY, nullable=False),
        sa.Column("pull_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=7), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("mapped_class", sa.Text(), nullable=True),
        sa.Column("class_kind", sa.String(length=12), nullable=False),
        sa.Column("object_type", sa.String(length=12), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.Column("z", sa.Integer(), nullable=False),
        sa.Column("t", sa.Integer(), nullable=False),
        sa.Column("c", sa.Integer(), nullable=True),
        sa.Column("geometry", sa.LargeBinary(), nullable=True),
        sa.Column("rated_geometry", sa.LargeBinary(), nullable=True),
        sa.Column("nucleus", sa.LargeBinary(), nullable=True),
        sa.Column("measurements", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("geometry_digest", sa.LargeBinary(), nullable=False),
        sa.Column("repair_px2", sa.Double(), nullable=True),
        sa.Column("overhang_px2", sa.Double(), nullable=True),
        sa.Column("derived_from", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotation_id"], ["annotations.id"], name=op.f("fk_revisions_annotation_id")
        ),
        sa.ForeignKeyConstraint(["pull_id"], ["pulls.id"], name=op.f("fk_revisions_pull_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint(
            "annotation_id", "revision", name=op.f("uq_revisions_annotation_id_revision")
        ),
    )
    op.create_index(
        op.f("ix_revisions_geometry_digest"), "revisions", ["geometry_digest"], unique=False
    )
    op.create_index(op.f("ix_revisions_pull_id"), "revisions", ["pull_id"], unique=False)
