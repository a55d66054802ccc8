"""Two versions of a protocol as two arms: which classes are comparable, and by which weights.

A class is comparable where all that may be written for it means the same in both versions
(:func:`annotation.protocol_changes.class_pairs`); under the first version it then bears the name
that it has in the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from annotation.protocol import Protocol
from annotation.protocol_changes import class_pairs, meanings
from consensus.comparing.arms import Arm, on_one_footing
from consensus.study.study_ratings import StudyRatings

__all__ = ["LoneClass", "VersionArms", "other_tasks", "version_arms"]


@dataclass(frozen=True)
class LoneClass:
    """A class that is not comparable, by its name in each version that has it, and why."""

    first: str | None
    second: str | None
    reason: str


@dataclass(frozen=True)
class VersionArms:
    """Two versions on one footing.

    ``pairs`` are the comparable classes, first name to second, what carries no class among them.
    ``notes`` are what the reader of both figures must know.
    """

    arms: tuple[Arm, Arm]
    weights: str
    pairs: dict[str, str]
    lone: tuple[LoneClass, ...]
    notes: tuple[str, ...]


def other_tasks(first: Protocol, second: Protocol) -> str | None:
    """Why nothing of two versions is comparable; None where they rate the same kind of thing."""
    if first.task == second.task:
        return None
    return f"version {first.version} rates {first.task} and version {second.version} {second.task}"


def version_arms(
    first: StudyRatings,
    second: StudyRatings,
    weights: str | None = None,
    *,
    names: tuple[str, str] | None = None,
) -> VersionArms:
    """Two versions of a protocol that have the same task, as arms.

    Parameters
    ----------
    names
        What the arms are called; None: after the versions.
    weights
        For both; None takes the first's, and nominal ones where the scales differ: what lies
        between two classes is then not the same in both.
    """
    old, new = first.protocol, second.protocol
    pairs, notes = class_pairs(old, new), []
    if weights is None:
        weights = old.weights
        if _scale(old, pairs) != _scale(new, {}):
            weights = "nominal"
            notes.append("nominal weights: the scales of the ordered classes differ")
        elif new.weights != weights:
            notes.append(f"weights of version {old.version} for both")
    if old.domain != new.domain:
        notes.append("the domain of a read is another, and with it what counts as background")
    if old.matching != new.matching and old.task == "objects":
        notes.append("objects are matched by other thresholds")
    lone = tuple(_lone(old, new, pairs))
    if lone:
        notes.append("what was of one class may be of another: the classes differ")
    if old.negative is not None and new.negative is not None:
        pairs = {**pairs, old.negative: new.negative}
    earlier = replace(first.ratings, classes=_renamed(old, new, pairs))
    called = names or (f"version {old.version}", f"version {new.version}")
    arms = on_one_footing(Arm(called[0], earlier, weights), Arm(called[1], second.ratings, weights))
    return VersionArms(arms, weights, pairs, lone, tuple(notes))


def _scale(protocol: Protocol, named: dict[str, str]) -> list[str]:
    """The ordered classes, lowest first, under the names of the second version."""
    ranked = sorted((one.order, one.name) for one in protocol.classes if one.order is not None)
    return [named.get(name, name) for _, name in ranked]


def _renamed(old: Protocol, new: Protocol, pairs: dict[str, str]) -> tuple[str, ...]:
    """The first version's classes as the second calls them; no others may bear such a name."""
    names = []
    for name in old.class_names:
        shown = pairs.get(name, name)
        while name not in pairs and shown in new.class_names:
            shown += f" (version {old.version})"
        names.append(shown)
    return tuple(names)


def _lone(old: Protocol, new: Protocol, pairs: dict[str, str]) -> Iterator[LoneClass]:
    later = {one.name: one for one in new.classes}
    for one in old.classes:
        if one.name in pairs:
            continue
        if one.name in later:
            yield LoneClass(one.name, one.name, "the class is not what it was")
            continue
        became = sorted(meanings(one, new))
        reason = f"version {new.version} has no such class"
        if became:
            reason = f"version {new.version} reads it as {_names(became)}"
        yield LoneClass(one.name, None, reason)
    earlier = {one.name for one in old.classes}
    for name, one in later.items():
        if name in pairs.values() or name in earlier:
            continue
        was = sorted(meanings(one, old))
        reason = f"version {old.version} has no such class"
        if was:
            reason = f"version {old.version} read it as {_names(was)}"
        yield LoneClass(None, name, reason)


def _names(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
