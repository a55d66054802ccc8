"""Where the report answers the items of GRRAS and CLAIM, and where something is missing.

Items bear the numbers of Kottner et al., J Clin Epidemiol 64 (2011) 96 (GRRAS), and of Mongan, Moy and
Kahn, Radiol Artif Intell 2 (2020) e200029 (CLAIM); what they ask for is said in our own words. An item
is answered where this report has the facts, and ``missing`` where it has not; nothing is inferred, and
an answer claims no compliance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CrosswalkRow", "Facts", "crosswalk"]

MISSING: Final = "missing"

_OWN_TEXT: Final = "belongs into the publication’s own text"


@dataclass(frozen=True)
class Facts:
    """What the crosswalk asks of a report; each is whether it is there."""

    intended_use: bool
    signed: bool
    planned: bool
    patients_known: bool
    sites_known: bool
    credentials: bool
    blinding_known: bool
    replicates: bool
    intervals: bool
    all_decided: bool
    release: bool


@dataclass(frozen=True)
class CrosswalkRow:
    """One item: where it is answered (text and anchor), or that it is missing and what would do."""

    guideline: str
    item: str
    asks: str
    answer: str
    anchor: str | None

    @property
    def missing(self) -> bool:
        """Whether the report does not answer it."""
        return self.anchor is None


def crosswalk(facts: Facts) -> list[CrosswalkRow]:
    """The items of both guidelines, in their order."""
    return [*_grras(facts), *_claim(facts)]


def _row(
    guideline: str, item: str, asks: str, there: bool, answer: str, anchor: str, otherwise: str
) -> CrosswalkRow:
    if there:
        return CrosswalkRow(guideline, item, asks, answer, anchor)
    return CrosswalkRow(guideline, item, asks, f"{MISSING}: {otherwise}", None)


def _grras(facts: Facts) -> Sequence[CrosswalkRow]:
    text = _OWN_TEXT
    rows: list[tuple[str, str, bool, str, str, str]] = [
        ("1", "Title or abstract say that agreement was studied", False, "", "", text),
        ("2", "The rating is described", True, "Protocol’s rules and classes", "study", ""),
        ("3", "The subjects are described", facts.patients_known, "Slides, patients, sites", "study",
         "register patients with `slide add --patient`"),
        ("4", "The raters are described", facts.credentials, "People, roles, credentials", "study",
         "record credentials with `annotator add --credential`"),
        ("5", "What is known, and why the study", facts.intended_use, "Intended use", "study",
         "say it with `study describe --intended-use`; what is known belongs into the text"),
        ("6", "How the numbers were chosen", facts.planned, "Planned and actual reads", "reads",
         "plan the reads with `assign`"),
        ("7", "How subjects and raters were sampled", False, "", "", text),
        ("8", "How it was rated: blinding, interval, conditions", facts.blinding_known,
         "Blinding of each read", "reads", "hand slides out with `distribute`"),
        ("9", "Whether ratings were independent", True, "Corrections and copies among the remarks",
         "reads", ""),
        ("10", "The statistical analysis", True, "Coefficients, weights, intervals", "agreement", ""),
        ("11", "Raters, subjects and repeats that took part", True, "Reads that count", "reads", ""),
        ("12", "Characteristics of raters and subjects", facts.credentials and facts.sites_known,
         "People, roles, credentials, sites", "study", "record credentials and sites"),
        ("13", "Estimates with their uncertainty", facts.intervals, "Agreement with intervals",
         "agreement", "no interval could be computed; see the reasons under Agreement"),
        ("14", "What the results mean in practice", False, "", "", text),
        ("15", "Detailed results", True, "All tables, and `agreement --json`", "agreement", ""),
    ]  # fmt: skip
    return [_row("GRRAS", *row) for row in rows]


def _claim(facts: Facts) -> Sequence[CrosswalkRow]:
    text = _OWN_TEXT
    rows: list[tuple[str, str, bool, str, str, str]] = [
        ("7", "Sources of the data", facts.sites_known, "Sites", "study",
         "register sites with `slide add --site`"),
        ("8", "Who or what was eligible", False, "", "", text),
        ("11", "Definitions of what is rated", facts.signed, "The signed protocol", "study",
         "sign the protocol with `protocol sign`"),
        ("12", "De-identification", False, "", "",
         "raters stand under handles; how images and their names were treated is not recorded"),
        ("13", "How missing data was handled", True, "Reads left out, and why", "reads", ""),
        ("14", "The reference standard", True, "The consensus and its rule", "consensus", ""),
        ("15", "Why this reference standard", False, "", "",
         "the reason " + text + "; how the consensus moves with the method stands under Consensus"),
        ("16", "Who annotated, and their qualifications", facts.credentials,
         "People, roles, credentials", "study",
         "record credentials with `annotator add --credential`"),
        ("17", "Annotation tools", False, "", "",
         "the software below took annotations in; which one they were drawn with is not recorded"),
        ("18", "Variability within and between raters, and how disagreement was resolved",
         facts.all_decided and facts.replicates, "Agreement, replicates, disputes", "disputes",
         " and ".join(
             [*(["nobody read a slide twice"] if not facts.replicates else []),
              *(["some disputes are open"] if not facts.all_decided else [])])),
        ("20", "How data was split", facts.release, "The release’s parts", "releases",
         "freeze one with `release create`"),
        ("21", "At which level parts are apart", facts.release, "By patient", "releases",
         "freeze one with `release create`"),
        ("33", "Flow of participants", True, "Planned and actual reads, exclusions", "reads", ""),
    ]  # fmt: skip
    return [_row("CLAIM", *row) for row in rows]
