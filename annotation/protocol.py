"""The protocol: what is rated, by which classes, and how a consensus comes about."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final

from annotation.class_mapping import ClassMapper, ClassMapping, matches_pattern, trimmed_path_class
from annotation.errors import ProtocolError
from annotation.protocol_sections import (
    AdjudicationRule,
    BlindingRule,
    ConsensusRule,
    DisputeRule,
    DomainRule,
    MatchingRule,
    ProtocolClass,
    Requirements,
    SlideLabels,
)
from annotation.toml_table import TomlTable

__all__ = [
    "OVERLAPS",
    "TASKS",
    "WEIGHTS",
    "Protocol",
    "load_protocol",
    "parse_protocol",
    "template",
]

TASKS: Final = ("regions", "objects", "slides")
WEIGHTS: Final = ("nominal", "linear", "quadratic")
OVERLAPS: Final = ("innermost", "priority")

_NEGATIVE: Final = {"regions": "background", "objects": "absent", "slides": None}
_TOP_KEYS: Final = (
    "name", "version", "task", "weights", "overlap", "ignore", "domain", "consensus", "dispute",
    "adjudication", "matching", "slides", "require", "blinding", "classes",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A protocol as its file says, with every default filled in.

    `text` is the file as it was written; equality and `sha256` don't depend on it.
    """

    name: str
    version: str
    task: str
    weights: str
    overlap: str
    ignore: tuple[str, ...]
    domain: DomainRule
    consensus: ConsensusRule
    dispute: DisputeRule
    adjudication: AdjudicationRule
    matching: MatchingRule
    slides: SlideLabels
    require: Requirements
    blinding: BlindingRule
    classes: tuple[ProtocolClass, ...]
    text: str = field(default="", compare=False, repr=False)

    @classmethod
    def from_dict(
        cls, content: Mapping[str, object], *, text: str = "", origin: str = "protocol"
    ) -> Protocol:
        """Return the protocol that `content` describes: a parsed file, or what `to_dict` gave."""
        return _build(TomlTable(origin, "", content, _TOP_KEYS), text)

    def to_dict(self) -> dict[str, object]:
        """Return the content, as a protocol file would give it with every default written out."""
        content = asdict(self)
        del content["text"]
        if self.consensus.role_weights is None:  # unstated: the digest is that of older versions
            del content["consensus"]["role_weights"]
        if not self.blinding.slides:  # likewise
            del content["blinding"]
        if not self.require.roles:  # likewise
            del content["require"]["roles"]
        content["classes"] = [
            {key: value for key, value in entry.items() if value is not None}
            for entry in content["classes"]
        ]
        return _with_lists(content)

    @cached_property
    def sha256(self) -> str:
        """The digest of the content: the same for every layout, comment and unstated default."""
        canonical = json.dumps(
            self.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    @property
    def negative(self) -> str | None:
        """The class of what carries none: `background`, `absent`, or None for slides."""
        return _NEGATIVE[self.task]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names in the protocol's order, the negative class last."""
        names = tuple(entry.name for entry in self.classes)
        return names if self.negative is None else (*names, self.negative)

    @cached_property
    def codes(self) -> dict[str, int]:
        """The index of each name in `class_names`."""
        return {name: code for code, name in enumerate(self.class_names)}

    @cached_property
    def ranks(self) -> tuple[float, ...]:
        """The step on the scale of each of `class_names`, from 0.0; NaN for an unordered one.

        Steps count the ordered classes: orders 10, 20, 40 are ranks 0, 1, 2.
        """
        steps = {order: step for step, order in enumerate(sorted(self._orders()))}
        ranks = [math.nan if c.order is None else float(steps[c.order]) for c in self.classes]
        return tuple(ranks) if self.negative is None else (*ranks, math.nan)

    def _orders(self) -> list[int]:
        return [entry.order for entry in self.classes if entry.order is not None]

    def map_class(self, path_class: str | None) -> ClassMapping:
        """Return what the class that stands on a QuPath object means here; see `ClassMapper`."""
        return self._mapper(path_class)

    @cached_property
    def _mapper(self) -> ClassMapper:
        names = {alias: c.name for c in self.classes for alias in (c.name, *c.aliases)}
        return ClassMapper(names, self.domain.classes, self.ignore)


def load_protocol(path: str | Path) -> Protocol:
    """Read a protocol file."""
    path = Path(path)
    origin = f"protocol file {str(path)!r}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ProtocolError(
            f"there is no {origin}; `pathquorum protocol template` prints one", path=path
        ) from None
    except UnicodeDecodeError as error:
        raise ProtocolError(
            f"{origin} is not UTF-8 at byte {error.start}; save it as UTF-8 text", path=path
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProtocolError(
            f"{origin} can't be read: {reason}; name a readable file", path=path
        ) from None
    return parse_protocol(text, origin)


def parse_protocol(text: str, origin: str) -> Protocol:
    """Read a protocol from TOML; error messages begin with `origin`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{origin} is no TOML: {error}; correct it there") from None
    except RecursionError:
        raise ProtocolError(f"{origin} is nested too deeply; use the template's tables") from None
    return Protocol.from_dict(content, text=text, origin=origin)


def template() -> str:
    """Return a commented protocol file that can be used as it is."""
    return (
        resources.files("annotation").joinpath("protocol_template.toml").read_text(encoding="utf-8")
    )


def _with_lists(content: dict[str, object]) -> dict[str, object]:
    listed: dict[str, object] = json.loads(json.dumps(content))
    return listed


def _build(top: TomlTable, text: str) -> Protocol:
    task = top.choice("task", TASKS)
    protocol = Protocol(
        name=top.text("name"),
        version=top.text("version"),
        task=task,
        weights=top.choice("weights", WEIGHTS, "nominal"),
        overlap=top.choice("overlap", OVERLAPS, "innermost"),
        ignore=top.texts("ignore", ("Ignore*",)),
        domain=DomainRule.from_table(top, task),
        consensus=ConsensusRule.from_table(top),
        dispute=DisputeRule.from_table(top),
        adjudication=AdjudicationRule.from_table(top),
        matching=MatchingRule.from_table(top),
        slides=SlideLabels.from_table(top),
        require=Requirements.from_table(top),
        blinding=BlindingRule.from_table(top),
        classes=ProtocolClass.from_table(top),
        text=text,
    )
    _check(protocol, top)
    return protocol


def _check(protocol: Protocol, top: TomlTable) -> None:
    """Refuse what is right key by key, and contradicts itself."""
    for pattern in protocol.ignore:
        if pattern in protocol.domain.classes:
            top.refuse(f"{pattern!r} stands in ignore and in [domain] classes; keep one")
    if protocol.weights != "nominal" and not protocol._orders():
        top.refuse(
            f"weights = {protocol.weights!r} needs ordered classes and there is none; "
            'give classes an order, or write weights = "nominal"'
        )
    _check_names(protocol, top)


def _check_names(protocol: Protocol, top: TomlTable) -> None:
    owners: dict[str, str] = {}
    orders: dict[int, str] = {}
    patterns = [("ignore", p) for p in protocol.ignore]
    patterns += [("[domain] classes", p) for p in protocol.domain.classes]
    for entry in protocol.classes:
        for written in (entry.name, *entry.aliases):
            said = f"class {entry.name!r}" if written == entry.name else f"alias {written!r}"
            if protocol.negative and written.strip().casefold() in ("background", "absent"):
                top.refuse(
                    f"{said} bears the name of what carries no class; leave it out, or list it "
                    "in ignore if people draw it"
                )
            for where, pattern in patterns:
                if matches_pattern(pattern, written):
                    top.refuse(f"{said} matches {pattern!r} in {where}; rename one of them")
            trimmed = trimmed_path_class(written)
            if not trimmed:
                top.refuse(f"{said} is no name; QuPath reads colons as separators of levels")
            if trimmed in owners:
                top.refuse(
                    f"{said} stands for {owners[trimmed]!r} and for {entry.name!r}; "
                    "keep one of the two"
                    if owners[trimmed] != entry.name
                    else f"{said} stands twice; keep one"
                )
            owners[trimmed] = entry.name
        if entry.order is not None:
            if entry.order in orders:
                top.refuse(
                    f"classes {orders[entry.order]!r} and {entry.name!r} have the same order "
                    f"{entry.order}; give each its own"
                )
            orders[entry.order] = entry.name
