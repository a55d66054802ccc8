"""The sections of a protocol, each read from its table of a protocol file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from annotation.toml_table import TomlTable

__all__ = [
    "ROLES",
    "AdjudicationRule",
    "BlindingRule",
    "ConsensusRule",
    "DisputeRule",
    "DomainRule",
    "MatchingRule",
    "ProtocolClass",
    "Requirements",
    "SlideLabels",
]

RULES: Final = ("declared", "union", "slide")
ROLES: Final = ("trainee", "annotator", "pathologist", "senior", "lead", "engineer")


@dataclass(frozen=True, slots=True)
class ProtocolClass:
    """A class that raters may say; `order` is None for an unordered one."""

    name: str
    order: int | None = None
    color: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def rgb(self) -> tuple[int, int, int] | None:
        """The colour as QuPath's GeoJSON holds it."""
        if self.color is None:
            return None
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue

    @classmethod
    def from_table(cls, top: TomlTable) -> tuple[ProtocolClass, ...]:
        """Read the tables `[[classes]]`."""
        tables = top.tables("classes", ("name", "order", "color", "aliases"))
        return tuple(cls._from_one(table) for table in tables)

    @classmethod
    def _from_one(cls, table: TomlTable) -> ProtocolClass:
        name = table.text("name")
        color = table.text("color") if "color" in table.content else None
        if color is not None and not re.fullmatch(r"#[0-9A-Fa-f]{6}", color):
            table.refuse(f'color of class {name!r} is {color!r}; write "#RRGGBB"', "color")
        return cls(
            name=name,
            order=table.order("order"),
            color=None if color is None else color.upper(),
            aliases=table.texts("aliases", ()),
        )


@dataclass(frozen=True, slots=True)
class DomainRule:
    """Where a read holds: where objects of `classes` declare it, where anyone drew, or all over."""

    rule: str
    classes: tuple[str, ...]

    @classmethod
    def from_table(cls, top: TomlTable, task: str) -> DomainRule:
        """Read `[domain]`; regions are declared unless it says otherwise."""
        table = top.table("domain", ("rule", "classes"))
        rule = table.choice("rule", RULES, "declared" if task == "regions" else "slide")
        classes = table.texts("classes", ("Region*",) if rule == "declared" else ())
        if rule == "declared" and not classes:
            top.refuse('[domain] classes is empty; name the objects that declare it: ["Region*"]')
        return cls(rule, classes)


@dataclass(frozen=True, slots=True)
class ConsensusRule:
    """How many raters it takes, and the share of the votes that a class must exceed.

    `role_weights` says what the vote of each role weighs; None where the file says nothing.
    """

    min_raters: int
    quorum: float
    role_weights: Mapping[str, float] | None = field(default=None, hash=False)

    @classmethod
    def from_table(cls, top: TomlTable) -> ConsensusRule:
        """Read `[consensus]`."""
        table = top.table("consensus", ("min_raters", "quorum", "role_weights"))
        share = "a share from 0 to less than 1 (a class needs more than it)"
        below_one = math.nextafter(1.0, 0.0)
        return cls(
            min_raters=table.whole("min_raters", at_least=1, default=2),
            quorum=table.number("quorum", share, low=0.0, high=below_one, default=0.5),
            role_weights=cls._role_weights(table) if "role_weights" in table.content else None,
        )

    @staticmethod
    def _role_weights(consensus: TomlTable) -> dict[str, float]:
        table = consensus.table("role_weights", ROLES)
        weights = {
            role: table.number(role, "a weight of 0 or more", low=0.0, default=0.0)
            for role in table.content
        }
        if not any(weights.values()):
            table.refuse("[consensus.role_weights] gives no role a vote; write senior = 2")
        return weights


@dataclass(frozen=True, slots=True)
class DisputeRule:
    """From which size on a disagreement is disputed."""

    min_area_um2: float
    tolerance_um: float

    @classmethod
    def from_table(cls, top: TomlTable) -> DisputeRule:
        """Read `[dispute]`."""
        table = top.table("dispute", ("min_area_um2", "tolerance_um"))
        return cls(
            table.number("min_area_um2", "an area of 0 or more", low=0.0, default=100.0),
            table.number("tolerance_um", "a length of 0 or more", low=0.0, default=0.0),
        )


@dataclass(frozen=True, slots=True)
class AdjudicationRule:
    """The roles that may decide a dispute."""

    roles: tuple[str, ...]

    @classmethod
    def from_table(cls, top: TomlTable) -> AdjudicationRule:
        """Read `[adjudication]`."""
        table = top.table("adjudication", ("roles",))
        roles = table.texts("roles", ("senior", "lead"))
        for role in roles:
            if role not in ROLES:
                near = ", ".join(ROLES)
                top.refuse(f"role {role!r} in [adjudication] is unknown; take some of {near}")
        if not roles:
            top.refuse('[adjudication] roles is empty; name one at least, such as "senior"')
        return cls(roles)


@dataclass(frozen=True, slots=True)
class MatchingRule:
    """When objects of two people are the same: by overlap, or by distance where there is no area."""

    iou: float
    distance_um: float

    @classmethod
    def from_table(cls, top: TomlTable) -> MatchingRule:
        """Read `[matching]`."""
        table = top.table("matching", ("iou", "distance_um"))
        above_zero = math.nextafter(0.0, 1.0)
        share = "a number above 0 and up to 1"
        return cls(
            table.number("iou", share, low=above_zero, high=1.0, default=0.5),
            table.number("distance_um", "a length of 0 or more", low=0.0, default=7.5),
        )


@dataclass(frozen=True, slots=True)
class SlideLabels:
    """The key in QuPath's image metadata that holds a slide's label."""

    label_key: str

    @classmethod
    def from_table(cls, top: TomlTable) -> SlideLabels:
        """Read `[slides]`."""
        return cls(top.table("slides", ("label_key",)).text("label_key", "grade"))


@dataclass(frozen=True, slots=True)
class Requirements:
    """What must be in order before a read counts."""

    roles: tuple[str, ...]
    credentials: tuple[str, ...]
    training: bool
    signature: bool

    @classmethod
    def from_table(cls, top: TomlTable) -> Requirements:
        """Read `[require]`."""
        table = top.table("require", ("roles", "credentials", "training", "signature"))
        return cls(
            roles=table.texts("roles", ()),
            credentials=table.texts("credentials", ()),
            training=table.flag("training", default=False),
            signature=table.flag("signature", default=False),
        )


@dataclass(frozen=True, slots=True)
class BlindingRule:
    """What a reader must not recognise; `slides`: names are masked and the order is shuffled."""

    slides: bool

    @classmethod
    def from_table(cls, top: TomlTable) -> BlindingRule:
        """Read `[blinding]`; nothing is masked unless it says so."""
        return cls(top.table("blinding", ("slides",)).flag("slides", default=False))
