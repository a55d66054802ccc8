"""A release: a run and its decisions up to an event, frozen as a training set with its split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError, RefusedError, StoreDamagedError
from annotation.lookup import unknown
from annotation.pulled_digests import check_pulled
from annotation.signing.key_files import UnlockedKey
from annotation.signing.keys import require_key, signer_of
from annotation.signing.signatures import RELEASE, sign
from annotation.store import now
from annotation.tables import Annotator, Event, Patient, ProtocolVersion, Read, Site
from consensus.consensus_items import Consensus
from consensus.releases.manifest import (
    SlidePlace,
    build_manifest,
    encode_manifest,
    first_difference,
    sha256_of,
)
from consensus.releases.split import DEFAULT_SHARES, Split, Subject, assign_parts
from consensus.run_kinds import require_raters
from consensus.runs import find_run
from consensus.signed_content import RELEASE_CREATED, created_event
from consensus.tables import PatientPart, Release

__all__ = [
    "FrozenRelease",
    "create_release",
    "find_release",
    "list_releases",
    "open_release",
    "release_document",
]


@dataclass(frozen=True)
class FrozenRelease:
    """A release with the consensus as it stood when it was made.

    ``difference`` says in a few words where the store no longer gives the same manifest; None
    while it does.
    """

    row: Release
    manifest: dict[str, Any]
    consensus: Consensus
    difference: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def part_of_slide(self) -> dict[str, str]:
        """The part of the split that each slide belongs to, by name."""
        return {slide["name"]: slide["part"] for slide in self.manifest["slides"]}

    def require_unchanged(self) -> None:
        """Refuse to hand out what the manifest no longer describes."""
        if self.difference is not None:
            raise RefusedError(
                f"release {self.row.name!r} no longer matches the store: {self.difference}; look "
                "into `pathquorum audit export`, or create a new release",
                release=self.row.name,
            )


@dataclass(frozen=True)
class _Subjects:
    """Who must stay together: patients, and slides that belong to none."""

    of_slide: dict[int, Subject]
    patient_of_slide: dict[int, str | None]
    row_of_key: dict[str, dict[str, int]]
    inherited: dict[str, str]

    @property
    def distinct(self) -> list[Subject]:
        """Each subject once, at the site of its first slide."""
        first: dict[str, Subject] = {}
        for subject in self.of_slide.values():
            first.setdefault(subject.key, subject)
        return list(first.values())


def create_release(
    session: Session,
    name: str,
    run: int,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int | None = None,
    by: Annotator | None = None,
    key: UnlockedKey | None = None,
) -> FrozenRelease:
    """Freeze a run and its decisions under a name.

    Parameters
    ----------
    shares, seed
        Of the split; what is None is taken from the last release, and else is the default. They
        concern patients who have no part yet.
    by, key
        Who releases it, and their key to sign it with; a key alone says whose it is.

    Raises
    ------
    RefusedError
        The protocol requires signatures and there is no key.
    StoreDamagedError
        What a pull stored under the protocol is not what the trail records.
    SignatureError
        The key is somebody else's, or was revoked.
    ConflictError
        The name is taken.
    InputError
        The run has no label to release.
    """
    if not name.strip():
        raise InputError("a release needs a name; write `pathquorum release create NAME`")
    if session.scalar(select(Release.id).where(Release.name == name)) is not None:
        raise ConflictError(
            f"a release named {name!r} exists already; releases never change, choose another name",
            release=name,
        )
    found = find_run(session, run)
    require_raters(
        found,
        "decide its disputes, then `pathquorum consensus run` counts each decision as one rating, "
        "and that run can be released",
    )
    consensus = Consensus(session, found)
    require_key(consensus.protocol_row, consensus.protocol, key, "release")
    signer = signer_of(session, key, by)
    _require_reads_as_recorded(session, consensus.protocol_row)
    last_shares, last_seed = _last_split(session)
    shares = last_shares if shares is None else shares
    seed = last_seed if seed is None else seed
    subjects = _subjects(session, consensus)
    split = assign_parts(subjects.distinct, shares, seed, subjects.inherited)
    manifest = _manifest(consensus, subjects, split.parts, shares, seed)
    if not manifest["totals"]["labelled"]:
        raise InputError(
            f"run {run} has no labelled item, so there is nothing to release; decide its disputes "
            "with `pathquorum adjudicate`, or bring in more reads",
            run=run,
        )
    actor = by if signer is None else signer.annotator
    row = _write(session, name, consensus, manifest, subjects, split, actor, signed=key is not None)
    sign(session, signer, meaning=RELEASE, digests={f"release:{row.id}": row.manifest_sha256})
    return FrozenRelease(row, manifest, consensus, notes=split.notes)


def _require_reads_as_recorded(session: Session, row: ProtocolVersion) -> None:
    reads = session.scalars(select(Read.id).where(Read.protocol_id == row.id)).all()
    faults = check_pulled(session, set(reads)).faults
    if faults:
        raise StoreDamagedError(
            f"the reads are not those that the audit trail records ({faults[0]}), so that nothing "
            "is released from them; see `pathquorum store check`, and bring back a backup",
            faults=faults,
        )


def _write(
    session: Session,
    name: str,
    consensus: Consensus,
    manifest: dict[str, Any],
    subjects: _Subjects,
    split: Split,
    by: Annotator | None,
    *,
    signed: bool,
) -> Release:
    encoded = encode_manifest(manifest)
    last_event = session.scalar(select(func.max(Event.id)))
    row = Release(
        name=name,
        run_id=consensus.run.id,
        at=now(),
        up_to_event_id=last_event,
        manifest=encoded.decode(),
        manifest_sha256=sha256_of(encoded),
    )
    session.add(row)
    session.flush()
    new = sorted(split.parts.keys() - subjects.inherited.keys())
    session.add_all(
        PatientPart(part=split.parts[key], release_id=row.id, **subjects.row_of_key[key])
        for key in new
    )
    record(
        session,
        actor=by,
        action=RELEASE_CREATED,
        subject=f"release:{row.id}",
        new={
            "name": name,
            "run": row.run_id,
            "manifest_sha256": row.manifest_sha256,
            "up_to_event": last_event,
            "up_to_decision": consensus.last_decision,
            "split": manifest["split"],
            "patients_assigned": len(new),
            "signed": signed,
        },
    )
    return row


def find_release(session: Session, name: str) -> Release:
    """The release of this name."""
    found = session.scalars(select(Release).where(Release.name == name)).first()
    if found is None:
        raise unknown(
            "release",
            name,
            session.scalars(select(Release.name)),
            "see `pathquorum release list`, or make one with `pathquorum release create`",
        )
    return found


def list_releases(session: Session) -> list[Release]:
    """All releases, the oldest first."""
    return list(session.scalars(select(Release).order_by(Release.id)))


def open_release(session: Session, name: str) -> FrozenRelease:
    """A release, its manifest compared with what the store gives now."""
    row = find_release(session, name)
    kept: dict[str, Any] = msgspec.json.decode(row.manifest)
    event = created_event(session, row.id)
    if event is None:
        raise RefusedError(
            f"release {name!r} has no event in the trail; see `pathquorum audit verify`",
            release=name,
        )
    up_to = (event.new or {})["up_to_decision"]
    consensus = Consensus(session, find_run(session, row.run_id), up_to_decision=up_to)
    difference = None
    if sha256_of(row.manifest.encode()) != row.manifest_sha256:
        difference = "its manifest was changed"
    else:
        subjects = _subjects(session, consensus)
        # A slide that has come to the run since then, or to another patient, has no part.
        parts = {s.key: subjects.inherited.get(s.key, "") for s in subjects.distinct}
        split = kept["split"]
        again = _manifest(consensus, subjects, parts, split["shares"], split["seed"])
        if sha256_of(encode_manifest(again)) != row.manifest_sha256:
            difference = first_difference(kept, msgspec.json.decode(encode_manifest(again)))
    return FrozenRelease(row, kept, consensus, difference)


def release_document(release: FrozenRelease) -> dict[str, Any]:
    """What ``release create`` and ``release show`` print."""
    manifest, totals = release.manifest, release.manifest["totals"]
    shares, parts = manifest["split"]["shares"], manifest["split"]["parts"]
    by_share = sorted(parts, key=lambda part: (-shares.get(part, 0.0), part))
    return {
        "release": release.row.name,
        "manifest_sha256": release.row.manifest_sha256,
        "slides": totals["slides"],
        "items": totals["items"],
        "split": {part: parts[part] for part in by_share},
        "shares": shares,
        "seed": manifest["split"]["seed"],
        "labelled": {
            name: totals["labelled"][name]
            for name in manifest["classes"]
            if name in totals["labelled"]
        },
        "unlabelled": totals["unlabelled"],
        "weight_unit": totals["weight_unit"],
        "run": release.row.run_id,
        "protocol": f"{manifest['protocol']['name']}@{manifest['protocol']['version']}",
        "method": manifest["method"],
        "parameters": manifest["parameters"],
        "decisions": len(manifest["decisions"]),
        "excluded_reads": manifest["excluded_reads"],
        "up_to_event": release.row.up_to_event_id,
        "at": release.row.at,
        "matches_store": release.difference is None,
        "difference": release.difference,
        "notes": release.notes,
    }


def _last_split(session: Session) -> tuple[Mapping[str, float], int]:
    """Shares and seed of the last release; the defaults before the first."""
    text = session.scalars(select(Release.manifest).order_by(Release.id.desc()).limit(1)).first()
    if text is None:
        return DEFAULT_SHARES, 0
    split = msgspec.json.decode(text)["split"]
    return split["shares"], split["seed"]


def _subjects(session: Session, consensus: Consensus) -> _Subjects:
    patients = {
        patient.id: patient
        for patient in session.scalars(
            select(Patient).where(Patient.id.in_({s.patient_id for s in consensus.slides} - {None}))
        )
    }
    sites = {site.id: site.name for site in session.scalars(select(Site))}
    kept = session.scalars(select(PatientPart)).all()
    of_patient = {row.patient_id: row.part for row in kept if row.patient_id is not None}
    of_slide = {row.slide_id: row.part for row in kept if row.slide_id is not None}
    found = _Subjects({}, {}, {}, {})
    for slide in consensus.slides:
        patient = None if slide.patient_id is None else patients[slide.patient_id]
        if patient is None:
            key, row, part = f"slide:{slide.name}", {"slide_id": slide.id}, of_slide.get(slide.id)
        else:
            key, row = f"patient:{patient.name}", {"patient_id": patient.id}
            part = of_patient.get(patient.id)
        site = slide.site_id or (None if patient is None else patient.site_id)
        found.of_slide[slide.id] = Subject(key, None if site is None else sites[site])
        found.patient_of_slide[slide.id] = None if patient is None else patient.name
        found.row_of_key[key] = row
        if part is not None:
            found.inherited[key] = part
    return found


def _manifest(
    consensus: Consensus,
    subjects: _Subjects,
    parts: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    return build_manifest(
        consensus,
        places={
            slide: SlidePlace(subjects.patient_of_slide[slide], subject.site, parts[subject.key])
            for slide, subject in subjects.of_slide.items()
        },
        shares=shares,
        seed=seed,
    )
