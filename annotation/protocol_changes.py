"""What one version of a protocol changes against another, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from annotation.protocol import Protocol
from annotation.protocol_sections import ProtocolClass

__all__ = ["RULES_IN_WORDS", "Change", "class_pairs", "meanings", "protocol_changes"]

RULES_IN_WORDS: Final = {
    "task": "what is rated",
    "weights": "disagreement weights",
    "overlap": "which of one rater's overlapping outlines holds",
    "ignore": "classes that are ignored",
    "domain.rule": "domain of a read",
    "domain.classes": "classes that declare the domain",
    "consensus.min_raters": "raters that a consensus needs",
    "consensus.quorum": "share of the votes that a class must exceed",
    "consensus.role_weights": "what the vote of each role weighs",
    "dispute.min_area_um2": "area in um2 from which on a disagreement is disputed",
    "dispute.tolerance_um": "width in um of strips that are not disputed",
    "adjudication.roles": "roles that may decide",
    "matching.iou": "overlap (IoU) from which on objects are the same",
    "matching.distance_um": "distance in um up to which objects are the same",
    "slides.label_key": "key of a slide's label",
    "require.roles": "roles required of a reader",
    "require.credentials": "credentials required of a reader",
    "require.training": "training required of a reader",
    "require.signature": "signatures required",
    "blinding.slides": "names of slides are masked",
}
"""Every rule of a protocol but its classes, by its key in the file."""


@dataclass(frozen=True)
class Change:
    """One rule that differs: ``old`` is None where it is new, ``new`` None where it is gone."""

    key: str
    old: Any
    new: Any
    text: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in documents and in the audit trail."""
        return asdict(self)


def protocol_changes(old: Protocol, new: Protocol) -> list[Change]:
    """What the newer of two versions changes; empty where they differ in name or number alone."""
    return [*_class_changes(old, new), *_rule_changes(old, new)]


def class_pairs(old: Protocol, new: Protocol) -> dict[str, str]:
    """The classes that are one and the same in two versions: old name to new name.

    They are where everything that may be written for the one means the other, and nothing else
    does: a class that bears another name now is the same if it keeps the former name as an alias;
    one that took in another class, or gave up part of what it stood for, is not.
    """
    onward = {one.name: meanings(one, new) for one in old.classes}
    back = {one.name: meanings(one, old) for one in new.classes}
    return {
        name: other
        for name, others in onward.items()
        for other in others
        if others == {other} and back[other] == {name}
    }


def meanings(one: ProtocolClass, protocol: Protocol) -> set[str]:
    """What the name and aliases of a class stand for in a version."""
    found = (protocol.map_class(written).name for written in (one.name, *one.aliases))
    return {name for name in found if name is not None}


def _class_changes(old: Protocol, new: Protocol) -> Iterator[Change]:
    pairs = class_pairs(old, new)
    before = {one.name: one for one in old.classes}
    after = {one.name: one for one in new.classes}
    for name, one in before.items():
        if name in pairs:
            continue
        if name in after:
            yield _changed_meaning(one, after[name], old, new)
        else:
            yield Change("classes", _written(one), None, _told(name, "gone", meanings(one, new)))
    for name, one in after.items():
        if name not in pairs.values() and name not in before:
            yield Change("classes", None, _written(one), _told(name, "new", meanings(one, old)))
    for name, other in pairs.items():
        if name != other:
            yield Change("classes", name, other, f"class {name!r} is called {other!r} now")
        yield from _class_details(before[name], after[other])
    kept = [pairs[name] for name in before if name in pairs]
    now = [name for name in after if name in kept]
    if kept != now:
        yield Change("classes", kept, now, f"classes stand in another order: {_names(now)}")


def _told(name: str, what: str, elsewhere: set[str]) -> str:
    """That a class is gone or new, and what it is or was in the other version."""
    if not elsewhere:
        return f"class {name!r} is {what}"
    became = "is read as" if what == "gone" else "was read as"
    return f"class {name!r} is {what}; what is written so {became} {_names(sorted(elsewhere))}"


def _changed_meaning(
    one: ProtocolClass, other: ProtocolClass, old: Protocol, new: Protocol
) -> Change:
    """A class that kept its name, and gave up part of what it stood for or took in another."""
    name, parts = one.name, []
    onward, back = meanings(one, new), meanings(other, old)
    if onward != {name}:
        parts.append(f"what was written so is read as {_names(sorted(onward))}")
    if back != {name}:
        parts.append(f"it stands for what was {_names(sorted(back))}")
    text = f"class {name!r} is not what it was: {'; '.join(parts)}"
    return Change(f"classes.{name}", _written(one), _written(other), text)


def _written(one: ProtocolClass) -> dict[str, Any]:
    written = {**asdict(one), "aliases": list(one.aliases)}
    return {key: value for key, value in written.items() if value is not None}


def _class_details(old: ProtocolClass, new: ProtocolClass) -> Iterator[Change]:
    """How a class that is the same differs in its place on the scale, colour and aliases."""
    key, said = f"classes.{new.name}", f"class {new.name!r}"
    if old.order != new.order:
        place, was = (_value(order) for order in (new.order, old.order))
        yield Change(f"{key}.order", old.order, new.order, f"{said}: order {place}, was {was}")
    if old.color != new.color:
        color, was = (_value(color) for color in (new.color, old.color))
        yield Change(f"{key}.color", old.color, new.color, f"{said}: colour {color}, was {was}")
    if old.aliases != new.aliases:
        names, were = (_value(aliases) for aliases in (new.aliases, old.aliases))
        yield Change(
            f"{key}.aliases",
            list(old.aliases),
            list(new.aliases),
            f"{said}: aliases {names}, were {were}",
        )


def _rule_changes(old: Protocol, new: Protocol) -> Iterator[Change]:
    for key, words in RULES_IN_WORDS.items():
        before, after = _rule(old, key), _rule(new, key)
        if before != after:
            text = f"{words}: {_value(after)}, was {_value(before)}"
            yield Change(key, _plain(before), _plain(after), text)


def _rule(protocol: Protocol, key: str) -> Any:
    found: Any = protocol
    for part in key.split("."):
        found = getattr(found, part)
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == () or value == {}:
        return "none"
    if isinstance(value, tuple):
        return _names(value)
    if isinstance(value, dict):
        return ", ".join(f"{role} {weight:g}" for role, weight in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
