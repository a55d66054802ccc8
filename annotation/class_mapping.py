"""From the class that a person wrote in QuPath to the class of the protocol."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["ClassMapper", "ClassMapping", "matches_pattern", "trimmed_path_class"]

Kind = Literal["class", "ignored", "domain", "unmapped", "unclassified"]

_LONGEST_COMPARED = 200
"""Characters of a name that are compared in the search for the nearest class (quadratic)."""


@dataclass(frozen=True, slots=True)
class ClassMapping:
    """What a protocol makes of one class as it was written.

    Attributes
    ----------
    kind
        `class`: rated as `name`. `domain`: says where the read holds. `ignored`, `unmapped` (the
        protocol doesn't know it) and `unclassified` (there is none): stored, not rated.
    name
        The protocol's class; None unless `kind` is `class`.
    nearest
        For an unmapped class, the protocol's class whose name or alias looks most like it.
    """

    kind: Kind
    name: str | None = None
    nearest: str | None = None


def trimmed_path_class(path_class: str) -> str:
    """Return a path class as QuPath writes it: levels without outer blanks, joined by `: `."""
    return ": ".join(_levels(path_class))


def matches_pattern(pattern: str, path_class: str) -> bool:
    """Say whether `path_class` is literally `pattern`, or fits its wildcards `*` and `?`.

    Both meanings hold at once, as names such as QuPath's own `Region*` end in an asterisk.
    """
    pattern, path_class = trimmed_path_class(pattern), trimmed_path_class(path_class)
    return path_class == pattern or _wildcards(pattern).fullmatch(path_class) is not None


def _levels(path_class: str) -> list[str]:
    return [level for level in (part.strip() for part in path_class.split(":")) if level]


def _wildcards(pattern: str) -> re.Pattern[str]:
    # `**` means what `*` means, and would make the match slow.
    pieces = re.split(r"(\*+|\?)", pattern)
    meaning = {"*": ".*", "?": "."}
    return re.compile(
        "".join(meaning.get(piece[:1], re.escape(piece)) for piece in pieces), re.DOTALL
    )


class ClassMapper:
    """Maps path classes by a protocol's names, aliases and patterns; every answer is kept.

    Parameters
    ----------
    aliases
        The protocol's class for each name and alias, the names themselves included, in the
        protocol's order.
    domain, ignore
        Patterns of the classes that declare the domain, and of those that are never rated.
    """

    def __init__(
        self, aliases: Mapping[str, str], domain: tuple[str, ...], ignore: tuple[str, ...]
    ) -> None:
        self._names = {trimmed_path_class(alias): name for alias, name in aliases.items()}
        self._folded: dict[str, str] = {}
        for alias, name in self._names.items():
            self._folded.setdefault(alias.casefold()[:_LONGEST_COMPARED], name)
        patterns: list[tuple[Kind, str]] = [("domain", pattern) for pattern in domain]
        patterns += [("ignored", pattern) for pattern in ignore]
        self._patterns = [
            (kind, trimmed_path_class(pattern), _wildcards(trimmed_path_class(pattern)))
            for kind, pattern in patterns
        ]
        self._known: dict[str | None, ClassMapping] = {None: ClassMapping("unclassified")}

    def __call__(self, path_class: str | None) -> ClassMapping:
        """Return what `path_class` means.

        A name or alias of the whole comes first, then the patterns for the whole, then the name
        in which each level has been replaced by the class that it is an alias of, then the
        longest beginning that is known: `Tumor: Positive` is `Tumor` unless the protocol says
        more.
        """
        mapping = self._known.get(path_class)
        if mapping is None:
            mapping = self._known[path_class] = self._map(path_class or "")
        return mapping

    def _map(self, path_class: str) -> ClassMapping:
        levels = _levels(path_class)
        if not levels:
            return ClassMapping("unclassified")
        for known in self._meanings(levels):
            if known is not None:
                return known
        return ClassMapping("unmapped", nearest=self._nearest(": ".join(levels)))

    def _meanings(self, levels: list[str]) -> Iterator[ClassMapping | None]:
        renamed = [self._names.get(level, level) for level in levels]
        for length in range(len(levels), 0, -1):
            as_written = ": ".join(levels[:length])
            yield self._named(as_written)
            yield self._patterned(as_written)
            yield self._named(trimmed_path_class(": ".join(renamed[:length])))

    def _named(self, path_class: str) -> ClassMapping | None:
        name = self._names.get(path_class)
        return None if name is None else ClassMapping("class", name)

    def _patterned(self, path_class: str) -> ClassMapping | None:
        for kind, literal, wildcards in self._patterns:
            if path_class == literal or wildcards.fullmatch(path_class):
                return ClassMapping(kind)
        return None

    def _nearest(self, path_class: str) -> str | None:
        near = difflib.get_close_matches(
            path_class.casefold()[:_LONGEST_COMPARED], self._folded, n=1, cutoff=0.0
        )
        return self._folded[near[0]] if near else None
