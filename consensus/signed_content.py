"""What a signature of a decision or release is bound to, and whether it is still that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import utc_text
from annotation.errors import SignatureError
from annotation.signing.verification import CONTENTS, Content
from annotation.tables import Event, Signature, Slide
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute, Release

__all__ = ["ALL_CONTENTS", "RELEASE_CREATED", "created_event", "decision_sha256"]

RELEASE_CREATED = "release created"


def created_event(session: Session, release: int) -> Event | None:
    """The event of a release; None where it is gone."""
    return session.scalars(
        select(Event).where(Event.subject == f"release:{release}", Event.action == RELEASE_CREATED)
    ).first()


def decision_sha256(session: Session, decision: Decision) -> str:
    """SHA-256 over a decision and what it was about: outline, raters' labels, slide and run."""
    dispute = session.get_one(Dispute, decision.dispute_id)
    item = session.get_one(ConsensusItem, dispute.item_id)
    run = session.get_one(ConsensusRun, dispute.run_id)
    content = {
        "decision": decision.id,
        "dispute": dispute.id,
        "by": decision.by_id,
        "at": utc_text(decision.at),
        "answer": decision.answer,
        "class": decision.path_class,
        "reason": decision.reason,
        "slide": session.get_one(Slide, dispute.slide_id).name,
        "item": item.name,
        "pattern": item.pattern,
        "geometry_sha256": None
        if dispute.geometry is None
        else hashlib.sha256(dispute.geometry).hexdigest(),
        "run": run.id,
        "input_digest": run.input_digest,
    }
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def decision_content(session: Session, row: Signature, number: int) -> str:
    """The digest of a decision as it stands now."""
    decision = session.get(Decision, number)
    if decision is None:
        raise SignatureError("the decision is gone")
    if decision.by_id != row.annotator_id:
        raise SignatureError("the decision names another adjudicator")
    return decision_sha256(session, decision)


def release_content(session: Session, _row: Signature, number: int) -> str:
    """The digest of a release's manifest as it stands now."""
    release = session.get(Release, number)
    if release is None:
        raise SignatureError("the release is gone")
    created = created_event(session, number)
    told = (created.new or {}) if created is not None else {}
    stands = {
        "name": release.name,
        "run": release.run_id,
        "manifest_sha256": release.manifest_sha256,
    }
    if {key: told.get(key) for key in stands} != stands:
        raise SignatureError("the release is not as the trail records it")
    return hashlib.sha256(release.manifest.encode()).hexdigest()


ALL_CONTENTS: Mapping[str, Content] = {
    **CONTENTS,
    "decision": decision_content,
    "release": release_content,
}
