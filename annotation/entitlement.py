"""What entitled a person on the day of a read, and why a read does not count.

Everything is as it was on record when it is asked: later corrections of a credential change what
later reads are held against, and leave what was stored with earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.protocol import Protocol
from annotation.tables import Annotator, Credential, CredentialCorrection, Event

__all__ = ["TRAINING", "Entitlement", "Held", "credentials_of", "entitlement", "role_on"]

TRAINING = "training"
"""Training is a credential of this kind whose number is ``NAME@VERSION`` of the protocol."""


@dataclass(frozen=True)
class Held:
    """A credential with its last correction applied; both days are included."""

    credential: Credential
    valid_from: date | None
    valid_to: date | None
    withdrawn: bool

    def is_in_force(self, day: date) -> bool:
        """Whether it holds on a day."""
        return (
            not self.withdrawn
            and (self.valid_from is None or self.valid_from <= day)
            and (self.valid_to is None or day <= self.valid_to)
        )

    def to_dict(self) -> dict[str, Any]:
        """As it is stored beside a read; nothing in it names a person."""
        return {
            "credential": self.credential.id,
            "kind": self.credential.kind,
            "issuer": self.credential.issuer,
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_to": self.valid_to.isoformat() if self.valid_to else None,
        }


@dataclass(frozen=True)
class Entitlement:
    """What a person held on a day, and what the protocol misses of it (None: nothing)."""

    role: str
    in_force: tuple[Held, ...]
    trained: bool
    missing: str | None

    def to_dict(self) -> dict[str, Any]:
        """As it is stored beside a read."""
        return {
            "role": self.role,
            "credentials": [held.to_dict() for held in self.in_force],
            "trained": self.trained,
        }


def entitlement(
    session: Session, annotator: Annotator, protocol: Protocol, day: date
) -> Entitlement:
    """What a person was entitled to on a day, held against a protocol."""
    held = credentials_of(session, annotator)
    in_force = tuple(one for one in held if one.is_in_force(day))
    wanted = f"{protocol.name}@{protocol.version}"
    trained = any(
        one.credential.kind == TRAINING and one.credential.number == wanted for one in in_force
    )
    role = role_on(session, annotator, day)
    return Entitlement(role, in_force, trained, _missing(protocol, day, role, held, trained))


def _missing(
    protocol: Protocol, day: date, role: str, held: list[Held], trained: bool
) -> str | None:
    require = protocol.require
    if require.roles and role not in require.roles:
        return f"role {role!r} on {day.isoformat()}, {' or '.join(require.roles)} required"
    kinds = {one.credential.kind for one in held if one.is_in_force(day)}
    for kind in require.credentials:
        if kind not in kinds:
            recorded = any(one.credential.kind == kind for one in held)
            how = "not in force" if recorded else "not recorded"
            return f"credential {kind!r} {how} on {day.isoformat()}"
    if require.training and not trained:
        wanted = f"{protocol.name}@{protocol.version}"
        return f"training for {wanted} not recorded on {day.isoformat()}"
    return None


def credentials_of(session: Session, annotator: Annotator) -> list[Held]:
    """A person's credentials as they are on record now, the earliest recorded first."""
    rows = session.scalars(
        select(Credential).where(Credential.annotator_id == annotator.id).order_by(Credential.id)
    ).all()
    corrections = session.scalars(
        select(CredentialCorrection)
        .where(CredentialCorrection.credential_id.in_([row.id for row in rows]))
        .order_by(CredentialCorrection.id)
    )
    last = {correction.credential_id: correction for correction in corrections}
    return [
        Held(
            row,
            last[row.id].valid_from if row.id in last else row.valid_from,
            last[row.id].valid_to if row.id in last else row.valid_to,
            row.id in last and last[row.id].withdrawn,
        )
        for row in rows
    ]


def role_on(session: Session, annotator: Annotator, day: date) -> str:
    """A person's role on a day, from the trail; before they were added, the first they had."""
    events = session.scalars(
        select(Event)
        .where(
            Event.subject == f"annotator:{annotator.id}",
            Event.action.in_(("annotator added", "role changed")),
        )
        .order_by(Event.id)
    ).all()
    roles = [(event.at.date(), str((event.new or {})["role"])) for event in events]
    if not roles:
        return annotator.role
    return next((role for at, role in reversed(roles) if at <= day), roles[0][1])
