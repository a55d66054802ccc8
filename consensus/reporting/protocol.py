"""What the report says of the protocol: its sign-off, and its rules in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from annotation.protocol import Protocol
from annotation.signing.sign_off import approving_key
from annotation.tables import Annotator, ProtocolVersion
from consensus.reporting.numbers import moment_text

__all__ = ["ProtocolSection", "protocol_section"]

_DOMAIN_WORDS: Final = {
    "declared": "declared by each rater; outside it the rater has said nothing",
    "union": "wherever any rater drew",
    "slide": "the whole slide",
}
_OVERLAP_WORDS: Final = {
    "innermost": "the inner (smaller) one holds",
    "priority": "the class that the protocol names first holds",
}


@dataclass(frozen=True)
class ProtocolSection:
    """A protocol version; ``signed`` is None where nobody has signed it."""

    name: str
    version: str
    task: str
    sha256: str
    signed: str | None
    rules: list[tuple[str, str]]


def protocol_section(session: Session, row: ProtocolVersion, protocol: Protocol) -> ProtocolSection:
    """The protocol version, its sign-off, and its rules in words."""
    signed = None
    if row.signed_at is not None and row.signed_by_id is not None:
        by = session.get_one(Annotator, row.signed_by_id)
        signed = f"{by.handle} ({by.role}), {moment_text(row.signed_at)}, {_proof(session, row)}"
    return ProtocolSection(
        name=row.name,
        version=row.version,
        task=protocol.task,
        sha256=row.sha256,
        signed=signed,
        rules=[("Classes", _classes(protocol)), *_rating_rules(protocol), *_order_rules(protocol)],
    )


def _proof(session: Session, row: ProtocolVersion) -> str:
    """With which key the protocol was signed, if with any."""
    key = approving_key(session, row)
    return "by name, without a key" if key is None else f"with the key {key.fingerprint[:12]}…"


def _classes(protocol: Protocol) -> str:
    """The classes, the ordered ones in their order."""
    ranked = sorted((c.order, c.name) for c in protocol.classes if c.order is not None)
    ordered = " < ".join(name for _, name in ranked)
    unordered = ", ".join(c.name for c in protocol.classes if c.order is None)
    negative = f"{protocol.negative} (what carries no class)" if protocol.negative else ""
    return "; ".join(part for part in (ordered, unordered, negative) if part)


def _rating_rules(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """How reads become ratings."""
    yield "Disagreement weights", protocol.weights
    if protocol.task == "slides":
        return
    yield "Domain of a read", _DOMAIN_WORDS[protocol.domain.rule]
    if protocol.task == "regions":
        yield "Overlapping outlines of one rater", _OVERLAP_WORDS[protocol.overlap]
    else:
        yield (
            "Objects are the same",
            f"by shared identity, else by overlap (IoU from {protocol.matching.iou:g} on), "
            f"else by distance (up to {protocol.matching.distance_um:g} µm)",
        )


def _order_rules(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """What is asked of reads and of those who decide."""
    dispute, require = protocol.dispute, protocol.require
    if protocol.task == "regions":
        width = f", wider than {dispute.tolerance_um:g} µm" if dispute.tolerance_um else ""
        yield "Disputed", f"regions of at least {dispute.min_area_um2:g} µm²{width}"
    yield "May decide disputes", " or ".join(protocol.adjudication.roles)
    needed = [f"credential {kind!r} in force on the day" for kind in require.credentials]
    needed += ["training for this version"] if require.training else []
    needed += ["a protocol signed with a key"] if require.signature else []
    if needed:
        yield "Required of a read", ", ".join(needed)
    if require.signature:
        yield "Required of decisions, releases and reports", "a signature with their signer's key"
