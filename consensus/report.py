"""The concordance report: one HTML file that needs nothing beside it.

It says what stood in the store when the run was made, and the decisions in force now. Its figures
are computed anew from the stored revisions; it says whether these still give the run's input
digest. Raters stand under their handles, so it is for the study's lead and not for an adjudicator.
"""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from annotation.audit import Verification, record, verify
from annotation.errors import ConflictError, InputError
from annotation.lookup import find_annotator
from annotation.paths import replacing
from annotation.protocol_versions import versions_of
from annotation.signing.key_files import UnlockedKey
from annotation.signing.keys import Signer, require_key, signer_of
from annotation.signing.signatures import APPROVE_REPORT, sign
from annotation.signing.signed_files import detached, signature_path
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion
from consensus.comparing.boundary_document import boundary_part
from consensus.comparing.comparisons import Method, against_others
from consensus.comparing.objects_document import objects_part
from consensus.comparing.versions import Resampling, compare_versions
from consensus.fusing.sensitivity import sensitivity
from consensus.fusing.study_votes import vote_rules
from consensus.queue.decisions import answers_in_force
from consensus.reporting.agreement import COEFFICIENTS, AgreementSection, agreement_section
from consensus.reporting.consensus import ConsensusSection, consensus_section
from consensus.reporting.crosswalk import CrosswalkRow, Facts, crosswalk
from consensus.reporting.figures import FiguresSection, figures_section
from consensus.reporting.numbers import moment_text
from consensus.reporting.page import render
from consensus.reporting.protocol import ProtocolSection, protocol_section
from consensus.reporting.sensitivity import SensitivitySection, sensitivity_section
from consensus.reporting.study import StudySection, study_section
from consensus.reporting.triage import TriageSection, triage_sections
from consensus.reporting.versions import VersionsSection, versions_section
from consensus.run_kinds import require_raters
from consensus.runs import find_run, last_pull_before
from consensus.study.assisted_ratings import assisted_ratings, digest_with, last_decision_before
from consensus.study.replicates import rate_replicates
from consensus.study.run_reference import run_reference
from consensus.study.slide_items import Wanted
from consensus.study.study_ratings import rate
from consensus.tables import ConsensusRun

__all__ = ["Report", "WrittenReport", "collect_report", "write_report"]

BOOTSTRAP_REPLICATES: Final = 1000
BOOTSTRAP_SEED: Final = 0
LIBRARIES: Final = (
    "numpy",
    "scipy",
    "statsmodels",
    "shapely",
    "SQLAlchemy",
    "matplotlib",
    "openslide-python",
)


@dataclass(frozen=True)
class Made:
    """When and by what the page was made, and the trail that it rests on."""

    at: str
    software: list[tuple[str, str]]
    audit_head: str
    audit_problem: str | None
    audit_events: int


@dataclass(frozen=True)
class Report:
    """What stands on the page, a field for each section."""

    protocol: ProtocolSection
    study: StudySection
    agreement: AgreementSection
    consensus: ConsensusSection
    sensitivity: SensitivitySection
    figures: FiguresSection
    versions: VersionsSection | None
    triages: list[TriageSection]
    digest_matches: bool
    crosswalk: list[CrosswalkRow]
    made: Made


@dataclass(frozen=True)
class WrittenReport:
    """A report in its file."""

    run: int
    file: Path
    sha256: str
    size_bytes: int
    pictures: int
    notes: list[str]
    signature: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The document of ``report --json``."""
        return {
            "file": str(self.file),
            "run": self.run,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "pictures": self.pictures,
            "notes": self.notes,
            "signature": str(self.signature) if self.signature else None,
        }


def write_report(
    store: Store,
    number: int | None,
    path: Path,
    *,
    by: str | None = None,
    key: UnlockedKey | None = None,
) -> WrittenReport:
    """Write the report of a run, and record that it was written.

    Parameters
    ----------
    number
        The run; None takes the latest.
    by, key
        Who reports, and their key to sign it with: the signature goes into a file beside it.

    Raises
    ------
    UnknownNameError
        There is no such run.
    InputError
        The path is a folder.
    ConflictError
        A signed report stands there, and this one is not signed.
    RefusedError
        The protocol requires signatures and there is no key.
    SignatureError
        The key is somebody else's, or was revoked.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; name the report's file in it, as report.html")
    beside = signature_path(path)
    if key is None and beside.exists():
        raise ConflictError(
            f"{path} is signed ({beside.name} stands beside it) and this report is not; sign it "
            "with --key FILE, or choose another --to"
        )
    with store.reading() as session:
        run = find_run(session, number, raters_only=True)
        require_raters(
            run, "its figures stand in the report of its protocol's latest consensus run"
        )
        row = session.get_one(ProtocolVersion, run.protocol_id)
        require_key(row, protocol_of(row), key, "report")
        _reporter(session, by, key)
        report = collect_report(session, run)
    page = render(report).encode()
    digest = hashlib.sha256(page).hexdigest()
    with ExitStack() as files:
        files.enter_context(replacing(path)).write_bytes(page)
        with store.writing() as session:
            reporter, signer = _reporter(session, by, key)
            event = record(
                session,
                actor=reporter,
                action="report written",
                subject=f"run:{report.consensus.run}",
                # The folder is left out: on many machines it names a person.
                new={
                    "file": path.name,
                    "sha256": digest,
                    "audit_head": report.made.audit_head,
                    "signed": key is not None,
                },
            )
            digests = {f"report:{event.id}": digest}
            for signature in sign(session, signer, meaning=APPROVE_REPORT, digests=digests):
                signed = detached(session, signature, path.name)
                files.enter_context(replacing(beside)).write_bytes(signed.to_bytes())
    return WrittenReport(
        run=report.consensus.run,
        file=path,
        sha256=digest,
        size_bytes=len(page),
        pictures=len(report.figures.pictures),
        notes=_notes(report),
        signature=None if key is None else beside,
    )


def _reporter(
    session: Session, by: str | None, key: UnlockedKey | None
) -> tuple[Annotator | None, Signer | None]:
    """Who reports, and signs; None where nobody is named, or nobody signs."""
    reporter = None if by is None else find_annotator(session, by)
    signer = signer_of(session, key, reporter)
    return (reporter if signer is None else signer.annotator), signer


def _notes(report: Report) -> list[str]:
    """What whoever made the report should hear at once."""
    notes = []
    if report.protocol.signed is None:
        notes.append(
            f"protocol {report.protocol.name} version {report.protocol.version} is not signed"
        )
    if report.consensus.open_disputes:
        notes.append(f"disputes that are still open: {report.consensus.open_disputes}")
    if report.study.later_reads:
        notes.append(
            f"reads that were pulled after the run and are not in it: {report.study.later_reads}"
        )
    if not report.digest_matches:
        notes.append("the stored revisions no longer give the run's input digest")
    if report.made.audit_problem:
        notes.append(f"the audit trail is broken: {report.made.audit_problem}")
    return notes


def collect_report(session: Session, run: ConsensusRun) -> Report:
    """Collect all that the page says of a run."""
    row = session.get_one(ProtocolVersion, run.protocol_id)
    as_of_pull = last_pull_before(session, run)
    wanted = Wanted(geometry=False, ladder=True, tolerance_um=protocol_of(row).dispute.tolerance_um)
    rated = rate(session, row, as_of_pull=as_of_pull, wanted=wanted)
    method = Method(rated.protocol.weights, BOOTSTRAP_REPLICATES, BOOTSTRAP_SEED)
    figures = method.agreement(rated.ratings).to_dict()
    figures["reference"] = run_reference(session, run).compared(method)
    figures["others"] = against_others(rated.ratings, method)
    figures["intra_rater"] = rate_replicates(session, row, as_of_pull=as_of_pull).compared(method)
    figures |= objects_part(rated, method.weights, figures)
    figures |= boundary_part(rated, method)
    moved = sensitivity(
        rated.ratings,
        base=run.method,
        quorum=run.parameters["quorum"],
        min_raters=run.parameters["min_raters"],
        votes=vote_rules(session, rated),
    )
    assisted = assisted_ratings(session, row, up_to=last_decision_before(session, run))
    consensus = consensus_section(session, run)
    protocol = protocol_section(session, row, protocol_of(row))
    agreement = agreement_section(figures)
    shown = figures_section(session, run, consensus.entries, as_of_pull)
    decided = answers_in_force(session, run).values()
    study = study_section(
        session,
        run,
        rated,
        as_of_pull,
        Counter(decision.by_id for decision in decided if decision.by_id is not None),
    )
    return Report(
        protocol=protocol,
        study=study,
        agreement=agreement,
        consensus=consensus,
        sensitivity=sensitivity_section(moved.to_dict()),
        figures=shown,
        versions=_versions(session, row, as_of_pull),
        triages=triage_sections(session, row),
        digest_matches=digest_with(rated.input_digest, assisted) == run.input_digest,
        crosswalk=crosswalk(_facts(protocol, study, agreement, consensus)),
        made=_made(now(), verify(session)),
    )


def _versions(
    session: Session, row: ProtocolVersion, as_of_pull: int | None
) -> VersionsSection | None:
    """The versions of the run's protocol beside each other; None where there is only one."""
    if len(versions_of(session, row.name)) == 1:
        return None
    drawn = Resampling(BOOTSTRAP_REPLICATES, BOOTSTRAP_SEED)
    document = compare_versions(session, row.name, drawn, as_of_pull=as_of_pull)
    return versions_section(document, row.version, COEFFICIENTS)


def _facts(
    protocol: ProtocolSection,
    study: StudySection,
    agreement: AgreementSection,
    consensus: ConsensusSection,
) -> Facts:
    """What the crosswalk may say is there."""
    said = dict(study.statements)
    return Facts(
        intended_use=said["Intended use"] is not None,
        signed=protocol.signed is not None,
        planned=bool(study.planned),
        patients_known=study.slides_without_patient == 0,
        sites_known=all(site != "not stated" for site, _ in study.sites),
        credentials=all(person.credentials for person in study.people),
        blinding_known=all(read.blinded is not None for read in study.reads),
        replicates=study.has_replicates,
        intervals=not agreement.headline.figure.interval.startswith("undefined"),
        all_decided=consensus.open_disputes == 0,
        release=bool(consensus.releases),
    )


def _made(at: datetime, trail: Verification) -> Made:
    software = [("pathquorum", SOFTWARE_VERSION), ("Python", platform.python_version())]
    for name in LIBRARIES:
        try:
            software.append((name, version(name)))
        except PackageNotFoundError:
            software.append((name, "unknown"))
    problem = None if trail.ok else f"event {trail.first_bad} is bad: {trail.problem}"
    return Made(moment_text(at), software, trail.head, problem, trail.events)
